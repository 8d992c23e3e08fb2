/* What a server may do to a block-wise transfer, message by message (RFC 7959), without a network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "coap_names.h"
#include "exchange.h"

enum { CSR_OCTETS = 100 };

struct stage { /* a session that never sends, an exchange, its last message */
    coap_context_t *context;
    coap_session_t *session;
    struct exchange *exchange;
    coap_pdu_t *sent;
    uint8_t body[CSR_OCTETS];
};

struct reply {
    coap_pdu_code_t code;
    int block1, block2; /* option values; -1: absent */
    int format;         /* -1: absent */
    int etag;           /* -1: absent */
    size_t octets;      /* of payload */
};

#define NOT_THERE          (-1)
#define BLOCK(num, m, szx) ((num) << 4 | (m) << 3 | (szx))

static int set_up(void **state);
static int tear_down(void **state);
static void begin(struct stage *stage, uint8_t method, unsigned block_size);
static void send_next(struct stage *stage);
static void reply_with(struct stage *stage, struct reply reply);
static void add(coap_pdu_t *response, coap_option_num_t option, int value);
static int64_t option_of(const coap_pdu_t *message, coap_option_num_t option);
static size_t payload_length(const coap_pdu_t *message);

/* BLK-3, BLK-5: an upload in four blocks; the answer in two. */
static void test_both_directions(void **state)
{
    struct stage *stage = *state;
    begin(stage, COAP_REQUEST_CODE_POST, 32);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(option_of(stage->sent, COAP_OPTION_BLOCK1), BLOCK(i, 1, 1));
        assert_int_equal(option_of(stage->sent, COAP_OPTION_SIZE1), i == 0 ? CSR_OCTETS : NOT_THERE);
        assert_int_equal(option_of(stage->sent, COAP_OPTION_BLOCK2), NOT_THERE);
        assert_int_equal(payload_length(stage->sent), 32);
        reply_with(stage, (struct reply){COAP_RESPONSE_CODE(231), BLOCK(i, 1, 1), -1, -1, -1, 0});
        send_next(stage);
    }
    assert_int_equal(option_of(stage->sent, COAP_OPTION_BLOCK1), BLOCK(3, 0, 1));
    assert_int_equal(option_of(stage->sent, COAP_OPTION_BLOCK2), BLOCK(0, 0, 1));
    assert_int_equal(payload_length(stage->sent), 4);
    reply_with(stage, (struct reply){COAP_RESPONSE_CODE(204), BLOCK(3, 0, 1), BLOCK(0, 1, 1), 281, 7, 32});
    send_next(stage);
    assert_int_equal(option_of(stage->sent, COAP_OPTION_BLOCK2), BLOCK(1, 0, 1));
    assert_int_equal(option_of(stage->sent, COAP_OPTION_BLOCK1), NOT_THERE);
    assert_int_equal(option_of(stage->sent, COAP_OPTION_CONTENT_FORMAT), CONTENT_FORMAT_PKCS10);
    assert_int_equal(payload_length(stage->sent), 0);
    reply_with(stage, (struct reply){COAP_RESPONSE_CODE(204), -1, BLOCK(1, 0, 1), 281, 7, 5});
    assert_int_equal(exchange_state(stage->exchange), EXCHANGE_DONE);
    const struct exchange_answer *answer = exchange_answer(stage->exchange);
    assert_int_equal(answer->payload.len, 37);
    assert_int_equal(answer->blocks_sent, 4);
    assert_int_equal(answer->blocks_received, 2);
    assert_string_equal(answer->remarks.text, "");
}

/* BLK-6: the server wants smaller blocks; the number is rescaled. */
static void test_smaller_upload_blocks(void **state)
{
    struct stage *stage = *state;
    begin(stage, COAP_REQUEST_CODE_POST, 64);
    reply_with(stage, (struct reply){COAP_RESPONSE_CODE(231), BLOCK(0, 1, 0), -1, -1, -1, 0});
    send_next(stage);
    assert_int_equal(option_of(stage->sent, COAP_OPTION_BLOCK1), BLOCK(4, 1, 0));
    assert_int_equal(payload_length(stage->sent), 16);
}

