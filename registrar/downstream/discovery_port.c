#include "registrar/downstream/discovery_port.h"

#include "common/log.h"
#include "common/udp_socket.h"
#include "registrar/counters.h"
#include "registrar/downstream/discovery_reply.h"

#include <event2/event.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define MODULE      "discovery"
#define LEISURE_MS  5000 /* DEFAULT_LEISURE, RFC 7252 section 4.8 */
#define DELAYED_MAX 64   /* answers to groups that wait for their moment; further queries go unanswered */

struct listener {
    struct discovery_port *port;
    int fd;
    struct event *readable;
};

/* One answer on its way to somebody who asked a group. Owned by its slot in the port. */
struct delayed_answer {
    struct discovery_port *port;
    size_t slot;
    int fd;
    struct udp_datagram datagram; /* payload is a view of octets */
    struct buffer octets;
    struct event *due;
};

struct discovery_port {
    const struct settings *settings;
    struct event_base *base;
    struct metrics *metrics;
    struct udp_batch *batch;
    struct listener listeners[SETTINGS_LISTENERS_MAX];
    size_t listener_count;
    struct delayed_answer *delayed[DELAYED_MAX];
    uint16_t coaps_port;
    uint16_t next_id;
};

/* Of all CoAP nodes (RFC 7252 section 12.8). */
static const struct group {
    const char *address;
    sa_family_t family;
    bool required; /* of the family that the socket is made for */
} groups[] = {
    {"ff02::fd", AF_INET6, true},
    {"ff05::fd", AF_INET6, false},
    {"224.0.1.187", AF_INET, true},
};

static bool open_listeners(struct discovery_port *port, struct buffer *errors);
static bool open_listener(struct discovery_port *port, const struct endpoint *local,
                          struct listener *listener);
static const char *cure_of(int error);
static bool join_groups(struct discovery_port *port, struct buffer *errors);
static size_t join_on_interface(struct discovery_port *port, size_t index, struct buffer *errors);
static size_t join_on_listener(const struct listener *listener, sa_family_t family, size_t index,
                               struct buffer *errors);
static bool join_group(const struct listener *listener, sa_family_t family, const struct group *group,
                       const char *interface);
static bool is_wildcard(const struct endpoint *endpoint);
static void on_readable(evutil_socket_t fd, short what, void *user);
static void on_datagram(void *user, const struct udp_datagram *datagram);
static void answer(struct listener *listener, const struct udp_datagram *datagram, struct buffer *reply);
static const char *format_authority(const struct endpoint *local, uint16_t port,
                                    char text[static ENDPOINT_TEXT_MAX]);
static void send_later(struct listener *listener, const struct udp_datagram *datagram, struct buffer *octets);
static struct delayed_answer *reserve_slot(struct discovery_port *port);
static void on_due(evutil_socket_t fd, short what, void *user);
static void free_delayed(struct delayed_answer *delayed);
static uint32_t random_number(void);

struct discovery_port *discovery_port_create(const struct settings *settings, uint16_t coaps_port,
                                             struct event_base *base, struct metrics *metrics,
                                             struct buffer *errors)
{
    struct discovery_port *port = calloc(1, sizeof *port);
    if (port == NULL || (port->batch = udp_batch_create()) == NULL) {
        buffer_printf(errors, "listen.discovery: %s\n", status_text(STATUS_NO_MEMORY));
        free(port);
        return NULL;
    }
    port->settings = settings;
    port->base = base;
    port->metrics = metrics;
    port->coaps_port = coaps_port;
    port->next_id = (uint16_t)random_number();
    bool opened = open_listeners(port, errors);
    if (opened && join_groups(port, errors))
        return port;
    discovery_port_free(port);
    return NULL;
}

void discovery_port_free(struct discovery_port *port)
{
    if (port == NULL)
        return;
    for (size_t i = 0; i < DELAYED_MAX; i++)
        if (port->delayed[i] != NULL)
            free_delayed(port->delayed[i]);
    for (size_t i = 0; i < port->listener_count; i++) {
        if (port->listeners[i].readable != NULL)
            event_free(port->listeners[i].readable);
        close(port->listeners[i].fd);
    }
    udp_batch_free(port->batch);
    free(port);
}

void discovery_port_addresses(const struct discovery_port *port, struct settings_endpoints *addresses)
{
    addresses->count = port->listener_count;
    for (size_t i = 0; i < port->listener_count; i++)
        if (udp_socket_local(port->listeners[i].fd, &addresses->items[i]) != STATUS_OK)
            addresses->items[i] = (struct endpoint){.len = 0};
}

