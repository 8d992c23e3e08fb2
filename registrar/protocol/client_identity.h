/* Who a client is: the certificate that its handshake proved, and the trust store that vouched for it. */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_CLIENT_IDENTITY_H
#define ESTUARY_REGISTRAR_PROTOCOL_CLIENT_IDENTITY_H

#include "common/bytes.h"

#include <openssl/x509.h>

enum trust_store {
    TRUST_MANUFACTURER, /* Implicit, IDevID: RFC 7030 section 3.6.2 */
    TRUST_DOMAIN        /* Explicit, issued by our EST CA */
};

#define CLIENT_FINGERPRINT_OCTETS 32

/* Immutable and reference counted: associations and exchanges of one client share it. */
struct client_identity;

/* Takes a reference of its own on certificate. Gives the first reference; NULL: no memory. */
struct client_identity *client_identity_create(X509 *certificate, enum trust_store trust);

/* Thread safe. */
struct client_identity *client_identity_hold(struct client_identity *client);
void client_identity_release(struct client_identity *client);

enum trust_store client_identity_trust(const struct client_identity *client);
X509 *client_identity_certificate(const struct client_identity *client); /* borrows */

/* SHA-256 of the DER certificate, 32 octets. Borrows. */
struct bytes client_identity_fingerprint(const struct client_identity *client);

/* The subject in RFC 2253 form, escaped for a log, at most 256 octets. Borrows. */
const char *client_identity_name(const struct client_identity *client);

const char *trust_store_name(enum trust_store trust); /* "manufacturer", "domain" */

#endif
