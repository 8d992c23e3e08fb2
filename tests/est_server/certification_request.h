/* A PKCS#10 CertificationRequest (RFC 2986) as a client sent it. */
#ifndef EST_SERVER_CERTIFICATION_REQUEST_H
#define EST_SERVER_CERTIFICATION_REQUEST_H

#include "fingerprint.h"

#include <openssl/x509.h>
#include <stdbool.h>

struct certification_request {
    X509_REQ *request;
    EVP_PKEY *key; /* borrowed from request */
    struct fingerprint fingerprint, key_fingerprint;
};

/* Reads DER that holds exactly one request with a public key OpenSSL knows. */
bool certification_request_read(struct octets der, struct certification_request *result);
/* Frees what result owns; all zeros are fine too. */
void certification_request_clear(struct certification_request *result);

/* Whether the signature proves possession of the key (RFC 7030 section 3.4). */
bool certification_request_is_signed(const struct certification_request *request);

/* Gives the text of challengePassword, or NULL where the attribute is absent; the caller frees by
 * OPENSSL_free. */
char *certification_request_challenge_password(const struct certification_request *request);

#endif
