#include "registrar/registrar.h"

#include "common/log.h"
#include "common/rate_table.h"
#include "registrar/counters.h"
#include "registrar/downstream/discovery_port.h"
#include "registrar/downstream/dtls_cookie.h"
#include "registrar/downstream/dtls_credentials.h"
#include "registrar/downstream/session_tickets.h"
#include "registrar/exchange/journal_file.h"
#include "registrar/exchange/pending_keeper.h"
#include "registrar/keygen/key_directory.h"
#include "registrar/protocol/revocation_lists.h"
#include "registrar/upstream/est_client.h"
#include "registrar/upstream/permit_pool.h"
#include "registrar/upstream/ra_credentials.h"
#include "registrar/upstream/response_cache.h"
#include "registrar/upstream/server_group.h"
#include "registrar/worker.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WARNINGS_OCTETS_MAX ((size_t)64 * 1024)

struct registrar {
    const struct settings *settings;
    struct event_base *base; /* of the main thread */
    struct metrics *metrics;
    struct dtls_cookie_secret cookie_secret;
    struct session_ticket_secret ticket_secret;
    struct permit_pool *permits;
    struct ra_credentials *ra_credentials;
    struct server_group *servers;
    struct pending_keeper *pending;
    struct response_cache *cache;
    struct rate_table *request_rates, *handshake_rates;
    struct key_directory *key_directory; /* NULL: none */
    struct listen_addresses listen;      /* as opened */
    struct revocation_lists *revocations;
    struct worker **workers;
    size_t worker_count;
    struct discovery_port *discovery;
    struct event *signals[4];
};

static bool build_shared(struct registrar *registrar, struct buffer *errors);
static bool load_revocation_lists(struct registrar *registrar, struct buffer *errors);
static bool load_key_directory(const struct settings *settings, struct key_directory **directory,
                               struct buffer *errors);
static bool load_ra_credentials(struct registrar *registrar, struct buffer *errors);
static bool build_workers(struct registrar *registrar, struct buffer *errors);
static bool probe_exclusive(const char *setting, const struct settings_endpoints *endpoints,
                            struct buffer *errors);
static bool build_discovery(struct registrar *registrar, struct buffer *errors);
static bool build_signals(struct registrar *registrar);
static void on_stop(int signal, short what, void *user);
static void on_hangup(int signal, short what, void *user);
static void on_report(int signal, short what, void *user);
static void announce(const struct registrar *registrar);
static void announce_addresses(const char *scheme, const struct settings_endpoints *addresses);
static void report(const struct registrar *registrar);

struct registrar *registrar_create(const struct settings *settings, struct buffer *errors)
{
    struct registrar *registrar = calloc(1, sizeof *registrar);
    if (registrar == NULL) {
        buffer_append_string(errors, "out of memory\n");
        return NULL;
    }
    registrar->settings = settings;
    if (!build_shared(registrar, errors) || !build_workers(registrar, errors) ||
        !build_discovery(registrar, errors) || !build_signals(registrar)) {
        if (errors->len == 0)
            buffer_append_string(errors, "out of memory or file descriptors\n");
        registrar_free(registrar);
        return NULL;
    }
    return registrar;
}

static bool build_shared(struct registrar *registrar, struct buffer *errors)
{
    const struct settings *settings = registrar->settings;

    if (dtls_cookie_secret_make(&registrar->cookie_secret) != STATUS_OK ||
        session_ticket_secret_make(&registrar->ticket_secret) != STATUS_OK) {
        buffer_append_string(errors, "the system gives no random numbers\n");
        return false;
    }
    registrar->base = event_base_new();
    registrar->metrics = counters_create();
    if (registrar->base == NULL || registrar->metrics == NULL)
        return false;
    registrar->permits =
        permit_pool_create(settings->upstream.max_connections, settings->upstream.queue, registrar->metrics);
    registrar->pending = pending_keeper_create(settings, registrar->base, registrar->metrics, errors);
    registrar->cache = response_cache_create(settings, registrar->metrics);
    registrar->request_rates = rate_table_create(
        (struct rate){settings->limits.device_requests_per_minute, settings->limits.device_request_burst});
    registrar->handshake_rates = rate_table_create((struct rate){
        settings->limits.address_handshakes_per_minute, settings->limits.address_handshake_burst});
    registrar->servers = server_group_load(&settings->upstream, errors);
    if (registrar->servers == NULL || !load_key_directory(settings, &registrar->key_directory, errors) ||
        !load_revocation_lists(registrar, errors) || !load_ra_credentials(registrar, errors))
        return false;
    return registrar->permits != NULL && registrar->pending != NULL && registrar->cache != NULL &&
           registrar->request_rates != NULL && registrar->handshake_rates != NULL;
}

