#include "joinproxy/stateful.h"

#include "common/log.h"
#include "joinproxy/pledge_answer.h"
#include "joinproxy/registrar_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODULE      "stateful"
#define REPORTS_MAX 8 /* errors of one mapping that are read in one go */

#define FAILURES_LOGGED_EVERY_MS 10000 /* pledges may cause one with each datagram */
#define PROBATION_MS             3000  /* two retransmissions of DTLS (RFC 6347 section 4.2.4.1) */

/* JP-5: (pledge, local) on this side, fd's port and the registrar on the other. In the list by last use. A
 * pledge that speaks again after an answer is a real one. */
struct mapping {
    struct stateful *stateful;
    struct mapping *older, *newer;
    struct endpoint pledge, local, registrar;
    unsigned interface;
    size_t link;
    int pledge_fd, fd;
    struct event *readable;
    uint64_t used_ms;
    bool is_answered, is_real;
};

/* As many as the limits let there be: few enough to be searched one by one. */
struct stateful {
    const struct services *services;
    struct mapping *oldest, *newest;
    size_t count, on_link[PLEDGE_LINKS_MAX];
    struct event *expiry;
    uint64_t log_again_ms;
};

static struct mapping *find(const struct stateful *stateful, const struct udp_datagram *datagram);
static struct mapping *add_mapping(struct stateful *stateful, const struct pledge_datagram *from);
static bool has_room(struct stateful *stateful, const struct pledge_datagram *from, bool displace);
static bool find_spare(struct stateful *stateful, const struct pledge_datagram *from, bool of_pledge,
                       bool displace);
static bool is_of_pledge(const struct mapping *mapping, const struct pledge_datagram *from);
static void refuse(const struct stateful *stateful, const struct pledge_datagram *from,
                   struct icmp_error error);
static struct mapping *mapping_create(struct stateful *stateful, const struct pledge_datagram *from);
static void log_failure(struct stateful *stateful, const struct endpoint *registrar, int error);
static void mapping_free(struct stateful *stateful, struct mapping *mapping);
static void touch(struct mapping *mapping);
static void append(struct mapping *mapping);
static void detach(struct stateful *stateful, struct mapping *mapping);
static void on_readable(evutil_socket_t fd, short what, void *user);
static void pass_errors_on(const struct mapping *mapping);
static void on_registrar(void *user, const struct udp_datagram *datagram);
static void on_expiry(evutil_socket_t fd, short what, void *user);
static void await_expiry(struct stateful *stateful);
static uint64_t lifetime_ms(const struct stateful *stateful);
static bool is_same_address(const struct endpoint *a, const struct endpoint *b);

struct stateful *stateful_create(const struct services *services)
{
    struct stateful *stateful = calloc(1, sizeof *stateful);
    if (stateful == NULL)
        return NULL;
    stateful->services = services;
    stateful->expiry = evtimer_new(services->base, on_expiry, stateful);
    if (stateful->expiry != NULL)
        return stateful;
    free(stateful);
    return NULL;
}

void stateful_free(struct stateful *stateful)
{
    if (stateful == NULL)
        return;
    stateful_clear(stateful);
    event_free(stateful->expiry);
    free(stateful);
}

void stateful_clear(struct stateful *stateful)
{
    while (stateful->oldest != NULL)
        mapping_free(stateful, stateful->oldest);
}

size_t stateful_count(const struct stateful *stateful)
{
    return stateful->count;
}

void stateful_refresh(struct stateful *stateful)
{
    struct mapping *newer;
    for (struct mapping *mapping = stateful->oldest; mapping != NULL; mapping = newer) {
        newer = mapping->newer;
        if (!registrar_socket_has_address(mapping->fd))
            mapping_free(stateful, mapping);
    }
}

bool stateful_admit(struct stateful *stateful, const struct pledge_datagram *from)
{
    if (find(stateful, from->datagram) != NULL || has_room(stateful, from, false))
        return true;
    metrics_add(stateful->services->metrics, COUNTER_MAPPINGS_REFUSED, 1);
    refuse(stateful, from, ICMP_ERROR_PROHIBITED);
    return false;
}

void stateful_forward(struct stateful *stateful, const struct pledge_datagram *from)
{
    struct mapping *mapping = find(stateful, from->datagram);
    if (mapping == NULL)
        mapping = add_mapping(stateful, from);
    if (mapping == NULL)
        return;
    mapping->is_real = mapping->is_real || mapping->is_answered;
    touch(mapping);
    pass_errors_on(mapping); /* else sending would report them and not send */
    registrar_socket_send(mapping->fd, from->datagram->payload);
}

static struct mapping *find(const struct stateful *stateful, const struct udp_datagram *datagram)
{
    struct mapping *mapping = stateful->newest;
    while (mapping != NULL && !(endpoint_equal(&mapping->pledge, &datagram->peer) &&
                                endpoint_equal(&mapping->local, &datagram->local)))
        mapping = mapping->older;
    return mapping;
}

