#include "common/metrics.h"

#include <stdlib.h>

struct metrics *metrics_create(const char *const *names, unsigned count)
{
    struct metrics *metrics = calloc(1, sizeof *metrics + count * sizeof metrics->values[0]);
    if (metrics == NULL)
        return NULL;
    metrics->names = names;
    metrics->count = count;
    return metrics;
}

void metrics_free(struct metrics *metrics)
{
    free(metrics);
}

uint64_t metrics_get(const struct metrics *metrics, unsigned index)
{
    return atomic_load_explicit(&metrics->values[index], memory_order_relaxed);
}
