#include "registrar/exchange/pending_enrolments.h"

#include "registrar/counters.h"
#include "registrar/exchange/local_key.h"
#include "registrar/exchange/pending_journal.h"

#include <openssl/evp.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* The keys are SHA-256 already: any part of them is a good hash. Without memory nothing is added. */
#define HASH_NONFATAL_OOM           1
#define HASH_FUNCTION(at, len, out) memcpy(&(out), (at), sizeof(out))
#define uthash_nonfatal_oom(listed) ((listed)->is_unlisted = true)
#include <uthash.h>
#include <utlist.h>

/* While nothing can be evicted, a full table is not searched for it more often than this. */
#define SWEEP_INTERVAL_MS 1000

/* A client with enrolments in the table. */
struct owner {
    uint8_t client[32];
    struct entry *entries; /* the oldest first */
    size_t count;
    bool is_unlisted; /* no memory to list it */
    UT_hash_handle hh;
};

struct entry {
    struct pending_key key;
    struct owner *owner;
    struct entry *next_own, *previous_own;
    enum pending_state state;
    uint64_t asked_ms;   /* QUEUED, SENT: since when */
    uint64_t due_ms;     /* WAITING: until when; READY: when it expires at the latest */
    uint64_t expires_ms; /* WAITING, READY, REFUSED, IN_DOUBT */
    uint8_t passed[32];  /* the latest CSR that passed proof of possession; zeros: none */
    bool delivered;      /* READY, at delivered_ms for the last time */
    uint64_t delivered_ms;
    bool doubtful;               /* an earlier request may have had a certificate issued */
    uint64_t server;             /* the EST server that has taken it on (202); 0: none has */
    struct buffer result;        /* READY; REFUSED: the diagnostic */
    uint8_t refusal;             /* REFUSED: the code; else 0 */
    struct local_key *local_key; /* held while its certificate is waited and asked for */
    uint64_t
        secret_until_ms; /* the result has a private key in it, or local_key is or was there; 0: neither */
    bool is_secret;      /* one of both is there: the entry is listed among the secrets */
    struct entry *next_secret, *previous_secret;
    struct buffer name; /* for the journal */
    bool is_recorded;   /* the journal knows of it */
    bool is_unlisted;   /* no memory to list it */
    UT_hash_handle hh;
};

struct pending_enrolments {
    pthread_mutex_t mutex; /* guards all below */
    const struct est_settings *settings;
    struct metrics *metrics;
    struct pending_journal *journal; /* NULL: none */
    struct entry *entries;           /* by key */
    struct owner *owners;            /* by client */
    struct entry *secrets;           /* those with a private key, that which goes first first */
    size_t local_keys;
    size_t bytes, max_bytes; /* of results and local keys */
    uint64_t next_sweep_ms;
};

static enum pending_verdict ask(struct pending_enrolments *pending, const struct pending_key *key,
                                uint64_t now_ms, struct pending_outcome *outcome, struct buffer *result);
static enum pending_verdict ask_entry(struct pending_enrolments *pending, struct entry *entry,
                                      uint64_t now_ms, struct pending_outcome *outcome,
                                      struct buffer *result);
static enum pending_verdict later(const struct pending_enrolments *pending, uint64_t wait_ms,
                                  struct pending_outcome *outcome);
static uint64_t passed_ms(uint64_t since_ms, uint64_t now_ms);
static enum pending_verdict give(struct pending_enrolments *pending, const struct entry *entry,
                                 struct pending_outcome *outcome, struct buffer *result);
static enum pending_verdict begin(struct entry *entry, uint64_t now_ms, struct pending_outcome *outcome);
static struct entry *find(struct pending_enrolments *pending, const struct pending_key *key);
static struct entry *find_running(struct pending_enrolments *pending, const struct pending_key *key);
static bool is_full(const struct pending_enrolments *pending);
static bool is_crowded(struct pending_enrolments *pending, const struct pending_key *key, uint64_t now_ms);
static bool may_make_way(const struct pending_enrolments *pending, const struct entry *entry,
                         uint64_t now_ms);
static struct entry *add(struct pending_enrolments *pending, const struct pending_key *key);
static void list(struct pending_enrolments *pending, struct entry *entry);
static struct owner *find_owner(struct pending_enrolments *pending, const struct pending_key *key);
static struct owner *find_or_add_owner(struct pending_enrolments *pending, const struct pending_key *key);
static void list_owner(struct pending_enrolments *pending, struct owner *owner);
static void leave_owner(struct pending_enrolments *pending, struct owner *owner);
static void drop(struct pending_enrolments *pending, struct entry *entry);
static void drop_result(struct pending_enrolments *pending, struct entry *entry);
static void unlist_secret(struct pending_enrolments *pending, struct entry *entry);
static void drop_local_key(struct pending_enrolments *pending, struct entry *entry);
static struct entry *retire(struct pending_enrolments *pending, struct entry *entry, uint64_t now_ms);
static bool has_lost_key(const struct entry *entry);
static bool is_lost(const struct entry *entry);
static void sweep(struct pending_enrolments *pending, uint64_t now_ms, bool make_room);
static bool is_running(const struct entry *entry);
static bool is_expired(const struct entry *entry, uint64_t now_ms);
static bool may_be_evicted(const struct pending_enrolments *pending, const struct entry *entry,
                           uint64_t now_ms);
