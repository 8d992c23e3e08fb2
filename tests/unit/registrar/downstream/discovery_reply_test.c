/* The unsecured port, datagram by datagram: DTLS-1, DISC-1, DISC-3 to DISC-6, URI-7, URI-8, BLK-5, BLK-9. */
#include "registrar/downstream/discovery_reply.h"

#include "common/coap_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define AUTHORITY "[2001:db8:3::123]:61617"
#define ALL_LINKS                                                                                            \
    "<coaps://" AUTHORITY "/est/crts>;rt=\"ace.est.crts\";ct=\"281 287 62\","                                \
    "<coaps://" AUTHORITY "/est/sen>;rt=\"ace.est.sen\";ct=\"281 287\","                                     \
    "<coaps://" AUTHORITY "/est/sren>;rt=\"ace.est.sren\";ct=\"281 287\","                                   \
    "<coaps://" AUTHORITY "/est/att>;rt=\"ace.est.att\";ct=285"
#define OWN_ID 0x7777

static char root[] = "/est";

static struct settings settings_with(uint32_t block_size)
{
    return (struct settings){.coap.block_size = block_size, .est = {.root = root, .att = true}};
}

/* GET /.well-known/core of a client; tests change what they are about. */
static struct coap_message discovery_request(void)
{
    return (struct coap_message){
        .type = CM_CON,
        .code = CM_GET,
        .id = 0x1234,
        .token = "tok",
        .token_len = 3,
        .uri_path = {BYTES_LITERAL(".well-known"), BYTES_LITERAL("core")},
        .uri_path_count = 2,
    };
}

static void query(const struct settings *settings, struct bytes datagram, bool multicast,
                  struct buffer *reply)
{
    struct discovery_query query = {datagram, multicast, AUTHORITY, {.jpy = ""}, OWN_ID};
    buffer_init(reply, DISCOVERY_REPLY_MAX);
    (void)discovery_reply(settings, &query, reply);
    assert_int_equal(reply->status, STATUS_OK);
}

/* The answer, whose views end with reply. */
static struct coap_message ask(const struct settings *settings, const struct coap_message *request,
                               bool multicast, struct buffer *reply)
{
    struct buffer datagram;
    struct coap_message answer;
    buffer_init(&datagram, 1024);
    assert_int_equal(coap_message_write(request, &datagram), STATUS_OK);
    query(settings, buffer_view(&datagram), multicast, reply);
    buffer_free(&datagram);
    assert_true(reply->len > 0);
    assert_int_equal(coap_message_parse(buffer_view(reply), &answer), STATUS_OK);
    return answer;
}

static void assert_code(const struct coap_message *request, enum coap_message_code code)
{
    struct settings settings = settings_with(512);
    struct buffer reply;
    struct coap_message answer = ask(&settings, request, false, &reply);
    assert_int_equal(answer.code, code);
    if (code != CM_CONTENT) {
        assert_int_equal(answer.payload.len, 0);
        assert_false(answer.content_format.present);
        assert_in_range(reply.len, 4, 4 + COAP_TOKEN_MAX); /* an error never amplifies */
    }
    buffer_free(&reply);
}

static void assert_silence(const struct coap_message *request, bool multicast)
{
    struct settings settings = settings_with(512);
    struct buffer datagram, reply;
    buffer_init(&datagram, 1024);
    assert_int_equal(coap_message_write(request, &datagram), STATUS_OK);
    query(&settings, buffer_view(&datagram), multicast, &reply);
    assert_int_equal(reply.len, 0);
    buffer_free(&datagram);
    buffer_free(&reply);
}

static void assert_reply(struct bytes datagram, bool multicast, struct bytes expected)
{
    struct settings settings = settings_with(512);
    struct buffer reply;
    query(&settings, datagram, multicast, &reply);
    assert_true(bytes_equal(buffer_view(&reply), expected));
    buffer_free(&reply);
}

static void disc_3_links_are_absolute_in_a_piggybacked_answer(void **state)
{
    (void)state;
    struct settings settings = settings_with(1024);
    struct coap_message request = discovery_request();
    struct buffer reply;
    struct coap_message answer = ask(&settings, &request, false, &reply);
    assert_int_equal(answer.type, CM_ACK);
    assert_int_equal(answer.code, CM_CONTENT);
    assert_int_equal(answer.id, 0x1234);
    assert_int_equal(answer.token_len, 3);
    assert_memory_equal(answer.token, "tok", 3);
    assert_true(answer.content_format.present);
    assert_int_equal(answer.content_format.value, 40);
    assert_false(answer.block2.present);
    assert_false(answer.size2.present);
    assert_true(bytes_equal(answer.payload, BYTES_LITERAL(ALL_LINKS)));
    buffer_free(&reply);
}

