/* What a handshake would have kept of a client's chain, for tests that need a client but no handshake. */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_TEST_CHAIN_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_TEST_CHAIN_H

#include "registrar/protocol/client_chain.h"

/* One certificate below its anchor; neither ever expires. */
static inline const struct client_chain *test_chain(enum trust_store trust)
{
    static const struct client_chain chains[] = {
        [TRUST_MANUFACTURER] = {.trust = TRUST_MANUFACTURER,
                                .count = 1,
                                .leaf_expires_unix = INT64_MAX,
                                .chain_expires_unix = INT64_MAX,
                                .links = {{{{1}}, {{11}}}}},
        [TRUST_DOMAIN] = {.trust = TRUST_DOMAIN,
                          .count = 1,
                          .leaf_expires_unix = INT64_MAX,
                          .chain_expires_unix = INT64_MAX,
                          .links = {{{{2}}, {{22}}}}},
    };
    return &chains[trust];
}

#endif
