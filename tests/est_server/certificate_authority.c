#include "certificate_authority.h"

#include "memory.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLOCK_SKEW_S = 300 }; /* certificates begin that long ago */

struct certificate_authority {
    X509 *certificate;
    EVP_PKEY *key;
    long validity_s;
};

static X509 *read_certificate(const char *file);
static EVP_PKEY *read_key(const char *file);
static bool fill_in(const struct certificate_authority *authority, X509 *certificate,
                    const X509_NAME *subject);
static bool copy_key(const X509_PUBKEY *from, X509_PUBKEY *to);
static void *copy_parameters(int type, const void *value);
static bool set_random_serial(X509 *certificate);
static bool add_extensions(const struct certificate_authority *authority, X509 *certificate,
                           X509_REQ *request);
static bool add_extension(const struct certificate_authority *authority, X509 *certificate, int nid,
                          const char *value);
static bool copy_extensions(X509 *certificate, const STACK_OF(X509_EXTENSION) * requested);

struct certificate_authority *certificate_authority_create(const char *certificate, const char *private_key,
                                                           long validity_s)
{
    struct certificate_authority *authority = memory_allocate(sizeof(*authority));
    authority->certificate = read_certificate(certificate);
    authority->key = read_key(private_key);
    authority->validity_s = validity_s;
    if (authority->certificate != NULL && authority->key != NULL &&
        X509_check_private_key(authority->certificate, authority->key) == 1)
        return authority;
    fprintf(stderr, "est-server: %s and %s are not a CA certificate and its private key: %s\n", certificate,
            private_key, ERR_reason_error_string(ERR_peek_last_error()));
    certificate_authority_free(authority);
    return NULL;
}

struct certificate_authority *certificate_authority_create_root(const char *common_name, long validity_s)
{
    struct certificate_authority *authority = memory_allocate(sizeof(*authority));
    X509_NAME *name = X509_NAME_new();
    authority->validity_s = validity_s;
    authority->certificate = X509_new();
    authority->key = EVP_EC_gen("P-256");
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1, 0);
    X509_set_subject_name(authority->certificate, name);
    if (!fill_in(authority, authority->certificate, name) ||
        X509_set_pubkey(authority->certificate, authority->key) != 1 ||
        !add_extension(authority, authority->certificate, NID_basic_constraints, "critical,CA:TRUE") ||
        !add_extension(authority, authority->certificate, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        X509_sign(authority->certificate, authority->key, EVP_sha256()) <= 0) {
        certificate_authority_free(authority);
        authority = NULL;
    }
    X509_NAME_free(name);
    return authority;
}

void certificate_authority_free(struct certificate_authority *authority)
{
    if (authority == NULL)
        return;
    X509_free(authority->certificate);
    EVP_PKEY_free(authority->key);
    free(authority);
}

X509 *certificate_authority_certificate(const struct certificate_authority *authority)
{
    return authority->certificate;
}

X509 *certificate_authority_issue(const struct certificate_authority *authority, X509_REQ *request,
                                  const X509_PUBKEY *key)
{
    X509 *certificate = X509_new();
    if (certificate != NULL && fill_in(authority, certificate, X509_REQ_get_subject_name(request)) &&
        copy_key(key, X509_get_X509_PUBKEY(certificate)) && add_extensions(authority, certificate, request) &&
        X509_sign(certificate, authority->key, EVP_sha256()) > 0)
        return certificate;
    X509_free(certificate);
    return NULL;
}

static X509 *read_certificate(const char *file)
{
    BIO *in = BIO_new_file(file, "r");
    X509 *certificate = in != NULL ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;
    BIO_free(in);
    return certificate;
}

static EVP_PKEY *read_key(const char *file)
{
    BIO *in = BIO_new_file(file, "r");
    EVP_PKEY *key = in != NULL ? PEM_read_bio_PrivateKey(in, NULL, NULL, NULL) : NULL;
    BIO_free(in);
    return key;
}

