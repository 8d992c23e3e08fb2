/* A key that the registrar makes for a device, and the CSR that asks the EST server for its certificate (RFC
 * 9148 sections 4.8 and 5, SKG-5). */
#ifndef ESTUARY_REGISTRAR_KEYGEN_KEY_GENERATION_H
#define ESTUARY_REGISTRAR_KEYGEN_KEY_GENERATION_H

#include "common/bytes.h"

#include <openssl/evp.h>

struct certificate_request;

/* The private key lies in OpenSSL's secure heap, which is locked memory, if the process has set one up
 * (CRYPTO_secure_malloc_init); it is overwritten when it is freed. */
struct generated_key;

/* Makes a key for a device's CSR, of the type that the algorithm of the CSR's own public key names: P-256,
 * P-384, P-521, or RSA of 2048, 3072 or 4096 bits. For any other type csrattrs decides, the DER CsrAttrs of
 * the EST server, which may be empty (RFC 8951 section 3.4); if that asks for none of these, P-256.
 * Then makes the CSR: the subject, extensions and other attributes of the device's CSR, but neither
 * challengePassword, (Asymmetric)DecryptKeyIdentifier and SMIMECapabilities nor a subjectKeyIdentifier, which
 * would be that of another key; signed with the new key.
 * An elliptic curve takes below a millisecond, RSA of 4096 bits can take seconds. Safe in any thread. Gives;
 * free with key_generation_free. */
enum status key_generation_make(const struct certificate_request *device_csr, struct bytes csrattrs,
                                struct generated_key **key);
void key_generation_free(struct generated_key *key);

struct bytes key_generation_csr(const struct generated_key *key); /* DER; borrows */
EVP_PKEY *key_generation_key(const struct generated_key *key);    /* borrows */

/* Appends the key's PrivateKeyInfo in DER (RFC 5958). No copy but this one stays behind: let it
 * be a locked buffer, and wipe it. */
enum status key_generation_pkcs8(const struct generated_key *key, struct buffer *pkcs8);

#endif
