/* What the unsecured port says to one datagram (DTLS-1, DISC-1 to DISC-6). Pure. It remembers nothing: a
 * repeated GET finds the same links, so that duplicates need no detection (RFC 7252 section 4.5). */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_DISCOVERY_REPLY_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_DISCOVERY_REPLY_H

#include "common/bytes.h"
#include "registrar/downstream/discovery.h"

#define DISCOVERY_REPLY_MAX 1100 /* octets of a reply: one block and what stands before it */

/* Everything is borrowed for the call. */
struct discovery_query {
    struct bytes datagram;
    bool multicast;        /* it came to a group */
    const char *authority; /* "[addr]:port" of the coaps port, for the links */
    struct discovery_ways ways;
    uint16_t id; /* Message ID of a reply that is not piggybacked */
};

/* Appends the datagram to be sent back; nothing appended means silence. To a group only links are answered,
 * never an error, a reset or an empty set (RFC 7252 section 8, RFC 6690 section 4.1). STATUS_MALFORMED: the
 * datagram was no CoAP message (and a CON among them gets its reset). */
enum status discovery_reply(const struct settings *settings, const struct discovery_query *query,
                            struct buffer *reply);

#endif
