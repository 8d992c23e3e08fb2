/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "common/siphash.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

/* The worked example of the paper: key 00 to 0f, octets 00 to 0e. */
static void gives_the_published_value(void **state)
{
    (void)state;
    struct siphash_key key;
    uint8_t octets[15];
    for (uint8_t i = 0; i < 16; i++)
        key.octets[i] = i;
    for (uint8_t i = 0; i < 15; i++)
        octets[i] = i;
    assert_true(siphash(&key, (struct bytes){octets, sizeof octets}) == 0xa129ca6149be45e5);
}

static uint64_t by_openssl(const struct siphash_key *key, struct bytes octets)
{
    size_t size = 8, len;
    uint8_t out[8];
    OSSL_PARAM parameters[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
                               OSSL_PARAM_construct_end()};
    assert_non_null(EVP_Q_mac(NULL, "SIPHASH", NULL, NULL, parameters, key->octets, sizeof key->octets,
                              octets.at, octets.len, out, sizeof out, &len));
    uint64_t value = 0;
    for (size_t i = 8; i > 0; i--)
        value = value << 8 | out[i - 1];
    return value;
}

static void agrees_with_openssl_at_every_length(void **state)
{
    (void)state;
    const struct siphash_key key = {{0xf0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff}};
    uint8_t octets[100];
    for (size_t i = 0; i < sizeof octets; i++)
        octets[i] = (uint8_t)(i * 37);
    for (size_t len = 0; len <= sizeof octets; len++) {
        struct bytes some = {octets, len};
        assert_true(siphash(&key, some) == by_openssl(&key, some));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_published_value),
        cmocka_unit_test(agrees_with_openssl_at_every_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
