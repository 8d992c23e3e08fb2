#include "registrar/downstream/discovery_port.h"

#include "common/leisure.h"
#include "common/log.h"
#include "common/monotonic.h"
#include "common/udp_socket.h"
#include "registrar/counters.h"
#include "registrar/downstream/discovery_reply.h"
#include "registrar/downstream/udp_listeners.h"

#include <event2/event.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MODULE     "discovery"
#define LEISURE_MS 5000 /* DEFAULT_LEISURE, RFC 7252 section 4.8 */

/* Anybody can ask in somebody else's name, and the links are longer than the question (RFC 7252
 * section 11.3): what the port sends altogether is bounded. A burst is what a cell of devices asks at
 * power-up. */
#define ANSWERS_PER_S     50
#define ANSWERS_BURST_MAX 300

struct discovery_port {
    const struct settings *settings;
    struct metrics *metrics;
    struct udp_listeners *listeners;
    struct leisure *leisure; /* of those who ask a group */
    const struct listen_addresses *listen;
    uint16_t next_id;
    uint64_t answers_left; /* thousandths of an answer: a token bucket */
    uint64_t refilled_ms;
};

/* Of all CoAP nodes (RFC 7252 section 12.8). */
static const struct group {
    const char *address;
    sa_family_t family;
    bool required; /* of the family that the socket is made for */
} groups[] = {
    {"ff02::fd", AF_INET6, true},
    {"ff03::fd", AF_INET6, false},
    {"ff05::fd", AF_INET6, false},
    {"224.0.1.187", AF_INET, true},
};

static bool join_groups(struct discovery_port *port, struct buffer *errors);
static size_t join_on_interface(struct discovery_port *port, size_t index, struct buffer *errors);
static size_t join_on_listener(const struct discovery_port *port, int fd, sa_family_t family, size_t index,
                               struct buffer *errors);
static bool join_group(int fd, sa_family_t family, const struct group *group, const char *interface);
static bool is_wildcard(const struct endpoint *endpoint);
static void on_datagram(void *user, int fd, const struct udp_datagram *datagram);
static uint16_t own_port(const struct discovery_port *port, const struct endpoint *local);
static bool may_answer(struct discovery_port *port, uint64_t now_ms);
static void answer(struct discovery_port *port, int fd, const struct udp_datagram *datagram,
                   struct buffer *reply);
static const char *format_authority(const struct settings_endpoints *listeners, const struct endpoint *local,
                                    char text[static ENDPOINT_TEXT_MAX]);
static struct endpoint find_listener(const struct settings_endpoints *listeners,
                                     const struct endpoint *local);
static struct endpoint with_port_of(const struct endpoint *local, const struct endpoint *listener);
static bool is_same(const struct endpoint *a, const struct endpoint *b);
static bool covers(const struct endpoint *listener, const struct endpoint *local);

struct discovery_port *discovery_port_create(const struct settings *settings,
                                             const struct listen_addresses *listen, struct event_base *base,
                                             struct metrics *metrics, struct buffer *errors)
{
    struct discovery_port *port = calloc(1, sizeof *port);
    if (port == NULL) {
        buffer_printf(errors, "listen.discovery: %s\n", status_text(STATUS_NO_MEMORY));
        return NULL;
    }
    const struct udp_listeners_plan plan = {.setting = "listen.discovery",
                                            .endpoints = &settings->listen.discovery,
                                            .sharing = UDP_EXCLUSIVE,
                                            .base = base,
                                            .take = on_datagram,
                                            .user = port};
    port->settings = settings;
    port->metrics = metrics;
    port->listen = listen;
    evutil_secure_rng_get_bytes(&port->next_id, sizeof port->next_id);
    port->leisure = leisure_create(base, LEISURE_MS);
    if (port->leisure == NULL)
        buffer_printf(errors, "listen.discovery: %s\n", status_text(STATUS_NO_MEMORY));
    else
        port->listeners = udp_listeners_create(&plan, errors);
    if (port->listeners != NULL && join_groups(port, errors))
        return port;
    discovery_port_free(port);
    return NULL;
}

void discovery_port_free(struct discovery_port *port)
{
    if (port == NULL)
        return;
    leisure_free(port->leisure);
    udp_listeners_free(port->listeners);
    free(port);
}

