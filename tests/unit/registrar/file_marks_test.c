/* A file that somebody has changed is noticed, however it was changed. */
#include "registrar/file_marks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char folder[64], list[80], other[80];
    struct settings settings;
};

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    strcpy(fixture->folder, "/tmp/file-marks-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    snprintf(fixture->list, sizeof fixture->list, "%s/list", fixture->folder);
    snprintf(fixture->other, sizeof fixture->other, "%s/other", fixture->folder);
    fixture->settings.dtls.crls = (struct settings_strings){{fixture->list}, 1};
    fixture->settings.access.file = fixture->other;
    write_file(fixture->list, "one");
    write_file(fixture->other, "one");
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    unlink(fixture->list);
    unlink(fixture->other);
    rmdir(fixture->folder);
    free(fixture);
    return 0;
}

static bool has_changed(const struct fixture *fixture, struct file_marks *marks)
{
    struct file_marks before = *marks;
    file_marks_take(&fixture->settings, marks);
    return !file_marks_equal(&before, marks);
}

/* An octet, without a change of size; the time is set, for file systems count it in milliseconds. */
static void rewrite(const char *name)
{
    struct stat found;
    assert_int_equal(stat(name, &found), 0);
    write_file(name, "two");
    const struct timespec times[2] = {found.st_atim, {found.st_mtim.tv_sec, found.st_mtim.tv_nsec ^ 1}};
    assert_int_equal(utimensat(AT_FDCWD, name, times, 0), 0);
}

static void replace(const struct fixture *fixture, const char *name)
{
    char fresh[96];
    struct stat found;
    snprintf(fresh, sizeof fresh, "%s/fresh", fixture->folder);
    assert_int_equal(stat(name, &found), 0);
    write_file(fresh, "one");
    const struct timespec times[2] = {found.st_atim, found.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, fresh, times, 0), 0);
    assert_int_equal(rename(fresh, name), 0);
}

static void every_change_is_noticed_once(void **state)
{
    struct fixture *fixture = *state;
    struct file_marks marks;
    file_marks_take(&fixture->settings, &marks);
    assert_int_equal(marks.count, 2);
    assert_false(has_changed(fixture, &marks));

    rewrite(fixture->list);
    assert_true(has_changed(fixture, &marks));
    assert_false(has_changed(fixture, &marks));
    write_file(fixture->other, "three");
    assert_true(has_changed(fixture, &marks));
    replace(fixture, fixture->list);
    assert_true(has_changed(fixture, &marks));
    unlink(fixture->other);
    assert_true(has_changed(fixture, &marks));
    assert_false(has_changed(fixture, &marks));
    write_file(fixture->other, "");
    assert_true(has_changed(fixture, &marks));
}

static void nothing_is_watched_where_nothing_is_named(void **state)
{
    struct fixture *fixture = *state;
    struct file_marks marks;
    char none[] = "";
    fixture->settings.access.file = none;
    fixture->settings.dtls.crls.count = 0;
    file_marks_take(&fixture->settings, &marks);
    assert_int_equal(marks.count, 0);
    write_file(fixture->list, "changed");
    assert_false(has_changed(fixture, &marks));
}

/* As many as there can be. */
static void all_lists_are_watched(void **state)
{
    struct fixture *fixture = *state;
    struct file_marks marks;
    for (size_t i = 0; i < SETTINGS_STRINGS_MAX; i++)
        fixture->settings.dtls.crls.items[i] = fixture->list;
    fixture->settings.dtls.crls.count = SETTINGS_STRINGS_MAX;
    file_marks_take(&fixture->settings, &marks);
    assert_int_equal(marks.count, SETTINGS_STRINGS_MAX + 1);
    rewrite(fixture->other);
    assert_true(has_changed(fixture, &marks));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_change_is_noticed_once),
        TEST(nothing_is_watched_where_nothing_is_named),
        TEST(all_lists_are_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
