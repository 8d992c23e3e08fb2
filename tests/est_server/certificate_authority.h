/* A certification authority that signs whatever it is asked to. That is deliberate: what must be refused, the
   registrar under test must refuse (RE-7). */
#ifndef EST_SERVER_CERTIFICATE_AUTHORITY_H
#define EST_SERVER_CERTIFICATE_AUTHORITY_H

#include <openssl/x509.h>

struct certificate_authority;

/* Reads PEM files; NULL after a message to stderr. Certificates will be valid for validity_s seconds. */
struct certificate_authority *certificate_authority_create(const char *certificate, const char *private_key,
                                                           long validity_s);
/* Gives an authority of its own new key and self-signed certificate. */
struct certificate_authority *certificate_authority_create_root(const char *common_name, long validity_s);
void certificate_authority_free(struct certificate_authority *authority);

/* Borrows. */
X509 *certificate_authority_certificate(const struct certificate_authority *authority);

/* Gives a certificate for key with the subject and all extensions that request asks for; where it asks for no
   keyUsage, digitalSignature. NULL if OpenSSL can not. */
X509 *certificate_authority_issue(const struct certificate_authority *authority, X509_REQ *request,
                                  const X509_PUBKEY *key);

#endif
