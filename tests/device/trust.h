/* A set of trust anchors, and whether a certificate chains up to one of them (RFC 7030 section 3.1). */
#ifndef DEVICE_TRUST_H
#define DEVICE_TRUST_H

#include <openssl/x509.h>

#include "explanation.h"

struct trust;

/* Gives the anchors in a PEM file, or NULL. Every certificate in it is an anchor, self-signed or not. */
struct trust *trust_from_file(const char *path, struct explanation *why);

/* Gives the Explicit TA made of a /crts answer (RFC 7030 section 4.1.3): its self-signed certificates are
 * anchors, the others help to build chains; without a self-signed one all are anchors. Borrows the bag for
 * the call only. */
struct trust *trust_from_bag(STACK_OF(X509) * bag, struct explanation *why);

void trust_free(struct trust *trust);

/* Gives another reference. */
struct trust *trust_share(struct trust *trust);

/* How many anchors. */
int trust_count(const struct trust *trust);

/* Borrows the store, for SSL_set1_verify_cert_store. */
X509_STORE *trust_store(struct trust *trust);

/* Does certificate chain up to an anchor now? purpose is X509_PURPOSE_SSL_SERVER or X509_PURPOSE_ANY. helpers
 * may be NULL. */
bool trust_verifies(struct trust *trust, X509 *certificate, STACK_OF(X509) * helpers, int purpose,
                    struct explanation *why);

#endif
