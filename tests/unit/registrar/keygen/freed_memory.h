/* What OpenSSL frees, kept and searched: a secret that it has not overwritten before is found in it. */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_KEYGEN_FREED_MEMORY_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_KEYGEN_FREED_MEMORY_H

#include "common/bytes.h"

#include <openssl/crypto.h>

/* Comes first in main: OpenSSL takes other functions for its memory only before it has used its own. */
void freed_memory_set_up(void);

/* From here on what is freed is kept, up to a bound; stop frees it. */
void freed_memory_start(void);
void freed_memory_stop(void);

/* Whether what was freed since holds secret, forwards or backwards (as numbers lie in memory). */
bool freed_memory_holds(struct bytes secret);

#endif
