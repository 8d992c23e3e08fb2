/* The certificates and keys that an operator names in PEM files: read, and looked at for what will hurt
 * later. */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_PEM_FILE_H
#define ESTUARY_REGISTRAR_PROTOCOL_PEM_FILE_H

#include "common/bytes.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

/* A file as the configuration names it. Borrows. */
struct pem_file {
    const char *setting; /* the JSON path, "dtls.certificate" */
    const char *name;
};

/* Each gives what the file holds, at least one certificate or exactly one key without a passphrase; otherwise
 * NULL, and a line in errors says which file, what is wrong and the cure. Threads may share the certificates:
 * what OpenSSL would work out at first use is worked out. */
STACK_OF(X509) * pem_file_certificates(const struct pem_file *file, struct buffer *errors);
EVP_PKEY *pem_file_private_key(const struct pem_file *file, struct buffer *errors);

/* Appends "SETTING: "FILE" " and what the format says, and a line end. */
void pem_file_say(const struct pem_file *file, struct buffer *lines, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Appends a line when certificate is not valid now, or will not be in 30 days. */
void pem_file_warn_of_validity(const struct pem_file *file, const X509 *certificate, struct buffer *warnings);

/* Whether the extended key usage of certificate names the purpose with this NID. */
bool pem_certificate_names_purpose(const X509 *certificate, int nid);

#endif
