/* The multipart-core answer to a server-side key generation request (RFC 9148 section 4.8), or something
 * close to one. */
#ifndef FAKE_KEY_ANSWER_H
#define FAKE_KEY_ANSWER_H

#include "ca.h"

/* The key-encryption key behind every DecryptKeyIdentifier. */
#define FAKE_KEK "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"

enum key_fault {
    KEY_FAULTLESS,
    KEY_LAST,      /* the certificate comes first, which is no fault */
    KEY_WRAPPED,   /* a ContentInfo in the envelope, which some write */
    KEY_PLAIN,     /* although the CSR wants it encrypted */
    KEY_ENCRYPTED, /* although the CSR does not */
    KEY_SEC1,      /* ECPrivateKey instead of PKCS#8 */
    KEY_MISMATCH,  /* a PKCS#8 whose public key is another's */
    KEY_UNSIGNED,  /* no SignedData in the envelope */
    KEY_ALTERED,   /* the signature is over another key */
    KEY_ALONE      /* no certificate */
};

struct key_order { /* all borrowed */
    X509_REQ *csr;
    EVP_PKEY *key;
    const struct ca *signer;
    X509 *client; /* that it is encrypted to, for an AsymmetricDecryptKeyIdentifier */
    unsigned certificate_format;
    const uint8_t *certificate;
    size_t certificate_length;
    enum key_fault fault;
};

/* Gives the octets (OPENSSL_free), 0 on failure. */
size_t key_answer_encode(const struct key_order *order, uint8_t **octets);

#endif
