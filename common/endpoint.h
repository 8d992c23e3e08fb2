/* An IP address with its port and, for link-local IPv6, its scope. */
#ifndef ESTUARY_COMMON_ENDPOINT_H
#define ESTUARY_COMMON_ENDPOINT_H

#include "common/bytes.h"

#include <netinet/in.h>
#include <sys/socket.h>

struct endpoint {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address;
    socklen_t len; /* octets of address in use; 0: no endpoint */
};

#define ENDPOINT_TEXT_MAX 80 /* octets with the NUL: "[address%scope]:65535" */

/* Parses "192.0.2.1:5684", "[2001:db8::1]:5684", "[fe80::1%eth0]:5684", "[::]:5684" (numeric only, no
 * look-up); port 0 is allowed. Anything else is STATUS_MALFORMED. */
enum status endpoint_parse(const char *text, struct endpoint *endpoint);

/* Writes the numeric form that endpoint_parse reads; an IPv4-mapped IPv6 address is written as IPv4.
 * Returns text. */
const char *endpoint_format(const struct endpoint *endpoint, char text[static ENDPOINT_TEXT_MAX]);

/* Family, address, port and scope id all equal. */
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);

uint16_t endpoint_port(const struct endpoint *endpoint);

/* Any address: "[::]" or "0.0.0.0". */
bool endpoint_is_wildcard(const struct endpoint *endpoint);

/* Whether a datagram could be meant for sockets of both: the same port, and the same address or a wildcard
 * that includes the other ("[::]" includes IPv4 as well). */
bool endpoint_overlaps(const struct endpoint *a, const struct endpoint *b);

#define ENDPOINT_OCTETS_MAX 23 /* of the canonical form */

/* Appends a canonical form for hashing: family, address, port, scope id; never padding. */
void endpoint_serialise(const struct endpoint *endpoint, struct buffer *out);

/* The same with port 0: of the host alone. */
void endpoint_serialise_address(const struct endpoint *endpoint, struct buffer *out);

#endif
