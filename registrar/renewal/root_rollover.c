#include "registrar/renewal/root_rollover.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#define SECURITY_BITS 112 /* of keys and signatures, as towards the EST server */

static bool is_root(X509 *candidate);
static bool is_strong(X509 *certificate);
static bool is_valid_now(const X509 *certificate);
static bool is_anchor(const STACK_OF(X509) * anchors, const X509 *candidate);
static bool is_vouched_for(X509 *root, const STACK_OF(X509) * anchors, const struct certs_only *certs);
static bool is_new_with_old(X509 *candidate, X509 *root, const STACK_OF(X509) * anchors);
static X509 *latest_root(const struct certs_only *certs);
static bool push(STACK_OF(X509) * found, X509 *root);

bool root_rollover_find(const STACK_OF(X509) * anchors, const struct certs_only *certs,
                        STACK_OF(X509) * found)
{
    X509 *candidate;
    bool good = true;
    if (sk_X509_num(anchors) == 0) {
        candidate = latest_root(certs);
        good = candidate == NULL || push(found, candidate);
    } else {
        for (size_t i = 0; (candidate = certs_only_at(certs, i)) != NULL; i++)
            if (is_root(candidate) && !is_anchor(anchors, candidate) &&
                is_vouched_for(candidate, anchors, certs))
                good = push(found, candidate) && good;
    }
    ERR_clear_error();
    return good;
}

static bool is_root(X509 *candidate)
{
    return X509_check_ca(candidate) == 1 && (X509_get_key_usage(candidate) & KU_KEY_CERT_SIGN) != 0 &&
           is_valid_now(candidate) && is_strong(candidate) && X509_self_signed(candidate, 1) == 1;
}

static bool is_strong(X509 *certificate)
{
    int bits = 0;
    const EVP_PKEY *key = X509_get0_pubkey(certificate);
    return key != NULL && EVP_PKEY_get_security_bits(key) >= SECURITY_BITS &&
           X509_get_signature_info(certificate, NULL, NULL, &bits, NULL) == 1 && bits >= SECURITY_BITS;
}

static bool is_valid_now(const X509 *certificate)
{
    return X509_cmp_current_time(X509_get0_notBefore(certificate)) < 0 &&
           X509_cmp_current_time(X509_get0_notAfter(certificate)) > 0;
}

static bool is_anchor(const STACK_OF(X509) * anchors, const X509 *candidate)
{
    for (int i = 0; i < sk_X509_num(anchors); i++)
        if (X509_cmp(sk_X509_value(anchors, i), candidate) == 0)
            return true;
    return false;
}

static bool is_vouched_for(X509 *root, const STACK_OF(X509) * anchors, const struct certs_only *certs)
{
    X509 *candidate;
    for (size_t i = 0; (candidate = certs_only_at(certs, i)) != NULL; i++)
        if (is_new_with_old(candidate, root, anchors))
            return true;
    return false;
}

/* Self-issued (RFC 5280 section 3.2): otherwise any CA below a trusted one could make itself a root. */
static bool is_new_with_old(X509 *candidate, X509 *root, const STACK_OF(X509) * anchors)
{
    const X509_NAME *name = X509_get_subject_name(root);
    if (X509_NAME_cmp(X509_get_subject_name(candidate), name) != 0 ||
        X509_NAME_cmp(X509_get_issuer_name(candidate), name) != 0 || X509_check_ca(candidate) != 1 ||
        (X509_get_key_usage(candidate) & KU_KEY_CERT_SIGN) == 0 || !is_valid_now(candidate) ||
        !is_strong(candidate) || EVP_PKEY_eq(X509_get0_pubkey(candidate), X509_get0_pubkey(root)) != 1)
        return false;
    for (int i = 0; i < sk_X509_num(anchors); i++) {
        X509 *anchor = sk_X509_value(anchors, i);
        EVP_PKEY *key = X509_get0_pubkey(anchor);
        if (X509_NAME_cmp(X509_get_subject_name(anchor), name) == 0 && is_valid_now(anchor) &&
            X509_check_ca(anchor) == 1 && key != NULL && X509_verify(candidate, key) == 1)
            return true;
    }
    return false;
}

static X509 *latest_root(const struct certs_only *certs)
{
    X509 *candidate, *latest = NULL;
    for (size_t i = 0; (candidate = certs_only_at(certs, i)) != NULL; i++)
        if (is_root(candidate) && (latest == NULL || ASN1_TIME_compare(X509_get0_notAfter(candidate),
                                                                       X509_get0_notAfter(latest)) > 0))
            latest = candidate;
    return latest;
}

static bool push(STACK_OF(X509) * found, X509 *root)
{
    if (X509_up_ref(root) != 1)
        return false;
    if (sk_X509_push(found, root) > 0)
        return true;
    X509_free(root);
    return false;
}
