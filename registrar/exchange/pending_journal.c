#include "registrar/exchange/pending_journal.h"

#include "common/log.h"
#include "common/monotonic.h"
#include "common/thread.h"
#include "registrar/counters.h"
#include "registrar/exchange/journal_file.h"
#include "registrar/exchange/journal_format.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRY_AGAIN_S    1
#define TIDY_AGAIN_MS  60000
#define SYNC_LATEST_MS 1000 /* where nobody waits for it: what follows soon is synced with it */
#define ROOM_KEPT      ((size_t)1 << 20)

struct pending_journal {
    struct journal_file *file; /* the thread's, once that runs */
    struct metrics *metrics;
    pthread_mutex_t mutex; /* guards what follows, up to the thread's own */
    pthread_cond_t news, posted;
    struct buffer queue; /* a batch */
    struct journal_waiter *waiting, **end;
    struct journal_waiter *served; /* by the write that is under way */
    bool stops;
    atomic_bool fails;

    pthread_t thread;
    bool runs;
    struct buffer batch;    /* the thread's: what is being written, or was in vain */
    bool took_all;          /* of the queue, the last time */
    uint64_t tidy_again_ms; /* not before: it has failed */
    uint64_t dirty_ms;      /* since when something is written that may not be on the disk; 0: nothing is */
};

/* What pending_journal_restore was called with. */
struct restoration {
    void (*take)(void *user, const struct pending_record *record);
    void *user;
    uint64_t clock_ms;
    enum status status;
};

static void restore(void *user, struct bytes octets);
static uint64_t clock_ahead_ms(void);
static bool start(struct pending_journal *journal);
static void *run(void *user);
static bool await_work(struct pending_journal *journal);
static void wait_a_while(struct pending_journal *journal);
static void take_queue(struct pending_journal *journal);
static void write_batch(struct pending_journal *journal, bool is_last);
static bool is_sync_due(struct pending_journal *journal, bool is_last);
static void tell(struct pending_journal *journal, enum status status);
static void note_status(struct pending_journal *journal, enum status status, int reason);
static void tidy(struct pending_journal *journal);

struct pending_journal *pending_journal_open(const char *folder, struct metrics *metrics,
                                             struct buffer *errors, struct buffer *warnings)
{
    struct pending_journal *journal = calloc(1, sizeof(*journal));
    if (journal == NULL)
        return NULL;
    journal->metrics = metrics;
    journal->end = &journal->waiting;
    pthread_mutex_init(&journal->mutex, NULL);
    pthread_cond_init(&journal->posted, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&journal->news, &monotonic);
    pthread_condattr_destroy(&monotonic);
    buffer_init(&journal->queue, PENDING_JOURNAL_QUEUE_OCTETS);
    buffer_init(&journal->batch, 2 * PENDING_JOURNAL_QUEUE_OCTETS);
    journal->file = journal_file_open(folder, errors, warnings);
    if (journal->file != NULL && start(journal))
        return journal;
    if (journal->file != NULL)
        buffer_append_string(errors, "state_directory: no thread for the journal\n");
    pending_journal_close(journal);
    return NULL;
}

void pending_journal_close(struct pending_journal *journal)
{
    if (journal == NULL)
        return;
    if (journal->runs) {
        pthread_mutex_lock(&journal->mutex);
        journal->stops = true;
        pthread_cond_signal(&journal->news);
        pthread_mutex_unlock(&journal->mutex);
        pthread_join(journal->thread, NULL);
    }
    journal_file_free(journal->file);
    buffer_free(&journal->queue);
    buffer_free(&journal->batch);
    pthread_cond_destroy(&journal->news);
    pthread_cond_destroy(&journal->posted);
    pthread_mutex_destroy(&journal->mutex);
    free(journal);
}

enum status pending_journal_restore(struct pending_journal *journal,
                                    void (*take)(void *user, const struct pending_record *record), void *user)
{
    struct restoration restoration = {take, user, clock_ahead_ms(), STATUS_OK};
    enum status status = journal_file_read(journal->file, restore, &restoration);
    return status != STATUS_OK ? status : restoration.status;
}

