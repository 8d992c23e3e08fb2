/* Whether a client whose handshake succeeded still has the right to be served: expiry, revocation and trust,
 * asked in the handshake, when its session is resumed and for every request (DTLS-9, RE-6, SES-3). Pure. */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_CLIENT_STANDING_H
#define ESTUARY_REGISTRAR_PROTOCOL_CLIENT_STANDING_H

#include "registrar/protocol/client_chain.h"
#include "registrar/protocol/revocation_lists.h"

enum client_standing {
    STANDING_GOOD,
    STANDING_UNCHECKED, /* as good; but an issuer has no current revocation list, which the policy bears */
    STANDING_RENEWAL,   /* its certificate of the domain has expired: it may renew it, and nothing else */
    STANDING_EXPIRED,
    STANDING_UNTRUSTED, /* its trust anchor is none any more; perhaps there is another way, a new handshake
                           will tell */
    STANDING_UNKNOWN,   /* an issuer has no current revocation list, which the policy does not bear */
    STANDING_REVOKED
};

/* What a client is judged by. Borrows. */
struct standing_rules {
    bool accept_expired[2]; /* by enum trust_store; the leaf's expiry only */
    struct standing_anchors {
        const struct chain_digest *sorted; /* chain_digest_sort */
        size_t count;
    } anchors[2]; /* that are trusted now, likewise */
    const struct revocation_lists *revocations;
};

enum client_standing client_standing_judge(const struct standing_rules *rules,
                                           const struct client_chain *chain, int64_t now_unix);

/* "the client certificate is revoked", for a device and for a log. */
const char *client_standing_text(enum client_standing standing);

#endif
