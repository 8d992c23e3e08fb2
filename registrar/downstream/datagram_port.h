/* The coaps sockets of one worker on its event loop. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_DATAGRAM_PORT_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_DATAGRAM_PORT_H

#include "common/udp_socket.h"
#include "registrar/settings.h"

struct association_table;
struct event_base;
struct datagram_port;

/* Opens one socket for each endpoint and feeds what arrives to table. Borrows base and table. On failure
 * NULL, and errors names the JSON path (listen.coaps[i]), the value and the cure. */
struct datagram_port *datagram_port_create(const struct settings_endpoints *endpoints,
                                           enum udp_sharing sharing, struct event_base *base,
                                           struct association_table *table, struct buffer *errors);
void datagram_port_free(struct datagram_port *port);

/* Where it really listens (port 0 resolved). */
void datagram_port_addresses(const struct datagram_port *port, struct settings_endpoints *addresses);

#endif