static enum status ready(struct pending_enrolments *pending, const struct pending_key *key, uint64_t now_ms,
                         struct bytes result, bool is_secret);
static enum status keep_result(struct pending_enrolments *pending, struct entry *entry, uint64_t now_ms,
                               struct bytes result, bool is_secret);
static uint64_t secret_until_ms(const struct pending_enrolments *pending, const struct entry *entry,
                                uint64_t now_ms);
static uint64_t list_secret(struct pending_enrolments *pending, struct entry *entry, uint64_t now_ms);
static bool has_room_for_key(const struct pending_enrolments *pending);
static enum status store(struct pending_enrolments *pending, struct entry *entry, uint64_t now_ms,
                         struct bytes octets);
static enum status keep_key(struct pending_enrolments *pending, struct entry *entry, uint64_t now_ms,
                            uint32_t retry_after_s, struct local_key *local_key);
static void wait_until(struct pending_enrolments *pending, struct entry *entry, uint64_t due_ms,
                       uint64_t server);
static void wait_on(struct pending_enrolments *pending, struct entry *entry, uint64_t now_ms);
static void withdraw(struct pending_enrolments *pending, struct entry *entry, uint64_t now_ms);
static void fall_into_doubt(struct pending_enrolments *pending, struct entry *entry, uint64_t now_ms);
static void doubt(struct pending_enrolments *pending, struct entry *entry, uint64_t now_ms);
static void forget_secret(struct pending_enrolments *pending, struct entry *entry);
static uint64_t grace_ms(const struct pending_enrolments *pending);
static bool record(const struct pending_enrolments *pending, struct entry *entry);
static bool record_as(const struct pending_enrolments *pending, const struct entry *entry,
                      enum pending_record_kind kind);
static void restore_entry(struct pending_enrolments *pending, struct entry *entry,
                          const struct pending_record *known, uint64_t now_ms);
static void restore_delivery(struct pending_enrolments *pending, struct entry *entry,
                             const struct pending_record *known, uint64_t now_ms);
static uint64_t between(uint64_t least, uint64_t value, uint64_t most);

enum status pending_key_make(struct bytes client_fingerprint, struct bytes operation, struct bytes label,
                             const uint8_t csr_digest[static 32], struct pending_key *key)
{
    /* Every part stands behind its length, so that no two lists of parts look the same. */
    const struct bytes parts[] = {client_fingerprint, operation, label, {csr_digest, 32}};
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context == NULL)
        return STATUS_NO_MEMORY;
    bool good = EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        uint64_t len = parts[i].len;
        good = good && EVP_DigestUpdate(context, &len, sizeof(len)) == 1 &&
               EVP_DigestUpdate(context, parts[i].at, parts[i].len) == 1;
    }
    *key = (struct pending_key){{0}, {0}};
    good = good && EVP_DigestFinal_ex(context, key->octets, NULL) == 1;
    EVP_MD_CTX_free(context);
    struct bytes client = bytes_slice(client_fingerprint, 0, sizeof(key->client));
    if (client.len > 0)
        memcpy(key->client, client.at, client.len);
    return good ? STATUS_OK : STATUS_CRYPTO;
}

uint32_t pending_retry_after_s(uint64_t running_ms, uint32_t max_s)
{
    uint64_t seconds = running_ms / 1000 + (running_ms % 1000 > 0 ? 1 : 0);
    if (seconds > max_s)
        return max_s;
    return seconds < 1 ? 1 : (uint32_t)seconds;
}

struct pending_enrolments *pending_enrolments_create(const struct est_settings *settings, size_t max_bytes,
                                                     struct metrics *metrics)
{
    struct pending_enrolments *pending = calloc(1, sizeof(*pending));
    if (pending == NULL)
        return NULL;
    pthread_mutex_init(&pending->mutex, NULL);
    pending->settings = settings;
    pending->metrics = metrics;
    pending->max_bytes = max_bytes;
    return pending;
}

void pending_enrolments_free(struct pending_enrolments *pending)
{
    if (pending == NULL)
        return;
    struct entry *entry, *next;
    pending->journal = NULL; /* what it knows outlives us */
    HASH_ITER(hh, pending->entries, entry, next)
    {
        drop(pending, entry);
    }
    pthread_mutex_destroy(&pending->mutex);
    free(pending);
}

