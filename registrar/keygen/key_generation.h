/* A key that the registrar makes for a device, and the CSR that asks the EST server for its certificate (RFC
 * 9148 sections 4.8 and 5, SKG-5). */
#ifndef ESTUARY_REGISTRAR_KEYGEN_KEY_GENERATION_H
#define ESTUARY_REGISTRAR_KEYGEN_KEY_GENERATION_H

#include "common/bytes.h"
#include "registrar/keygen/key_type.h"

#include <openssl/evp.h>

struct certificate_request;

/* The private key lies in OpenSSL's secure heap, which is locked memory, if the process has set one up
 * (CRYPTO_secure_malloc_init); it is overwritten when it is freed. */
struct generated_key;

/* Makes a key of that type, and the CSR that asks for its certificate: the subject, extensions and other
 * attributes of the device's CSR, but neither challengePassword, (Asymmetric)DecryptKeyIdentifier and
 * SMIMECapabilities nor a subjectKeyIdentifier, which would be that of another key; signed with the new key.
 * Takes as long as key_type_generate. Safe in any thread. Gives; free with key_generation_free. */
enum status key_generation_make(const struct certificate_request *device_csr, enum key_type type,
                                const atomic_bool *abandoned, struct generated_key **key);
void key_generation_free(struct generated_key *key);

struct bytes key_generation_csr(const struct generated_key *key); /* DER; borrows */
EVP_PKEY *key_generation_key(const struct generated_key *key);    /* borrows */

/* Appends the key's PrivateKeyInfo in DER (RFC 5958). No copy but this one stays behind: let it
 * be a locked buffer, and wipe it. */
enum status key_generation_pkcs8(const struct generated_key *key, struct buffer *pkcs8);

#endif
