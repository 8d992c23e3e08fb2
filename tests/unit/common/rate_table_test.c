/* SEC-3 */
#include "common/rate_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define DEVICE BYTES_LITERAL("device")
#define OTHER  BYTES_LITERAL("other")

static struct rate_table *create(uint32_t per_minute, uint32_t burst)
{
    struct rate_table *table = rate_table_create((struct rate){per_minute, burst});
    assert_non_null(table);
    return table;
}

static void burst_and_then_the_rate(void **state)
{
    (void)state;
    struct rate_table *table = create(60, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(rate_table_take(table, DEVICE, 5000), 0);
    assert_int_equal(rate_table_take(table, DEVICE, 5000), 1000);
    assert_int_equal(rate_table_take(table, DEVICE, 5999), 1); /* what is refused costs nothing */
    assert_int_equal(rate_table_take(table, DEVICE, 6000), 0);
    assert_int_equal(rate_table_take(table, DEVICE, 6000), 1000);
    for (unsigned i = 0; i < 3; i++) /* and after a while the burst again, no more */
        assert_int_equal(rate_table_take(table, DEVICE, 3600000), 0);
    assert_int_equal(rate_table_take(table, DEVICE, 3600000), 1000);
    rate_table_free(table);
}

static void each_key_has_its_own(void **state)
{
    (void)state;
    struct rate_table *table = create(1, 1);
    assert_int_equal(rate_table_take(table, DEVICE, 0), 0);
    assert_int_equal(rate_table_take(table, OTHER, 0), 0);
    assert_int_equal(rate_table_take(table, DEVICE, 0), 60000);
    rate_table_free(table);
}

static void no_limit(void **state)
{
    (void)state;
    struct rate_table *table = create(0, 1);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(rate_table_take(table, DEVICE, 0), 0);
    rate_table_free(table);
}

static void highest_rate(void **state)
{
    (void)state;
    struct rate_table *table = create(600000, 100000);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(rate_table_take(table, DEVICE, 1), 0);
    assert_int_equal(rate_table_take(table, DEVICE, 1), 1);
    assert_int_equal(rate_table_take(table, DEVICE, 2), 0);
    rate_table_free(table);
}

/* However many keys come: whoever has used up his burst is not forgotten for those who have not. */
static void crowds_do_not_wash_out_the_greedy(void **state)
{
    (void)state;
    struct rate_table *table = create(60, 10);
    char key[16];
    for (unsigned i = 0; i < 11; i++)
        rate_table_take(table, DEVICE, 0);
    for (unsigned i = 0; i < 4 * RATE_TABLE_KEYS; i++) {
        snprintf(key, sizeof key, "%u", i);
        assert_int_equal(rate_table_take(table, bytes_from_string(key), 0), 0);
    }
    assert_int_equal(rate_table_take(table, DEVICE, 0), 1000);
    rate_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(burst_and_then_the_rate),
        cmocka_unit_test(each_key_has_its_own),
        cmocka_unit_test(no_limit),
        cmocka_unit_test(highest_rate),
        cmocka_unit_test(crowds_do_not_wash_out_the_greedy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
