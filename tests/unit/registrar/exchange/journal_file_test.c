/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/exchange/journal_file.h"
#include "registrar/exchange/pending_record.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char folder[80], path[120], new_path[120];
    struct journal_file *file;
    struct buffer errors, warnings;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/journal_file_test.XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    snprintf(fixture->path, sizeof(fixture->path), "%s/%s", fixture->folder, JOURNAL_FILE_NAME);
    snprintf(fixture->new_path, sizeof(fixture->new_path), "%s/%s", fixture->folder, JOURNAL_FILE_NAME_NEW);
    buffer_init(&fixture->errors, 4096);
    buffer_init(&fixture->warnings, 4096);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    journal_file_free(fixture->file);
    unlink(fixture->path);
    unlink(fixture->new_path);
    assert_int_equal(rmdir(fixture->folder), 0);
    buffer_free(&fixture->errors);
    buffer_free(&fixture->warnings);
    free(fixture);
    return 0;
}

static void try_to_open(struct fixture *fixture)
{
    journal_file_free(fixture->file);
    buffer_reset(&fixture->errors);
    buffer_reset(&fixture->warnings);
    fixture->file = journal_file_open(fixture->folder, &fixture->errors, &fixture->warnings);
}

static void reopen(struct fixture *fixture)
{
    try_to_open(fixture);
    if (fixture->file == NULL)
        fail_msg("%s", buffer_string(&fixture->errors));
}

static void assert_not_opened(struct fixture *fixture, const char *reason)
{
    try_to_open(fixture);
    assert_null(fixture->file);
    assert_non_null(strstr(buffer_string(&fixture->errors), fixture->folder));
    if (strstr(buffer_string(&fixture->errors), reason) == NULL)
        fail_msg("instead of %s: %s", reason, buffer_string(&fixture->errors));
}

static void add(struct buffer *batch, uint32_t number, enum pending_record_kind kind, size_t result_len)
{
    static const uint8_t octets[65536];
    struct pending_record record = {.kind = kind, .state = PENDING_READY, .expires_ms = number};
    struct buffer encoded;
    memcpy(record.key.octets, &number, sizeof(number));
    record.result = (struct bytes){octets, result_len};
    buffer_init(&encoded, 100000);
    pending_record_encode(&record, 0, &encoded);
    journal_batch_add(batch, buffer_view(&encoded));
    buffer_free(&encoded);
}

static enum status put_some(struct fixture *fixture, uint32_t number, enum pending_record_kind kind,
                            size_t result_len)
{
    struct buffer batch;
    buffer_init(&batch, 100000);
    add(&batch, number, kind, result_len);
    enum status status = journal_file_write(fixture->file, buffer_view(&batch));
    buffer_free(&batch);
    return status == STATUS_OK ? journal_file_sync(fixture->file) : status;
}

static void put(struct fixture *fixture, uint32_t number, enum pending_record_kind kind)
{
    assert_int_equal(put_some(fixture, number, kind, 10), STATUS_OK);
}

#define ENTRY     PENDING_RECORD_ENTRY
#define DELIVERED PENDING_RECORD_DELIVERED
#define FORGOTTEN PENDING_RECORD_FORGOTTEN

static void write_down(void *user, struct bytes octets)
{
    struct pending_record record;
    uint32_t number;
    assert_int_equal(pending_record_decode(octets, 0, &record), STATUS_OK);
    memcpy(&number, record.key.octets, sizeof(number));
    buffer_printf(user, "%s%u ", record.kind == ENTRY ? "e" : "d", number);
}

static void assert_holds(struct fixture *fixture, const char *expected)
{
    struct buffer found;
    buffer_init(&found, 4096);
    assert_int_equal(journal_file_read(fixture->file, write_down, &found), STATUS_OK);
    assert_string_equal(buffer_string(&found), expected);
    buffer_free(&found);
}

static size_t size_of(const char *path)
{
    struct stat found;
    assert_int_equal(stat(path, &found), 0);
    return (size_t)found.st_size;
}

