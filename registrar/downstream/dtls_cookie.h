/* The stateless cookie exchange (RFC 6347 section 4.2.1): no octet per peer is kept until the cookie comes
 * back. Pure: bytes in, bytes out. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_DTLS_COOKIE_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_DTLS_COOKIE_H

#include "common/bytes.h"
#include "registrar/downstream/dtls_record.h"

#define DTLS_COOKIE_OCTETS                                                                                   \
    16 /* short, so that a fragmented ClientHello holds it whole in its first fragment */

/* A cookie is good for one to two of these: longer than a client goes on repeating one ClientHello (1 s,
 * doubling up to 60 s, RFC 6347 section 4.2.4.1). */
#define DTLS_COOKIE_PERIOD_MS 120000

#define DTLS_HELLO_VERIFY_REQUEST_OCTETS                                                                     \
    (DTLS_RECORD_HEADER + DTLS_HANDSHAKE_HEADER + 2 + 1 + DTLS_COOKIE_OCTETS)

/* The secret that all workers share. It never changes: the number of the current period goes into each
 * cookie, so that cookies expire without any state that has to be rotated. */
struct dtls_cookie_secret {
    uint8_t octets[32];
};

enum status dtls_cookie_secret_make(struct dtls_cookie_secret *secret);

enum dtls_cookie_verdict {
    COOKIE_NONE,  /* the first ClientHello: answer it */
    COOKIE_WRONG, /* made up, too old, or of another flow or client random: answer it all the same */
    COOKIE_GOOD,  /* the client owns its address */
    COOKIE_LOST   /* the answer to a HelloVerifyRequest that was never ours: drop it */
};

/* Judges the cookie of a ClientHello. flow is the canonical form of the flow (flow.h); a cookie is bound
 * to it and to the client random. For COOKIE_NONE and COOKIE_WRONG a HelloVerifyRequest is appended to
 * answer; it is smaller than any datagram in which dtls_client_hello_read finds a ClientHello. */
enum dtls_cookie_verdict dtls_cookie_judge(const struct dtls_cookie_secret *secret, uint64_t now_ms,
                                           struct bytes flow, const struct dtls_client_hello *hello,
                                           struct buffer *answer);

#endif
