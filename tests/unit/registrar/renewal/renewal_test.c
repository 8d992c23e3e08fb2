/* RA-7: how often a renewal that fails is tried again. */
#include "registrar/renewal/renewal.h"

/* clang-format off */
#include "../credentials.h"
/* clang-format on */

#define DAY (24 * 3600)

static void delay_grows_up_to_a_day(void **state)
{
    (void)state;
    assert_int_equal(renewal_delay_s(1, 300 * DAY), 60);
    assert_int_equal(renewal_delay_s(2, 300 * DAY), 120);
    assert_int_equal(renewal_delay_s(5, 300 * DAY), 960);
    assert_int_equal(renewal_delay_s(12, 300 * DAY), DAY);
    assert_int_equal(renewal_delay_s(1000000, 300 * DAY), DAY);
}

static void near_the_end_it_is_tried_more_often(void **state)
{
    (void)state;
    assert_int_equal(renewal_delay_s(12, DAY), DAY / 8);
    assert_int_equal(renewal_delay_s(12, 100), 60);
    assert_int_equal(renewal_delay_s(12, -DAY), 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delay_grows_up_to_a_day),
        cmocka_unit_test(near_the_end_it_is_tried_more_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