/* RFC 7959 section 2.9.2. */
static void test_upload_starts_again_after_incomplete(void **state)
{
    struct stage *stage = *state;
    begin(stage, COAP_REQUEST_CODE_POST, 32);
    reply_with(stage, (struct reply){COAP_RESPONSE_CODE(231), BLOCK(0, 1, 1), -1, -1, -1, 0});
    for (int i = 0; i < 2; i++) {
        send_next(stage);
        reply_with(stage, (struct reply){COAP_RESPONSE_CODE(408), -1, -1, -1, -1, 0});
        assert_int_equal(exchange_state(stage->exchange), EXCHANGE_SEND);
    }
    send_next(stage);
    assert_int_equal(option_of(stage->sent, COAP_OPTION_BLOCK1), BLOCK(0, 1, 1));
    reply_with(stage, (struct reply){COAP_RESPONSE_CODE(408), -1, -1, -1, -1, 0});
    assert_int_equal(exchange_state(stage->exchange), EXCHANGE_DONE); /* not for ever */
    assert_int_equal(exchange_answer(stage->exchange)->code, COAP_RESPONSE_CODE(408));
}

/* RFC 7959 section 2.9.3: 4.13 with a smaller size; without one it is final. */
static void test_too_large(void **state)
{
    struct stage *stage = *state;
    begin(stage, COAP_REQUEST_CODE_POST, 64);
    reply_with(stage, (struct reply){COAP_RESPONSE_CODE(413), BLOCK(0, 1, 0), -1, -1, -1, 0});
    send_next(stage);
    assert_int_equal(option_of(stage->sent, COAP_OPTION_BLOCK1), BLOCK(0, 1, 0));
    reply_with(stage, (struct reply){COAP_RESPONSE_CODE(413), -1, -1, -1, -1, 0});
    assert_int_equal(exchange_state(stage->exchange), EXCHANGE_DONE);
}

static void test_wrong_confirmation(void **state)
{
    struct stage *stage = *state;
    begin(stage, COAP_REQUEST_CODE_POST, 32);
    reply_with(stage, (struct reply){COAP_RESPONSE_CODE(231), BLOCK(1, 1, 1), -1, -1, -1, 0});
    assert_int_equal(exchange_state(stage->exchange), EXCHANGE_BROKEN);
}

static void test_continue_after_the_last(void **state)
{
    struct stage *stage = *state;
    begin(stage, COAP_REQUEST_CODE_POST, 64);
    reply_with(stage, (struct reply){COAP_RESPONSE_CODE(231), BLOCK(0, 1, 2), -1, -1, -1, 0});
    send_next(stage);
    reply_with(stage, (struct reply){COAP_RESPONSE_CODE(231), BLOCK(1, 0, 2), -1, -1, -1, 0});
    assert_int_equal(exchange_state(stage->exchange), EXCHANGE_BROKEN);
}

/* What can be lived with is remarked. */
static void test_remarks(void **state)
{
    static const struct {
        struct reply reply;
        const char *remark;
    } cases[] = {
        {{COAP_RESPONSE_CODE(231), -1, -1, -1, -1, 0}, "2.31 without a Block1 option"},
        {{COAP_RESPONSE_CODE(231), BLOCK(0, 0, 1), -1, -1, -1, 0},
         "2.31 whose Block1 option says that no more blocks are awaited"},
        {{COAP_RESPONSE_CODE(231), BLOCK(0, 1, 1), BLOCK(0, 0, 1), -1, -1, 0}, "2.31 with a Block2 option"},
        {{COAP_RESPONSE_CODE(231), BLOCK(0, 1, 3), -1, -1, -1, 0},
         "2.31 with a larger block size than was sent"},
        {{COAP_RESPONSE_CODE(204), -1, -1, 281, -1, 3}, "answered before the last block of the request"},
    };
    struct stage *stage = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        begin(stage, COAP_REQUEST_CODE_POST, 32);
        reply_with(stage, cases[i].reply);
        assert_string_equal(exchange_answer(stage->exchange)->remarks.text, cases[i].remark);
        assert_int_not_equal(exchange_state(stage->exchange), EXCHANGE_BROKEN);
    }
}

