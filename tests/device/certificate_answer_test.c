/* The published examples as answers, and what is almost one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "certificate_answer.h"
#include "certificate_request.h"
#include "coap_names.h"

static struct octets vector(const char *name)
{
    struct octets octets = {0};
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", VECTORS, name);
    assert_true(octets_from_file(&octets, path, 65536));
    return octets;
}

static int count_in(const char *name, int format)
{
    struct explanation why;
    struct octets payload = vector(name);
    STACK_OF(X509) *bag = certificates_read(format, octets_view(&payload), &why);
    int count = bag == NULL ? 0 : sk_X509_num(bag);
    sk_X509_pop_free(bag, X509_free);
    octets_clear(&payload);
    return count;
}

static void test_published_answers(void **state)
{
    (void)state;
    assert_int_equal(count_in("rfc9148-A1-crts-response.p7.der", 281), 1);
    assert_int_equal(count_in("rfc9148-A2-sen-response.p7.der", 281), 1);
    assert_int_equal(count_in("rfc7030-A1-cacerts.p7.der", 281), 4);
    assert_int_equal(count_in("rfc9148-A1-crts-response.ee.cert.der", 287), 1);
}

static void test_what_is_not_the_answer(void **state)
{
    (void)state;
    assert_int_equal(count_in("rfc9148-A1-crts-response.p7.der", 287), 0);
    assert_int_equal(count_in("rfc9148-A1-crts-response.ee.cert.der", 281), 0);
    assert_int_equal(count_in("derived-WRONG-crts-wrapped-in-bstr.bin", 281), 0);
    assert_int_equal(count_in("rfc9148-A3-skg-response.multipart-core.bin", 62), 0);
    assert_int_equal(count_in("rfc9148-A2-sen-request.csr.der", 281), 0);
}

/* CF-7 */
static void test_multipart(void **state)
{
    (void)state;
    struct explanation why;
    struct octets certificate = vector("rfc9148-A1-crts-response.ee.cert.der"), payload = {0};
    const uint8_t head[] = {0x59, (uint8_t)(certificate.len >> 8), (uint8_t)certificate.len};
    static const uint8_t array[] = {0x84}, format[] = {0x19, 0x01, 0x1f};
    assert_true(octets_append(&payload, (struct view){array, 1}, 65536));
    for (int i = 0; i < 2; i++) {
        assert_true(octets_append(&payload, (struct view){format, 3}, 65536));
        assert_true(octets_append(&payload, (struct view){head, 3}, 65536));
        assert_true(octets_append(&payload, octets_view(&certificate), 65536));
    }
    STACK_OF(X509) *bag = certificates_read(62, octets_view(&payload), &why);
    assert_int_equal(sk_X509_num(bag), 2);
    sk_X509_pop_free(bag, X509_free);
    payload.at[3] = 0x1d; /* 285 */
    assert_null(certificates_read(62, octets_view(&payload), &why));
    assert_null(certificates_read(62, (struct view){(const uint8_t *)"\x80", 1}, &why));
    octets_clear(&certificate);
    octets_clear(&payload);
}

static void test_cut_and_extended(void **state)
{
    static const uint8_t zero = 0;
    (void)state;
    struct explanation why;
    struct octets payload = vector("rfc9148-A2-sen-response.p7.der");
    assert_null(certificates_read(281, (struct view){payload.at, payload.len - 1}, &why));
    assert_null(certificates_read(281, (struct view){payload.at, 0}, &why));
    assert_true(octets_append(&payload, (struct view){&zero, 1}, 65536));
    assert_null(certificates_read(281, octets_view(&payload), &why));
    assert_string_equal(why.text, "1 octets follow the PKCS#7 message");
    octets_clear(&payload);
}

/* CF-5: RFC 9148 A.2's certificate is for the key of its request, and not for another's. */
static void test_key_match(void **state)
{
    (void)state;
    struct explanation why;
    struct octets csr = vector("rfc9148-A2-sen-request.csr.der");
    struct octets payload = vector("rfc9148-A2-sen-response.p7.der");
    EVP_PKEY *key = certificate_request_key(octets_view(&csr), &why);
    EVP_PKEY *other = fresh_key("P-256");
    STACK_OF(X509) *bag = certificates_read(281, octets_view(&payload), &why);
    assert_ptr_equal(certificate_for_key(bag, key, &why), sk_X509_value(bag, 0));
    assert_null(certificate_for_key(bag, other, &why));
    X509_add_cert(bag, sk_X509_value(bag, 0), X509_ADD_FLAG_UP_REF);
    assert_null(certificate_for_key(bag, key, &why));
    assert_string_equal(why.text,
                        "2 of the 2 certificates in the answer are for our key; exactly one must be");
    sk_X509_pop_free(bag, X509_free);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    octets_clear(&csr);
    octets_clear(&payload);
}

static void assert_attributes(const char *name, const char *words)
{
    struct explanation why;
    struct octets payload = vector(name);
    struct octets read = {0};
    assert_true(csrattrs_read(octets_view(&payload), &read, &why));
    assert_int_equal(read.len, strlen(words));
    assert_memory_equal(read.len == 0 ? words : (const char *)read.at, words, read.len);
    octets_clear(&payload);
    octets_clear(&read);
}

static void test_attributes(void **state)
{
    (void)state;
    struct explanation why;
    struct octets read = {0};
    assert_attributes("rfc9148-A4-att-response.csrattrs.der",
                      "1.3.6.1.1.1.1.22 2.999.1 challengePassword 2.999.2 brainpoolP384r1 sha384");
    assert_attributes("derived-csrattrs-challengePassword-only.der", "challengePassword");
    assert_attributes("rfc8951-4-csrattrs-empty.der", "");
    assert_false(csrattrs_read((struct view){(const uint8_t *)"\x30\x03\x02\x01\x05", 5}, &read, &why));
    assert_false(csrattrs_read((struct view){(const uint8_t *)"\x30\x00\x00", 3}, &read, &why));
    assert_false(csrattrs_read((struct view){(const uint8_t *)"\x30\x02\x30\x00", 4}, &read, &why));
    octets_clear(&read);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_answers), cmocka_unit_test(test_what_is_not_the_answer),
        cmocka_unit_test(test_multipart),         cmocka_unit_test(test_key_match),
        cmocka_unit_test(test_cut_and_extended),  cmocka_unit_test(test_key_match),
        cmocka_unit_test(test_attributes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
