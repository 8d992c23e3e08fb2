#include "registrar/renewal/successor.h"

#include "registrar/keygen/rsa_generation.h"
#include "registrar/protocol/pem_file.h"
#include "registrar/translate/certs_only.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <string.h>

#define INTERMEDIATES_MAX 8
#define CURVE_OCTETS_MAX  64

static bool read_time(const ASN1_TIME *text, time_t *time);
static bool curve_of(EVP_PKEY *key, char curve[CURVE_OCTETS_MAX]);
static STACK_OF(X509_EXTENSION) * copy_extensions(const X509 *certificate);
static bool sign(X509_REQ *request, EVP_PKEY *key);
static X509_REQ *read_request(struct bytes der);
static const char *complaint_about(X509 *present, X509 *next);
static bool keeps_names(const X509 *present, const X509 *next);
static bool keeps_purposes(const X509 *present, const X509 *next);
static STACK_OF(X509) *
    find_intermediates(const struct certs_only *certs, const struct ra_identity *present, X509 *leaf);
static X509 *find_issuer(const struct certs_only *certs, const struct ra_identity *present, X509 *subject);

enum status successor_times(const X509 *certificate, struct successor_times *times)
{
    time_t begin;
    if (!read_time(X509_get0_notBefore(certificate), &begin) ||
        !read_time(X509_get0_notAfter(certificate), &times->end) || times->end < begin)
        return STATUS_MALFORMED;
    times->due = begin + (times->end - begin) / 3 * 2;
    return STATUS_OK;
}

static bool read_time(const ASN1_TIME *text, time_t *time)
{
    struct tm parts;
    if (ASN1_TIME_to_tm(text, &parts) != 1)
        return false;
    *time = timegm(&parts);
    return true;
}

EVP_PKEY *successor_make_key(EVP_PKEY *like, const atomic_bool *abandoned)
{
    char curve[CURVE_OCTETS_MAX];
    switch (EVP_PKEY_get_base_id(like)) {
    case EVP_PKEY_RSA:
        return rsa_generation_make(EVP_PKEY_get_bits(like), abandoned);
    case EVP_PKEY_EC:
        return curve_of(like, curve) ? EVP_EC_gen(curve) : NULL;
    case EVP_PKEY_ED25519:
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    case EVP_PKEY_ED448:
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED448");
    default:
        return NULL;
    }
}

static bool curve_of(EVP_PKEY *key, char curve[CURVE_OCTETS_MAX])
{
    return EVP_PKEY_get_group_name(key, curve, CURVE_OCTETS_MAX, NULL) == 1;
}

bool successor_key_suits(EVP_PKEY *key, EVP_PKEY *like)
{
    bool suits = EVP_PKEY_get_base_id(key) == EVP_PKEY_get_base_id(like) &&
                 EVP_PKEY_get_bits(key) == EVP_PKEY_get_bits(like) && EVP_PKEY_eq(key, like) != 1;
    ERR_clear_error();
    return suits;
}

enum status successor_request(const X509 *certificate, EVP_PKEY *key, struct buffer *der)
{
    X509_REQ *request = X509_REQ_new();
    STACK_OF(X509_EXTENSION) *extensions = copy_extensions(certificate);
    unsigned char *octets = NULL;
    int len;
    enum status status = STATUS_CRYPTO;
    if (request == NULL || extensions == NULL ||
        X509_REQ_set_subject_name(request, X509_get_subject_name(certificate)) != 1 ||
        X509_REQ_set_pubkey(request, key) != 1 ||
        (sk_X509_EXTENSION_num(extensions) > 0 && X509_REQ_add_extensions(request, extensions) != 1) ||
        !sign(request, key))
        goto out;
    len = i2d_X509_REQ(request, &octets);
    if (len <= 0)
        goto out;
    buffer_append(der, (struct bytes){octets, (size_t)len});
    status = der->status;
out:
    OPENSSL_free(octets);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_REQ_free(request);
    ERR_clear_error();
    return status;
}

/* What its owner asked for; all else in a certificate is its CA's. Gives. */
static STACK_OF(X509_EXTENSION) * copy_extensions(const X509 *certificate)
{
    static const int kept[] = {NID_subject_alt_name, NID_key_usage, NID_ext_key_usage, NID_basic_constraints};
    STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        int at = X509_get_ext_by_NID(certificate, kept[i], -1);
        X509_EXTENSION *copy = at >= 0 ? X509_EXTENSION_dup(X509_get_ext(certificate, at)) : NULL;
        if (copy != NULL && sk_X509_EXTENSION_push(extensions, copy) <= 0)
            X509_EXTENSION_free(copy);
    }
    return extensions;
}

/* Edwards keys hash by themselves (RFC 8032). */
static bool sign(X509_REQ *request, EVP_PKEY *key)
{
    int id = EVP_PKEY_get_base_id(key);
    bool is_edwards = id == EVP_PKEY_ED25519 || id == EVP_PKEY_ED448;
    const EVP_MD *digest = EVP_PKEY_get_bits(key) == 384 ? EVP_sha384() : EVP_sha256();
    return X509_REQ_sign(request, key, is_edwards ? NULL : digest) > 0;
}

