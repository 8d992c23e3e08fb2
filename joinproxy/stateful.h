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

/* Whether a pledge's datagram has a mapping or may have one (JP-7). If not, the pledge is told. */
bool stateful_admit(struct stateful *stateful, const struct pledge_datagram *from);

/* Sends a pledge's datagram that was admitted to its registrar, through a new mapping if it has none yet. */
void stateful_forward(struct stateful *stateful, const struct pledge_datagram *from);

/* Forgets all mappings: the registrar is another now. */
void stateful_clear(struct stateful *stateful);

/* Forgets those whose address towards the registrar is no longer ours. */
void stateful_refresh(struct stateful *stateful);

size_t stateful_count(const struct stateful *stateful);

#endif
