/* PKCS#7 certs-only messages (RFC 5652 degenerate SignedData; RFC 7030 sections 4.1.3 and 4.2.3). */
#ifndef ESTUARY_REGISTRAR_TRANSLATE_CERTS_ONLY_H
#define ESTUARY_REGISTRAR_TRANSLATE_CERTS_ONLY_H

#include "common/bytes.h"
#include "registrar/protocol/certificate_request.h"
#include "registrar/settings.h"

#include <openssl/x509.h>

struct certs_only;

/* Strict: SignedData with at least one certificate and no signer, nothing behind it; else STATUS_MALFORMED.
 * Gives. */
enum status certs_only_parse(struct bytes der, struct certs_only **certs);

/* The same for what was issued for a CSR, in its library context. That may be one without keys
 * (keyless_library): then certs_only_find_for finds a certificate, and no other function does. */
enum status certs_only_parse_for(const struct certificate_request *csr, struct bytes der,
                                 struct certs_only **certs);
void certs_only_free(struct certs_only *certs);

/* One after the other; NULL past the end. Borrows. */
X509 *certs_only_at(const struct certs_only *certs, size_t index);

/* The certificate with this public key: STATUS_OK and a borrowed one, or STATUS_MISMATCH. */
enum status certs_only_find(const struct certs_only *certs, EVP_PKEY *key, X509 **certificate);

/* The same with the CSR's public key. */
enum status certs_only_find_for(const struct certs_only *certs, const struct certificate_request *csr,
                                X509 **certificate);

/* The one certificate that is no CA's, or the only one at all; STATUS_MISMATCH where there is not exactly
 * one. Borrows. */
enum status certs_only_choose_device(const struct certs_only *certs, X509 **certificate);

/* Appends a certificate's serial number in hexadecimal (SEC-2). */
void certs_only_append_serial(const X509 *certificate, struct buffer *serial);

#define CERTS_ONLY_CAS_MAX 16 /* that are put in order: it takes a signature check for every pair */

/* The CA certificates in the order of their hierarchy (CF-7): the CA that issues client certificates, the one
 * above it, and so on, then those that are not above it, as they come. A single certificate is taken for a
 * CA's. Gives their number; borrows. STATUS_UNSUPPORTED: which one issues cannot be told, or there are more
 * than CERTS_ONLY_CAS_MAX certificates. */
enum status certs_only_order_cas(const struct certs_only *certs, X509 *ordered[static CERTS_ONLY_CAS_MAX],
                                 size_t *count);

/* The one certificate that stands for all of /crts as 287 (CF-6): the only one; or by policy the CA that
 * issues client certificates or the root where that is unambiguous; else STATUS_UNSUPPORTED. Borrows. */
enum status certs_only_choose_ca(const struct certs_only *certs, enum est_crts_287 policy,
                                 X509 **certificate);

#endif
