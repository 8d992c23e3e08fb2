/* SEC-1, SKG-3, SKG-7: what a CSR says about the protection of a key; and a list of algorithms on its own. */
#include "registrar/keygen/key_package.h"
#include "registrar/keygen/protection_suite.h"
#include "registrar/protocol/certificate_request.h"

#include <openssl/evp.h>

#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static EVP_PKEY *keys[2]; /* a fuzz target has nowhere else to keep them */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    keys[0] = EVP_EC_gen("P-256");
    keys[1] = EVP_RSA_gen(2048);
    return 0;
}

static void check(enum status status, const struct protection_suite *suite)
{
    if (status != STATUS_OK && status != STATUS_UNSUPPORTED)
        abort();
    if (status == STATUS_OK && (suite->content == NULL || (suite->wrap != NULL) != (suite->wrap_nid != 0)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = {data, size};
    struct certificate_request *request = NULL;
    struct protection_suite suite;
    if (certificate_request_parse_keyless(input, &request) == STATUS_OK &&
        key_package_wish(request) > KEY_WISH_REFUSED)
        abort();
    certificate_request_free(request);
    if (!protection_suite_is_capabilities(input))
        return 0;
    check(protection_suite_for_symmetric(input, 16, &suite), &suite);
    check(protection_suite_for_symmetric(input, 32, &suite), &suite);
    for (size_t i = 0; i < 2; i++)
        check(protection_suite_for_asymmetric(input, keys[i], &suite), &suite);
    return 0;
}
