/* Public keys for RSA of which only the size matters: made without the primes, which take seconds to find. */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_KEYGEN_RSA_PUBLIC_KEY_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_KEYGEN_RSA_PUBLIC_KEY_H

#include "tests/unit/registrar/credentials.h"

#include <openssl/core_names.h>
#include <openssl/param_build.h>

/* Any odd number is the modulus. */
static inline EVP_PKEY *make_rsa_public_key(int bits)
{
    BIGNUM *modulus = BN_new();
    assert_int_equal(BN_rand(modulus, bits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD), 1);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    assert_int_equal(OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, modulus), 1);
    assert_int_equal(OSSL_PARAM_BLD_push_uint(builder, OSSL_PKEY_PARAM_RSA_E, 65537), 1);
    OSSL_PARAM *numbers = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY *key = NULL;
    assert_int_equal(EVP_PKEY_fromdata_init(context), 1);
    assert_int_equal(EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, numbers), 1);
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(numbers);
    OSSL_PARAM_BLD_free(builder);
    BN_free(modulus);
    return key;
}

#endif