/* NULL: the registrar cannot be reached from here, and the pledge is told (JP-8). */
static struct mapping *add_mapping(struct stateful *stateful, const struct pledge_datagram *from)
{
    struct mapping *mapping = has_room(stateful, from, true) ? mapping_create(stateful, from) : NULL;
    if (mapping == NULL) {
        metrics_add(stateful->services->metrics, COUNTER_NO_ROUTE, 1);
        refuse(stateful, from, ICMP_ERROR_NO_ROUTE);
        return NULL;
    }
    metrics_add(stateful->services->metrics, COUNTER_MAPPINGS_CREATED, 1);
    if (stateful->count == 1)
        await_expiry(stateful);
    return mapping;
}

/* JP-7. With displace, room is made where that is needed. */
static bool has_room(struct stateful *stateful, const struct pledge_datagram *from, bool displace)
{
    const struct stateful_settings *settings = &stateful->services->settings->stateful;
    size_t of_pledge = 0;
    for (const struct mapping *mapping = stateful->oldest; mapping != NULL; mapping = mapping->newer)
        of_pledge += is_of_pledge(mapping, from);
    if (of_pledge >= settings->max_per_pledge && !find_spare(stateful, from, true, displace))
        return false;
    return stateful->on_link[from->link] < settings->max_per_interface ||
           find_spare(stateful, from, false, displace);
}

/* A mapping that somebody made with one datagram, who has not been heard of since: of a pledge that was
 * invented, or has given up its port. */
static bool find_spare(struct stateful *stateful, const struct pledge_datagram *from, bool of_pledge,
                       bool displace)
{
    const uint64_t now_ms = stateful->services->now_ms();
    struct mapping *mapping = stateful->oldest;
    while (mapping != NULL &&
           (mapping->is_real || mapping->link != from->link || (of_pledge && !is_of_pledge(mapping, from))))
        mapping = mapping->newer;
    if (mapping == NULL || now_ms - mapping->used_ms < PROBATION_MS)
        return false;
    if (displace) {
        metrics_add(stateful->services->metrics, COUNTER_MAPPINGS_DISPLACED, 1);
        mapping_free(stateful, mapping);
    }
    return true;
}

static bool is_of_pledge(const struct mapping *mapping, const struct pledge_datagram *from)
{
    return mapping->link == from->link && is_same_address(&mapping->pledge, &from->datagram->peer);
}

/* Where we may say so; else in silence. */
static void refuse(const struct stateful *stateful, const struct pledge_datagram *from,
                   struct icmp_error error)
{
    const struct services *services = stateful->services;
    const struct icmp_occasion occasion = {.error = error,
                                           .pledge = &from->datagram->peer,
                                           .local = &from->datagram->local,
                                           .interface = from->datagram->interface,
                                           .payload = from->datagram->payload};
    if (icmp_port_send(services->icmp, &occasion, services->now_ms()))
        metrics_add(services->metrics, COUNTER_ICMP_REFUSALS, 1);
}

static struct mapping *mapping_create(struct stateful *stateful, const struct pledge_datagram *from)
{
    struct mapping *mapping = calloc(1, sizeof *mapping);
    if (mapping == NULL)
        return NULL;
    mapping->stateful = stateful;
    mapping->pledge = from->datagram->peer;
    mapping->local = from->datagram->local;
    mapping->registrar = *from->registrar;
    mapping->interface = from->datagram->interface;
    mapping->link = from->link;
    mapping->pledge_fd = from->pledge_fd;
    if (registrar_socket_open(from->registrar, 0, &mapping->fd) != STATUS_OK) {
        log_failure(stateful, from->registrar, errno);
        free(mapping);
        return NULL;
    }
    mapping->readable =
        event_new(stateful->services->base, mapping->fd, EV_READ | EV_PERSIST, on_readable, mapping);
    append(mapping);
    if (mapping->readable != NULL && event_add(mapping->readable, NULL) == 0)
        return mapping;
    mapping_free(stateful, mapping);
    return NULL;
}

static void log_failure(struct stateful *stateful, const struct endpoint *registrar, int error)
{
    char text[ENDPOINT_TEXT_MAX];
    uint64_t now_ms = stateful->services->now_ms();
    if (now_ms < stateful->log_again_ms)
        return;
    stateful->log_again_ms = now_ms + FAILURES_LOGGED_EVERY_MS;
    log_warning(MODULE, "no socket towards %s: %s", endpoint_format(registrar, text), strerror(error));
}

static void mapping_free(struct stateful *stateful, struct mapping *mapping)
{
    detach(stateful, mapping);
    if (mapping->readable != NULL)
        event_free(mapping->readable);
    close(mapping->fd);
    free(mapping);
}

