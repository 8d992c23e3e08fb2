#include "common/rate_table.h"

#include "common/siphash.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#define WAYS 4
#define SETS (RATE_TABLE_KEYS / WAYS)

/* The generic cell rate algorithm: a bucket is the moment at which it will be full again. */
struct bucket {
    uint64_t key; /* its hash */
    uint64_t full_us;
};

struct rate_table {
    pthread_mutex_t mutex;
    struct siphash_key hash_key;
    uint64_t interval_us, burst_us;
    struct bucket sets[SETS][WAYS];
};

static struct bucket *find(struct rate_table *table, uint64_t key);
static uint64_t take(const struct rate_table *table, struct bucket *bucket, uint64_t now_us);

struct rate_table *rate_table_create(struct rate rate)
{
    struct rate_table *table = calloc(1, sizeof *table); /* untouched, it takes no memory */
    if (table == NULL)
        return NULL;
    if (getrandom(table->hash_key.octets, sizeof table->hash_key.octets, 0) !=
        (ssize_t)sizeof table->hash_key.octets) {
        free(table);
        return NULL;
    }
    pthread_mutex_init(&table->mutex, NULL);
    table->interval_us = rate.per_minute > 0 ? 60000000 / rate.per_minute : 0;
    table->burst_us = table->interval_us * (rate.burst - 1);
    return table;
}

void rate_table_free(struct rate_table *table)
{
    if (table == NULL)
        return;
    pthread_mutex_destroy(&table->mutex);
    free(table);
}

uint64_t rate_table_take(struct rate_table *table, struct bytes key, uint64_t now_ms)
{
    if (table->interval_us == 0)
        return 0;
    uint64_t hash = siphash(&table->hash_key, key);

    pthread_mutex_lock(&table->mutex);
    uint64_t wait_us = take(table, find(table, hash), now_ms * 1000);
    pthread_mutex_unlock(&table->mutex);
    return (wait_us + 999) / 1000;
}

/* The bucket of a key, perhaps one that was of the key which has used least. */
static struct bucket *find(struct rate_table *table, uint64_t key)
{
    struct bucket *set = table->sets[key % SETS], *fullest = set;
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].key == key)
            return &set[i];
        if (set[i].full_us < fullest->full_us)
            fullest = &set[i];
    }
    *fullest = (struct bucket){.key = key};
    return fullest;
}

static uint64_t take(const struct rate_table *table, struct bucket *bucket, uint64_t now_us)
{
    uint64_t full_us = bucket->full_us > now_us ? bucket->full_us : now_us;
    if (full_us - now_us > table->burst_us)
        return full_us - now_us - table->burst_us;
    bucket->full_us = full_us + table->interval_us;
    return 0;
}