void discovery_port_addresses(const struct discovery_port *port, struct settings_endpoints *addresses)
{
    udp_listeners_addresses(port->listeners, addresses);
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
    for (size_t i = 0; i < udp_listeners_count(port->listeners); i++) {
        if (!is_wildcard(&endpoints->items[i]))
            continue;
        wildcards++;
        failures += join_on_listener(port, udp_listeners_fd(port->listeners, i),
                                     endpoints->items[i].address.any.sa_family, index, errors);
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
static size_t join_on_listener(const struct discovery_port *port, int fd, sa_family_t family, size_t index,
                               struct buffer *errors)
{
    const char *interface = port->settings->listen.multicast_interfaces.items[index];
    size_t failures = 0;
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        if (join_group(fd, family, &groups[i], interface))
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
static bool join_group(int fd, sa_family_t family, const struct group *group, const char *interface)
{
    if (family == AF_INET && group->family == AF_INET6)
        return true;
    if (udp_socket_join(fd, group->address, interface) == STATUS_OK)
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

static void on_datagram(void *user, int fd, const struct udp_datagram *datagram)
{
    struct discovery_port *port = user;
    struct udp_datagram back = *datagram;
    struct buffer reply;
    metrics_add(port->metrics, COUNTER_DATAGRAMS_RECEIVED, 1);
    /* A group is no sender: answer from the address that the kernel takes towards this peer. */
    if (!may_answer(port, monotonic_ms()) ||
        (datagram->multicast && udp_source_for(&datagram->peer, &back.local) != STATUS_OK)) {
        metrics_add(port->metrics, COUNTER_DATAGRAMS_DROPPED, 1);
        return;
    }
    buffer_init(&reply, DISCOVERY_REPLY_MAX);
    answer(port, fd, &back, &reply);
    buffer_free(&reply);
}

static bool may_answer(struct discovery_port *port, uint64_t now_ms)
{
    const uint64_t full = ANSWERS_BURST_MAX * 1000;
    uint64_t earned = (now_ms - port->refilled_ms) * ANSWERS_PER_S;
    port->refilled_ms = now_ms;
    port->answers_left = earned < full - port->answers_left ? port->answers_left + earned : full;
    if (port->answers_left < 1000)
        return false;
    port->answers_left -= 1000;
    return true;
}

/* datagram is what came in, but its local address is where the answer leaves from. */
static void answer(struct discovery_port *port, int fd, const struct udp_datagram *datagram,
                   struct buffer *reply)
{
    struct udp_datagram back = *datagram;
    char coaps[ENDPOINT_TEXT_MAX], jpy[ENDPOINT_TEXT_MAX];
    struct discovery_query query = {
        .datagram = datagram->payload,
        .multicast = datagram->multicast,
        .authority = format_authority(&port->listen->coaps, &datagram->local, coaps),
        .ways = {.jpy = format_authority(&port->listen->jpy, &datagram->local, jpy),
                 .schemes = &port->settings->jpy.schemes,
                 .coaps_port = own_port(port, &datagram->local)},
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
    if (!datagram->multicast)
        udp_socket_send(fd, &back);
    else if (leisure_send(port->leisure, fd, &back, reply) != STATUS_OK)
        metrics_add(port->metrics, COUNTER_MESSAGES_DROPPED, 1);
}

/* JPD-5: of the coaps socket at the very address that answers; 0: there is none, or it is not to be told. */
static uint16_t own_port(const struct discovery_port *port, const struct endpoint *local)
{
    if (!port->settings->listen.brski_jp)
        return 0;
    const struct endpoint found = find_listener(&port->listen->coaps, local),
                          there = with_port_of(local, &found);
    return is_same(&there, &found) ? endpoint_port(&found) : 0;
}

/* Without the scope: a zone means nothing to anybody else and does not belong in a URI on the wire (RFC 6874
 * section 1). */
static const char *format_authority(const struct settings_endpoints *listeners, const struct endpoint *local,
                                    char text[static ENDPOINT_TEXT_MAX])
{
    text[0] = '\0';
    if (listeners->count == 0)
        return text;
    struct endpoint found = find_listener(listeners, local);
    if (found.address.any.sa_family == AF_INET6)
        found.address.v6.sin6_scope_id = 0;
    return endpoint_format(&found, text);
}

/* Where whoever asked at local finds the service: at the same address if it listens there, at its first
 * address otherwise. */
static struct endpoint find_listener(const struct settings_endpoints *listeners, const struct endpoint *local)
{
    const struct endpoint *wildcard = NULL, *first = &listeners->items[0];
    for (size_t i = 0; i < listeners->count; i++) {
        const struct endpoint *listener = &listeners->items[i], there = with_port_of(local, listener);
        if (is_same(&there, listener))
            return there;
        if (wildcard == NULL && covers(listener, local))
            wildcard = listener;
    }
    if (wildcard == NULL && !is_wildcard(first))
        return *first;
    return with_port_of(local, wildcard != NULL ? wildcard : first);
}

static struct endpoint with_port_of(const struct endpoint *local, const struct endpoint *listener)
{
    struct endpoint there = *local;
    in_port_t port = htons(endpoint_port(listener));
    if (there.address.any.sa_family == AF_INET6)
        there.address.v6.sin6_port = port;
    else
        there.address.v4.sin_port = port;
    return there;
}

/* As text, in which an IPv4-mapped address is an IPv4 address. */
static bool is_same(const struct endpoint *a, const struct endpoint *b)
{
    char text_a[ENDPOINT_TEXT_MAX], text_b[ENDPOINT_TEXT_MAX];
    return strcmp(endpoint_format(a, text_a), endpoint_format(b, text_b)) == 0;
}

static bool covers(const struct endpoint *listener, const struct endpoint *local)
{
    if (!is_wildcard(listener))
        return false;
    return listener->address.any.sa_family == AF_INET6 || local->address.any.sa_family == AF_INET ||
           IN6_IS_ADDR_V4MAPPED(&local->address.v6.sin6_addr);
}
