/* What becomes of memory that OpenSSL and libcurl give back: their plaintext buffers and decoders hold
 * private keys of devices, and free them as they are (SKG-9). */
#ifndef ESTUARY_REGISTRAR_SECRET_MEMORY_H
#define ESTUARY_REGISTRAR_SECRET_MEMORY_H

#include "common/bytes.h"

/* Once, before either library has been used: from then on both overwrite what they free, OpenSSL keeps
 * private numbers in locked memory, and libcurl is initialised. STATUS_BUSY: OpenSSL has been used already;
 * STATUS_NO_MEMORY. Where RLIMIT_MEMLOCK is too low for the keys that are handled at a time, memory is left
 * unlocked, and a line in warnings says so. */
enum status secret_memory_start(struct buffer *warnings);

/* Whether it was. */
bool secret_memory_is_started(void);

#endif
