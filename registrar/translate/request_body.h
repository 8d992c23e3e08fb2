/* A device's binary request as an HTTP body (RFC 9148 section 5, RFC 8951 section 3). */
#ifndef ESTUARY_REGISTRAR_TRANSLATE_REQUEST_BODY_H
#define ESTUARY_REGISTRAR_TRANSLATE_REQUEST_BODY_H

#include "common/bytes.h"
#include "registrar/settings.h"

/* Appends the base64 of der in the lines that settings ask for (PAY-2, PAY-3). STATUS_TOO_LARGE past
 * request_body_der_max. */
enum status request_body_encode(const struct upstream_settings *settings, struct bytes der,
                                struct buffer *body);

/* The most octets of DER that the profile's EST server takes (libest: 8192 octets of base64); SIZE_MAX: it
 * sets no limit. */
size_t request_body_der_max(const struct upstream_settings *settings);

#endif
