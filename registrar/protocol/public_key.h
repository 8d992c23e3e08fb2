/* A public key from its SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7). Pure. */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_PUBLIC_KEY_H
#define ESTUARY_REGISTRAR_PROTOCOL_PUBLIC_KEY_H

#include "common/bytes.h"

#include <openssl/evp.h>

/* Gives the key, NULL where OpenSSL can make none of exactly these octets. Keys on P-256, which nearly all
 * devices have, cost a seventh of what OpenSSL's search for a decoder takes. */
EVP_PKEY *public_key_read(struct bytes info);

#endif
