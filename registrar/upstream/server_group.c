#include "registrar/upstream/server_group.h"

#include "common/log.h"
#include "common/monotonic.h"
#include "registrar/upstream/circuit_breaker.h"

#include <openssl/rand.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define WARNING_EVERY_MS 10000
#define NEWS_OCTETS_MAX  2000

/* Failures are many where one is enough to know. */
struct quiet {
    bool spoken;
    uint64_t spoken_ms;
    unsigned unsaid; /* since then */
};

struct server {
    char *url;
    struct https_origin origin;
    uint64_t id;
    struct circuit_breaker circuit;
    enum est_result last_failure;
    uint64_t fails_since_ms;
    uint64_t heard_ms; /* of it for the last time; 0: never */
    struct quiet quiet;
    uint64_t requests, failures, openings;
};

struct server_group {
    atomic_uint references;
    enum upstream_selection selection;
    struct circuit_settings circuit;
    uint32_t probe_interval_ms; /* 0: those that are well are not probed */
    struct https_origin redirect_origins[UPSTREAM_REDIRECT_ORIGINS_MAX];
    size_t redirect_origin_count;
    size_t count;

    pthread_mutex_t mutex;                       /* guards what is learnt: */
    struct server servers[UPSTREAM_SERVERS_MAX]; /* (their url, origin and id never change) */
    struct quiet quiet;                          /* about refusals */
    size_t next;                                 /* round-robin */
    bool probing;
};

/* Written under the mutex, and logged after it. */
struct news {
    enum server_news kind;
    enum log_level level;
    struct buffer text; /* empty: nothing is worth a line */
};

static enum status take_servers(struct server_group *group, const struct settings_strings *servers,
                                struct buffer *errors);
static enum status take_redirect_origins(struct server_group *group, const struct settings_strings *origins,
                                         struct buffer *errors);
static bool find_well(const struct server_group *group, uint32_t tried, size_t first, size_t *server);
static void begin_news(struct news *news);
static enum server_news tell(struct news *news);
static bool is_failure(const struct server_group *group, size_t server, const struct server_report *report);
static void hear(struct server *server, const struct server_report *report, uint64_t now_ms);
static void tell_of_failure(struct server_group *group, size_t server, const struct server_report *report,
                            uint64_t now_ms, struct news *news);
static void tell_that_it_fails(struct server_group *group, size_t server, const struct server_report *report,
                               uint64_t now_ms, struct news *news);
static void tell_that_it_is_well(struct server_group *group, size_t server, uint64_t now_ms,
                                 struct news *news);
static void tell_who_serves(const struct server_group *group, struct news *news);
static bool may_speak(struct quiet *quiet, uint64_t now_ms);
static void describe(const struct server_report *report, struct buffer *text);
static uint64_t probe_due_ms(const struct server_group *group, size_t server);
static uint32_t chance(void);

struct server_group *server_group_load(const struct upstream_settings *settings, struct buffer *errors)
{
    struct server_group *group = calloc(1, sizeof *group);
    if (group == NULL) {
        buffer_append_string(errors, "out of memory\n");
        return NULL;
    }
    atomic_init(&group->references, 1);
    pthread_mutex_init(&group->mutex, NULL);
    group->selection = settings->selection;
    group->circuit = (struct circuit_settings){
        .failures = settings->max_failures,
        .backoff_ms = settings->backoff_ms,
        .backoff_max_ms = settings->backoff_max_ms,
    };
    group->probe_interval_ms = settings->servers.count > 1 ? settings->probe_interval_ms : 0;
    enum status servers = take_servers(group, &settings->servers, errors);
    enum status origins = take_redirect_origins(group, &settings->redirect_origins, errors);
    if (servers != STATUS_OK || origins != STATUS_OK) {
        server_group_release(group);
        return NULL;
    }
    return group;
}

