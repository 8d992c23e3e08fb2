#include "registrar/exchange/pending_keeper.h"

#include "common/log.h"
#include "common/monotonic.h"
#include "common/service.h"
#include "registrar/exchange/pending_enrolments.h"
#include "registrar/exchange/pending_journal.h"

#include <event2/event.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RESULTS_OCTETS_MAX  ((size_t)64 << 20) /* of results kept for their devices */
#define EXPIRE_EVERY_S      10
#define KEYS_EVERY_S        1
#define MESSAGES_OCTETS_MAX 4096

struct pending_keeper {
    const struct settings *settings;
    struct pending_enrolments *table;
    struct pending_journal *journal; /* NULL: none */
    struct event *expiry;
    struct event *key_expiry; /* of the private keys in it (SKG-9) */
};

/* What a journal brought back. */
struct revival {
    struct pending_keeper *keeper;
    unsigned counts[PENDING_IN_DOUBT + 1]; /* by state */
};

static bool open_journal(struct pending_keeper *keeper, struct metrics *metrics, struct buffer *errors);
static bool revive(struct pending_keeper *keeper, struct buffer *errors);
static void take_back(void *user, const struct pending_record *record);
static bool start_timers(struct pending_keeper *keeper, struct event_base *base);
static void expire(evutil_socket_t fd, short what, void *user);
static void expire_keys(evutil_socket_t fd, short what, void *user);

struct pending_keeper *pending_keeper_create(const struct settings *settings, struct event_base *base,
                                             struct metrics *metrics, struct buffer *errors)
{
    struct pending_keeper *keeper = calloc(1, sizeof(*keeper));
    if (keeper == NULL)
        return NULL;
    keeper->settings = settings;
    keeper->table = pending_enrolments_create(&settings->est, RESULTS_OCTETS_MAX, metrics);
    if (keeper->table != NULL && open_journal(keeper, metrics, errors) && start_timers(keeper, base))
        return keeper;
    pending_keeper_free(keeper);
    return NULL;
}

void pending_keeper_free(struct pending_keeper *keeper)
{
    if (keeper == NULL)
        return;
    if (keeper->expiry != NULL)
        event_free(keeper->expiry);
    if (keeper->key_expiry != NULL)
        event_free(keeper->key_expiry);
    pending_enrolments_free(keeper->table);
    pending_journal_close(keeper->journal);
    free(keeper);
}

struct pending_enrolments *pending_keeper_table(const struct pending_keeper *keeper)
{
    return keeper->table;
}

struct pending_journal *pending_keeper_journal(const struct pending_keeper *keeper)
{
    return keeper->journal;
}

static bool open_journal(struct pending_keeper *keeper, struct metrics *metrics, struct buffer *errors)
{
    const char *folder = keeper->settings->state_directory;
    struct buffer warnings;
    if (folder[0] == '\0')
        return true;
    buffer_init(&warnings, MESSAGES_OCTETS_MAX);
    keeper->journal = pending_journal_open(folder, metrics, errors, &warnings);
    service_log_lines(LOG_LEVEL_WARNING, "journal", &warnings);
    buffer_free(&warnings);
    return keeper->journal != NULL && revive(keeper, errors);
}

static bool revive(struct pending_keeper *keeper, struct buffer *errors)
{
    struct revival revival = {.keeper = keeper};
    enum status status = pending_journal_restore(keeper->journal, take_back, &revival);
    if (status != STATUS_OK) {
        buffer_printf(errors, "state_directory: \"%s\": the journal cannot be read: %s\n",
                      keeper->settings->state_directory,
                      status == STATUS_SYSTEM ? strerror(errno) : status_text(status));
        return false;
    }
    pending_enrolments_record(keeper->table, keeper->journal);
    const unsigned *counts = revival.counts;
    log_info("journal", "known from before: %u enrolments waiting, %u ready, %u refused, %u in doubt",
             counts[PENDING_WAITING], counts[PENDING_READY], counts[PENDING_REFUSED],
             counts[PENDING_IN_DOUBT]);
    return true;
}

static void take_back(void *user, const struct pending_record *record)
{
    struct revival *revival = user;
    bool is_held = revival->keeper->settings->est.in_doubt == IN_DOUBT_HOLD;
    enum pending_state state = pending_enrolments_restore(revival->keeper->table, record, monotonic_ms());
    if (record->kind != PENDING_RECORD_ENTRY)
        return;
    revival->counts[state]++;
    if (state == PENDING_IN_DOUBT)
        log_warning("exchange", "enrolment in doubt: %.*s: the registrar ended while it was under way%s",
                    (int)record->name.len, (const char *)record->name.at,
                    is_held ? "; it is held" : "; it is asked again if its device repeats it");
    if (state == PENDING_QUEUED)
        log_error("exchange", "enrolment forgotten: %.*s: out of memory", (int)record->name.len,
                  (const char *)record->name.at);
}

static bool start_timers(struct pending_keeper *keeper, struct event_base *base)
{
    static const struct timeval expire_every = {EXPIRE_EVERY_S, 0}, keys_every = {KEYS_EVERY_S, 0};
    const struct est_settings *est = &keeper->settings->est;
    keeper->expiry = event_new(base, -1, EV_PERSIST, expire, keeper);
    keeper->key_expiry = event_new(base, -1, EV_PERSIST, expire_keys, keeper);
    if (keeper->expiry == NULL || keeper->key_expiry == NULL || event_add(keeper->expiry, &expire_every) != 0)
        return false;
    return (!est->skg && !est->skc) || event_add(keeper->key_expiry, &keys_every) == 0;
}

static void expire(evutil_socket_t fd, short what, void *user)
{
    const struct pending_keeper *keeper = user;
    (void)fd, (void)what;
    pending_enrolments_expire(keeper->table, monotonic_ms());
}

static void expire_keys(evutil_socket_t fd, short what, void *user)
{
    const struct pending_keeper *keeper = user;
    (void)fd, (void)what;
    size_t lost = pending_enrolments_expire_secrets(keeper->table, monotonic_ms());
    if (lost > 0)
        log_warning("exchange",
                    "%zu private keys were wiped after est.key_grace_s that no device has fetched; their "
                    "certificates are issued or may yet be, and the enrolments in doubt",
                    lost);
}
