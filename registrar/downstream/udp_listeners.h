/* The UDP sockets that a list of the configuration names, read on an event loop. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_UDP_LISTENERS_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_UDP_LISTENERS_H

#include "common/udp_socket.h"
#include "registrar/settings.h"

struct event_base;
struct udp_listeners;

struct udp_listeners_plan {
    const char *setting; /* "listen.coaps", for errors */
    const struct settings_endpoints *endpoints;
    enum udp_sharing sharing;
    struct event_base *base;
    void (*take)(void *user, int fd, const struct udp_datagram *datagram); /* for each that arrives */
    void *user;
};

/* Opens all of them. Borrows the base and the user of plan; the rest for the call. On failure NULL, and
 * errors names path, value and cure of every one that cannot be opened. */
struct udp_listeners *udp_listeners_create(const struct udp_listeners_plan *plan, struct buffer *errors);
void udp_listeners_free(struct udp_listeners *listeners);

/* In the order of the configuration. */
size_t udp_listeners_count(const struct udp_listeners *listeners);
int udp_listeners_fd(const struct udp_listeners *listeners, size_t index);

/* Where they really listen (port 0 resolved). */
void udp_listeners_addresses(const struct udp_listeners *listeners, struct settings_endpoints *addresses);

#endif