/* BLK-5: the server goes on with smaller blocks, from the same octet. */
static void test_smaller_answer_blocks(void **state)
{
    struct stage *stage = *state;
    begin(stage, COAP_REQUEST_CODE_GET, 64);
    assert_int_equal(option_of(stage->sent, COAP_OPTION_BLOCK2), BLOCK(0, 0, 2));
    reply_with(stage, (struct reply){COAP_RESPONSE_CODE(205), -1, BLOCK(0, 1, 1), 281, -1, 32});
    send_next(stage);
    assert_int_equal(option_of(stage->sent, COAP_OPTION_BLOCK2), BLOCK(1, 0, 1));
    reply_with(stage, (struct reply){COAP_RESPONSE_CODE(205), -1, BLOCK(2, 1, 0), 281, -1, 16});
    send_next(stage);
    assert_int_equal(option_of(stage->sent, COAP_OPTION_BLOCK2), BLOCK(3, 0, 0));
    reply_with(stage, (struct reply){COAP_RESPONSE_CODE(205), -1, BLOCK(3, 0, 0), 281, -1, 1});
    assert_int_equal(exchange_answer(stage->exchange)->payload.len, 49);
}

/* RFC 7959 section 2.4: another ETag, another format, another block, a short block: not the same body. */
static void test_broken_answers(void **state)
{
    static const struct reply cases[] = {
        {COAP_RESPONSE_CODE(205), -1, BLOCK(1, 0, 1), 281, 8, 5},
        {COAP_RESPONSE_CODE(205), -1, BLOCK(1, 0, 1), 281, -1, 5},
        {COAP_RESPONSE_CODE(205), -1, BLOCK(1, 0, 1), 287, 7, 5},
        {COAP_RESPONSE_CODE(205), -1, BLOCK(2, 0, 1), 281, 7, 5},
        {COAP_RESPONSE_CODE(205), -1, BLOCK(0, 1, 1), 281, 7, 32},
        {COAP_RESPONSE_CODE(205), -1, BLOCK(1, 1, 1), 281, 7, 31},
        {COAP_RESPONSE_CODE(205), -1, BLOCK(1, 0, 1), 281, 7, 33},
        {COAP_RESPONSE_CODE(205), -1, BLOCK(1, 0, 7), 281, 7, 5},
    };
    struct stage *stage = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        begin(stage, COAP_REQUEST_CODE_GET, 32);
        reply_with(stage, (struct reply){COAP_RESPONSE_CODE(205), -1, BLOCK(0, 1, 1), 281, 7, 32});
        send_next(stage);
        reply_with(stage, cases[i]);
        assert_int_equal(exchange_state(stage->exchange), EXCHANGE_BROKEN);
        assert_string_not_equal(exchange_fault(stage->exchange), "");
    }
}

/* An error in the middle replaces what came before it. */
static void test_error_between_blocks(void **state)
{
    struct stage *stage = *state;
    begin(stage, COAP_REQUEST_CODE_GET, 32);
    reply_with(stage, (struct reply){COAP_RESPONSE_CODE(205), -1, BLOCK(0, 1, 1), 281, 7, 32});
    send_next(stage);
    reply_with(stage, (struct reply){COAP_RESPONSE_CODE(503), -1, -1, -1, -1, 4});
    assert_int_equal(exchange_state(stage->exchange), EXCHANGE_DONE);
    assert_int_equal(exchange_answer(stage->exchange)->code, COAP_RESPONSE_CODE(503));
    assert_int_equal(exchange_answer(stage->exchange)->payload.len, 4);
}

/* A late response to an earlier message is no response to this one. */
static void test_foreign_token(void **state)
{
    struct stage *stage = *state;
    begin(stage, COAP_REQUEST_CODE_GET, 32);
    coap_pdu_t *stranger = coap_pdu_init(COAP_MESSAGE_ACK, COAP_RESPONSE_CODE(205), 1, 64);
    coap_add_token(stranger, 5, (const uint8_t *)"other");
    exchange_take_response(stage->exchange, stranger);
    coap_delete_pdu(stranger);
    assert_int_equal(exchange_state(stage->exchange), EXCHANGE_WAIT);
}

