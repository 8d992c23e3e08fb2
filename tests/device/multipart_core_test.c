/* The published examples of multipart-core, and what breaks its grammar. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "multipart_core.h"

static struct octets vector(const char *name)
{
    struct octets octets = {0};
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", VECTORS, name);
    assert_true(octets_from_file(&octets, path, 65536));
    return octets;
}

static void assert_parts(const char *name, const int *formats, size_t count)
{
    struct explanation why = {""};
    struct multipart_core read;
    struct octets payload = vector(name);
    if (!multipart_core_read(octets_view(&payload), &read, &why))
        fail_msg("%s: %s", name, why.text);
    assert_int_equal(read.count, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(read.parts[i].content_format, formats[i]);
    octets_clear(&payload);
}

/* MP-2. */
static void test_published_examples(void **state)
{
    (void)state;
    assert_parts("rfc9148-A3-skg-response.multipart-core.bin", (const int[]){284, 281}, 2);
    assert_parts("derived-skc-response.multipart-core.bin", (const int[]){284, 287}, 2);
    assert_parts("rfc9148-fig2-multipart-core-toy.bin", (const int[]){284, 281}, 2);
    assert_parts("rfc8710-4-empty.multipart-core.bin", NULL, 0);
    assert_parts("rfc8710-4-hello.multipart-core.bin", (const int[]){0}, 1);
    assert_parts("rfc8710-4-two.multipart-core.bin", (const int[]){42, 0}, 2);
}

/* RFC 9148 A.3: the parts are the key and the certificate, octet for octet. */
static void test_contents(void **state)
{
    (void)state;
    struct explanation why;
    struct multipart_core read;
    struct octets payload = vector("rfc9148-A3-skg-response.multipart-core.bin");
    struct octets key = vector("rfc9148-A3-skg-key.pkcs8.der");
    struct octets certificate = vector("rfc9148-A3-skg-cert.p7.der");
    assert_true(multipart_core_read(octets_view(&payload), &read, &why));
    assert_int_equal(read.parts[0].content.len, key.len);
    assert_memory_equal(read.parts[0].content.at, key.at, key.len);
    assert_int_equal(read.parts[1].content.len, certificate.len);
    assert_memory_equal(read.parts[1].content.at, certificate.at, certificate.len);
    octets_clear(&payload);
    octets_clear(&key);
    octets_clear(&certificate);
}

static void assert_refused(struct view payload, const char *reason)
{
    struct explanation why = {""};
    struct multipart_core read;
    assert_false(multipart_core_read(payload, &read, &why));
    if (strstr(why.text, reason) == NULL)
        fail_msg("not \"%s\" but \"%s\"", reason, why.text);
}

static void test_bad_vectors(void **state)
{
    static const char *const rows[][2] = {
        {"derived-bad-multipart-core.odd.bin", "odd number"},
        {"derived-bad-multipart-core.trailing.bin", "follow the multipart-core array"},
        {"derived-bad-multipart-core.truncated.bin", "ends before its length says"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct octets payload = vector(rows[i][0]);
        assert_refused(octets_view(&payload), rows[i][1]);
        octets_clear(&payload);
    }
}

#define ROW(octets, reason)                                                                                  \
    {                                                                                                        \
        {(const uint8_t *)(octets), sizeof(octets) - 1}, reason                                              \
    }

/* RFC 8710 section 2, RFC 8949 section 3. */
static void test_bad_grammar(void **state)
{
    static const struct {
        struct view payload;
        const char *reason;
    } rows[] = {
        ROW("", "no CBOR array"),
        ROW("\x40", "no CBOR array"),
        ROW("\xa1\x00\x40", "no CBOR array"),
        ROW("\x9f\x00\x40\xff", "no CBOR array"), /* of indefinite length */
        ROW("\x9c", "no CBOR array"),
        ROW("\x99\x00", "no CBOR array"),
        ROW("\x81\x00", "odd number"),
        ROW("\x98\x22", "more than 16 parts"),
        ROW("\x9b\xff\xff\xff\xff\xff\xff\xff\xfe", "more than 16 parts"),
        ROW("\x82", "type of part 1"),
        ROW("\x82\x20\x40", "type of part 1"),
        ROW("\x82\x41\x00\x40", "type of part 1"),
        ROW("\x82\x1a\x00\x01\x00\x00\x40", "type of part 1"),
        ROW("\x82\x00", "part 1 is neither"),
        ROW("\x82\x00\x60", "part 1 is neither"),
        ROW("\x82\x00\x00", "part 1 is neither"),
        ROW("\x82\x00\xf5", "part 1 is neither"),
        ROW("\x82\x00\x5f\x41x\xff", "part 1 is neither"),
        ROW("\x82\x00\x41", "part 1 ends before"),
        ROW("\x82\x00\x5b\xff\xff\xff\xff\xff\xff\xff\xff", "part 1 ends before"),
        ROW("\x84\x00\x40\x00", "part 2 is neither"),
        ROW("\x82\x00\xf6\x00", "1 octets follow"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_refused(rows[i].payload, rows[i].reason);
}

static void test_null_and_limits(void **state)
{
    (void)state;
    struct explanation why;
    struct multipart_core read;
    struct view payload = {(const uint8_t *)"\x84\x19\xff\xff\xf6\x00\x41x", 8};
    assert_true(multipart_core_read(payload, &read, &why));
    assert_int_equal(read.parts[0].content_format, 65535);
    assert_true(read.parts[0].is_null);
    assert_false(read.parts[1].is_null);
    assert_int_equal(read.parts[1].content.len, 1);
}

/* Nothing is read past the end: each cut is another allocation, which AddressSanitizer watches. */
static void test_every_cut(void **state)
{
    (void)state;
    struct octets payload = vector("rfc9148-A3-skg-response.multipart-core.bin");
    for (size_t length = 0; length < payload.len; length++) {
        struct octets cut = {0};
        struct explanation why;
        struct multipart_core read;
        assert_true(octets_append(&cut, (struct view){payload.at, length}, 65536));
        assert_false(multipart_core_read(octets_view(&cut), &read, &why));
        octets_clear(&cut);
    }
    octets_clear(&payload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_examples), cmocka_unit_test(test_contents),
        cmocka_unit_test(test_bad_vectors),        cmocka_unit_test(test_bad_grammar),
        cmocka_unit_test(test_null_and_limits),    cmocka_unit_test(test_every_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
