/* Sessions that are resumed by tickets (RFC 5077, SES-3): what stands in a ticket, and who may come back by
 * it. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_SESSION_RESUMPTION_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_SESSION_RESUMPTION_H

#include <openssl/ssl.h>

struct dtls_credentials;

/* For SSLs of dtls_credentials_open whose proof has the secret of tickets; the others neither give nor take
 * any. A ticket holds the session with the client's certificate, and the chain that vouched for it
 * (client_chain.h). It is given to whoever negotiated the extended master secret (RFC 7627 section 5.3), and
 * taken while the chain is in good standing: the trust store that vouched is still the same, and nothing in
 * the chain has expired or been revoked. Whatever is wrong with a ticket, a full handshake follows. Borrows
 * credentials for the life of the context. */
void session_resumption_enable(SSL_CTX *context, const struct dtls_credentials *credentials);

#endif
