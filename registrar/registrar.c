#include "registrar/registrar.h"

#include "common/log.h"
#include "common/mailbox.h"
#include "common/rate_table.h"
#include "common/service.h"
#include "registrar/counters.h"
#include "registrar/downstream/discovery_port.h"
#include "registrar/downstream/dtls_cookie.h"
#include "registrar/downstream/session_tickets.h"
#include "registrar/exchange/journal_file.h"
#include "registrar/exchange/pending_keeper.h"
#include "registrar/protocol/revocation_lists.h"
#include "registrar/reload.h"
#include "registrar/renewal/renewal.h"
#include "registrar/renewal/trust_watch.h"
#include "registrar/running_config.h"
#include "registrar/snapshot.h"
#include "registrar/upstream/permit_pool.h"
#include "registrar/upstream/ra_credentials.h"
#include "registrar/upstream/response_cache.h"
#include "registrar/upstream/server_group.h"
#include "registrar/upstream/server_trust.h"
#include "registrar/worker.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MESSAGES_OCTETS_MAX ((size_t)64 * 1024)
#define RELOAD_RETRY_MS     600000

struct registrar {
    const char *file; /* of the configuration */
    const struct settings *settings;
    struct event_base *base; /* of the main thread */
    struct mailbox *mailbox; /* likewise */
    struct metrics *metrics;
    struct dtls_cookie_secret cookie_secret;
    struct session_ticket_secret ticket_secret;
    struct permit_pool *permits;
    struct pending_keeper *pending;
    struct response_cache *cache;
    struct rate_table *request_rates, *handshake_rates;
    struct listen_addresses listen; /* as opened */
    struct worker **workers;
    size_t worker_count;
    struct renewal *renewal;         /* NULL: not wanted */
    struct trust_watch *trust_watch; /* likewise */
    struct reload *reload;
    struct running_config *running_config; /* NULL: no state_directory */
    size_t adopting;                       /* workers that do not use the last snapshot yet */
    bool expires, forgets; /* once they do: what was fetched before may have changed, or be of an EST server
                              that is asked, or trusted, no more */
    struct discovery_port *discovery;
    struct event *signals[4];
};

static bool build(struct registrar *registrar, struct snapshot *snapshot, struct buffer *errors);
static bool build_shared(struct registrar *registrar, struct buffer *errors);
static bool build_workers(struct registrar *registrar, struct snapshot *snapshot, struct buffer *errors);
static bool build_reload(struct registrar *registrar, struct snapshot *snapshot);
static bool build_running_config(struct registrar *registrar);
static void tell_of_revocations(const struct snapshot *snapshot);
static bool open_workers(struct registrar *registrar, struct snapshot *snapshot, struct buffer *errors);
static bool probe_exclusive(const char *setting, const struct settings_endpoints *endpoints,
                            struct buffer *errors);
static bool build_upkeep(struct registrar *registrar, struct buffer *errors);
static void stop_upkeep(struct registrar *registrar);
static bool build_discovery(struct registrar *registrar, struct buffer *errors);
static bool build_signals(struct registrar *registrar);
static void on_stop(int signal, short what, void *user);
static void on_new_files(void *user);
static void on_hangup(int signal, short what, void *user);
static void on_offered(void *user, const struct snapshot *before, struct snapshot *snapshot);
static bool were_certificates_read(const struct snapshot *before, const struct snapshot *snapshot);
static bool still_counts(const struct snapshot *before, const struct snapshot *snapshot);
static void use_snapshot(struct est_client *client, const struct snapshot *snapshot);
static void on_adopted(void *user);
static void write_running_config(const struct registrar *registrar);
static void on_report(int signal, short what, void *user);
static void announce(const struct registrar *registrar);
static void announce_addresses(const char *scheme, const struct settings_endpoints *addresses);
static void report(const struct registrar *registrar);
static bool check_what_stays(const struct settings *settings, struct buffer *errors, struct buffer *warnings);

