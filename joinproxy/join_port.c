#include "joinproxy/join_port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct join_port {
    const struct services *services;
    int fd;
    struct event *readable;
    struct route route;
};

static bool open_socket(struct join_port *join_port, uint16_t port, const struct endpoint *transparent,
                        struct buffer *errors);
static const char *cure_of(int error, bool transparent);
static void on_readable(evutil_socket_t fd, short what, void *user);
static void on_pledge(void *user, const struct udp_datagram *datagram);

struct join_port *join_port_create(const struct services *services, uint16_t port,
                                   const struct endpoint *transparent, struct buffer *errors)
{
    struct join_port *join_port = calloc(1, sizeof *join_port);
    if (join_port == NULL) {
        buffer_printf(errors, "pledge.join_port: %s\n", status_text(STATUS_NO_MEMORY));
        return NULL;
    }
    join_port->services = services;
    join_port->fd = -1;
    if (!open_socket(join_port, port, transparent, errors)) {
        join_port_free(join_port);
        return NULL;
    }
    join_port->readable =
        event_new(services->base, join_port->fd, EV_READ | EV_PERSIST, on_readable, join_port);
    if (join_port->readable != NULL && event_add(join_port->readable, NULL) == 0)
        return join_port;
    buffer_printf(errors, "pledge.join_port: %s\n", status_text(STATUS_NO_MEMORY));
    join_port_free(join_port);
    return NULL;
}

void join_port_free(struct join_port *join_port)
{
    if (join_port == NULL)
        return;
    if (join_port->readable != NULL)
        event_free(join_port->readable);
    if (join_port->fd >= 0)
        close(join_port->fd);
    free(join_port);
}

uint16_t join_port_number(const struct join_port *join_port)
{
    struct endpoint local = {.len = 0};
    return udp_socket_local(join_port->fd, &local) == STATUS_OK ? endpoint_port(&local) : 0;
}

int join_port_fd(const struct join_port *join_port)
{
    return join_port->fd;
}

void join_port_set_route(struct join_port *join_port, const struct route *route)
{
    join_port->route = *route;
}

static bool open_socket(struct join_port *join_port, uint16_t port, const struct endpoint *transparent,
                        struct buffer *errors)
{
    struct endpoint any = {.len = sizeof any.address.v6};
    any.address.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
    char text[ENDPOINT_TEXT_MAX];
    const struct endpoint *local = transparent != NULL ? transparent : &any;
    enum udp_sharing sharing = transparent != NULL ? UDP_TRANSPARENT : UDP_EXCLUSIVE;
    if (udp_socket_open(local, sharing, &join_port->fd) == STATUS_OK)
        return true;
    int error = errno;
    join_port->fd = -1;
    buffer_printf(errors, "%s: \"%s\" cannot be opened: %s; %s\n",
                  transparent != NULL ? "pledge.transparent" : "pledge.join_port",
                  endpoint_format(local, text), strerror(error), cure_of(error, transparent != NULL));
    return false;
}

static const char *cure_of(int error, bool transparent)
{
    if (transparent && error == EPERM)
        return "grant CAP_NET_RAW, or use false";
    switch (error) {
    case EADDRINUSE:
        return "use another port, or stop the program that has it (\"ss -ulpn\" shows it)";
    case EACCES:
        return "use a port above 1023, or grant CAP_NET_BIND_SERVICE";
    case EAFNOSUPPORT:
        return "switch on IPv6: pledges have nothing else";
    default:
        return "use another port";
    }
}

/* One batch at a time, so that a flooded socket starves no other. */
static void on_readable(evutil_socket_t fd, short what, void *user)
{
    (void)what;
    struct join_port *join_port = user;
    udp_socket_receive(fd, join_port->services->batch, on_pledge, join_port);
}

static void on_pledge(void *user, const struct udp_datagram *datagram)
{
    const struct join_port *join_port = user;
    const struct services *services = join_port->services;
    const struct route *route = &join_port->route;
    struct pledge_datagram from = {
        .datagram = datagram, .pledge_fd = join_port->fd, .registrar = &route->registrar};
    if (datagram->multicast || !pledge_links_admit(services->links, datagram, &from.link)) {
        metrics_add(services->metrics, COUNTER_STRANGERS, 1);
        return;
    }
    metrics_add(services->metrics, COUNTER_PLEDGE_DATAGRAMS, 1);
    metrics_add(services->metrics, COUNTER_PLEDGE_OCTETS, datagram->payload.len);
    /* First, so that invented pledges who get no mapping use up nothing that others have. */
    if (route->stateful != NULL && !stateful_admit(route->stateful, &from))
        return;
    if (!traffic_limits_admit_up(services->limits, from.link, &datagram->peer, datagram->payload.len,
                                 services->now_ms())) {
        metrics_add(services->metrics, COUNTER_RATE_LIMITED, 1);
        return;
    }
    if (route->stateless != NULL)
        stateless_forward(route->stateless, &from);
    else if (route->stateful != NULL)
        stateful_forward(route->stateful, &from);
}
