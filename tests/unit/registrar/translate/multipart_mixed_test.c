#include "registrar/translate/multipart_mixed.h"

#include "common/base64.h"
#include "tests/unit/registrar/credentials.h"

#include <string.h>

#define LIMIT 65536

static const char a4_type[] = "multipart/mixed ; boundary=estServerExampleBoundary";

static enum status parse(const char *type, const char *body, struct multipart_mixed *message)
{
    return multipart_mixed_parse(bytes_from_string(type), bytes_from_string(body), message);
}

static void assert_decodes_to(struct bytes text, const char *file)
{
    struct buffer wanted = read_vector(file), octets;
    buffer_init(&octets, LIMIT);
    assert_int_equal(base64_decode(text, &octets), STATUS_OK);
    assert_int_equal(octets.len, wanted.len);
    assert_memory_equal(octets.at, wanted.at, wanted.len);
    buffer_free(&octets);
    buffer_free(&wanted);
}

/* MP-3: CRLF, LF, with and without Content-Transfer-Encoding: the same key and certificate. */
static void vectors(void **state)
{
    (void)state;
    static const char *const files[] = {"rfc7030-A4-serverkeygen.multipart-mixed.crlf.txt",
                                        "rfc7030-A4-serverkeygen.multipart-mixed.lf.txt",
                                        "rfc8951-style-serverkeygen.multipart-mixed.nocte.txt"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct buffer body = read_vector(files[i]);
        struct multipart_mixed message;
        assert_int_equal(multipart_mixed_parse(bytes_from_string(a4_type), buffer_view(&body), &message),
                         STATUS_OK);
        assert_int_equal(message.count, 2);
        assert_string_equal(message.parts[0].content_type, "application/pkcs8");
        assert_string_equal(message.parts[1].content_type, "application/pkcs7-mime; smime-type=certs-only");
        assert_decodes_to(message.parts[0].body, "rfc7030-A4-serverkeygen.key.pkcs8.der");
        assert_decodes_to(message.parts[1].body, "rfc7030-A4-serverkeygen.p7.der");
        buffer_free(&body);
    }
}

