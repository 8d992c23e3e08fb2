/* The raw socket that tells pledges of errors, where we may have one. */
#ifndef ESTUARY_JOINPROXY_ICMP_PORT_H
#define ESTUARY_JOINPROXY_ICMP_PORT_H

#include "joinproxy/icmp_error.h"

struct icmp_port;

/* Without the permission (CAP_NET_RAW) it is silent, and says so in the log. Gives; NULL: no memory. */
struct icmp_port *icmp_port_create(void);
void icmp_port_free(struct icmp_port *port);

/* Tells pledge, from local on that interface, that the datagram it sent met an error. Few a second (RFC 4443
 * section 2.4 (f)). Returns whether it was sent. */
struct icmp_occasion {
    struct icmp_error error;
    const struct endpoint *pledge, *local;
    unsigned interface;
    struct bytes payload; /* of the pledge's datagram */
};
bool icmp_port_send(struct icmp_port *port, const struct icmp_occasion *occasion, uint64_t now_ms);

#endif
