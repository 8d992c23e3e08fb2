/* application/multipart-core (RFC 8710): a CBOR array of Content-Formats and representations (MP-1, MP-2). */
#ifndef ESTUARY_REGISTRAR_TRANSLATE_MULTIPART_CORE_H
#define ESTUARY_REGISTRAR_TRANSLATE_MULTIPART_CORE_H

#include "common/bytes.h"

#define MULTIPART_CORE_PARTS_MAX 16

struct multipart_core_part {
    uint16_t content_format; /* any number, not only those that we know */
    bool is_null;            /* null stands in the place of a representation */
    struct bytes content;    /* borrowed */
};

struct multipart_core {
    struct multipart_core_part parts[MULTIPART_CORE_PARTS_MAX];
    size_t count;
};

/* Appends the array: definite lengths, shortest heads, in the order of the parts. */
enum status multipart_core_write(const struct multipart_core *message, struct buffer *octets);

/* Reads one. STATUS_MALFORMED: no array, an odd number of items, a Content-Format that is no unsigned integer
 * of 16 bits, a part that is neither a byte string in one piece nor null, a length past the end, octets
 * behind it. STATUS_TOO_LARGE: more parts than there is room for. Borrows from octets. */
enum status multipart_core_read(struct bytes octets, struct multipart_core *message);

#endif
