#include "registrar/translate/multipart_core.h"

#include "tests/unit/registrar/credentials.h"

#define LIMIT 4096

static enum status read_octets(const char *octets, size_t len, struct multipart_core *message)
{
    return multipart_core_read((struct bytes){(const uint8_t *)octets, len}, message);
}

static void assert_written(const struct multipart_core *message, struct bytes wanted)
{
    struct buffer octets;
    buffer_init(&octets, LIMIT);
    assert_int_equal(multipart_core_write(message, &octets), STATUS_OK);
    assert_int_equal(octets.len, wanted.len);
    assert_memory_equal(octets.at, wanted.at, wanted.len);
    buffer_free(&octets);
}

/* MP-1, MP-2: what is read and written again is the same octets. */
static void vectors(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        size_t count;
        uint16_t formats[2];
        size_t lengths[2];
    } cases[] = {
        {"rfc9148-A3-skg-response.multipart-core.bin", 2, {284, 281}, {138, 467}},
        {"derived-skc-response.multipart-core.bin", 2, {284, 287}, {138, 0}},
        {"rfc9148-fig2-multipart-core-toy.bin", 2, {284, 281}, {8, 8}},
        {"rfc8710-4-empty.multipart-core.bin", 0, {0}, {0}},
        {"rfc8710-4-hello.multipart-core.bin", 1, {0}, {11}},
        {"rfc8710-4-two.multipart-core.bin", 2, {42, 0}, {0}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer octets = read_vector(cases[i].file);
        struct multipart_core message;
        assert_int_equal(multipart_core_read(buffer_view(&octets), &message), STATUS_OK);
        assert_int_equal(message.count, cases[i].count);
        for (size_t j = 0; j < message.count; j++) {
            assert_int_equal(message.parts[j].content_format, cases[i].formats[j]);
            if (cases[i].lengths[j] > 0)
                assert_int_equal(message.parts[j].content.len, cases[i].lengths[j]);
        }
        assert_written(&message, buffer_view(&octets));
        buffer_free(&octets);
    }
}

/* MP-1: RFC 9148 A.3 out of its two parts, draft-08's likewise. */
static void parts_of_the_rfc(void **state)
{
    (void)state;
    struct buffer key = read_vector("rfc9148-A3-skg-key.pkcs8.der"),
                  certificate = read_vector("rfc9148-A3-skg-cert.p7.der"),
                  wanted = read_vector("rfc9148-A3-skg-response.multipart-core.bin");
    const struct multipart_core message = {
        .parts = {{284, false, buffer_view(&key)}, {281, false, buffer_view(&certificate)}}, .count = 2};
    assert_written(&message, buffer_view(&wanted));
    buffer_free(&key);
    buffer_free(&certificate);
    buffer_free(&wanted);
}

/* MP-2 */
static void bad_vectors(void **state)
{
    (void)state;
    static const char *const files[] = {"derived-bad-multipart-core.odd.bin",
                                        "derived-bad-multipart-core.trailing.bin",
                                        "derived-bad-multipart-core.truncated.bin",
                                        "seedjp01-A1-request.asprinted.cbor.bin",
                                        "seedjp01-A1-response.asprinted-repaired.cbor.bin",
                                        "seedjp01-A2-request.asprinted.cbor.bin"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct buffer octets = read_vector(files[i]);
        struct multipart_core message;
        assert_int_equal(multipart_core_read(buffer_view(&octets), &message), STATUS_MALFORMED);
        buffer_free(&octets);
    }
    struct buffer good = read_vector("rfc9148-A3-skg-response.multipart-core.bin");
    for (size_t len = 0; len < good.len; len++) {
        struct multipart_core message;
        assert_int_equal(multipart_core_read((struct bytes){good.at, len}, &message), STATUS_MALFORMED);
    }
    buffer_free(&good);
}

#define EIGHT_PARTS "\0\x40\0\x40\0\x40\0\x40\0\x40\0\x40\0\x40\0\x40"

