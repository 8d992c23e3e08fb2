/* Keys and certificates made within a test: any name, purpose and validity. */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_UPSTREAM_TEST_PKI_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_UPSTREAM_TEST_PKI_H

#include <openssl/evp.h>
#include <openssl/x509.h>

struct identity {
    X509 *certificate;
    EVP_PKEY *key;
};

#define DAY (24L * 3600)

struct identity_settings {
    const char *name;              /* the common name */
    const char *san;               /* "DNS:localhost,IP:127.0.0.1"; NULL: none */
    const char *purposes;          /* extendedKeyUsage; NULL: none */
    long from_s, until_s;          /* validity, relative to now */
    const struct identity *issuer; /* NULL: a CA, signed by itself */
};

/* Fails the test when it cannot. Free with identity_free. */
struct identity identity_make(const struct identity_settings *settings);
void identity_free(struct identity *identity);

/* As DIR/NAME.pem and DIR/NAME.key. */
void identity_write(const struct identity *identity, const char *dir, const char *name);

#endif
