/* A CoAP message in fields: read and written through libcoap's codec (RFC 7252 section 3, RFC 7959 section
 * 2). */
#ifndef ESTUARY_COMMON_COAP_MESSAGE_H
#define ESTUARY_COMMON_COAP_MESSAGE_H

#include "common/bytes.h"

/* libcoap's headers define the names COAP_…; ours are spelt CM_ where they would clash. */
enum coap_message_type { CM_CON = 0, CM_NON = 1, CM_ACK = 2, CM_RST = 3 };

#define CM_CODE(class, detail) ((uint8_t)(((class) << 5) | (detail)))
#define CM_CODE_CLASS(code)    ((code) >> 5)
#define CM_CODE_DETAIL(code)   ((code)&31)

enum coap_message_code {
    CM_EMPTY = CM_CODE(0, 0),
    CM_GET = CM_CODE(0, 1),
    CM_POST = CM_CODE(0, 2),
    CM_PUT = CM_CODE(0, 3),
    CM_DELETE = CM_CODE(0, 4),
    CM_VALID = CM_CODE(2, 3),
    CM_CHANGED = CM_CODE(2, 4),
    CM_CONTENT = CM_CODE(2, 5),
    CM_CONTINUE = CM_CODE(2, 31),
    CM_BAD_REQUEST = CM_CODE(4, 0),
    CM_UNAUTHORIZED = CM_CODE(4, 1),
    CM_BAD_OPTION = CM_CODE(4, 2),
    CM_FORBIDDEN = CM_CODE(4, 3),
    CM_NOT_FOUND = CM_CODE(4, 4),
    CM_METHOD_NOT_ALLOWED = CM_CODE(4, 5),
    CM_NOT_ACCEPTABLE = CM_CODE(4, 6),
    CM_REQUEST_ENTITY_INCOMPLETE = CM_CODE(4, 8),
    CM_CONFLICT = CM_CODE(4, 9),
    CM_PRECONDITION_FAILED = CM_CODE(4, 12),
    CM_REQUEST_ENTITY_TOO_LARGE = CM_CODE(4, 13),
    CM_UNSUPPORTED_CONTENT_FORMAT = CM_CODE(4, 15),
    CM_UNPROCESSABLE_ENTITY = CM_CODE(4, 22),
    CM_TOO_MANY_REQUESTS = CM_CODE(4, 29),
    CM_INTERNAL_SERVER_ERROR = CM_CODE(5, 0),
    CM_NOT_IMPLEMENTED = CM_CODE(5, 1),
    CM_BAD_GATEWAY = CM_CODE(5, 2),
    CM_SERVICE_UNAVAILABLE = CM_CODE(5, 3),
    CM_GATEWAY_TIMEOUT = CM_CODE(5, 4),
    CM_PROXYING_NOT_SUPPORTED = CM_CODE(5, 5)
};

#define COAP_TOKEN_MAX    8
#define COAP_ETAG_MAX     8 /* octets of one */
#define COAP_ETAGS_MAX    4 /* that a request may name; more are ignored */
#define COAP_SEGMENTS_MAX 8 /* Uri-Path or Uri-Query options; one more sets too_many_segments */

/* RFC 7959 section 2.2: 2^(szx+4) octets a block; szx 7 is kept as read, for the caller to refuse. */
struct coap_block {
    bool present;
    uint32_t num;
    bool more;
    uint8_t szx;
};

struct coap_uint_option {
    bool present;
    uint32_t value;
};

/* RFC 7252 section 5.10.6. */
struct coap_etag {
    uint8_t octets[COAP_ETAG_MAX];
    uint8_t len; /* 0: there is none */
};

/* One message. Views borrow from the datagram that was parsed, or from whoever fills it in to be written.
 * A zeroed struct is an empty CON message with id 0. */
struct coap_message {
    enum coap_message_type type;
    uint8_t code;
    uint16_t id;
    uint8_t token[COAP_TOKEN_MAX];
    size_t token_len;

    struct bytes uri_path[COAP_SEGMENTS_MAX], uri_query[COAP_SEGMENTS_MAX];
    size_t uri_path_count, uri_query_count;
    bool too_many_segments;
    bool proxy;                     /* Proxy-Uri or Proxy-Scheme was there */
    uint16_t unrecognised_critical; /* number of the first such option, or a critical one repeated against
                                       RFC 7252 section 5.4.5; 0: none */
    struct coap_uint_option content_format, accept, max_age, size1, size2;
    struct coap_block block1, block2;
    struct coap_etag etags[COAP_ETAGS_MAX]; /* of a response, only the first */
    size_t etag_count;

    struct bytes payload;
    uint32_t secret_ms; /* of a response, and never on the wire: how long any copy of it may be kept, because
                           a private key is in it; 0: it is no secret */
};

/* Reads one datagram. Uri-Host, Uri-Port and elective options that we do not use are skipped; a repeated
 * elective single option counts once (RFC 7252 section 5.4.5). STATUS_MALFORMED: not version 1, a bad token
 * length, a truncated option, a payload marker without payload, an empty message with anything behind its
 * header, a reserved or signalling code class. The header fields that could be read (type, id) are filled in
 * where the datagram has at least 4 octets of version 1, so that a CON can be rejected; otherwise the type is
 * CM_NON, because such a datagram must be ignored (RFC 7252 section 3). */
enum status coap_message_parse(struct bytes datagram, struct coap_message *message);

/* Appends the wire form to datagram. Writes every field that is present, path and query included.
 * STATUS_MALFORMED: a token or an option value that the wire cannot hold; datagram's content is then
 * unchanged, as it is when its limit is reached. */
enum status coap_message_write(const struct coap_message *message, struct buffer *datagram);

/* "2.04", for logs. Writes into text, returns it. */
const char *coap_code_text(uint8_t code, char text[static 5]);

static inline bool coap_code_is_request(uint8_t code)
{
    return CM_CODE_CLASS(code) == 0 && code != CM_EMPTY;
}

static inline size_t coap_block_octets(uint8_t szx)
{
    return (size_t)1 << (szx + 4);
}

#endif
