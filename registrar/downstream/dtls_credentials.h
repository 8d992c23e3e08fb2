/* What all associations share: the server's certificate and key, the two trust stores, ciphers
 * and curves (rows DTLS-2 to DTLS-5, 8, 11 to 13). */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_DTLS_CREDENTIALS_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_DTLS_CREDENTIALS_H

#include "common/bytes.h"
#include "registrar/downstream/session_tickets.h"
#include "registrar/protocol/client_identity.h"
#include "registrar/protocol/client_standing.h"
#include "registrar/settings.h"

#include <openssl/ssl.h>

/* Intermediate certificates between a client's and the one that is trusted. */
#define DTLS_CHAIN_DEPTH_MAX 3

_Static_assert(CLIENT_CHAIN_CERTIFICATES_MAX == DTLS_CHAIN_DEPTH_MAX + 1, "the client's own, and those");

/* Immutable, reference counted, thread safe: associations go on with the one that they began with. */
struct dtls_credentials;

/* Loads and checks. On failure NULL, and errors names file, what is wrong and the cure; warnings names what
 * will hurt later: no id-kp-cmcRA or serverAuth (DTLS-11), about to expire, a root or more than three
 * certificates in the chain (DTLS-13). Gives the first reference; borrows settings for the call. */
struct dtls_credentials *dtls_credentials_load(const struct dtls_settings *settings, struct buffer *errors,
                                               struct buffer *warnings);
struct dtls_credentials *dtls_credentials_hold(struct dtls_credentials *credentials);
void dtls_credentials_release(struct dtls_credentials *credentials);

/* What a handshake is told, and has found out about its client. Zeroed at first. */
struct dtls_client_proof {
    const struct revocation_lists *revocations;  /* borrowed for each call into OpenSSL; NULL: none */
    const struct session_ticket_secret *tickets; /* borrowed; NULL: no session is resumed */
    uint64_t now_ms;                             /* set it before each call into OpenSSL */
    bool validated;
    struct client_chain chain;
};

/* Gives an SSL of a server before its handshake, which fills in proof; tickets is in there already. Free it
 * with dtls_credentials_close, until when it holds on to the credentials. Borrows proof for as long. NULL: no
 * memory. */
SSL *dtls_credentials_open(struct dtls_credentials *credentials, struct dtls_client_proof *proof);
void dtls_credentials_close(SSL *ssl); /* NULL is ignored */

/* The registrar's own, which also sign what it makes for devices (SKG-7). Both borrow. */
X509 *dtls_credentials_certificate(const struct dtls_credentials *credentials);
EVP_PKEY *dtls_credentials_key(const struct dtls_credentials *credentials);

/* Whether a client that was let in may still be served. revocations may be NULL. */
enum client_standing dtls_credentials_standing(const struct dtls_credentials *credentials,
                                               const struct revocation_lists *revocations,
                                               const struct client_chain *chain, int64_t now_unix);

/* The client that the finished handshake of an SSL of ours proved. Gives a reference; NULL: none, or no
 * memory. */
struct client_identity *dtls_credentials_client(const SSL *ssl);

#endif
