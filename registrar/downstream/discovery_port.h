/* The unsecured port: answers discovery by unicast and multicast, and nothing else (DTLS-1, DISC-3 to
 * DISC-6). One per process, on the main thread, so that a multicast query gets one answer whatever the number
 * of workers. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_DISCOVERY_PORT_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_DISCOVERY_PORT_H

#include "common/bytes.h"
#include "registrar/settings.h"

struct event_base;
struct metrics;
struct discovery_port;

/* Opens all of listen.discovery and joins ff02::fd (and ff03::fd, ff05::fd, 224.0.1.187 where possible) on
 * multicast_interfaces. listen has the addresses that absolute links name, one of coaps at least. Borrows
 * all. On failure NULL, and errors names path, value and cure. */
struct discovery_port *discovery_port_create(const struct settings *settings,
                                             const struct listen_addresses *listen, struct event_base *base,
                                             struct metrics *metrics, struct buffer *errors);
void discovery_port_free(struct discovery_port *port);

/* Where it really listens (port 0 resolved). */
void discovery_port_addresses(const struct discovery_port *port, struct settings_endpoints *addresses);

#endif
