/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/translate/freshness.h"

#define NOW 1795348830 /* Sun, 22 Nov 2026 12:00:30 GMT */

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
        const struct freshness_fields fields = {.cache_control = bytes_from_string(rows[i].cache_control),
                                                .age = bytes_from_string(rows[i].age)};
        uint32_t seconds = freshness_judge(&fields, NOW, 300).seconds;
        if (seconds != rows[i].seconds)
            fail_msg("\"%s\", Age \"%s\": %u", rows[i].cache_control, rows[i].age, seconds);
    }
}

/* RFC 9111 section 5.3: where Cache-Control says nothing of it. */
static void expires_counts_from_date(void **state)
{
    (void)state;
    static const struct {
        const char *cache_control, *expires, *date, *age;
        uint32_t seconds;
    } table[] = {
        {"", "Sun, 22 Nov 2026 12:01:00 GMT", "Sun, 22 Nov 2026 12:00:00 GMT", "", 60},
        {"", "Sun, 22 Nov 2026 12:01:00 GMT", "Sun, 22 Nov 2026 12:00:00 GMT", "20", 40},
        {"", "Sun, 22 Nov 2026 12:01:00 GMT", "", "", 30}, /* NOW is half past */
        {"", "Sunday, 22-Nov-26 12:01:00 GMT", "Sun, 22 Nov 2026 12:00:30 GMT", "", 30},
        {"", "Sun, 22 Nov 2026 11:59:00 GMT", "Sun, 22 Nov 2026 12:00:00 GMT", "", 0},
        {"", "Sun, 22 Nov 2026 13:00:00 GMT", "Sun, 22 Nov 2026 12:00:00 GMT", "", 300},
        {"", "0", "Sun, 22 Nov 2026 12:00:00 GMT", "", 0},
        {"", "-1", "", "", 0},
        {"public", "Sun, 22 Nov 2026 12:01:00 GMT", "Sun, 22 Nov 2026 12:00:00 GMT", "", 60},
        {"max-age=5", "Sun, 22 Nov 2026 12:01:00 GMT", "Sun, 22 Nov 2026 12:00:00 GMT", "", 5},
        {"no-store", "Sun, 22 Nov 2026 12:01:00 GMT", "Sun, 22 Nov 2026 12:00:00 GMT", "", 0},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct freshness_fields fields = {
            .cache_control = bytes_from_string(table[i].cache_control),
            .age = bytes_from_string(table[i].age),
            .expires = bytes_from_string(table[i].expires),
            .date = bytes_from_string(table[i].date),
        };
        uint32_t seconds = freshness_judge(&fields, NOW, 300).seconds;
        if (seconds != table[i].seconds)
            fail_msg("Expires \"%s\", Date \"%s\": %u", table[i].expires, table[i].date, seconds);
    }
}

/* RFC 9111 sections 4.2.4, 5.2.2.2, 5.2.2.8 and 5.2.2.10. */
static void what_may_be_served_stale(void **state)
{
    (void)state;
    static const struct {
        const char *cache_control;
        bool may_be_stale;
    } table[] = {
        {"", true},
        {"max-age=5", true},
        {"max-age=0", true},
        {"public, max-age=5", true},
        {"no-store", false},
        {"no-cache", false},
        {"private", false},
        {"max-age=5, must-revalidate", false},
        {"max-age=", false},
        {"s-maxage=5", false},
        {"Proxy-Revalidate", false},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct freshness_fields fields = {.cache_control = bytes_from_string(table[i].cache_control)};
        if (freshness_judge(&fields, NOW, 300).may_be_stale != table[i].may_be_stale)
            fail_msg("\"%s\"", table[i].cache_control);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(freshness_is_what_is_left),
        cmocka_unit_test(expires_counts_from_date),
        cmocka_unit_test(what_may_be_served_stale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
