/* A token bucket that holds one second's worth (JP-10, JPR-6). Pure: time comes in. */
#ifndef ESTUARY_COMMON_RATE_LIMIT_H
#define ESTUARY_COMMON_RATE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

/* A zeroed one fills up before its first use, if the clock says a second or more. */
struct rate_limit {
    uint64_t filled_ms; /* when thousandths was last right */
    uint64_t thousandths;
};

/* Whether amount fits now at this rate; nothing is taken yet. */
bool rate_limit_has(struct rate_limit *limit, uint32_t per_s, uint32_t amount, uint64_t now_ms);

/* Takes what rate_limit_has found at the same moment. */
void rate_limit_take(struct rate_limit *limit, uint32_t amount);

#endif