static void restore(void *user, struct bytes octets)
{
    struct restoration *restoration = user;
    struct pending_record record;
    enum status status = pending_record_decode(octets, restoration->clock_ms, &record);
    if (status == STATUS_OK)
        restoration->take(restoration->user, &record);
    else
        restoration->status = status;
}

/* How far the wall clock, by which records outlive a restart, is ahead of the monotonic one. */
static uint64_t clock_ahead_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t wall_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    uint64_t steady_ms = monotonic_ms();
    return wall_ms > steady_ms ? wall_ms - steady_ms : 0;
}

bool pending_journal_put(struct pending_journal *journal, const struct pending_record *record)
{
    struct buffer octets;
    buffer_init(&octets, JOURNAL_RECORD_MAX);
    pending_record_encode(record, clock_ahead_ms(), &octets);
    pthread_mutex_lock(&journal->mutex);
    bool fits = octets.status == STATUS_OK &&
                octets.len + sizeof(uint32_t) <= journal->queue.limit - journal->queue.len;
    bool was_empty = journal->queue.len == 0;
    if (fits)
        journal_batch_add(&journal->queue, buffer_view(&octets));
    bool queued = fits && journal->queue.status == STATUS_OK;
    journal->queue.status = STATUS_OK; /* without memory nothing was added */
    if (queued)
        metrics_add(journal->metrics, COUNTER_JOURNAL_QUEUED, octets.len + sizeof(uint32_t));
    pthread_mutex_unlock(&journal->mutex);
    if (queued && was_empty && !atomic_load(&journal->fails))
        pthread_cond_signal(&journal->news); /* not before: the thread would wake to wait for the mutex */
    buffer_free(&octets);
    metrics_add(journal->metrics, queued ? COUNTER_JOURNAL_RECORDS : COUNTER_JOURNAL_LOST, 1);
    return queued;
}

bool pending_journal_works(const struct pending_journal *journal)
{
    return !atomic_load(&journal->fails);
}

void pending_journal_wait(struct pending_journal *journal, struct journal_waiter *waiter)
{
    waiter->next = NULL;
    pthread_mutex_lock(&journal->mutex);
    *journal->end = waiter;
    journal->end = &waiter->next;
    pthread_mutex_unlock(&journal->mutex);
    pthread_cond_signal(&journal->news);
}

bool pending_journal_leave(struct pending_journal *journal, struct journal_waiter *waiter)
{
    pthread_mutex_lock(&journal->mutex);
    struct journal_waiter **at = &journal->waiting;
    while (*at != NULL && *at != waiter)
        at = &(*at)->next;
    bool left = *at != NULL;
    if (left) {
        *at = waiter->next;
        if (*at == NULL)
            journal->end = at;
    }
    while (!left && journal->served != NULL)
        pthread_cond_wait(&journal->posted, &journal->mutex);
    pthread_mutex_unlock(&journal->mutex);
    return left;
}

/* The thread. */

static bool start(struct pending_journal *journal)
{
    journal->runs = thread_start(&journal->thread, run, journal) == STATUS_OK;
    return journal->runs;
}

static void *run(void *user)
{
    struct pending_journal *journal = user;
    bool goes_on;
    do {
        goes_on = await_work(journal);
        write_batch(journal, !goes_on);
        tidy(journal);
    } while (goes_on);
    return NULL;
}

/* False: it is the last. */
static bool await_work(struct pending_journal *journal)
{
    pthread_mutex_lock(&journal->mutex);
    while (!journal->stops && journal->waiting == NULL && journal->queue.len == 0 &&
           journal->batch.len == 0 && journal->dirty_ms == 0)
        pthread_cond_wait(&journal->news, &journal->mutex);
    if (!journal->stops && journal->waiting == NULL && (journal->batch.len > 0 || journal->queue.len == 0))
        wait_a_while(journal);
    bool goes_on = !journal->stops;
    take_queue(journal);
    pthread_mutex_unlock(&journal->mutex);
    return goes_on;
}

/* What could not be written will hardly fare better at once, and what is written may wait for its sync. */
static void wait_a_while(struct pending_journal *journal)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += TRY_AGAIN_S;
    pthread_cond_timedwait(&journal->news, &journal->mutex, &until);
}

