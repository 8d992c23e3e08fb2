#include "registrar/upstream/server_group.h"

#include "common/log.h"
#include "common/monotonic.h"
#include "common/quiet.h"
#include "registrar/upstream/server_health.h"

#include <openssl/rand.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define NEWS_OCTETS_MAX 2000

/* What is learnt of a server, by all groups that name it: a reload forgets nothing. */
struct known_server {
    unsigned references;
    struct server_health *health;
    enum est_result last_failure;
    uint64_t heard_ms; /* of it for the last time; 0: never */
    struct quiet quiet;
    uint64_t requests, failures, openings;
};

struct server {
    char *url;
    struct https_origin origin;
    uint64_t id;
    struct known_server *known;
};

/* What a group has in common with those that were loaded from it. */
struct group_memory {
    unsigned references;
    pthread_mutex_t mutex; /* guards all of this, and what is known of servers */
    struct quiet quiet;    /* about refusals */
    bool probing;
};

struct server_group {
    atomic_uint references;
    enum upstream_selection selection;
    struct circuit_settings circuit;
    uint32_t probe_interval_ms; /* 0: those that are well are not probed */
    struct https_origin redirect_origins[UPSTREAM_REDIRECT_ORIGINS_MAX];
    size_t redirect_origin_count;
    struct server servers[UPSTREAM_SERVERS_MAX];
    size_t count;
    struct group_memory *memory;
    size_t next; /* round-robin; under the mutex */
};

/* Which server is wanted: for that profile, of those whose bit is not set in tried, from the first on. */
struct choice {
    const char *profile;
    uint32_t tried;
    size_t first;
};

/* A server, or a profile there. */
struct server_part {
    const char *url;
    const struct health_part *part;
};

/* Written under the mutex, and logged after it. */
struct news {
    enum server_news kind;
    enum log_level level;
    struct buffer text; /* empty: nothing is worth a line */
};

static bool take_memory(struct server_group *group, struct server_group *before);
static enum status take_servers(struct server_group *group, const struct settings_strings *servers,
                                struct buffer *errors);
static enum status know_servers(struct server_group *group, const struct server_group *before);
static struct known_server *know(const struct server_group *before, uint64_t id);
static void forget(struct known_server *known);
static enum status take_redirect_origins(struct server_group *group, const struct settings_strings *origins,
                                         struct buffer *errors);
static bool find_well(const struct server_group *group, const struct choice *choice, size_t *server);
static void begin_news(struct news *news);
static enum server_news tell(struct news *news);
static bool is_failure(const struct server_group *group, size_t server, const struct server_report *report);
static void hear(struct known_server *known, const struct server_report *report, uint64_t now_ms);
static struct health_event event_of(const struct server_report *report, uint64_t now_ms);
static void tell_of_failure(const struct server_group *group, size_t server,
                            const struct server_report *report, uint64_t now_ms, struct news *news);
static void tell_that_it_fails(const struct server_group *group, const struct server_part *failing,
                               const struct server_report *report, struct news *news);
static void tell_that_it_is_well(const struct server_group *group, const struct server_part *well,
                                 uint64_t now_ms, struct news *news);
static void tell_who_serves(const struct server_group *group, const char *profile, struct news *news);
static void describe(const struct server_report *report, struct buffer *text);
static uint64_t probe_due_ms(const struct server_group *group, size_t server, const struct health_part *part);
static void learn_of_failed_probe(const struct server_group *group, size_t server,
                                  const struct server_report *report, uint64_t now_ms, struct news *news);
static bool find_probe(const struct server_group *group, uint64_t until_ms, struct server_probe *probe,
                       uint64_t *due_ms);
static uint32_t chance(void);

struct server_group *server_group_load(const struct upstream_settings *settings, struct server_group *before,
                                       struct buffer *errors)
{
    struct server_group *group = calloc(1, sizeof *group);
    if (group == NULL || !take_memory(group, before)) {
        free(group);
        buffer_append_string(errors, "out of memory\n");
        return NULL;
    }
    atomic_init(&group->references, 1);
    group->selection = settings->selection;
    group->circuit = (struct circuit_settings){
        .failures = settings->max_failures,
        .backoff_ms = settings->backoff_ms,
        .backoff_max_ms = settings->backoff_max_ms,
    };
    group->probe_interval_ms = settings->servers.count > 1 ? settings->probe_interval_ms : 0;
    enum status servers = take_servers(group, &settings->servers, errors);
    enum status origins = take_redirect_origins(group, &settings->redirect_origins, errors);
    if (servers == STATUS_OK && origins == STATUS_OK && know_servers(group, before) == STATUS_OK)
        return group;
    server_group_release(group);
    return NULL;
}

