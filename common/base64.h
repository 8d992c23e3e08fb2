/* Base64 as EST uses it (RFC 4648 section 4, RFC 8951 section 3). */
#ifndef ESTUARY_COMMON_BASE64_H
#define ESTUARY_COMMON_BASE64_H

#include "common/bytes.h"

enum base64_lines {
    BASE64_ONE_LINE, /* no line end at all */
    BASE64_64_LF,    /* 64 columns, every line ended by LF, the last one too */
    BASE64_64_CRLF   /* 64 columns, every line ended by CRLF, the last one too */
};

/* Appends the padded encoding of octets to text. */
void base64_encode(struct bytes octets, enum base64_lines lines, struct buffer *text);

/* How long the encoding of so many octets is. */
size_t base64_encoded_length(size_t octets, enum base64_lines lines);

/* Appends the octets that text stands for. CR, LF, SP and TAB are ignored anywhere (RFC 8951 section 3.1);
 * any other octet outside the alphabet, wrong padding, non-zero trailing bits or anything after the padding
 * is STATUS_MALFORMED, and octets is then unchanged in content and length. */
enum status base64_decode(struct bytes text, struct buffer *octets);

#endif
