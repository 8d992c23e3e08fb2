/* Keys and certificates for unit tests, made in memory. Every function fails the test that calls it. */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_TEST_PKI_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_TEST_PKI_H

#include <openssl/asn1.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct test_certificate {
    X509 *certificate;
    EVP_PKEY *key;
};

/* A zeroed field means the ordinary thing. */
struct test_certificate_wish {
    const char *common_name;
    const struct test_certificate *issuer; /* NULL: self-signed */
    const char *curve;                     /* NULL: P-256; "RSA": a 2048 bit RSA key */
    const char *digest;                    /* NULL: SHA256 */
    const char *extended_key_usage;        /* NULL: no such extension */
    const char *key_usage;                 /* NULL: digitalSignature, or keyCertSign of a CA */
    bool ca;
    long from_s, to_s;   /* validity in seconds from now; both 0: from a day ago to a year ahead */
    long serial;         /* 0: 1 */
    const char *padding; /* of a comment extension, to make a certificate large */
};

static inline void test_add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static inline EVP_PKEY *test_key(const char *curve)
{
    EVP_PKEY *key = NULL;
    if (curve == NULL)
        key = EVP_EC_gen("P-256");
    else if (strcmp(curve, "RSA") == 0)
        key = EVP_RSA_gen(2048);
    else
        key = EVP_EC_gen(curve);
    assert_non_null(key);
    return key;
}

static inline void test_add_extensions(X509 *certificate, X509 *issuer,
                                       const struct test_certificate_wish *wish)
{
    test_add_extension(certificate, issuer, NID_basic_constraints,
                       wish->ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    const char *usage = wish->key_usage;
    if (usage == NULL)
        usage = wish->ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature";
    test_add_extension(certificate, issuer, NID_key_usage, usage);
    test_add_extension(certificate, issuer, NID_subject_key_identifier, "hash");
    if (wish->issuer != NULL)
        test_add_extension(certificate, issuer, NID_authority_key_identifier, "keyid");
    if (wish->extended_key_usage != NULL)
        test_add_extension(certificate, issuer, NID_ext_key_usage, wish->extended_key_usage);
    if (wish->padding != NULL)
        test_add_extension(certificate, issuer, NID_netscape_comment, wish->padding);
}

/* Gives; free with test_certificate_free. */
static inline struct test_certificate test_certificate(const struct test_certificate_wish *wish)
{
    struct test_certificate made = {X509_new(), test_key(wish->curve)};
    X509 *certificate = made.certificate;
    assert_non_null(certificate);
    X509 *issuer = wish->issuer != NULL ? wish->issuer->certificate : certificate;
    EVP_PKEY *signer = wish->issuer != NULL ? wish->issuer->key : made.key;
    bool ordinary = wish->from_s == 0 && wish->to_s == 0;

    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), wish->serial != 0 ? wish->serial : 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), ordinary ? -86400 : wish->from_s);
    X509_gmtime_adj(X509_getm_notAfter(certificate), ordinary ? 365 * 86400L : wish->to_s);
    X509_set_pubkey(certificate, made.key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                               (const unsigned char *)wish->common_name, -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
    test_add_extensions(certificate, issuer, wish);
    assert_true(
        X509_sign(certificate, signer, EVP_get_digestbyname(wish->digest != NULL ? wish->digest : "SHA256")));
    return made;
}

static inline void test_certificate_free(struct test_certificate *made)
{
    X509_free(made->certificate);
    EVP_PKEY_free(made->key);
    *made = (struct test_certificate){NULL, NULL};
}

/* Writes count certificates to one PEM file. */
static inline void test_write_certificates(const char *file, X509 *const *certificates, size_t count)
{
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(PEM_write_X509(out, certificates[i]), 1);
    assert_int_equal(fclose(out), 0);
}

static inline void test_write_key(const char *file, EVP_PKEY *key)
{
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    assert_int_equal(PEM_write_PKCS8PrivateKey(out, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fchmod(fileno(out), 0600), 0); /* else it is warned of */
    assert_int_equal(fclose(out), 0);
}

#endif
