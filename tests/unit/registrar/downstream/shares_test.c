/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/downstream/shares.h"

#include <stdio.h>

/* 1,000 keys in 1,024 shares: about 640 different ones, by a key that nobody knows. */
static void keys_spread(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct shares *shares = shares_create(1024), *others = shares_create(1024);
    bool taken[1024] = {false};
    unsigned different = 0, alike = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        char key[64];
        snprintf(key, sizeof key, "key %u", i);
        size_t share = shares_of(shares, bytes_from_string(key));
        assert_true(share < 1024);
        assert_int_equal(share, shares_of(shares, bytes_from_string(key)));
        different += !taken[share];
        taken[share] = true;
        alike += share == shares_of(others, bytes_from_string(key));
    }
    assert_true(different > 550);
    assert_true(alike < 50);
    shares_free(shares);
    shares_free(others);
}

static void counts_each_share_and_the_largest(void **state)
{
    (void)state;
    struct shares *shares = shares_create(1024);
    assert_int_equal(shares_largest(shares), 0);
    shares_add(shares, 0);
    shares_add(shares, 1023);
    shares_add(shares, 1023);
    assert_int_equal(shares_largest(shares), 2);
    assert_int_equal(shares_count(shares, 0), 1);
    assert_int_equal(shares_count(shares, 1), 0);
    assert_int_equal(shares_count(shares, 1023), 2);
    shares_subtract(shares, 1023);
    assert_int_equal(shares_largest(shares), 1);
    shares_free(shares);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_spread),
        cmocka_unit_test(counts_each_share_and_the_largest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
