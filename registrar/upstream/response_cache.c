#include "registrar/upstream/response_cache.h"

#include "common/coap_message.h"
#include "registrar/counters.h"

#include <pthread.h>
#include <stdlib.h>

/* One operation and label. */
struct entry {
    enum est_operation_id operation;
    struct bytes label; /* borrowed from the settings */
    bool fetching;
    bool forgotten; /* meanwhile: what is fetched is not kept */
    uint64_t fetch_began_ms;
    uint64_t failing_until_ms;               /* the last fetch failed: no other one before that */
    uint64_t fresh_until_ms, stale_until_ms; /* of response; 0: there is none */
    struct cached_response response;
    struct cache_waiter *waiters;
};

struct response_cache {
    pthread_mutex_t mutex; /* guards the entries' content */
    struct metrics *metrics;
    uint64_t serve_stale_ms;
    size_t count;
    struct entry entries[];
};

static const enum est_operation_id cacheable[] = {EST_CRTS, EST_ATT};

#define CACHEABLE (sizeof cacheable / sizeof cacheable[0])

static void entry_init(struct entry *entry, enum est_operation_id operation, struct bytes label,
                       size_t limit);
static struct entry *find(struct response_cache *cache, enum est_operation_id operation, struct bytes label);
static enum cache_verdict look_up(struct response_cache *cache, struct entry *entry, uint64_t now_ms,
                                  struct cache_waiter *waiter);
static bool is_to_be_served_stale(const struct entry *entry, uint64_t now_ms);
static bool give_stale(struct response_cache *cache, const struct entry *entry, uint64_t now_ms,
                       struct cached_response *response);
static void keep(const struct response_cache *cache, struct entry *entry, uint64_t now_ms,
                 const struct cached_response *fetched);
static void copy(const struct cached_response *from, uint32_t max_age_s, struct cached_response *to);

void cached_response_init(struct cached_response *response, size_t limit)
{
    *response = (struct cached_response){.code = 0};
    buffer_init(&response->der, limit);
}

void cached_response_free(struct cached_response *response)
{
    buffer_free(&response->der);
}

struct response_cache *response_cache_create(const struct settings *settings, struct metrics *metrics)
{
    const struct settings_objects *labels = &settings->est.labels;
    const struct label_settings *label = labels->items;
    size_t limit = settings->upstream.max_response_bytes;
    size_t count = CACHEABLE * (labels->count + 1);

    struct response_cache *cache = calloc(1, sizeof *cache + count * sizeof cache->entries[0]);
    if (cache == NULL)
        return NULL;
    pthread_mutex_init(&cache->mutex, NULL);
    cache->metrics = metrics;
    cache->serve_stale_ms = (uint64_t)settings->upstream.serve_stale_s * 1000;
    for (size_t i = 0; i < CACHEABLE; i++) {
        entry_init(&cache->entries[cache->count++], cacheable[i], bytes_from_string(NULL), limit);
        for (size_t j = 0; j < labels->count; j++)
            entry_init(&cache->entries[cache->count++], cacheable[i], bytes_from_string(label[j].name),
                       limit);
    }
    return cache;
}

void response_cache_free(struct response_cache *cache)
{
    if (cache == NULL)
        return;
    for (size_t i = 0; i < cache->count; i++)
        cached_response_free(&cache->entries[i].response);
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
}

static void entry_init(struct entry *entry, enum est_operation_id operation, struct bytes label, size_t limit)
{
    entry->operation = operation;
    entry->label = label;
    cached_response_init(&entry->response, limit);
}

enum cache_verdict response_cache_ask(struct response_cache *cache, enum est_operation_id operation,
                                      struct bytes label, uint64_t now_ms, struct cache_waiter *waiter)
{
    struct entry *entry = find(cache, operation, label);
    if (entry == NULL)
        return CACHE_FETCH;

    pthread_mutex_lock(&cache->mutex);
    enum cache_verdict verdict = look_up(cache, entry, now_ms, waiter);
    pthread_mutex_unlock(&cache->mutex);
    return verdict;
}

static enum cache_verdict look_up(struct response_cache *cache, struct entry *entry, uint64_t now_ms,
                                  struct cache_waiter *waiter)
{
    if (now_ms < entry->fresh_until_ms) {
        copy(&entry->response, (uint32_t)((entry->fresh_until_ms - now_ms) / 1000), &waiter->response);
        metrics_add(cache->metrics, COUNTER_CACHE_HITS, 1);
        return CACHE_HIT;
    }
    if (is_to_be_served_stale(entry, now_ms) && give_stale(cache, entry, now_ms, &waiter->response))
        return CACHE_HIT;
    if (entry->fetching) {
        waiter->next = entry->waiters;
        entry->waiters = waiter;
        return CACHE_WAIT;
    }
    entry->fetching = true;
    entry->fetch_began_ms = now_ms;
    metrics_add(cache->metrics, COUNTER_CACHE_FETCHES, 1);
    return CACHE_FETCH;
}

