/* Base64 (RFC 4648 section 4) as EST carries it, in the line forms that servers are known to use. */
#ifndef EST_SERVER_BASE64_TEXT_H
#define EST_SERVER_BASE64_TEXT_H

#include "octets.h"

#include <stdbool.h>

struct base64_lines {
    unsigned columns;    /* characters a line, 0: all in one line */
    const char *between; /* lines */
    const char *end;     /* after the last one */
};

/* Appends text to out. */
void base64_text_write(struct octets octets, const struct base64_lines *lines, struct evbuffer *out);

/* Appends octets to out; white space is skipped (RFC 8951 section 3.1). False for any other character, for
   missing or wrong padding, and for bits that padding leaves over. */
bool base64_text_read(struct octets text, struct evbuffer *out);

#endif