/* Tries all of them, so that all that is wrong is told at once. */
static bool open_listeners(struct discovery_port *port, struct buffer *errors)
{
    const struct settings_endpoints *endpoints = &port->settings->listen.discovery;
    for (size_t i = 0; i < endpoints->count; i++) {
        char text[ENDPOINT_TEXT_MAX];
        if (open_listener(port, &endpoints->items[i], &port->listeners[port->listener_count]))
            continue;
        int error = errno;
        buffer_printf(errors, "listen.discovery[%zu]: \"%s\" cannot be opened: %s; %s\n", i,
                      endpoint_format(&endpoints->items[i], text), strerror(error), cure_of(error));
    }
    return port->listener_count == endpoints->count;
}

static bool open_listener(struct discovery_port *port, const struct endpoint *local,
                          struct listener *listener)
{
    if (udp_socket_open(local, UDP_EXCLUSIVE, &listener->fd) != STATUS_OK)
        return false;
    port->listener_count++; /* from here on discovery_port_free closes it */
    listener->port = port;
    listener->readable = event_new(port->base, listener->fd, EV_READ | EV_PERSIST, on_readable, listener);
    if (listener->readable != NULL && event_add(listener->readable, NULL) == 0)
        return true;
    errno = ENOMEM;
    return false;
}

static const char *cure_of(int error)
{
    switch (error) {
    case EADDRINUSE:
        return "use another port, or stop the program that has it (\"ss -ulpn\" shows it)";
    case EADDRNOTAVAIL:
        return "use an address that this host has (\"ip address\" shows them), or \"[::]\"";
    case EACCES:
        return "use a port above 1023, or grant CAP_NET_BIND_SERVICE";
    case EAFNOSUPPORT:
        return "use an IPv4 address such as \"0.0.0.0\": IPv6 is switched off here";
    default:
        return "remove the entry if the system cannot provide it";
    }
}

static bool join_groups(struct discovery_port *port, struct buffer *errors)
{
    const struct settings_strings *interfaces = &port->settings->listen.multicast_interfaces;
    size_t failures = 0;
    for (size_t i = 0; i < interfaces->count; i++)
        failures += join_on_interface(port, i, errors);
    return failures == 0;
}

/* Returns how many errors it appended. A socket with an address of its own hears no group. */
static size_t join_on_interface(struct discovery_port *port, size_t index, struct buffer *errors)
{
    const struct settings_endpoints *endpoints = &port->settings->listen.discovery;
    const char *interface = port->settings->listen.multicast_interfaces.items[index];
    size_t wildcards = 0, failures = 0;
    for (size_t i = 0; i < port->listener_count; i++) {
        if (!is_wildcard(&endpoints->items[i]))
            continue;
        wildcards++;
        failures +=
            join_on_listener(&port->listeners[i], endpoints->items[i].address.any.sa_family, index, errors);
    }
    if (wildcards > 0)
        return failures;
    buffer_printf(errors,
                  "listen.multicast_interfaces[%zu]: \"%s\" needs a wildcard address to hear groups; add "
                  "\"[::]:5683\" to listen.discovery\n",
                  index, interface);
    return 1;
}

/* Returns how many errors it appended. */
static size_t join_on_listener(const struct listener *listener, sa_family_t family, size_t index,
                               struct buffer *errors)
{
    const char *interface = listener->port->settings->listen.multicast_interfaces.items[index];
    size_t failures = 0;
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        if (join_group(listener, family, &groups[i], interface))
            continue;
        failures++;
        buffer_printf(errors,
                      "listen.multicast_interfaces[%zu]: \"%s\" cannot join %s: %s; use an interface that is "
                      "up and capable of multicast (\"ip link\" shows them)\n",
                      index, interface, groups[i].address, strerror(errno));
    }
    return failures;
}

/* False with errno: a group that must be joined was not. */
static bool join_group(const struct listener *listener, sa_family_t family, const struct group *group,
                       const char *interface)
{
    if (family == AF_INET && group->family == AF_INET6)
        return true;
    if (udp_socket_join(listener->fd, group->address, interface) == STATUS_OK)
        return true;
    if (group->required && group->family == family)
        return false;
    log_warning(MODULE, "%s: group %s cannot be joined: %s", interface, group->address, strerror(errno));
    return true;
}

static bool is_wildcard(const struct endpoint *endpoint)
{
    if (endpoint->address.any.sa_family == AF_INET)
        return endpoint->address.v4.sin_addr.s_addr == INADDR_ANY;
    return IN6_IS_ADDR_UNSPECIFIED(&endpoint->address.v6.sin6_addr);
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
    (void)what;
    struct listener *listener = user;
    udp_socket_receive(fd, listener->port->batch, on_datagram, listener);
}