enum pending_verdict pending_enrolments_ask(struct pending_enrolments *pending, const struct pending_key *key,
                                            uint64_t now_ms, struct pending_outcome *outcome,
                                            struct buffer *result)
{
    *outcome = (struct pending_outcome){0};
    pthread_mutex_lock(&pending->mutex);
    enum pending_verdict verdict = ask(pending, key, now_ms, outcome, result);
    pthread_mutex_unlock(&pending->mutex);
    return verdict;
}

static enum pending_verdict ask(struct pending_enrolments *pending, const struct pending_key *key,
                                uint64_t now_ms, struct pending_outcome *outcome, struct buffer *result)
{
    struct entry *entry = find(pending, key);
    if (entry != NULL && is_expired(entry, now_ms))
        entry = retire(pending, entry, now_ms);
    if (entry != NULL)
        return ask_entry(pending, entry, now_ms, outcome, result);
    if (is_crowded(pending, key, now_ms)) {
        metrics_add(pending->metrics, COUNTER_PENDING_CROWDED, 1);
        later(pending, (uint64_t)pending->settings->retry_after_s * 1000, outcome);
        return PENDING_CROWDED;
    }
    if (is_full(pending) && now_ms >= pending->next_sweep_ms) {
        pending->next_sweep_ms = now_ms + SWEEP_INTERVAL_MS;
        sweep(pending, now_ms, true);
    }
    entry = is_full(pending) ? NULL : add(pending, key);
    if (entry != NULL) {
        entry->asked_ms = now_ms;
        return PENDING_ASK;
    }
    later(pending, (uint64_t)pending->settings->retry_after_s * 1000, outcome);
    return PENDING_FULL;
}

static enum pending_verdict ask_entry(struct pending_enrolments *pending, struct entry *entry,
                                      uint64_t now_ms, struct pending_outcome *outcome, struct buffer *result)
{
    switch (entry->state) {
    case PENDING_WAITING:
        return now_ms < entry->due_ms ? later(pending, entry->due_ms - now_ms, outcome)
                                      : begin(entry, now_ms, outcome);
    case PENDING_READY:
    case PENDING_REFUSED:
        return give(pending, entry, outcome, result);
    case PENDING_IN_DOUBT:
        return pending->settings->in_doubt == IN_DOUBT_HOLD
                   ? later(pending, entry->expires_ms - now_ms, outcome)
                   : begin(entry, now_ms, outcome);
    case PENDING_QUEUED:
    case PENDING_SENT:
        break;
    }
    return later(pending, passed_ms(entry->asked_ms, now_ms), outcome);
}

static enum pending_verdict later(const struct pending_enrolments *pending, uint64_t wait_ms,
                                  struct pending_outcome *outcome)
{
    outcome->retry_after_s = pending_retry_after_s(wait_ms, pending->settings->retry_after_max_s);
    return PENDING_LATER;
}

/* Whoever read the clock and then waited for the mutex is a little behind what others wrote meanwhile. */
static uint64_t passed_ms(uint64_t since_ms, uint64_t now_ms)
{
    return now_ms > since_ms ? now_ms - since_ms : 0;
}

static enum pending_verdict give(struct pending_enrolments *pending, const struct entry *entry,
                                 struct pending_outcome *outcome, struct buffer *result)
{
    buffer_append(result, buffer_view(&entry->result));
    if (result->status != STATUS_OK)
        return later(pending, 0, outcome);
    outcome->refusal = entry->refusal;
    metrics_add(pending->metrics, COUNTER_PENDING_REPEATED, 1);
    return PENDING_ANSWER;
}

static enum pending_verdict begin(struct entry *entry, uint64_t now_ms, struct pending_outcome *outcome)
{
    outcome->repeats_in_doubt = entry->doubtful;
    outcome->server = entry->server;
    outcome->local_key = entry->local_key != NULL ? local_key_hold(entry->local_key) : NULL;
    entry->state = PENDING_QUEUED;
    entry->asked_ms = now_ms;
    return PENDING_ASK;
}

static struct entry *find(struct pending_enrolments *pending, const struct pending_key *key)
{
    struct entry *entry;
    HASH_FIND(hh, pending->entries, key->octets, sizeof(key->octets), entry);
    return entry;
}

static struct entry *find_running(struct pending_enrolments *pending, const struct pending_key *key)
{
    struct entry *entry = find(pending, key);
    return entry != NULL && is_running(entry) ? entry : NULL;
}

/* The last eighth of the bytes is for the results of those who were let in before. */
static bool is_full(const struct pending_enrolments *pending)
{
    return HASH_COUNT(pending->entries) >= pending->settings->max_pending ||
           pending->bytes > pending->max_bytes - pending->max_bytes / 8;
}

/* SEC-3: whether the client has as many as it may have. Then one of its own makes way, if one can. */
static bool is_crowded(struct pending_enrolments *pending, const struct pending_key *key, uint64_t now_ms)
{
    struct owner *owner = find_owner(pending, key);
    if (owner == NULL || owner->count < pending->settings->max_pending_per_client)
        return false;
    struct entry *entry;
    DL_FOREACH2(owner->entries, entry, next_own)
    {
        if (may_make_way(pending, entry, now_ms)) {
            drop(pending, entry);
            return false;
        }
    }
    return true;
}

