#include "registrar/downstream/shares.h"

#include "common/siphash.h"

#include <openssl/rand.h>

#include <stdlib.h>

struct shares {
    struct siphash_key key;
    size_t count;
    uint32_t counts[];
};

struct shares *shares_create(size_t count)
{
    struct shares *shares = calloc(1, sizeof *shares + count * sizeof shares->counts[0]);
    if (shares == NULL)
        return NULL;
    shares->count = count;
    if (RAND_bytes(shares->key.octets, sizeof shares->key.octets) == 1)
        return shares;
    shares_free(shares);
    return NULL;
}

void shares_free(struct shares *shares)
{
    free(shares);
}

size_t shares_of(const struct shares *shares, struct bytes key)
{
    return (size_t)(siphash(&shares->key, key) % shares->count);
}

void shares_add(struct shares *shares, size_t share)
{
    shares->counts[share]++;
}

void shares_subtract(struct shares *shares, size_t share)
{
    shares->counts[share]--;
}

uint32_t shares_count(const struct shares *shares, size_t share)
{
    return shares->counts[share];
}

uint32_t shares_largest(const struct shares *shares)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < shares->count; i++)
        if (shares->counts[i] > largest)
            largest = shares->counts[i];
    return largest;
}
