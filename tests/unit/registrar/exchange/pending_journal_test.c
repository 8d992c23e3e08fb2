/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "common/log.h"
#include "common/monotonic.h"
#include "registrar/counters.h"
#include "registrar/exchange/journal_file.h"
#include "registrar/exchange/pending_journal.h"

#include <event2/event.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define WAITERS 200

struct fixture {
    char folder[64], path[96];
    struct metrics *metrics;
    struct event_base *base;
    struct mailbox *mailbox;
    struct pending_journal *journal;
};

/* Somebody who waits for the disk. */
struct waiting {
    struct journal_waiter waiter; /* first */
    bool told;
};

static void open_journal(struct fixture *fixture)
{
    struct buffer errors, warnings;
    buffer_init(&errors, 4096);
    buffer_init(&warnings, 4096);
    fixture->journal = pending_journal_open(fixture->folder, fixture->metrics, &errors, &warnings);
    if (fixture->journal == NULL)
        fail_msg("%s", buffer_string(&errors));
    buffer_free(&errors);
    buffer_free(&warnings);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/pending_journal_test.XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    snprintf(fixture->path, sizeof(fixture->path), "%.60s/%s", fixture->folder, JOURNAL_FILE_NAME);
    fixture->metrics = counters_create();
    fixture->base = event_base_new();
    fixture->mailbox = mailbox_create(fixture->base);
    open_journal(fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    pending_journal_close(fixture->journal);
    mailbox_free(fixture->mailbox);
    event_base_free(fixture->base);
    metrics_free(fixture->metrics);
    unlink(fixture->path);
    assert_int_equal(rmdir(fixture->folder), 0);
    free(fixture);
    return 0;
}

static void reopen(struct fixture *fixture)
{
    pending_journal_close(fixture->journal);
    open_journal(fixture);
}

static struct pending_record make_record(uint8_t number)
{
    return (struct pending_record){.kind = PENDING_RECORD_ENTRY,
                                   .key = {{number}, {1}},
                                   .state = PENDING_WAITING,
                                   .due_ms = monotonic_ms() + 60000,
                                   .expires_ms = monotonic_ms() + 120000,
                                   .name = BYTES_LITERAL("somebody")};
}

static void on_told(struct letter *letter)
{
    struct waiting *waiting = (struct waiting *)(void *)letter;
    assert_false(waiting->told);
    waiting->told = true;
}

static void put_and_wait(struct fixture *fixture, uint8_t number, struct waiting *waiting)
{
    struct pending_record record = make_record(number);
    *waiting = (struct waiting){.waiter = {.letter.open = on_told, .mailbox = fixture->mailbox}};
    assert_true(pending_journal_put(fixture->journal, &record));
    pending_journal_wait(fixture->journal, &waiting->waiter);
}

static enum status await(struct fixture *fixture, struct waiting *waiting)
{
    for (int i = 0; i < 2000 && !waiting->told; i++) {
        struct timeval slice = {0, 5000};
        event_base_loopexit(fixture->base, &slice);
        event_base_dispatch(fixture->base);
    }
    assert_true(waiting->told);
    return waiting->waiter.status;
}

static void write_down(void *user, const struct pending_record *record)
{
    buffer_printf(user, "%u ", record->key.octets[0]);
    if (record->kind == PENDING_RECORD_ENTRY) {
        assert_int_equal(record->state, PENDING_WAITING);
        assert_in_range(record->due_ms, monotonic_ms() + 50000, monotonic_ms() + 60500);
        assert_in_range(record->expires_ms, monotonic_ms() + 110000, monotonic_ms() + 120500);
    }
}

static void assert_holds(struct fixture *fixture, const char *expected)
{
    struct buffer found;
    buffer_init(&found, 8192);
    assert_int_equal(pending_journal_restore(fixture->journal, write_down, &found), STATUS_OK);
    assert_string_equal(buffer_string(&found), expected);
    buffer_free(&found);
}

/* A letter means that it is on the disk: another process would find it there. */
static void a_letter_means_that_it_is_safe(void **state)
{
    struct fixture *fixture = *state;
    struct waiting waiting;
    put_and_wait(fixture, 1, &waiting);
    assert_int_equal(await(fixture, &waiting), STATUS_OK);
    char copy[128], command[400];
    snprintf(copy, sizeof(copy), "%.60s.copy", fixture->folder);
    snprintf(command, sizeof(command), "mkdir %s && cp %s %s", copy, fixture->path, copy);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
    struct buffer errors, warnings;
    buffer_init(&errors, 4096);
    buffer_init(&warnings, 4096);
    struct pending_journal *other = pending_journal_open(copy, fixture->metrics, &errors, &warnings);
    assert_non_null(other);
    struct pending_journal *first = fixture->journal;
    fixture->journal = other;
    assert_holds(fixture, "1 ");
    fixture->journal = first;
    pending_journal_close(other);
    buffer_free(&errors);
    buffer_free(&warnings);
    snprintf(command, sizeof(command), "rm -r %s", copy);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
}

/* Those that come while the disk is busy share a write. */
static void many_are_written_together(void **state)
{
    struct fixture *fixture = *state;
    static struct waiting waiting[WAITERS];
    for (uint8_t i = 0; i < WAITERS; i++)
        put_and_wait(fixture, i, &waiting[i]);
    for (size_t i = 0; i < WAITERS; i++)
        assert_int_equal(await(fixture, &waiting[i]), STATUS_OK);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_JOURNAL_RECORDS), WAITERS);
    assert_in_range(metrics_get(fixture->metrics, COUNTER_JOURNAL_SYNCS), 1, WAITERS / 2);
}

