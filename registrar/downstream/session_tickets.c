#include "registrar/downstream/session_tickets.h"

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <string.h>

/* What a part of a key is for; HMAC makes each of them independent of the others. */
enum purpose { PURPOSE_NAME, PURPOSE_CIPHER, PURPOSE_MAC };

static bool make_key(const struct session_ticket_secret *secret, uint64_t period,
                     struct session_ticket_key *key);
static bool is_key_of(const struct session_ticket_secret *secret, uint64_t period, const uint8_t *name,
                      struct session_ticket_key *key);
static bool derive(const struct session_ticket_secret *secret, uint64_t period, enum purpose purpose,
                   uint8_t octets[static SESSION_TICKET_KEY_OCTETS]);

enum status session_ticket_secret_make(struct session_ticket_secret *secret)
{
    return RAND_priv_bytes(secret->octets, sizeof secret->octets) == 1 ? STATUS_OK : STATUS_CRYPTO;
}

bool session_ticket_key_now(const struct session_ticket_secret *secret, uint64_t now_ms,
                            struct session_ticket_key *key)
{
    return make_key(secret, now_ms / SESSION_TICKET_PERIOD_MS, key);
}

bool session_ticket_key_named(const struct session_ticket_secret *secret, uint64_t now_ms,
                              const uint8_t name[static SESSION_TICKET_NAME_OCTETS],
                              struct session_ticket_key *key)
{
    uint64_t period = now_ms / SESSION_TICKET_PERIOD_MS;
    if (is_key_of(secret, period, name, key) || (period > 0 && is_key_of(secret, period - 1, name, key)))
        return true;
    OPENSSL_cleanse(key, sizeof *key);
    return false;
}

static bool is_key_of(const struct session_ticket_secret *secret, uint64_t period, const uint8_t *name,
                      struct session_ticket_key *key)
{
    return make_key(secret, period, key) && CRYPTO_memcmp(key->name, name, sizeof key->name) == 0;
}

static bool make_key(const struct session_ticket_secret *secret, uint64_t period,
                     struct session_ticket_key *key)
{
    uint8_t name[SESSION_TICKET_KEY_OCTETS];
    if (!derive(secret, period, PURPOSE_NAME, name) || !derive(secret, period, PURPOSE_CIPHER, key->cipher) ||
        !derive(secret, period, PURPOSE_MAC, key->mac))
        return false;
    memcpy(key->name, name, sizeof key->name);
    return true;
}

static bool derive(const struct session_ticket_secret *secret, uint64_t period, enum purpose purpose,
                   uint8_t octets[static SESSION_TICKET_KEY_OCTETS])
{
    uint8_t input[1 + sizeof period] = {(uint8_t)purpose};
    memcpy(input + 1, &period, sizeof period);
    return HMAC(EVP_sha256(), secret->octets, sizeof secret->octets, input, sizeof input, octets, NULL) !=
           NULL;
}
