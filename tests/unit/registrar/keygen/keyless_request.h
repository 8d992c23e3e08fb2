/* Certification requests of devices that want a key made, by the type of key that they name. */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_KEYGEN_KEYLESS_REQUEST_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_KEYGEN_KEYLESS_REQUEST_H

#include "registrar/protocol/certificate_request.h"
#include "tests/unit/registrar/credentials.h"
#include "tests/unit/registrar/keygen/rsa_public_key.h"

#include <stdlib.h>

static inline struct certificate_request *parse(struct bytes der)
{
    struct certificate_request *request = NULL;
    assert_int_equal(certificate_request_parse_keyless(der, &request), STATUS_OK);
    return request;
}

static inline struct certificate_request *request_of(struct buffer der)
{
    struct certificate_request *request = parse(buffer_view(&der));
    buffer_free(&der);
    return request;
}

static inline EVP_PKEY *make_key_of(const char *type)
{
    if (strncmp(type, "RSA:", 4) == 0)
        return make_rsa_public_key(atoi(type + 4));
    if (strcmp(type, "ED25519") == 0)
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    return EVP_EC_gen(type);
}

static inline struct certificate_request *request_with_type(const char *type)
{
    EVP_PKEY *key = make_key_of(type);
    assert_non_null(key);
    X509_REQ *unsigned_request = make_unsigned_request(&(struct made_request){.key = key, .subject = "CN=a"});
    EVP_PKEY *signer = make_key(); /* the signature is not looked at */
    struct certificate_request *request = request_of(sign_request(unsigned_request, signer));
    EVP_PKEY_free(signer);
    EVP_PKEY_free(key);
    return request;
}

#endif