static enum status take_servers(struct server_group *group, const struct settings_strings *servers,
                                struct buffer *errors)
{
    enum status status = STATUS_OK;
    if (servers->count == 0 || servers->count > UPSTREAM_SERVERS_MAX) {
        buffer_printf(errors, "upstream.servers: names %zu EST servers: write 1 to %d https URLs\n",
                      servers->count, UPSTREAM_SERVERS_MAX);
        return STATUS_MALFORMED;
    }
    for (size_t i = 0; i < servers->count; i++) {
        struct server *server = &group->servers[group->count];
        const char *complaint = https_origin_read(servers->items[i], &server->origin);
        size_t same;
        server->id = complaint == NULL ? https_origin_id(&server->origin) : 0;
        if (complaint == NULL && server_group_find(group, server->id, &same))
            complaint = "is named twice; remove one";
        if (complaint != NULL) {
            buffer_printf(errors, "upstream.servers[%zu]: \"%s\" %s\n", i, servers->items[i], complaint);
            status = STATUS_MALFORMED;
            continue;
        }
        server->url = strdup(servers->items[i]);
        server->last_failure = EST_NOT_SENT;
        group->count++;
        if (server->url == NULL)
            return STATUS_NO_MEMORY;
    }
    return status;
}

static enum status take_redirect_origins(struct server_group *group, const struct settings_strings *origins,
                                         struct buffer *errors)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < origins->count && i < UPSTREAM_REDIRECT_ORIGINS_MAX; i++) {
        struct https_origin *origin = &group->redirect_origins[group->redirect_origin_count];
        const char *complaint = https_origin_read(origins->items[i], origin);
        if (complaint == NULL) {
            group->redirect_origin_count++;
            continue;
        }
        buffer_printf(errors, "upstream.redirect_origins[%zu]: \"%s\" %s\n", i, origins->items[i], complaint);
        status = STATUS_MALFORMED;
    }
    return status;
}

struct server_group *server_group_hold(struct server_group *group)
{
    atomic_fetch_add(&group->references, 1);
    return group;
}

void server_group_release(struct server_group *group)
{
    if (group == NULL || atomic_fetch_sub(&group->references, 1) > 1)
        return;
    for (size_t i = 0; i < group->count; i++)
        free(group->servers[i].url);
    pthread_mutex_destroy(&group->mutex);
    free(group);
}

size_t server_group_count(const struct server_group *group)
{
    return group->count;
}

const char *server_group_url(const struct server_group *group, size_t server)
{
    return group->servers[server].url;
}

uint64_t server_group_id(const struct server_group *group, size_t server)
{
    return group->servers[server].id;
}

bool server_group_find(const struct server_group *group, uint64_t id, size_t *server)
{
    for (size_t i = 0; i < group->count; i++) {
        if (group->servers[i].id != id)
            continue;
        *server = i;
        return true;
    }
    return false;
}

bool server_group_may_redirect_to(const struct server_group *group, const struct https_origin *origin)
{
    for (size_t i = 0; i < group->count; i++)
        if (https_origin_equal(&group->servers[i].origin, origin))
            return true;
    for (size_t i = 0; i < group->redirect_origin_count; i++)
        if (https_origin_equal(&group->redirect_origins[i], origin))
            return true;
    return false;
}

bool server_group_pick(struct server_group *group, uint32_t tried, size_t *server)
{
    bool in_turn = group->selection == UPSTREAM_ROUND_ROBIN;
    pthread_mutex_lock(&group->mutex);
    bool found = find_well(group, tried, in_turn ? group->next : 0, server);
    if (found)
        group->next = (*server + 1) % group->count;
    pthread_mutex_unlock(&group->mutex);
    return found;
}

static bool find_well(const struct server_group *group, uint32_t tried, size_t first, size_t *server)
{
    for (size_t i = 0; i < group->count; i++) {
        size_t at = (first + i) % group->count;
        if ((tried >> at & 1) != 0 || group->servers[at].circuit.open)
            continue;
        *server = at;
        return true;
    }
    return false;
}

bool server_group_is_well(struct server_group *group, size_t server)
{
    pthread_mutex_lock(&group->mutex);
    bool well = !group->servers[server].circuit.open;
    pthread_mutex_unlock(&group->mutex);
    return well;
}

enum est_result server_group_refusal(struct server_group *group)
{
    pthread_mutex_lock(&group->mutex);
    bool untrusted = group->servers[0].circuit.open && group->servers[0].last_failure == EST_UNTRUSTED;
    pthread_mutex_unlock(&group->mutex);
    return untrusted ? EST_UNTRUSTED : EST_NOT_SENT;
}

