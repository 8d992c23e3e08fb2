/* The port where pledges look for a join proxy: CoAP on the groups of all nodes of their link (JPD-1, JPD-2).
 */
#ifndef ESTUARY_JOINPROXY_DISCOVERY_PORT_H
#define ESTUARY_JOINPROXY_DISCOVERY_PORT_H

#include "joinproxy/services.h"

struct discovery_port;

/* Borrows services. Silent until it has ports. Gives. NULL: errors has a line that names the setting and the
 * cure.
 */
struct discovery_port *discovery_port_create(const struct services *services, struct buffer *errors);
void discovery_port_free(struct discovery_port *port);

/* The join-ports that work now; copies them, at most SETTINGS_LISTENERS_MAX. */
void discovery_port_announce(struct discovery_port *port, const uint16_t *ports, size_t count);

/* Joins the group on interfaces that are new. */
void discovery_port_join(struct discovery_port *port);

#endif
