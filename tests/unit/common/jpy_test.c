/* The JPY codec: what it sends, the three forms that it takes, and all that it refuses (requirements B0,
 * JPY-1, JPY-5, JPR-2, JPR-3, JPR-9). */
#include "common/jpy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define TAKE_ALL      (JPY_TAKE_FIVE | JPY_TAKE_MULTIPART)
#define VECTOR_MAX    4096
#define REQUEST       "cjp20-appA-request.jpy.cbor.bin"
#define REQUEST_DTLS  "cjp20-appA-request.dtls-content.bin"
#define RESPONSE      "cjp20-appA-response.jpy.cbor.bin"
#define RESPONSE_DTLS "cjp20-appA-response.dtls-content.bin"
#define FIVE          "derived-cjp01to10-5array-request.jpy.cbor.bin"
#define MULTIPART     "derived-seed01-normalised-multipart-request.jpy.cbor.bin"

struct vector {
    uint8_t at[VECTOR_MAX];
    size_t len;
};

static struct bytes read_vector(const char *name, struct vector *vector)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", VECTORS, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    vector->len = fread(vector->at, 1, sizeof vector->at, file);
    fclose(file);
    assert_true(vector->len > 0 && vector->len < sizeof vector->at);
    return (struct bytes){vector->at, vector->len};
}

/* Decoded to this content, and encoded to the same octets again. */
static struct jpy_message round_trip(const char *name, struct vector *whole, const char *content)
{
    struct vector expected;
    struct jpy_message message;
    struct bytes datagram = read_vector(name, whole);
    assert_int_equal(jpy_decode(datagram, TAKE_ALL, &message), STATUS_OK);
    assert_true(bytes_equal(message.content, read_vector(content, &expected)));

    struct buffer again;
    buffer_init(&again, VECTOR_MAX);
    assert_int_equal(jpy_encode(&message, &again), STATUS_OK);
    assert_true(bytes_equal(buffer_view(&again), datagram));
    assert_int_equal(jpy_overhead(message.form, message.header.len, message.content.len),
                     datagram.len - message.content.len);
    buffer_free(&again);
    return message;
}

static enum status decode(const char *octets, size_t len, unsigned take, struct jpy_message *message)
{
    return jpy_decode((struct bytes){(const uint8_t *)octets, len}, take, message);
}

#define DECODE(literal, take, message) decode(literal, sizeof(literal) - 1, take, message)

static void jpy_1_the_vectors_of_draft_20(void **state)
{
    (void)state;
    struct vector whole;
    struct jpy_message request = round_trip(REQUEST, &whole, REQUEST_DTLS);
    assert_int_equal(request.form, JPY_PAIR);
    assert_int_equal(whole.len, 448);
    assert_int_equal(request.header.len, 16);
    static const uint8_t printed[16] = {0xD0, 0x19, 0x14, 0xBC, 0xC3, 0x76, 0xA8, 0x8F,
                                        0xFE, 0xCC, 0x50, 0xCA, 0x60, 0x17, 0xB0, 0xC1};
    assert_memory_equal(request.header.at, printed, sizeof printed);

    struct vector other;
    struct jpy_message response = round_trip(RESPONSE, &other, RESPONSE_DTLS);
    assert_int_equal(other.len, 80);
    assert_true(bytes_equal(response.header, request.header));
}

static void jpr_9_the_old_form_keeps_its_four_elements_verbatim(void **state)
{
    (void)state;
    struct vector whole;
    struct jpy_message message = round_trip(FIVE, &whole, REQUEST_DTLS);
    assert_int_equal(message.form, JPY_FIVE);
    assert_true(message.header.at == whole.at + 1);
    assert_int_equal(message.header.len, 17 + 3 + 1 + 1);
    assert_int_equal(jpy_decode((struct bytes){whole.at, whole.len}, JPY_TAKE_MULTIPART, &message),
                     STATUS_UNSUPPORTED);
}

static void b0_the_normalised_seed_form(void **state)
{
    (void)state;
    struct vector whole;
    struct jpy_message message = round_trip(MULTIPART, &whole, REQUEST_DTLS);
    assert_int_equal(message.form, JPY_MULTIPART);
    assert_int_equal(message.header.len, 27);
    assert_int_equal(jpy_decode((struct bytes){whole.at, whole.len}, JPY_TAKE_FIVE, &message),
                     STATUS_UNSUPPORTED);
}