/* Whoever has begun so many others since does not wait for what it was handed, or refused. */
static bool may_make_way(const struct pending_enrolments *pending, const struct entry *entry, uint64_t now_ms)
{
    if (is_expired(entry, now_ms) && !is_lost(entry))
        return true;
    return (entry->state == PENDING_READY && entry->delivered) || entry->state == PENDING_REFUSED ||
           (entry->state == PENDING_IN_DOUBT && pending->settings->in_doubt == IN_DOUBT_RETRY);
}

static struct entry *add(struct pending_enrolments *pending, const struct pending_key *key)
{
    struct entry *entry = calloc(1, sizeof(*entry));
    struct owner *owner = entry == NULL ? NULL : find_or_add_owner(pending, key);
    if (owner == NULL) {
        free(entry);
        return NULL;
    }
    entry->key = *key;
    entry->state = PENDING_QUEUED;
    entry->owner = owner;
    buffer_init(&entry->result, pending->max_bytes);
    buffer_init(&entry->name, PENDING_NAME_OCTETS_MAX);
    list(pending, entry);
    if (entry->is_unlisted) {
        leave_owner(pending, owner);
        free(entry);
        return NULL;
    }
    DL_APPEND2(owner->entries, entry, previous_own, next_own);
    owner->count++;
    metrics_add(pending->metrics, COUNTER_PENDING_ENTRIES, 1);
    return entry;
}

/* A macro of uthash, and not ours to shorten: NOLINTNEXTLINE(readability-function-size) */
static void list(struct pending_enrolments *pending, struct entry *entry)
{
    HASH_ADD(hh, pending->entries, key.octets, sizeof(entry->key.octets), entry);
}

static struct owner *find_owner(struct pending_enrolments *pending, const struct pending_key *key)
{
    struct owner *owner;
    HASH_FIND(hh, pending->owners, key->client, sizeof(key->client), owner);
    return owner;
}

static struct owner *find_or_add_owner(struct pending_enrolments *pending, const struct pending_key *key)
{
    struct owner *owner = find_owner(pending, key);
    if (owner == NULL)
        owner = calloc(1, sizeof(*owner));
    if (owner == NULL || owner->count > 0)
        return owner;
    memcpy(owner->client, key->client, sizeof(owner->client));
    list_owner(pending, owner);
    if (!owner->is_unlisted)
        return owner;
    free(owner);
    return NULL;
}

/* As list. NOLINTNEXTLINE(readability-function-size) */
static void list_owner(struct pending_enrolments *pending, struct owner *owner)
{
    HASH_ADD(hh, pending->owners, client, sizeof(owner->client), owner);
}

/* The last one closes the door. */
static void leave_owner(struct pending_enrolments *pending, struct owner *owner)
{
    if (owner->count > 0)
        return;
    /* As in drop. NOLINTNEXTLINE(clang-analyzer-core.NullDereference,clang-analyzer-unix.Malloc) */
    HASH_DEL(pending->owners, owner);
    free(owner);
}

static void drop(struct pending_enrolments *pending, struct entry *entry)
{
    if (entry->is_recorded)
        record_as(pending, entry, PENDING_RECORD_FORGOTTEN);
    drop_result(pending, entry);
    buffer_free(&entry->name);
    DL_DELETE2(entry->owner->entries, entry, previous_own, next_own); /* NOLINT(clang-analyzer-core.*) */
    entry->owner->count--;
    leave_owner(pending, entry->owner);
    /* The analyzer loses sight of what the macro unlinks:
     * NOLINTNEXTLINE(clang-analyzer-core.NullDereference,clang-analyzer-unix.Malloc) */
    HASH_DEL(pending->entries, entry);
    free(entry);
    metrics_subtract(pending->metrics, COUNTER_PENDING_ENTRIES, 1);
}

static void drop_result(struct pending_enrolments *pending, struct entry *entry)
{
    pending->bytes -= entry->result.len;
    buffer_wipe(&entry->result);
    drop_local_key(pending, entry);
    unlist_secret(pending, entry);
}

static void drop_local_key(struct pending_enrolments *pending, struct entry *entry)
{
    if (entry->local_key == NULL)
        return;
    pending->bytes -= local_key_octets(entry->local_key);
    pending->local_keys--;
    local_key_release(entry->local_key);
    entry->local_key = NULL;
}

static void unlist_secret(struct pending_enrolments *pending, struct entry *entry)
{
    /* The analyzer does not know that what is secret is in the list. */
    if (entry->is_secret)
        DL_DELETE2(pending->secrets, entry, previous_secret, next_secret); /* NOLINT(clang-analyzer-core.*) */
    entry->is_secret = false;
}

/* What has expired goes. A key that no device was handed leaves a doubt: its certificate was issued for
 * nothing, or may be. */
