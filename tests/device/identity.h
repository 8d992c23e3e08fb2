/* A certificate with its chain and private key: what a device proves who it is with. */
#ifndef DEVICE_IDENTITY_H
#define DEVICE_IDENTITY_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "explanation.h"

struct identity {
    X509 *certificate;
    STACK_OF(X509) * chain; /* what to send after the certificate; may be empty */
    EVP_PKEY *key;
};

/* Loads PEM files: the certificate first, then its chain; the key may be in the same file. Gives NULL on
 * failure. */
struct identity *identity_load(const char *certificate_file, const char *key_file, struct explanation *why);

/* Gives an identity that holds references of its own to all three; chain may be NULL. */
struct identity *identity_create(X509 *certificate, STACK_OF(X509) * chain, EVP_PKEY *key);

void identity_free(struct identity *identity);

#endif
