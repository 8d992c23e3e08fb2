/* JPY-2, JPY-4: keys change in time, the one before is kept, and a file outlives the process. */
#include "joinproxy/header_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY_S   86400u
#define START_S 1700000000u

struct fixture {
    char folder[64], file[128];
    struct buffer errors, warnings;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    strcpy(fixture->folder, "/tmp/header_keys.XXXXXX");
    if (mkdtemp(fixture->folder) == NULL)
        return -1;
    snprintf(fixture->file, sizeof fixture->file, "%s/keys", fixture->folder);
    buffer_init(&fixture->errors, 4096);
    buffer_init(&fixture->warnings, 4096);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    unlink(fixture->file);
    rmdir(fixture->folder);
    buffer_free(&fixture->errors);
    buffer_free(&fixture->warnings);
    free(fixture);
    return 0;
}

static struct header_keys *create(struct fixture *fixture, const char *file, uint64_t now_s)
{
    buffer_reset(&fixture->errors);
    return header_keys_create(file, DAY_S, now_s, &fixture->errors);
}

static struct pledge_header_key current(const struct header_keys *keys)
{
    return *header_keys_current(keys);
}

static void assert_same(const struct pledge_header_key *a, const struct pledge_header_key *b)
{
    assert_non_null(a);
    assert_memory_equal(a, b, sizeof *a);
}

static void changes_daily_and_keeps_the_one_before(void **state)
{
    struct header_keys *keys = create(*state, "", START_S);
    struct pledge_header_key first = current(keys);
    assert_null(header_keys_previous(keys));
    assert_false(header_keys_renew(keys, START_S + DAY_S - 1));
    assert_same(header_keys_current(keys), &first);
    assert_true(header_keys_renew(keys, START_S + DAY_S));
    struct pledge_header_key second = current(keys);
    assert_memory_not_equal(&first, &second, sizeof first);
    assert_same(header_keys_previous(keys), &first);
    assert_true(header_keys_renew(keys, START_S + 2 * DAY_S));
    assert_same(header_keys_previous(keys), &second);
    header_keys_free(keys);
}

