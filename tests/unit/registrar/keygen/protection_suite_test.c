#include "registrar/keygen/protection_suite.h"

#include "tests/unit/registrar/credentials.h"
#include "tests/unit/registrar/keygen/capabilities.h"
#include "tests/unit/registrar/keygen/rsa_public_key.h"

/* "AES-128-CBC by id-aes128-wrap, SHA256"; "" for what is not chosen. */
static void describe(enum status status, const struct protection_suite *suite, char *text, size_t room)
{
    if (status != STATUS_OK)
        snprintf(text, room, "%s", status_text(status));
    else
        snprintf(text, room, "%s/%s/%s", EVP_CIPHER_get0_name(suite->content),
                 suite->wrap != NULL ? EVP_CIPHER_get0_name(suite->wrap) : "",
                 suite->digest != NULL ? EVP_MD_get0_name(suite->digest) : "");
}

#define NOT_SUPPORTED "not supported"

/* SKG-7: AES key wrap by the size of the key, and the content's cipher in the device's order. */
static void the_suite_of_a_kek(void **state)
{
    (void)state;
    const struct {
        struct bytes capabilities;
        size_t octets;
        const char *suite;
    } rows[] = {
        {LIST("\x0d", WRAP_128), 16, "AES-128-CBC/id-aes128-wrap/"},
        {LIST("\x0d", WRAP_192), 24, "AES-192-CBC/id-aes192-wrap/"},
        {LIST("\x0d", WRAP_256), 32, "AES-256-CBC/id-aes256-wrap/"},
        {LIST("\x0d", WRAP_256), 16, NOT_SUPPORTED},
        {LIST("\x0d", WRAP_128), 32, NOT_SUPPORTED},
        {LIST("\x0d", CBC_128), 16, NOT_SUPPORTED},
        {LIST("\x00", ""), 16, NOT_SUPPORTED},
        {LIST("\x1a", WRAP_128 WRAP_256), 32, "AES-256-CBC/id-aes256-wrap/"},
        {LIST("\x1a", CBC_256 WRAP_128), 16, "AES-256-CBC/id-aes128-wrap/"},
        {LIST("\x27", WRAP_128 CBC_128 CBC_256), 16, "AES-128-CBC/id-aes128-wrap/"},
        {LIST("\x1a", WRAP_128 GCM_128), 16, NOT_SUPPORTED},
        {LIST("\x19", WRAP_128 TRIPLE_DES), 16, NOT_SUPPORTED},
        {LIST("\x27", WRAP_128 GCM_128 CBC_128), 16, "AES-128-CBC/id-aes128-wrap/"},
        {LIST("\x27", WRAP_128 CBC_128 GCM_128), 16, "AES-128-CBC/id-aes128-wrap/"},
        {LIST("\x13", "\x30\x04\x06\x02\x2a\x03" WRAP_128), 16, "AES-128-CBC/id-aes128-wrap/"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct protection_suite suite;
        char text[128];
        assert_true(protection_suite_is_capabilities(rows[i].capabilities));
        describe(protection_suite_for_symmetric(rows[i].capabilities, rows[i].octets, &suite), &suite, text,
                 sizeof(text));
        if (strcmp(text, rows[i].suite) != 0)
            fail_msg("row %zu: %s", i, text);
    }
}

/* SKG-7: kari, by scheme and wrap (RFC 5753 section 7) or by wrap alone. */
static void the_suite_of_an_elliptic_curve(void **state)
{
    (void)state;
    const struct {
        struct bytes capabilities;
        const char *suite;
    } rows[] = {
        {LIST("\x0d", WRAP_128), "AES-128-CBC/id-aes128-wrap/SHA256"},
        {LIST("\x1a", WRAP_256 CBC_128), "AES-128-CBC/id-aes256-wrap/SHA256"},
        {LIST("\x17", STD_DH("\x01", WRAP_128)), "AES-128-CBC/id-aes128-wrap/SHA256"},
        {LIST("\x17", STD_DH("\x02", WRAP_192)), "AES-192-CBC/id-aes192-wrap/SHA384"},
        {LIST("\x17", STD_DH("\x03", WRAP_256)), "AES-256-CBC/id-aes256-wrap/SHA512"},
        {LIST("\x24", STD_DH("\x01", WRAP_256) CBC_128), "AES-128-CBC/id-aes256-wrap/SHA256"},
        {LIST("\x17", "\x30\x08\x06\x06\x2b\x81\x04\x01\x0b\x02" WRAP_128),
         "AES-128-CBC/id-aes128-wrap/SHA384"},
        {LIST("\x0a", "\x30\x08\x06\x06\x2b\x81\x04\x01\x0b\x01"), NOT_SUPPORTED},
        {LIST("\x1a", "\x30\x0b\x06\x09\x2b\x81\x05\x10\x86\x48\x3f\x00\x02" WRAP_128),
         "AES-128-CBC/id-aes128-wrap/SHA1"},
        {LIST("\x17", "\x30\x08\x06\x06\x2b\x81\x04\x01\x0e\x01" WRAP_128), NOT_SUPPORTED}, /* cofactor */
        {LIST("\x17", STD_DH("\x01", CBC_128)), NOT_SUPPORTED},
        {LIST("\x0d", CBC_128), NOT_SUPPORTED},
        {LIST("\x0d", RSA_ENCRYPTION), NOT_SUPPORTED},
    };
    EVP_PKEY *key = make_key();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct protection_suite suite;
        char text[128];
        assert_true(protection_suite_is_capabilities(rows[i].capabilities));
        describe(protection_suite_for_asymmetric(rows[i].capabilities, key, &suite), &suite, text,
                 sizeof(text));
        if (strcmp(text, rows[i].suite) != 0)
            fail_msg("row %zu: %s", i, text);
    }
    EVP_PKEY_free(key);
}

