/* Keys that servers generated: the published ones, and what is almost one. The protected forms are tested
 * against the stand-in, in test_est_device.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "certificate_answer.h"
#include "encryption_wish.h"
#include "generated_key.h"

static struct octets vector(const char *name)
{
    struct octets octets = {0};
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", VECTORS, name);
    assert_true(octets_from_file(&octets, path, 65536));
    return octets;
}

static EVP_PKEY *read_key(int format, struct view part, struct explanation *why)
{
    struct key_decryption decryption = {.identity = NULL};
    struct key_protection protection = {.recipient = NULL};
    EVP_PKEY *key = generated_key_read(format, part, &decryption, &protection, why);
    key_protection_clear(&protection);
    return key;
}

/* RFC 9148 A.3 and RFC 7030 A.4: PKCS#8 keys, and the certificates are for them. */
static void test_published_keys(void **state)
{
    static const char *const rows[][2] = {
        {"rfc9148-A3-skg-key.pkcs8.der", "rfc9148-A3-skg-cert.p7.der"},
        {"rfc7030-A4-serverkeygen.key.pkcs8.der", "rfc7030-A4-serverkeygen.p7.der"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct explanation why = {""};
        struct octets part = vector(rows[i][0]), certificate = vector(rows[i][1]);
        EVP_PKEY *key = read_key(284, octets_view(&part), &why);
        if (key == NULL)
            fail_msg("%s: %s", rows[i][0], why.text);
        STACK_OF(X509) *bag = certificates_read(281, octets_view(&certificate), &why);
        assert_non_null(certificate_for_key(bag, key, &why));
        sk_X509_pop_free(bag, X509_free);
        EVP_PKEY_free(key);
        octets_clear(&part);
        octets_clear(&certificate);
    }
}

static void assert_refused(int format, struct view part, const char *reason)
{
    struct explanation why = {""};
    assert_null(read_key(format, part, &why));
    if (strstr(why.text, reason) == NULL)
        fail_msg("not \"%s\" but \"%s\"", reason, why.text);
}

/* The ECPrivateKey in the PKCS#8 of RFC 9148 A.3, which begins at octet 29. */
static void test_what_is_no_pkcs8(void **state)
{
    static const uint8_t zero = 0;
    (void)state;
    struct octets part = vector("rfc9148-A3-skg-key.pkcs8.der");
    assert_refused(284, (struct view){part.at + 29, part.len - 29}, "not PKCS#8");
    assert_refused(284, (struct view){part.at, part.len - 1}, "not PKCS#8");
    assert_refused(284, (struct view){part.at, 0}, "not PKCS#8");
    assert_refused(280, octets_view(&part), "no CMS message");
    assert_true(octets_append(&part, (struct view){&zero, 1}, 65536));
    assert_refused(284, octets_view(&part), "1 octets follow the PKCS#8 key");
    octets_clear(&part);
    part = vector("rfc9148-A3-skg-cert.p7.der");
    assert_refused(280, octets_view(&part), "the CMS message is pkcs7-signedData, not pkcs7-envelopedData");
    octets_clear(&part);
}

/* The public key beside the private one is another's. */
static void test_halves_of_two_keys(void **state)
{
    (void)state;
    struct octets part = vector("rfc9148-A3-skg-key.pkcs8.der");
    part.at[40] ^= 1;
    assert_refused(284, octets_view(&part), "is not that of its private key");
    octets_clear(&part);
}

static void assert_wish(const char *wanted, const char *capabilities, int attributes, enum key_form expects)
{
    struct explanation why = {""};
    struct encryption_wish wish;
    if (!encryption_wish_read(wanted, capabilities, &wish, &why))
        fail_msg("%s", why.text);
    assert_int_equal(wish.attributes == NULL ? 0 : sk_X509_ATTRIBUTE_num(wish.attributes), attributes);
    assert_int_equal(wish.expects, expects);
    encryption_wish_clear(&wish);
}

/* SKG-3: whole wishes and halves. */
static void test_wishes(void **state)
{
    (void)state;
    assert_wish(NULL, NULL, 0, KEY_FORM_PLAIN);
    assert_wish("kek:0102", NULL, 2, KEY_FORM_ENCRYPTED);
    assert_wish("ski:0102", "id-aes128-wrap", 2, KEY_FORM_ENCRYPTED);
    assert_wish("ski:0102", "none", 1, KEY_FORM_PLAIN);
    assert_wish(NULL, "2.16.840.1.101.3.4.1.5,AES-128-CBC", 1, KEY_FORM_PLAIN);
    assert_wish("kek:0102,ski:0304", NULL, 3, KEY_FORM_ENCRYPTED);
}

static void test_wishes_nobody_has(void **state)
{
    static const char *const rows[][2] = {{"0102", NULL},     {"kek:", NULL},       {"kek:x", NULL},
                                          {"kek:012", NULL},  {"", NULL},           {"kek:01,", NULL},
                                          {"kek:01", "what"}, {"kek:01", "1.2.x,"}, {"kek:01", ""}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct explanation why = {""};
        struct encryption_wish wish;
        if (encryption_wish_read(rows[i][0], rows[i][1], &wish, &why))
            fail_msg("row %zu", i);
        assert_string_not_equal(why.text, "");
        encryption_wish_clear(&wish);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_keys),     cmocka_unit_test(test_what_is_no_pkcs8),
        cmocka_unit_test(test_halves_of_two_keys), cmocka_unit_test(test_wishes),
        cmocka_unit_test(test_wishes_nobody_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