/* Everything but key and extensions: RFC 5280 section 4.1. */
static bool fill_in(const struct certificate_authority *authority, X509 *certificate,
                    const X509_NAME *subject)
{
    return X509_set_version(certificate, X509_VERSION_3) == 1 && set_random_serial(certificate) &&
           X509_set_issuer_name(certificate, X509_get_subject_name(authority->certificate)) == 1 &&
           X509_set_subject_name(certificate, subject) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(certificate), -CLOCK_SKEW_S) != NULL &&
           X509_gmtime_adj(X509_getm_notAfter(certificate), authority->validity_s) != NULL;
}

/* X509_set_pubkey would encode the key and decode it again, which takes longer than to sign. */
static bool copy_key(const X509_PUBKEY *from, X509_PUBKEY *to)
{
    ASN1_OBJECT *algorithm;
    X509_ALGOR *identifier;
    const unsigned char *bits;
    const void *parameters;
    int type, len;
    if (X509_PUBKEY_get0_param(&algorithm, &bits, &len, &identifier, from) != 1)
        return false;
    X509_ALGOR_get0(NULL, &type, &parameters, identifier);
    unsigned char *copied_bits = OPENSSL_memdup(bits, (size_t)len);
    ASN1_OBJECT *copied_algorithm = OBJ_dup(algorithm);
    void *copied_parameters = copy_parameters(type, parameters);
    return copied_bits != NULL && copied_algorithm != NULL &&
           X509_PUBKEY_set0_param(to, copied_algorithm, type, copied_parameters, copied_bits, len) == 1;
}

/* Gives the value of an ASN.1 ANY. */
static void *copy_parameters(int type, const void *value)
{
    if (type == V_ASN1_UNDEF || type == V_ASN1_NULL)
        return NULL;
    if (type == V_ASN1_OBJECT)
        return OBJ_dup(value);
    return ASN1_STRING_dup(value);
}

/* Positive and at most 20 octets: RFC 5280 section 4.1.2.2. */
static bool set_random_serial(X509 *certificate)
{
    unsigned char octets[20];
    if (RAND_bytes(octets, sizeof(octets)) != 1)
        return false;
    octets[0] = (octets[0] & 0x7f) | 0x40;
    BIGNUM *number = BN_bin2bn(octets, sizeof(octets), NULL);
    bool done = BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return done;
}

static bool add_extensions(const struct certificate_authority *authority, X509 *certificate,
                           X509_REQ *request)
{
    STACK_OF(X509_EXTENSION) *requested = X509_REQ_get_extensions(request);
    bool done = add_extension(authority, certificate, NID_subject_key_identifier, "hash") &&
                add_extension(authority, certificate, NID_authority_key_identifier, "keyid") &&
                copy_extensions(certificate, requested);
    if (done && X509_get_ext_by_NID(certificate, NID_key_usage, -1) < 0)
        done = add_extension(authority, certificate, NID_key_usage, "critical,digitalSignature");
    sk_X509_EXTENSION_pop_free(requested, X509_EXTENSION_free);
    return done;
}

static bool add_extension(const struct certificate_authority *authority, X509 *certificate, int nid,
                          const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, authority->certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool done = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return done;
}

/* A requested extension replaces the one that this CA would have added. */
static bool copy_extensions(X509 *certificate, const STACK_OF(X509_EXTENSION) * requested)
{
    for (int i = 0; i < sk_X509_EXTENSION_num(requested); i++) {
        X509_EXTENSION *extension = sk_X509_EXTENSION_value(requested, i);
        int place = X509_get_ext_by_OBJ(certificate, X509_EXTENSION_get_object(extension), -1);
        if (place >= 0)
            X509_EXTENSION_free(X509_delete_ext(certificate, place));
        if (X509_add_ext(certificate, extension, -1) != 1)
            return false;
    }
    return true;
}
