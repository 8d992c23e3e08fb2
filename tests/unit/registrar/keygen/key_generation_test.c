#include "registrar/keygen/key_generation.h"

#include "registrar/protocol/certificate_request.h"
#include "tests/unit/registrar/credentials.h"
#include "tests/unit/registrar/keygen/freed_memory.h"
#include "tests/unit/registrar/keygen/keyless_request.h"

#include <openssl/core_names.h>
#include <openssl/encoder.h>
#include <openssl/rsa.h>

#include <stdlib.h>

/* Of the CSR's own type, else P-256. */
static struct generated_key *generate(const struct certificate_request *csr)
{
    struct generated_key *key = NULL;
    enum key_type type = KEY_TYPE_P256;
    key_type_of_request(csr, &type);
    assert_int_equal(key_generation_make(csr, type, NULL, &key), STATUS_OK);
    return key;
}

static X509_REQ *decode_csr(const struct generated_key *key)
{
    struct bytes der = key_generation_csr(key);
    const unsigned char *at = der.at;
    X509_REQ *csr = d2i_X509_REQ(NULL, &at, (long)der.len);
    assert_non_null(csr);
    assert_ptr_equal(at, der.at + der.len);
    return csr;
}

/* SKG-2, SKG-5: the vectors of RFC 9148 A.3 and RFC 7030 A.4, and the other key types. */
static void the_csr_is_signed_by_the_new_key(void **state)
{
    (void)state;
    static const char *const vectors[] = {"rfc9148-A3-skg-request.csr.der", "rfc7030-A4-serverkeygen.csr.der",
                                          "draft08to12-A3-skg-request.csr.der"};
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        struct certificate_request *request = request_of(read_vector(vectors[i]));
        struct generated_key *key = generate(request);
        X509_REQ *csr = decode_csr(key);
        assert_int_equal(X509_REQ_verify(csr, key_generation_key(key)), 1);
        assert_int_equal(EVP_PKEY_eq(X509_REQ_get0_pubkey(csr), key_generation_key(key)), 1);
        assert_int_equal(EVP_PKEY_eq(X509_REQ_get0_pubkey(csr), certificate_request_key(request)), 0);
        assert_int_equal(X509_NAME_cmp(X509_REQ_get_subject_name(csr), certificate_request_subject(request)),
                         0);
        assert_int_equal(X509_REQ_get_attr_count(csr), 0);
        X509_REQ_free(csr);
        key_generation_free(key);
        certificate_request_free(request);
    }
}

static void add_attribute(X509_REQ *request, const char *type, int form, struct bytes value)
{
    X509_ATTRIBUTE *attribute = X509_ATTRIBUTE_create_by_txt(NULL, type, form, value.at, (int)value.len);
    assert_non_null(attribute);
    assert_int_equal(X509_REQ_add1_attr(request, attribute), 1);
    X509_ATTRIBUTE_free(attribute);
}

#define CAPABILITIES "\x30\x0d\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x05"

/* SKG-5: extensions and attributes, but those that speak of the device's own key or association. */
static void what_is_asked_for_goes_on(void **state)
{
    (void)state;
    EVP_PKEY *device_key = make_key();
    static const int nids[] = {NID_ext_req, NID_ms_ext_req};
    for (size_t i = 0; i < sizeof(nids) / sizeof(nids[0]); i++) {
        X509_REQ *made = make_unsigned_request(
            &(struct made_request){.key = device_key,
                                   .subject = "CN=Device/serialNumber=42",
                                   .extensions = {{"subjectAltName", "critical,DNS:device.example"},
                                                  {"subjectKeyIdentifier", "DER:04020102"},
                                                  {"1.2.3.4", "DER:0500"}},
                                   .challenge_password = "AAAA",
                                   .extensions_nid = nids[i]});
        add_attribute(made, "1.2.840.113549.1.9.15", V_ASN1_SEQUENCE, BYTES_LITERAL(CAPABILITIES));
        add_attribute(made, "1.2.840.113549.1.9.16.2.37", V_ASN1_OCTET_STRING, BYTES_LITERAL("kek"));
        add_attribute(made, "1.2.840.113549.1.9.16.2.54", V_ASN1_OCTET_STRING, BYTES_LITERAL("ski"));
        add_attribute(made, "1.2.840.113549.1.9.2", V_ASN1_UTF8STRING, BYTES_LITERAL("name"));
        struct certificate_request *request = request_of(sign_request(made, device_key));
        struct generated_key *key = generate(request);
        struct certificate_request *csr = parse(key_generation_csr(key));
        X509_REQ *decoded = decode_csr(key);
        assert_int_equal(certificate_request_verify(csr), STATUS_OK);
        assert_int_equal(X509_REQ_get_attr_count(decoded), 2);
        assert_true(X509_REQ_get_attr_by_NID(decoded, NID_ext_req, -1) >= 0);
        assert_true(X509_REQ_get_attr_by_NID(decoded, NID_pkcs9_unstructuredName, -1) >= 0);
        const STACK_OF(X509_EXTENSION) *extensions = certificate_request_extensions(csr);
        assert_int_equal(sk_X509_EXTENSION_num(extensions), 2);
        int san = X509v3_get_ext_by_NID(extensions, NID_subject_alt_name, -1);
        assert_int_equal(X509_EXTENSION_get_critical(X509v3_get_ext(extensions, san)), 1);
        X509_REQ_free(decoded);
        certificate_request_free(csr);
        key_generation_free(key);
        certificate_request_free(request);
    }
    EVP_PKEY_free(device_key);
}