static void b0_what_the_seed_printed_is_refused(void **state)
{
    (void)state;
    static const char *const names[] = {
        "seedjp01-A1-request.asprinted.cbor.bin", "seedjp01-A1-response.asprinted-repaired.cbor.bin",
        "seedjp01-A2-request.asprinted.cbor.bin", "seedjp01-A2-response.asprinted-repaired.cbor.bin"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct vector whole;
        struct jpy_message message;
        assert_int_equal(jpy_decode(read_vector(names[i], &whole), TAKE_ALL, &message), STATUS_MALFORMED);
    }
}

static void jpr_3_every_truncation_and_anything_behind_the_end(void **state)
{
    (void)state;
    static const char *const names[] = {REQUEST, RESPONSE, FIVE, MULTIPART};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct vector whole;
        struct jpy_message message;
        struct bytes datagram = read_vector(names[i], &whole);
        for (size_t len = 0; len < datagram.len; len++)
            assert_int_equal(jpy_decode(bytes_slice(datagram, 0, len), TAKE_ALL, &message), STATUS_MALFORMED);
        whole.at[whole.len] = 0;
        assert_int_equal(jpy_decode((struct bytes){whole.at, whole.len + 1}, TAKE_ALL, &message),
                         STATUS_MALFORMED);
    }
}

