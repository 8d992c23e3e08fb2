/* The JPY sockets of one worker on its event loop: what stateless join proxies send is unwrapped, and goes
 * where the datagrams of the coaps sockets go (JPR-1). */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_JPY_PORT_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_JPY_PORT_H

#include "common/udp_socket.h"
#include "registrar/settings.h"

struct association_table;
struct event_base;
struct metrics;
struct jpy_port;

/* Everything is borrowed, endpoints for the call. */
struct jpy_port_plan {
    const struct settings_endpoints *endpoints;
    const struct jpy_settings *settings;
    enum udp_sharing sharing;
    struct event_base *base;
    struct metrics *metrics;
    struct association_table *table;
};

/* Opens one socket for each endpoint. On failure NULL, and errors names path (listen.jpy[i]), value and cure.
 */
struct jpy_port *jpy_port_create(const struct jpy_port_plan *plan, struct buffer *errors);
void jpy_port_free(struct jpy_port *port);

/* Where it really listens (port 0 resolved). */
void jpy_port_addresses(const struct jpy_port *port, struct settings_endpoints *addresses);

#endif
