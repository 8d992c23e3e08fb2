/* The port where pledges meet one registrar (JP-4, JP-9 to JP-11): lets in what comes from pledges and hands
 * it to the mode. */
#ifndef ESTUARY_JOINPROXY_JOIN_PORT_H
#define ESTUARY_JOINPROXY_JOIN_PORT_H

#include "joinproxy/stateful.h"
#include "joinproxy/stateless.h"

struct join_port;

/* Binds the join-port, 0 for one that the kernel chooses; with a transparent address that one in its place
 * (JP-3), else NULL. Drops everything until it has a route. Borrows services. Gives. NULL: errors has a line
 * that names the setting and the cure. */
struct join_port *join_port_create(const struct services *services, uint16_t port,
                                   const struct endpoint *transparent, struct buffer *errors);
void join_port_free(struct join_port *join_port);

/* What pledges are told to use. */
uint16_t join_port_number(const struct join_port *join_port);

int join_port_fd(const struct join_port *join_port);

/* Exactly one of the two modes; both NULL: none. Borrows the mode. */
struct route {
    struct endpoint registrar;
    struct stateful *stateful;
    struct stateless *stateless;
};

void join_port_set_route(struct join_port *join_port, const struct route *route);

#endif
