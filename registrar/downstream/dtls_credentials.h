/* What all associations of one worker share: the server's certificate and key, the two trust stores, ciphers
 * and curves (rows DTLS-2 to DTLS-5, 8, 11 to 13). */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_DTLS_CREDENTIALS_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_DTLS_CREDENTIALS_H

#include "common/bytes.h"
#include "registrar/settings.h"

#include <openssl/ssl.h>

struct dtls_credentials;

/* Loads and checks. On failure NULL, and errors names file, what is wrong and the cure; warnings names what
 * will hurt later: no id-kp-cmcRA or serverAuth (DTLS-11), about to expire, a root or more than three
 * certificates in the chain (DTLS-13). Borrows settings for the call. */
struct dtls_credentials *dtls_credentials_load(const struct dtls_settings *settings, struct buffer *errors,
                                               struct buffer *warnings);
void dtls_credentials_free(struct dtls_credentials *credentials);

/* Borrows. SSLs made from it carry, after the handshake, who the client is: dtls_credentials_client. */
SSL_CTX *dtls_credentials_context(struct dtls_credentials *credentials);

/* The client that the finished handshake of ssl proved, with the trust store that validated it. Gives a
 * reference; NULL: none. */
struct client_identity *dtls_credentials_client(const SSL *ssl);

#endif