/* SKG-7: ktri, by PKCS#1 v1.5 or OAEP (RFC 4055), the content as strong as the key. */
static void the_suite_of_an_rsa_key(void **state)
{
    (void)state;
    const struct {
        struct bytes capabilities;
        const char *suite;
    } rows[] = {
        {LIST("\x0d", RSA_ENCRYPTION), "AES-128-CBC//"},
        {LIST("\x0f", RSA_ENCRYPTION_NULL), "AES-128-CBC//"},
        {LIST("\x1a", RSA_ENCRYPTION CBC_256), "AES-256-CBC//"},
        {LIST("\x0d", OAEP), "AES-128-CBC//SHA1"},
        {LIST("\x1a", OAEP RSA_ENCRYPTION), "AES-128-CBC//SHA1"},
        {LIST("\x3e", OAEP_256), "AES-128-CBC//SHA256"},
        {LIST("\x0f", "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07\x05\x00"), NOT_SUPPORTED},
        {LIST("\x0d", WRAP_128), NOT_SUPPORTED},
        {LIST("\x1a", RSA_ENCRYPTION GCM_128), NOT_SUPPORTED},
    };
    EVP_PKEY *key = make_rsa_public_key(2048);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct protection_suite suite;
        char text[128];
        assert_true(protection_suite_is_capabilities(rows[i].capabilities));
        describe(protection_suite_for_asymmetric(rows[i].capabilities, key, &suite), &suite, text,
                 sizeof(text));
        if (strcmp(text, rows[i].suite) != 0)
            fail_msg("row %zu: %s", i, text);
    }
    EVP_PKEY_free(key);
}

static void a_strong_rsa_key_protects_a_strong_cipher(void **state)
{
    (void)state;
    EVP_PKEY *key = make_rsa_public_key(4096);
    struct protection_suite suite;
    assert_int_equal(protection_suite_for_asymmetric((struct bytes)LIST("\x0d", RSA_ENCRYPTION), key, &suite),
                     STATUS_OK);
    assert_string_equal(EVP_CIPHER_get0_name(suite.content), "AES-256-CBC");
    EVP_PKEY_free(key);
}

static void capabilities_are_a_list_of_algorithms(void **state)
{
    (void)state;
    const struct bytes bad[] = {
        BYTES_LITERAL("\x04\x00"),
        BYTES_LITERAL("\x30\x02\x05\x00"),
        BYTES_LITERAL("\x30\x02\x30\x00"),
        BYTES_LITERAL(""),
        BYTES_LITERAL("\x30\x04\x30\x02\x04\x00"),
        BYTES_LITERAL("\x30\x00\x00"),
        LIST("\x11", "\x30\x0f\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x05\x05\x00\x05\x00"),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (protection_suite_is_capabilities(bad[i]))
            fail_msg("row %zu", i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_suite_of_a_kek),
        cmocka_unit_test(the_suite_of_an_elliptic_curve),
        cmocka_unit_test(the_suite_of_an_rsa_key),
        cmocka_unit_test(a_strong_rsa_key_protects_a_strong_cipher),
        cmocka_unit_test(capabilities_are_a_list_of_algorithms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
