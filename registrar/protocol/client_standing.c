#include "registrar/protocol/client_standing.h"

#include <string.h>

static bool is_trusted(const struct standing_rules *rules, const struct client_chain *chain);

/* What cannot be cured comes first: whoever is revoked is not told that a new handshake might help. */
enum client_standing client_standing_judge(const struct standing_rules *rules,
                                           const struct client_chain *chain, int64_t now_unix)
{
    enum revocation revocation = revocation_lists_judge(rules->revocations, chain, now_unix);
    if (revocation == REVOCATION_REVOKED)
        return STANDING_REVOKED;
    if (client_chain_has_expired(chain, rules->accept_expired[chain->trust], now_unix))
        return STANDING_EXPIRED;
    if (!is_trusted(rules, chain))
        return STANDING_UNTRUSTED;
    if (revocation == REVOCATION_UNKNOWN)
        return STANDING_UNKNOWN;
    if (chain->trust == TRUST_DOMAIN && client_chain_has_expired(chain, false, now_unix))
        return STANDING_RENEWAL;
    return revocation == REVOCATION_UNCHECKED ? STANDING_UNCHECKED : STANDING_GOOD;
}

static bool is_trusted(const struct standing_rules *rules, const struct client_chain *chain)
{
    const struct standing_anchors *anchors = &rules->anchors[chain->trust];
    return chain_digest_is_among(&chain->anchor, anchors->sorted, anchors->count);
}

const char *client_standing_text(enum client_standing standing)
{
    static const char *const texts[] = {
        [STANDING_GOOD] = "the client certificate is good",
        [STANDING_UNCHECKED] = "the client certificate is good, as far as no current CRL tells",
        [STANDING_RENEWAL] = "the client certificate has expired and can only be renewed",
        [STANDING_EXPIRED] = "the client certificate has expired",
        [STANDING_UNTRUSTED] = "the trust anchors have changed: a new handshake is needed",
        [STANDING_UNKNOWN] = "no current CRL tells whether the client certificate is revoked",
        [STANDING_REVOKED] = "the client certificate is revoked",
    };
    return texts[standing];
}
