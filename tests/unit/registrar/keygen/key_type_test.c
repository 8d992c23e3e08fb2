/* SKG-5: which type of key is asked for. */
#include "registrar/keygen/key_type.h"

#include "registrar/protocol/certificate_request.h"
#include "tests/unit/registrar/keygen/keyless_request.h"

#include <openssl/core_names.h>
#include <openssl/rsa.h>

#include <stdlib.h>

#define NONE    "none of ours"
#define NO_TYPE (KEY_TYPE_RSA_4096 + 1)

static const char *const names[] = {
    [KEY_TYPE_P256] = "EC:prime256v1",
    [KEY_TYPE_P384] = "EC:secp384r1",
    [KEY_TYPE_P521] = "EC:secp521r1",
    [KEY_TYPE_RSA_2048] = "RSA:2048",
    [KEY_TYPE_RSA_3072] = "RSA:3072",
    [KEY_TYPE_RSA_4096] = "RSA:4096",
    [NO_TYPE] = NONE,
};

static void assert_type(int type, const char *expected)
{
    assert_string_equal(names[type], expected);
}

static int type_of(const struct certificate_request *request)
{
    enum key_type type;
    return key_type_of_request(request, &type) ? (int)type : NO_TYPE;
}

static int type_of_csrattrs(struct bytes csrattrs)
{
    enum key_type type;
    return key_type_of_csrattrs(csrattrs, &type) ? (int)type : NO_TYPE;
}

/* SKG-5: the algorithm of the CSR's own public key, where we have it. */
static void the_type_is_that_of_the_csr(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"P-256", "EC:prime256v1"}, {"P-384", "EC:secp384r1"}, {"P-521", "EC:secp521r1"},
        {"RSA:2048", "RSA:2048"},   {"brainpoolP256r1", NONE}, {"ED25519", NONE},
        {"RSA:1024", NONE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct certificate_request *request = request_with_type(rows[i][0]);
        assert_type(type_of(request), rows[i][1]);
        certificate_request_free(request);
    }
}

/* SKG-5: csrattrs; the vectors, and what is no CsrAttrs at all. */
static void the_type_is_that_of_csrattrs(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"rfc8951-4-csrattrs.der", "EC:secp384r1"},
        {"rfc8951-4-csrattrs-empty.der", NONE},
        {"rfc9148-A4-att-response.csrattrs.der", NONE}, /* brainpoolP384r1 */
        {"rfc9908-5.4-rsa4096.csrattrs.der", "RSA:4096"},
        {"rfc9908-5.5-p384.csrattrs.der", "EC:secp384r1"},
        {"rfc9908-5.6-p521.csrattrs.der", "EC:secp521r1"},
        {"rfc9908-5.1-acp.csrattrs.der", NONE},
        {"rfc9148-A3-skg-key.pkcs8.der", NONE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buffer csrattrs = read_vector(rows[i][0]);
        assert_type(type_of_csrattrs(buffer_view(&csrattrs)), rows[i][1]);
        buffer_free(&csrattrs);
    }
}

#define OID_P384       "\x06\x05\x2b\x81\x04\x00\x22"
#define ID_RSA         "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
#define ID_EC          "\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
#define RSA_SIZE(size) BYTES_LITERAL("\x30\x13\x30\x11" ID_RSA "\x31\x04\x02\x02" size)

static void csrattrs_in_other_shapes(void **state)
{
    (void)state;
    const struct {
        struct bytes csrattrs;
        const char *type;
    } rows[] = {
        {BYTES_LITERAL("\x30\x07" OID_P384), "EC:secp384r1"},
        {RSA_SIZE("\x0c\x00"), "RSA:3072"},
        {RSA_SIZE("\x40\x00"), NONE}, /* 16384 bits would take minutes */
        {RSA_SIZE("\xf8\x00"), NONE}, /* negative */
        {BYTES_LITERAL("\x30\x0d\x30\x0b" ID_EC "\x31\x00"), NONE},
        {BYTES_LITERAL("\x30\x0b\x30\x09" ID_EC), NONE},
        {BYTES_LITERAL("\x30\x16\x30\x12" ID_EC "\x31\x07" OID_P384 "\x30\xff"), "EC:secp384r1"},
        {BYTES_LITERAL("\x30\x7f" OID_P384), NONE}, /* truncated */
        {BYTES_LITERAL("MAA="), NONE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_type(type_of_csrattrs(rows[i].csrattrs), rows[i].type);
    }
}

/* SKG-2: a public key of zeros is no fault, and its algorithm still says what is wanted. */
static void the_value_of_the_public_key_is_ignored(void **state)
{
    (void)state;
    EVP_PKEY *p384 = EVP_EC_gen("P-384");
    struct buffer der = make_request(&(struct made_request){.key = p384, .subject = "CN=a"});
    uint8_t point[97];
    size_t len;
    assert_int_equal(
        EVP_PKEY_get_octet_string_param(p384, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &len), 1);
    uint8_t *at = memmem(der.at, der.len, point, len);
    assert_non_null(at);
    memset(at + 1, 0, len - 1);
    struct certificate_request *refused = NULL;
    assert_int_equal(certificate_request_parse(buffer_view(&der), &refused), STATUS_MALFORMED);

    struct certificate_request *request = request_of(der);
    assert_null(certificate_request_key(request));
    assert_int_equal(certificate_request_verify(request), STATUS_UNTRUSTED);
    assert_type(type_of(request), "EC:secp384r1");
    certificate_request_free(request);
    EVP_PKEY_free(p384);
}

/* What is made is what was named. RSA of 4096 bits would take too long here. */
static void keys_are_of_their_type(void **state)
{
    (void)state;
    for (int type = KEY_TYPE_P256; type <= KEY_TYPE_RSA_3072; type++) {
        EVP_PKEY *made = key_type_generate((enum key_type)type, NULL);
        char text[64], group[32] = "";
        assert_non_null(made);
        if (EVP_PKEY_is_a(made, "EC")) {
            EVP_PKEY_get_group_name(made, group, sizeof(group), NULL);
            snprintf(text, sizeof(text), "EC:%s", group);
        } else {
            snprintf(text, sizeof(text), "%s:%d", EVP_PKEY_get0_type_name(made), EVP_PKEY_get_bits(made));
        }
        assert_string_equal(text, names[type]);
        EVP_PKEY_free(made);
    }
}

static void digests_are_as_strong_as_the_keys(void **state)
{
    (void)state;
    assert_int_equal(EVP_MD_get_size(key_type_digest(KEY_TYPE_P256)), 32);
    assert_int_equal(EVP_MD_get_size(key_type_digest(KEY_TYPE_P384)), 48);
    assert_int_equal(EVP_MD_get_size(key_type_digest(KEY_TYPE_P521)), 64);
    assert_int_equal(EVP_MD_get_size(key_type_digest(KEY_TYPE_RSA_4096)), 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_type_is_that_of_the_csr),
        cmocka_unit_test(the_type_is_that_of_csrattrs),
        cmocka_unit_test(csrattrs_in_other_shapes),
        cmocka_unit_test(the_value_of_the_public_key_is_ignored),
        cmocka_unit_test(keys_are_of_their_type),
        cmocka_unit_test(digests_are_as_strong_as_the_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
