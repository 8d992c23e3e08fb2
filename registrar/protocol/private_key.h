/* Private keys as EST servers send them: PKCS#8 (RFC 5958), or PKCS#1 (RFC 8017) and SEC1 (RFC 5915) under
 * its label, as libest's are. Pure. */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_PRIVATE_KEY_H
#define ESTUARY_REGISTRAR_PROTOCOL_PRIVATE_KEY_H

#include "common/bytes.h"

#include <openssl/x509.h>

#define PRIVATE_KEY_RSA_BITS_MAX 8192 /* a longer one takes seconds to compute with */

/* Reads a private key in one of the three forms, in strict DER with nothing behind it, and not encrypted.
 * Appends it to pkcs8: PKCS#8 octet for octet, the others wrapped in it. Gives key. STATUS_MALFORMED: it is
 * no such thing; STATUS_UNSUPPORTED: OpenSSL cannot compute with it, or we would not. pkcs8 should be locked
 * (buffer_init_locked). */
enum status private_key_read(struct bytes der, struct buffer *pkcs8, EVP_PKEY **key);

/* Whether the certificate is for this key: not just the public key that lies beside the private one is
 * compared, which could be anything, but what the key signs must verify with the certificate. STATUS_OK or
 * STATUS_MISMATCH. */
enum status private_key_check_certificate(EVP_PKEY *key, X509 *certificate);

#endif