/* RFC 5958, RFC 5915, RFC 8017: octet by octet what OpenSSL writes, which the device will read. */
static void the_pkcs8_is_what_openssl_writes(void **state)
{
    (void)state;
    static const char *const types[] = {"P-256", "P-384", "P-521", "RSA:2048"};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct certificate_request *request = request_with_type(types[i]);
        struct generated_key *key = generate(request);
        struct buffer pkcs8;
        buffer_init(&pkcs8, MADE_LIMIT);
        buffer_append_byte(&pkcs8, 'x'); /* it is appended */
        assert_int_equal(key_generation_pkcs8(key, &pkcs8), STATUS_OK);

        unsigned char *expected = NULL;
        size_t len = 0;
        OSSL_ENCODER_CTX *encoder = OSSL_ENCODER_CTX_new_for_pkey(key_generation_key(key), EVP_PKEY_KEYPAIR,
                                                                  "DER", "PrivateKeyInfo", NULL);
        assert_int_equal(OSSL_ENCODER_to_data(encoder, &expected, &len), 1);
        assert_int_equal(pkcs8.len, 1 + len);
        assert_memory_equal(pkcs8.at + 1, expected, len);
        OPENSSL_clear_free(expected, len);
        OSSL_ENCODER_CTX_free(encoder);
        buffer_wipe(&pkcs8);
        key_generation_free(key);
        certificate_request_free(request);
    }
}

static void a_pkcs8_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct certificate_request *request = request_with_type("P-256");
    struct generated_key *key = generate(request);
    struct buffer pkcs8;
    buffer_init(&pkcs8, 100);
    assert_int_equal(key_generation_pkcs8(key, &pkcs8), STATUS_TOO_LARGE);
    buffer_wipe(&pkcs8);
    key_generation_free(key);
    certificate_request_free(request);
}

#define KEYS 1000

static int compare_scalars(const void *a, const void *b)
{
    return memcmp(a, b, 32);
}

static void scalar_of(const struct generated_key *key, uint8_t scalar[static 32])
{
    BIGNUM *number = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(key_generation_key(key), OSSL_PKEY_PARAM_PRIV_KEY, &number), 1);
    assert_int_equal(BN_bn2binpad(number, scalar, 32), 32);
    BN_clear_free(number);
}

/* SKG-5. */
static void a_thousand_keys_are_distinct(void **state)
{
    (void)state;
    static uint8_t scalars[KEYS][32];
    struct certificate_request *request = request_with_type("P-256");
    for (size_t i = 0; i < KEYS; i++) {
        struct generated_key *key = generate(request);
        scalar_of(key, scalars[i]);
        key_generation_free(key);
    }
    qsort(scalars, KEYS, sizeof(scalars[0]), compare_scalars);
    for (size_t i = 1; i < KEYS; i++)
        assert_memory_not_equal(scalars[i - 1], scalars[i], 32);
    certificate_request_free(request);
}

/* SKG-9: neither making a key, nor its CSR, nor its PKCS#8 leaves a copy in memory that is free again. */
static void no_copy_of_a_key_stays_behind(void **state)
{
    (void)state;
    struct certificate_request *request = request_with_type("P-256");
    uint8_t scalar[32];
    freed_memory_start();
    struct generated_key *key = generate(request);
    struct buffer pkcs8;
    buffer_init(&pkcs8, MADE_LIMIT);
    assert_int_equal(key_generation_pkcs8(key, &pkcs8), STATUS_OK);
    const uint8_t *head = memmem(pkcs8.at, pkcs8.len, "\x02\x01\x01\x04\x20", 5);
    assert_non_null(head);
    memcpy(scalar, head + 5, 32);
    key_generation_free(key);
    buffer_wipe(&pkcs8);
    assert_false(freed_memory_holds((struct bytes){scalar, 32}));

    OPENSSL_free(OPENSSL_memdup(scalar, 32)); /* one that does is seen */
    assert_true(freed_memory_holds((struct bytes){scalar, 32}));
    freed_memory_stop();
    certificate_request_free(request);
}

int main(void)
{
    freed_memory_set_up();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_csr_is_signed_by_the_new_key),
        cmocka_unit_test(what_is_asked_for_goes_on),
        cmocka_unit_test(the_pkcs8_is_what_openssl_writes),
        cmocka_unit_test(a_pkcs8_that_does_not_fit_is_refused),
        cmocka_unit_test(a_thousand_keys_are_distinct),
        cmocka_unit_test(no_copy_of_a_key_stays_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
