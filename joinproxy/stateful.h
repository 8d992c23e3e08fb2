/* The stateful mode: each pledge endpoint has a port of its own towards the registrar (JP-3 to JP-8).
 * Payloads are not looked at (JP-1). */
#ifndef ESTUARY_JOINPROXY_STATEFUL_H
#define ESTUARY_JOINPROXY_STATEFUL_H

#include "joinproxy/services.h"

struct stateful;

/* One for all registrars, because the limits are of pledges and links (JP-7). Borrows services. Gives; NULL:
 * no memory. */
struct stateful *stateful_create(const struct services *services);
void stateful_free(struct stateful *stateful);

/* Sends a pledge's datagram to its registrar, through a new mapping if it has none yet. */
void stateful_forward(struct stateful *stateful, const struct pledge_datagram *from);

/* Forgets all mappings: the registrar is another now. */
void stateful_clear(struct stateful *stateful);

size_t stateful_count(const struct stateful *stateful);

#endif