/* Who has nothing to write waits for nothing. */
static void what_is_written_already_is_safe_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct waiting first, second = {.waiter = {.letter.open = on_told, .mailbox = fixture->mailbox}};
    put_and_wait(fixture, 1, &first);
    assert_int_equal(await(fixture, &first), STATUS_OK);
    pending_journal_wait(fixture->journal, &second.waiter);
    assert_int_equal(await(fixture, &second), STATUS_OK);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_JOURNAL_SYNCS), 1);
}

/* The end of a registrar: what was put is written, whether anybody waits or not. */
static void closing_writes_what_is_left(void **state)
{
    struct fixture *fixture = *state;
    for (uint8_t i = 1; i < 6; i++) {
        struct pending_record record = make_record(i);
        assert_true(pending_journal_put(fixture->journal, &record));
    }
    reopen(fixture);
    assert_holds(fixture, "1 2 3 4 5 ");
}

static void waiting_can_be_left(void **state)
{
    struct fixture *fixture = *state;
    static struct waiting waiting[WAITERS];
    size_t left = 0, told = 0;
    for (uint8_t i = 0; i < WAITERS; i++)
        put_and_wait(fixture, i, &waiting[i]);
    bool has_left[WAITERS];
    for (size_t i = WAITERS; i-- > 0;) {
        has_left[i] = pending_journal_leave(fixture->journal, &waiting[i].waiter);
        left += has_left[i] ? 1 : 0;
    }
    struct waiting last;
    put_and_wait(fixture, 255, &last);
    assert_int_equal(await(fixture, &last), STATUS_OK);
    for (size_t i = 0; i < WAITERS; i++) {
        assert_true(waiting[i].told != has_left[i]);
        told += waiting[i].told ? 1 : 0;
    }
    assert_int_equal(left + told, WAITERS);
}

static void let_files_grow_to(rlim_t octets)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = octets;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Whoever waits is told; what was put is not lost, and written as soon as it can be. */
static void a_full_disk_is_told_and_outlived(void **state)
{
    struct fixture *fixture = *state;
    struct waiting waiting;
    put_and_wait(fixture, 1, &waiting);
    assert_int_equal(await(fixture, &waiting), STATUS_OK);
    assert_true(pending_journal_works(fixture->journal));
    let_files_grow_to(100);
    put_and_wait(fixture, 2, &waiting);
    assert_int_equal(await(fixture, &waiting), STATUS_SYSTEM);
    assert_false(pending_journal_works(fixture->journal));
    assert_int_not_equal(metrics_get(fixture->metrics, COUNTER_JOURNAL_QUEUED), 0);
    put_and_wait(fixture, 3, &waiting);
    assert_int_equal(await(fixture, &waiting), STATUS_SYSTEM);
    let_files_grow_to(RLIM_INFINITY);
    for (int i = 0; i < 500 && !pending_journal_works(fixture->journal); i++)
        usleep(10000); /* it tries again by itself */
    assert_true(pending_journal_works(fixture->journal));
    put_and_wait(fixture, 4, &waiting);
    assert_int_equal(await(fixture, &waiting), STATUS_OK);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_JOURNAL_QUEUED), 0);
    reopen(fixture);
    assert_holds(fixture, "1 2 3 4 ");
}

/* SEC-3: a disk that is gone for good fills no memory. */
static void what_waits_for_a_full_disk_is_bounded(void **state)
{
    struct fixture *fixture = *state;
    static uint8_t result[1000000];
    struct waiting waiting;
    let_files_grow_to(100);
    put_and_wait(fixture, 1, &waiting);
    assert_int_equal(await(fixture, &waiting), STATUS_SYSTEM);
    size_t taken = 0;
    for (uint8_t i = 0; i < 100; i++) {
        struct pending_record record = make_record(i);
        record.state = PENDING_READY;
        record.result = (struct bytes){result, sizeof(result)};
        taken += pending_journal_put(fixture->journal, &record) ? 1 : 0;
    }
    assert_in_range(taken, 10, 2 * PENDING_JOURNAL_QUEUE_OCTETS / sizeof(result));
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_JOURNAL_LOST), 100 - taken);
    pending_journal_close(fixture->journal); /* in vain */
    let_files_grow_to(RLIM_INFINITY);
    open_journal(fixture);
    assert_holds(fixture, "");
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    signal(SIGXFSZ, SIG_IGN);
    FILE *log = fopen("/dev/null", "w"); /* the full disks are meant */
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, log);
    const struct CMUnitTest tests[] = {
        TEST(a_letter_means_that_it_is_safe),
        TEST(many_are_written_together),
        TEST(what_is_written_already_is_safe_at_once),
        TEST(closing_writes_what_is_left),
        TEST(waiting_can_be_left),
        TEST(a_full_disk_is_told_and_outlived),
        TEST(what_waits_for_a_full_disk_is_bounded),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fclose(log);
    return failed;
}
