/* What a registrar may send back: certs-only PKCS#7 (281), one certificate (287), several (62), CSR
 * attributes (285). */
#ifndef DEVICE_CERTIFICATE_ANSWER_H
#define DEVICE_CERTIFICATE_ANSWER_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "explanation.h"
#include "octets.h"

/* Gives the certificates of a 281, 287 or 62 payload, which must be exactly that and nothing after it: for
 * 281 SignedData without content and without signers (RFC 7030 section 4.1.3), for 287 one Certificate, for
 * 62 one 287 after the other. NULL on failure. */
STACK_OF(X509) * certificates_read(int content_format, struct view payload, struct explanation *why);

/* Borrows the one certificate of the bag whose public key is key; NULL when there is none or more than one.
 */
X509 *certificate_for_key(STACK_OF(X509) * bag, EVP_PKEY *key, struct explanation *why);

/* Names the attributes of a CsrAttrs (RFC 7030 section 4.5.2), blank-separated, into words. */
bool csrattrs_read(struct view payload, struct octets *words, struct explanation *why);

#endif