static void non_requests_get_a_non_answer_with_an_id_of_ours(void **state)
{
    (void)state;
    struct settings settings = settings_with(512);
    struct coap_message request = discovery_request();
    request.type = CM_NON;
    struct buffer reply;
    struct coap_message answer = ask(&settings, &request, false, &reply);
    assert_int_equal(answer.type, CM_NON);
    assert_int_equal(answer.id, OWN_ID);
    assert_memory_equal(answer.token, "tok", 3);
    buffer_free(&reply);
}

static void disc_6_no_match_is_an_empty_content(void **state)
{
    (void)state;
    struct settings settings = settings_with(512);
    struct coap_message request = discovery_request();
    request.uri_query[request.uri_query_count++] = BYTES_LITERAL("rt=nosuch");
    struct buffer reply;
    struct coap_message answer = ask(&settings, &request, false, &reply);
    assert_int_equal(answer.code, CM_CONTENT);
    assert_int_equal(answer.payload.len, 0);
    buffer_free(&reply);
}

static void dtls_1_est_is_not_here(void **state)
{
    (void)state;
    static const char *const paths[][3] = {
        {"est", "crts", NULL}, {".well-known", "est", "crts"},
        {"est", "att", NULL},  {".well-known", "est"},
        {".well-known"},       {NULL},
    };
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct coap_message request = discovery_request();
        for (request.uri_path_count = 0; request.uri_path_count < 3; request.uri_path_count++) {
            if (paths[i][request.uri_path_count] == NULL)
                break;
            request.uri_path[request.uri_path_count] = bytes_from_string(paths[i][request.uri_path_count]);
        }
        assert_code(&request, CM_NOT_FOUND);
        request.code = CM_POST;
        request.payload = BYTES_LITERAL("0\x82");
        assert_code(&request, CM_NOT_FOUND);
        request.type = CM_NON;
        assert_code(&request, CM_NOT_FOUND);
    }
}

static void what_is_not_a_query_for_links_is_refused(void **state)
{
    (void)state;
    struct coap_message post = discovery_request();
    post.code = CM_POST;
    assert_code(&post, CM_METHOD_NOT_ALLOWED);
    post.code = CM_CODE(0, 5);
    assert_code(&post, CM_METHOD_NOT_ALLOWED);
    struct coap_message accept = discovery_request();
    accept.accept = (struct coap_uint_option){true, 50};
    assert_code(&accept, CM_NOT_ACCEPTABLE);
    accept.accept.value = 40;
    assert_code(&accept, CM_CONTENT);
    struct coap_message block1 = discovery_request();
    block1.block1.present = true;
    assert_code(&block1, CM_BAD_OPTION);
    struct coap_message reserved = discovery_request();
    reserved.block2 = (struct coap_block){true, 0, false, 7};
    assert_code(&reserved, CM_BAD_REQUEST);
    struct coap_message beyond = discovery_request();
    beyond.block2 = (struct coap_block){true, 0xfffff, false, 6};
    assert_code(&beyond, CM_BAD_REQUEST);
}

static void too_many_queries_are_refused(void **state)
{
    (void)state;
    /* GET /.well-known/core with nine empty Uri-Query */
    assert_reply(BYTES_LITERAL("\x40\x01\x12\x34\xbb.well-known\x04"
                               "core\x40\x00\x00\x00\x00\x00\x00\x00\x00"),
                 false, BYTES_LITERAL("\x60\x80\x12\x34"));
}

static void uri_7_proxy_requests_are_refused(void **state)
{
    (void)state;
    assert_reply(BYTES_LITERAL("\x40\x01\x12\x34\xd9\x16"
                               "coap://x/"),
                 false, BYTES_LITERAL("\x60\xa5\x12\x34"));
}

