/* What the kernel knows of neighbours: a datagram to one whose link-layer address is not known waits for
 * seconds in the buffer of its socket, and a few hundred such stop all others (JP-10). */
#ifndef ESTUARY_JOINPROXY_NEIGHBOURS_H
#define ESTUARY_JOINPROXY_NEIGHBOURS_H

#include "common/udp_socket.h"

struct neighbours;

/* Gives; NULL: no memory. Without netlink everybody is known. */
struct neighbours *neighbours_create(void);
void neighbours_free(struct neighbours *neighbours);

/* Whether a datagram to this link-local address would leave at once. True of all others, and if the kernel
 * does not tell (Linux before 5.0). A pledge that has looked for our own link-layer address is known. */
bool neighbours_know(struct neighbours *neighbours, const struct endpoint *pledge, unsigned interface);

/* Whether a datagram may be sent through fd: not if much waits in it already and this one would wait too. */
bool neighbours_admit(struct neighbours *neighbours, int fd, const struct udp_datagram *datagram);

#endif
