#include "joinproxy/registrar_search.h"

#include "common/join_names.h"
#include "common/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define MODULE     "search"
#define ANSWERS_MS 6000 /* DEFAULT_LEISURE of RFC 7252 section 4.8, and time to travel */
#define HOPS       16   /* of a query to a group wider than the link */
#define QUERY_MAX  128  /* octets */

#define SILENT_ROUNDS_MAX 3 /* in which pledges spoke and the registrar did not */

struct registrar_search {
    const struct services *services;
    registrar_search_found found;
    void *user;
    int fd;
    struct event *readable, *timer;
    uint8_t token[REGISTRAR_TOKEN_OCTETS]; /* of the queries that are out */
    uint16_t next_id;
    uint32_t pause_s; /* after a search that finds nothing */
    bool is_asking;
    struct registrar_offer best, current;
    uint64_t spoken, answered; /* datagrams of pledges and of the registrar, when last looked at */
    unsigned silent_rounds;
};

static bool open_socket(struct registrar_search *search);
static void on_timer(evutil_socket_t fd, short what, void *user);
static void ask(struct registrar_search *search);
static void ask_on(struct registrar_search *search, const char *name);
static void conclude(struct registrar_search *search);
static void rest(struct registrar_search *search);
static bool is_current(const struct registrar_search *search, const struct registrar_offer *offer);
static void sleep_ms(struct registrar_search *search, uint64_t ms);
static void on_readable(evutil_socket_t fd, short what, void *user);
static void on_answer(void *user, const struct udp_datagram *datagram);
static bool is_better(const struct registrar_search *search, const struct registrar_offer *offer);

struct registrar_search *registrar_search_create(const struct services *services,
                                                 registrar_search_found found, void *user,
                                                 struct buffer *errors)
{
    struct registrar_search *search = calloc(1, sizeof *search);
    if (search == NULL) {
        buffer_printf(errors, "discovery: %s\n", status_text(STATUS_NO_MEMORY));
        return NULL;
    }
    *search = (struct registrar_search){.services = services,
                                        .found = found,
                                        .user = user,
                                        .fd = -1,
                                        .pause_s = services->settings->discovery.retry_s};
    if (open_socket(search)) {
        search->readable = event_new(services->base, search->fd, EV_READ | EV_PERSIST, on_readable, search);
        search->timer = evtimer_new(services->base, on_timer, search);
        if (search->readable != NULL && search->timer != NULL && event_add(search->readable, NULL) == 0) {
            ask(search);
            return search;
        }
        errno = ENOMEM;
    }
    buffer_printf(errors, "discovery.registrar_interfaces: no socket to ask from: %s; give registrars\n",
                  strerror(errno));
    registrar_search_free(search);
    return NULL;
}

void registrar_search_free(struct registrar_search *search)
{
    if (search == NULL)
        return;
    if (search->readable != NULL)
        event_free(search->readable);
    if (search->timer != NULL)
        event_free(search->timer);
    if (search->fd >= 0)
        close(search->fd);
    free(search);
}

void registrar_search_watch(struct registrar_search *search)
{
    const struct metrics *metrics = search->services->metrics;
    uint64_t spoken = metrics_get(metrics, COUNTER_PLEDGE_DATAGRAMS);
    uint64_t answered = metrics_get(metrics, COUNTER_REGISTRAR_DATAGRAMS);
    if (answered != search->answered)
        search->silent_rounds = 0;
    else if (spoken != search->spoken)
        search->silent_rounds++;
    search->spoken = spoken;
    search->answered = answered;
    if (search->silent_rounds < SILENT_ROUNDS_MAX || search->is_asking || !search->current.present)
        return;
    search->silent_rounds = 0;
    log_info(MODULE, "the registrar does not answer; looks whether it has moved");
    ask(search);
}

static bool open_socket(struct registrar_search *search)
{
    struct endpoint any = {.len = sizeof any.address.v6};
    any.address.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6};
    int hops = HOPS;
    if (udp_socket_open(&any, UDP_EXCLUSIVE, &search->fd) == STATUS_OK)
        return setsockopt(search->fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof hops) == 0;
    search->fd = -1;
    return false;
}

/* Either the time for answers is over, or a pause is. */
static void on_timer(evutil_socket_t fd, short what, void *user)
{
    (void)fd;
    (void)what;
    struct registrar_search *search = user;
    if (search->is_asking)
        conclude(search);
    else
        ask(search);
}

