/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/protocol/http_field.h"

static void parts_stand_between_separators_outside_quotes(void **state)
{
    (void)state;
    struct bytes rest = BYTES_LITERAL(" a ;b=\"c;\\\"d\" ;; e"), part;
    static const char *const expected[] = {"a", "b=\"c;\\\"d\"", "", "e"};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_true(http_field_next(&rest, ';', &part));
        assert_true(bytes_equal(part, bytes_from_string(expected[i])));
    }
    assert_int_equal(rest.len, 0);
    assert_true(http_field_next(&rest, ';', &part));
    assert_int_equal(part.len, 0);
    static const char *const open[] = {"\"", "a=\"b", "a=\"b\\\"", "a=\"b\\", "\"\\"};
    for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
        rest = bytes_from_string(open[i]);
        assert_false(http_field_next(&rest, ';', &part));
        assert_int_equal(rest.len, 0);
    }
}

static void a_part_is_split_at_its_first_equals_sign(void **state)
{
    (void)state;
    static const struct {
        const char *part, *name, *value;
    } rows[] = {{"a=b", "a", "b"}, {" a = b=c ", "a", "b=c"}, {"a", "a", ""},
                {"a=", "a", ""},   {"=b", "", "b"},           {"", "", ""}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bytes name, value;
        http_field_split(bytes_from_string(rows[i].part), &name, &value);
        assert_true(bytes_equal(name, bytes_from_string(rows[i].name)));
        assert_true(bytes_equal(value, bytes_from_string(rows[i].value)));
    }
}

static void seconds_are_digits(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
        uint32_t seconds;
    } rows[] = {{"0", true, 0},
                {"120", true, 120},
                {"4294967295", true, 4294967295U},
                {"4294967296", true, 4294967295U},
                {"999999999999999999999999", true, 4294967295U},
                {"", false, 0},
                {" 1", false, 0},
                {"-1", false, 0},
                {"1.0", false, 0}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t seconds = 0;
        assert_int_equal(http_field_seconds(bytes_from_string(rows[i].text), &seconds), rows[i].good);
        assert_int_equal(seconds, rows[i].seconds);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_stand_between_separators_outside_quotes),
        cmocka_unit_test(a_part_is_split_at_its_first_equals_sign),
        cmocka_unit_test(seconds_are_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
