/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/downstream/dtls_record.h"

#include <stdio.h>
#include <string.h>

/* A ClientHello of 52 octets of body whose last 16 are the cookie, whole. */
static const uint8_t hello_with_cookie[] = {
    22,   0xfe, 0xfd, 0,    0,    0,    0,    0,    0,    0,    7,    0,    64, /* record, sequence 7 */
    1,    0,    0,    52,   0,    1,    0,    0,    0,    0,    0,    52,       /* message_seq 1 */
    0xfe, 0xfd,                                                                 /* client_version */
    1,    2,    3,    4,    5,    6,    7,    8,    9,    10,   11,   12,   13,   14,   15,   16, /* random */
    17,   18,   19,   20,   21,   22,   23,   24,   25,   26,   27,   28,   29,   30,   31,   32, /* random */
    0, /* session_id */
    16,   0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf};

#define HELLO_OCTETS sizeof hello_with_cookie

static void reads_records_one_by_one(void **state)
{
    (void)state;
    const uint8_t octets[] = {20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 1,
                              23, 0xfe, 0xff, 0, 1, 1, 2, 3, 4, 5, 6, 0, 0};
    struct bytes datagram = {octets, sizeof octets};
    struct dtls_record record;
    assert_true(dtls_record_take(&datagram, &record));
    assert_int_equal(record.type, DTLS_CHANGE_CIPHER_SPEC);
    assert_int_equal(record.version, DTLS_VERSION_1_2);
    assert_int_equal(record.epoch, 0);
    assert_int_equal(record.sequence, 9);
    assert_int_equal(record.fragment.len, 1);
    assert_ptr_equal(record.whole.at, octets);
    assert_int_equal(record.whole.len, 14);

    assert_true(dtls_record_take(&datagram, &record));
    assert_int_equal(record.type, DTLS_APPLICATION_DATA);
    assert_int_equal(record.version, DTLS_VERSION_1_0);
    assert_int_equal(record.epoch, 1);
    assert_int_equal(record.sequence, 0x010203040506);
    assert_int_equal(record.fragment.len, 0);
    assert_int_equal(datagram.len, 0);
    assert_false(dtls_record_take(&datagram, &record));
}

static void refuses_what_is_cut_off_or_not_dtls(void **state)
{
    (void)state;
    struct dtls_record record;
    for (size_t len = 0; len < HELLO_OCTETS; len++) {
        struct bytes datagram = {hello_with_cookie, len};
        assert_false(dtls_record_take(&datagram, &record));
        assert_int_equal(datagram.len, len);
    }
    for (unsigned version = 0; version <= 0xffff; version++) {
        uint8_t octets[HELLO_OCTETS];
        memcpy(octets, hello_with_cookie, sizeof octets);
        octets[1] = (uint8_t)(version >> 8);
        octets[2] = (uint8_t)version;
        struct bytes datagram = {octets, sizeof octets};
        assert_int_equal(dtls_record_take(&datagram, &record), version == 0xfeff || version == 0xfefd);
    }
}

static void numbers_plaintext_records_anew(void **state)
{
    (void)state;
    uint8_t octets[] = {20,   0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 1, 22,
                        0xfe, 0xfd, 0,    1, 1, 2, 3, 4, 5, 6, 0, 2, 7, 8, 21,
                        0xfe, 0xfd, 0,    0, 9, 9, 9, 9, 9, 9, 0, 2, 2, 40};
    const uint8_t expected[] = {20,   0xfe, 0xfd, 0, 0, 0, 0,    0x11, 0x22, 0x33, 0xff, 0, 1, 1, 22,
                                0xfe, 0xfd, 0,    1, 1, 2, 3,    4,    5,    6,    0,    2, 7, 8, 21,
                                0xfe, 0xfd, 0,    0, 0, 0, 0x11, 0x22, 0x34, 0,    0,    2, 2, 40};
    uint64_t next = 0x112233ff;
    dtls_record_renumber(octets, sizeof octets, &next);
    assert_memory_equal(octets, expected, sizeof expected);
    assert_int_equal(next, 0x11223401);
    dtls_record_renumber(octets, 13, &next); /* cut off: no record */
    assert_int_equal(next, 0x11223401);
}

