/* Row JPR-7: which addresses a range has. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "common/address_range.h"

static bool contains(const char *text, const char *address)
{
    struct address_range range;
    struct endpoint endpoint;
    assert_int_equal(address_range_parse(text, &range), STATUS_OK);
    assert_int_equal(endpoint_parse(address, &endpoint), STATUS_OK);
    return address_range_contains(&range, &endpoint);
}

static void one_address(void **state)
{
    (void)state;
    assert_true(contains("192.0.2.7", "192.0.2.7:5695"));
    assert_false(contains("192.0.2.7", "192.0.2.6:5695"));
    assert_true(contains("2001:db8::1", "[2001:db8::1]:1"));
    assert_false(contains("2001:db8::1", "[2001:db8::1:1]:1"));
    assert_true(contains("fe80::1", "[fe80::1%1]:1"));
}

static void ranges(void **state)
{
    (void)state;
    assert_true(contains("192.0.2.0/24", "192.0.2.255:1"));
    assert_false(contains("192.0.2.0/24", "192.0.3.0:1"));
    assert_true(contains("192.0.2.16/29", "192.0.2.23:1"));
    assert_false(contains("192.0.2.16/29", "192.0.2.24:1"));
    assert_true(contains("2001:db8::/32", "[2001:db8:ffff::1]:1"));
    assert_false(contains("2001:db8::/32", "[2001:db9::1]:1"));
    assert_true(contains("2001:db8::/33", "[2001:db8:7fff::1]:1"));
    assert_false(contains("2001:db8::/33", "[2001:db8:8000::1]:1"));
    assert_true(contains("::/0", "[2001:db8::1]:1"));
    assert_true(contains("::/0", "192.0.2.1:1"));
    assert_true(contains("0.0.0.0/0", "192.0.2.1:1"));
    assert_false(contains("0.0.0.0/0", "[2001:db8::1]:1"));
}

/* A socket of [::] gives IPv4 addresses like this. */
static void mapped_addresses_are_ipv4(void **state)
{
    (void)state;
    assert_true(contains("192.0.2.0/24", "[::ffff:192.0.2.9]:1"));
    assert_true(contains("::ffff:192.0.2.9", "192.0.2.9:1"));
    assert_false(contains("192.0.2.0/24", "[::192.0.2.9]:1"));
}

static void an_endpoint_that_is_none_is_in_no_range(void **state)
{
    (void)state;
    struct address_range range;
    assert_int_equal(address_range_parse("::/0", &range), STATUS_OK);
    assert_false(address_range_contains(&range, &(struct endpoint){.len = 0}));
}

static void malformed(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "/",
                                        "proxy",
                                        "192.0.2.1/33",
                                        "192.0.2.1/24", /* bits behind the prefix */
                                        "192.0.2.0/",
                                        "192.0.2.0/ 24",
                                        "192.0.2.0/-1",
                                        "192.0.2.0/024x",
                                        "192.0.2.0/24/24",
                                        "192.0.2.1:5690",
                                        "[2001:db8::1]",
                                        "2001:db8::/129",
                                        "2001:db8::/28",
                                        "fe80::1%eth0",
                                        "2001:db8::/0000000000000000000000000000032",
                                        "20010:db8::",
                                        "2001:0db8:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct address_range range;
        assert_int_equal(address_range_parse(texts[i], &range), STATUS_MALFORMED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_address),
        cmocka_unit_test(ranges),
        cmocka_unit_test(mapped_addresses_are_ipv4),
        cmocka_unit_test(an_endpoint_that_is_none_is_in_no_range),
        cmocka_unit_test(malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
