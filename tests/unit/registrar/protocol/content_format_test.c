/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/protocol/content_format.h"

struct row {
    enum content_format format;
    const char *content_type;
    bool matches;
};

static const struct row rows[] = {
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime; smime-type=certs-only", true},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime;smime-type=certs-only", true},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime", true},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime;", true},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime;;", true},
    {CONTENT_FORMAT_CERTS_ONLY, " Application/PKCS7-MIME \t; SMIME-Type = \"Certs-Only\" ", true},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime; smime-type=\"certs\\-only\"", true},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime; name=smime.p7c; smime-type=certs-only", true},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime; name=\"a;b\\\"c\"; smime-type=certs-only", true},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime; smime-type=certs-only; name=\"smime.p7c\"", true},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime; smime-type=server-generated-key", false},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime; smime-type=certs-only; smime-type=other", false},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime; smime-type=certs-only-not", false},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime; smime-type=certs", false},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime; smime-type=\"certs-only", false},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime; smime-type=\"certs-only\\\"", false},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime; smime-type=\"certs-onlyx\"", false},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime; smime-type=\"", false},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime; smime-type=", false},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime; smime-type", false},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime; =certs-only", false},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mimes", false},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7", false},
    {CONTENT_FORMAT_CERTS_ONLY, "application/x-pkcs7-mime", false},
    {CONTENT_FORMAT_CERTS_ONLY, "text/html", false},
    {CONTENT_FORMAT_CERTS_ONLY, "", false},
    {CONTENT_FORMAT_SERVER_KEY, "application/pkcs7-mime; smime-type=server-generated-key", true},
    {CONTENT_FORMAT_SERVER_KEY, "application/pkcs7-mime", false},
    {CONTENT_FORMAT_CSRATTRS, "application/csrattrs", true},
    {CONTENT_FORMAT_CSRATTRS, "application/csrattrs; smime-type=whatever", true},
    {CONTENT_FORMAT_CSRATTRS, "application/csrattrs+x", false},
    {CONTENT_FORMAT_CSRATTRS, "application/pkcs7-mime", false},
    {CONTENT_FORMAT_PKCS8, "application/pkcs8", true},
    {CONTENT_FORMAT_PKCS10, "application/pkcs10", true},
    {CONTENT_FORMAT_ONE_CERT, "application/pkix-cert", true},
    {CONTENT_FORMAT_MULTIPART_CORE, "application/multipart-core", true},
    {CONTENT_FORMAT_LINK, "application/link-format", true},
    {CONTENT_FORMAT_NONE, "application/pkcs7-mime", false},
    {CONTENT_FORMAT_NONE, "", false},
};

/* RFC 9148 section 8.1; requirements A5, pitfall 7. */
static void media_types_match(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool matches =
            content_format_matches_media_type(rows[i].format, bytes_from_string(rows[i].content_type));
        if (matches != rows[i].matches)
            fail_msg("%d against \"%s\": %d", rows[i].format, rows[i].content_type, matches);
    }
}

static void an_absent_content_type_matches_nothing(void **state)
{
    (void)state;
    assert_false(content_format_matches_media_type(CONTENT_FORMAT_CERTS_ONLY, (struct bytes){NULL, 0}));
}

/* A NUL or a line end in a header value is an octet like any other: it matches nothing. */
static void odd_octets_match_nothing(void **state)
{
    (void)state;
    assert_false(content_format_matches_media_type(CONTENT_FORMAT_CSRATTRS,
                                                   BYTES_LITERAL("application/csrattrs\0; a=b")));
    assert_false(content_format_matches_media_type(CONTENT_FORMAT_CSRATTRS,
                                                   BYTES_LITERAL("application/csrattrs\r\n")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(media_types_match),
        cmocka_unit_test(an_absent_content_type_matches_nothing),
        cmocka_unit_test(odd_octets_match_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
