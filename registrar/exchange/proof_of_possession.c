#include "registrar/exchange/proof_of_possession.h"

#include "common/base64.h"

#include <openssl/crypto.h>

#define CHALLENGE_PASSWORD_OCTETS_MAX 255 /* RFC 2985 section 5.4.1: pkcs-9-ub-challengePassword */

static bool is_binding(const struct channel_binding *binding, struct bytes octets);

const char *proof_of_possession_fault(const struct proof_terms *terms,
                                      const struct certificate_request *request)
{
    const bool is_required = terms->policy == POP_REQUIRED;
    struct bytes text;
    if (!certificate_request_challenge_password(request, &text))
        return is_required && !terms->may_be_absent
                   ? "PoP linking is required: the CSR has no challengePassword (RFC 7030 section 3.5)"
                   : NULL;
    if (is_required && !terms->binding->is_unique)
        return "PoP linking needs the extended master secret, which this session is without (RFC 7627)";

    struct buffer octets;
    buffer_init(&octets, CHALLENGE_PASSWORD_OCTETS_MAX);
    enum status decoded =
        text.len > CHALLENGE_PASSWORD_OCTETS_MAX ? STATUS_TOO_LARGE : base64_decode(text, &octets);
    bool linked = decoded == STATUS_OK && is_binding(terms->binding, buffer_view(&octets));
    buffer_free(&octets);
    if (linked || (decoded == STATUS_MALFORMED && terms->policy == POP_LENIENT_NONBASE64))
        return NULL;
    return decoded == STATUS_OK
               ? "PoP linking failed: challengePassword is not the tls-unique of this session"
               : "PoP linking failed: challengePassword is not the base64 of a tls-unique";
}

static bool is_binding(const struct channel_binding *binding, struct bytes octets)
{
    return binding->is_known && octets.len == sizeof(binding->tls_unique) &&
           CRYPTO_memcmp(octets.at, binding->tls_unique, octets.len) == 0;
}
