/* What the kernel knows of neighbours: a datagram to one whose link-layer address is not known waits for
 * seconds in the buffer of its socket, and a few hundred such stop all others (JP-10, SEC-3). */
#ifndef ESTUARY_COMMON_NEIGHBOURS_H
#define ESTUARY_COMMON_NEIGHBOURS_H

#include "common/endpoint.h"

struct neighbours;

/* Gives; NULL: no memory. Without netlink everybody is known. */
struct neighbours *neighbours_create(void);
void neighbours_free(struct neighbours *neighbours);

/* Whether a datagram to this peer would leave at once: whether the neighbour is known that it goes to, which
 * is the peer or a router. interface counts for link-local addresses only. True as well where it would go
 * nowhere, and if the kernel does not tell (Linux before 5.0). Whoever has looked for our own link-layer
 * address is known. */
bool neighbours_know(struct neighbours *neighbours, const struct endpoint *peer, unsigned interface);

/* Whether a datagram may be sent to the peer through fd: not if much waits in it already and this one would
 * wait too. */
bool neighbours_admit(struct neighbours *neighbours, int fd, const struct endpoint *peer, unsigned interface);

#endif
