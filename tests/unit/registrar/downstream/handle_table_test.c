/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/downstream/handle_table.h"

static int objects[10];

static void a_handle_names_its_object(void **state)
{
    (void)state;
    struct handle_table *table = handle_table_create(10);
    uint64_t handles[10];
    for (size_t i = 0; i < 10; i++) {
        handles[i] = handle_table_add(table, &objects[i]);
        assert_int_not_equal(handles[i], HANDLE_NONE);
    }
    for (size_t i = 0; i < 10; i++)
        assert_ptr_equal(handle_table_find(table, handles[i]), &objects[i]);
    handle_table_free(table);
}

static void is_bounded(void **state)
{
    (void)state;
    struct handle_table *table = handle_table_create(2);
    uint64_t first = handle_table_add(table, &objects[0]);
    handle_table_add(table, &objects[1]);
    assert_int_equal(handle_table_add(table, &objects[2]), HANDLE_NONE);
    handle_table_release(table, first);
    assert_int_not_equal(handle_table_add(table, &objects[2]), HANDLE_NONE);
    assert_int_equal(handle_table_add(table, &objects[3]), HANDLE_NONE);
    handle_table_free(table);
}

/* An answer that comes late must not reach the next association in the same place. */
static void a_released_handle_names_nothing(void **state)
{
    (void)state;
    struct handle_table *table = handle_table_create(1);
    uint64_t before = HANDLE_NONE;
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t handle = handle_table_add(table, &objects[i % 10]);
        assert_ptr_equal(handle_table_find(table, handle), &objects[i % 10]);
        assert_null(handle_table_find(table, before));
        handle_table_release(table, before);
        assert_ptr_equal(handle_table_find(table, handle), &objects[i % 10]);
        handle_table_release(table, handle);
        assert_null(handle_table_find(table, handle));
        before = handle;
    }
    handle_table_free(table);
}

static void a_made_up_handle_names_nothing(void **state)
{
    (void)state;
    struct handle_table *table = handle_table_create(3);
    handle_table_add(table, &objects[0]);
    assert_null(handle_table_find(table, HANDLE_NONE));
    assert_null(handle_table_find(table, 1));
    assert_null(handle_table_find(table, UINT64_MAX));
    assert_null(handle_table_find(table, (uint64_t)1 << 32 | 2));
    handle_table_free(table);
    handle_table_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handle_names_its_object),
        cmocka_unit_test(is_bounded),
        cmocka_unit_test(a_released_handle_names_nothing),
        cmocka_unit_test(a_made_up_handle_names_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
