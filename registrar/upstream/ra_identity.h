/* What the registrar proves itself by as an RA: certificate, intermediates and private key, from PEM files
 * (the key perhaps encrypted, perhaps in the same file), from a PKCS#12 file, or with the key in a token. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_RA_IDENTITY_H
#define ESTUARY_REGISTRAR_UPSTREAM_RA_IDENTITY_H

#include "common/bytes.h"

#include <openssl/x509.h>

/* Where an identity lies, and the settings' names for it. Borrowed. */
struct ra_identity_source {
    const char *certificate, *certificate_setting;
    const char *private_key, *private_key_setting;
    const char *passphrase_file; /* of the key, or the PIN of the token; "" none */
    const char *pkcs11_module;   /* "": the system's */
};

/* Owned by whoever loaded it. */
struct ra_identity {
    X509 *certificate;
    STACK_OF(X509) * intermediates; /* what stood behind the certificate, in that order */
    EVP_PKEY *key;
};

/* STATUS_OK: the key fits the certificate. Else a line in errors for each thing wrong names setting, file and
 * cure, and there is nothing to free. Files that everybody may read get a line in warnings. */
enum status ra_identity_load(const struct ra_identity_source *source, struct ra_identity *identity,
                             struct buffer *errors, struct buffer *warnings);
void ra_identity_free(struct ra_identity *identity);

#endif
