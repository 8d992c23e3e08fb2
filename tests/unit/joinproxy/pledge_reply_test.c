/* JPD-1, JPD-2: what a pledge hears that looks for a join proxy. */
#include "joinproxy/pledge_reply.h"

#include "common/coap_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static const uint16_t ports[] = {5685, 5686};

struct question {
    enum coap_message_type type;
    const char *query;
    bool multicast, no_legacy;
    size_t port_count;
};

static struct coap_message get(enum coap_message_type type, const char *query)
{
    struct coap_message request = {.type = type,
                                   .code = CM_GET,
                                   .id = 7,
                                   .token = "t",
                                   .token_len = 1,
                                   .uri_path = {BYTES_LITERAL(".well-known"), BYTES_LITERAL("core")},
                                   .uri_path_count = 2};
    if (query != NULL) {
        request.uri_query[0] = bytes_from_string(query);
        request.uri_query_count = 1;
    }
    return request;
}

/* The reply; its views borrow from out. False: silence. */
static bool ask(const struct coap_message *request, const struct question *question, struct buffer *out,
                struct coap_message *reply)
{
    struct buffer datagram;
    struct endpoint local;
    buffer_init(&datagram, 512);
    assert_int_equal(coap_message_write(request, &datagram), STATUS_OK);
    assert_int_equal(endpoint_parse("[fe80::1%1]:5683", &local), STATUS_OK);
    const struct pledge_query query = {.datagram = buffer_view(&datagram),
                                       .multicast = question->multicast,
                                       .local = &local,
                                       .ports = ports,
                                       .port_count = question->port_count,
                                       .legacy_names = !question->no_legacy,
                                       .id = 99};
    buffer_reset(out);
    assert_int_equal(pledge_reply(&query, out), STATUS_OK);
    buffer_free(&datagram);
    if (out->len == 0)
        return false;
    assert_int_equal(coap_message_parse(buffer_view(out), reply), STATUS_OK);
    return true;
}

static void assert_links(const struct question *question, const char *links)
{
    struct buffer out;
    struct coap_message reply = {.id = 0}, request = get(question->type, question->query);
    buffer_init(&out, PLEDGE_REPLY_MAX);
    bool answered = ask(&request, question, &out, &reply);
    assert_int_equal(answered, links != NULL);
    if (answered) {
        assert_int_equal(reply.code, CM_CONTENT);
        assert_int_equal(reply.type, question->type == CM_CON ? CM_ACK : CM_NON);
        assert_int_equal(reply.id, question->type == CM_CON ? 7 : 99);
        assert_true(reply.content_format.present && reply.content_format.value == 40);
        assert_true(bytes_equal(reply.payload, bytes_from_string(links)));
    }
    buffer_free(&out);
}

static void jpd_1_the_join_port(void **state)
{
    (void)state;
    assert_links(&(struct question){CM_NON, "brski-jp=*", true, false, 1}, "<>;brski-jp=5685");
    assert_links(&(struct question){CM_NON, "brski-jp=*", true, false, 2},
                 "<>;brski-jp=5685,<>;brski-jp=5686");
    assert_links(&(struct question){CM_NON, "brski-jp=5686", true, false, 2}, "<>;brski-jp=5686");
    assert_links(&(struct question){CM_CON, "brski-jp=*", false, false, 1}, "<>;brski-jp=5685");
}

static void jpd_2_older_names(void **state)
{
    (void)state;
    assert_links(&(struct question){CM_NON, "rt=brski.jp", true, false, 1},
                 "<coaps://[fe80::1]:5685>;rt=brski.jp");
    assert_links(&(struct question){CM_NON, "rt=brski-proxy", true, false, 1},
                 "<coaps://[fe80::1]:5685>;rt=\"brski-proxy\"");
    assert_links(&(struct question){CM_NON, "rt=brski.jp", true, true, 1}, NULL);
    assert_links(&(struct question){CM_NON, NULL, true, true, 1}, "<>;brski-jp=5685");
    assert_links(
        &(struct question){CM_NON, NULL, true, false, 1},
        "<>;brski-jp=5685,<coaps://[fe80::1]:5685>;rt=brski.jp,<coaps://[fe80::1]:5685>;rt=\"brski-proxy\"");
}

