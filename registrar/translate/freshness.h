/* How long an HTTP response stays fresh for a shared cache (RFC 9111 section 4.2; RSP-4). */
#ifndef ESTUARY_REGISTRAR_TRANSLATE_FRESHNESS_H
#define ESTUARY_REGISTRAR_TRANSLATE_FRESHNESS_H

#include "common/bytes.h"

/* Seconds, from the values of Cache-Control and Age, which are empty when absent: what is left of s-maxage or
 * else max-age; 0 with no-store, no-cache or private, or where they cannot be read; never more than max_s,
 * which is also what stands where the EST server says nothing. */
uint32_t freshness_seconds(struct bytes cache_control, struct bytes age, uint32_t max_s);

#endif