enum server_news server_group_report(struct server_group *group, size_t server,
                                     const struct server_report *report, uint64_t now_ms)
{
    struct news news;
    if (report->result == EST_QUEUE_FULL)
        return SERVER_NO_NEWS; /* says nothing of the server */
    begin_news(&news);
    pthread_mutex_lock(&group->mutex);
    struct server *asked = &group->servers[server];
    asked->requests++;
    hear(asked, report, now_ms);
    if (!is_failure(group, server, report)) {
        if (circuit_breaker_served(&asked->circuit, now_ms))
            tell_that_it_is_well(group, server, now_ms, &news);
    } else {
        asked->failures++;
        if (circuit_breaker_failed(&asked->circuit, &group->circuit, now_ms, chance()))
            tell_that_it_fails(group, server, report, now_ms, &news);
        else
            tell_of_failure(group, server, report, now_ms, &news);
    }
    pthread_mutex_unlock(&group->mutex);
    return tell(&news);
}

static void begin_news(struct news *news)
{
    news->kind = SERVER_NO_NEWS;
    news->level = LOG_LEVEL_WARNING;
    buffer_init(&news->text, NEWS_OCTETS_MAX);
}

static enum server_news tell(struct news *news)
{
    if (news->text.len > 0)
        log_write(news->level, "upstream", "%.*s", (int)news->text.len, (const char *)news->text.at);
    buffer_free(&news->text);
    return news->kind;
}

static void hear(struct server *server, const struct server_report *report, uint64_t now_ms)
{
    server->heard_ms = now_ms > 0 ? now_ms : 1;
    if (report->result != EST_ANSWERED)
        server->last_failure = report->result;
}

/* Whoever answers that it, or what stands behind it, cannot serve now is alive: it is only left for one that
 * can. */
static bool is_failure(const struct server_group *group, size_t server, const struct server_report *report)
{
    size_t other;
    if (report->result != EST_ANSWERED)
        return true;
    return report->http_status >= 502 && report->http_status <= 504 &&
           find_well(group, UINT32_C(1) << server, 0, &other);
}

static void tell_that_it_fails(struct server_group *group, size_t server, const struct server_report *report,
                               uint64_t now_ms, struct news *news)
{
    struct server *failing = &group->servers[server];
    failing->openings++;
    failing->fails_since_ms = now_ms;
    news->kind = SERVER_FAILS;
    buffer_printf(&news->text, "EST server %s is not asked until a probe finds it well: ", failing->url);
    describe(report, &news->text);
    tell_who_serves(group, news);
}

static void tell_that_it_is_well(struct server_group *group, size_t server, uint64_t now_ms,
                                 struct news *news)
{
    const struct server *well = &group->servers[server];
    news->kind = SERVER_IS_WELL;
    news->level = LOG_LEVEL_INFO;
    buffer_printf(&news->text, "EST server %s is well again after %u s", well->url,
                  (unsigned)((now_ms - well->fails_since_ms) / 1000));
    tell_who_serves(group, news);
}

static void tell_who_serves(const struct server_group *group, struct news *news)
{
    size_t first, well = 0;
    for (size_t i = 0; i < group->count; i++)
        well += group->servers[i].circuit.open ? 0 : 1;
    if (well == 0)
        buffer_append_string(&news->text, "; no EST server serves");
    else if (group->selection == UPSTREAM_ROUND_ROBIN)
        buffer_printf(&news->text, "; %zu of %zu EST servers serve", well, group->count);
    else if (find_well(group, 0, 0, &first))
        buffer_printf(&news->text, "; %s serves", group->servers[first].url);
}

static void tell_of_failure(struct server_group *group, size_t server, const struct server_report *report,
                            uint64_t now_ms, struct news *news)
{
    struct server *failing = &group->servers[server];
    if (!may_speak(&failing->quiet, now_ms))
        return;
    buffer_printf(&news->text, "EST server %s: ", failing->url);
    describe(report, &news->text);
    if (failing->quiet.unsaid > 0)
        buffer_printf(&news->text, " (and %u failures more since this was said last)", failing->quiet.unsaid);
    failing->quiet.unsaid = 0;
}

static bool may_speak(struct quiet *quiet, uint64_t now_ms)
{
    if (quiet->spoken && now_ms < quiet->spoken_ms + WARNING_EVERY_MS) {
        quiet->unsaid++;
        return false;
    }
    quiet->spoken = true;
    quiet->spoken_ms = now_ms;
    return true;
}

static void describe(const struct server_report *report, struct buffer *text)
{
    buffer_printf(text, "%s: %s", report->operation, est_result_text(report->result));
    if (report->result == EST_ANSWERED)
        buffer_printf(text, " with HTTP status %u", report->http_status);
    if (report->reason != NULL)
        buffer_printf(text, ": %s", report->reason);
}

