/* A private key that the server generated: plain PKCS#8 (284), or protected by CMS (280), as RFC 9148 section
 * 4.8 and RFC 7030 section 4.4.2 have it. */
#ifndef DEVICE_GENERATED_KEY_H
#define DEVICE_GENERATED_KEY_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "explanation.h"
#include "octets.h"

/* What a protected key can be decrypted with; all borrowed. */
struct key_decryption {
    struct view kek, kek_identifier; /* empty: none */
    const struct identity *identity; /* NULL: none */
    struct view key_identifier;      /* that the CSR named; empty: any is right */
};

/* How the key came. */
struct key_protection {
    const char *recipient;   /* "kekri", "ktri" or "kari"; NULL: it came plain */
    X509 *signer;            /* owned; whose signature over the key was verified, but not yet its chain */
    STACK_OF(X509) * others; /* owned; certificates that came with it */
};

void key_protection_clear(struct key_protection *protection);

/* Gives the key of a 284 or 280 part, which must be exactly that: PKCS#8 (neither PKCS#1 nor SEC1), or
 * EnvelopedData around SignedData around an AsymmetricKeyPackage with one key, whose signature holds. A
 * public key that does not belong to the private one in it is refused. NULL on failure; no explanation holds
 * any of it. */
EVP_PKEY *generated_key_read(int content_format, struct view part, const struct key_decryption *decryption,
                             struct key_protection *protection, struct explanation *why);

#endif
