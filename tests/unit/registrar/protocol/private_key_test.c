#include "registrar/protocol/private_key.h"

#include "tests/unit/registrar/credentials.h"

#include <openssl/encoder.h>
#include <openssl/err.h>
#include <openssl/pkcs12.h>

#define LIMIT 8192

static const char *const curves[] = {"P-256", "P-384", "P-521", "RSA"};

static struct buffer encode(EVP_PKEY *key, const char *structure)
{
    unsigned char *octets = NULL;
    size_t len = 0;
    OSSL_ENCODER_CTX *encoder = OSSL_ENCODER_CTX_new_for_pkey(key, EVP_PKEY_KEYPAIR, "DER", structure, NULL);
    assert_int_equal(OSSL_ENCODER_to_data(encoder, &octets, &len), 1);
    OSSL_ENCODER_CTX_free(encoder);
    struct buffer der;
    buffer_init(&der, LIMIT);
    buffer_append(&der, (struct bytes){octets, len});
    OPENSSL_free(octets);
    return der;
}

static enum status read_key(struct bytes der, struct buffer *pkcs8, EVP_PKEY **key)
{
    *key = NULL;
    buffer_init_locked(pkcs8, LIMIT);
    return private_key_read(der, pkcs8, key);
}

static void assert_refused(struct bytes der)
{
    struct buffer pkcs8;
    EVP_PKEY *key;
    assert_int_not_equal(read_key(der, &pkcs8, &key), STATUS_OK);
    assert_null(key);
    assert_int_equal(pkcs8.len, 0);
    assert_int_equal(ERR_peek_error(), 0);
    buffer_wipe(&pkcs8);
}

static EVP_PKEY *key_of_curve(const char *curve)
{
    EVP_PKEY *key = strcmp(curve, "RSA") == 0 ? EVP_RSA_gen(2048) : EVP_EC_gen(curve);
    assert_non_null(key);
    return key;
}

/* MP-4, SKG-1: true PKCS#8 goes through octet for octet. */
static void vectors(void **state)
{
    (void)state;
    static const struct {
        const char *key, *certificates;
    } cases[] = {
        {"rfc9148-A3-skg-key.pkcs8.der", "rfc9148-A3-skg-cert.ee.cert.der"},
        {"rfc7030-A4-serverkeygen.key.pkcs8.der", NULL},
        {"draft08to12-A3-skg-key.pkcs8.der", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer der = read_vector(cases[i].key), pkcs8;
        EVP_PKEY *key;
        assert_int_equal(read_key(buffer_view(&der), &pkcs8, &key), STATUS_OK);
        assert_true(bytes_equal(buffer_view(&pkcs8), buffer_view(&der)));
        EVP_PKEY_free(key);
        for (size_t len = 0; len < der.len; len++)
            assert_refused((struct bytes){der.at, len});
        buffer_append_byte(&der, 0);
        assert_refused(buffer_view(&der));
        buffer_wipe(&pkcs8);
        buffer_free(&der);
    }
}

/* What libest labels application/pkcs8 becomes it, and is the same key. */
static void traditional_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++) {
        EVP_PKEY *made = key_of_curve(curves[i]), *key, *again;
        struct buffer der = encode(made, "type-specific"), pkcs8, repeated;
        assert_int_equal(read_key(buffer_view(&der), &pkcs8, &key), STATUS_OK);
        assert_int_equal(EVP_PKEY_eq(made, key), 1);
        const unsigned char *at = pkcs8.at;
        PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)pkcs8.len);
        assert_non_null(info);
        assert_ptr_equal(at, pkcs8.at + pkcs8.len);
        PKCS8_PRIV_KEY_INFO_free(info);
        assert_int_equal(read_key(buffer_view(&pkcs8), &repeated, &again), STATUS_OK);
        assert_true(bytes_equal(buffer_view(&pkcs8), buffer_view(&repeated)));
        for (size_t len = 0; len < der.len; len += 7)
            assert_refused((struct bytes){der.at, len});
        EVP_PKEY_free(made);
        EVP_PKEY_free(key);
        EVP_PKEY_free(again);
        buffer_wipe(&pkcs8);
        buffer_wipe(&repeated);
        buffer_free(&der);
    }
}

