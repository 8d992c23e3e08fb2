/* A generated key in the form that its device asked for: which form that is, and the CMS that protects it
 * (RFC 7030 sections 4.4.1 and 4.4.2, RFC 5958 section 4). */
#ifndef ESTUARY_REGISTRAR_KEYGEN_KEY_PACKAGE_H
#define ESTUARY_REGISTRAR_KEYGEN_KEY_PACKAGE_H

#include "common/bytes.h"

#include <openssl/x509.h>

struct certificate_request;
struct generated_key;
struct key_directory;

/* What a CSR wants of its key (SKG-3): SMIMECapabilities, and one of DecryptKeyIdentifier and
 * AsymmetricDecryptKeyIdentifier. */
enum key_wish {
    KEY_WISH_PLAIN,             /* none of them */
    KEY_WISH_SYMMETRIC,         /* SMIMECapabilities and DecryptKeyIdentifier */
    KEY_WISH_ASYMMETRIC,        /* SMIMECapabilities and AsymmetricDecryptKeyIdentifier */
    KEY_WISH_HALF_CAPABILITIES, /* SMIMECapabilities alone: a plain key (RFC 9148 section 4.8) */
    KEY_WISH_UNCLEAR, /* SMIMECapabilities with both, or with what cannot be read: 4.00, never a plain key */
    KEY_WISH_REFUSED  /* an identifier without SMIMECapabilities, or these alone but unreadable: 4.00 */
};

enum key_wish key_package_wish(const struct certificate_request *csr);

/* Who has generated the key: the registrar, by the certificate that its devices know. Borrows. */
struct key_package_signer {
    X509 *certificate;
    EVP_PKEY *key;
};

/* What key_package_protect would come to for want of a key or an algorithm, before there is a key to protect.
 */
enum status key_package_check(const struct key_directory *directory, const struct certificate_request *csr);

/* Appends EnvelopedData(SignedData(AsymmetricKeyPackage)) in DER, for the device that sent csr, whose wish is
 * symmetric or asymmetric: signed by the registrar, which generated the key, and encrypted to the device's
 * key in directory.
 * STATUS_NOT_FOUND: no such key, or directory is NULL; STATUS_UNSUPPORTED: no algorithm in common with
 * SMIMECapabilities; STATUS_MALFORMED: the wish is none of those two. There is never a plain key: on failure
 * nothing is appended. */
enum status key_package_protect(const struct key_directory *directory, const struct certificate_request *csr,
                                const struct generated_key *key, const struct key_package_signer *signer,
                                struct buffer *cms);

#endif