/* Behind what was written in vain, as far as there is room. */
static void take_queue(struct pending_journal *journal)
{
    journal->served = journal->waiting;
    journal->waiting = NULL;
    journal->end = &journal->waiting;
    journal->took_all = true;
    if (journal->batch.len == 0) {
        struct buffer taken = journal->queue;
        journal->queue = journal->batch;
        journal->batch = taken;
        journal->queue.limit = PENDING_JOURNAL_QUEUE_OCTETS;
        journal->batch.limit = 2 * PENDING_JOURNAL_QUEUE_OCTETS;
        return;
    }
    journal->took_all = journal->queue.len <= journal->batch.limit - journal->batch.len;
    if (!journal->took_all)
        return;
    buffer_append(&journal->batch, buffer_view(&journal->queue));
    journal->took_all = journal->batch.status == STATUS_OK;
    journal->batch.status = STATUS_OK; /* without memory, they stay where they are */
    if (journal->took_all)
        buffer_reset(&journal->queue);
}

static void write_batch(struct pending_journal *journal, bool is_last)
{
    enum status status = STATUS_OK;
    if (journal->batch.len > 0)
        status = journal_file_write(journal->file, buffer_view(&journal->batch));
    int reason = errno;
    if (status == STATUS_OK)
        metrics_subtract(journal->metrics, COUNTER_JOURNAL_QUEUED, journal->batch.len);
    if (status == STATUS_OK && journal->batch.room > ROOM_KEPT)
        buffer_free(&journal->batch);
    else if (status == STATUS_OK)
        buffer_reset(&journal->batch);
    if (status == STATUS_OK && is_sync_due(journal, is_last)) {
        status = journal_file_sync(journal->file);
        reason = errno;
        journal->dirty_ms = status == STATUS_OK ? 0 : journal->dirty_ms;
        metrics_add(journal->metrics, COUNTER_JOURNAL_SYNCS, status == STATUS_OK ? 1 : 0);
    }
    note_status(journal, status, reason);
    tell(journal, status == STATUS_OK && !journal->took_all ? STATUS_BUSY : status);
}

/* At once for those who wait. */
static bool is_sync_due(struct pending_journal *journal, bool is_last)
{
    if (journal_file_is_synced(journal->file)) {
        journal->dirty_ms = 0;
        return false;
    }
    uint64_t now_ms = monotonic_ms();
    if (journal->dirty_ms == 0)
        journal->dirty_ms = now_ms;
    return journal->served != NULL || is_last || now_ms - journal->dirty_ms >= SYNC_LATEST_MS;
}

static void tell(struct pending_journal *journal, enum status status)
{
    for (struct journal_waiter *waiter = journal->served, *next; waiter != NULL; waiter = next) {
        next = waiter->next;
        waiter->status = status;
        mailbox_post(waiter->mailbox, &waiter->letter); /* and it may be gone */
    }
    pthread_mutex_lock(&journal->mutex);
    journal->served = NULL;
    pthread_cond_broadcast(&journal->posted);
    pthread_mutex_unlock(&journal->mutex);
}

/* Told once, not with every record. */
static void note_status(struct pending_journal *journal, enum status status, int reason)
{
    bool failed_before = atomic_exchange(&journal->fails, status != STATUS_OK);
    if (status != STATUS_OK && !failed_before)
        log_error("journal",
                  "state_directory: the journal cannot be written: %s; until it can, enrolments are answered "
                  "5.03 and none is begun",
                  status == STATUS_SYSTEM ? strerror(reason) : status_text(status));
    if (status == STATUS_OK && failed_before)
        log_warning("journal", "state_directory: the journal can be written again, and enrolments go on");
}

static void tidy(struct pending_journal *journal)
{
    if (atomic_load(&journal->fails) || monotonic_ms() < journal->tidy_again_ms)
        return;
    enum status status = journal_file_tidy(journal->file);
    if (status == STATUS_OK)
        return;
    journal->tidy_again_ms = monotonic_ms() + TIDY_AGAIN_MS;
    log_warning("journal", "state_directory: the journal could not be made smaller: %s",
                status == STATUS_SYSTEM ? strerror(errno) : status_text(status));
}