/* What counts: the last entry, and a delivery after it. */
static void what_is_written_is_there_again(void **state)
{
    struct fixture *fixture = *state;
    struct stat found;
    reopen(fixture);
    assert_int_equal(stat(fixture->path, &found), 0);
    assert_int_equal(found.st_mode & 07777, 0600);
    assert_holds(fixture, "");
    put(fixture, 1, ENTRY);
    put(fixture, 2, ENTRY);
    put(fixture, 3, ENTRY);
    put(fixture, 1, DELIVERED);
    put(fixture, 2, FORGOTTEN);
    put(fixture, 4, DELIVERED); /* of what is not there */
    put(fixture, 5, FORGOTTEN);
    assert_holds(fixture, "e1 d1 e3 ");
    assert_int_equal(journal_file_octets(fixture->file), size_of(fixture->path));
    reopen(fixture);
    assert_int_equal(fixture->warnings.len, 0);
    assert_holds(fixture, "e1 d1 e3 ");
    put(fixture, 1, ENTRY); /* begins again */
    put(fixture, 6, ENTRY);
    reopen(fixture);
    assert_holds(fixture, "e1 e3 e6 ");
}

static void batches_are_written_whole(void **state)
{
    struct fixture *fixture = *state;
    struct buffer batch;
    buffer_init(&batch, 100000);
    reopen(fixture);
    for (uint32_t number = 0; number < 3; number++)
        add(&batch, number, ENTRY, 100);
    add(&batch, 1, FORGOTTEN, 0);
    assert_int_equal(journal_file_write(fixture->file, buffer_view(&batch)), STATUS_OK);
    assert_holds(fixture, "e0 e2 ");
    reopen(fixture);
    assert_holds(fixture, "e0 e2 ");
    buffer_free(&batch);
}

/* A crash in the middle of a write: what was whole before counts, and goes on. */
static void a_torn_end_is_repaired(void **state)
{
    struct fixture *fixture = *state;
    reopen(fixture);
    put(fixture, 1, ENTRY);
    size_t whole = size_of(fixture->path);
    put(fixture, 2, ENTRY);
    size_t whole_two = size_of(fixture->path);
    for (size_t len = whole + 1; len < whole_two; len += 7) {
        assert_int_equal(truncate(fixture->path, (off_t)len), 0);
        reopen(fixture);
        assert_non_null(strstr(buffer_string(&fixture->warnings), "never completely written"));
        assert_holds(fixture, "e1 ");
        assert_int_equal(size_of(fixture->path), whole);
        put(fixture, 2, ENTRY);
    }
    reopen(fixture);
    assert_int_equal(fixture->warnings.len, 0);
    assert_holds(fixture, "e1 e2 ");
}

/* What was written and not yet synced is there after a crash of the registrar, and may be gone in any part
 * after one of the machine. */
static void what_is_not_synced_may_be_torn(void **state)
{
    struct fixture *fixture = *state;
    struct buffer batch;
    buffer_init(&batch, 100000);
    reopen(fixture);
    put(fixture, 1, ENTRY);
    size_t safe = size_of(fixture->path);
    for (uint32_t number = 2; number < 4; number++) {
        buffer_reset(&batch);
        add(&batch, number, ENTRY, 10);
        assert_true(journal_file_is_synced(fixture->file) == (number == 2));
        assert_int_equal(journal_file_write(fixture->file, buffer_view(&batch)), STATUS_OK);
        assert_false(journal_file_is_synced(fixture->file));
    }
    reopen(fixture);
    assert_holds(fixture, "e1 e2 e3 ");
    assert_true(journal_file_is_synced(fixture->file));
    journal_file_free(fixture->file);
    fixture->file = NULL;
    int fd = open(fixture->path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "hole", 4, (off_t)safe + 30), 4); /* in the second, and the third is whole */
    close(fd);
    reopen(fixture);
    assert_non_null(strstr(buffer_string(&fixture->warnings), "never completely written"));
    assert_holds(fixture, "e1 ");
    buffer_free(&batch);
}

