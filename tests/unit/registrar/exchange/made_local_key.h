/* A key that the registrar has made for a device, without a registrar. */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_EXCHANGE_MADE_LOCAL_KEY_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_EXCHANGE_MADE_LOCAL_KEY_H

#include "registrar/exchange/local_key.h"
#include "registrar/keygen/key_generation.h"
#include "registrar/protocol/certificate_request.h"

#define MADE_LOCAL_KEY_OCTETS_MAX 4096

static inline struct local_key *make_local_key(const struct certificate_request *device_csr)
{
    struct settings settings = {.upstream.max_response_bytes = MADE_LOCAL_KEY_OCTETS_MAX};
    const struct exchange_services services = {.settings = &settings};
    struct generated_key *made = NULL;
    struct local_key_refusal refusal;
    assert_int_equal(key_generation_make(device_csr, KEY_TYPE_P256, NULL, &made), STATUS_OK);
    struct local_key *key = local_key_create(&services, device_csr, made, &refusal);
    assert_non_null(key);
    return key;
}

#endif
