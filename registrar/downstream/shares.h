/* How many of something bounded each of many has, in fixed memory: so that one cannot have it all. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_SHARES_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_SHARES_H

#include "common/bytes.h"

struct shares;

/* Gives; NULL: no memory or no randomness. */
struct shares *shares_create(size_t count);
void shares_free(struct shares *shares);

/* The share that a key counts in, below count. A few keys have theirs together; which ones, nobody can
 * choose. */
size_t shares_of(const struct shares *shares, struct bytes key);

void shares_add(struct shares *shares, size_t share);
void shares_subtract(struct shares *shares, size_t share);

/* How many a share has, and how many the largest one. */
uint32_t shares_count(const struct shares *shares, size_t share);
uint32_t shares_largest(const struct shares *shares);

#endif
