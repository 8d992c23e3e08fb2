/* The files that an enrolment leaves behind. */
#ifndef DEVICE_OUTPUT_FILE_H
#define DEVICE_OUTPUT_FILE_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "explanation.h"
#include "octets.h"

/* Each replaces the file as a whole, or leaves it as it was. */
bool write_certificate(const char *path, X509 *certificate, struct explanation *why);
bool write_certificates(const char *path, STACK_OF(X509) * certificates, struct explanation *why);
bool write_octets(const char *path, struct view octets, struct explanation *why);

/* Mode 0600, PKCS#8. */
bool write_private_key(const char *path, EVP_PKEY *key, struct explanation *why);

#endif
