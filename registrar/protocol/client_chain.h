/* What is kept of a client's verified certificate chain: plain values of bounded size by which it is judged
 * again after its handshake, on every request and when its session is resumed (SES-3, DTLS-9). */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_CLIENT_CHAIN_H
#define ESTUARY_REGISTRAR_PROTOCOL_CLIENT_CHAIN_H

#include "common/bytes.h"

#include <openssl/x509.h>

#include <stdbool.h>

enum trust_store {
    TRUST_MANUFACTURER, /* Implicit, IDevID: RFC 7030 section 3.6.2 */
    TRUST_DOMAIN        /* Explicit, issued by our EST CA */
};

#define CLIENT_CHAIN_CERTIFICATES_MAX 4 /* the client's and those of its intermediate CAs */
#define CHAIN_DIGEST_OCTETS           12

/* SHA-256, cut: names a certificate, or its issuer. */
struct chain_digest {
    uint8_t octets[CHAIN_DIGEST_OCTETS];
};

/* A certificate as revocation lists know it (RFC 5280 section 5.1.2.6). */
struct chain_link {
    struct chain_digest issuer;      /* of its name, as the issuer's own certificate spells it */
    struct chain_digest certificate; /* of that digest and the serial number */
};

struct client_chain {
    enum trust_store trust;     /* the store that vouched for it */
    uint8_t count;              /* of links, at least 1 in a chain that was verified */
    bool accepted_expired;      /* the leaf had expired, and was let through */
    int64_t leaf_expires_unix;  /* notAfter of the client's own certificate */
    int64_t chain_expires_unix; /* the earliest of the others', the trust anchor's included */
    struct chain_digest anchor; /* of the trust anchor as a whole: is it one still? */
    struct chain_link links[CLIENT_CHAIN_CERTIFICATES_MAX]; /* the leaf first; no trust anchor but a leaf */
};

/* Fills in all but trust and accepted_expired from a chain that OpenSSL has verified, the
 * leaf first and the trust anchor last. STATUS_TOO_LARGE: longer than we keep; STATUS_CRYPTO. */
enum status client_chain_read(const STACK_OF(X509) * certificates, struct client_chain *chain);

/* Adds the link of a CA that is an anchor, and has an issuer all the same: it counts for revocation, not for
 * expiry. STATUS_TOO_LARGE: there is no room. */
enum status client_chain_extend(struct client_chain *chain, const X509 *authority, const X509 *issuer);

/* The digests that make a link; a revocation list is indexed by the same. serial: content octets of the
 * INTEGER. STATUS_CRYPTO. */
enum status chain_digest_name(const X509_NAME *name, struct chain_digest *digest);
enum status chain_digest_certificate(const struct chain_digest *issuer, struct bytes serial,
                                     struct chain_digest *digest);

/* Of the certificate as a whole: names a trust anchor. STATUS_CRYPTO. */
enum status chain_digest_anchor(const X509 *certificate, struct chain_digest *digest);

/* Sorts digests, so that one is found among them. */
void chain_digest_sort(struct chain_digest *digests, size_t count);
bool chain_digest_is_among(const struct chain_digest *digest, const struct chain_digest *sorted,
                           size_t count);

/* Whether a certificate of the chain has expired; the leaf's own date does not count when waived. */
bool client_chain_has_expired(const struct client_chain *chain, bool leaf_waived, int64_t now_unix);

/* As octets, for the application data of a session ticket. */
#define CLIENT_CHAIN_OCTETS_MAX (4 + 8 + 8 + CHAIN_DIGEST_OCTETS * (1 + 2 * CLIENT_CHAIN_CERTIFICATES_MAX))

void client_chain_encode(const struct client_chain *chain, struct buffer *octets);

/* STATUS_MALFORMED: octets are not exactly what client_chain_encode writes. */
enum status client_chain_decode(struct bytes octets, struct client_chain *chain);

#endif
