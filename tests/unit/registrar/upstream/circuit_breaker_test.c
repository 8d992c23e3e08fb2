/* When a circuit opens, is probed, and closes. */
#include "registrar/upstream/circuit_breaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct circuit_settings settings = {.failures = 3, .backoff_ms = 1000, .backoff_max_ms = 8000};

static void failures_in_a_row_open_it(void **state)
{
    struct circuit_breaker breaker = {0};
    (void)state;
    assert_false(circuit_breaker_failed(&breaker, &settings, 1, 0));
    assert_false(circuit_breaker_failed(&breaker, &settings, 2, 0));
    assert_false(circuit_breaker_served(&breaker, 2)); /* the row is broken */
    assert_false(circuit_breaker_failed(&breaker, &settings, 3, 0));
    assert_false(circuit_breaker_failed(&breaker, &settings, 4, 0));
    assert_false(breaker.open);
    assert_true(circuit_breaker_failed(&breaker, &settings, 5, 0));
    assert_true(breaker.open);
    assert_int_equal(breaker.due_ms, 505);
}

static void late_failures_postpone_nothing(void **state)
{
    struct circuit_breaker breaker = {0};
    (void)state;
    assert_true(circuit_breaker_probe_failed(&breaker, &settings, 0, 0));
    uint64_t due_ms = breaker.due_ms;
    for (unsigned i = 0; i < 10; i++)
        assert_false(circuit_breaker_failed(&breaker, &settings, 400, 0));
    assert_int_equal(breaker.due_ms, due_ms);
}

static void the_back_off_doubles_up_to_its_limit(void **state)
{
    static const uint64_t wholes[] = {1000, 2000, 4000, 8000, 8000, 8000};
    struct circuit_breaker breaker = {0};
    (void)state;
    for (size_t i = 0; i < sizeof wholes / sizeof wholes[0]; i++) {
        assert_int_equal(circuit_breaker_probe_failed(&breaker, &settings, 100, 0), i == 0);
        assert_int_equal(breaker.due_ms, 100 + wholes[i] / 2);
    }
    for (unsigned i = 0; i < 100; i++)
        circuit_breaker_probe_failed(&breaker, &settings, 0, 0);
    assert_int_equal(breaker.due_ms, 4000);
}

static void chance_spreads_the_probes(void **state)
{
    bool early = false, late = false;
    (void)state;
    for (uint32_t random = 0; random < 100000; random += 7) {
        struct circuit_breaker breaker = {0};
        circuit_breaker_probe_failed(&breaker, &settings, 0, random);
        assert_in_range(breaker.due_ms, 500, 1000);
        early |= breaker.due_ms < 510;
        late |= breaker.due_ms > 990;
    }
    assert_true(early && late);
}

static void a_probe_closes_it_and_the_back_off_stays(void **state)
{
    struct circuit_breaker breaker = {0};
    (void)state;
    circuit_breaker_probe_failed(&breaker, &settings, 0, 0);
    circuit_breaker_probe_failed(&breaker, &settings, 0, 0);
    assert_true(circuit_breaker_probe_served(&breaker, 2));
    assert_false(breaker.open);
    assert_false(circuit_breaker_probe_served(&breaker, 2));
    circuit_breaker_probe_failed(&breaker, &settings, 8001, 0);
    assert_int_equal(breaker.due_ms, 8001 + 2000); /* flapping: the third back-off */

    assert_true(circuit_breaker_served(&breaker, 2));
    circuit_breaker_probe_failed(&breaker, &settings, 0, 0);
    assert_int_equal(breaker.due_ms, 500); /* it had served: from the beginning */
}

static void what_is_long_ago_does_not_count(void **state)
{
    struct circuit_breaker breaker = {0};
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        circuit_breaker_probe_failed(&breaker, &settings, 0, 0);
    assert_true(circuit_breaker_probe_served(&breaker, 2));
    circuit_breaker_probe_failed(&breaker, &settings, 2 + 8000, 0);
    assert_int_equal(breaker.due_ms, 2 + 8000 + 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_in_a_row_open_it),
        cmocka_unit_test(late_failures_postpone_nothing),
        cmocka_unit_test(the_back_off_doubles_up_to_its_limit),
        cmocka_unit_test(chance_spreads_the_probes),
        cmocka_unit_test(a_probe_closes_it_and_the_back_off_stays),
        cmocka_unit_test(what_is_long_ago_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