/* The EST server does not answer, or not soon. */
static bool is_to_be_served_stale(const struct entry *entry, uint64_t now_ms)
{
    bool slow = entry->fetching && now_ms - entry->fetch_began_ms >= CACHE_PATIENCE_MS;
    return slow || now_ms < entry->failing_until_ms;
}

static bool give_stale(struct response_cache *cache, const struct entry *entry, uint64_t now_ms,
                       struct cached_response *response)
{
    if (now_ms >= entry->stale_until_ms)
        return false;
    copy(&entry->response, 0, response);
    response->stale = true;
    metrics_add(cache->metrics, COUNTER_CACHE_STALE, 1);
    return true;
}

bool response_cache_stale(struct response_cache *cache, enum est_operation_id operation, struct bytes label,
                          uint64_t now_ms, struct cached_response *response)
{
    const struct entry *entry = find(cache, operation, label);
    if (entry == NULL)
        return false;

    pthread_mutex_lock(&cache->mutex);
    bool given = give_stale(cache, entry, now_ms, response);
    pthread_mutex_unlock(&cache->mutex);
    return given;
}

bool response_cache_fetched(struct response_cache *cache, enum est_operation_id operation, struct bytes label,
                            uint64_t now_ms, struct cached_response *fetched)
{
    struct entry *entry = find(cache, operation, label);
    if (entry == NULL)
        return false;

    pthread_mutex_lock(&cache->mutex);
    entry->fetching = false;
    entry->failing_until_ms = 0;
    if (fetched->code == 0 && !entry->forgotten)
        keep(cache, entry, now_ms, fetched);
    entry->forgotten = false;
    if (CM_CODE_CLASS(fetched->code) == 4) /* the EST server is there, and has it no more */
        entry->stale_until_ms = 0;
    bool is_down = CM_CODE_CLASS(fetched->code) == 5 && give_stale(cache, entry, now_ms, fetched);
    if (is_down)
        entry->failing_until_ms = now_ms + CACHE_RETRY_MS;
    /* Copied under the lock, or one of them might leave meanwhile. */
    while (entry->waiters != NULL) {
        struct cache_waiter *waiter = entry->waiters;
        entry->waiters = waiter->next;
        waiter->next = NULL;
        copy(fetched, fetched->max_age_s, &waiter->response);
        mailbox_post(waiter->mailbox, &waiter->letter);
    }
    pthread_mutex_unlock(&cache->mutex);
    return is_down;
}

static void keep(const struct response_cache *cache, struct entry *entry, uint64_t now_ms,
                 const struct cached_response *fetched)
{
    uint64_t lifetime_ms = (uint64_t)fetched->max_age_s * 1000;
    copy(fetched, fetched->max_age_s, &entry->response);
    bool copied = entry->response.code == fetched->code;
    entry->fresh_until_ms = copied && lifetime_ms > 0 ? now_ms + lifetime_ms : 0;
    entry->stale_until_ms =
        copied && fetched->may_be_stale ? now_ms + lifetime_ms + cache->serve_stale_ms : 0;
}

void response_cache_forget(struct response_cache *cache)
{
    pthread_mutex_lock(&cache->mutex);
    for (size_t i = 0; i < cache->count; i++) {
        cache->entries[i].fresh_until_ms = cache->entries[i].stale_until_ms = 0;
        cache->entries[i].failing_until_ms = 0;
        cache->entries[i].forgotten = cache->entries[i].fetching;
    }
    pthread_mutex_unlock(&cache->mutex);
}

void response_cache_expire(struct response_cache *cache)
{
    pthread_mutex_lock(&cache->mutex);
    for (size_t i = 0; i < cache->count; i++)
        cache->entries[i].fresh_until_ms = cache->entries[i].failing_until_ms = 0;
    pthread_mutex_unlock(&cache->mutex);
}

bool response_cache_leave(struct response_cache *cache, struct cache_waiter *waiter)
{
    bool found = false;
    pthread_mutex_lock(&cache->mutex);
    for (size_t i = 0; i < cache->count && !found; i++) {
        struct cache_waiter **link = &cache->entries[i].waiters;
        while (*link != NULL && *link != waiter)
            link = &(*link)->next;
        found = *link != NULL;
        if (found)
            *link = waiter->next;
    }
    pthread_mutex_unlock(&cache->mutex);
    return found;
}

/* Reads only what never changes: needs no lock. */
static struct entry *find(struct response_cache *cache, enum est_operation_id operation, struct bytes label)
{
    for (size_t i = 0; i < cache->count; i++) {
        struct entry *entry = &cache->entries[i];
        if (entry->operation == operation && bytes_equal(entry->label, label))
            return entry;
    }
    return NULL;
}

static void copy(const struct cached_response *from, uint32_t max_age_s, struct cached_response *to)
{
    to->code = from->code;
    to->max_age_s = max_age_s;
    to->may_be_stale = from->may_be_stale;
    to->stale = from->stale;
    buffer_reset(&to->der);
    buffer_append(&to->der, buffer_view(&from->der));
    if (to->der.status != STATUS_OK) {
        buffer_reset(&to->der);
        to->code = CM_INTERNAL_SERVER_ERROR;
        to->max_age_s = 0;
    }
}
