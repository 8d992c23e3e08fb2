/* An EST server's HTTP body as a device's binary representation: decoded, checked, in the format asked for.
 */
#ifndef ESTUARY_REGISTRAR_TRANSLATE_RESPONSE_BODY_H
#define ESTUARY_REGISTRAR_TRANSLATE_RESPONSE_BODY_H

#include "common/bytes.h"
#include "registrar/protocol/certificate_request.h"
#include "registrar/protocol/est_operation.h"
#include "registrar/settings.h"

/* What a response was asked for. */
struct response_context {
    const struct est_operation *operation;
    const struct settings *settings;
    const struct certificate_request *csr; /* NULL for GETs */
};

/* Checks type and base64 of a 200 body and appends the DER it stands for (PAY-4 to PAY-9): certs-only with at
 * least one certificate and nothing behind it, for enrolments one whose key is the CSR's; csrattrs one
 * SEQUENCE; for /skg and /skc a key and its certificate (key_answer_decode); a counted NUL behind libest's
 * base64 tolerated under that profile only. Of an enrolment, the issued certificate's serial number is
 * appended to serial as response_body_serial does, unless that is NULL. STATUS_MALFORMED,
 * STATUS_MISMATCH, STATUS_FORBIDDEN (a key that is not protected as the CSR asks): 5.02. */
enum status response_body_decode(const struct response_context *context, struct bytes content_type,
                                 struct bytes body, struct buffer *der, struct buffer *serial);

/* Appends der, a result of response_body_decode, in the format asked for: as it is (281, 285), CSR attributes
 * with challengePassword among them where PoP is required (POP-8), its one certificate (287; CF-5, CF-6), or
 * all CA certificates in the order of their hierarchy (62; CF-7). STATUS_UNSUPPORTED: 4.06. */
enum status response_body_present(const struct response_context *context, enum content_format format,
                                  struct bytes der, struct buffer *representation);

/* What stands for a 204 answer to a GET (Q6, POP-8): appends the representation, if any, and returns the CoAP
 * code.
 */
uint8_t response_body_none(const struct est_operation *operation, const struct est_settings *settings,
                           struct buffer *representation);

/* Appends the serial number of the certificate that was issued for csr, in hexadecimal, for the audit line
 * (SEC-2). To parse der for it costs as much as a tenth of an enrolment: where the response is just being
 * decoded, response_body_decode has it for nothing. */
void response_body_serial(struct bytes der, const struct certificate_request *csr, struct buffer *serial);

#endif