static void uri_8_unknown_critical_options(void **state)
{
    (void)state;
    assert_reply(BYTES_LITERAL("\x40\x01\x12\x34\x90"), false, BYTES_LITERAL("\x60\x82\x12\x34"));
    assert_reply(BYTES_LITERAL("\x50\x01\x12\x34\x90"), false, BYTES_LITERAL(""));
}

static void uri_8_elective_options_are_ignored(void **state)
{
    (void)state;
    struct coap_message request = discovery_request();
    request.max_age = (struct coap_uint_option){true, 1};
    request.content_format = (struct coap_uint_option){true, 0};
    request.etags[0] = (struct coap_etag){"etag", 4};
    request.etag_count = 1;
    assert_code(&request, CM_CONTENT);
}

static void what_is_confirmable_and_no_request_is_reset(void **state)
{
    (void)state;
    const struct bytes reset = BYTES_LITERAL("\x70\x00\x12\x34");
    assert_reply(BYTES_LITERAL("\x40\x00\x12\x34"), false, reset);          /* ping */
    assert_reply(BYTES_LITERAL("\x49\x01\x12\x34xxxxxxxxx"), false, reset); /* token of 9 */
    assert_reply(BYTES_LITERAL("\x40\x01\x12\x34\xff"), false, reset);      /* no payload */
    assert_reply(BYTES_LITERAL("\x40\xe1\x12\x34"), false, reset);          /* 7.01 */
    assert_reply(BYTES_LITERAL("\x40\x45\x12\x34"), false, reset);          /* a response to nothing */
    assert_reply(BYTES_LITERAL("\x41\x00\x12\x34x"), false, reset);         /* empty, with a token */
}

static void everything_else_is_met_with_silence(void **state)
{
    (void)state;
    const struct bytes silence = BYTES_LITERAL("");
    assert_reply(BYTES_LITERAL("\x50\x00\x12\x34"), false, silence);     /* empty NON */
    assert_reply(BYTES_LITERAL("\x60\x00\x12\x34"), false, silence);     /* ACK of nothing */
    assert_reply(BYTES_LITERAL("\x70\x00\x12\x34"), false, silence);     /* RST of nothing */
    assert_reply(BYTES_LITERAL("\x60\x01\x12\x34"), false, silence);     /* a request in an ACK */
    assert_reply(BYTES_LITERAL("\x70\x01\x12\x34"), false, silence);     /* a request in a RST */
    assert_reply(BYTES_LITERAL("\x50\x45\x12\x34"), false, silence);     /* a NON response */
    assert_reply(BYTES_LITERAL("\x50\x01\x12\x34\xff"), false, silence); /* malformed NON */
    assert_reply(BYTES_LITERAL("\x80\x01\x12\x34"), false, silence);     /* version 2 */
    assert_reply(BYTES_LITERAL("\x40\x01\x12"), false, silence);
    assert_reply(BYTES_LITERAL(""), false, silence);
    assert_reply(BYTES_LITERAL("\x16\xfe\xfd\x00\x00"), false, silence); /* a DTLS record */
}

static void malformed_datagrams_are_told(void **state)
{
    (void)state;
    struct settings settings = settings_with(512);
    struct buffer reply;
    struct discovery_query bad = {
        BYTES_LITERAL("\x40\x01\x12\x34\xff"), false, AUTHORITY, {.jpy = ""}, OWN_ID};
    struct discovery_query ping = {BYTES_LITERAL("\x40\x00\x12\x34"), false, AUTHORITY, {.jpy = ""}, OWN_ID};
    buffer_init(&reply, DISCOVERY_REPLY_MAX);
    assert_int_equal(discovery_reply(&settings, &bad, &reply), STATUS_MALFORMED);
    assert_int_equal(discovery_reply(&settings, &ping, &reply), STATUS_OK);
    buffer_free(&reply);
}

static void disc_5_a_group_is_answered_with_links(void **state)
{
    (void)state;
    struct settings settings = settings_with(1024);
    struct coap_message request = discovery_request();
    request.type = CM_NON;
    request.uri_query[request.uri_query_count++] = BYTES_LITERAL("rt=ace.est*");
    struct buffer reply;
    struct coap_message answer = ask(&settings, &request, true, &reply);
    assert_int_equal(answer.type, CM_NON);
    assert_int_equal(answer.code, CM_CONTENT);
    assert_int_equal(answer.id, OWN_ID);
    assert_memory_equal(answer.token, "tok", 3);
    assert_true(bytes_equal(answer.payload, BYTES_LITERAL(ALL_LINKS)));
    buffer_free(&reply);
}

