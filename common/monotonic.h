/* The clock of the event loops. Modules that count time take it as an argument, so that tests can inject it.
 */
#ifndef ESTUARY_COMMON_MONOTONIC_H
#define ESTUARY_COMMON_MONOTONIC_H

#include <stdint.h>

#define MONOTONIC_NEVER UINT64_MAX

/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t monotonic_ms(void);

#endif