static int set_up(void **state)
{
    static struct stage stage;
    coap_address_t nowhere;
    coap_address_init(&nowhere);
    nowhere.size = sizeof(nowhere.addr.sin);
    nowhere.addr.sin.sin_family = AF_INET;
    nowhere.addr.sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memset(&stage, 0, sizeof(stage));
    coap_startup();
    stage.context = coap_new_context(NULL);
    stage.session = coap_new_client_session(stage.context, NULL, &nowhere, COAP_PROTO_UDP);
    *state = &stage;
    return stage.session == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    coap_delete_pdu(stage->sent);
    exchange_free(stage->exchange);
    coap_session_release(stage->session);
    coap_free_context(stage->context);
    coap_cleanup();
    return 0;
}

static void begin(struct stage *stage, uint8_t method, unsigned block_size)
{
    bool post = method == COAP_REQUEST_CODE_POST;
    const struct exchange_request request = {.method = method,
                                             .path = "/est/sen",
                                             .content_format =
                                                 post ? CONTENT_FORMAT_PKCS10 : CONTENT_FORMAT_NONE,
                                             .accept = CONTENT_FORMAT_CERTS_ONLY,
                                             .body = {stage->body, post ? CSR_OCTETS : 0},
                                             .block_size = block_size,
                                             .confirmable = true};
    exchange_free(stage->exchange);
    stage->exchange = exchange_create(&request);
    send_next(stage);
}

static void send_next(struct stage *stage)
{
    assert_int_equal(exchange_state(stage->exchange), EXCHANGE_SEND);
    coap_delete_pdu(stage->sent);
    stage->sent = exchange_next_message(stage->exchange, stage->session);
    assert_non_null(stage->sent);
}

static void reply_with(struct stage *stage, struct reply reply)
{
    static const uint8_t payload[64];
    coap_bin_const_t token = coap_pdu_get_token(stage->sent);
    coap_pdu_t *response = coap_pdu_init(COAP_MESSAGE_ACK, reply.code, coap_pdu_get_mid(stage->sent), 256);
    coap_add_token(response, token.length, token.s);
    add(response, COAP_OPTION_ETAG, reply.etag);
    add(response, COAP_OPTION_CONTENT_FORMAT, reply.format);
    add(response, COAP_OPTION_BLOCK2, reply.block2);
    add(response, COAP_OPTION_BLOCK1, reply.block1);
    if (reply.octets > 0)
        coap_add_data(response, reply.octets, payload);
    exchange_take_response(stage->exchange, response);
    coap_delete_pdu(response);
}

static void add(coap_pdu_t *response, coap_option_num_t option, int value)
{
    uint8_t encoded[4];
    if (value >= 0)
        coap_add_option(response, option, coap_encode_var_safe(encoded, sizeof(encoded), (unsigned)value),
                        encoded);
}

static int64_t option_of(const coap_pdu_t *message, coap_option_num_t option)
{
    coap_opt_iterator_t iterator;
    const coap_opt_t *found = coap_check_option(message, option, &iterator);
    return found == NULL ? NOT_THERE
                         : (int64_t)coap_decode_var_bytes(coap_opt_value(found), coap_opt_length(found));
}

static size_t payload_length(const coap_pdu_t *message)
{
    size_t length = 0;
    const uint8_t *at = NULL;
    coap_get_data(message, &length, &at);
    return length;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_both_directions),
        TEST(test_smaller_upload_blocks),
        TEST(test_upload_starts_again_after_incomplete),
        TEST(test_too_large),
        TEST(test_wrong_confirmation),
        TEST(test_continue_after_the_last),
        TEST(test_remarks),
        TEST(test_smaller_answer_blocks),
        TEST(test_broken_answers),
        TEST(test_error_between_blocks),
        TEST(test_foreign_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
