#include "joinproxy/join_proxy.h"

#include "common/log.h"
#include "common/monotonic.h"
#include "joinproxy/discovery_port.h"
#include "joinproxy/join_port.h"
#include "joinproxy/registrar_search.h"

#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MODULE          "join_proxy"
#define HOUSEKEEPING_S  5 /* how soon a new interface is seen, and a key renewed */
#define LINE_OCTETS_MAX 4096

/* What belongs to one registrar. */
struct branch {
    struct join_port *port;
    struct stateless *stateless;
};

struct join_proxy {
    const struct settings *settings;
    struct services services;
    struct header_keys *keys;
    struct stateful *stateful;
    struct branch branches[SETTINGS_LISTENERS_MAX];
    size_t branch_count;
    struct discovery_port *discovery;
    struct registrar_search *search;
    struct event *housekeeping, *signals[4];
};

static bool build_services(struct join_proxy *proxy, struct buffer *errors);
static bool build_modes(struct join_proxy *proxy, struct buffer *errors);
static bool build_branches(struct join_proxy *proxy, struct buffer *errors);
static bool build_discovery(struct join_proxy *proxy, struct buffer *errors);
static bool build_events(struct join_proxy *proxy);
static void check_interfaces(const char *path, const struct settings_strings *interfaces,
                             struct buffer *warnings);
static void check_ports(const struct settings *settings, struct buffer *warnings);
static void check_range(const char *path, uint32_t first, size_t count, struct buffer *warnings);
static void check_port(const char *path, const struct endpoint *local, enum udp_sharing sharing,
                       struct buffer *warnings);
static bool open_branch(struct join_proxy *proxy, const struct endpoint *transparent, struct buffer *errors);
static bool set_route(struct join_proxy *proxy, size_t number, enum proxy_mode mode,
                      const struct endpoint *registrar, struct buffer *errors);
static struct stateless *build_stateless(struct join_proxy *proxy, size_t number,
                                         const struct endpoint *registrar, struct buffer *errors);
static void announce(struct join_proxy *proxy, size_t count);
static bool on_found(void *user, const struct registrar_offer *offer);
static void on_housekeeping(evutil_socket_t fd, short what, void *user);
static void on_stop(int signal, short what, void *user);
static void on_hangup(int signal, short what, void *user);
static void on_report(int signal, short what, void *user);
static void warn_of_missing_links(const struct pledge_links *links);
static void report_counters(const struct metrics *metrics);
static uint64_t now_s(void);

struct join_proxy *join_proxy_create(const struct settings *settings, struct buffer *errors)
{
    struct join_proxy *proxy = calloc(1, sizeof *proxy);
    if (proxy == NULL) {
        buffer_append_string(errors, "out of memory\n");
        return NULL;
    }
    proxy->settings = settings;
    if (build_services(proxy, errors) && build_modes(proxy, errors) && build_branches(proxy, errors) &&
        build_discovery(proxy, errors) && build_events(proxy))
        return proxy;
    if (errors->len == 0)
        buffer_append_string(errors, "out of memory or file descriptors\n");
    join_proxy_free(proxy);
    return NULL;
}

static bool build_services(struct join_proxy *proxy, struct buffer *errors)
{
    (void)errors;
    proxy->services = (struct services){.settings = proxy->settings,
                                        .base = event_base_new(),
                                        .metrics = counters_create(),
                                        .batch = udp_batch_create(),
                                        .links = pledge_links_create(&proxy->settings->pledge),
                                        .limits = traffic_limits_create(&proxy->settings->limits),
                                        .icmp = icmp_port_create(),
                                        .neighbours = neighbours_create(),
                                        .now_ms = monotonic_ms};
    const struct services *services = &proxy->services;
    return services->base != NULL && services->metrics != NULL && services->batch != NULL &&
           services->links != NULL && services->limits != NULL && services->icmp != NULL &&
           services->neighbours != NULL;
}

static bool build_modes(struct join_proxy *proxy, struct buffer *errors)
{
    const struct stateless_settings *stateless = &proxy->settings->stateless;
    proxy->stateful = stateful_create(&proxy->services);
    if (proxy->stateful == NULL)
        return false;
    if (!settings_may_use(proxy->settings, MODE_STATELESS))
        return true;
    proxy->keys = header_keys_create(stateless->key_file, stateless->key_lifetime_s, now_s(), errors);
    return proxy->keys != NULL;
}