static void change(const char *path, size_t at)
{
    uint8_t octet;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, &octet, 1, (off_t)at), 1);
    octet ^= 0x20;
    assert_int_equal(pwrite(fd, &octet, 1, (off_t)at), 1);
    close(fd);
}

/* The promise hangs on it: better no registrar than one that has forgotten in secret. */
static void a_damaged_journal_is_refused(void **state)
{
    struct fixture *fixture = *state;
    reopen(fixture);
    put(fixture, 1, ENTRY);
    put(fixture, 2, ENTRY);
    size_t size = size_of(fixture->path);
    change(fixture->path, 60);
    assert_not_opened(fixture, "damaged at octet 32");
    assert_int_equal(size_of(fixture->path), size); /* for whoever wants to look at it */
    change(fixture->path, 60);
    reopen(fixture);
    change(fixture->path, 20);
    assert_not_opened(fixture, "header is damaged");
    change(fixture->path, 20);
    change(fixture->path, 7);
    assert_not_opened(fixture, "another version");
    assert_int_equal(truncate(fixture->path, 0), 0);
    assert_not_opened(fixture, "header is damaged");
}

static void assert_checked(struct fixture *fixture, enum status status, const char *what)
{
    buffer_reset(&fixture->errors);
    assert_int_equal(journal_file_check(fixture->folder, &fixture->errors), status);
    if (strstr(buffer_string(&fixture->errors), what) == NULL)
        fail_msg("\"%s\" instead of \"%s\"", buffer_string(&fixture->errors), what);
    assert_int_equal(fixture->errors.len == 0, status == STATUS_OK);
}

/* It changes nothing, and tells what a start would. Who runs judges its own file. */
static void a_check_finds_the_damage(void **state)
{
    struct fixture *fixture = *state;
    assert_checked(fixture, STATUS_OK, ""); /* no file yet, and none after it */
    assert_int_equal(access(fixture->path, F_OK), -1);
    reopen(fixture);
    put(fixture, 1, ENTRY);
    put(fixture, 2, ENTRY);
    size_t size = size_of(fixture->path);
    change(fixture->path, 60);
    assert_checked(fixture, STATUS_OK, ""); /* in use */
    journal_file_free(fixture->file);
    fixture->file = NULL;
    assert_checked(fixture, STATUS_MALFORMED, "damaged at octet 32");
    assert_non_null(strstr(buffer_string(&fixture->errors), fixture->path));
    change(fixture->path, 60);
    change(fixture->path, 20);
    assert_checked(fixture, STATUS_MALFORMED, "header is damaged");
    change(fixture->path, 20);
    assert_int_equal(truncate(fixture->path, (off_t)size - 3), 0);
    assert_checked(fixture, STATUS_OK, ""); /* a torn end is repaired by whoever starts */
    assert_int_equal(size_of(fixture->path), size - 3);
    assert_int_equal(unlink(fixture->path), 0);
    assert_int_equal(mkdir(fixture->path, 0700), 0);
    assert_checked(fixture, STATUS_MALFORMED, "Is a directory");
    assert_int_equal(rmdir(fixture->path), 0);
}

static void a_folder_has_one_user(void **state)
{
    struct fixture *fixture = *state;
    reopen(fixture);
    struct journal_file *first = fixture->file;
    fixture->file = NULL;
    assert_not_opened(fixture, "another registrar");
    assert_int_equal(journal_file_check(fixture->folder, &fixture->errors), STATUS_OK);
    journal_file_free(first);
    reopen(fixture);
}

static void a_folder_must_be_there(void **state)
{
    struct fixture *fixture = *state;
    char folder[sizeof(fixture->folder)];
    memcpy(folder, fixture->folder, sizeof(folder));
    fixture->folder[5]++;
    assert_not_opened(fixture, "No such file");
    assert_int_equal(journal_file_check(fixture->folder, &fixture->errors), STATUS_NOT_FOUND);
    memcpy(fixture->folder, folder, sizeof(folder));
    reopen(fixture);
    snprintf(fixture->folder, sizeof(fixture->folder), "%.40s/%s", folder, JOURNAL_FILE_NAME);
    assert_int_equal(journal_file_check(fixture->folder, &fixture->errors), STATUS_NOT_FOUND);
    memcpy(fixture->folder, folder, sizeof(folder));
}

