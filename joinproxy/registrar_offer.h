/* Picks a registrar from what answers a search (JP-2, JPD-6). Pure. */
#ifndef ESTUARY_JOINPROXY_REGISTRAR_OFFER_H
#define ESTUARY_JOINPROXY_REGISTRAR_OFFER_H

#include "common/endpoint.h"
#include "joinproxy/settings.h"

struct registrar_offer {
    bool present;
    size_t rank; /* in the table of names: lower is better */
    enum proxy_mode mode;
    struct endpoint registrar;
};

#define REGISTRAR_TOKEN_OCTETS 8

/* Appends the query number index of the table of names, a NON GET with the token. False: the same rt has been
 * asked for by an earlier row. */
bool registrar_offer_query(size_t index, uint16_t id, const uint8_t token[static REGISTRAR_TOKEN_OCTETS],
                           struct buffer *datagram);

/* Looks at one answer to a query with the token, which came on interface. A better registrar than best, of a
 * mode that is wanted, replaces it; among equals the first stays. STATUS_MALFORMED: not CoAP or not links;
 * links before the fault count. STATUS_MISMATCH: no answer to us. */
enum status registrar_offer_read(struct bytes datagram, const uint8_t token[static REGISTRAR_TOKEN_OCTETS],
                                 unsigned interface, enum proxy_mode wanted, struct registrar_offer *best);

#endif
