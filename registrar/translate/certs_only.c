#include "registrar/translate/certs_only.h"

#include "registrar/protocol/public_key.h"

#include <openssl/err.h>
#include <openssl/pkcs7.h>
#include <openssl/x509v3.h>

#include <stdlib.h>

struct certs_only {
    PKCS7 *message;
    STACK_OF(X509) * certificates; /* borrowed from message */
};

static enum status parse_in(OSSL_LIB_CTX *library, struct bytes der, struct certs_only **certs);
static bool is_certs_only(const PKCS7 *message);
static bool has_key_of(X509 *candidate, const struct certificate_request *csr);

typedef bool is_of_kind(const struct certs_only *certs, X509 *candidate);

static int count(const struct certs_only *certs, is_of_kind *kind, X509 **last);
static is_of_kind is_ca, is_issuing_ca, is_subordinate, is_root, is_device;
static X509 *ca_above(const struct certs_only *certs, X509 *ca);
static bool is_among(X509 *certificate, X509 *const *list, size_t count);
static bool has_issued(X509 *issuer, X509 *subject);

/* The octets go on to the device as they are (CF-4), so BER, which real EST servers send, is none of our
 * business; octets behind the message are. */
enum status certs_only_parse(struct bytes der, struct certs_only **certs)
{
    return parse_in(NULL, der, certs);
}

enum status certs_only_parse_for(const struct certificate_request *csr, struct bytes der,
                                 struct certs_only **certs)
{
    return parse_in(certificate_request_library(csr), der, certs);
}

static enum status parse_in(OSSL_LIB_CTX *library, struct bytes der, struct certs_only **certs)
{
    const unsigned char *at = der.at;
    PKCS7 *message = der.len == 0 ? NULL
                                  : (PKCS7 *)ASN1_item_d2i_ex(NULL, &at, (long)der.len, ASN1_ITEM_rptr(PKCS7),
                                                              library, NULL);
    if (message == NULL || at != der.at + der.len || !is_certs_only(message)) {
        ERR_clear_error();
        PKCS7_free(message);
        return STATUS_MALFORMED;
    }
    struct certs_only *parsed = calloc(1, sizeof(*parsed));
    if (parsed == NULL) {
        PKCS7_free(message);
        return STATUS_NO_MEMORY;
    }
    *parsed = (struct certs_only){message, message->d.sign->cert};
    *certs = parsed;
    return STATUS_OK;
}

void certs_only_free(struct certs_only *certs)
{
    if (certs == NULL)
        return;
    PKCS7_free(certs->message);
    free(certs);
}

static bool is_certs_only(const PKCS7 *message)
{
    return OBJ_obj2nid(message->type) == NID_pkcs7_signed && message->d.sign != NULL &&
           sk_X509_num(message->d.sign->cert) > 0 &&
           sk_PKCS7_SIGNER_INFO_num(message->d.sign->signer_info) <= 0;
}

X509 *certs_only_at(const struct certs_only *certs, size_t index)
{
    return index < (size_t)sk_X509_num(certs->certificates) ? sk_X509_value(certs->certificates, (int)index)
                                                            : NULL;
}

enum status certs_only_find(const struct certs_only *certs, EVP_PKEY *key, X509 **certificate)
{
    for (int i = 0; i < sk_X509_num(certs->certificates); i++) {
        X509 *candidate = sk_X509_value(certs->certificates, i);
        EVP_PKEY *candidate_key = X509_get0_pubkey(candidate);
        if (candidate_key != NULL && EVP_PKEY_eq(candidate_key, key) == 1) {
            *certificate = candidate;
            return STATUS_OK;
        }
    }
    ERR_clear_error();
    return STATUS_MISMATCH;
}

enum status certs_only_find_for(const struct certs_only *certs, const struct certificate_request *csr,
                                X509 **certificate)
{
    for (int i = 0; i < sk_X509_num(certs->certificates); i++) {
        X509 *candidate = sk_X509_value(certs->certificates, i);
        if (has_key_of(candidate, csr)) {
            *certificate = candidate;
            return STATUS_OK;
        }
    }
    return STATUS_MISMATCH;
}

/* The same octets are the same key. Others may be as well: a point can be compressed, for one. */
static bool has_key_of(X509 *candidate, const struct certificate_request *csr)
{
    unsigned char *at = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(candidate), &at);
    if (len <= 0)
        return false;
    struct bytes info = {at, (size_t)len};
    bool same = bytes_equal(info, certificate_request_key_info(csr));
    if (!same) {
        EVP_PKEY *key = public_key_read(info);
        same = key != NULL && EVP_PKEY_eq(key, certificate_request_key(csr)) == 1;
        EVP_PKEY_free(key);
        ERR_clear_error();
    }
    OPENSSL_free(at);
    return same;
}