static void reads_handshake_fragments(void **state)
{
    (void)state;
    const uint8_t octets[] = {11, 0, 0, 10, 0, 2, 0, 0, 8, 0, 0, 2, 0xaa, 0xbb, /* the last 2 octets of 10 */
                              16, 0, 0, 0,  0, 3, 0, 0, 0, 0, 0, 0};
    struct bytes rest = {octets, sizeof octets};
    struct dtls_handshake handshake;
    assert_true(dtls_handshake_take(&rest, &handshake));
    assert_int_equal(handshake.type, 11);
    assert_int_equal(handshake.length, 10);
    assert_int_equal(handshake.message_seq, 2);
    assert_int_equal(handshake.fragment_offset, 8);
    assert_int_equal(handshake.body.len, 2);
    assert_true(dtls_handshake_take(&rest, &handshake));
    assert_int_equal(handshake.body.len, 0);
    assert_int_equal(rest.len, 0);
    for (size_t len = 0; len < 14; len++) {
        rest = (struct bytes){octets, len};
        assert_false(dtls_handshake_take(&rest, &handshake));
    }
}

static void refuses_a_fragment_outside_its_message(void **state)
{
    (void)state;
    const uint8_t octets[] = {11, 0, 0, 10, 0, 2, 0, 0, 9, 0, 0, 2, 0xaa, 0xbb};
    struct bytes rest = {octets, sizeof octets};
    struct dtls_handshake handshake;
    assert_false(dtls_handshake_take(&rest, &handshake));
}

static void reads_a_client_hello(void **state)
{
    (void)state;
    struct dtls_client_hello hello;
    assert_true(dtls_client_hello_read((struct bytes){hello_with_cookie, HELLO_OCTETS}, &hello));
    assert_int_equal(hello.record_sequence, 7);
    assert_int_equal(hello.message_seq, 1);
    assert_memory_equal(hello.random, hello_with_cookie + 27, DTLS_RANDOM_OCTETS);
    assert_int_equal(hello.cookie.len, 16);
    assert_ptr_equal(hello.cookie.at, hello_with_cookie + HELLO_OCTETS - 16);
}

/* A fragmented ClientHello is known by its first fragment, as long as that holds the cookie whole: 52 octets
 * of body when the cookie has 16. */
static void reads_the_first_fragment(void **state)
{
    (void)state;
    struct dtls_client_hello hello;
    uint8_t octets[HELLO_OCTETS];
    memcpy(octets, hello_with_cookie, sizeof octets);
    octets[16] = 200; /* length of the whole message */
    assert_true(dtls_client_hello_read((struct bytes){octets, sizeof octets}, &hello));
    assert_int_equal(hello.cookie.len, 16);

    octets[12] = 63, octets[24] = 51; /* one octet of the cookie is missing */
    assert_false(dtls_client_hello_read((struct bytes){octets, sizeof octets - 1}, &hello));
}

static void refuses_what_is_no_client_hello(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t octet;
    } changes[] = {
        {0, 23},  /* not a handshake record */
        {4, 1},   /* epoch 1 */
        {13, 2},  /* ServerHello */
        {19, 1},  /* not the first fragment */
        {24, 51}, /* octets behind the message */
        {59, 33}, /* a session_id that reaches past the end */
        {60, 17}, /* a cookie that reaches past the end */
    };
    struct dtls_client_hello hello;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        uint8_t octets[HELLO_OCTETS];
        memcpy(octets, hello_with_cookie, sizeof octets);
        octets[changes[i].at] = changes[i].octet;
        assert_false(dtls_client_hello_read((struct bytes){octets, sizeof octets}, &hello));
    }
}

/* constrained-join-proxy-20 appendix A: a ClientHello and a HelloVerifyRequest as other stacks write them. */
static void reads_the_hello_of_another_stack(void **state)
{
    (void)state;
    uint8_t octets[1024];
    FILE *file = fopen(VECTORS "/cjp20-appA-request.dtls-content.bin", "rb");
    assert_non_null(file);
    size_t len = fread(octets, 1, sizeof octets, file);
    fclose(file);
    struct dtls_client_hello hello;
    assert_true(dtls_client_hello_read((struct bytes){octets, len}, &hello));
    assert_int_equal(hello.message_seq, 0);
    assert_int_equal(hello.cookie.len, 0);
    assert_memory_equal(hello.random, octets + 27, DTLS_RANDOM_OCTETS);

    file = fopen(VECTORS "/cjp20-appA-response.dtls-content.bin", "rb");
    assert_non_null(file);
    len = fread(octets, 1, sizeof octets, file);
    fclose(file);
    assert_false(dtls_client_hello_read((struct bytes){octets, len}, &hello));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_records_one_by_one),
        cmocka_unit_test(refuses_what_is_cut_off_or_not_dtls),
        cmocka_unit_test(numbers_plaintext_records_anew),
        cmocka_unit_test(reads_handshake_fragments),
        cmocka_unit_test(refuses_a_fragment_outside_its_message),
        cmocka_unit_test(reads_a_client_hello),
        cmocka_unit_test(reads_the_first_fragment),
        cmocka_unit_test(refuses_what_is_no_client_hello),
        cmocka_unit_test(reads_the_hello_of_another_stack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
