/* Key pairs and PKCS#10 certification requests (CSRs) as a device makes them (RFC 9148 section 4.3, format
 * 286). */
#ifndef DEVICE_CERTIFICATE_REQUEST_H
#define DEVICE_CERTIFICATE_REQUEST_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "explanation.h"
#include "octets.h"

struct certificate_request {
    X509_NAME *subject;                    /* borrowed */
    STACK_OF(X509_EXTENSION) * asks;       /* borrowed; the extensions asked for, NULL for none */
    STACK_OF(X509_ATTRIBUTE) * attributes; /* borrowed; further ones, NULL for none */
    EVP_PKEY *key;                         /* borrowed */
    struct view
        channel_binding; /* goes base64 into challengePassword (RFC 7030 section 3.5); empty for none */
};

/* Writes the signed request in DER to der. */
bool certificate_request_encode(const struct certificate_request *request, struct octets *der,
                                struct explanation *why);

/* Gives a fresh EC key; curve is "P-256" or "P-384". */
EVP_PKEY *fresh_key(const char *curve);

/* Gives the name written as "/CN=x/serialNumber=y" or "CN=x,serialNumber=y". */
X509_NAME *subject_read(const char *text, struct explanation *why);

/* Adds an extension written as san=dns:x, san=ip:x, san=uri:x, san=email:x, ku=VALUE, eku=VALUE, bc=VALUE;
 * several san= of one request join. Creates *asks when it is NULL. */
bool extension_read(STACK_OF(X509_EXTENSION) * *asks, const char *text, struct explanation *why);

/* Gives the extensions that a re-enrolment must repeat (RFC 7030 section 4.2.2): the subjectAltName, or none.
 */
STACK_OF(X509_EXTENSION) * extensions_to_repeat(X509 *certificate);

/* Gives the public key of a DER request that was made elsewhere. */
EVP_PKEY *certificate_request_key(struct view der, struct explanation *why);

#endif