enum status certs_only_choose_device(const struct certs_only *certs, X509 **certificate)
{
    X509 *chosen = sk_X509_value(certs->certificates, 0);
    bool is_clear = sk_X509_num(certs->certificates) == 1 || count(certs, is_device, &chosen) == 1;
    ERR_clear_error();
    if (!is_clear)
        return STATUS_MISMATCH;
    *certificate = chosen;
    return STATUS_OK;
}

void certs_only_append_serial(const X509 *certificate, struct buffer *serial)
{
    const ASN1_INTEGER *number = X509_get0_serialNumber(certificate);
    const uint8_t *octets = ASN1_STRING_get0_data(number);
    for (int i = 0; i < ASN1_STRING_length(number); i++)
        buffer_printf(serial, "%02x", octets[i]);
}

enum status certs_only_choose_ca(const struct certs_only *certs, enum est_crts_287 policy, X509 **certificate)
{
    X509 *chosen = sk_X509_value(certs->certificates, 0);
    if (sk_X509_num(certs->certificates) > CERTS_ONLY_CAS_MAX)
        return STATUS_UNSUPPORTED;
    bool is_clear = sk_X509_num(certs->certificates) == 1 || count(certs, is_ca, &chosen) == 1;
    if (!is_clear && policy == CRTS_287_ISSUING_CA)
        is_clear = count(certs, is_issuing_ca, &chosen) == 1;
    if (!is_clear && policy == CRTS_287_ROOT)
        is_clear = count(certs, is_root, &chosen) == 1;
    ERR_clear_error();
    if (!is_clear)
        return STATUS_UNSUPPORTED;
    *certificate = chosen;
    return STATUS_OK;
}

enum status certs_only_order_cas(const struct certs_only *certs, X509 *ordered[static CERTS_ONLY_CAS_MAX],
                                 size_t *count_of)
{
    size_t given = 0;
    X509 *next;
    if (certs_only_choose_ca(certs, CRTS_287_ISSUING_CA, &next) != STATUS_OK &&
        (sk_X509_num(certs->certificates) > CERTS_ONLY_CAS_MAX || count(certs, is_subordinate, &next) != 1))
        return STATUS_UNSUPPORTED;
    for (; next != NULL && !is_among(next, ordered, given); next = ca_above(certs, next))
        ordered[given++] = next;
    for (int i = 0; i < sk_X509_num(certs->certificates); i++) {
        X509 *other = sk_X509_value(certs->certificates, i);
        if (is_ca(certs, other) && !is_among(other, ordered, given))
            ordered[given++] = other;
    }
    ERR_clear_error();
    *count_of = given;
    return STATUS_OK;
}

static bool is_among(X509 *certificate, X509 *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (X509_cmp(certificate, list[i]) == 0)
            return true;
    return false;
}

/* NULL: none of the set. */
static X509 *ca_above(const struct certs_only *certs, X509 *ca)
{
    for (int i = 0; i < sk_X509_num(certs->certificates); i++) {
        X509 *other = sk_X509_value(certs->certificates, i);
        if (is_ca(certs, other) && X509_cmp(ca, other) != 0 && has_issued(other, ca))
            return other;
    }
    return NULL;
}

/* How many certificates of the set are of a kind; hands out the last of them. */
static int count(const struct certs_only *certs, is_of_kind *kind, X509 **last)
{
    int found = 0;
    for (int i = 0; i < sk_X509_num(certs->certificates); i++) {
        X509 *candidate = sk_X509_value(certs->certificates, i);
        if (!kind(certs, candidate))
            continue;
        *last = candidate;
        found++;
    }
    return found;
}

static bool is_ca(const struct certs_only *certs, X509 *candidate)
{
    (void)certs;
    return X509_check_ca(candidate) != 0;
}

static bool is_device(const struct certs_only *certs, X509 *candidate)
{
    return !is_ca(certs, candidate);
}

/* The CA at the lower end of a chain: no other CA of the set is below it. In a set with key rollover (RFC
 * 7030 appendix A.1) every CA has signed another one, so that none is. */
static bool is_issuing_ca(const struct certs_only *certs, X509 *candidate)
{
    if (!is_ca(certs, candidate))
        return false;
    for (int i = 0; i < sk_X509_num(certs->certificates); i++) {
        X509 *other = sk_X509_value(certs->certificates, i);
        if (is_ca(certs, other) && X509_cmp(candidate, other) != 0 && has_issued(candidate, other))
            return false;
    }
    return true;
}

/* An issuing CA beside roots of others, which have nobody below them either. */
static bool is_subordinate(const struct certs_only *certs, X509 *candidate)
{
    return is_issuing_ca(certs, candidate) && ca_above(certs, candidate) != NULL;
}

static bool has_issued(X509 *issuer, X509 *subject)
{
    EVP_PKEY *key = X509_get0_pubkey(issuer);
    return key != NULL && X509_NAME_cmp(X509_get_subject_name(issuer), X509_get_issuer_name(subject)) == 0 &&
           X509_verify(subject, key) == 1;
}

static bool is_root(const struct certs_only *certs, X509 *candidate)
{
    return is_ca(certs, candidate) && X509_self_signed(candidate, 1) == 1;
}
