/* What a pledge is told that looks for a join proxy (JPD-1, JPD-2). Pure. */
#ifndef ESTUARY_JOINPROXY_PLEDGE_REPLY_H
#define ESTUARY_JOINPROXY_PLEDGE_REPLY_H

#include "common/endpoint.h"
#include "joinproxy/settings.h"

#define PLEDGE_REPLY_MAX 1200 /* octets */

/* Everything is borrowed for the call. */
struct pledge_query {
    struct bytes datagram;
    bool multicast;               /* it came to a group */
    const struct endpoint *local; /* link-local: where we answer from */
    const uint16_t *ports;        /* join-ports that have a registrar */
    size_t port_count;
    bool legacy_names;
    uint16_t id; /* Message ID of a reply that is not piggybacked */
};

/* Appends the datagram to be sent back; nothing appended means silence. To a group only links are answered,
 * never an error, a reset or an empty set (RFC 7252 section 8). */
enum status pledge_reply(const struct pledge_query *query, struct buffer *reply);

#endif