void server_group_report_refusal(struct server_group *group, const struct server_report *report,
                                 uint64_t now_ms)
{
    struct news news;
    begin_news(&news);
    pthread_mutex_lock(&group->mutex);
    if (may_speak(&group->quiet, now_ms)) {
        describe(report, &news.text);
        if (group->quiet.unsaid > 0)
            buffer_printf(&news.text, " (and %u requests more since this was said last)",
                          group->quiet.unsaid);
        group->quiet.unsaid = 0;
    }
    pthread_mutex_unlock(&group->mutex);
    tell(&news);
}

bool server_group_claim_probe(struct server_group *group, uint64_t now_ms, size_t *server)
{
    bool claimed = false;
    pthread_mutex_lock(&group->mutex);
    for (size_t i = 0; i < group->count && !group->probing && !claimed; i++) {
        claimed = probe_due_ms(group, i) <= now_ms;
        *server = i;
    }
    group->probing |= claimed;
    pthread_mutex_unlock(&group->mutex);
    return claimed;
}

static uint64_t probe_due_ms(const struct server_group *group, size_t server)
{
    const struct server *probed = &group->servers[server];
    if (probed->circuit.open)
        return probed->circuit.due_ms;
    if (group->probe_interval_ms == 0)
        return MONOTONIC_NEVER;
    return probed->heard_ms == 0 ? 0 : probed->heard_ms + group->probe_interval_ms;
}

enum server_news server_group_report_probe(struct server_group *group, size_t server,
                                           const struct server_report *report, uint64_t now_ms)
{
    struct news news;
    begin_news(&news);
    pthread_mutex_lock(&group->mutex);
    struct server *probed = &group->servers[server];
    group->probing = false;
    hear(probed, report, now_ms);
    if (is_failure(group, server, report)) {
        if (circuit_breaker_probe_failed(&probed->circuit, &group->circuit, now_ms, chance()))
            tell_that_it_fails(group, server, report, now_ms, &news);
    } else if (circuit_breaker_probe_served(&probed->circuit, now_ms)) {
        tell_that_it_is_well(group, server, now_ms, &news);
    }
    pthread_mutex_unlock(&group->mutex);
    return tell(&news);
}

void server_group_return_probe(struct server_group *group, size_t server, uint64_t now_ms)
{
    pthread_mutex_lock(&group->mutex);
    struct server *probed = &group->servers[server];
    group->probing = false;
    if (probed->circuit.open)
        probed->circuit.due_ms = now_ms + group->circuit.backoff_ms;
    else
        probed->heard_ms = now_ms > 0 ? now_ms : 1;
    pthread_mutex_unlock(&group->mutex);
}

uint64_t server_group_probe_due_ms(struct server_group *group, uint64_t now_ms)
{
    uint64_t soonest = MONOTONIC_NEVER;
    pthread_mutex_lock(&group->mutex);
    for (size_t i = 0; i < group->count && !group->probing; i++) {
        uint64_t due_ms = probe_due_ms(group, i);
        soonest = due_ms < soonest ? due_ms : soonest;
    }
    pthread_mutex_unlock(&group->mutex);
    return soonest < now_ms ? now_ms : soonest;
}

/* Spreads probes; where there is none, they are in step. */
static uint32_t chance(void)
{
    uint32_t number = 0;
    if (RAND_bytes((unsigned char *)&number, sizeof number) != 1)
        return 0;
    return number;
}

void server_group_view(struct server_group *group, size_t server, struct server_view *view)
{
    pthread_mutex_lock(&group->mutex);
    const struct server *at = &group->servers[server];
    *view = (struct server_view){
        .url = at->url,
        .well = !at->circuit.open,
        .requests = at->requests,
        .failures = at->failures,
        .openings = at->openings,
    };
    pthread_mutex_unlock(&group->mutex);
}

const char *est_result_text(enum est_result result)
{
    static const char *const texts[] = {
        [EST_ANSWERED] = "answered",
        [EST_NOT_SENT] = "the EST server was not reached",
        [EST_TIMEOUT] = "the EST server did not answer in time",
        [EST_BROKEN] = "the EST server did not answer properly",
        [EST_UNTRUSTED] = "no TLS connection with the EST server",
        [EST_QUEUE_FULL] = "too many requests",
        [EST_WITHHELD] = "the request was not sent",
    };
    return texts[result];
}
