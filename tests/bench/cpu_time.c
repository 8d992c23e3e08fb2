#include "cpu_time.h"

#include <time.h>

static double read_s(clockid_t clock);

double thread_cpu_s(void)
{
    return read_s(CLOCK_THREAD_CPUTIME_ID);
}

double process_cpu_s(void)
{
    return read_s(CLOCK_PROCESS_CPUTIME_ID);
}

double wall_s(void)
{
    return read_s(CLOCK_MONOTONIC);
}

static double read_s(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}
