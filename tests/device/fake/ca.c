#include "ca.h"

#include <stdio.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/pem.h>
#include <openssl/pkcs7.h>
#include <openssl/x509v3.h>

enum { A_YEAR_S = 365 * 86400 };

static bool sign(const struct ca *ca, X509 *issued, X509_REQ *request, EVP_PKEY *key);
static void set_serial(X509 *issued);
static void copy_names(X509 *issued, X509_REQ *request);

bool ca_load(struct ca *ca, const char *base)
{
    char path[512];
    snprintf(path, sizeof(path), "%s.pem", base);
    FILE *file = fopen(path, "r");
    ca->certificate = file == NULL ? NULL : PEM_read_X509(file, NULL, NULL, NULL);
    if (file != NULL)
        fclose(file);
    snprintf(path, sizeof(path), "%s.key", base);
    file = fopen(path, "r");
    ca->key = file == NULL ? NULL : PEM_read_PrivateKey(file, NULL, NULL, NULL);
    if (file != NULL)
        fclose(file);
    return ca->certificate != NULL && ca->key != NULL;
}

void ca_clear(struct ca *ca)
{
    X509_free(ca->certificate);
    EVP_PKEY_free(ca->key);
}

X509 *ca_issue(const struct ca *ca, X509_REQ *request, EVP_PKEY *key)
{
    X509 *issued = X509_new();
    EVP_PKEY *subject_key = key == NULL ? X509_REQ_get0_pubkey(request) : key;
    if (issued != NULL && subject_key != NULL && sign(ca, issued, request, subject_key))
        return issued;
    X509_free(issued);
    return NULL;
}

static bool sign(const struct ca *ca, X509 *issued, X509_REQ *request, EVP_PKEY *key)
{
    X509_set_version(issued, X509_VERSION_3);
    set_serial(issued);
    X509_set_issuer_name(issued, X509_get_subject_name(ca->certificate));
    X509_set_subject_name(issued, X509_REQ_get_subject_name(request));
    X509_gmtime_adj(X509_getm_notBefore(issued), -60);
    X509_gmtime_adj(X509_getm_notAfter(issued), A_YEAR_S);
    copy_names(issued, request);
    return X509_set_pubkey(issued, key) == 1 && X509_sign(issued, ca->key, EVP_sha256()) > 0;
}

static void set_serial(X509 *issued)
{
    BIGNUM *number = BN_new();
    BN_rand(number, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY);
    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(issued));
    BN_free(number);
}

static void copy_names(X509 *issued, X509_REQ *request)
{
    STACK_OF(X509_EXTENSION) *asks = X509_REQ_get_extensions(request);
    int at = X509v3_get_ext_by_NID(asks, NID_subject_alt_name, -1);
    if (at >= 0)
        X509_add_ext(issued, X509v3_get_ext(asks, at), -1);
    sk_X509_EXTENSION_pop_free(asks, X509_EXTENSION_free);
}

size_t certs_only_encode(X509 *const *certificates, size_t count, uint8_t **octets)
{
    PKCS7 *message = PKCS7_new();
    int length = 0;
    *octets = NULL;
    if (message != NULL && PKCS7_set_type(message, NID_pkcs7_signed) == 1 &&
        PKCS7_content_new(message, NID_pkcs7_data) == 1) {
        PKCS7_set_detached(message, 1);
        for (size_t i = 0; i < count; i++)
            PKCS7_add_certificate(message, certificates[i]);
        length = i2d_PKCS7(message, octets);
    }
    PKCS7_free(message);
    return length > 0 ? (size_t)length : 0;
}
