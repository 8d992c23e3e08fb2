/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/translate/freshness.h"

struct row {
    const char *cache_control, *age;
    uint32_t seconds;
};

/* RSP-4: Max-Age on 2.05 is at most the remaining freshness, else what the settings say (here 300). */
static void freshness_is_what_is_left(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"", "", 300},
        {"", "100", 300},
        {"public", "", 300},
        {"must-revalidate, max-age=5", "", 5},
        {"max-age=5", "", 5},
        {"Max-Age=5", "", 5},
        {"max-age=\"5\"", "", 5},
        {" max-age = 5 ,", "", 5},
        {"max-age=300", "", 300},
        {"max-age=301", "", 300},
        {"max-age=99999999999999999999", "", 300},
        {"max-age=0", "", 0},
        {"max-age=100", "40", 60},
        {"max-age=100", " 40 ", 60},
        {"max-age=100", "100", 0},
        {"max-age=100", "101", 0},
        {"max-age=100", "old", 100},
        {"max-age=100", "-1", 100},
        {"max-age=100, max-age=5", "", 100},
        {"max-age=5, s-maxage=100", "", 100},
        {"s-maxage=7", "", 7},
        {"no-store", "", 0},
        {"no-cache", "", 0},
        {"No-Cache=\"a, b\", max-age=100", "", 0},
        {"private, max-age=100", "", 0},
        {"max-age=100, no-store", "", 0},
        {"max-age", "", 0},
        {"max-age=", "", 0},
        {"max-age=five", "", 0},
        {"max-age=-5", "", 0},
        {"max-age=5s", "", 0},
        {"max-age=\"5", "", 0},
        {"extension=\"max-age=5, no-store\"", "", 300},
        {",,", "", 300},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t seconds =
            freshness_seconds(bytes_from_string(rows[i].cache_control), bytes_from_string(rows[i].age), 300);
        if (seconds != rows[i].seconds)
            fail_msg("\"%s\", Age \"%s\": %u", rows[i].cache_control, rows[i].age, seconds);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(freshness_is_what_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
