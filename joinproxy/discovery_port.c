#include "joinproxy/discovery_port.h"

#include "common/leisure.h"
#include "common/log.h"
#include "joinproxy/pledge_answer.h"
#include "joinproxy/pledge_reply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODULE    "discovery"
#define ALL_NODES "ff02::fd" /* all CoAP nodes of the link (RFC 7252 section 12.8) */

struct discovery_port {
    const struct services *services;
    int fd;
    struct event *readable;
    uint16_t ports[SETTINGS_LISTENERS_MAX];
    size_t port_count;
    unsigned joined[PLEDGE_LINKS_MAX]; /* interfaces */
    struct leisure *leisure;           /* of those who ask the group */
    uint16_t next_id;
};

static bool open_socket(struct discovery_port *port, struct buffer *errors);
static void on_readable(evutil_socket_t fd, short what, void *user);
static void on_query(void *user, const struct udp_datagram *datagram);
static void answer(struct discovery_port *port, const struct udp_datagram *query, size_t link,
                   struct udp_datagram *back);

struct discovery_port *discovery_port_create(const struct services *services, struct buffer *errors)
{
    struct discovery_port *port = calloc(1, sizeof *port);
    if (port == NULL) {
        buffer_printf(errors, "discovery.port: %s\n", status_text(STATUS_NO_MEMORY));
        return NULL;
    }
    port->services = services;
    port->fd = -1;
    evutil_secure_rng_get_bytes(&port->next_id, sizeof port->next_id);
    if (!open_socket(port, errors)) {
        discovery_port_free(port);
        return NULL;
    }
    port->leisure = leisure_create(services->base, services->settings->discovery.leisure_ms);
    port->readable = event_new(services->base, port->fd, EV_READ | EV_PERSIST, on_readable, port);
    if (port->leisure == NULL || port->readable == NULL || event_add(port->readable, NULL) != 0) {
        buffer_printf(errors, "discovery.port: %s\n", status_text(STATUS_NO_MEMORY));
        discovery_port_free(port);
        return NULL;
    }
    discovery_port_join(port);
    return port;
}

void discovery_port_free(struct discovery_port *port)
{
    if (port == NULL)
        return;
    leisure_free(port->leisure);
    if (port->readable != NULL)
        event_free(port->readable);
    if (port->fd >= 0)
        close(port->fd);
    free(port);
}

void discovery_port_announce(struct discovery_port *port, const uint16_t *ports, size_t count)
{
    port->port_count = count < SETTINGS_LISTENERS_MAX ? count : SETTINGS_LISTENERS_MAX;
    memcpy(port->ports, ports, port->port_count * sizeof *ports);
}

/* An interface that is made anew has a new number, and has joined nothing. */
void discovery_port_join(struct discovery_port *port)
{
    const struct pledge_links *links = port->services->links;
    for (size_t i = 0; i < pledge_links_count(links); i++) {
        unsigned interface = pledge_links_interface(links, i);
        if (interface == 0 || interface == port->joined[i])
            continue;
        if (udp_socket_join(port->fd, ALL_NODES, pledge_links_name(links, i)) == STATUS_OK ||
            errno == EADDRINUSE)
            port->joined[i] = interface;
        else
            log_warning(MODULE, "%s cannot join %s: %s", pledge_links_name(links, i), ALL_NODES,
                        strerror(errno));
    }
}

static bool open_socket(struct discovery_port *port, struct buffer *errors)
{
    uint16_t number = (uint16_t)port->services->settings->discovery.port;
    struct endpoint any = {.len = sizeof any.address.v6};
    any.address.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(number)};
    if (udp_socket_open(&any, UDP_EXCLUSIVE, &port->fd) == STATUS_OK)
        return true;
    port->fd = -1;
    buffer_printf(errors,
                  "discovery.port: %u cannot be opened: %s; stop the program that has it (\"ss -ulpn\" shows "
                  "it), give that one an address of its own, or set discovery.answer to false\n",
                  number, strerror(errno));
    return false;
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
    (void)what;
    struct discovery_port *port = user;
    udp_socket_receive(fd, port->services->batch, on_query, port);
}

static void on_query(void *user, const struct udp_datagram *datagram)
{
    struct discovery_port *port = user;
    const struct services *services = port->services;
    struct udp_datagram back = *datagram;
    size_t link;
    if (!pledge_links_admit(services->links, datagram, &link)) {
        metrics_add(services->metrics, COUNTER_STRANGERS, 1);
        return;
    }
    if (!traffic_limits_admit_up(services->limits, link, &datagram->peer, datagram->payload.len,
                                 services->now_ms())) {
        metrics_add(services->metrics, COUNTER_RATE_LIMITED, 1);
        return;
    }
    metrics_add(services->metrics, COUNTER_PLEDGE_QUERIES, 1);
    /* A group is no sender: answer from the address that the kernel takes towards this pledge. */
    if (port->port_count == 0 ||
        (datagram->multicast && udp_source_for(&datagram->peer, &back.local) != STATUS_OK))
        return;
    answer(port, datagram, link, &back);
}

static void answer(struct discovery_port *port, const struct udp_datagram *datagram, size_t link,
                   struct udp_datagram *back)
{
    struct buffer reply;
    const struct pledge_query query = {.datagram = datagram->payload,
                                       .multicast = datagram->multicast,
                                       .local = &back->local,
                                       .ports = port->ports,
                                       .port_count = port->port_count,
                                       .legacy_names = port->services->settings->discovery.legacy_names,
                                       .id = port->next_id++};
    buffer_init(&reply, PLEDGE_REPLY_MAX);
    pledge_reply(&query, &reply);
    back->payload = buffer_view(&reply);
    back->multicast = false;
    if (reply.len > 0 && pledge_answer_admit(port->services, link, port->fd, back)) {
        metrics_add(port->services->metrics, COUNTER_PLEDGE_ANSWERS, 1);
        if (datagram->multicast)
            leisure_send(port->leisure, port->fd, back, &reply);
        else
            udp_socket_send(port->fd, back);
    }
    buffer_free(&reply);
}