/* However long it runs: the file stays near to what counts. */
static void the_file_is_bounded(void **state)
{
    struct fixture *fixture = *state;
    size_t largest = 0;
    reopen(fixture);
    put(fixture, 7, ENTRY);
    put(fixture, 7, DELIVERED);
    for (uint32_t number = 100; number < 200; number++) {
        assert_int_equal(put_some(fixture, number, ENTRY, 60000), STATUS_OK);
        put(fixture, number, FORGOTTEN);
        size_t size = size_of(fixture->path);
        largest = size > largest ? size : largest;
        assert_int_equal(journal_file_tidy(fixture->file), STATUS_OK);
    }
    assert_in_range(largest, JOURNAL_REWRITE_MIN, JOURNAL_REWRITE_MIN + 70000);
    assert_holds(fixture, "e7 d7 ");
    put(fixture, 8, ENTRY);
    reopen(fixture);
    assert_int_equal(fixture->warnings.len, 0);
    assert_holds(fixture, "e7 d7 e8 ");
    assert_int_equal(access(fixture->new_path, F_OK), -1);
}

static void let_files_grow_to(rlim_t octets)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = octets;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* A full disk: nothing of the batch counts, what was there does, and it goes on once there is room. */
static void a_full_disk_takes_nothing(void **state)
{
    struct fixture *fixture = *state;
    reopen(fixture);
    put(fixture, 1, ENTRY);
    size_t size = size_of(fixture->path);
    let_files_grow_to(size + 20);
    enum status status = put_some(fixture, 2, ENTRY, 10);
    int reason = errno;
    let_files_grow_to(RLIM_INFINITY);
    assert_int_equal(status, STATUS_SYSTEM);
    assert_int_equal(reason, EFBIG);
    assert_int_equal(size_of(fixture->path), size);
    assert_holds(fixture, "e1 ");
    put(fixture, 3, ENTRY);
    assert_holds(fixture, "e1 e3 ");
    reopen(fixture);
    assert_int_equal(fixture->warnings.len, 0);
    assert_holds(fixture, "e1 e3 ");
}

/* A new file that does not fit leaves the old one as it is. */
static void a_rewrite_that_fails_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    reopen(fixture);
    for (uint32_t number = 0; number < 30; number++) {
        assert_int_equal(put_some(fixture, number, ENTRY, 60000), STATUS_OK);
        if (number > 3)
            put(fixture, number, FORGOTTEN);
    }
    size_t size = size_of(fixture->path);
    let_files_grow_to(100000);
    enum status status = journal_file_tidy(fixture->file);
    let_files_grow_to(RLIM_INFINITY);
    assert_int_equal(status, STATUS_SYSTEM);
    assert_int_equal(size_of(fixture->path), size);
    assert_int_equal(access(fixture->new_path, F_OK), -1);
    put(fixture, 99, ENTRY);
    assert_int_equal(journal_file_tidy(fixture->file), STATUS_OK);
    assert_in_range(size_of(fixture->path), 240000, 250000);
    reopen(fixture);
    assert_holds(fixture, "e0 e1 e2 e3 e99 ");
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    signal(SIGXFSZ, SIG_IGN);
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_there_again),
        TEST(batches_are_written_whole),
        TEST(a_torn_end_is_repaired),
        TEST(what_is_not_synced_may_be_torn),
        TEST(a_check_finds_the_damage),
        TEST(a_damaged_journal_is_refused),
        TEST(a_folder_has_one_user),
        TEST(a_folder_must_be_there),
        TEST(the_file_is_bounded),
        TEST(a_full_disk_takes_nothing),
        TEST(a_rewrite_that_fails_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