static struct entry *retire(struct pending_enrolments *pending, struct entry *entry, uint64_t now_ms)
{
    if (!is_lost(entry)) {
        drop(pending, entry);
        return NULL;
    }
    fall_into_doubt(pending, entry, now_ms);
    return entry;
}

static bool is_lost(const struct entry *entry)
{
    return entry->is_secret && !entry->delivered;
}

/* It was kept, and is no more, while the EST server still has the enrolment in hand. */
static bool has_lost_key(const struct entry *entry)
{
    return entry->secret_until_ms != 0 && entry->local_key == NULL;
}

size_t pending_enrolments_expire_secrets(struct pending_enrolments *pending, uint64_t now_ms)
{
    size_t lost = 0;
    pthread_mutex_lock(&pending->mutex);
    struct entry *entry;
    while ((entry = pending->secrets) != NULL && now_ms >= entry->secret_until_ms) {
        if (is_running(entry)) { /* whoever asks still has it in hand, and settles it */
            drop_result(pending, entry);
            continue;
        }
        lost += is_lost(entry) ? 1 : 0;
        retire(pending, entry, now_ms);
    }
    pthread_mutex_unlock(&pending->mutex);
    return lost;
}

size_t pending_enrolments_expire(struct pending_enrolments *pending, uint64_t now_ms)
{
    pthread_mutex_lock(&pending->mutex);
    sweep(pending, now_ms, false);
    size_t left = HASH_COUNT(pending->entries);
    pthread_mutex_unlock(&pending->mutex);
    return left;
}

/* Drops what has expired, and to make room also what may be evicted. */
static void sweep(struct pending_enrolments *pending, uint64_t now_ms, bool make_room)
{
    struct entry *entry, *next;
    HASH_ITER(hh, pending->entries, entry, next)
    {
        if (is_expired(entry, now_ms))
            retire(pending, entry, now_ms);
        else if (make_room && may_be_evicted(pending, entry, now_ms))
            drop(pending, entry);
    }
}

static bool is_running(const struct entry *entry)
{
    return entry->state == PENDING_QUEUED || entry->state == PENDING_SENT;
}

static bool is_expired(const struct entry *entry, uint64_t now_ms)
{
    return !is_running(entry) && now_ms >= entry->expires_ms;
}

/* Without breaking the promise: a result whose device has had it for long enough to notice if it had not, a
 * refusal, and a doubt that would not keep anybody from asking again. */
static bool may_be_evicted(const struct pending_enrolments *pending, const struct entry *entry,
                           uint64_t now_ms)
{
    if (entry->state == PENDING_READY)
        return entry->delivered && passed_ms(entry->delivered_ms, now_ms) >= PENDING_LOST_ANSWER_MS;
    return entry->state == PENDING_REFUSED ||
           (entry->state == PENDING_IN_DOUBT && pending->settings->in_doubt == IN_DOUBT_RETRY);
}

bool pending_enrolments_state(struct pending_enrolments *pending, const struct pending_key *key,
                              enum pending_state *state)
{
    pthread_mutex_lock(&pending->mutex);
    const struct entry *entry = find(pending, key);
    if (entry != NULL)
        *state = entry->state;
    pthread_mutex_unlock(&pending->mutex);
    return entry != NULL;
}

void pending_enrolments_passed(struct pending_enrolments *pending, const struct pending_key *key,
                               const uint8_t csr[static 32])
{
    pthread_mutex_lock(&pending->mutex);
    struct entry *entry = find(pending, key);
    if (entry != NULL && memcmp(entry->passed, csr, sizeof(entry->passed)) != 0) {
        memcpy(entry->passed, csr, sizeof(entry->passed));
        if (entry->is_recorded)
            record(pending, entry);
    }
    pthread_mutex_unlock(&pending->mutex);
}

bool pending_enrolments_has_passed(struct pending_enrolments *pending, const struct pending_key *key,
                                   const uint8_t csr[static 32])
{
    pthread_mutex_lock(&pending->mutex);
    const struct entry *entry = find(pending, key);
    bool passed = entry != NULL && memcmp(entry->passed, csr, sizeof(entry->passed)) == 0;
    pthread_mutex_unlock(&pending->mutex);
    return passed;
}

bool pending_enrolments_sent(struct pending_enrolments *pending, const struct pending_key *key,
                             struct bytes name)
{
    bool recorded = false;
    pthread_mutex_lock(&pending->mutex);
    struct entry *entry = find_running(pending, key);
    if (entry != NULL) {
        enum pending_state before = entry->state;
        if (pending->journal != NULL && entry->name.len == 0)
            buffer_append(&entry->name, bytes_slice(name, 0, PENDING_NAME_OCTETS_MAX));
        entry->state = PENDING_SENT;
        recorded = record(pending, entry);
        entry->state = recorded ? PENDING_SENT : before;
    }
    pthread_mutex_unlock(&pending->mutex);
    return recorded;
}