static bool take_memory(struct server_group *group, struct server_group *before)
{
    if (before != NULL) {
        group->memory = before->memory;
        pthread_mutex_lock(&group->memory->mutex);
        group->memory->references++;
        pthread_mutex_unlock(&group->memory->mutex);
        return true;
    }
    group->memory = calloc(1, sizeof *group->memory);
    if (group->memory == NULL)
        return false;
    group->memory->references = 1;
    pthread_mutex_init(&group->memory->mutex, NULL);
    return true;
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
        group->count++;
        if (server->url == NULL)
            return STATUS_NO_MEMORY;
    }
    return status;
}

/* What the group before knows of the same servers is known to this one too. */
static enum status know_servers(struct server_group *group, const struct server_group *before)
{
    enum status status = STATUS_OK;
    pthread_mutex_lock(&group->memory->mutex);
    for (size_t i = 0; i < group->count; i++) {
        group->servers[i].known = know(before, group->servers[i].id);
        if (group->servers[i].known == NULL)
            status = STATUS_NO_MEMORY;
    }
    pthread_mutex_unlock(&group->memory->mutex);
    return status;
}

static struct known_server *know(const struct server_group *before, uint64_t id)
{
    size_t same;
    struct known_server *known;
    if (before != NULL && server_group_find(before, id, &same)) {
        known = before->servers[same].known;
        known->references++;
        return known;
    }
    known = calloc(1, sizeof *known);
    if (known == NULL)
        return NULL;
    known->references = 1;
    known->last_failure = EST_NOT_SENT;
    known->health = server_health_create();
    if (known->health != NULL)
        return known;
    free(known);
    return NULL;
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
    struct group_memory *memory = group->memory;
    pthread_mutex_lock(&memory->mutex);
    for (size_t i = 0; i < group->count; i++) {
        free(group->servers[i].url);
        forget(group->servers[i].known);
    }
    bool is_last = --memory->references == 0;
    pthread_mutex_unlock(&memory->mutex);
    if (is_last) {
        pthread_mutex_destroy(&memory->mutex);
        free(memory);
    }
    free(group);
}

