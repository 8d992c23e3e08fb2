/* The types of key that the registrar makes for devices, and which one is asked for (RFC 9148 section 4.8,
 * SKG-5). */
#ifndef ESTUARY_REGISTRAR_KEYGEN_KEY_TYPE_H
#define ESTUARY_REGISTRAR_KEYGEN_KEY_TYPE_H

#include "common/bytes.h"
#include "registrar/settings.h"

#include <openssl/evp.h>

#include <stdatomic.h>

struct certificate_request;

/* That of the CSR's own public key (RFC 7030 section 4.4); an RSA key whose size cannot be read counts as one
 * of 2048 bits. False: it is none of ours, and type is left alone. */
bool key_type_of_request(const struct certificate_request *csr, enum key_type *type);

/* The first that CsrAttrs in DER ask for (RFC 8951 section 3.4, RFC 9908 section 5). False: they ask for none
 * of ours, or are none, and type is left alone. */
bool key_type_of_csrattrs(struct bytes csrattrs, enum key_type *type);

/* Makes a key. A curve takes below a millisecond, RSA of 4096 bits can take seconds, or until abandoned is
 * set (NULL: never). Gives; NULL: failure. */
EVP_PKEY *key_type_generate(enum key_type type, const atomic_bool *abandoned);

/* The digest to sign with, as strong as the key. */
const EVP_MD *key_type_digest(enum key_type type);

#endif
