/* A PKCS#10 certification request: strictly decoded, questioned, never changed (RFC 2986, POP-7). */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_CERTIFICATE_REQUEST_H
#define ESTUARY_REGISTRAR_PROTOCOL_CERTIFICATE_REQUEST_H

#include "common/bytes.h"

#include <openssl/x509.h>

struct certificate_request;

/* Decodes der. STATUS_MALFORMED: not exactly one DER CertificationRequest (BER, trailing octets), or a key or
 * attribute that cannot be read, a curve without a name among them. Copies what it needs. Gives; free with
 * certificate_request_free. */
enum status certificate_request_parse(struct bytes der, struct certificate_request **request);
void certificate_request_free(struct certificate_request *request);

/* The same for server-side key generation, where the values of the public key are ignored (RFC 9148 section
 * 4.8, SKG-2): one that cannot be read is no fault, and certificate_request_key gives NULL for it. */
enum status certificate_request_parse_keyless(struct bytes der, struct certificate_request **request);

/* Either of them, in a library context of OpenSSL; one that keeps keys as octets (keyless_library) saves it a
 * search. Borrows library for as long as the request lives. */
enum status certificate_request_parse_in(OSSL_LIB_CTX *library, bool is_keyless, struct bytes der,
                                         struct certificate_request **request);
OSSL_LIB_CTX *certificate_request_library(const struct certificate_request *request); /* borrows */

/* Checks the self-signature (PAY-10). STATUS_UNTRUSTED when it does not verify. */
enum status certificate_request_verify(const struct certificate_request *request);

struct bytes certificate_request_der(const struct certificate_request *request);   /* as it came; borrows */
X509_NAME *certificate_request_subject(const struct certificate_request *request); /* borrows */
EVP_PKEY *certificate_request_key(const struct certificate_request *request);      /* borrows */

/* All of subjectPKInfo, in DER. Borrows. */
struct bytes certificate_request_key_info(const struct certificate_request *request);

/* The requested extensions, NULL: none. Borrows. */
const STACK_OF(X509_EXTENSION) * certificate_request_extensions(const struct certificate_request *request);

/* Whether it carries ChangeSubjectName (RFC 6402 section 2.8): then the certificate is to bear other names
 * than the CSR's subject and subjectAltName. */
bool certificate_request_changes_name(const struct certificate_request *request);

/* The content octets of subjectPKInfo's AlgorithmIdentifier: an object identifier, and parameters if any (RFC
 * 5280 section 4.1.1.2). Borrows. */
struct bytes certificate_request_key_algorithm(const struct certificate_request *request);

/* The attributes in their order, each a whole Attribute in DER. Gives their number; borrows. */
size_t certificate_request_attributes(const struct certificate_request *request,
                                      const struct bytes **attributes);

/* The one value, in DER, of the attribute whose type has these content octets. STATUS_NOT_FOUND: the CSR has
 * no such attribute; STATUS_MALFORMED: it stands twice, or has no value or several. Borrows. */
enum status certificate_request_attribute(const struct certificate_request *request, struct bytes type,
                                          struct bytes *value);

/* The text of challengePassword (1.2.840.113549.1.9.7). False: the CSR has none. Borrows. */
bool certificate_request_challenge_password(const struct certificate_request *request, struct bytes *text);

/* SHA-256 of the whole CSR as it came. STATUS_CRYPTO. */
enum status certificate_request_fingerprint(const struct certificate_request *request,
                                            uint8_t digest[static 32]);

/* SHA-256 of the DER CertificationRequestInfo with its challengePassword attribute left out (DLY-4). */
enum status certificate_request_digest(const struct certificate_request *request, uint8_t digest[static 32]);

/* What a CSR may never ask for through an RA (RE-7): CA:TRUE, keyCertSign, cRLSign, an EKU of cmcRA, cmcCA or
 * any, the other extensions that only CA certificates have (RFC 5280 section 4.2.1), the EKUs by which a CA
 * delegates its own authority (OCSPSigning, cmcArchive, cmKGA, Microsoft's enrollmentAgent), and Microsoft's
 * extensions for certificate template, application policies and account. Gives the name of the first such
 * thing ("basicConstraints CA:TRUE"), a static string, or NULL when there is none. An extension that cannot
 * be decoded, and an extension or attribute that stands twice, count as one. */
const char *certificate_request_forbidden_power(const struct certificate_request *request);

#endif
