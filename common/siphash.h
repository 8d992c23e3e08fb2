/* SipHash-2-4 (Aumasson, Bernstein 2012): a keyed hash for tables whose keys strangers choose. Who does not
 * know the key cannot make many of them fall together. OpenSSL's own (EVP_MAC) is no faster, and slim builds
 * of OpenSSL, as border routers have them, lack it (no-siphash). */
#ifndef ESTUARY_COMMON_SIPHASH_H
#define ESTUARY_COMMON_SIPHASH_H

#include "common/bytes.h"

struct siphash_key {
    uint8_t octets[16];
};

uint64_t siphash(const struct siphash_key *key, struct bytes octets);

#endif