static bool load_revocation_lists(struct registrar *registrar, struct buffer *errors)
{
    struct buffer warnings; /* told once, by whoever read the configuration */
    buffer_init(&warnings, 64 * 1024);
    registrar->revocations = revocation_lists_load(&registrar->settings->dtls, errors, &warnings);
    buffer_free(&warnings);
    if (registrar->revocations != NULL && registrar->settings->dtls.crls.count > 0)
        log_info("registrar", "%zu certificates are revoked, by %zu issuers",
                 revocation_lists_entries(registrar->revocations),
                 revocation_lists_issuers(registrar->revocations));
    return registrar->revocations != NULL;
}

static bool load_key_directory(const struct settings *settings, struct key_directory **directory,
                               struct buffer *errors)
{
    *directory = NULL;
    if (settings->est.key_directory[0] == '\0')
        return true;
    *directory = key_directory_load(settings->est.key_directory, errors);
    return *directory != NULL;
}

static bool load_ra_credentials(struct registrar *registrar, struct buffer *errors)
{
    struct buffer warnings; /* told once, by whoever read the configuration */
    buffer_init(&warnings, WARNINGS_OCTETS_MAX);
    registrar->ra_credentials = ra_credentials_load(&registrar->settings->upstream, errors, &warnings);
    buffer_free(&warnings);
    return registrar->ra_credentials != NULL;
}

/* The first worker resolves a port of 0; the others share its ports. */
static bool build_workers(struct registrar *registrar, struct buffer *errors)
{
    const size_t count = registrar->settings->workers;
    struct worker_context context = {
        .settings = registrar->settings,
        .coaps = &registrar->settings->listen.coaps,
        .jpy = &registrar->settings->listen.jpy,
        .sharing = count > 1 ? UDP_REUSEPORT : UDP_EXCLUSIVE,
        .metrics = registrar->metrics,
        .cookie_secret = &registrar->cookie_secret,
        .ticket_secret = &registrar->ticket_secret,
        .permits = registrar->permits,
        .ra_credentials = registrar->ra_credentials,
        .servers = registrar->servers,
        .pending = pending_keeper_table(registrar->pending),
        .journal = pending_keeper_journal(registrar->pending),
        .cache = registrar->cache,
        .request_rates = registrar->request_rates,
        .handshake_rates = registrar->handshake_rates,
        .key_directory = registrar->key_directory,
        .revocations = registrar->revocations,
    };

    if (count > 1 && (!probe_exclusive("listen.coaps", context.coaps, errors) ||
                      !probe_exclusive("listen.jpy", context.jpy, errors)))
        return false;
    registrar->workers = calloc(count, sizeof registrar->workers[0]);
    if (registrar->workers == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        registrar->workers[i] = worker_create(&context, errors);
        if (registrar->workers[i] == NULL)
            return false;
        registrar->worker_count++;
        if (i == 0)
            worker_addresses(registrar->workers[0], &registrar->listen);
        context.coaps = &registrar->listen.coaps;
        context.jpy = &registrar->listen.jpy;
    }
    return true;
}

/* SO_REUSEPORT would let a second registrar steal flows from the first; an exclusive socket tells first. */
static bool probe_exclusive(const char *setting, const struct settings_endpoints *endpoints,
                            struct buffer *errors)
{
    for (size_t i = 0; i < endpoints->count; i++) {
        char text[ENDPOINT_TEXT_MAX];
        int fd;
        if (udp_socket_open(&endpoints->items[i], UDP_EXCLUSIVE, &fd) != STATUS_OK) {
            buffer_printf(errors, "%s[%zu]: \"%s\" cannot be opened: %s; free the port or name another\n",
                          setting, i, endpoint_format(&endpoints->items[i], text), strerror(errno));
            return false;
        }
        close(fd);
    }
    return true;
}

static bool build_discovery(struct registrar *registrar, struct buffer *errors)
{
    if (registrar->settings->listen.discovery.count == 0)
        return true;
    registrar->discovery = discovery_port_create(registrar->settings, &registrar->listen, registrar->base,
                                                 registrar->metrics, errors);
    return registrar->discovery != NULL;
}

static bool build_signals(struct registrar *registrar)
{
    static const struct {
        int number;
        event_callback_fn callback;
    } handlers[] = {{SIGTERM, on_stop}, {SIGINT, on_stop}, {SIGHUP, on_hangup}, {SIGUSR1, on_report}};
    _Static_assert(sizeof handlers / sizeof handlers[0] ==
                       sizeof registrar->signals / sizeof registrar->signals[0],
                   "one event each");

    for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++) {
        registrar->signals[i] =
            evsignal_new(registrar->base, handlers[i].number, handlers[i].callback, registrar);
        if (registrar->signals[i] == NULL || event_add(registrar->signals[i], NULL) != 0)
            return false;
    }
    return true;
}

