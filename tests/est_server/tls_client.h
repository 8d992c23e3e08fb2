/* Who is at the other end of a TLS connection. */
#ifndef EST_SERVER_TLS_CLIENT_H
#define EST_SERVER_TLS_CLIENT_H

#include <openssl/ssl.h>
#include <stdbool.h>

/* The client's certificate, which TLS has validated; NULL if it sent none. Borrows from ssl. */
const X509 *tls_client_certificate(const SSL *ssl);

/* Whether certificate, which may be NULL, has the extended key usage id-kp-cmcRA (RFC 6402 section 2.10),
   which makes its holder an RA (RFC 7030 section 3.7). */
bool tls_client_is_ra(const X509 *certificate);

/* Whether challenge_password is the base64 of this connection's tls-unique (RFC 5929 section 3, RFC 7030
   section 3.5). Never true for TLS 1.3, which has no tls-unique. */
bool tls_client_is_linked(const SSL *ssl, const char *challenge_password);

#endif
