/* JP-10: one second's worth at a time. */
#include "common/rate_limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define START_MS 5000

static bool take(struct rate_limit *limit, uint32_t per_s, uint32_t amount, uint64_t now_ms)
{
    if (!rate_limit_has(limit, per_s, amount, now_ms))
        return false;
    rate_limit_take(limit, amount);
    return true;
}

static void starts_full_and_empties(void **state)
{
    (void)state;
    struct rate_limit limit = {0, 0};
    for (int i = 0; i < 10; i++)
        assert_true(take(&limit, 10, 1, START_MS));
    assert_false(take(&limit, 10, 1, START_MS));
}

static void fills_evenly(void **state)
{
    (void)state;
    struct rate_limit limit = {0, 0};
    assert_true(take(&limit, 10, 10, START_MS));
    assert_false(take(&limit, 10, 1, START_MS + 99));
    assert_true(take(&limit, 10, 1, START_MS + 100));
    assert_false(take(&limit, 10, 1, START_MS + 150));
    assert_true(take(&limit, 10, 1, START_MS + 200));
}

static void holds_a_second_and_no_more(void **state)
{
    (void)state;
    struct rate_limit limit = {0, 0};
    assert_true(take(&limit, 10, 10, START_MS));
    assert_false(take(&limit, 10, 11, START_MS + 3600000));
    assert_true(take(&limit, 10, 10, START_MS + 3600000));
    assert_false(take(&limit, 10, 1, START_MS + 3600000));
}

/* Of two limits that are asked together, one must not pay for what the other refuses. */
static void asking_takes_nothing(void **state)
{
    (void)state;
    struct rate_limit limit = {0, 0};
    for (int i = 0; i < 100; i++)
        assert_true(rate_limit_has(&limit, 1, 1, START_MS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_full_and_empties),
        cmocka_unit_test(fills_evenly),
        cmocka_unit_test(holds_a_second_and_no_more),
        cmocka_unit_test(asking_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