void registrar_free(struct registrar *registrar)
{
    if (registrar == NULL)
        return;
    for (size_t i = 0; i < sizeof registrar->signals / sizeof registrar->signals[0]; i++)
        if (registrar->signals[i] != NULL)
            event_free(registrar->signals[i]);
    discovery_port_free(registrar->discovery);
    for (size_t i = 0; i < registrar->worker_count; i++)
        worker_free(registrar->workers[i]);
    free(registrar->workers);
    revocation_lists_release(registrar->revocations);
    key_directory_free(registrar->key_directory);
    response_cache_free(registrar->cache);
    rate_table_free(registrar->request_rates);
    rate_table_free(registrar->handshake_rates);
    pending_keeper_free(registrar->pending);
    ra_credentials_release(registrar->ra_credentials);
    permit_pool_free(registrar->permits);
    server_group_release(registrar->servers);
    metrics_free(registrar->metrics);
    if (registrar->base != NULL)
        event_base_free(registrar->base);
    free(registrar);
}

enum status registrar_run(struct registrar *registrar)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; i < registrar->worker_count && status == STATUS_OK; i++)
        status = worker_start(registrar->workers[i]);
    if (status == STATUS_OK) {
        announce(registrar);
        event_base_dispatch(registrar->base);
    }
    for (size_t i = 0; i < registrar->worker_count; i++)
        worker_drain(registrar->workers[i], registrar->settings->drain_ms);
    for (size_t i = 0; i < registrar->worker_count; i++)
        worker_join(registrar->workers[i]);
    report(registrar);
    log_info("registrar", "stopped");
    return status;
}

/* One line for each address: what scripts and people look for. */
static void announce(const struct registrar *registrar)
{
    struct settings_endpoints discovery = {.count = 0};

    announce_addresses("coaps", &registrar->listen.coaps);
    announce_addresses("jpy", &registrar->listen.jpy);
    if (registrar->discovery != NULL)
        discovery_port_addresses(registrar->discovery, &discovery);
    announce_addresses("coap", &discovery);
    log_info("registrar", "ready: est-registrar %s, %zu worker%s, EST server %s", ESTUARY_VERSION,
             registrar->worker_count, registrar->worker_count == 1 ? "" : "s",
             registrar->settings->upstream.servers.items[0]);
}

static void announce_addresses(const char *scheme, const struct settings_endpoints *addresses)
{
    char text[ENDPOINT_TEXT_MAX];
    for (size_t i = 0; i < addresses->count; i++)
        log_info("registrar", "listening %s://%s", scheme, endpoint_format(&addresses->items[i], text));
}

static void on_stop(int signal, short what, void *user)
{
    struct registrar *registrar = user;
    (void)what;
    log_info("registrar", "SIG%s: takes no new devices and waits for %" PRIu64 " exchanges in flight",
             sigabbrev_np(signal),
             metrics_get(registrar->metrics, COUNTER_EXCHANGES_STARTED) -
                 metrics_get(registrar->metrics, COUNTER_EXCHANGES_ANSWERED));
    event_base_loopbreak(registrar->base);
}

static void on_hangup(int signal, short what, void *user)
{
    (void)signal;
    (void)what;
    (void)user;
    log_warning("registrar", "SIGHUP: the configuration is read at start only; restart to change it");
}

static void on_report(int signal, short what, void *user)
{
    const struct registrar *registrar = user;
    (void)signal;
    (void)what;
    report(registrar);
}

static void report(const struct registrar *registrar)
{
    const struct metrics *metrics = registrar->metrics;
    struct buffer line;

    for (size_t i = 0; i < server_group_count(registrar->servers); i++) {
        struct server_view view;
        server_group_view(registrar->servers, i, &view);
        log_info("registrar",
                 "EST server %s: %s requests=%" PRIu64 " failures=%" PRIu64 " circuits_opened=%" PRIu64,
                 view.url, view.well ? "well" : "failing", view.requests, view.failures, view.openings);
    }
    buffer_init(&line, 4096);
    for (unsigned i = 0; i < metrics->count; i++)
        buffer_printf(&line, " %s=%" PRIu64, metrics->names[i], metrics_get(metrics, i));
    log_info("registrar", "counters:%s", buffer_string(&line));
    buffer_free(&line);
}

enum status registrar_check(const struct settings *settings, struct buffer *errors, struct buffer *warnings)
{
    struct dtls_credentials *credentials = dtls_credentials_load(&settings->dtls, errors, warnings);
    enum status status = credentials == NULL ? STATUS_UNSUPPORTED : STATUS_OK;
    dtls_credentials_free(credentials);

    struct revocation_lists *revocations = revocation_lists_load(&settings->dtls, errors, warnings);
    if (revocations == NULL)
        status = STATUS_UNSUPPORTED;
    revocation_lists_release(revocations);

    struct key_directory *directory;
    if (!load_key_directory(settings, &directory, errors))
        status = STATUS_UNSUPPORTED;
    key_directory_free(directory);

    const char *state = settings->state_directory;
    if (state[0] != '\0' && journal_file_check(state, errors) != STATUS_OK)
        status = STATUS_UNSUPPORTED;

    enum status upstream = est_client_check(&settings->upstream, errors, warnings);
    return status != STATUS_OK ? status : upstream;
}
