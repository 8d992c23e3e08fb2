/* The stateless cookie exchange (RFC 6347 section 4.2.1): no octet per peer is kept until the cookie comes
 * back. Pure: bytes in, bytes out. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_DTLS_COOKIE_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_DTLS_COOKIE_H

#include "common/bytes.h"

#define DTLS_COOKIE_OCTETS                                                                                   \
    16 /* short, so that a fragmented ClientHello holds it whole in its first fragment */

/* The secret that all workers share; cookies are valid for one to two periods of rotation. */
struct dtls_cookie_secret {
    uint8_t octets[32];
};

enum status dtls_cookie_secret_make(struct dtls_cookie_secret *secret);

enum dtls_cookie_verdict {
    COOKIE_DROP,   /* not (the first fragment of) a ClientHello, or one too short to hold what we need */
    COOKIE_ANSWER, /* answer holds a HelloVerifyRequest, no larger than the datagram */
    COOKIE_GOOD    /* the client owns its address */
};

/* What of a ClientHello tells duplicates from restarts. */
struct dtls_hello {
    uint8_t random[32];
};

/* Judges one datagram that starts with an epoch 0 handshake record. flow is the canonical form of the flow
 * (association_table.h). Appends to answer with COOKIE_ANSWER; fills hello with COOKIE_GOOD and
 * COOKIE_ANSWER. */
enum dtls_cookie_verdict dtls_cookie_judge(const struct dtls_cookie_secret *secret, uint64_t now_ms,
                                           struct bytes flow, struct bytes datagram, struct dtls_hello *hello,
                                           struct buffer *answer);

#endif