/* JP-11: one join-port for each registrar; one, without a route, for a registrar that is still to be found.
 */
static bool build_branches(struct join_proxy *proxy, struct buffer *errors)
{
    const struct settings_endpoints *registrars = &proxy->settings->registrars;
    enum proxy_mode mode = proxy->settings->mode == MODE_AUTO ? MODE_STATEFUL : proxy->settings->mode;
    if (registrars->count == 0)
        return open_branch(proxy, NULL, errors);
    for (size_t i = 0; i < registrars->count; i++) {
        const struct endpoint *registrar = &registrars->items[i];
        if (!open_branch(proxy, proxy->settings->pledge.transparent ? registrar : NULL, errors) ||
            !set_route(proxy, i, mode, registrar, errors))
            return false;
    }
    return true;
}

static bool build_discovery(struct join_proxy *proxy, struct buffer *errors)
{
    const struct settings *settings = proxy->settings;
    if (settings->discovery.answer && !settings->pledge.transparent) {
        proxy->discovery = discovery_port_create(&proxy->services, errors);
        if (proxy->discovery == NULL)
            return false;
        announce(proxy, settings->registrars.count);
    }
    if (settings->registrars.count > 0)
        return true;
    proxy->search = registrar_search_create(&proxy->services, on_found, proxy, errors);
    return proxy->search != NULL;
}

static bool build_events(struct join_proxy *proxy)
{
    static const struct {
        int number;
        event_callback_fn callback;
    } handlers[] = {{SIGTERM, on_stop}, {SIGINT, on_stop}, {SIGHUP, on_hangup}, {SIGUSR1, on_report}};
    _Static_assert(sizeof handlers / sizeof handlers[0] == sizeof proxy->signals / sizeof proxy->signals[0],
                   "one event each");
    const struct timeval pause = {HOUSEKEEPING_S, 0};

    for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++) {
        proxy->signals[i] =
            evsignal_new(proxy->services.base, handlers[i].number, handlers[i].callback, proxy);
        if (proxy->signals[i] == NULL || event_add(proxy->signals[i], NULL) != 0)
            return false;
    }
    proxy->housekeeping = event_new(proxy->services.base, -1, EV_PERSIST, on_housekeeping, proxy);
    return proxy->housekeeping != NULL && event_add(proxy->housekeeping, &pause) == 0;
}

void join_proxy_free(struct join_proxy *proxy)
{
    if (proxy == NULL)
        return;
    struct services *services = &proxy->services;
    for (size_t i = 0; i < sizeof proxy->signals / sizeof proxy->signals[0]; i++)
        if (proxy->signals[i] != NULL)
            event_free(proxy->signals[i]);
    if (proxy->housekeeping != NULL)
        event_free(proxy->housekeeping);
    registrar_search_free(proxy->search);
    discovery_port_free(proxy->discovery);
    stateful_free(proxy->stateful);
    for (size_t i = 0; i < proxy->branch_count; i++) {
        stateless_free(proxy->branches[i].stateless);
        join_port_free(proxy->branches[i].port);
    }
    header_keys_free(proxy->keys);
    neighbours_free(services->neighbours);
    icmp_port_free(services->icmp);
    traffic_limits_free(services->limits);
    pledge_links_free(services->links);
    udp_batch_free(services->batch);
    metrics_free(services->metrics);
    if (services->base != NULL)
        event_base_free(services->base);
    free(proxy);
}

enum status join_proxy_run(struct join_proxy *proxy)
{
    const struct settings *settings = proxy->settings;
    warn_of_missing_links(proxy->services.links);
    log_info(MODULE, "ready: est-join-proxy %s, %zu registrar%s%s", ESTUARY_VERSION,
             settings->registrars.count, settings->registrars.count == 1 ? "" : "s",
             settings->registrars.count == 0 ? ", looks for one" : "");
    int failed = event_base_dispatch(proxy->services.base);
    report_counters(proxy->services.metrics);
    log_info(MODULE, "stopped");
    return failed < 0 ? STATUS_SYSTEM : STATUS_OK;
}

enum status join_proxy_check(const struct settings *settings, struct buffer *errors, struct buffer *warnings)
{
    check_interfaces("pledge.interfaces", &settings->pledge.interfaces, warnings);
    check_interfaces("discovery.registrar_interfaces", &settings->discovery.registrar_interfaces, warnings);
    check_ports(settings, warnings);
    return header_keys_check(settings->stateless.key_file, errors, warnings);
}