/* MP-3: the parameter's name in any case, its value quoted or not, other parameters around it. */
static void content_types(void **state)
{
    (void)state;
    static const struct {
        const char *type, *boundary;
        enum status status;
    } cases[] = {
        {"multipart/mixed; boundary=b", "b", STATUS_OK},
        {"multipart/mixed ; boundary=b", "b", STATUS_OK},
        {"Multipart/Mixed;BOUNDARY=b", "b", STATUS_OK},
        {"multipart/mixed; charset=x; Boundary=\"b\"", "b", STATUS_OK},
        {"multipart/mixed; boundary=\"a b;c\"; x=y", "a b;c", STATUS_OK},
        {"multipart/mixed; boundary=\"a\\\"b\"", "a\"b", STATUS_OK},
        {"multipart/mixed; boundary=1234567890123456789012345678901234567890123456789012345678901234567890",
         "1234567890123456789012345678901234567890123456789012345678901234567890", STATUS_OK},
        {"multipart/mixed; boundary=12345678901234567890123456789012345678901234567890123456789012345678901",
         "12345678901234567890123456789012345678901234567890123456789012345678901", STATUS_MALFORMED},
        {"multipart/mixed", "b", STATUS_MALFORMED},
        {"multipart/mixed; boundary=", "", STATUS_MALFORMED},
        {"multipart/mixed; boundary=\"\"", "", STATUS_MALFORMED},
        {"multipart/mixed; boundary=\"b \"", "b ", STATUS_MALFORMED},
        {"multipart/mixed; boundary=b; boundary=b", "b", STATUS_MALFORMED},
        {"multipart/mixed; boundary=\"b", "b", STATUS_MALFORMED},
        {"multipart/form-data; boundary=b", "b", STATUS_UNSUPPORTED},
        {"application/pkcs7-mime", "b", STATUS_UNSUPPORTED},
        {"", "b", STATUS_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char body[512];
        snprintf(body, sizeof(body), "--%s\r\nA: b\r\n\r\ntext\r\n--%s--\r\n", cases[i].boundary,
                 cases[i].boundary);
        struct multipart_mixed message;
        assert_int_equal(parse(cases[i].type, body, &message), cases[i].status);
        if (cases[i].status == STATUS_OK)
            assert_int_equal(message.count, 1);
    }
}

/* MP-3: what a part's header may look like. */
static void headers_of_parts(void **state)
{
    (void)state;
    static const struct {
        const char *header, *type;
        enum status status;
    } cases[] = {
        {"Content-Type: application/pkcs8\r\n\r\n", "application/pkcs8", STATUS_OK},
        {"CONTENT-TYPE:application/pkcs8  \n\n", "application/pkcs8", STATUS_OK},
        {"content-type :\tapplication/pkcs8\r\n\r\n", "application/pkcs8", STATUS_OK},
        {"X: y\r\nContent-Type: a/b;\r\n\tc=d\r\n e=f\r\nZ: z\r\n\r\n", "a/b; c=d e=f", STATUS_OK},
        {"X: y\r\n Content-Type: a/b\r\n\r\n", "", STATUS_OK},
        {"\r\n", "", STATUS_OK},
        {"Content-Type: a/b\r\nContent-Type: a/b\r\n\r\n", NULL, STATUS_MALFORMED},
        {"no field\r\n\r\n", NULL, STATUS_MALFORMED},
        {": nameless\r\n\r\n", NULL, STATUS_MALFORMED},
        {"Content-Type: a/b\r\n", NULL, STATUS_MALFORMED}, /* its end is missing */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char body[512];
        snprintf(body, sizeof(body), "--b\r\n%s%s--b--\r\n", cases[i].header,
                 cases[i].status == STATUS_OK ? "text\r\n" : "");
        struct multipart_mixed message;
        assert_int_equal(parse("multipart/mixed; boundary=b", body, &message), cases[i].status);
        if (cases[i].status != STATUS_OK)
            continue;
        assert_string_equal(message.parts[0].content_type, cases[i].type);
        assert_true(bytes_equal(message.parts[0].body, BYTES_LITERAL("text")));
    }
}

/* MP-3: delimiters, preamble, epilogue, and what only looks like them. */
static void delimiters(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        size_t count;
        const char *first;
        enum status status;
    } cases[] = {
        {"--b\n\none\n--b\n\ntwo\n--b--", 2, "one", STATUS_OK},
        {"--b  \n\none\n--b-- \t\n", 1, "one", STATUS_OK},
        {"pre\n--bb\n-b\n--b\n\none\n--b--\n--b\n\nepilogue\n", 1, "one", STATUS_OK},
        {"--b\n\none\n--bc\n--b--\n", 1, "one\n--bc", STATUS_OK},
        {"--b\n\none\n--b--x\n--b--\n", 1, "one\n--b--x", STATUS_OK},
        {"--b\n\none\n --b--\n--b--\n", 1, "one\n --b--", STATUS_OK},
        {"--b\n\n\n--b--\n", 1, "", STATUS_OK},
        {"--b\n\n--b--\n", 1, "", STATUS_OK},
        {"--b\n\none\r\n\r\n--b--\n", 1, "one\r\n", STATUS_OK},
        {"", 0, NULL, STATUS_MALFORMED},
        {"no delimiter at all", 0, NULL, STATUS_MALFORMED},
        {"--b--\n", 0, NULL, STATUS_MALFORMED},
        {"--b\n\none\n", 0, NULL, STATUS_MALFORMED},
        {"--b\n\none\n--b", 0, NULL, STATUS_MALFORMED},
        {"--b\n\none\n--b\n", 0, NULL, STATUS_MALFORMED},
        {"--b\n--b--\n", 0, NULL, STATUS_MALFORMED},
        {"--b\n\n1\n--b\n\n2\n--b\n\n3\n--b\n\n4\n--b\n\n5\n--b--\n", 0, NULL, STATUS_TOO_LARGE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct multipart_mixed message;
        assert_int_equal(parse("multipart/mixed; boundary=b", cases[i].body, &message), cases[i].status);
        if (cases[i].status != STATUS_OK)
            continue;
        assert_int_equal(message.count, cases[i].count);
        assert_true(bytes_equal(message.parts[0].body, bytes_from_string(cases[i].first)));
    }
}

/* SEC-1: the type of a part has a bound. */
static void long_types(void **state)
{
    (void)state;
    for (int len = MULTIPART_MIXED_TYPE_OCTETS_MAX; len <= MULTIPART_MIXED_TYPE_OCTETS_MAX + 1; len++) {
        char body[1024];
        snprintf(body, sizeof(body), "--b\nContent-Type: %0*d\n\n--b--\n", len, 0);
        struct multipart_mixed message;
        assert_int_equal(parse("multipart/mixed; boundary=b", body, &message),
                         len <= MULTIPART_MIXED_TYPE_OCTETS_MAX ? STATUS_OK : STATUS_TOO_LARGE);
    }
    const struct bytes with_nul = BYTES_LITERAL("--b\nContent-Type: a\0b\n\n--b--\n");
    struct multipart_mixed message;
    assert_int_equal(
        multipart_mixed_parse(bytes_from_string("multipart/mixed; boundary=b"), with_nul, &message),
        STATUS_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),    cmocka_unit_test(content_types), cmocka_unit_test(headers_of_parts),
        cmocka_unit_test(delimiters), cmocka_unit_test(long_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
