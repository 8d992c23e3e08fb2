/* application/multipart-core (RFC 8710): a CBOR array of Content-Formats and representations in turn. */
#ifndef DEVICE_MULTIPART_CORE_H
#define DEVICE_MULTIPART_CORE_H

#include "explanation.h"
#include "octets.h"

enum { MULTIPART_CORE_PARTS = 16 };

struct multipart_core {
    struct {
        int content_format;
        bool is_null; /* a part that is not there (RFC 8710 section 2) */
        struct view content;
    } parts[MULTIPART_CORE_PARTS];
    size_t count;
};

/* Reads the payload, which must be exactly one such array; the parts borrow from it. False, and why: no
 * array, or one of indefinite length, an odd count, a type that is no number up to 65535, a part that is
 * neither a byte string nor null, something behind the array or missing from it, more parts than we keep. */
bool multipart_core_read(struct view payload, struct multipart_core *read, struct explanation *why);

#endif