static void forget(struct known_server *known)
{
    if (known == NULL || --known->references > 0)
        return;
    server_health_free(known->health);
    free(known);
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

bool server_group_covers(const struct server_group *group, const struct server_group *other)
{
    size_t server;
    for (size_t i = 0; i < other->count; i++)
        if (!server_group_find(group, other->servers[i].id, &server))
            return false;
    return true;
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

bool server_group_pick(struct server_group *group, const char *profile, uint32_t tried, size_t *server)
{
    pthread_mutex_lock(&group->memory->mutex);
    bool in_turn = group->selection == UPSTREAM_ROUND_ROBIN;
    bool found = find_well(group, &(struct choice){profile, tried, in_turn ? group->next : 0}, server);
    if (found)
        group->next = (*server + 1) % group->count;
    pthread_mutex_unlock(&group->memory->mutex);
    return found;
}

static bool find_well(const struct server_group *group, const struct choice *choice, size_t *server)
{
    for (size_t i = 0; i < group->count; i++) {
        size_t at = (choice->first + i) % group->count;
        if ((choice->tried >> at & 1) != 0 ||
            !server_health_is_well(group->servers[at].known->health, choice->profile))
            continue;
        *server = at;
        return true;
    }
    return false;
}

bool server_group_is_well(struct server_group *group, size_t server, const char *profile)
{
    pthread_mutex_lock(&group->memory->mutex);
    bool well = server_health_is_well(group->servers[server].known->health, profile);
    pthread_mutex_unlock(&group->memory->mutex);
    return well;
}

enum est_result server_group_refusal(struct server_group *group)
{
    pthread_mutex_lock(&group->memory->mutex);
    const struct known_server *first = group->servers[0].known;
    bool untrusted = !server_health_is_well(first->health, "") && first->last_failure == EST_UNTRUSTED;
    pthread_mutex_unlock(&group->memory->mutex);
    return untrusted ? EST_UNTRUSTED : EST_NOT_SENT;
}

enum server_news server_group_report(struct server_group *group, size_t server,
                                     const struct server_report *report, uint64_t now_ms)
{
    struct news news;
    if (report->result == EST_QUEUE_FULL)
        return SERVER_NO_NEWS; /* says nothing of the server */
    begin_news(&news);
    pthread_mutex_lock(&group->memory->mutex);
    struct known_server *asked = group->servers[server].known;
    const struct health_event event = event_of(report, now_ms);
    struct server_part changed = {group->servers[server].url, NULL};
    asked->requests++;
    hear(asked, report, now_ms);
    if (is_failure(group, server, report)) {
        asked->failures++;
        changed.part = server_health_failed(asked->health, &group->circuit, &event);
        asked->openings += changed.part != NULL ? 1 : 0;
        if (changed.part != NULL)
            tell_that_it_fails(group, &changed, report, &news);
        else
            tell_of_failure(group, server, report, now_ms, &news);
    } else if ((changed.part = server_health_served(asked->health, &event)) != NULL) {
        tell_that_it_is_well(group, &changed, now_ms, &news);
    }
    pthread_mutex_unlock(&group->memory->mutex);
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

static void hear(struct known_server *known, const struct server_report *report, uint64_t now_ms)
{
    known->heard_ms = now_ms > 0 ? now_ms : 1;
    if (report->result != EST_ANSWERED)
        known->last_failure = report->result;
}

/* Whoever answers that it, or what stands behind it, cannot serve now is alive: it is only left for one that
 * can. */
static bool is_failure(const struct server_group *group, size_t server, const struct server_report *report)
{
    size_t other;
    if (report->result != EST_ANSWERED)
        return true;
    return report->http_status >= 502 && report->http_status <= 504 &&
           find_well(group, &(struct choice){report->profile, UINT32_C(1) << server, 0}, &other);
}

/* A server that was not reached, or not trusted, fails for all profiles. One that was and says nothing good
 * may do so for one: RFC 7030 section 3.2.2 has a CA of its own behind each. */
static struct health_event event_of(const struct server_report *report, uint64_t now_ms)
{
    bool was_reached = report->result != EST_NOT_SENT && report->result != EST_UNTRUSTED;
    return (struct health_event){report->profile, !was_reached, now_ms, chance()};
}

static void tell_that_it_fails(const struct server_group *group, const struct server_part *failing,
                               const struct server_report *report, struct news *news)
{
    const char *profile = failing->part->profile;
    const bool in_part = news->kind == SERVER_IS_WELL;
    news->kind = in_part ? SERVER_IS_WELL_IN_PART : SERVER_FAILS;
    news->level = LOG_LEVEL_WARNING;
    buffer_printf(&news->text,
                  "%sEST server %s%s is not asked until a probe finds it well: ", in_part ? ", but " : "",
                  failing->url, profile);
    describe(report, &news->text);
    tell_who_serves(group, profile, news);
}

static void tell_that_it_is_well(const struct server_group *group, const struct server_part *well,
                                 uint64_t now_ms, struct news *news)
{
    news->kind = SERVER_IS_WELL;
    news->level = LOG_LEVEL_INFO;
    buffer_printf(&news->text, "EST server %s%s is well again after %u s", well->url, well->part->profile,
                  (unsigned)((now_ms - well->part->fails_since_ms) / 1000));
    tell_who_serves(group, well->part->profile, news);
}

static void tell_who_serves(const struct server_group *group, const char *profile, struct news *news)
{
    const char *whom = profile[0] != '\0' ? " it" : "";
    size_t first, well = 0;
    for (size_t i = 0; i < group->count; i++)
        well += server_health_is_well(group->servers[i].known->health, profile) ? 1 : 0;
    if (well == 0)
        buffer_printf(&news->text, "; no EST server serves%s", whom);
    else if (group->selection == UPSTREAM_ROUND_ROBIN)
        buffer_printf(&news->text, "; %zu of %zu EST servers serve%s", well, group->count, whom);
    else if (find_well(group, &(struct choice){profile, 0, 0}, &first))
        buffer_printf(&news->text, "; %s serves%s", group->servers[first].url, whom);
}

static void tell_of_failure(const struct server_group *group, size_t server,
                            const struct server_report *report, uint64_t now_ms, struct news *news)
{
    unsigned unsaid;
    if (!quiet_may_speak(&group->servers[server].known->quiet, now_ms, &unsaid))
        return;
    buffer_printf(&news->text, "EST server %s: ", group->servers[server].url);
    describe(report, &news->text);
    if (unsaid > 0)
        buffer_printf(&news->text, " (and %u failures more since this was said last)", unsaid);
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
    pthread_mutex_lock(&group->memory->mutex);
    unsigned unsaid;
    if (quiet_may_speak(&group->memory->quiet, now_ms, &unsaid)) {
        describe(report, &news.text);
        if (unsaid > 0)
            buffer_printf(&news.text, " (and %u requests more since this was said last)", unsaid);
    }
    pthread_mutex_unlock(&group->memory->mutex);
    tell(&news);
}

bool server_group_claim_probe(struct server_group *group, uint64_t now_ms, struct server_probe *probe)
{
    uint64_t due_ms;
    pthread_mutex_lock(&group->memory->mutex);
    bool claimed = !group->memory->probing && find_probe(group, now_ms, probe, &due_ms);
    group->memory->probing |= claimed;
    pthread_mutex_unlock(&group->memory->mutex);
    return claimed;
}

/* The first that is due until then. */
static bool find_probe(const struct server_group *group, uint64_t until_ms, struct server_probe *probe,
                       uint64_t *due_ms)
{
    bool found = false;
    for (size_t i = 0; i < group->count; i++) {
        const struct health_part *part = group->servers[i].known->health->parts;
        for (; part != NULL; part = part->next) {
            uint64_t part_due_ms = probe_due_ms(group, i, part);
            if (part_due_ms > until_ms || (found && part_due_ms >= *due_ms))
                continue;
            found = true;
            *due_ms = part_due_ms;
            *probe = (struct server_probe){i, part->profile};
        }
    }
    return found;
}

/* A profile waits for its server. */
static uint64_t probe_due_ms(const struct server_group *group, size_t server, const struct health_part *part)
{
    const struct known_server *probed = group->servers[server].known;
    const struct health_part *whole = probed->health->parts;
    if (part->circuit.open)
        return part == whole || !whole->circuit.open ? part->circuit.due_ms : MONOTONIC_NEVER;
    if (part != whole || group->probe_interval_ms == 0)
        return MONOTONIC_NEVER;
    return probed->heard_ms == 0 ? 0 : probed->heard_ms + group->probe_interval_ms;
}

enum server_news server_group_report_probe(struct server_group *group, size_t server,
                                           const struct server_report *report, uint64_t now_ms)
{
    struct news news;
    begin_news(&news);
    pthread_mutex_lock(&group->memory->mutex);
    struct known_server *probed = group->servers[server].known;
    struct health_part *part = server_health_part(probed->health, report->probed);
    const struct server_part changed = {group->servers[server].url, part};
    group->memory->probing = false;
    hear(probed, report, now_ms);
    if (is_failure(group, server, report))
        learn_of_failed_probe(group, server, report, now_ms, &news);
    else if (server_health_probe_served(probed->health, part, now_ms))
        tell_that_it_is_well(group, &changed, now_ms, &news);
    pthread_mutex_unlock(&group->memory->mutex);
    return tell(&news);
}

/* A probe of the server as a whole asks for one profile. If that is what fails, the others are not to wait
 * for it. */
static void learn_of_failed_probe(const struct server_group *group, size_t server,
                                  const struct server_report *report, uint64_t now_ms, struct news *news)
{
    struct known_server *probed = group->servers[server].known;
    const struct health_event event = event_of(report, now_ms);
    struct health_part *part = server_health_part(probed->health, report->probed);
    struct server_part changed = {group->servers[server].url, part};
    struct health_part *to_blame =
        part == probed->health->parts ? server_health_to_blame(probed->health, &event) : part;
    if (to_blame != part && server_health_probe_served(probed->health, part, now_ms))
        tell_that_it_is_well(group, &changed, now_ms, news);
    changed.part = to_blame;
    if (!circuit_breaker_probe_failed(&to_blame->circuit, &group->circuit, now_ms, event.random))
        return;
    probed->openings++;
    to_blame->fails_since_ms = now_ms;
    tell_that_it_fails(group, &changed, report, news);
}

void server_group_return_probe(struct server_group *group, const struct server_probe *probe, uint64_t now_ms)
{
    pthread_mutex_lock(&group->memory->mutex);
    struct known_server *probed = group->servers[probe->server].known;
    struct health_part *part = server_health_part(probed->health, probe->profile);
    group->memory->probing = false;
    if (part->circuit.open)
        part->circuit.due_ms = now_ms + group->circuit.backoff_ms;
    else
        probed->heard_ms = now_ms > 0 ? now_ms : 1;
    pthread_mutex_unlock(&group->memory->mutex);
}

uint64_t server_group_probe_due_ms(struct server_group *group, uint64_t now_ms)
{
    struct server_probe probe;
    uint64_t due_ms = MONOTONIC_NEVER;
    pthread_mutex_lock(&group->memory->mutex);
    if (!group->memory->probing)
        find_probe(group, MONOTONIC_NEVER - 1, &probe, &due_ms);
    pthread_mutex_unlock(&group->memory->mutex);
    return due_ms < now_ms ? now_ms : due_ms;
}

void server_group_probe_now(struct server_group *group)
{
    pthread_mutex_lock(&group->memory->mutex);
    for (size_t i = 0; i < group->count; i++)
        for (struct health_part *part = group->servers[i].known->health->parts; part != NULL;
             part = part->next)
            part->circuit.due_ms = 0;
    pthread_mutex_unlock(&group->memory->mutex);
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
    pthread_mutex_lock(&group->memory->mutex);
    const struct known_server *known = group->servers[server].known;
    *view = (struct server_view){
        .url = group->servers[server].url,
        .well = server_health_is_well(known->health, ""),
        .failing_profiles = 0,
        .requests = known->requests,
        .failures = known->failures,
        .openings = known->openings,
    };
    for (const struct health_part *part = known->health->parts->next; part != NULL; part = part->next)
        view->failing_profiles += part->circuit.open ? 1 : 0;
    pthread_mutex_unlock(&group->memory->mutex);
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
