/* PAY-2 to PAY-4: base64 as EST writes and reads it. */
#include "common/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void assert_encodes(const char *octets, enum base64_lines lines, const char *text)
{
    struct buffer out;
    buffer_init(&out, 1000);
    base64_encode(bytes_from_string(octets), lines, &out);
    assert_int_equal(out.status, STATUS_OK);
    assert_string_equal(buffer_string(&out), text);
    buffer_free(&out);
}

static void assert_decodes(const char *text, const char *octets)
{
    struct buffer out;
    buffer_init(&out, 1000);
    assert_int_equal(base64_decode(bytes_from_string(text), &out), STATUS_OK);
    assert_string_equal(buffer_string(&out), octets);
    buffer_free(&out);
}

static void assert_malformed(struct bytes text)
{
    struct buffer out;
    buffer_init(&out, 1000);
    buffer_append_string(&out, "kept");
    assert_int_equal(base64_decode(text, &out), STATUS_MALFORMED);
    assert_int_equal(out.status, STATUS_OK);
    assert_string_equal(buffer_string(&out), "kept");
    buffer_free(&out);
}

static void encodes_the_test_vectors_of_rfc_4648(void **state)
{
    (void)state;
    assert_encodes("", BASE64_ONE_LINE, "");
    assert_encodes("f", BASE64_ONE_LINE, "Zg==");
    assert_encodes("fo", BASE64_ONE_LINE, "Zm8=");
    assert_encodes("foo", BASE64_ONE_LINE, "Zm9v");
    assert_encodes("foob", BASE64_ONE_LINE, "Zm9vYg==");
    assert_encodes("fooba", BASE64_ONE_LINE, "Zm9vYmE=");
    assert_encodes("foobar", BASE64_ONE_LINE, "Zm9vYmFy");
}

static void decodes_the_test_vectors_of_rfc_4648(void **state)
{
    (void)state;
    assert_decodes("", "");
    assert_decodes("Zg==", "f");
    assert_decodes("Zm8=", "fo");
    assert_decodes("Zm9v", "foo");
    assert_decodes("Zm9vYg==", "foob");
    assert_decodes("Zm9vYmE=", "fooba");
    assert_decodes("Zm9vYmFy", "foobar");
}

#define LINE_OF_48 "012345678901234567890123456789012345678901234567"
#define LINE_OF_64 "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3"

static void pay_3_lines_have_64_columns_and_each_is_ended(void **state)
{
    (void)state;
    assert_encodes(LINE_OF_48, BASE64_64_LF, LINE_OF_64 "\n");
    assert_encodes(LINE_OF_48 "f", BASE64_64_LF, LINE_OF_64 "\nZg==\n");
    assert_encodes(LINE_OF_48 LINE_OF_48, BASE64_64_CRLF, LINE_OF_64 "\r\n" LINE_OF_64 "\r\n");
    assert_encodes(LINE_OF_48 "f", BASE64_ONE_LINE, LINE_OF_64 "Zg==");
    assert_encodes("", BASE64_64_CRLF, "");
}

static void pay_4_white_space_is_ignored_anywhere(void **state)
{
    (void)state;
    assert_decodes(" \r\n\tZ m\r9\nv\tYg = \r\n=\r\n", "foob");
    assert_decodes("\r\n", "");
    assert_decodes("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3MDEyMzQ1Njc4\r\n"
                   "OTAx\r\n",
                   LINE_OF_48 "012345678901");
}

static void pay_4_everything_else_is_malformed(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "Zm9v!",    "Z!m9v", "Zm9v-", "Zm9_",  "Zm9v\v",   "Zm9v\xc2\xa0", "\xff\xff\xff\xff",
        "Z",        "Zm",    "Zm9",   "Zm9vY", "Zg=",      "Zm8",          "=",
        "====",     "Z===",  "Zg===", "Zm9v=", "Zm9v====", "Zm8==",        "Zg==Zg==",
        "Zm8=Zm9v", "Zg==x", "Zh==",  "Zm9=",  "Z=g=",     "Zm=8",         "--",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_malformed(bytes_from_string(texts[i]));
    assert_malformed(BYTES_LITERAL("Zm\0009v"));
}

static void pay_7_der_is_not_base64(void **state)
{
    (void)state;
    assert_malformed(BYTES_LITERAL("\x30\x82\x02\x7b\x06\x09\x2a\x86\x48\x86"));
}

static void every_octet_survives_at_every_length(void **state)
{
    (void)state;
    uint8_t octets[256];
    for (size_t i = 0; i < sizeof octets; i++)
        octets[i] = (uint8_t)(i * 167 + 13);
    for (size_t len = 0; len <= sizeof octets; len++)
        for (enum base64_lines lines = BASE64_ONE_LINE; lines <= BASE64_64_CRLF; lines++) {
            struct buffer text, back;
            buffer_init(&text, 1000);
            buffer_init(&back, len);
            base64_encode((struct bytes){octets, len}, lines, &text);
            assert_int_equal(base64_decode(buffer_view(&text), &back), STATUS_OK);
            assert_true(bytes_equal(buffer_view(&back), (struct bytes){octets, len}));
            buffer_free(&text);
            buffer_free(&back);
        }
}

static void the_length_is_known_before(void **state)
{
    (void)state;
    static const uint8_t zeros[200];
    static const enum base64_lines lines[] = {BASE64_ONE_LINE, BASE64_64_LF, BASE64_64_CRLF};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        for (size_t len = 0; len <= sizeof zeros; len++) {
            struct buffer text;
            buffer_init(&text, 1000);
            base64_encode((struct bytes){zeros, len}, lines[i], &text);
            assert_int_equal(base64_encoded_length(len, lines[i]), text.len);
            buffer_free(&text);
        }
    }
}

static void decoding_stops_at_the_limit(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 5);
    buffer_append_string(&out, "abc");
    assert_int_equal(base64_decode(BYTES_LITERAL("Zm9v"), &out), STATUS_TOO_LARGE);
    assert_int_equal(out.len, 3);
    buffer_free(&out);
}

static void encoding_stops_at_the_limit(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 7);
    base64_encode(BYTES_LITERAL("foobar"), BASE64_ONE_LINE, &out);
    assert_int_equal(out.status, STATUS_TOO_LARGE);
    buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodes_the_test_vectors_of_rfc_4648),
        cmocka_unit_test(decodes_the_test_vectors_of_rfc_4648),
        cmocka_unit_test(pay_3_lines_have_64_columns_and_each_is_ended),
        cmocka_unit_test(pay_4_white_space_is_ignored_anywhere),
        cmocka_unit_test(pay_4_everything_else_is_malformed),
        cmocka_unit_test(pay_7_der_is_not_base64),
        cmocka_unit_test(every_octet_survives_at_every_length),
        cmocka_unit_test(the_length_is_known_before),
        cmocka_unit_test(decoding_stops_at_the_limit),
        cmocka_unit_test(encoding_stops_at_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
