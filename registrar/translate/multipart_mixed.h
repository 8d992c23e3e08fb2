/* multipart/mixed bodies (RFC 2046 section 5.1), as EST servers write them around a key and its certificate
 * (RFC 7030 section 4.4.2, MP-3). */
#ifndef ESTUARY_REGISTRAR_TRANSLATE_MULTIPART_MIXED_H
#define ESTUARY_REGISTRAR_TRANSLATE_MULTIPART_MIXED_H

#include "common/bytes.h"

#define MULTIPART_MIXED_PARTS_MAX       4
#define MULTIPART_MIXED_TYPE_OCTETS_MAX 255
#define MULTIPART_MIXED_BOUNDARY_MAX    70 /* RFC 2046 section 5.1.1 */

struct multipart_mixed_part {
    char content_type[MULTIPART_MIXED_TYPE_OCTETS_MAX + 1]; /* unfolded; "": the part has none */
    struct bytes body;                                      /* borrowed from the whole body */
};

struct multipart_mixed {
    struct multipart_mixed_part parts[MULTIPART_MIXED_PARTS_MAX];
    size_t count;
};

/* Takes a body apart. content_type is the HTTP field: multipart/mixed with a boundary, whose name is in any
 * case and whose value may be quoted. Preamble and epilogue are ignored, lines end in CRLF or LF, names of
 * fields are in any case, and fields may be folded. STATUS_UNSUPPORTED: not multipart/mixed.
 * STATUS_MALFORMED: no good boundary, no part, no closing delimiter, or a part whose header has no end or two
 * Content-Types. STATUS_TOO_LARGE: more parts, or a longer Content-Type, than there is room for. */
enum status multipart_mixed_parse(struct bytes content_type, struct bytes body,
                                  struct multipart_mixed *message);

#endif
