/* Names for CoAP's numbers: response codes (RFC 7252 section 12.1.2) and Content-Formats (RFC 9148
 * section 8.1). */
#ifndef DEVICE_COAP_NAMES_H
#define DEVICE_COAP_NAMES_H

#include <stdint.h>

enum {
    CONTENT_FORMAT_NONE = -1,
    CONTENT_FORMAT_LINKS = 40,
    CONTENT_FORMAT_MULTIPART_CORE = 62,
    CONTENT_FORMAT_PROTECTED_KEY = 280,
    CONTENT_FORMAT_CERTS_ONLY = 281,
    CONTENT_FORMAT_PKCS8 = 284,
    CONTENT_FORMAT_CSRATTRS = 285,
    CONTENT_FORMAT_PKCS10 = 286,
    CONTENT_FORMAT_PKIX_CERT = 287,
};

/* "Not Found" for 4.04, "unassigned code" for one that nobody defined. */
const char *coap_code_name(uint8_t code);

struct coap_code_text {
    char text[8];
};

/* "4.04" for the octet 0x84. */
struct coap_code_text coap_code_dotted(uint8_t code);

/* "certs-only" for 281; "none" for CONTENT_FORMAT_NONE. */
const char *content_format_name(int content_format);

#endif
