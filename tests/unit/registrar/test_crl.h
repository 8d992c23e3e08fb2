/* Certificate revocation lists for unit tests, made in memory. Every function fails the test that calls it.
 */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_TEST_CRL_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_TEST_CRL_H

#include "common/bytes.h"
#include "tests/unit/registrar/test_pki.h"

/* A zeroed field means the ordinary thing. */
struct test_crl_wish {
    const struct test_certificate *issuer; /* whose name it bears */
    const struct test_certificate *signer; /* NULL: the issuer */
    long from_s, to_s;                     /* in seconds from now; both 0: from an hour ago to a day ahead */
    bool endless;                          /* without nextUpdate */
    const long *serials;                   /* ends with 0; NULL: none */
    int extension;                         /* NID of one of the list, in OpenSSL's notation: */
    const char *extension_value;
};

static inline void test_crl_add(X509_CRL *crl, long serial)
{
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    ASN1_TIME *date = X509_gmtime_adj(NULL, -60);
    ASN1_INTEGER_set(number, serial);
    assert_int_equal(X509_REVOKED_set_serialNumber(entry, number), 1);
    assert_int_equal(X509_REVOKED_set_revocationDate(entry, date), 1);
    assert_int_equal(X509_CRL_add0_revoked(crl, entry), 1);
    ASN1_TIME_free(date);
    ASN1_INTEGER_free(number);
}

/* Gives. */
static inline X509_CRL *test_crl(const struct test_crl_wish *wish)
{
    X509_CRL *crl = X509_CRL_new();
    bool ordinary = wish->from_s == 0 && wish->to_s == 0;
    ASN1_TIME *from = X509_gmtime_adj(NULL, ordinary ? -3600 : wish->from_s);
    ASN1_TIME *to = X509_gmtime_adj(NULL, ordinary ? 2 * 86400L : wish->to_s);
    X509_CRL_set_version(crl, X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(wish->issuer->certificate));
    X509_CRL_set1_lastUpdate(crl, from);
    if (!wish->endless)
        X509_CRL_set1_nextUpdate(crl, to);
    for (const long *serial = wish->serials; serial != NULL && *serial != 0; serial++)
        test_crl_add(crl, *serial);
    if (wish->extension != 0) {
        X509V3_CTX context;
        X509V3_set_ctx(&context, wish->issuer->certificate, NULL, NULL, crl, X509V3_CTX_TEST);
        X509_EXTENSION *extension =
            X509V3_EXT_conf_nid(NULL, &context, wish->extension, wish->extension_value);
        assert_non_null(extension);
        assert_int_equal(X509_CRL_add_ext(crl, extension, -1), 1);
        X509_EXTENSION_free(extension);
    }
    X509_CRL_sort(crl);
    assert_true(X509_CRL_sign(crl, (wish->signer != NULL ? wish->signer : wish->issuer)->key, EVP_sha256()) >
                0);
    ASN1_TIME_free(from);
    ASN1_TIME_free(to);
    return crl;
}

/* Gives its DER. */
static inline struct buffer test_crl_der(const struct test_crl_wish *wish)
{
    X509_CRL *crl = test_crl(wish);
    struct buffer der;
    buffer_init(&der, (size_t)64 << 20);
    uint8_t *at = buffer_extend(&der, (size_t)i2d_X509_CRL(crl, NULL));
    assert_non_null(at);
    i2d_X509_CRL(crl, &at);
    X509_CRL_free(crl);
    return der;
}

static inline void test_write_crls(const char *file, const struct test_crl_wish *wishes, size_t count)
{
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    for (size_t i = 0; i < count; i++) {
        X509_CRL *crl = test_crl(&wishes[i]);
        assert_int_equal(PEM_write_X509_CRL(out, crl), 1);
        X509_CRL_free(crl);
    }
    assert_int_equal(fclose(out), 0);
}

#endif