/* MP-2: heads that are longer than need be and arrays without a length are CBOR too (RFC 8949 section 3). */
static void forms(void **state)
{
    (void)state;
    static const struct {
        const char *octets;
        size_t len;
        enum status status;
        size_t count;
    } cases[] = {
        {"\x82\x18\x3c\x41x", 5, STATUS_OK, 1},
        {"\x82\x00\xf6", 3, STATUS_OK, 1}, /* null */
        {"\x82\x19\xff\xff\x40", 5, STATUS_OK, 1},
        {"\x98\x02\x1b\0\0\0\0\0\0\0\x05\x58\x01x", 14, STATUS_OK, 1},
        {"\x9f\xff", 2, STATUS_OK, 0},
        {"\x9f\x00\x41x\xff", 5, STATUS_OK, 1},
        {"\x9f\x00\x41x\x00\xff", 6, STATUS_MALFORMED, 0},
        {"\x9f\x00\x41x", 4, STATUS_MALFORMED, 0},
        {"\x82\x1a\0\x01\0\0\x40", 7, STATUS_MALFORMED, 0}, /* 65536 */
        {"\x82\x20\x40", 3, STATUS_MALFORMED, 0},           /* -1 */
        {"\x82\x00\x60", 3, STATUS_MALFORMED, 0},           /* text */
        {"\x82\x00\x80", 3, STATUS_MALFORMED, 0},
        {"\x82\x00\xf7", 3, STATUS_MALFORMED, 0}, /* undefined */
        {"\x82\x00\xff", 3, STATUS_MALFORMED, 0},
        {"\x82\x00\x5f\x41x\xff", 6, STATUS_MALFORMED, 0}, /* in pieces */
        {"\x82\xf6\x40", 3, STATUS_MALFORMED, 0},
        {"\x82\x00\x5b\xff\xff\xff\xff\xff\xff\xff\xff", 11, STATUS_MALFORMED, 0},
        {"\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x00\x40", 11, STATUS_MALFORMED, 0},
        {"\xa1\x00\x40", 3, STATUS_MALFORMED, 0},
        {"\x40", 1, STATUS_MALFORMED, 0},
        {"\x1c", 1, STATUS_MALFORMED, 0},
        {"\xd8\x18\x80", 3, STATUS_MALFORMED, 0}, /* a tag before it */
        {"\x90\0\x40\0\x40\0\x40\0\x40\0\x40\0\x40\0\x40\0\x40", 17, STATUS_OK, 8},
        {"\x98\x22" EIGHT_PARTS EIGHT_PARTS "\0\x40", 36, STATUS_TOO_LARGE, 0},
        {"\x98\x20" EIGHT_PARTS EIGHT_PARTS, 34, STATUS_OK, 16},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct multipart_core message;
        assert_int_equal(read_octets(cases[i].octets, cases[i].len, &message), cases[i].status);
        if (cases[i].status == STATUS_OK)
            assert_int_equal(message.count, cases[i].count);
    }
}

/* MP-1: the shortest head of each length. */
static void shortest_heads(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        const char *head;
        size_t head_len;
    } cases[] = {
        {0, "\x82\x19\x01\x1c\x40", 5},         {23, "\x82\x19\x01\x1c\x57", 5},
        {24, "\x82\x19\x01\x1c\x58\x18", 6},    {255, "\x82\x19\x01\x1c\x58\xff", 6},
        {256, "\x82\x19\x01\x1c\x59\x01\0", 7},
    };
    static const uint8_t content[256];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct multipart_core message = {.parts = {{284, false, {content, cases[i].len}}}, .count = 1};
        struct buffer octets;
        buffer_init(&octets, LIMIT);
        assert_int_equal(multipart_core_write(&message, &octets), STATUS_OK);
        assert_int_equal(octets.len, cases[i].head_len + cases[i].len);
        assert_memory_equal(octets.at, cases[i].head, cases[i].head_len);
        buffer_free(&octets);
        buffer_init(&octets, cases[i].head_len + cases[i].len - 1);
        assert_int_equal(multipart_core_write(&message, &octets), STATUS_TOO_LARGE);
        buffer_free(&octets);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors), cmocka_unit_test(parts_of_the_rfc), cmocka_unit_test(bad_vectors),
        cmocka_unit_test(forms),   cmocka_unit_test(shortest_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