/* JP-6: datagrams of either direction count. */
static void touch(struct mapping *mapping)
{
    detach(mapping->stateful, mapping);
    append(mapping);
}

static void append(struct mapping *mapping)
{
    struct stateful *stateful = mapping->stateful;
    mapping->used_ms = stateful->services->now_ms();
    mapping->newer = NULL;
    mapping->older = stateful->newest;
    if (stateful->newest != NULL)
        stateful->newest->newer = mapping;
    else
        stateful->oldest = mapping;
    stateful->newest = mapping;
    stateful->count++;
    stateful->on_link[mapping->link]++;
    metrics_add(stateful->services->metrics, COUNTER_MAPPINGS, 1);
}

static void detach(struct stateful *stateful, struct mapping *mapping)
{
    if (mapping->older != NULL)
        mapping->older->newer = mapping->newer;
    if (mapping->newer != NULL)
        mapping->newer->older = mapping->older;
    if (stateful->oldest == mapping)
        stateful->oldest = mapping->newer;
    if (stateful->newest == mapping)
        stateful->newest = mapping->older;
    stateful->count--;
    stateful->on_link[mapping->link]--;
    metrics_subtract(stateful->services->metrics, COUNTER_MAPPINGS, 1);
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
    (void)what;
    struct mapping *mapping = user;
    pass_errors_on(mapping);
    udp_socket_receive(fd, mapping->stateful->services->batch, on_registrar, mapping);
}

/* JP-8. */
static void pass_errors_on(const struct mapping *mapping)
{
    const struct services *services = mapping->stateful->services;
    struct buffer payload;
    buffer_init(&payload, UDP_DATAGRAM_MAX);
    struct icmp_occasion occasion = {
        .pledge = &mapping->pledge, .local = &mapping->local, .interface = mapping->interface};
    for (int i = 0; i < REPORTS_MAX && registrar_socket_error(mapping->fd, &occasion.error, &payload); i++) {
        occasion.payload = buffer_view(&payload);
        if (occasion.error.type != 0 && icmp_port_send(services->icmp, &occasion, services->now_ms()))
            metrics_add(services->metrics, COUNTER_ICMP_PASSED_ON, 1);
        buffer_reset(&payload);
    }
    buffer_free(&payload);
}

static void on_registrar(void *user, const struct udp_datagram *datagram)
{
    struct mapping *mapping = user;
    const struct services *services = mapping->stateful->services;
    metrics_add(services->metrics, COUNTER_REGISTRAR_DATAGRAMS, 1);
    metrics_add(services->metrics, COUNTER_REGISTRAR_OCTETS, datagram->payload.len);
    const struct udp_datagram back = {.peer = mapping->pledge,
                                      .local = mapping->local,
                                      .interface = mapping->interface,
                                      .payload = datagram->payload};
    if (!pledge_answer_admit(services, mapping->link, mapping->pledge_fd, &back))
        return;
    mapping->is_answered = true;
    touch(mapping);
    udp_socket_send(mapping->pledge_fd, &back);
}

static void on_expiry(evutil_socket_t fd, short what, void *user)
{
    (void)fd;
    (void)what;
    struct stateful *stateful = user;
    uint64_t now_ms = stateful->services->now_ms();
    while (stateful->oldest != NULL && now_ms - stateful->oldest->used_ms >= lifetime_ms(stateful)) {
        mapping_free(stateful, stateful->oldest);
        metrics_add(stateful->services->metrics, COUNTER_MAPPINGS_EXPIRED, 1);
    }
    await_expiry(stateful);
}

/* All live equally long: the one that rests longest is the next to go. */
static void await_expiry(struct stateful *stateful)
{
    if (stateful->oldest == NULL)
        return;
    uint64_t age_ms = stateful->services->now_ms() - stateful->oldest->used_ms;
    uint64_t wait_ms = age_ms < lifetime_ms(stateful) ? lifetime_ms(stateful) - age_ms : 0;
    const struct timeval wait = {(time_t)(wait_ms / 1000), (suseconds_t)(wait_ms % 1000 * 1000)};
    evtimer_add(stateful->expiry, &wait);
}

static uint64_t lifetime_ms(const struct stateful *stateful)
{
    return (uint64_t)stateful->services->settings->stateful.idle_s * 1000;
}

static bool is_same_address(const struct endpoint *a, const struct endpoint *b)
{
    struct endpoint other = *b;
    if (a->address.any.sa_family != b->address.any.sa_family)
        return false;
    if (other.address.any.sa_family == AF_INET)
        other.address.v4.sin_port = a->address.v4.sin_port;
    else
        other.address.v6.sin6_port = a->address.v6.sin6_port;
    return endpoint_equal(a, &other);
}