static void check_interfaces(const char *path, const struct settings_strings *interfaces,
                             struct buffer *warnings)
{
    for (size_t i = 0; i < interfaces->count; i++)
        if (if_nametoindex(interfaces->items[i]) == 0)
            buffer_printf(warnings, "%s[%zu]: \"%s\" does not exist now; \"ip link\" shows those that do\n",
                          path, i, interfaces->items[i]);
}

static void check_ports(const struct settings *settings, struct buffer *warnings)
{
    const size_t count = settings->registrars.count > 0 ? settings->registrars.count : 1;
    if (!settings->pledge.transparent)
        check_range("pledge.join_port", settings->pledge.join_port, count, warnings);
    for (size_t i = 0; settings->pledge.transparent && i < count; i++)
        check_port("pledge.transparent", &settings->registrars.items[i], UDP_TRANSPARENT, warnings);
    if (settings_may_use(settings, MODE_STATELESS))
        check_range("stateless.source_port", settings->stateless.source_port, count, warnings);
    if (settings->discovery.answer && !settings->pledge.transparent)
        check_range("discovery.port", settings->discovery.port, 1, warnings);
}

static void check_range(const char *path, uint32_t first, size_t count, struct buffer *warnings)
{
    struct endpoint any = {.len = sizeof any.address.v6};
    for (size_t i = 0; first != 0 && i < count; i++) {
        any.address.v6 =
            (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)(first + i))};
        check_port(path, &any, UDP_EXCLUSIVE, warnings);
    }
}

/* The join proxy may be running, and whoever asks may have other permissions than it. */
static void check_port(const char *path, const struct endpoint *local, enum udp_sharing sharing,
                       struct buffer *warnings)
{
    int fd;
    if (udp_socket_open(local, sharing, &fd) == STATUS_OK)
        close(fd);
    else if (errno == EADDRINUSE)
        buffer_printf(
            warnings,
            "%s: port %u is taken now (\"ss -ulpn\" shows by whom); use another, unless it is by this "
            "join proxy\n",
            path, endpoint_port(local));
    else if (errno == EPERM)
        buffer_printf(warnings, "%s: needs CAP_NET_RAW, which this user does not have\n", path);
    else
        buffer_printf(warnings, "%s: port %u cannot be opened by this user now: %s\n", path,
                      endpoint_port(local), strerror(errno));
}

static bool open_branch(struct join_proxy *proxy, const struct endpoint *transparent, struct buffer *errors)
{
    uint32_t first = proxy->settings->pledge.join_port;
    uint16_t number = first == 0 ? 0 : (uint16_t)(first + proxy->branch_count);
    struct branch *branch = &proxy->branches[proxy->branch_count];
    branch->port = join_port_create(&proxy->services, number, transparent, errors);
    if (branch->port == NULL)
        return false;
    proxy->branch_count++;
    return true;
}

static bool set_route(struct join_proxy *proxy, size_t number, enum proxy_mode mode,
                      const struct endpoint *registrar, struct buffer *errors)
{
    struct branch *branch = &proxy->branches[number];
    struct route route = {.registrar = *registrar, .stateful = proxy->stateful};
    char text[ENDPOINT_TEXT_MAX];
    if (mode == MODE_STATELESS) {
        branch->stateless = build_stateless(proxy, number, registrar, errors);
        if (branch->stateless == NULL)
            return false;
        route = (struct route){.registrar = *registrar, .stateless = branch->stateless};
    }
    join_port_set_route(branch->port, &route);
    if (branch->stateless != NULL && stateless_has_route(branch->stateless))
        log_info(MODULE, "join-port %u: stateless, to %s from port %u", join_port_number(branch->port),
                 endpoint_format(registrar, text), stateless_port(branch->stateless));
    else if (branch->stateless != NULL)
        log_warning(MODULE, "join-port %u: stateless, to %s, to which there is no route yet",
                    join_port_number(branch->port), endpoint_format(registrar, text));
    else
        log_info(MODULE, "join-port %u: stateful, to %s", join_port_number(branch->port),
                 endpoint_format(registrar, text));
    return true;
}