static void ask(struct registrar_search *search)
{
    const struct settings_strings *interfaces = &search->services->settings->discovery.registrar_interfaces;
    search->best = (struct registrar_offer){.present = false};
    search->is_asking = getrandom(search->token, sizeof search->token, 0) == sizeof search->token;
    search->next_id = (uint16_t)(search->token[0] << 8 | search->token[1]);
    for (size_t i = 0; i < interfaces->count && search->is_asking; i++)
        ask_on(search, interfaces->items[i]);
    metrics_add(search->services->metrics, COUNTER_SEARCHES, 1);
    sleep_ms(search, ANSWERS_MS);
}

/* An interface that is not there, or has no address yet, may be another time. */
static void ask_on(struct registrar_search *search, const char *name)
{
    const struct discovery_settings *settings = &search->services->settings->discovery;
    int interface = (int)if_nametoindex(name);
    struct udp_datagram query = {.peer.len = sizeof query.peer.address.v6};
    struct sockaddr_in6 *group = &query.peer.address.v6;
    *group = (struct sockaddr_in6){.sin6_family = AF_INET6,
                                   .sin6_port = htons((uint16_t)settings->port),
                                   .sin6_scope_id = (uint32_t)interface};
    if (interface == 0 || inet_pton(AF_INET6, settings->group, &group->sin6_addr) != 1 ||
        setsockopt(search->fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &interface, sizeof interface) != 0) {
        log_debug(MODULE, "cannot ask on %s", name);
        return;
    }
    for (size_t i = 0; i < join_names_registrar_count(); i++) {
        struct buffer datagram;
        buffer_init(&datagram, QUERY_MAX);
        if (registrar_offer_query(i, search->next_id++, search->token, &datagram)) {
            query.payload = buffer_view(&datagram);
            udp_socket_send(search->fd, &query);
        }
        buffer_free(&datagram);
    }
}

/* What was found before stays in use until something else is found. One that cannot be used is looked for
 * again as if there were none. */
static void conclude(struct registrar_search *search)
{
    const struct discovery_settings *settings = &search->services->settings->discovery;
    search->is_asking = false;
    if (!search->best.present) {
        log_info(MODULE, "no registrar found; asks again in %u s", search->pause_s);
        rest(search);
        return;
    }
    if (!is_current(search, &search->best)) {
        metrics_add(search->services->metrics, COUNTER_REGISTRARS_FOUND, 1);
        search->current = search->best;
        search->current.present = search->found(search->user, &search->best);
    }
    if (!search->current.present) {
        rest(search);
        return;
    }
    search->pause_s = settings->retry_s;
    sleep_ms(search, (uint64_t)settings->cache_s * 1000);
}

/* Each is twice as long as the one before, up to a limit. */
static void rest(struct registrar_search *search)
{
    const struct discovery_settings *settings = &search->services->settings->discovery;
    sleep_ms(search, (uint64_t)search->pause_s * 1000);
    search->pause_s =
        search->pause_s * 2 < settings->retry_max_s ? search->pause_s * 2 : settings->retry_max_s;
}

static bool is_current(const struct registrar_search *search, const struct registrar_offer *offer)
{
    return search->current.present && search->current.mode == offer->mode &&
           endpoint_equal(&search->current.registrar, &offer->registrar);
}

static void sleep_ms(struct registrar_search *search, uint64_t ms)
{
    const struct timeval wait = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};
    evtimer_add(search->timer, &wait);
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
    (void)what;
    struct registrar_search *search = user;
    udp_socket_receive(fd, search->services->batch, on_answer, search);
}

static void on_answer(void *user, const struct udp_datagram *datagram)
{
    struct registrar_search *search = user;
    struct registrar_offer offer = {.present = false};
    if (!search->is_asking || datagram->multicast)
        return;
    registrar_offer_read(datagram->payload, search->token, datagram->interface,
                         search->services->settings->mode, &offer);
    if (offer.present && is_better(search, &offer))
        search->best = offer;
}

/* Among equals the one in use, whose associations would end, then the first. */
static bool is_better(const struct registrar_search *search, const struct registrar_offer *offer)
{
    if (!search->best.present || offer->rank < search->best.rank)
        return true;
    return offer->rank == search->best.rank && is_current(search, offer);
}
