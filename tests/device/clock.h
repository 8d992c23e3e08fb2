/* The time that deadlines are made of. */
#ifndef DEVICE_CLOCK_H
#define DEVICE_CLOCK_H

#include <stdint.h>

/* Milliseconds since some moment before the program started; never goes back. */
int64_t monotonic_ms(void);

#endif
