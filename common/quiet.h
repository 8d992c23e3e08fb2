/* A warning that many may cause: it is written once in ten seconds, with the number of those in between. */
#ifndef ESTUARY_COMMON_QUIET_H
#define ESTUARY_COMMON_QUIET_H

#include <stdbool.h>
#include <stdint.h>

#define QUIET_MS 10000

/* Zeroed, it has never spoken. Pure: time comes in. */
struct quiet {
    bool spoken;
    uint64_t spoken_ms;
    unsigned unsaid; /* since then */
};

/* Whether to speak now, and how many like it were not said since it spoke last. */
bool quiet_may_speak(struct quiet *quiet, uint64_t now_ms, unsigned *unsaid);

#endif
