/* A private key as PKCS#8 PrivateKeyInfo (RFC 5958), written without a stray copy: OpenSSL's own encoders
 * free theirs as they are. */
#ifndef ESTUARY_REGISTRAR_KEYGEN_PRIVATE_KEY_INFO_H
#define ESTUARY_REGISTRAR_KEYGEN_PRIVATE_KEY_INFO_H

#include "common/bytes.h"

#include <openssl/evp.h>

/* Appends the DER of an EC key on P-256, P-384 or P-521, with its public key (RFC 5915), or of an RSA key
 * (RFC 8017 appendix A.1.2). STATUS_UNSUPPORTED: a key of another type. */
enum status private_key_info_append(EVP_PKEY *key, struct buffer *der);

#endif
