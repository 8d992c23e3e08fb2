/* The algorithms that protect a key on its way to a device: chosen from the SMIMECapabilities of the device's
 * CSR, in the device's order of preference (RFC 7030 section 4.4.2, RFC 8551 section 2.5.2). Pure. */
#ifndef ESTUARY_REGISTRAR_KEYGEN_PROTECTION_SUITE_H
#define ESTUARY_REGISTRAR_KEYGEN_PROTECTION_SUITE_H

#include "common/bytes.h"

#include <openssl/evp.h>

struct protection_suite {
    const EVP_CIPHER *content; /* AES in CBC mode */
    const EVP_CIPHER *wrap;    /* AES key wrap; NULL: key transport */
    int wrap_nid;
    const EVP_MD *digest; /* of the key derivation, or of OAEP; NULL: neither, or PKCS#1 v1.5 */
};

/* Whether value is in DER a SMIMECapabilities: SEQUENCE OF SEQUENCE { OBJECT IDENTIFIER, parameters }. */
bool protection_suite_is_capabilities(struct bytes value);

/* Both take such a value. STATUS_UNSUPPORTED: it names nothing that we do and that fits the key.
 * The key is wrapped, agreed on or transported only by an algorithm that is named: AES key wrap of the size
 * of the key-encryption key; dhSinglePass-stdDH with AES key wrap (RFC 5753 section 7; by AES key wrap alone
 * SHA-256 is implied, which section 8 requires of everybody); rsaEncryption or id-RSAES-OAEP (RFC 4055).
 * Where no algorithm for the content is named, it is AES-CBC as strong as the key; where one is that
 * EnvelopedData cannot use, as authenticated encryption, or that we do not do, it is not replaced. */
enum status protection_suite_for_symmetric(struct bytes capabilities, size_t kek_octets,
                                           struct protection_suite *suite);
enum status protection_suite_for_asymmetric(struct bytes capabilities, EVP_PKEY *key,
                                            struct protection_suite *suite);

#endif
