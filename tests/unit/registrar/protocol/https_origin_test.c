/* Which URLs of EST servers are taken (RA-3), and where redirects lead (RA-9). */
#include "registrar/protocol/https_origin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void origins_are_read(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
    } rows[] = {
        {"https://est.example.com", "est.example.com", 443},
        {"https://EST.Example.com:8443", "est.example.com", 8443},
        {"https://[2001:DB8::1]:1", "[2001:db8::1]", 1},
        {"https://192.0.2.1:65535", "192.0.2.1", 65535},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct https_origin origin;
        assert_null(https_origin_read(rows[i].text, &origin));
        assert_string_equal(origin.host, rows[i].host);
        assert_int_equal(origin.port, rows[i].port);
    }
}

static void what_is_no_origin_is_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "est",
        "http://est",
        "https://",
        "https://:1",
        "https://est:",
        "https://est:0",
        "https://est:65536",
        "https://est/",
        "https://est/path",
        "https://user@est",
        "https://user:word@est",
        "https://est?query",
        "https://est#part",
        "https://es t",
        "https://est%41",
        "HTTPS://est",
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct https_origin origin;
        const char *complaint = https_origin_read(rows[i], &origin);
        if (complaint == NULL)
            fail_msg("%s", rows[i]);
        else
            assert_non_null(strstr(complaint, "; use https://host[:port]"));
    }
}

static void the_same_origin_has_the_same_id(void **state)
{
    struct https_origin one, other;
    (void)state;
    assert_null(https_origin_read("https://est.example:443", &one));
    assert_null(https_origin_read("https://EST.example", &other));
    assert_true(https_origin_equal(&one, &other));
    assert_int_equal(https_origin_id(&one), https_origin_id(&other));
    /* Written down elsewhere: it must never change. */
    assert_true(https_origin_id(&one) == UINT64_C(0x178811baf19b897f));

    assert_null(https_origin_read("https://est.example:444", &other));
    assert_false(https_origin_equal(&one, &other));
    assert_int_not_equal(https_origin_id(&one), https_origin_id(&other));
    assert_null(https_origin_read("https://esu.example", &other));
    assert_false(https_origin_equal(&one, &other));
}

static void assert_leads(const char *location, enum status expected, const char *to, uint16_t port)
{
    static const char base[] = "https://est.example:8443/.well-known/est/p1/simpleenroll";
    struct https_origin origin, again;
    struct buffer url;
    buffer_init(&url, HTTPS_URL_OCTETS_MAX);
    enum status status = https_url_resolve(base, bytes_from_string(location), &url, &origin);
    if (status != expected)
        fail_msg("%s: %d", location, status);
    if (status == STATUS_OK) {
        assert_string_equal(buffer_string(&url), to);
        assert_int_equal(origin.port, port);
        assert_int_equal(https_url_origin(to, &again), STATUS_OK);
        assert_true(https_origin_equal(&origin, &again)); /* what is permitted is what is asked */
    }
    buffer_free(&url);
}

/* RA-9, RFC 3986 section 5.4. */
static void redirects_are_resolved(void **state)
{
    (void)state;
    assert_leads("/x", STATUS_OK, "https://est.example:8443/x", 8443);
    assert_leads("x", STATUS_OK, "https://est.example:8443/.well-known/est/p1/x", 8443);
    assert_leads("../../../../x", STATUS_OK, "https://est.example:8443/x", 8443);
    assert_leads("https://other/x?q#part", STATUS_OK, "https://other/x?q", 443);
    assert_leads("https://EST.example:8443/x", STATUS_OK, "https://EST.example:8443/x", 8443);

    assert_leads("//%31%32%37.1/x", STATUS_OK, "https://127.1/x",
                 443); /* which libcurl takes for 127.0.0.1 */

    assert_leads("", STATUS_MALFORMED, NULL, 0);
    assert_leads("http://est.example:8443/x", STATUS_MALFORMED, NULL, 0);
    assert_leads("ftp://est.example/x", STATUS_MALFORMED, NULL, 0);
    assert_leads("file:///etc/passwd", STATUS_MALFORMED, NULL, 0);
    assert_leads("https://user@est.example:8443/x", STATUS_MALFORMED, NULL, 0);
    assert_leads("https://:word@est.example:8443/x", STATUS_MALFORMED, NULL, 0);
    assert_leads("https://est.example:0/x", STATUS_MALFORMED, NULL, 0);
    assert_leads("https://", STATUS_MALFORMED, NULL, 0);
}

static void a_long_redirect_is_refused(void **state)
{
    static char location[HTTPS_URL_OCTETS_MAX + 1];
    (void)state;
    memset(location, 'x', sizeof location - 1);
    assert_leads(location, STATUS_TOO_LARGE, NULL, 0);
    location[HTTPS_URL_OCTETS_MAX - 1] = '\0';
    assert_leads(location, STATUS_TOO_LARGE, NULL, 0); /* with its base */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(origins_are_read),
        cmocka_unit_test(what_is_no_origin_is_refused),
        cmocka_unit_test(the_same_origin_has_the_same_id),
        cmocka_unit_test(redirects_are_resolved),
        cmocka_unit_test(a_long_redirect_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
