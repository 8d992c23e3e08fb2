/* Keys, certification requests, certificates and files for the tests of registrar/, made on the spot. */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_CREDENTIALS_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_CREDENTIALS_H

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "common/bytes.h"

#include <openssl/evp.h>
#include <openssl/pkcs7.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <string.h>

#define MADE_LIMIT ((size_t)1024 * 1024)

/* A file of tests/vectors. Gives. */
static inline struct buffer read_vector(const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", VECTORS, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("%s is missing", path);
    struct buffer content;
    buffer_init(&content, MADE_LIMIT);
    for (int octet; (octet = fgetc(file)) != EOF;)
        buffer_append_byte(&content, (uint8_t)octet);
    fclose(file);
    assert_int_equal(content.status, STATUS_OK);
    return content;
}

static inline EVP_PKEY *make_key(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert_non_null(key);
    return key;
}

/* "CN=Device 1/serialNumber=42": attribute types as OpenSSL names them; "" is the empty name. */
static inline X509_NAME *make_name(const char *text)
{
    X509_NAME *name = X509_NAME_new();
    char copy[512], *rest = copy;
    snprintf(copy, sizeof(copy), "%s", text);
    for (char *part; (part = strtok_r(rest, "/", &rest)) != NULL;) {
        char *value = strchr(part, '=');
        assert_non_null(value);
        *value++ = '\0';
        assert_int_equal(
            X509_NAME_add_entry_by_txt(name, part, MBSTRING_UTF8, (const unsigned char *)value, -1, -1, 0),
            1);
    }
    return name;
}

/* One extension in OpenSSL's notation: {"basicConstraints", "critical,CA:TRUE"}. */
struct made_extension {
    const char *name, *value;
};

static inline X509_EXTENSION *make_extension(const struct made_extension *made)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, NULL, NULL, NULL, NULL, X509V3_CTX_TEST);
    X509_EXTENSION *extension = X509V3_EXT_nconf(NULL, &context, made->name, made->value);
    if (extension == NULL)
        fail_msg("extension %s = %s", made->name, made->value);
    return extension;
}

#define MADE_EXTENSIONS_MAX 4

struct made_request {
    EVP_PKEY *key; /* borrowed */
    const char *subject;
    struct made_extension extensions[MADE_EXTENSIONS_MAX];
    const char *challenge_password; /* NULL: none */
    int extensions_nid;             /* 0: NID_ext_req */
};

/* Adds attributes before it is signed with sign_request. Gives. */
static inline X509_REQ *make_unsigned_request(const struct made_request *made)
{
    X509_REQ *request = X509_REQ_new();
    X509_NAME *subject = make_name(made->subject);
    X509_REQ_set_version(request, X509_REQ_VERSION_1);
    X509_REQ_set_subject_name(request, subject);
    X509_REQ_set_pubkey(request, made->key);
    STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
    for (size_t i = 0; i < MADE_EXTENSIONS_MAX && made->extensions[i].name != NULL; i++)
        sk_X509_EXTENSION_push(extensions, make_extension(&made->extensions[i]));
    if (sk_X509_EXTENSION_num(extensions) > 0)
        X509_REQ_add_extensions_nid(request, extensions,
                                    made->extensions_nid != 0 ? made->extensions_nid : NID_ext_req);
    if (made->challenge_password != NULL)
        X509_REQ_add1_attr_by_NID(request, NID_pkcs9_challengePassword, MBSTRING_UTF8,
                                  (const unsigned char *)made->challenge_password, -1);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_NAME_free(subject);
    return request;
}

/* Takes request. Gives its DER. */
static inline struct buffer sign_request(X509_REQ *request, EVP_PKEY *key)
{
    assert_true(X509_REQ_sign(request, key, EVP_sha256()) > 0);
    struct buffer der;
    buffer_init(&der, MADE_LIMIT);
    uint8_t *at = buffer_extend(&der, (size_t)i2d_X509_REQ(request, NULL));
    assert_non_null(at);
    i2d_X509_REQ(request, &at);
    X509_REQ_free(request);
    return der;
}

static inline struct buffer make_request(const struct made_request *made)
{
    return sign_request(make_unsigned_request(made), made->key);
}

struct made_certificate {
    EVP_PKEY *key; /* borrowed: the subject's */
    const char *subject;
    struct made_extension extensions[MADE_EXTENSIONS_MAX];
    EVP_PKEY *issuer_key; /* borrowed; NULL: self-signed */
    const char *issuer;   /* with issuer_key */
};

static inline X509 *make_certificate(const struct made_certificate *made)
{
    X509 *certificate = X509_new();
    X509_NAME *subject = make_name(made->subject);
    X509_NAME *issuer = make_name(made->issuer_key != NULL ? made->issuer : made->subject);
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 0x1234);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_subject_name(certificate, subject);
    X509_set_issuer_name(certificate, issuer);
    X509_set_pubkey(certificate, made->key);
    for (size_t i = 0; i < MADE_EXTENSIONS_MAX && made->extensions[i].name != NULL; i++) {
        X509_EXTENSION *extension = make_extension(&made->extensions[i]);
        X509_add_ext(certificate, extension, -1);
        X509_EXTENSION_free(extension);
    }
    EVP_PKEY *signer = made->issuer_key != NULL ? made->issuer_key : made->key;
    assert_true(X509_sign(certificate, signer, EVP_sha256()) > 0);
    X509_NAME_free(subject);
    X509_NAME_free(issuer);
    return certificate;
}

static inline struct buffer encode_certificate(X509 *certificate)
{
    struct buffer der;
    buffer_init(&der, MADE_LIMIT);
    uint8_t *at = buffer_extend(&der, (size_t)i2d_X509(certificate, NULL));
    assert_non_null(at);
    i2d_X509(certificate, &at);
    return der;
}

/* A certs-only message of count certificates in this order. */
static inline struct buffer make_certs_only(X509 *const *certificates, size_t count)
{
    PKCS7 *message = PKCS7_new();
    PKCS7_set_type(message, NID_pkcs7_signed);
    PKCS7_content_new(message, NID_pkcs7_data);
    PKCS7_set_detached(message, 1);
    for (size_t i = 0; i < count; i++)
        PKCS7_add_certificate(message, certificates[i]);
    struct buffer der;
    buffer_init(&der, MADE_LIMIT);
    uint8_t *at = buffer_extend(&der, (size_t)i2d_PKCS7(message, NULL));
    assert_non_null(at);
    i2d_PKCS7(message, &at);
    PKCS7_free(message);
    return der;
}

#endif