static void the_group_hears_links_or_nothing(void **state)
{
    (void)state;
    assert_links(&(struct question){CM_NON, "rt=ace.est*", true, false, 1}, NULL);
    assert_links(&(struct question){CM_NON, "brski-jp", true, false, 1}, NULL);
    assert_links(&(struct question){CM_CON, "brski-jp=*", true, false, 1}, NULL);
    assert_links(&(struct question){CM_CON, "rt=nosuch", false, false, 1}, ""); /* asked directly */
}

static void eight_registrars_fit(void **state)
{
    (void)state;
    uint16_t many[SETTINGS_LISTENERS_MAX];
    struct endpoint local;
    struct buffer datagram, out;
    for (size_t i = 0; i < SETTINGS_LISTENERS_MAX; i++)
        many[i] = (uint16_t)(65528 + i);
    assert_int_equal(endpoint_parse("[fe80::aaaa:bbbb:cccc:dddd%1]:5683", &local), STATUS_OK);
    buffer_init(&datagram, 512);
    buffer_init(&out, PLEDGE_REPLY_MAX);
    struct coap_message request = get(CM_NON, NULL);
    assert_int_equal(coap_message_write(&request, &datagram), STATUS_OK);
    const struct pledge_query query = {.datagram = buffer_view(&datagram),
                                       .multicast = true,
                                       .local = &local,
                                       .ports = many,
                                       .port_count = SETTINGS_LISTENERS_MAX,
                                       .legacy_names = true};
    assert_int_equal(pledge_reply(&query, &out), STATUS_OK);
    assert_true(out.len > 0);
    buffer_free(&datagram);
    buffer_free(&out);
}

static uint8_t code_for(struct coap_message request)
{
    struct buffer out;
    struct coap_message reply = {.id = 0};
    const struct question unicast = {.port_count = 1}, multicast = {.port_count = 1, .multicast = true};
    buffer_init(&out, PLEDGE_REPLY_MAX);
    assert_true(ask(&request, &unicast, &out, &reply));
    uint8_t code = reply.code;
    request.type = CM_NON;
    assert_false(ask(&request, &multicast, &out, &reply)); /* RFC 7252 section 8.2 */
    buffer_free(&out);
    return code;
}

static void refusals(void **state)
{
    (void)state;
    struct coap_message request = get(CM_CON, "brski-jp=*");
    request.code = CM_POST;
    assert_int_equal(code_for(request), CM_METHOD_NOT_ALLOWED);
    request = get(CM_CON, "brski-jp=*");
    request.uri_path[1] = BYTES_LITERAL("cor");
    assert_int_equal(code_for(request), CM_NOT_FOUND);
    request = get(CM_CON, "brski-jp=*");
    request.accept = (struct coap_uint_option){true, 50};
    assert_int_equal(code_for(request), CM_NOT_ACCEPTABLE);
    request = get(CM_CON, "brski-jp=*");
    request.block2 = (struct coap_block){true, 1, false, 2};
    assert_int_equal(code_for(request), CM_BAD_REQUEST);
    request = get(CM_CON, "brski-jp=*");
    request.block1 = (struct coap_block){true, 0, false, 2};
    assert_int_equal(code_for(request), CM_BAD_OPTION);
}

static void ping_is_reset_and_junk_is_not_answered(void **state)
{
    (void)state;
    const struct question unicast = {.port_count = 1}, multicast = {.port_count = 1, .multicast = true};
    struct buffer out;
    struct coap_message reply = {.id = 0}, ping = {.type = CM_CON, .id = 7};
    buffer_init(&out, PLEDGE_REPLY_MAX);
    assert_true(ask(&ping, &unicast, &out, &reply));
    assert_int_equal(reply.type, CM_RST);
    assert_int_equal(reply.id, 7);
    assert_false(ask(&ping, &multicast, &out, &reply));
    ping.type = CM_ACK;
    assert_false(ask(&ping, &unicast, &out, &reply));
    const struct pledge_query junk = {.datagram = BYTES_LITERAL("\x16\xfe\xfd")};
    assert_int_equal(pledge_reply(&junk, &out), STATUS_MALFORMED);
    assert_int_equal(out.len, 0);
    buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jpd_1_the_join_port),
        cmocka_unit_test(jpd_2_older_names),
        cmocka_unit_test(the_group_hears_links_or_nothing),
        cmocka_unit_test(eight_registrars_fit),
        cmocka_unit_test(refusals),
        cmocka_unit_test(ping_is_reset_and_junk_is_not_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
