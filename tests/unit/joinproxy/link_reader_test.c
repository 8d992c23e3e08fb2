/* JPD-6: links as others write them (RFC 6690 section 2). */
#include "joinproxy/link_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

static bool is(struct bytes bytes, const char *text)
{
    return bytes_equal(bytes, bytes_from_string(text));
}

static void reads_one_after_the_other(void **state)
{
    (void)state;
    struct bytes rest = BYTES_LITERAL(
        "</a>,<jpy://[2001:db8::1]:5690>;rt=brski.rjp;x;ct=\"40 60\",</c>;title=\"a,<b>;\\\"c\";rt=\"x y\"");
    struct link_read link;
    assert_int_equal(link_reader_next(&rest, &link), STATUS_OK);
    assert_true(is(link.target, "/a") && link.resource_type.len == 0);
    assert_int_equal(link_reader_next(&rest, &link), STATUS_OK);
    assert_true(is(link.target, "jpy://[2001:db8::1]:5690") && is(link.resource_type, "brski.rjp"));
    assert_int_equal(link_reader_next(&rest, &link), STATUS_OK);
    assert_true(is(link.target, "/c") && is(link.resource_type, "x y"));
    assert_int_equal(link_reader_next(&rest, &link), STATUS_NOT_FOUND);
}

static void refuses_what_is_no_link(void **state)
{
    (void)state;
    static const char *const texts[] = {"x",      "<",       "<a",         "<a>x",         "<a>;",
                                        "<a>;=x", "<a>,",    "<a>;rt=\"x", "<a>;rt=\"x\\", "<a>;rt=\"x\"y",
                                        ",<a>",   "<a>,,<b>"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct bytes rest = bytes_from_string(texts[i]);
        struct link_read link;
        enum status status;
        while ((status = link_reader_next(&rest, &link)) == STATUS_OK)
            continue;
        assert_int_equal(status, STATUS_MALFORMED);
    }
}

static void types_are_matched_one_by_one(void **state)
{
    (void)state;
    struct link_read link = {.resource_type = BYTES_LITERAL("core.x ace.est.sen brski")};
    assert_true(link_reader_has_type(&link, "brski"));
    assert_true(link_reader_has_type(&link, "core.x"));
    assert_true(link_reader_has_type(&link, "ace.est*"));
    assert_false(link_reader_has_type(&link, "brski.rjp"));
    assert_false(link_reader_has_type(&link, "ace.est"));
    link.resource_type = (struct bytes){NULL, 0};
    assert_false(link_reader_has_type(&link, "*"));
}

static void endpoints(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        enum status status;
        const char *endpoint;
    } cases[] = {
        {"jpy://[2001:db8::1]:5690", STATUS_OK, "[2001:db8::1]:5690"},
        {"jpy://[2001:db8::1]:5690/path?q", STATUS_OK, "[2001:db8::1]:5690"},
        {"jpy://192.0.2.1:5690", STATUS_OK, "192.0.2.1:5690"},
        {"jpy://[2001:db8::1]", STATUS_MALFORMED, NULL}, /* the port has no default (JPD-3) */
        {"jpy://[2001:db8::1]:0", STATUS_MALFORMED, NULL},
        {"jpy://registrar.example:5690", STATUS_MALFORMED, NULL}, /* no names: nobody looks them up */
        {"jpy://[fe80::1%lo]:5690", STATUS_MALFORMED, NULL},
        {"jpy://[fe80::1%251]:5690", STATUS_MALFORMED, NULL},
        {"jpy://", STATUS_MALFORMED, NULL},
        {"jpyx://[2001:db8::1]:5690", STATUS_MISMATCH, NULL},
        {"coaps://[2001:db8::1]:5690", STATUS_MISMATCH, NULL},
        {"/est/sen", STATUS_MISMATCH, NULL},
        {"", STATUS_MISMATCH, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct link_read link = {.target = bytes_from_string(cases[i].target)};
        struct endpoint found, expected;
        assert_int_equal(link_reader_endpoint(&link, "jpy", &found), cases[i].status);
        if (cases[i].status != STATUS_OK)
            continue;
        assert_int_equal(endpoint_parse(cases[i].endpoint, &expected), STATUS_OK);
        assert_true(endpoint_equal(&found, &expected));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_one_after_the_other),
        cmocka_unit_test(refuses_what_is_no_link),
        cmocka_unit_test(types_are_matched_one_by_one),
        cmocka_unit_test(endpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
