/* Row DTLS-6: the stateless cookie exchange. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/downstream/dtls_cookie.h"

#include <malloc.h>
#include <string.h>

#define FLOW BYTES_LITERAL("one flow")

static struct dtls_cookie_secret secret;

static int make_secret(void **state)
{
    (void)state;
    return dtls_cookie_secret_make(&secret);
}

static struct dtls_client_hello first_hello(uint8_t random)
{
    struct dtls_client_hello hello = {.record_sequence = 0x010203040506};
    memset(hello.random, random, sizeof hello.random);
    return hello;
}

/* Asks for a cookie and gives the ClientHello that brings it back; the cookie is in answer. */
static struct dtls_client_hello second_hello(uint64_t now_ms, struct bytes flow, uint8_t random,
                                             struct buffer *answer)
{
    struct dtls_client_hello hello = first_hello(random);
    assert_int_equal(dtls_cookie_judge(&secret, now_ms, flow, &hello, answer), COOKIE_NONE);
    assert_int_equal(answer->len, DTLS_HELLO_VERIFY_REQUEST_OCTETS);
    hello.message_seq = 1;
    hello.cookie = bytes_slice(buffer_view(answer), answer->len - DTLS_COOKIE_OCTETS, DTLS_COOKIE_OCTETS);
    return hello;
}

static enum dtls_cookie_verdict judge(uint64_t now_ms, struct bytes flow,
                                      const struct dtls_client_hello *hello)
{
    struct buffer answer;
    buffer_init(&answer, DTLS_HELLO_VERIFY_REQUEST_OCTETS);
    enum dtls_cookie_verdict verdict = dtls_cookie_judge(&secret, now_ms, flow, hello, &answer);
    assert_int_equal(answer.status, STATUS_OK);
    bool answered = verdict == COOKIE_NONE || verdict == COOKIE_WRONG;
    assert_int_equal(answer.len, answered ? DTLS_HELLO_VERIFY_REQUEST_OCTETS : 0);
    buffer_free(&answer);
    return verdict;
}

static void answers_with_a_hello_verify_request(void **state)
{
    (void)state;
    const uint8_t expected[] = {22,   0xfe, 0xff,
                                0,    0,    1,
                                2,    3,    4,
                                5,    6,    0,
                                31, /* its record_sequence */
                                3,    0,    0,
                                19,   0,    0,
                                0,    0,    0,
                                0,    0,    19, /* message_seq 0, whole */
                                0xfe, 0xff, DTLS_COOKIE_OCTETS};
    struct buffer answer;
    buffer_init(&answer, 100);
    second_hello(1000, FLOW, 1, &answer);
    assert_memory_equal(answer.at, expected, sizeof expected);
    assert_int_equal(answer.len, sizeof expected + DTLS_COOKIE_OCTETS);
    buffer_free(&answer);
}

/* The smallest datagram in which a ClientHello is found: two empty vectors behind version and random. */
static void answer_is_smaller_than_any_request(void **state)
{
    (void)state;
    assert_true(DTLS_HELLO_VERIFY_REQUEST_OCTETS <
                DTLS_RECORD_HEADER + DTLS_HANDSHAKE_HEADER + 2 + DTLS_RANDOM_OCTETS + 1 + 1);
    uint8_t datagram[DTLS_RECORD_HEADER + DTLS_HANDSHAKE_HEADER + 2 + DTLS_RANDOM_OCTETS + 1 + 1] = {
        22, 0xfe, 0xfd, 0,  0, 0, 0, 0, 0, 0, 0, 0, sizeof datagram - DTLS_RECORD_HEADER,
        1,  0,    0,    36, 0, 0, 0, 0, 0, 0, 0, 36};
    struct dtls_client_hello hello;
    assert_true(dtls_client_hello_read((struct bytes){datagram, sizeof datagram}, &hello));
    datagram[12]--, datagram[24]--;
    assert_false(dtls_client_hello_read((struct bytes){datagram, sizeof datagram - 1}, &hello));
}

static void accepts_the_cookie_that_it_gave(void **state)
{
    (void)state;
    struct buffer answer;
    buffer_init(&answer, 100);
    struct dtls_client_hello hello = second_hello(1000, FLOW, 1, &answer);
    assert_int_equal(judge(1000, FLOW, &hello), COOKIE_GOOD);
    hello.record_sequence++;
    assert_int_equal(judge(2000, FLOW, &hello), COOKIE_GOOD);
    buffer_free(&answer);
}

