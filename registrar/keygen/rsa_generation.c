#include "registrar/keygen/rsa_generation.h"

#include <openssl/rsa.h>

static int go_on(EVP_PKEY_CTX *context);

EVP_PKEY *rsa_generation_make(int bits, const atomic_bool *abandoned)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    if (context != NULL && EVP_PKEY_keygen_init(context) == 1 &&
        EVP_PKEY_CTX_set_rsa_keygen_bits(context, bits) == 1) {
        EVP_PKEY_CTX_set_app_data(context,
                                  (void *)(uintptr_t)abandoned); /* that it is const stays ours to know */
        EVP_PKEY_CTX_set_cb(context, go_on);
        if (EVP_PKEY_generate(context, &key) != 1)
            key = NULL;
    }
    EVP_PKEY_CTX_free(context);
    return key;
}

static int go_on(EVP_PKEY_CTX *context)
{
    const atomic_bool *abandoned = EVP_PKEY_CTX_get_app_data(context);
    return abandoned == NULL || !atomic_load(abandoned);
}
