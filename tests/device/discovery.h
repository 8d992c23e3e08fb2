/* Discovery of EST resources without a session: at an unsecured port, or by multicast (RFC 9148 section 4.1).
 */
#ifndef DEVICE_DISCOVERY_H
#define DEVICE_DISCOVERY_H

#include "operation.h"
#include "server_address.h"

struct discovery {
    const struct server_address *where; /* borrowed; coap, unicast or multicast */
    const char *query;                  /* borrowed, "rt=ace.est*", or NULL */
    unsigned block_size;
    unsigned wait_ms; /* for the answer of one; for the answers of all who hear a multicast */
    void (*found)(void *observer, const struct operation_result *result); /* once for each who answers */
    void *observer;
};

/* Asks and waits. True when at least one answered as it should. When nobody did, found is told so once. */
bool discovery_run(const struct discovery *discovery);

#endif
