/* SHA-256 in hexadecimal, by which logs and statistics name things. */
#ifndef EST_SERVER_FINGERPRINT_H
#define EST_SERVER_FINGERPRINT_H

#include "octets.h"

#include <openssl/x509.h>

struct fingerprint {
    char hex[65]; /* lower case */
};

struct fingerprint fingerprint_of(struct octets octets);
struct fingerprint fingerprint_of_certificate(const X509 *certificate);
/* Of the DER SubjectPublicKeyInfo. */
struct fingerprint fingerprint_of_key(const X509_PUBKEY *key);

#endif
