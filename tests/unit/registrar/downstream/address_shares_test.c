/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/downstream/address_shares.h"

#include <stdio.h>
#include <stdlib.h>

static size_t share_of(struct address_shares *shares, const char *peer)
{
    struct endpoint endpoint;
    assert_int_equal(endpoint_parse(peer, &endpoint), STATUS_OK);
    return address_shares_of(shares, &endpoint);
}

/* A peer chooses its port, so that ports must not count. */
static void ports_do_not_count(void **state)
{
    (void)state;
    struct address_shares *shares = address_shares_create();
    assert_int_equal(share_of(shares, "192.0.2.1:1"), share_of(shares, "192.0.2.1:65535"));
    assert_int_equal(share_of(shares, "[2001:db8::1]:1"), share_of(shares, "[2001:db8::1]:65535"));
    assert_int_equal(share_of(shares, "[fe80::1%1]:1"), share_of(shares, "[fe80::1%1]:65535"));
    address_shares_free(shares);
}

/* 1,000 addresses in 1,024 shares: about 640 different ones, by a key that nobody knows. */
static void addresses_count(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct address_shares *shares = address_shares_create(), *others = address_shares_create();
    bool taken[1024] = {false};
    unsigned different = 0, alike = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        char peer[64];
        if (i % 2 == 0)
            snprintf(peer, sizeof peer, "[2001:db8::%x]:5684", i);
        else
            snprintf(peer, sizeof peer, "10.0.%u.%u:5684", i / 256, i % 256);
        size_t share = share_of(shares, peer);
        assert_true(share < 1024);
        different += !taken[share];
        taken[share] = true;
        alike += share == share_of(others, peer);
    }
    assert_true(different > 550);
    assert_true(alike < 50);
    address_shares_free(shares);
    address_shares_free(others);
}

static void counts_each_share_and_the_largest(void **state)
{
    (void)state;
    struct address_shares *shares = address_shares_create();
    assert_int_equal(address_shares_largest(shares), 0);
    address_shares_add(shares, 0);
    address_shares_add(shares, 1023);
    address_shares_add(shares, 1023);
    assert_int_equal(address_shares_largest(shares), 2);
    assert_int_equal(address_shares_count(shares, 0), 1);
    assert_int_equal(address_shares_count(shares, 1), 0);
    assert_int_equal(address_shares_count(shares, 1023), 2);
    address_shares_subtract(shares, 1023);
    assert_int_equal(address_shares_largest(shares), 1);
    address_shares_free(shares);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ports_do_not_count),
        cmocka_unit_test(addresses_count),
        cmocka_unit_test(counts_each_share_and_the_largest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
