/* How often each of many may do something: a token bucket for each key, all in fixed memory. Thread safe;
 * knows no clock. */
#ifndef ESTUARY_COMMON_RATE_TABLE_H
#define ESTUARY_COMMON_RATE_TABLE_H

#include "common/bytes.h"

/* Keys that it keeps apart. Beyond, the one that has used least of its burst is forgotten, so that whoever
 * comes under many keys at once gets more than his share: bound what all of them may do together as well. */
#define RATE_TABLE_KEYS 16384

struct rate_table;

struct rate {
    uint32_t per_minute; /* 0: as often as they like */
    uint32_t burst;      /* at least 1: as many at once, after a while without any */
};

/* Gives; NULL: no memory or no randomness. */
struct rate_table *rate_table_create(struct rate rate);
void rate_table_free(struct rate_table *table);

/* Takes one from the bucket of a key. Returns 0, or in how many milliseconds there will be one to take. */
uint64_t rate_table_take(struct rate_table *table, struct bytes key, uint64_t now_ms);

#endif
