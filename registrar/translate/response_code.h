/* HTTP status to CoAP code, and how long to wait (RFC 9148 section 4.5, RFC 8075 section 7; requirements A8,
 * RSP-1 to RSP-3). */
#ifndef ESTUARY_REGISTRAR_TRANSLATE_RESPONSE_CODE_H
#define ESTUARY_REGISTRAR_TRANSLATE_RESPONSE_CODE_H

#include "common/bytes.h"

enum http_disposition {
    HTTP_SUCCESS, /* 200: the body decides whether it is code */
    HTTP_NOTHING, /* 204 to a GET: there is none; code, or what response_body_none says (Q6) */
    HTTP_RETRY,   /* answer code with Max-Age from Retry-After */
    HTTP_ANSWER   /* answer code */
};

struct http_mapping {
    enum http_disposition disposition;
    uint8_t code;
    bool may_have_issued; /* the EST server may have acted upon a POST with this outcome all the same */
};

/* method is CM_GET or CM_POST; has_retry_after matters for 423. Defined for every number. */
struct http_mapping response_code_map(unsigned http_status, uint8_t method, bool has_retry_after);

/* Seconds that Retry-After asks for: delta-seconds, or an HTTP-date relative to the response's Date (or to
 * now, Unix seconds, where there is none); fallback where it is absent (empty view) or garbage; clamped to 1
 * … max. */
uint32_t retry_after_seconds(struct bytes retry_after, struct bytes date, int64_t now_unix, uint32_t fallback,
                             uint32_t max);

/* Appends at most 128 octets of UTF-8 for a diagnostic payload: only from text/plain or untyped bodies,
 * control octets become single blanks, cut at a character. Anything else appends nothing (RSP-3). */
void response_diagnostic(struct bytes content_type, struct bytes body, struct buffer *diagnostic);

#endif
