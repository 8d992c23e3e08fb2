/* Threads that leave signals to the main thread. */
#ifndef ESTUARY_COMMON_THREAD_H
#define ESTUARY_COMMON_THREAD_H

#include "common/status.h"

#include <pthread.h>

/* Starts run(user) with every signal blocked. STATUS_SYSTEM with errno; *thread counts with STATUS_OK only.
 */
enum status thread_start(pthread_t *thread, void *(*run)(void *user), void *user);

#endif