/* Good for one to two periods, whenever in its period it was given. */
static void cookie_expires(void **state)
{
    (void)state;
    static const uint64_t given_at[] = {0, 1, DTLS_COOKIE_PERIOD_MS - 1, DTLS_COOKIE_PERIOD_MS};
    for (size_t i = 0; i < sizeof given_at / sizeof given_at[0]; i++) {
        struct buffer answer;
        buffer_init(&answer, 100);
        struct dtls_client_hello hello = second_hello(given_at[i], FLOW, 1, &answer);
        assert_int_equal(judge(given_at[i] + DTLS_COOKIE_PERIOD_MS, FLOW, &hello), COOKIE_GOOD);
        assert_int_equal(judge(given_at[i] + 2 * DTLS_COOKIE_PERIOD_MS, FLOW, &hello), COOKIE_WRONG);
        buffer_free(&answer);
    }
}

static void cookie_is_bound_to_flow_random_and_secret(void **state)
{
    (void)state;
    struct buffer answer;
    buffer_init(&answer, 100);
    struct dtls_client_hello hello = second_hello(1000, FLOW, 1, &answer);
    assert_int_equal(judge(1000, BYTES_LITERAL("one floW"), &hello), COOKIE_WRONG);
    assert_int_equal(judge(1000, BYTES_LITERAL("one flow "), &hello), COOKIE_WRONG);

    hello.random[31] ^= 1;
    assert_int_equal(judge(1000, FLOW, &hello), COOKIE_WRONG);
    hello.random[31] ^= 1;
    assert_int_equal(judge(1000, FLOW, &hello), COOKIE_GOOD);

    secret.octets[0] ^= 1;
    assert_int_equal(judge(1000, FLOW, &hello), COOKIE_WRONG);
    secret.octets[0] ^= 1;
    buffer_free(&answer);
}

static void every_bit_of_the_cookie_counts(void **state)
{
    (void)state;
    struct buffer answer;
    buffer_init(&answer, 100);
    struct dtls_client_hello hello = second_hello(1000, FLOW, 1, &answer);
    uint8_t *cookie = answer.at + answer.len - DTLS_COOKIE_OCTETS;
    for (unsigned bit = 0; bit < 8 * DTLS_COOKIE_OCTETS; bit++) {
        cookie[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(judge(1000, FLOW, &hello), COOKIE_WRONG);
        cookie[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    hello.cookie.len--;
    assert_int_equal(judge(1000, FLOW, &hello), COOKIE_WRONG);
    buffer_free(&answer);
}

/* DTLSv1_listen can only start at message_seq 1; anything higher could be answered for ever. */
static void message_seq_must_be_one(void **state)
{
    (void)state;
    struct buffer answer;
    buffer_init(&answer, 100);
    struct dtls_client_hello hello = second_hello(1000, FLOW, 1, &answer);
    hello.message_seq = 0;
    assert_int_equal(judge(1000, FLOW, &hello), COOKIE_WRONG);
    hello.message_seq = 2;
    assert_int_equal(judge(1000, FLOW, &hello), COOKIE_LOST);
    buffer_free(&answer);
}

/* DTLS-6, and the bound on what an unproven peer may cost: 50,000 ClientHellos leave not one octet behind. */
static void keeps_nothing(void **state)
{
    (void)state;
    struct buffer answer;
    buffer_init(&answer, 100);
    uint8_t flow[8] = {0};
    struct dtls_client_hello hello = first_hello(0);
    assert_int_equal(dtls_cookie_judge(&secret, 0, (struct bytes){flow, 8}, &hello, &answer), COOKIE_NONE);
    size_t before = mallinfo2().uordblks;
    for (uint32_t i = 0; i < 50000; i++) {
        memcpy(flow, &i, sizeof i);
        memcpy(hello.random, &i, sizeof i);
        buffer_reset(&answer);
        assert_int_equal(dtls_cookie_judge(&secret, i, (struct bytes){flow, 8}, &hello, &answer),
                         COOKIE_NONE);
    }
    assert_int_equal(mallinfo2().uordblks, before);
    buffer_free(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_with_a_hello_verify_request),
        cmocka_unit_test(answer_is_smaller_than_any_request),
        cmocka_unit_test(accepts_the_cookie_that_it_gave),
        cmocka_unit_test(cookie_expires),
        cmocka_unit_test(cookie_is_bound_to_flow_random_and_secret),
        cmocka_unit_test(every_bit_of_the_cookie_counts),
        cmocka_unit_test(message_seq_must_be_one),
        cmocka_unit_test(keeps_nothing),
    };
    return cmocka_run_group_tests(tests, make_secret, NULL);
}