static void disc_5_a_group_hears_no_error_reset_or_empty_set(void **state)
{
    (void)state;
    const struct bytes silence = BYTES_LITERAL("");
    struct coap_message request = discovery_request();
    assert_silence(&request, true); /* CON */
    request.type = CM_NON;
    request.uri_query[request.uri_query_count++] = BYTES_LITERAL("rt=nosuch");
    assert_silence(&request, true);
    request = discovery_request();
    request.type = CM_NON;
    request.code = CM_POST;
    assert_silence(&request, true);
    request.code = CM_GET;
    request.accept = (struct coap_uint_option){true, 50};
    assert_silence(&request, true);
    request.accept.present = false;
    request.block2 = (struct coap_block){true, 1000, false, 2};
    assert_silence(&request, true);
    request.block2.present = false;
    request.uri_path_count = 1;
    assert_silence(&request, true);
    assert_reply(BYTES_LITERAL("\x40\x00\x12\x34"), true, silence);
    assert_reply(BYTES_LITERAL("\x40\x01\x12\x34\xff"), true, silence);
    assert_reply(BYTES_LITERAL("\x50\x01\x12\x34\x90"), true, silence);
    assert_reply(BYTES_LITERAL("\x50\x01\x12\x34\xd9\x16"
                               "coap://x/"),
                 true, silence);
}

/* Fetches all blocks at one size and checks each; returns how many there were. */
static uint32_t fetch_in_blocks(uint32_t block_size, uint8_t asked_szx, uint8_t expected_szx)
{
    struct settings settings = settings_with(block_size);
    struct coap_message request = discovery_request();
    char body[1024] = "";
    size_t len = 0;
    bool more = true;
    uint32_t num = 0;
    for (; more && num < 100; num++) {
        struct buffer reply;
        request.block2 = (struct coap_block){true, num, false, num == 0 ? asked_szx : expected_szx};
        struct coap_message answer = ask(&settings, &request, false, &reply);
        assert_int_equal(answer.code, CM_CONTENT);
        assert_true(answer.block2.present);
        assert_int_equal(answer.block2.num, num);
        assert_int_equal(answer.block2.szx, expected_szx);
        more = answer.block2.more;
        if (more)
            assert_int_equal(answer.payload.len, coap_block_octets(expected_szx));
        assert_in_range(answer.payload.len, 1, coap_block_octets(expected_szx));
        assert_in_range(len + answer.payload.len, 1, sizeof body - 1);
        memcpy(body + len, answer.payload.at, answer.payload.len);
        len += answer.payload.len;
        buffer_free(&reply);
    }
    assert_string_equal(body, ALL_LINKS);
    return num;
}

static void blk_5_blocks_have_the_smaller_of_both_sizes(void **state)
{
    (void)state;
    const uint32_t len = sizeof ALL_LINKS - 1;
    assert_int_equal(fetch_in_blocks(512, 0, 0), (len + 15) / 16);
    assert_int_equal(fetch_in_blocks(512, 2, 2), (len + 63) / 64);
    assert_int_equal(fetch_in_blocks(64, 6, 2), (len + 63) / 64);
    assert_int_equal(fetch_in_blocks(16, 6, 0), (len + 15) / 16);
    assert_int_equal(fetch_in_blocks(1024, 6, 6), 1);
}

static void links_larger_than_our_block_are_cut_without_being_asked(void **state)
{
    (void)state;
    struct settings settings = settings_with(64);
    struct coap_message request = discovery_request();
    struct buffer reply;
    struct coap_message answer = ask(&settings, &request, false, &reply);
    assert_true(answer.block2.present);
    assert_int_equal(answer.block2.num, 0);
    assert_true(answer.block2.more);
    assert_int_equal(answer.payload.len, 64);
    buffer_free(&reply);
}