struct registrar *registrar_create(const char *file, const struct settings *settings,
                                   struct snapshot *snapshot, struct buffer *errors)
{
    struct registrar *registrar = calloc(1, sizeof *registrar);
    struct buffer said;
    if (registrar == NULL) {
        buffer_append_string(errors, "out of memory\n");
        snapshot_release(snapshot);
        return NULL;
    }
    registrar->file = file;
    registrar->settings = settings;
    buffer_init(&said, MESSAGES_OCTETS_MAX);
    bool built = build(registrar, snapshot, &said);
    if (!built && said.len == 0)
        buffer_append_string(&said, "out of memory or file descriptors\n");
    buffer_append_lines(errors, file, buffer_string(&said));
    buffer_free(&said);
    snapshot_release(snapshot);
    if (built)
        return registrar;
    registrar_free(registrar);
    return NULL;
}

static bool build(struct registrar *registrar, struct snapshot *snapshot, struct buffer *errors)
{
    return build_shared(registrar, errors) && build_workers(registrar, snapshot, errors) &&
           build_upkeep(registrar, errors) && build_discovery(registrar, errors) && build_signals(registrar);
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
    registrar->mailbox = mailbox_create(registrar->base);
    registrar->permits =
        permit_pool_create(settings->upstream.max_connections, settings->upstream.queue, registrar->metrics);
    registrar->pending = pending_keeper_create(settings, registrar->base, registrar->metrics, errors);
    registrar->cache = response_cache_create(settings, registrar->metrics);
    registrar->request_rates = rate_table_create(
        (struct rate){settings->limits.device_requests_per_minute, settings->limits.device_request_burst});
    registrar->handshake_rates = rate_table_create((struct rate){
        settings->limits.address_handshakes_per_minute, settings->limits.address_handshake_burst});
    return registrar->mailbox != NULL && registrar->permits != NULL && registrar->pending != NULL &&
           registrar->cache != NULL && registrar->request_rates != NULL && registrar->handshake_rates != NULL;
}

static bool build_workers(struct registrar *registrar, struct snapshot *snapshot, struct buffer *errors)
{
    return build_reload(registrar, snapshot) && build_running_config(registrar) &&
           open_workers(registrar, snapshot, errors);
}

static bool build_reload(struct registrar *registrar, struct snapshot *snapshot)
{
    const struct reload_context context = {
        .file = registrar->file,
        .settings = registrar->settings,
        .snapshot = snapshot,
        .base = registrar->base,
        .mailbox = registrar->mailbox,
        .retry_ms = RELOAD_RETRY_MS,
        .offer = on_offered,
        .user = registrar,
    };
    tell_of_revocations(snapshot);
    registrar->reload = reload_create(&context);
    return registrar->reload != NULL;
}

static bool build_running_config(struct registrar *registrar)
{
    const char *folder = registrar->settings->state_directory;
    if (folder[0] == '\0')
        return true;
    registrar->running_config = running_config_create(folder);
    return registrar->running_config != NULL;
}

static void tell_of_revocations(const struct snapshot *snapshot)
{
    size_t issuers = revocation_lists_issuers(snapshot->revocations);
    if (issuers > 0)
        log_info("registrar", "%zu certificates are revoked, by %zu issuers",
                 revocation_lists_entries(snapshot->revocations), issuers);
}

/* The first worker resolves a port of 0; the others share its ports. */
static bool open_workers(struct registrar *registrar, struct snapshot *snapshot, struct buffer *errors)
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
        .pending = pending_keeper_table(registrar->pending),
        .journal = pending_keeper_journal(registrar->pending),
        .cache = registrar->cache,
        .request_rates = registrar->request_rates,
        .handshake_rates = registrar->handshake_rates,
        .snapshot = snapshot,
        .mailbox = registrar->mailbox,
        .adopted = on_adopted,
        .user = registrar,
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
            buffer_printf(errors,
                          "%s[%zu]: \"%s\" cannot be opened: %s; use another port, or stop the program that "
                          "has it (\"ss -ulpn\" shows it)\n",
                          setting, i, endpoint_format(&endpoints->items[i], text), strerror(errno));
            return false;
        }
        close(fd);
    }
    return true;
}

/* What keeps the registrar's own certificates and trust up to date: by itself, on the main loop, within the
 * permits of all. */
