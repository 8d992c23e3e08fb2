/* The certs-only CMC Simple PKI Response: a PKCS#7 SignedData that holds certificates and nothing else (RFC
 * 5272 section 4.1). */
#ifndef EST_SERVER_CERTS_ONLY_H
#define EST_SERVER_CERTS_ONLY_H

#include <openssl/x509.h>
#include <stdbool.h>

struct evbuffer;

/* Appends DER of count certificates, in their order, to der. */
bool certs_only_write(X509 *const certificates[], size_t count, struct evbuffer *der);

#endif
