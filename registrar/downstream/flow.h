/* A flow: all datagrams between one peer and one of our addresses; from a stateless join proxy, those of one
 * pledge behind it. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_FLOW_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_FLOW_H

#include "common/endpoint.h"
#include "common/jpy.h"

/* Local and peer address each have their port and, where it counts, their scope id. */
struct flow {
    int fd; /* of the socket */
    struct endpoint local, peer;
    unsigned interface;  /* to answer through; tells no flows apart */
    bool wrapped;        /* in JPY messages: the peer is a join proxy, and each header a flow (JPR-2) */
    enum jpy_form form;  /* of these messages */
    struct bytes header; /* of these messages; borrowed */
};

#define FLOW_OCTETS_MAX                                                                                      \
    (sizeof(int) + 2 * ENDPOINT_OCTETS_MAX + 1 + JPY_HEADER_MAX) /* of the canonical form */

bool flow_equal(const struct flow *a, const struct flow *b);

/* Appends the canonical form, which no other flow has: what a cookie is bound to (JPR-4). */
void flow_serialise(const struct flow *flow, struct buffer *out);

/* Octets that a datagram on the wire has beyond its payload, at most (JPR-5). */
size_t flow_overhead(const struct flow *flow);

/* Sends one datagram to the peer, in the form and with the header that its own have. */
void flow_send(const struct flow *flow, struct bytes payload);

#endif