static void outlives_the_process(void **state)
{
    struct fixture *fixture = *state;
    struct stat file;
    struct header_keys *keys = create(fixture, fixture->file, START_S);
    assert_true(header_keys_renew(keys, START_S + DAY_S));
    struct pledge_header_key now = current(keys), before = *header_keys_previous(keys);
    header_keys_free(keys);

    assert_int_equal(stat(fixture->file, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
    keys = create(fixture, fixture->file, START_S + 2 * DAY_S - 1);
    assert_same(header_keys_current(keys), &now);
    assert_same(header_keys_previous(keys), &before);
    header_keys_free(keys);

    keys = create(fixture, fixture->file, START_S + 2 * DAY_S); /* its time came while we were away */
    assert_same(header_keys_previous(keys), &now);
    header_keys_free(keys);
}

/* JPY-2: "for as long again" ends while nobody runs, too. */
static void a_key_of_long_ago_is_not_accepted(void **state)
{
    struct fixture *fixture = *state;
    struct header_keys *keys = create(fixture, fixture->file, START_S);
    struct pledge_header_key first = current(keys);
    header_keys_free(keys);
    keys = create(fixture, fixture->file, START_S + 2 * DAY_S - 1);
    assert_same(header_keys_previous(keys), &first);
    struct pledge_header_key second = current(keys);
    header_keys_free(keys);
    for (int i = 0; i < 2; i++) { /* and the file has forgotten it */
        keys = create(fixture, fixture->file, START_S + 4 * DAY_S);
        assert_null(header_keys_previous(keys));
        assert_memory_not_equal(header_keys_current(keys), &second, sizeof second);
        header_keys_free(keys);
    }
}

/* A router without a clock of its own starts in 1970, and learns the time later. */
static void a_clock_that_is_behind_costs_no_key(void **state)
{
    struct fixture *fixture = *state;
    struct header_keys *keys = create(fixture, fixture->file, START_S);
    struct pledge_header_key first = current(keys);
    header_keys_free(keys);
    keys = create(fixture, fixture->file, 10);
    assert_same(header_keys_current(keys), &first);
    assert_false(header_keys_renew(keys, 20));
    assert_false(header_keys_renew(keys, START_S + 30)); /* now it knows */
    assert_same(header_keys_current(keys), &first);
    assert_true(header_keys_renew(keys, START_S + DAY_S));
    assert_same(header_keys_previous(keys), &first);
    header_keys_free(keys);
}

/* And one that stays behind, or was far ahead once, does not keep a key for ever. */
static void a_clock_that_stays_behind_costs_one_a_day(void **state)
{
    struct fixture *fixture = *state;
    struct header_keys *keys = create(fixture, fixture->file, START_S);
    struct pledge_header_key first = current(keys);
    header_keys_free(keys);
    keys = create(fixture, fixture->file, 10);
    assert_false(header_keys_renew(keys, 10 + DAY_S - 1));
    assert_true(header_keys_renew(keys, 10 + DAY_S));
    assert_same(header_keys_previous(keys), &first);
    assert_false(header_keys_renew(keys, 10 + 2 * DAY_S - 1));
    assert_true(header_keys_renew(keys, 10 + 2 * DAY_S));
    header_keys_free(keys);
}

static void refused(struct fixture *fixture, const char *complaint)
{
    assert_null(create(fixture, fixture->file, START_S));
    assert_non_null(strstr(buffer_string(&fixture->errors), complaint));
    buffer_reset(&fixture->errors);
    assert_int_equal(header_keys_check(fixture->file, &fixture->errors, &fixture->warnings),
                     STATUS_UNSUPPORTED);
    assert_non_null(strstr(buffer_string(&fixture->errors), complaint));
}

static void a_bad_file_is_named(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(header_keys_check(fixture->file, &fixture->errors, &fixture->warnings),
                     STATUS_OK); /* will be made */
    header_keys_free(create(fixture, fixture->file, START_S));
    assert_int_equal(header_keys_check(fixture->file, &fixture->errors, &fixture->warnings), STATUS_OK);
    assert_int_equal(chmod(fixture->file, 0640), 0);
    refused(fixture, "is open to others; use chmod 600");
    assert_int_equal(chmod(fixture->file, 0600), 0);
    assert_int_equal(truncate(fixture->file, 70), 0);
    refused(fixture, "is not a file of header keys; remove it");
    assert_int_equal(truncate(fixture->file, 0), 0);
    assert_int_equal(truncate(fixture->file, 77), 0); /* of the right size, but zeros */
    refused(fixture, "is not a file of header keys; remove it");
    assert_int_equal(unlink(fixture->file), 0);
    assert_int_equal(symlink("/dev/null", fixture->file), 0);
    refused(fixture, "cannot be read");
}

static void a_folder_that_is_not_there_is_named(void **state)
{
    struct fixture *fixture = *state;
    assert_null(create(fixture, "/nonexistent/keys", START_S));
    assert_non_null(strstr(buffer_string(&fixture->errors), "\"/nonexistent/keys\" cannot be written"));
    /* and --check-config warns of it */
    assert_int_equal(header_keys_check(fixture->file, &fixture->errors, &fixture->warnings), STATUS_OK);
    assert_int_equal(fixture->warnings.len, 0);
    assert_int_equal(header_keys_check("/nonexistent/keys", &fixture->errors, &fixture->warnings), STATUS_OK);
    assert_string_equal(buffer_string(&fixture->warnings),
                        "stateless.key_file: \"/nonexistent/keys\" cannot be written now: No such file or "
                        "directory; make the folder ours\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(changes_daily_and_keeps_the_one_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(outlives_the_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_of_long_ago_is_not_accepted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_clock_that_is_behind_costs_no_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_clock_that_stays_behind_costs_one_a_day, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bad_file_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_that_is_not_there_is_named, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
