#include "registrar/protocol/keyless_library.h"

#include "tests/unit/registrar/credentials.h"

#include <openssl/err.h>

/* What it is for: the rest of a certificate is read, and its key stays as it is. */
static void keys_stay_octets(void **state)
{
    (void)state;
    struct keyless_library *library = keyless_library_create();
    assert_non_null(library);
    struct buffer der = read_vector("rfc9148-A2-sen-response.ee.cert.der");
    for (int i = 0; i < 2; i++) {
        const unsigned char *at = der.at;
        X509 *certificate = X509_new_ex(i == 0 ? keyless_library_context(library) : NULL, NULL);
        assert_non_null(d2i_X509(&certificate, &at, (long)der.len));
        assert_int_equal(X509_get0_pubkey(certificate) == NULL, i == 0);
        uint8_t *octets = NULL;
        int len = i2d_X509(certificate, &octets);
        assert_true(bytes_equal((struct bytes){octets, (size_t)len}, buffer_view(&der)));
        OPENSSL_free(octets);
        X509_free(certificate);
    }
    ERR_clear_error();
    buffer_free(&der);
    keyless_library_free(library);
}

static void nothing_is_freed(void **state)
{
    (void)state;
    keyless_library_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_stay_octets),
        cmocka_unit_test(nothing_is_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