static bool build_upkeep(struct registrar *registrar, struct buffer *errors)
{
    const struct settings *settings = registrar->settings;
    const struct snapshot *snapshot = reload_snapshot(registrar->reload);
    const struct est_client_services services = {
        .base = registrar->base,
        .mailbox = registrar->mailbox,
        .permits = registrar->permits,
        .servers = snapshot->servers,
        .metrics = registrar->metrics,
        .credentials = snapshot->ra_credentials,
    };
    if (settings->upstream.renew || settings->dtls.renew)
        registrar->renewal =
            renewal_create(&(struct renewal_context){.settings = reload_settings(registrar->reload),
                                                     .services = services,
                                                     .renewed = on_new_files,
                                                     .user = registrar},
                           errors);
    if (settings->upstream.learnt_trust[0] != '\0')
        registrar->trust_watch =
            trust_watch_create(&(struct trust_watch_context){.settings = reload_settings(registrar->reload),
                                                             .services = services,
                                                             .learnt = on_new_files,
                                                             .user = registrar},
                               errors);
    return (registrar->renewal != NULL || !(settings->upstream.renew || settings->dtls.renew)) &&
           (registrar->trust_watch != NULL || settings->upstream.learnt_trust[0] == '\0');
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
    stop_upkeep(registrar);
    reload_stop(registrar->reload);
    mailbox_free(registrar->mailbox); /* may hold letters of the workers, who send none any more */
    for (size_t i = 0; i < registrar->worker_count; i++)
        worker_free(registrar->workers[i]);
    free(registrar->workers);
    running_config_free(registrar->running_config);
    reload_free(registrar->reload);
    response_cache_free(registrar->cache);
    rate_table_free(registrar->request_rates);
    rate_table_free(registrar->handshake_rates);
    pending_keeper_free(registrar->pending);
    permit_pool_free(registrar->permits);
    metrics_free(registrar->metrics);
    if (registrar->base != NULL)
        event_base_free(registrar->base);
    free(registrar);
}

/* It holds permits, which only a loop that runs gives back to the workers. */
static void stop_upkeep(struct registrar *registrar)
{
    renewal_free(registrar->renewal);
    trust_watch_free(registrar->trust_watch);
    registrar->renewal = NULL;
    registrar->trust_watch = NULL;
}

enum status registrar_run(struct registrar *registrar)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; i < registrar->worker_count && status == STATUS_OK; i++)
        status = worker_start(registrar->workers[i]);
    if (status == STATUS_OK) {
        write_running_config(registrar);
        announce(registrar);
        event_base_dispatch(registrar->base);
        stop_upkeep(registrar);
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
    const struct server_group *servers = reload_snapshot(registrar->reload)->servers;
    log_info("registrar", "ready: est-registrar %s, %zu worker%s, EST server %s%s", ESTUARY_VERSION,
             registrar->worker_count, registrar->worker_count == 1 ? "" : "s", server_group_url(servers, 0),
             server_group_count(servers) > 1 ? " and others" : "");
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
    log_info("registrar", "%s: takes no new devices and waits for %" PRIu64 " exchanges in flight",
             signal == SIGTERM ? "SIGTERM" : "SIGINT",
             metrics_get(registrar->metrics, COUNTER_EXCHANGES_STARTED) -
                 metrics_get(registrar->metrics, COUNTER_EXCHANGES_ANSWERED));
    event_base_loopbreak(registrar->base);
}

/* They come into use in the way that an operator's do. */
static void on_new_files(void *user)
{
    const struct registrar *registrar = user;
    reload_begin_parts(registrar->reload, SNAPSHOT_DTLS_CREDENTIALS | SNAPSHOT_RA_CREDENTIALS);
}

static void on_hangup(int signal, short what, void *user)
{
    const struct registrar *registrar = user;
    (void)signal;
    (void)what;
    log_info("registrar", "SIGHUP: reads %s anew", registrar->file);
    reload_begin(registrar->reload);
}

static void on_offered(void *user, const struct snapshot *before, struct snapshot *snapshot)
{
    struct registrar *registrar = user;
    tell_of_revocations(snapshot);
    registrar->expires =
        snapshot->servers != before->servers || snapshot->ra_credentials != before->ra_credentials;
    registrar->forgets = !still_counts(before, snapshot);
    if (registrar->expires)
        server_group_probe_now(snapshot->servers);
    if (registrar->renewal != NULL)
        use_snapshot(renewal_client(registrar->renewal), snapshot);
    if (registrar->renewal != NULL && were_certificates_read(before, snapshot))
        renewal_look(registrar->renewal);
    if (registrar->trust_watch != NULL)
        use_snapshot(trust_watch_client(registrar->trust_watch), snapshot);
    registrar->adopting = registrar->worker_count;
    for (size_t i = 0; i < registrar->worker_count; i++)
        worker_offer(registrar->workers[i], snapshot);
}

