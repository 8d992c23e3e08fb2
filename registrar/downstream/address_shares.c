#include "registrar/downstream/address_shares.h"

#include "common/siphash.h"

#include <openssl/rand.h>

#include <stdlib.h>

#define SHARES 1024

struct address_shares {
    struct siphash_key key;
    struct buffer octets; /* of the address that is being hashed; never grows */
    uint32_t counts[SHARES];
};

struct address_shares *address_shares_create(void)
{
    struct address_shares *shares = calloc(1, sizeof *shares);
    if (shares == NULL)
        return NULL;
    buffer_init(&shares->octets, ENDPOINT_OCTETS_MAX);
    if (buffer_extend(&shares->octets, ENDPOINT_OCTETS_MAX) != NULL &&
        RAND_bytes(shares->key.octets, sizeof shares->key.octets) == 1)
        return shares;
    address_shares_free(shares);
    return NULL;
}

void address_shares_free(struct address_shares *shares)
{
    if (shares == NULL)
        return;
    buffer_free(&shares->octets);
    free(shares);
}

size_t address_shares_of(struct address_shares *shares, const struct endpoint *peer)
{
    struct endpoint address = *peer;
    if (address.address.any.sa_family == AF_INET6)
        address.address.v6.sin6_port = 0;
    else
        address.address.v4.sin_port = 0;
    buffer_reset(&shares->octets);
    endpoint_serialise(&address, &shares->octets);
    return (size_t)siphash(&shares->key, buffer_view(&shares->octets)) % SHARES;
}

void address_shares_add(struct address_shares *shares, size_t share)
{
    shares->counts[share]++;
}

void address_shares_subtract(struct address_shares *shares, size_t share)
{
    shares->counts[share]--;
}

uint32_t address_shares_count(const struct address_shares *shares, size_t share)
{
    return shares->counts[share];
}

uint32_t address_shares_largest(const struct address_shares *shares)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < SHARES; i++)
        if (shares->counts[i] > largest)
            largest = shares->counts[i];
    return largest;
}
