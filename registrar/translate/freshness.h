/* How long an HTTP response stays fresh for a shared cache (RFC 9111 section 4.2; RSP-4). */
#ifndef ESTUARY_REGISTRAR_TRANSLATE_FRESHNESS_H
#define ESTUARY_REGISTRAR_TRANSLATE_FRESHNESS_H

#include "common/bytes.h"

/* Values of the response's header fields; empty when absent. */
struct freshness_fields {
    struct bytes cache_control, age, expires, date;
};

struct freshness {
    uint32_t seconds;
    bool may_be_stale; /* section 4.2.4: whether it may be served beyond that while the EST server is down */
};

/* What is left of s-maxage, else of max-age, else of Expires (counted from Date, or from now_unix without
 * one); 0 with no-store, no-cache or private, or where they cannot be read; never more than max_s, which is
 * also what stands where the EST server says nothing. no-store, no-cache, private, must-revalidate,
 * proxy-revalidate and s-maxage forbid to serve it stale. */
struct freshness freshness_judge(const struct freshness_fields *fields, int64_t now_unix, uint32_t max_s);

#endif
