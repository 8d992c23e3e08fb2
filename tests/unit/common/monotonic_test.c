/* The clock counts milliseconds of CLOCK_MONOTONIC, and never back. */
#include "common/monotonic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>

static uint64_t milliseconds_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)(now.tv_nsec / 1000000);
}

static void it_is_the_monotonic_clock(void **state)
{
    (void)state;
    uint64_t before = milliseconds_of(CLOCK_MONOTONIC);
    uint64_t now = monotonic_ms();
    uint64_t after = milliseconds_of(CLOCK_MONOTONIC);
    assert_in_range(now, before, after);
}

static void it_never_goes_back_and_does_go_on(void **state)
{
    (void)state;
    uint64_t start = monotonic_ms(), last = start;
    while (last < start + 3) {
        uint64_t now = monotonic_ms();
        assert_true(now >= last);
        last = now;
    }
    assert_true(last < MONOTONIC_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_monotonic_clock),
        cmocka_unit_test(it_never_goes_back_and_does_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