enum status pending_enrolments_ready(struct pending_enrolments *pending, const struct pending_key *key,
                                     uint64_t now_ms, struct bytes result)
{
    return ready(pending, key, now_ms, result, false);
}

enum status pending_enrolments_ready_secret(struct pending_enrolments *pending, const struct pending_key *key,
                                            uint64_t now_ms, struct bytes result)
{
    return ready(pending, key, now_ms, result, true);
}

static enum status ready(struct pending_enrolments *pending, const struct pending_key *key, uint64_t now_ms,
                         struct bytes result, bool is_secret)
{
    pthread_mutex_lock(&pending->mutex);
    struct entry *entry = find_running(pending, key);
    enum status status =
        entry == NULL ? STATUS_NOT_FOUND : keep_result(pending, entry, now_ms, result, is_secret);
    pthread_mutex_unlock(&pending->mutex);
    return status;
}

static enum status keep_result(struct pending_enrolments *pending, struct entry *entry, uint64_t now_ms,
                               struct bytes result, bool is_secret)
{
    drop_local_key(pending, entry); /* it is in the result */
    entry->result.locked = is_secret;
    enum status status = store(pending, entry, now_ms, result);
    if (status != STATUS_OK) {
        fall_into_doubt(pending, entry, now_ms);
        return status;
    }
    entry->state = PENDING_READY;
    entry->delivered = false;
    entry->due_ms = entry->expires_ms =
        is_secret ? list_secret(pending, entry, now_ms) : now_ms + PENDING_KEPT_MS;
    record(pending, entry);
    return STATUS_OK;
}

/* A key that has waited for its certificate is given no more time. */
static uint64_t secret_until_ms(const struct pending_enrolments *pending, const struct entry *entry,
                                uint64_t now_ms)
{
    return entry->secret_until_ms != 0 ? entry->secret_until_ms
                                       : now_ms + (uint64_t)pending->settings->key_grace_s * 1000;
}

/* Returns until when it may stay. */
static uint64_t list_secret(struct pending_enrolments *pending, struct entry *entry, uint64_t now_ms)
{
    entry->secret_until_ms = secret_until_ms(pending, entry, now_ms);
    if (entry->is_secret)
        return entry->secret_until_ms;
    entry->is_secret = true;
    if (entry->secret_until_ms <= now_ms)
        DL_PREPEND2(pending->secrets, entry, previous_secret, next_secret);
    else
        DL_APPEND2(pending->secrets, entry, previous_secret, next_secret);
    return entry->secret_until_ms;
}

static enum status store(struct pending_enrolments *pending, struct entry *entry, uint64_t now_ms,
                         struct bytes octets)
{
    if (octets.len > pending->max_bytes - pending->bytes)
        sweep(pending, now_ms, true);
    if (octets.len > pending->max_bytes - pending->bytes)
        return STATUS_BUSY;
    buffer_append(&entry->result, octets);
    if (entry->result.status == STATUS_OK) {
        pending->bytes += octets.len;
        return STATUS_OK;
    }
    enum status status = entry->result.status;
    buffer_wipe(&entry->result);
    return status;
}

enum status pending_enrolments_keep_key(struct pending_enrolments *pending, const struct pending_key *key,
                                        uint64_t now_ms, uint32_t retry_after_s, struct local_key *local_key)
{
    pthread_mutex_lock(&pending->mutex);
    struct entry *entry = find_running(pending, key);
    enum status status =
        entry == NULL ? STATUS_NOT_FOUND : keep_key(pending, entry, now_ms, retry_after_s, local_key);
    pthread_mutex_unlock(&pending->mutex);
    return status;
}

static enum status keep_key(struct pending_enrolments *pending, struct entry *entry, uint64_t now_ms,
                            uint32_t retry_after_s, struct local_key *local_key)
{
    size_t octets = local_key_octets(local_key);
    if (now_ms + (uint64_t)retry_after_s * 1000 >= secret_until_ms(pending, entry, now_ms))
        return STATUS_TOO_LARGE;
    if (entry->local_key != NULL)
        return STATUS_OK;
    if (!has_room_for_key(pending) || octets > pending->max_bytes - pending->bytes)
        return STATUS_BUSY;
    entry->local_key = local_key_hold(local_key);
    pending->bytes += octets;
    pending->local_keys++;
    list_secret(pending, entry, now_ms);
    return STATUS_OK;
}

bool pending_enrolments_has_room_for_key(struct pending_enrolments *pending)
{
    pthread_mutex_lock(&pending->mutex);
    bool has_room = has_room_for_key(pending);
    pthread_mutex_unlock(&pending->mutex);
    return has_room;
}

static bool has_room_for_key(const struct pending_enrolments *pending)
{
    return pending->local_keys < PENDING_KEYS_MAX;
}

