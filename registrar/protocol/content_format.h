/* CoAP Content-Format numbers of EST-coaps and the HTTP media types they stand for (RFC 9148 section 8.1). */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_CONTENT_FORMAT_H
#define ESTUARY_REGISTRAR_PROTOCOL_CONTENT_FORMAT_H

#include "common/bytes.h"

enum content_format {
    CONTENT_FORMAT_LINK = 40,           /* application/link-format */
    CONTENT_FORMAT_MULTIPART_CORE = 62, /* RFC 8710 */
    CONTENT_FORMAT_SERVER_KEY = 280,    /* application/pkcs7-mime;smime-type=server-generated-key */
    CONTENT_FORMAT_CERTS_ONLY = 281,    /* application/pkcs7-mime;smime-type=certs-only */
    CONTENT_FORMAT_PKCS8 = 284,
    CONTENT_FORMAT_CSRATTRS = 285,
    CONTENT_FORMAT_PKCS10 = 286,
    CONTENT_FORMAT_ONE_CERT = 287, /* application/pkix-cert */
    CONTENT_FORMAT_NONE = 0xffff   /* no payload, or a diagnostic one */
};

/* Whether an HTTP Content-Type value means format: names compare ignoring case, parameters may be quoted and
 * in any order, and for 281 a missing smime-type is accepted (RFC 7030 section 4.1.3; real servers leave it
 * out), another one is not. */
bool content_format_matches_media_type(enum content_format format, struct bytes content_type);

#endif