static void on_datagram(void *user, const struct udp_datagram *datagram)
{
    struct listener *listener = user;
    struct udp_datagram back = *datagram;
    struct buffer reply;
    metrics_add(listener->port->metrics, COUNTER_DATAGRAMS_RECEIVED, 1);
    /* A group is no sender: answer from the address that the kernel takes towards this peer. */
    if (datagram->multicast && udp_source_for(&datagram->peer, &back.local) != STATUS_OK) {
        metrics_add(listener->port->metrics, COUNTER_DATAGRAMS_DROPPED, 1);
        return;
    }
    buffer_init(&reply, DISCOVERY_REPLY_MAX);
    answer(listener, &back, &reply);
    buffer_free(&reply);
}

/* datagram is what came in, but its local address is where the answer leaves from. */
static void answer(struct listener *listener, const struct udp_datagram *datagram, struct buffer *reply)
{
    struct discovery_port *port = listener->port;
    struct udp_datagram back = *datagram;
    char authority[ENDPOINT_TEXT_MAX];
    struct discovery_query query = {
        .datagram = datagram->payload,
        .multicast = datagram->multicast,
        .authority = format_authority(&datagram->local, port->coaps_port, authority),
        .id = port->next_id++,
    };
    enum status status = discovery_reply(port->settings, &query, reply);
    metrics_add(port->metrics, COUNTER_MESSAGES_RECEIVED, 1);
    if (status == STATUS_MALFORMED)
        metrics_add(port->metrics, COUNTER_MESSAGES_MALFORMED, 1);
    if (reply->len == 0)
        return;
    back.payload = buffer_view(reply);
    back.multicast = false;
    if (datagram->multicast)
        send_later(listener, &back, reply);
    else
        udp_socket_send(listener->fd, &back);
}

/* Without the scope: a zone means nothing to anybody else and does not belong in a URI on the wire (RFC 6874
 * section 1). */
static const char *format_authority(const struct endpoint *local, uint16_t port,
                                    char text[static ENDPOINT_TEXT_MAX])
{
    struct endpoint coaps = *local;
    if (coaps.address.any.sa_family == AF_INET6) {
        coaps.address.v6.sin6_scope_id = 0;
        coaps.address.v6.sin6_port = htons(port);
    } else {
        coaps.address.v4.sin_port = htons(port);
    }
    return endpoint_format(&coaps, text);
}

/* RFC 7252 section 8.2: at a random moment within the leisure, lest all that were asked answer at once. Takes
 * the octets. */
static void send_later(struct listener *listener, const struct udp_datagram *datagram, struct buffer *octets)
{
    struct discovery_port *port = listener->port;
    struct delayed_answer *delayed = reserve_slot(port);
    if (delayed == NULL) {
        metrics_add(port->metrics, COUNTER_MESSAGES_DROPPED, 1);
        return;
    }
    delayed->fd = listener->fd;
    delayed->datagram = *datagram;
    delayed->octets = *octets;
    buffer_init(octets, DISCOVERY_REPLY_MAX);
    uint32_t wait_ms = random_number() % (LEISURE_MS + 1);
    struct timeval wait = {wait_ms / 1000, wait_ms % 1000 * 1000};
    delayed->due = evtimer_new(port->base, on_due, delayed);
    if (delayed->due == NULL || evtimer_add(delayed->due, &wait) != 0)
        free_delayed(delayed);
}

/* NULL: all are taken, or no memory. */
static struct delayed_answer *reserve_slot(struct discovery_port *port)
{
    for (size_t slot = 0; slot < DELAYED_MAX; slot++) {
        if (port->delayed[slot] != NULL)
            continue;
        struct delayed_answer *delayed = calloc(1, sizeof *delayed);
        if (delayed == NULL)
            return NULL;
        delayed->port = port;
        delayed->slot = slot;
        port->delayed[slot] = delayed;
        return delayed;
    }
    return NULL;
}

static void on_due(evutil_socket_t fd, short what, void *user)
{
    (void)fd;
    (void)what;
    struct delayed_answer *delayed = user;
    udp_socket_send(delayed->fd, &delayed->datagram);
    free_delayed(delayed);
}

static void free_delayed(struct delayed_answer *delayed)
{
    delayed->port->delayed[delayed->slot] = NULL;
    if (delayed->due != NULL)
        event_free(delayed->due);
    buffer_free(&delayed->octets);
    free(delayed);
}

/* 0 should the kernel have none: then there is no leisure, but an answer. */
static uint32_t random_number(void)
{
    uint32_t number = 0;
    if (getrandom(&number, sizeof number, GRND_NONBLOCK) != sizeof number)
        return 0;
    return number;
}
