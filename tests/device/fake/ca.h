/* A certification authority for tests: signs what it is asked to. */
#ifndef FAKE_CA_H
#define FAKE_CA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

struct ca {
    X509 *certificate;
    EVP_PKEY *key;
};

/* Reads BASE.pem and BASE.key. */
bool ca_load(struct ca *ca, const char *base);
void ca_clear(struct ca *ca);

/* Gives a certificate for the request's subject and names, and for key, or the request's own where key is
 * NULL. */
X509 *ca_issue(const struct ca *ca, X509_REQ *request, EVP_PKEY *key);

/* Encodes certificates as certs-only PKCS#7; gives the octets (OPENSSL_free), 0 on failure. */
size_t certs_only_encode(X509 *const *certificates, size_t count, uint8_t **octets);

#endif
