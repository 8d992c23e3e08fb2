/* Counters: exact whatever the number of threads. */
#include "common/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#define THREADS 4
#define ROUNDS  50000

static const char *const names[] = {"received", "open"};

static void counters_start_at_zero_and_keep_their_names(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_create(names, 2);
    assert_non_null(metrics);
    assert_int_equal(metrics->count, 2);
    assert_string_equal(metrics->names[1], "open");
    assert_int_equal(metrics_get(metrics, 0), 0);
    assert_int_equal(metrics_get(metrics, 1), 0);
    metrics_free(metrics);
    metrics_free(NULL);
}

static void counters_do_not_touch_each_other(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_create(names, 2);
    metrics_add(metrics, 0, 5);
    metrics_add(metrics, 1, UINT32_MAX);
    metrics_add(metrics, 1, 2);
    metrics_subtract(metrics, 1, 1);
    assert_int_equal(metrics_get(metrics, 0), 5);
    assert_int_equal(metrics_get(metrics, 1), UINT64_C(0x100000000));
    metrics_free(metrics);
}

static void *count(void *user)
{
    struct metrics *metrics = user;
    for (int i = 0; i < ROUNDS; i++) {
        metrics_add(metrics, 0, 1);
        metrics_add(metrics, 1, 3);
        metrics_subtract(metrics, 1, 2);
    }
    return NULL;
}

static void nothing_is_lost_between_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    struct metrics *metrics = metrics_create(names, 2);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, metrics), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(metrics_get(metrics, 0), THREADS * ROUNDS);
    assert_int_equal(metrics_get(metrics, 1), THREADS * ROUNDS);
    metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_start_at_zero_and_keep_their_names),
        cmocka_unit_test(counters_do_not_touch_each_other),
        cmocka_unit_test(nothing_is_lost_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
