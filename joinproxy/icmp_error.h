/* ICMPv6 error messages for pledges: what they say, and how an error from upstream becomes one (JP-7, JP-8).
 * Pure.
 */
#ifndef ESTUARY_JOINPROXY_ICMP_ERROR_H
#define ESTUARY_JOINPROXY_ICMP_ERROR_H

#include "common/endpoint.h"

#include <time.h> /* which the next one needs, and brings along for some C libraries alone */

#include <linux/errqueue.h>

#define ICMP_ERROR_OCTETS_MAX                                                                                \
    (1280 - 40) /* of the message: with its header the IPv6 minimum MTU (RFC 4443) */

struct icmp_error {
    uint8_t type, code; /* of ICMPv6 */
    uint32_t mtu;       /* of "packet too big", else 0 */
};

/* RFC 4443 section 3.1: communication administratively prohibited. */
#define ICMP_ERROR_PROHIBITED ((struct icmp_error){1, 1, 0})
/* The same section: no route to destination. */
#define ICMP_ERROR_NO_ROUTE ((struct icmp_error){1, 0, 0})

/* The same trouble in ICMPv6, by RFC 7915 section 4.2 where it came as ICMPv4. False: nothing that a pledge
 * should hear of. */
bool icmp_error_translate(const struct sock_extended_err *reported, struct icmp_error *error);

/* Appends the message about a UDP datagram that pledge sent to local, with as much of it as there is room
 * for. Its checksum is 0: a raw socket's kernel computes it. STATUS_UNSUPPORTED: not IPv6. */
enum status icmp_error_write(const struct icmp_error *error, const struct endpoint *pledge,
                             const struct endpoint *local, struct bytes payload, struct buffer *message);

#endif
