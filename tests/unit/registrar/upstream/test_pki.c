#include "test_pki.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value);

struct identity identity_make(const struct identity_settings *settings)
{
    static long serial; /* unique in the process */
    struct identity identity = {.certificate = X509_new(), .key = EVP_EC_gen("P-256")};
    X509 *certificate = identity.certificate;
    const struct identity *issuer = settings->issuer != NULL ? settings->issuer : &identity;
    assert_non_null(certificate);
    assert_non_null(identity.key);

    X509_NAME *name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)settings->name, -1, -1, 0);
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate), settings->from_s);
    X509_gmtime_adj(X509_getm_notAfter(certificate), settings->until_s);
    X509_set_pubkey(certificate, identity.key);
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer->certificate));
    add_extension(certificate, issuer->certificate, NID_basic_constraints,
                  settings->issuer == NULL ? "critical,CA:TRUE" : "CA:FALSE");
    add_extension(certificate, issuer->certificate, NID_subject_key_identifier, "hash");
    add_extension(certificate, issuer->certificate, NID_subject_alt_name, settings->san);
    add_extension(certificate, issuer->certificate, NID_ext_key_usage, settings->purposes);
    assert_true(X509_sign(certificate, issuer->key, EVP_sha256()) > 0);
    return identity;
}

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    if (value == NULL)
        return;
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

void identity_free(struct identity *identity)
{
    X509_free(identity->certificate);
    EVP_PKEY_free(identity->key);
    *identity = (struct identity){NULL, NULL};
}

void identity_write(const struct identity *identity, const char *dir, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s.pem", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, identity->certificate), 1);
    fclose(file);
    snprintf(path, sizeof path, "%s/%s.key", dir, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_PKCS8PrivateKey(file, identity->key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    assert_int_equal(chmod(path, 0600), 0);
}
