/* JP-10: who may send how much. */
#include "joinproxy/traffic_limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NOW_MS 5000

static const struct limit_settings settings = {
    .interface_packets_per_s = 20, .interface_octets_per_s = 4000, .pledge_packets_per_s = 5};

static int set_up(void **state)
{
    *state = traffic_limits_create(&settings);
    return *state == NULL;
}

static int tear_down(void **state)
{
    traffic_limits_free(*state);
    return 0;
}

static struct endpoint endpoint(const char *text)
{
    struct endpoint parsed;
    assert_int_equal(endpoint_parse(text, &parsed), STATUS_OK);
    return parsed;
}

static unsigned admitted(struct traffic_limits *limits, size_t link, const char *pledge, size_t octets)
{
    const struct endpoint from = endpoint(pledge);
    unsigned count = 0;
    for (int i = 0; i < 100; i++)
        count += traffic_limits_admit_up(limits, link, &from, octets, NOW_MS);
    return count;
}

static void a_pledge_has_its_share_whatever_its_ports(void **state)
{
    assert_int_equal(admitted(*state, 0, "[fe80::1%1]:1", 10), 5);
    assert_int_equal(admitted(*state, 0, "[fe80::1%1]:2", 10), 0);
    assert_int_equal(admitted(*state, 0, "[fe80::2%1]:1", 10), 5);
    assert_int_equal(admitted(*state, 1, "[fe80::1%2]:1", 10), 5);
    assert_int_equal(admitted(*state, 1, "192.0.2.1:1", 10), 5);
    assert_int_equal(admitted(*state, 1, "192.0.2.1:2", 10), 0);
}

static void an_interface_has_packets(void **state)
{
    unsigned count = 0;
    for (int i = 1; i <= 9; i++) {
        char text[] = "[fe80::0%1]:1";
        text[7] = (char)('0' + i);
        count += admitted(*state, 0, text, 1);
    }
    assert_int_equal(count, 20);
    assert_int_equal(admitted(*state, 1, "[fe80::a%2]:1", 1), 5);
}

static void an_interface_has_octets(void **state)
{
    assert_int_equal(admitted(*state, 0, "[fe80::1%1]:1", 1500), 2);
    assert_int_equal(admitted(*state, 0, "[fe80::2%1]:1", 1000), 1);
    assert_int_equal(admitted(*state, 0, "[fe80::3%1]:1", 1), 0);
}

/* What the interface refuses is not on the pledge's account. */
static void a_refusal_costs_nothing(void **state)
{
    assert_int_equal(admitted(*state, 0, "[fe80::1%1]:1", 5000), 0);
    assert_int_equal(admitted(*state, 0, "[fe80::1%1]:1", 10), 5);
}

static void directions_are_apart(void **state)
{
    unsigned down = 0;
    for (int i = 0; i < 100; i++)
        down += traffic_limits_admit_down(*state, 0, 10, NOW_MS);
    assert_int_equal(down, 20);
    assert_int_equal(admitted(*state, 0, "[fe80::1%1]:1", 10), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_pledge_has_its_share_whatever_its_ports, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_interface_has_packets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_interface_has_octets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_refusal_costs_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(directions_are_apart, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