static void jpr_3_malformed(void **state)
{
    (void)state;
    struct jpy_message message;
    assert_int_equal(DECODE("", TAKE_ALL, &message), STATUS_MALFORMED);
    assert_int_equal(DECODE("\x80", TAKE_ALL, &message), STATUS_MALFORMED);
    assert_int_equal(DECODE("\x81\x41h", TAKE_ALL, &message), STATUS_MALFORMED);
    assert_int_equal(DECODE("\xa1\x41h\x41"
                            "c",
                            TAKE_ALL, &message),
                     STATUS_MALFORMED); /* a map */
    assert_int_equal(DECODE("\x9f\x41h\x41"
                            "c\xff",
                            TAKE_ALL, &message),
                     STATUS_MALFORMED); /* indefinite */
    assert_int_equal(DECODE("\x82\x5f\x41h\xff\x41"
                            "c",
                            TAKE_ALL, &message),
                     STATUS_MALFORMED);
    assert_int_equal(DECODE("\x82\x61h\x41"
                            "c",
                            TAKE_ALL, &message),
                     STATUS_MALFORMED); /* text */
    assert_int_equal(DECODE("\x82\x41h\x61"
                            "c",
                            TAKE_ALL, &message),
                     STATUS_MALFORMED);
    assert_int_equal(DECODE("\x82\x41h\xf6", TAKE_ALL, &message), STATUS_MALFORMED); /* null */
    assert_int_equal(DECODE("\xc1\x82\x41h\x41"
                            "c",
                            TAKE_ALL, &message),
                     STATUS_MALFORMED); /* tagged */
    assert_int_equal(DECODE("\x84\x41h\x01\x01\x41"
                            "c",
                            TAKE_ALL, &message),
                     STATUS_MALFORMED);
    assert_int_equal(DECODE("\x85\x41h\x01\x01\x41i\x41"
                            "c",
                            TAKE_ALL, &message),
                     STATUS_MALFORMED);
    assert_int_equal(DECODE("\x84\x18\x3c\x41h\x18\x2b\x41"
                            "c",
                            TAKE_ALL, &message),
                     STATUS_MALFORMED);
    /* lengths and counts that cannot come true */
    assert_int_equal(DECODE("\x82\x41h\x5b\xff\xff\xff\xff\xff\xff\xff\xff"
                            "c",
                            TAKE_ALL, &message),
                     STATUS_MALFORMED);
    assert_int_equal(DECODE("\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x41h\x41"
                            "c",
                            TAKE_ALL, &message),
                     STATUS_MALFORMED);
    assert_int_equal(DECODE("\x83\x41h\x41"
                            "c\xbb\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                            TAKE_ALL, &message),
                     STATUS_MALFORMED);
}

static void jpr_3_further_elements_are_ignored(void **state)
{
    (void)state;
    struct jpy_message message;
    assert_int_equal(DECODE("\x83\x41h\x41"
                            "c\x01",
                            0, &message),
                     STATUS_OK);
    assert_true(bytes_equal(message.content, BYTES_LITERAL("c")));
    assert_int_equal(DECODE("\x85\x41h\x41"
                            "c\xa1\x01\x82\x61t\xf6\xc1\x00\xfb\x00\x00\x00\x00\x00\x00\x00\x00",
                            0, &message),
                     STATUS_OK);
    assert_true(bytes_equal(message.header, BYTES_LITERAL("h")));
    assert_int_equal(DECODE("\x86\x41h\x01\x20\x00\x41"
                            "c\x05",
                            JPY_TAKE_FIVE, &message),
                     STATUS_OK);
    assert_int_equal(message.form, JPY_FIVE);
    assert_true(bytes_equal(message.header, BYTES_LITERAL("\x41h\x01\x20\x00")));
    assert_int_equal(DECODE("\x83\x41h\x41"
                            "c\x82\x01",
                            0, &message),
                     STATUS_MALFORMED);
    assert_int_equal(DECODE("\x83\x41h\x41"
                            "c\x9f\xff",
                            0, &message),
                     STATUS_MALFORMED);
}

static void a_pile_of_nested_arrays_takes_no_stack(void **state)
{
    (void)state;
    uint8_t datagram[2048];
    struct jpy_message message;
    memset(datagram, 0x81, sizeof datagram);
    memcpy(datagram,
           "\x83\x41h\x41"
           "c",
           5);
    assert_int_equal(jpy_decode((struct bytes){datagram, sizeof datagram}, 0, &message), STATUS_MALFORMED);
    datagram[sizeof datagram - 1] = 0;
    assert_int_equal(jpy_decode((struct bytes){datagram, sizeof datagram}, 0, &message), STATUS_OK);
}

/* JPR-2: 0 octets to 255, and lengths that another encoder wrote longer than needed. */
static void jpr_2_headers_of_every_length(void **state)
{
    (void)state;
    uint8_t octets[JPY_HEADER_MAX + 1];
    for (size_t i = 0; i < sizeof octets; i++)
        octets[i] = (uint8_t)i;
    for (size_t len = 0; len <= sizeof octets; len++) {
        struct jpy_message sent = {JPY_PAIR, {octets, len}, BYTES_LITERAL("content")}, message;
        struct buffer datagram;
        buffer_init(&datagram, VECTOR_MAX);
        assert_int_equal(jpy_encode(&sent, &datagram), STATUS_OK);
        assert_int_equal(datagram.len, 7 + jpy_overhead(JPY_PAIR, len, 7));
        enum status expected = len <= JPY_HEADER_MAX ? STATUS_OK : STATUS_TOO_LARGE;
        assert_int_equal(jpy_decode(buffer_view(&datagram), 0, &message), expected);
        assert_true(bytes_equal(message.header, sent.header));
        buffer_free(&datagram);
    }
    struct jpy_message message;
    assert_int_equal(DECODE("\x98\x02\x59\x00\x01h\x5a\x00\x00\x00\x01"
                            "c",
                            0, &message),
                     STATUS_OK);
    assert_true(bytes_equal(message.header, BYTES_LITERAL("h")));
    assert_true(bytes_equal(message.content, BYTES_LITERAL("c")));
}

/* JPY-5: 3 to 6 octets and the header. */
static void jpy_5_overhead(void **state)
{
    (void)state;
    assert_int_equal(jpy_overhead(JPY_PAIR, 0, 0), 3);
    assert_int_equal(jpy_overhead(JPY_PAIR, 16, 427), 16 + 5);
    assert_int_equal(jpy_overhead(JPY_PAIR, 32, 1200), 32 + 6);
}

static void writing_stops_at_the_limit(void **state)
{
    (void)state;
    struct jpy_message message = {JPY_PAIR, BYTES_LITERAL("header"), BYTES_LITERAL("content")};
    struct buffer datagram;
    buffer_init(&datagram, 15);
    assert_int_equal(jpy_encode(&message, &datagram), STATUS_TOO_LARGE);
    buffer_free(&datagram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jpy_1_the_vectors_of_draft_20),
        cmocka_unit_test(jpr_9_the_old_form_keeps_its_four_elements_verbatim),
        cmocka_unit_test(b0_the_normalised_seed_form),
        cmocka_unit_test(b0_what_the_seed_printed_is_refused),
        cmocka_unit_test(jpr_3_every_truncation_and_anything_behind_the_end),
        cmocka_unit_test(jpr_3_malformed),
        cmocka_unit_test(jpr_3_further_elements_are_ignored),
        cmocka_unit_test(a_pile_of_nested_arrays_takes_no_stack),
        cmocka_unit_test(jpr_2_headers_of_every_length),
        cmocka_unit_test(jpy_5_overhead),
        cmocka_unit_test(writing_stops_at_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
