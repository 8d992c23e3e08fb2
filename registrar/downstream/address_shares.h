/* How many of something bounded each peer address has, in fixed memory: so that one address cannot have it
 * all.
 */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_ADDRESS_SHARES_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_ADDRESS_SHARES_H

#include "common/endpoint.h"

#include <stddef.h>

struct address_shares;

/* Gives; NULL: no memory or no randomness. */
struct address_shares *address_shares_create(void);
void address_shares_free(struct address_shares *shares);

/* The share that an address counts in, whatever the port. A few addresses have theirs together; which ones,
 * nobody can choose. */
size_t address_shares_of(struct address_shares *shares, const struct endpoint *peer);

void address_shares_add(struct address_shares *shares, size_t share);
void address_shares_subtract(struct address_shares *shares, size_t share);

/* How many a share has, and how many the largest one. */
uint32_t address_shares_count(const struct address_shares *shares, size_t share);
uint32_t address_shares_largest(const struct address_shares *shares);

#endif
