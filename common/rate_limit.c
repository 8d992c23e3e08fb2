#include "common/rate_limit.h"

#define SECOND_MS 1000

bool rate_limit_has(struct rate_limit *limit, uint32_t per_s, uint32_t amount, uint64_t now_ms)
{
    uint64_t full = (uint64_t)per_s * SECOND_MS;
    uint64_t elapsed_ms = now_ms - limit->filled_ms;
    if (elapsed_ms >= SECOND_MS || limit->thousandths + elapsed_ms * per_s > full)
        limit->thousandths = full;
    else
        limit->thousandths += elapsed_ms * per_s;
    limit->filled_ms = now_ms;
    return limit->thousandths >= (uint64_t)amount * SECOND_MS;
}

void rate_limit_take(struct rate_limit *limit, uint32_t amount)
{
    limit->thousandths -= (uint64_t)amount * SECOND_MS;
}
