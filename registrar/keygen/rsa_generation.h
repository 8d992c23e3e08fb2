/* Makes RSA keys, which takes seconds, until nobody wants them any more. */
#ifndef ESTUARY_REGISTRAR_KEYGEN_RSA_GENERATION_H
#define ESTUARY_REGISTRAR_KEYGEN_RSA_GENERATION_H

#include <openssl/evp.h>

#include <stdatomic.h>

/* abandoned may be set by another thread, and is heeded within milliseconds, as long as a test of one
 * candidate for a prime takes; NULL: never. Gives; NULL: failure, or abandoned. */
EVP_PKEY *rsa_generation_make(int bits, const atomic_bool *abandoned);

#endif
