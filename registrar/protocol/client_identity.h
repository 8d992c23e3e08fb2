/* Who a client is: the certificate that its handshake proved, and the chain that vouched for it. */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_CLIENT_IDENTITY_H
#define ESTUARY_REGISTRAR_PROTOCOL_CLIENT_IDENTITY_H

#include "common/bytes.h"
#include "registrar/protocol/client_chain.h"

#include <openssl/x509.h>

#define CLIENT_FINGERPRINT_OCTETS 32

/* Immutable and reference counted: associations and exchanges of one client share it. */
struct client_identity;

/* Takes a reference of its own on certificate, copies chain. Gives the first reference; NULL: no memory. */
struct client_identity *client_identity_create(X509 *certificate, const struct client_chain *chain);

/* Thread safe. */
struct client_identity *client_identity_hold(struct client_identity *client);
void client_identity_release(struct client_identity *client);

enum trust_store client_identity_trust(const struct client_identity *client);
const struct client_chain *client_identity_chain(const struct client_identity *client); /* borrows */
X509 *client_identity_certificate(const struct client_identity *client);                /* borrows */

/* SHA-256 of the DER certificate, 32 octets. Borrows. */
struct bytes client_identity_fingerprint(const struct client_identity *client);

/* The subject in RFC 2253 form, escaped for a log, at most 256 octets. Borrows. */
const char *client_identity_name(const struct client_identity *client);

const char *trust_store_name(enum trust_store trust); /* "manufacturer", "domain" */

#endif