void pending_enrolments_wait(struct pending_enrolments *pending, const struct pending_key *key,
                             uint64_t now_ms, uint32_t retry_after_s, uint64_t server)
{
    pthread_mutex_lock(&pending->mutex);
    struct entry *entry = find_running(pending, key);
    if (entry != NULL && has_lost_key(entry))
        fall_into_doubt(pending, entry, now_ms);
    else if (entry != NULL)
        wait_until(pending, entry, now_ms + (uint64_t)retry_after_s * 1000, server);
    pthread_mutex_unlock(&pending->mutex);
}

static void wait_until(struct pending_enrolments *pending, struct entry *entry, uint64_t due_ms,
                       uint64_t server)
{
    entry->state = PENDING_WAITING;
    entry->server = server != 0 ? server : entry->server;
    entry->due_ms = due_ms;
    entry->expires_ms = entry->local_key != NULL ? entry->secret_until_ms : due_ms + PENDING_KEPT_MS;
    record(pending, entry);
}

void pending_enrolments_refused(struct pending_enrolments *pending, const struct pending_key *key,
                                uint64_t now_ms, uint8_t code, struct bytes diagnostic)
{
    pthread_mutex_lock(&pending->mutex);
    struct entry *entry = find_running(pending, key);
    if (entry != NULL)
        forget_secret(pending, entry);
    if (entry != NULL && !entry->doubtful && store(pending, entry, now_ms, diagnostic) == STATUS_OK) {
        entry->state = PENDING_REFUSED;
        entry->refusal = code;
        entry->expires_ms = now_ms + grace_ms(pending);
        record(pending, entry);
    } else if (entry != NULL) {
        withdraw(pending, entry, now_ms);
    }
    pthread_mutex_unlock(&pending->mutex);
}

void pending_enrolments_withdrawn(struct pending_enrolments *pending, const struct pending_key *key,
                                  uint64_t now_ms)
{
    pthread_mutex_lock(&pending->mutex);
    struct entry *entry = find_running(pending, key);
    if (entry != NULL && has_lost_key(entry))
        fall_into_doubt(pending, entry, now_ms);
    else if (entry != NULL && (entry->local_key != NULL || entry->server != 0))
        wait_on(pending, entry, now_ms);
    else if (entry != NULL)
        withdraw(pending, entry, now_ms);
    pthread_mutex_unlock(&pending->mutex);
}

/* The day that it has left does not begin anew: then another EST server may be asked. */
static void wait_on(struct pending_enrolments *pending, struct entry *entry, uint64_t now_ms)
{
    entry->state = entry->doubtful && entry->local_key == NULL ? PENDING_IN_DOUBT : PENDING_WAITING;
    entry->due_ms = now_ms;
    record(pending, entry);
}

static void withdraw(struct pending_enrolments *pending, struct entry *entry, uint64_t now_ms)
{
    if (entry->doubtful)
        doubt(pending, entry, now_ms);
    else
        drop(pending, entry);
}

void pending_enrolments_in_doubt(struct pending_enrolments *pending, const struct pending_key *key,
                                 uint64_t now_ms)
{
    pthread_mutex_lock(&pending->mutex);
    struct entry *entry = find_running(pending, key);
    if (entry != NULL)
        fall_into_doubt(pending, entry, now_ms);
    pthread_mutex_unlock(&pending->mutex);
}

static void fall_into_doubt(struct pending_enrolments *pending, struct entry *entry, uint64_t now_ms)
{
    metrics_add(pending->metrics, COUNTER_IN_DOUBT, 1);
    doubt(pending, entry, now_ms);
}

static void doubt(struct pending_enrolments *pending, struct entry *entry, uint64_t now_ms)
{
    forget_secret(pending, entry);
    entry->doubtful = true;
    entry->state = PENDING_IN_DOUBT;
    entry->expires_ms = now_ms + PENDING_KEPT_MS;
    record(pending, entry);
}

/* What was asked for a key that is gone, no other key waits for. */
static void forget_secret(struct pending_enrolments *pending, struct entry *entry)
{
    drop_result(pending, entry);
    if (entry->secret_until_ms != 0)
        entry->server = 0;
    entry->secret_until_ms = 0;
}

void pending_enrolments_delivered(struct pending_enrolments *pending, const struct pending_key *key,
                                  uint64_t now_ms)
{
    pthread_mutex_lock(&pending->mutex);
    struct entry *entry = find(pending, key);
    if (entry != NULL && entry->state == PENDING_READY) {
        uint64_t grace_end_ms = now_ms + grace_ms(pending);
        entry->delivered = true;
        entry->delivered_ms = now_ms;
        if (!entry->is_secret)
            entry->expires_ms = grace_end_ms < entry->due_ms ? grace_end_ms : entry->due_ms;
        record_as(pending, entry, PENDING_RECORD_DELIVERED);
    } else if (entry != NULL && entry->state == PENDING_REFUSED) {
        drop(pending, entry);
    }
    pthread_mutex_unlock(&pending->mutex);
}

