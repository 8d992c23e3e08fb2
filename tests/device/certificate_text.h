/* A certificate's fields as texts. */
#ifndef DEVICE_CERTIFICATE_TEXT_H
#define DEVICE_CERTIFICATE_TEXT_H

#include <openssl/x509.h>

struct certificate_text {
    char subject[256]; /* RFC 4514 */
    char issuer[256];
    char serial[64];     /* hexadecimal */
    char not_before[24]; /* 2026-01-31T12:00:00Z */
    char not_after[24];
    char key[32]; /* "P-256" */
};

void certificate_in_words(struct certificate_text *text, const X509 *certificate);

#endif
