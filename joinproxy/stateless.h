/* The stateless mode: pledges' datagrams travel in JPY messages, whose header brings the answer home
 * (JPY-1 to JPY-5). Nothing is kept for a pledge. */
#ifndef ESTUARY_JOINPROXY_STATELESS_H
#define ESTUARY_JOINPROXY_STATELESS_H

#include "joinproxy/header_keys.h"
#include "joinproxy/services.h"

struct stateless;

struct stateless_plan {
    const struct services *services; /* borrowed, as is keys */
    const struct header_keys *keys;
    struct endpoint registrar; /* its JPY port */
    size_t number;             /* of the registrar, for the headers of another do not open here */
    uint16_t source_port;      /* 0: the kernel chooses */
    int pledge_fd;             /* that answers pledges */
};

/* There need be no route to the registrar yet. Gives. NULL: errors has a line that names the setting and the
 * cure. */
struct stateless *stateless_create(const struct stateless_plan *plan, struct buffer *errors);
void stateless_free(struct stateless *stateless);

/* Looks again for a route where there was none, or where the address that we sent from is no longer ours. */
void stateless_refresh(struct stateless *stateless);

bool stateless_has_route(const struct stateless *stateless);

void stateless_forward(struct stateless *stateless, const struct pledge_datagram *from);

/* The port of ours that the registrar sees; 0: there is no route. */
uint16_t stateless_port(const struct stateless *stateless);

#endif