static bool were_certificates_read(const struct snapshot *before, const struct snapshot *snapshot)
{
    return snapshot->ra_credentials != before->ra_credentials ||
           snapshot->dtls_credentials != before->dtls_credentials;
}

/* What the EST servers of before have said. */
static bool still_counts(const struct snapshot *before, const struct snapshot *snapshot)
{
    return server_group_covers(snapshot->servers, before->servers) &&
           server_trust_covers(ra_credentials_trust(snapshot->ra_credentials),
                               ra_credentials_trust(before->ra_credentials));
}

static void use_snapshot(struct est_client *client, const struct snapshot *snapshot)
{
    est_client_use_credentials(client, snapshot->ra_credentials);
    est_client_use_servers(client, snapshot->servers);
}

static void on_adopted(void *user)
{
    struct registrar *registrar = user;
    if (--registrar->adopting > 0)
        return;
    if (registrar->forgets)
        response_cache_forget(registrar->cache);
    else if (registrar->expires)
        response_cache_expire(registrar->cache);
    write_running_config(registrar);
    reload_adopted(registrar->reload);
}

static void write_running_config(const struct registrar *registrar)
{
    if (registrar->running_config != NULL &&
        running_config_write(registrar->running_config, reload_settings(registrar->reload)) != STATUS_OK)
        log_warning("registrar",
                    "state_directory: \"%s/" RUNNING_CONFIG_FILE
                    "\" cannot be written: %s; --check-config will not know what runs",
                    registrar->settings->state_directory, strerror(errno));
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

    for (size_t i = 0; i < server_group_count(reload_snapshot(registrar->reload)->servers); i++) {
        struct server_view view;
        server_group_view(reload_snapshot(registrar->reload)->servers, i, &view);
        log_info("registrar",
                 "EST server %s: %s requests=%" PRIu64 " failures=%" PRIu64 " circuits_opened=%" PRIu64
                 " failing_profiles=%zu",
                 view.url, view.well ? "well" : "failing", view.requests, view.failures, view.openings,
                 view.failing_profiles);
    }
    buffer_init(&line, 4096);
    for (unsigned i = 0; i < metrics->count; i++)
        buffer_printf(&line, " %s=%" PRIu64, metrics->names[i], metrics_get(metrics, i));
    log_info("registrar", "counters:%s", buffer_string(&line));
    buffer_free(&line);
}

struct snapshot *registrar_check(const char *file, const struct settings *settings, struct buffer *errors,
                                 struct buffer *warnings)
{
    const struct snapshot_source source = {file, settings, errors, warnings};
    struct snapshot *snapshot = snapshot_load(&source, SNAPSHOT_ALL, NULL);
    struct buffer bad, doubtful;
    buffer_init(&bad, MESSAGES_OCTETS_MAX);
    buffer_init(&doubtful, MESSAGES_OCTETS_MAX);
    bool good = check_what_stays(settings, &bad, &doubtful) && snapshot != NULL;
    buffer_append_lines(errors, file, buffer_string(&bad));
    buffer_append_lines(warnings, file, buffer_string(&doubtful));
    buffer_free(&bad);
    buffer_free(&doubtful);
    if (good)
        return snapshot;
    snapshot_release(snapshot);
    return NULL;
}

/* What no reload replaces. */
static bool check_what_stays(const struct settings *settings, struct buffer *errors, struct buffer *warnings)
{
    const char *state = settings->state_directory;
    renewal_check(settings, warnings);
    for (size_t i = 0; i < settings->listen.multicast_interfaces.count; i++)
        if (if_nametoindex(settings->listen.multicast_interfaces.items[i]) == 0)
            buffer_printf(
                warnings,
                "listen.multicast_interfaces[%zu]: \"%s\" does not exist now, and the registrar does "
                "not start without it; \"ip link\" shows those that do\n",
                i, settings->listen.multicast_interfaces.items[i]);
    return state[0] == '\0' || journal_file_check(state, errors) == STATUS_OK;
}
