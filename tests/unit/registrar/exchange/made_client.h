/* A client of the manufacturer's trust store, as a handshake would have proved it. */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_EXCHANGE_MADE_CLIENT_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_EXCHANGE_MADE_CLIENT_H

#include "registrar/protocol/client_identity.h"
#include "tests/unit/registrar/credentials.h"
#include "tests/unit/registrar/test_chain.h"

struct made_client {
    EVP_PKEY *key;
    X509 *certificate;
    struct client_identity *client;
};

/* With a certificate as wished, but for its key; where it names an issuer, that has the same key. */
static inline void made_client_create(struct made_client *made, struct made_certificate wish)
{
    made->key = wish.key = make_key();
    if (wish.issuer != NULL)
        wish.issuer_key = made->key;
    made->certificate = make_certificate(&wish);
    made->client = client_identity_create(made->certificate, test_chain(TRUST_MANUFACTURER));
}

/* As the tear-down of tests whose state it is. */
static inline int made_client_free(void **state)
{
    struct made_client *made = *state;
    client_identity_release(made->client);
    X509_free(made->certificate);
    EVP_PKEY_free(made->key);
    return 0;
}

#endif