/* RFC 7959 section 2.4: a later request in another size is served at the right octet. */
static void blk_5_a_change_of_size_keeps_the_offset(void **state)
{
    (void)state;
    struct settings settings = settings_with(64);
    struct coap_message request = discovery_request();
    struct buffer reply;
    request.block2 = (struct coap_block){true, 1, false, 3}; /* octet 128, in blocks of 128 */
    struct coap_message answer = ask(&settings, &request, false, &reply);
    assert_int_equal(answer.block2.num, 2);
    assert_int_equal(answer.block2.szx, 2);
    assert_memory_equal(answer.payload.at, &ALL_LINKS[128], 64);
    buffer_free(&reply);
    request.block2 = (struct coap_block){true, 6, false, 0}; /* octet 96, in blocks of 16 */
    answer = ask(&settings, &request, false, &reply);
    assert_int_equal(answer.block2.num, 6);
    assert_int_equal(answer.block2.szx, 0);
    assert_memory_equal(answer.payload.at, &ALL_LINKS[96], 16);
    buffer_free(&reply);
}

/* RFC 7959 section 2.4, whatever is left of the last block: of sixteen sizes one ends with it. */
static void a_block_behind_the_last_one_is_refused(void **state)
{
    (void)state;
    char longer[] = "/0123456789abcdef";
    struct settings settings = settings_with(1024);
    struct coap_message request = discovery_request();
    settings.est.root = longer;
    for (size_t len = 2; len < sizeof longer; len++) {
        struct buffer reply;
        longer[len - 1] = '\0';
        request.block2 = (struct coap_block){0};
        uint32_t octets = (uint32_t)ask(&settings, &request, false, &reply).payload.len;
        buffer_free(&reply);
        request.block2 = (struct coap_block){true, (octets - 1) / 16, false, 0};
        assert_int_equal(ask(&settings, &request, false, &reply).code, CM_CONTENT);
        buffer_free(&reply);
        request.block2.num = (octets + 15) / 16;
        assert_int_equal(ask(&settings, &request, false, &reply).code, CM_BAD_REQUEST);
        buffer_free(&reply);
        longer[len - 1] = 'x';
    }
}

static void blk_9_the_size_is_told_when_asked(void **state)
{
    (void)state;
    struct settings settings = settings_with(64);
    struct coap_message request = discovery_request();
    request.size2.present = true;
    struct buffer reply;
    struct coap_message answer = ask(&settings, &request, false, &reply);
    assert_true(answer.size2.present);
    assert_int_equal(answer.size2.value, sizeof ALL_LINKS - 1);
    buffer_free(&reply);
}

static void no_reply_is_larger_than_a_block_and_its_head(void **state)
{
    (void)state;
    char longest[65] = "/";
    memset(longest + 1, 'r', 63);
    struct settings settings = settings_with(1024);
    settings.est.root = longest;
    struct coap_message request = discovery_request();
    request.token_len = COAP_TOKEN_MAX;
    request.size2.present = true;
    request.block2 = (struct coap_block){true, 0, false, 6};
    struct buffer reply;
    ask(&settings, &request, false, &reply);
    assert_in_range(reply.len, 512, DISCOVERY_REPLY_MAX);
    buffer_free(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disc_3_links_are_absolute_in_a_piggybacked_answer),
        cmocka_unit_test(non_requests_get_a_non_answer_with_an_id_of_ours),
        cmocka_unit_test(disc_6_no_match_is_an_empty_content),
        cmocka_unit_test(dtls_1_est_is_not_here),
        cmocka_unit_test(what_is_not_a_query_for_links_is_refused),
        cmocka_unit_test(too_many_queries_are_refused),
        cmocka_unit_test(uri_7_proxy_requests_are_refused),
        cmocka_unit_test(uri_8_unknown_critical_options),
        cmocka_unit_test(uri_8_elective_options_are_ignored),
        cmocka_unit_test(what_is_confirmable_and_no_request_is_reset),
        cmocka_unit_test(everything_else_is_met_with_silence),
        cmocka_unit_test(malformed_datagrams_are_told),
        cmocka_unit_test(disc_5_a_group_is_answered_with_links),
        cmocka_unit_test(disc_5_a_group_hears_no_error_reset_or_empty_set),
        cmocka_unit_test(blk_5_blocks_have_the_smaller_of_both_sizes),
        cmocka_unit_test(links_larger_than_our_block_are_cut_without_being_asked),
        cmocka_unit_test(blk_5_a_change_of_size_keeps_the_offset),
        cmocka_unit_test(a_block_behind_the_last_one_is_refused),
        cmocka_unit_test(blk_9_the_size_is_told_when_asked),
        cmocka_unit_test(no_reply_is_larger_than_a_block_and_its_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