static uint64_t grace_ms(const struct pending_enrolments *pending)
{
    return (uint64_t)pending->settings->grace_s * 1000;
}

/* The journal. */

void pending_enrolments_record(struct pending_enrolments *pending, struct pending_journal *journal)
{
    pthread_mutex_lock(&pending->mutex);
    pending->journal = journal;
    struct entry *entry, *next;
    HASH_ITER(hh, pending->entries, entry, next)
    {
        if (entry->state == PENDING_IN_DOUBT) /* it may have been something else before the restart */
            record(pending, entry);
    }
    pthread_mutex_unlock(&pending->mutex);
}

/* False: it could not be, or need not be known. */
static bool record(const struct pending_enrolments *pending, struct entry *entry)
{
    if (entry->state == PENDING_QUEUED)
        return false;
    if (!record_as(pending, entry, PENDING_RECORD_ENTRY))
        return false;
    entry->is_recorded |= pending->journal != NULL;
    if (entry->state == PENDING_READY && entry->delivered)
        record_as(pending, entry, PENDING_RECORD_DELIVERED);
    return true;
}

/* SKG-9: a private key is never written down; without it no server knows the enrolment. */
static bool record_as(const struct pending_enrolments *pending, const struct entry *entry,
                      enum pending_record_kind kind)
{
    if (pending->journal == NULL)
        return true;
    const struct bytes nothing = {NULL, 0};
    struct pending_record known = {
        .kind = kind,
        .key = entry->key,
        .state = entry->state,
        .doubtful = entry->doubtful,
        .is_secret = entry->is_secret && !is_running(entry),
        .refusal = entry->state == PENDING_REFUSED ? entry->refusal : 0,
        .server = entry->secret_until_ms == 0 ? entry->server : 0,
        .due_ms = entry->due_ms,
        .expires_ms = entry->expires_ms,
        .name = buffer_view(&entry->name),
        .result = entry->is_secret ? nothing : buffer_view(&entry->result),
    };
    memcpy(known.passed, entry->passed, sizeof(known.passed));
    return pending_journal_put(pending->journal, &known);
}

enum pending_state pending_enrolments_restore(struct pending_enrolments *pending,
                                              const struct pending_record *known, uint64_t now_ms)
{
    enum pending_state state = PENDING_QUEUED;
    pthread_mutex_lock(&pending->mutex);
    struct entry *entry = find(pending, &known->key);
    if (entry == NULL && known->kind == PENDING_RECORD_ENTRY)
        entry = add(pending, &known->key);
    if (entry != NULL && known->kind == PENDING_RECORD_ENTRY)
        restore_entry(pending, entry, known, now_ms);
    else if (entry != NULL && known->kind == PENDING_RECORD_DELIVERED)
        restore_delivery(pending, entry, known, now_ms);
    if (entry != NULL)
        state = entry->state;
    pthread_mutex_unlock(&pending->mutex);
    return state;
}

static void restore_entry(struct pending_enrolments *pending, struct entry *entry,
                          const struct pending_record *known, uint64_t now_ms)
{
    uint64_t grace_end_ms = now_ms + grace_ms(pending);
    uint64_t due_most_ms = (uint64_t)pending->settings->retry_after_max_s * 1000;
    bool is_waiting = known->state == PENDING_WAITING;
    bool is_lost = known->state == PENDING_SENT || known->is_secret;
    entry->doubtful = known->doubtful;
    entry->refusal = known->refusal;
    entry->server = known->server;
    entry->is_recorded = true;
    memcpy(entry->passed, known->passed, sizeof(entry->passed));
    buffer_append(&entry->name, known->name);
    entry->due_ms = between(now_ms, known->due_ms, now_ms + (is_waiting ? due_most_ms : PENDING_KEPT_MS));
    entry->expires_ms =
        between(grace_end_ms, known->expires_ms, (is_waiting ? entry->due_ms : now_ms) + PENDING_KEPT_MS);
    entry->state = PENDING_QUEUED; /* so that it does not make way for its own result */
    bool stored = known->result.len == 0 || store(pending, entry, now_ms, known->result) == STATUS_OK;
    entry->state = known->state;
    if (is_lost || !stored)
        doubt(pending, entry, now_ms);
    if (entry->state == PENDING_IN_DOUBT)
        metrics_add(pending->metrics, COUNTER_IN_DOUBT, 1);
}

static void restore_delivery(struct pending_enrolments *pending, struct entry *entry,
                             const struct pending_record *known, uint64_t now_ms)
{
    if (entry->state != PENDING_READY)
        return;
    uint64_t grace_end_ms = now_ms + grace_ms(pending);
    entry->delivered = true;
    entry->delivered_ms = now_ms;
    entry->expires_ms = between(now_ms, known->expires_ms, grace_end_ms);
}

static uint64_t between(uint64_t least, uint64_t value, uint64_t most)
{
    if (value < least || most < least)
        return least;
    return value < most ? value : most;
}