static struct stateless *build_stateless(struct join_proxy *proxy, size_t number,
                                         const struct endpoint *registrar, struct buffer *errors)
{
    uint32_t first = proxy->settings->stateless.source_port;
    const struct stateless_plan plan = {.services = &proxy->services,
                                        .keys = proxy->keys,
                                        .registrar = *registrar,
                                        .number = number,
                                        .source_port = first == 0 ? 0 : (uint16_t)(first + number),
                                        .pledge_fd = join_port_fd(proxy->branches[number].port)};
    return stateless_create(&plan, errors);
}

/* The first count join-ports work now. */
static void announce(struct join_proxy *proxy, size_t count)
{
    uint16_t ports[SETTINGS_LISTENERS_MAX];
    for (size_t i = 0; i < count; i++)
        ports[i] = join_port_number(proxy->branches[i].port);
    if (proxy->discovery != NULL)
        discovery_port_announce(proxy->discovery, ports, count);
}

/* JP-2: what was found says how; the one before is given up. */
static bool on_found(void *user, const struct registrar_offer *offer)
{
    struct join_proxy *proxy = user;
    struct branch *branch = &proxy->branches[0];
    struct buffer errors;
    join_port_set_route(branch->port, &(struct route){.stateful = NULL});
    stateful_clear(proxy->stateful);
    stateless_free(branch->stateless);
    branch->stateless = NULL;

    buffer_init(&errors, LINE_OCTETS_MAX);
    bool routed = set_route(proxy, 0, offer->mode, &offer->registrar, &errors);
    if (!routed)
        log_error(MODULE, "%s", buffer_string(&errors));
    if (branch->stateless != NULL)
        routed = stateless_has_route(branch->stateless);
    announce(proxy, routed ? 1 : 0);
    buffer_free(&errors);
    return routed;
}

static void on_housekeeping(evutil_socket_t fd, short what, void *user)
{
    (void)fd;
    (void)what;
    struct join_proxy *proxy = user;
    unsigned before = pledge_links_generation(proxy->services.links);
    pledge_links_refresh(proxy->services.links);
    if (pledge_links_generation(proxy->services.links) != before)
        log_info(MODULE, "the interfaces with pledges have changed");
    if (proxy->discovery != NULL)
        discovery_port_join(proxy->discovery);
    stateful_refresh(proxy->stateful);
    for (size_t i = 0; i < proxy->branch_count; i++)
        if (proxy->branches[i].stateless != NULL)
            stateless_refresh(proxy->branches[i].stateless);
    if (proxy->search != NULL)
        registrar_search_watch(proxy->search);
    if (proxy->keys != NULL && header_keys_renew(proxy->keys, now_s())) {
        metrics_add(proxy->services.metrics, COUNTER_KEYS_ROTATED, 1);
        log_info(MODULE, "headers are sealed with a new key");
    }
}

static void on_stop(int signal, short what, void *user)
{
    struct join_proxy *proxy = user;
    (void)what;
    log_info(MODULE, "%s: stops", signal == SIGTERM ? "SIGTERM" : "SIGINT");
    event_base_loopbreak(proxy->services.base);
}

static void on_hangup(int signal, short what, void *user)
{
    (void)signal;
    (void)what;
    (void)user;
    log_warning(MODULE, "SIGHUP: the configuration is read at start only; restart to change it");
}

static void on_report(int signal, short what, void *user)
{
    const struct join_proxy *proxy = user;
    (void)signal;
    (void)what;
    report_counters(proxy->services.metrics);
}

static void warn_of_missing_links(const struct pledge_links *links)
{
    for (size_t i = 0; i < pledge_links_count(links); i++)
        if (pledge_links_interface(links, i) == 0)
            log_warning(MODULE, "pledge.interfaces[%zu]: \"%s\" does not exist; will be used once it does", i,
                        pledge_links_name(links, i));
}

static void report_counters(const struct metrics *metrics)
{
    struct buffer line;
    buffer_init(&line, LINE_OCTETS_MAX);
    for (unsigned i = 0; i < metrics->count; i++)
        buffer_printf(&line, " %s=%" PRIu64, metrics->names[i], metrics_get(metrics, i));
    log_info(MODULE, "counters:%s", buffer_string(&line));
    buffer_free(&line);
}

/* Keys outlive the process and so does this clock; before 1970 there was none. */
static uint64_t now_s(void)
{
    time_t now = time(NULL);
    return now > 0 ? (uint64_t)now : 0;
}