/* RFC 5958: version 2 has the public key at the end, and either version may have attributes. */
static void version_2(void **state)
{
    (void)state;
    /* RFC 8410 section 10.3 */
    static const char with_public_key[] =
        "\x30\x72\x02\x01\x01\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20\xd4\xee\x72\xdb\xf9\x13\x58\x4a"
        "\xd5\xb6\xd8\xf1\xf7\x69\xf8\xad\x3a\xfe\x7c\x28\xcb\xf1\xd4\xfb\xe0\x97\xa8\x8f\x44\x75\x58\x42"
        "\xa0\x1f\x30\x1d\x06\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x09\x09\x14\x31\x0f\x0c\x0d\x43\x75\x72\x64"
        "\x6c\x65\x20\x43\x68\x61\x69\x72\x73\x81\x21\x00\x19\xbf\x44\x09\x69\x84\xcd\xfe\x85\x41\xba\xc1"
        "\x67\xdc\x3b\x96\xc8\x50\x86\xaa\x30\xb6\xb6\xcb\x0c\x5c\x38\xad\x70\x31\x66\xe1";
    const struct bytes der = BYTES_LITERAL(with_public_key);
    struct buffer pkcs8;
    EVP_PKEY *key;
    assert_int_equal(read_key(der, &pkcs8, &key), STATUS_OK);
    assert_int_equal(EVP_PKEY_get_base_id(key), EVP_PKEY_ED25519);
    assert_true(bytes_equal(buffer_view(&pkcs8), der));
    EVP_PKEY_free(key);
    buffer_wipe(&pkcs8);
}

/* Neither encrypted keys, nor public ones, nor anything else. */
static void other_things(void **state)
{
    (void)state;
    static const char *const files[] = {"rfc9148-A2-sen-request.csr.der", "rfc9148-A3-skg-cert.p7.der",
                                        "rfc9148-A2-sen-response.ee.cert.der",
                                        "rfc8951-4-csrattrs-empty.der"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct buffer der = read_vector(files[i]);
        assert_refused(buffer_view(&der));
        buffer_free(&der);
    }
    EVP_PKEY *made = key_of_curve("P-256");
    unsigned char *octets = NULL;
    int len = i2d_PUBKEY(made, &octets);
    assert_refused((struct bytes){octets, (size_t)len});
    OPENSSL_free(octets);
    X509_SIG *sealed = NULL;
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(made);
    sealed = PKCS8_encrypt(-1, EVP_aes_128_cbc(), "secret", 6, NULL, 0, 1, info);
    octets = NULL;
    len = i2d_X509_SIG(sealed, &octets);
    assert_true(len > 0);
    assert_refused((struct bytes){octets, (size_t)len});
    OPENSSL_free(octets);
    X509_SIG_free(sealed);
    PKCS8_PRIV_KEY_INFO_free(info);
    EVP_PKEY_free(made);
}

/* Past the limit of the buffer nothing is handed out. */
static void no_room(void **state)
{
    (void)state;
    struct buffer der = read_vector("rfc9148-A3-skg-key.pkcs8.der"), pkcs8;
    EVP_PKEY *key = NULL;
    buffer_init_locked(&pkcs8, der.len - 1);
    assert_int_equal(private_key_read(buffer_view(&der), &pkcs8, &key), STATUS_TOO_LARGE);
    assert_int_equal(pkcs8.len, 0);
    buffer_wipe(&pkcs8);
    buffer_free(&der);
}

/* MP-6 */
static void certificates(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++) {
        EVP_PKEY *key = key_of_curve(curves[i]), *other = key_of_curve(curves[i]);
        X509 *certificate = X509_new();
        assert_int_equal(X509_set_pubkey(certificate, key), 1);
        assert_int_equal(private_key_check_certificate(key, certificate), STATUS_OK);
        assert_int_equal(private_key_check_certificate(other, certificate), STATUS_MISMATCH);
        X509_free(certificate);
        EVP_PKEY_free(key);
        EVP_PKEY_free(other);
    }
}

/* MP-6: the public key that lies beside the private one proves nothing. */
static void a_public_key_of_another(void **state)
{
    (void)state;
    EVP_PKEY *key = key_of_curve("P-256"), *other = key_of_curve("P-256"), *mixed;
    struct buffer der = encode(key, "type-specific"), foreign = encode(other, "type-specific"), pkcs8;
    assert_int_equal(der.len, foreign.len);
    memcpy(der.at + 7, foreign.at + 7, 32); /* the scalar of one, the point of the other */
    X509 *certificate = X509_new();
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    if (read_key(buffer_view(&der), &pkcs8, &mixed) == STATUS_OK) {
        assert_int_equal(EVP_PKEY_eq(mixed, key), 1);
        assert_int_equal(private_key_check_certificate(mixed, certificate), STATUS_MISMATCH);
        EVP_PKEY_free(mixed);
    }
    X509_free(certificate);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    buffer_wipe(&pkcs8);
    buffer_free(&der);
    buffer_free(&foreign);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),
        cmocka_unit_test(traditional_forms),
        cmocka_unit_test(version_2),
        cmocka_unit_test(other_things),
        cmocka_unit_test(no_room),
        cmocka_unit_test(certificates),
        cmocka_unit_test(a_public_key_of_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
