/* CoRE Link Format: how links are written and filtered (RFC 6690 section 4.1, DISC-1). */
#include "common/link_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct link sen = {"/est/sen", "ace.est.sen", "281 287"};
static const struct link two_types = {"/a", "ace.est brski", "285"};
static const struct link bare = {"/b", NULL, NULL};

static bool selects(const char *query, const struct link *link)
{
    return link_format_matches(link, bytes_from_string(query));
}

static void links_are_written_like_those_of_rfc_9148(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 1000);
    link_format_append(&out, &sen);
    link_format_append(&out, &two_types);
    link_format_append(&out, &bare);
    assert_string_equal(buffer_string(&out),
                        "</est/sen>;rt=\"ace.est.sen\";ct=\"281 287\",</a>;rt=\"ace.est brski\";ct=285,</b>");
    buffer_free(&out);
}

static void writing_stops_at_the_limit(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 20);
    link_format_append(&out, &sen);
    assert_int_equal(out.status, STATUS_TOO_LARGE);
    buffer_free(&out);
}

static void disc_1_exact_value(void **state)
{
    (void)state;
    assert_true(selects("rt=ace.est.sen", &sen));
    assert_false(selects("rt=ace.est.se", &sen));
    assert_false(selects("rt=ace.est.senx", &sen));
    assert_false(selects("rt=ACE.EST.SEN", &sen));
    assert_false(selects("rt=", &sen));
}

static void disc_1_prefix(void **state)
{
    (void)state;
    assert_true(selects("rt=ace.est*", &sen));
    assert_true(selects("rt=ace.est.sen*", &sen)); /* any string is a prefix of itself */
    assert_true(selects("rt=*", &sen));            /* and the empty one of all that exist */
    assert_false(selects("rt=ace.est.senx*", &sen));
    assert_false(selects("rt=ce.est*", &sen));
    assert_false(selects("rt=ace*sen", &sen)); /* only the last octet is a wildcard */
    assert_false(selects("rt=ace.est**", &sen));
}

static void disc_1_each_value_matches_separately(void **state)
{
    (void)state;
    assert_true(selects("rt=ace.est", &two_types));
    assert_true(selects("rt=brski", &two_types));
    assert_true(selects("rt=br*", &two_types));
    assert_false(selects("rt=est", &two_types));
    assert_false(selects("rt=ace.est brski", &two_types));
    assert_true(selects("ct=287", &sen));
    assert_false(selects("ct=28", &sen));
    assert_true(selects("ct=28*", &sen));
}

static void target_is_href(void **state)
{
    (void)state;
    assert_true(selects("href=/est/sen", &sen));
    assert_true(selects("href=/est*", &sen));
    assert_false(selects("href=/est", &sen));
}

static void what_a_link_does_not_have_selects_nothing(void **state)
{
    (void)state;
    assert_false(selects("rt=*", &bare));
    assert_false(selects("ct=*", &bare));
    assert_true(selects("href=*", &bare));
    assert_false(selects("if=*", &sen));
    assert_false(selects("=*", &sen));
    assert_false(selects("RT=*", &sen));
    assert_false(selects("rt", &sen));
    assert_false(selects("r=ace.est.sen", &sen));
}

static void no_query_is_no_filter(void **state)
{
    (void)state;
    assert_true(selects("", &sen));
    assert_true(selects(NULL, &bare));
}

static void octets_of_any_kind_are_compared_as_they_are(void **state)
{
    (void)state;
    assert_false(link_format_matches(&sen, BYTES_LITERAL("rt=ace.est.sen\0")));
    assert_false(link_format_matches(&sen, BYTES_LITERAL("rt=\xff*")));
    assert_false(link_format_matches(&sen, BYTES_LITERAL("rt=ace.est%2A"))); /* CoAP has decoded before */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(links_are_written_like_those_of_rfc_9148),
        cmocka_unit_test(writing_stops_at_the_limit),
        cmocka_unit_test(disc_1_exact_value),
        cmocka_unit_test(disc_1_prefix),
        cmocka_unit_test(disc_1_each_value_matches_separately),
        cmocka_unit_test(target_is_href),
        cmocka_unit_test(what_a_link_does_not_have_selects_nothing),
        cmocka_unit_test(no_query_is_no_filter),
        cmocka_unit_test(octets_of_any_kind_are_compared_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
