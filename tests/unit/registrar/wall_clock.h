/* The time of day of a test that includes this: it stands still until the test moves it, for the code under
 * test and for OpenSSL alike, which checks dates by it. Certificates are made relative to it. */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_WALL_CLOCK_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_WALL_CLOCK_H

#include <time.h>

static time_t wall_clock_s = 1700000000;

/* In the program itself it comes before that of the C library, whoever calls. */
time_t time(time_t *now_s)
{
    if (now_s != NULL)
        *now_s = wall_clock_s;
    return wall_clock_s;
}

#endif
