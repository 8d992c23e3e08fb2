#include "common/quiet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void speaks_once_in_ten_seconds(void **state)
{
    (void)state;
    struct quiet quiet = {0};
    unsigned unsaid = 77;
    assert_true(quiet_may_speak(&quiet, 5, &unsaid));
    assert_int_equal(unsaid, 0);
    for (uint64_t now_ms = 5; now_ms < 5 + QUIET_MS; now_ms += 1000)
        assert_false(quiet_may_speak(&quiet, now_ms, &unsaid));
    assert_false(quiet_may_speak(&quiet, 5 + QUIET_MS - 1, &unsaid));
    assert_true(quiet_may_speak(&quiet, 5 + QUIET_MS, &unsaid));
    assert_int_equal(unsaid, 11);
    assert_false(quiet_may_speak(&quiet, 5 + QUIET_MS, &unsaid));
    assert_true(quiet_may_speak(&quiet, 5 + 3 * QUIET_MS, &unsaid));
    assert_int_equal(unsaid, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(speaks_once_in_ten_seconds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
