/* Counters of the process: lock-free, named, and kept for an operator to read. */
#ifndef ESTUARY_COMMON_METRICS_H
#define ESTUARY_COMMON_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

/* A table of names belongs to the program (registrar/counters.h names the registrar's). */
struct metrics {
    const char *const *names; /* borrowed for ever */
    unsigned count;
    _Atomic uint64_t values[];
};

/* Gives; NULL: no memory. Free with metrics_free. */
struct metrics *metrics_create(const char *const *names, unsigned count);
void metrics_free(struct metrics *metrics);

static inline void metrics_add(struct metrics *metrics, unsigned index, uint64_t amount)
{
    atomic_fetch_add_explicit(&metrics->values[index], amount, memory_order_relaxed);
}

static inline void metrics_subtract(struct metrics *metrics, unsigned index, uint64_t amount)
{
    atomic_fetch_sub_explicit(&metrics->values[index], amount, memory_order_relaxed);
}

uint64_t metrics_get(const struct metrics *metrics, unsigned index);

#endif
