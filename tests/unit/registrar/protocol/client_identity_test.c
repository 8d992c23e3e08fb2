/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/protocol/client_identity.h"

#include "tests/unit/registrar/test_chain.h"
#include "tests/unit/registrar/test_pki.h"

#include <pthread.h>

static struct client_identity *create_client(const char *common_name, enum trust_store trust)
{
    struct test_certificate made =
        test_certificate(&(struct test_certificate_wish){.common_name = common_name});
    struct client_identity *client = client_identity_create(made.certificate, test_chain(trust));
    test_certificate_free(&made);
    assert_non_null(client);
    return client;
}

static void remembers_certificate_and_store(void **state)
{
    (void)state;
    struct client_identity *client = create_client("pump17", TRUST_DOMAIN);
    assert_int_equal(client_identity_trust(client), TRUST_DOMAIN);
    assert_memory_equal(client_identity_chain(client), test_chain(TRUST_DOMAIN), sizeof(struct client_chain));
    assert_string_equal(client_identity_name(client), "CN=pump17");

    uint8_t digest[32];
    assert_int_equal(X509_digest(client_identity_certificate(client), EVP_sha256(), digest, NULL), 1);
    struct bytes fingerprint = client_identity_fingerprint(client);
    assert_int_equal(fingerprint.len, CLIENT_FINGERPRINT_OCTETS);
    assert_memory_equal(fingerprint.at, digest, sizeof digest);
    client_identity_release(client);
}

static void name_is_fit_for_a_log(void **state)
{
    (void)state;
    struct client_identity *client = create_client("a\nb,\"\xc3\xa9\"", TRUST_MANUFACTURER);
    assert_string_equal(client_identity_name(client), "CN=a\\0Ab\\,\\\"\\C3\\A9\\\"");
    client_identity_release(client);
}

/* A common name has at most 64 characters, each of which may take three octets in the escaped form, and three
 * such names take more than the 256 octets allowed. */
static void long_name_is_cut(void **state)
{
    (void)state;
    X509 *certificate = X509_new();
    char text[65] = "";
    memset(text, '\n', 64);
    for (int i = 0; i < 3; i++)
        assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                                                    (const unsigned char *)text, -1, -1, 0),
                         1);
    EVP_PKEY *key = test_key(NULL);
    X509_set_pubkey(certificate, key);
    assert_true(X509_sign(certificate, key, EVP_sha256()));

    struct client_identity *client = client_identity_create(certificate, test_chain(TRUST_DOMAIN));
    assert_non_null(client);
    const char *name = client_identity_name(client);
    assert_int_equal(strlen(name), 256);
    assert_string_equal(name + 253, "...");
    client_identity_release(client);
    EVP_PKEY_free(key);
    X509_free(certificate);
}

static void subject_may_be_empty(void **state)
{
    (void)state;
    X509 *certificate = X509_new();
    EVP_PKEY *key = test_key(NULL);
    X509_set_pubkey(certificate, key);
    assert_true(X509_sign(certificate, key, EVP_sha256()));
    struct client_identity *client = client_identity_create(certificate, test_chain(TRUST_DOMAIN));
    assert_non_null(client);
    assert_string_equal(client_identity_name(client), "");
    client_identity_release(client);
    EVP_PKEY_free(key);
    X509_free(certificate);
}

static void *hold_and_release(void *client)
{
    for (int i = 0; i < 20000; i++)
        client_identity_release(client_identity_hold(client));
    return NULL;
}

static void is_shared_by_threads(void **state)
{
    (void)state;
    struct client_identity *client = create_client("shared", TRUST_DOMAIN);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hold_and_release, client), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_string_equal(client_identity_name(client), "CN=shared");
    client_identity_release(client);
    client_identity_release(NULL);
}

static void stores_have_names(void **state)
{
    (void)state;
    assert_string_equal(trust_store_name(TRUST_MANUFACTURER), "manufacturer");
    assert_string_equal(trust_store_name(TRUST_DOMAIN), "domain");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(remembers_certificate_and_store),
        cmocka_unit_test(name_is_fit_for_a_log),
        cmocka_unit_test(long_name_is_cut),
        cmocka_unit_test(subject_may_be_empty),
        cmocka_unit_test(is_shared_by_threads),
        cmocka_unit_test(stores_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
