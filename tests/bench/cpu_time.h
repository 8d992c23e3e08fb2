/* What a program prints at its end: time that passed, and processor time that it used. */
#ifndef BENCH_CPU_TIME_H
#define BENCH_CPU_TIME_H

#include <stdint.h>

double thread_cpu_s(void);  /* user and system time of the calling thread */
double process_cpu_s(void); /* of all threads of this process */
double wall_s(void);        /* monotonic */

#endif
