/* A library context of OpenSSL that knows no algorithm: certificates and CSRs that are parsed in it keep
 * their public keys as octets.
 *
 * Elsewhere OpenSSL decodes each public key as soon as it meets one, and OpenSSL 3.0 looks through all its
 * decoders for that: it takes longer than to check a signature. */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_KEYLESS_LIBRARY_H
#define ESTUARY_REGISTRAR_PROTOCOL_KEYLESS_LIBRARY_H

#include <openssl/crypto.h>

struct keyless_library;

/* Gives; NULL: no memory. To be freed after what was parsed in it. */
struct keyless_library *keyless_library_create(void);
void keyless_library_free(struct keyless_library *library);

/* Borrows. */
OSSL_LIB_CTX *keyless_library_context(const struct keyless_library *library);

#endif
