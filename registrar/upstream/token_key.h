/* A private key that stays in a token (smart card, HSM) and is named by a pkcs11: URI (RFC 7512): OpenSSL's
 * engine "pkcs11" reaches it. Each signature is made by the token while the event loop waits. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_TOKEN_KEY_H
#define ESTUARY_REGISTRAR_UPSTREAM_TOKEN_KEY_H

#include "common/bytes.h"

#include <openssl/evp.h>

#include <stdbool.h>

/* How a key in a token is reached. Borrowed. */
struct token_key_source {
    const char *setting; /* the JSON path of uri */
    const char *uri;
    const char *module; /* the token's PKCS#11 library; "": the system's (p11-kit) */
    struct bytes pin;   /* empty: none */
};

bool token_key_is_uri(const char *name);

/* Gives; NULL, and a line in errors says why (never the PIN). The token's library stays loaded as long as the
 * process lives: SoftHSM's takes OpenSSL's random numbers with it when it goes. */
EVP_PKEY *token_key_load(const struct token_key_source *source, struct buffer *errors);

#endif