bool successor_request_repeats(struct bytes kept, struct bytes request)
{
    X509_REQ *one = read_request(kept), *other = read_request(request);
    unsigned char *first = NULL, *second = NULL;
    int len = one != NULL && other != NULL ? i2d_re_X509_REQ_tbs(one, &first) : -1;
    bool repeats = len > 0 && i2d_re_X509_REQ_tbs(other, &second) == len &&
                   memcmp(first, second, (size_t)len) == 0 &&
                   X509_REQ_verify(one, X509_REQ_get0_pubkey(one)) == 1;
    OPENSSL_free(first);
    OPENSSL_free(second);
    X509_REQ_free(one);
    X509_REQ_free(other);
    ERR_clear_error();
    return repeats;
}

static X509_REQ *read_request(struct bytes der)
{
    const unsigned char *at = der.at;
    return d2i_X509_REQ(NULL, &at, (long)der.len);
}

enum status successor_accept(const struct ra_identity *present, EVP_PKEY *key, struct bytes certs_only,
                             struct ra_identity *next, const char **why)
{
    struct certs_only *certs = NULL;
    X509 *leaf = NULL;
    *next = (struct ra_identity){.certificate = NULL};
    *why = "the EST server sent no certificate for the new key";
    if (certs_only_parse(certs_only, &certs) == STATUS_OK && certs_only_find(certs, key, &leaf) == STATUS_OK)
        *why = complaint_about(present->certificate, leaf);
    if (*why == NULL) {
        next->intermediates = find_intermediates(certs, present, leaf);
        if (X509_up_ref(leaf) == 1)
            next->certificate = leaf;
        if (EVP_PKEY_up_ref(key) == 1)
            next->key = key;
        if (next->intermediates == NULL)
            *why = "out of memory";
    }
    certs_only_free(certs);
    ERR_clear_error();
    if (*why == NULL)
        return STATUS_OK;
    ra_identity_free(next);
    return STATUS_MISMATCH;
}

/* NULL: it will do. */
static const char *complaint_about(X509 *present, X509 *next)
{
    struct successor_times times;
    if (successor_times(next, &times) != STATUS_OK || times.due <= time(NULL))
        return "the new certificate would be due for renewal at once";
    if (X509_cmp_current_time(X509_get0_notBefore(next)) > 0)
        return "the new certificate is not valid yet: the EST server's clock and ours differ";
    if (X509_NAME_cmp(X509_get_subject_name(present), X509_get_subject_name(next)) != 0)
        return "the new certificate has another subject than the present one";
    if (!keeps_names(present, next))
        return "the new certificate lacks the subjectAltName of the present one";
    if (!keeps_purposes(present, next))
        return "the new certificate lacks an extended key usage of the present one";
    return NULL;
}

static bool keeps_names(const X509 *present, const X509 *next)
{
    GENERAL_NAMES *wanted = X509_get_ext_d2i(present, NID_subject_alt_name, NULL, NULL);
    GENERAL_NAMES *given = X509_get_ext_d2i(next, NID_subject_alt_name, NULL, NULL);
    bool kept = true;
    for (int i = 0; i < sk_GENERAL_NAME_num(wanted) && kept; i++) {
        kept = false;
        for (int j = 0; j < sk_GENERAL_NAME_num(given) && !kept; j++)
            kept = GENERAL_NAME_cmp(sk_GENERAL_NAME_value(wanted, i), sk_GENERAL_NAME_value(given, j)) == 0;
    }
    GENERAL_NAMES_free(wanted);
    GENERAL_NAMES_free(given);
    return kept;
}

static bool keeps_purposes(const X509 *present, const X509 *next)
{
    static const int purposes[] = {NID_client_auth, NID_server_auth, NID_cmcRA};
    for (size_t i = 0; i < sizeof purposes / sizeof purposes[0]; i++)
        if (pem_certificate_names_purpose(present, purposes[i]) &&
            !pem_certificate_names_purpose(next, purposes[i]))
            return false;
    return true;
}

/* From the leaf up to, but without, a root. Gives. */
static STACK_OF(X509) *
    find_intermediates(const struct certs_only *certs, const struct ra_identity *present, X509 *leaf)
{
    STACK_OF(X509) *intermediates = sk_X509_new_null();
    X509 *issuer = leaf;
    while (intermediates != NULL && sk_X509_num(intermediates) < INTERMEDIATES_MAX &&
           (issuer = find_issuer(certs, present, issuer)) != NULL)
        if (X509_up_ref(issuer) == 1 && sk_X509_push(intermediates, issuer) <= 0)
            X509_free(issuer);
    return intermediates;
}

static X509 *find_issuer(const struct certs_only *certs, const struct ra_identity *present, X509 *subject)
{
    X509 *candidate;
    for (size_t i = 0; (candidate = certs_only_at(certs, i)) != NULL; i++)
        if (X509_self_signed(candidate, 0) != 1 && X509_check_issued(candidate, subject) == X509_V_OK)
            return candidate;
    for (int i = 0; i < sk_X509_num(present->intermediates); i++) {
        candidate = sk_X509_value(present->intermediates, i);
        if (X509_self_signed(candidate, 0) != 1 && X509_check_issued(candidate, subject) == X509_V_OK)
            return candidate;
    }
    return NULL;
}
