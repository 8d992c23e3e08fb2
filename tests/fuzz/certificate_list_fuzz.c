/* DTLS-9: a revocation list, from a file that was fetched from anywhere: read to its end, and no forgery
 * verifies. */
#include "registrar/protocol/certificate_list.h"

#include <openssl/evp.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A CA whose key nobody has: of version 1, it may sign lists. */
static X509 *make_issuer(void)
{
    X509 *issuer = X509_new();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    if (issuer == NULL || key == NULL)
        abort();
    ASN1_INTEGER_set(X509_get_serialNumber(issuer), 1);
    X509_gmtime_adj(X509_getm_notBefore(issuer), 0);
    X509_gmtime_adj(X509_getm_notAfter(issuer), 3600);
    if (X509_set_pubkey(issuer, key) != 1 || X509_sign(issuer, key, EVP_sha256()) <= 0)
        abort();
    EVP_PKEY_free(key);
    return issuer;
}

static void check_within(struct bytes part, struct bytes whole)
{
    if (part.len > 0 && (part.at < whole.at || part.at + part.len > whole.at + whole.len))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static X509 *issuer;
    const struct bytes der = {data, size};
    struct certificate_list list;
    struct bytes serial;
    const char *complaint = NULL;
    if (issuer == NULL)
        issuer = make_issuer();
    enum status status = certificate_list_read(der, &list, &complaint);
    if (status != STATUS_OK && complaint == NULL)
        abort();
    if (status != STATUS_OK)
        return 0;
    check_within(list.issuer, der);
    while ((status = certificate_list_next(&list.entries, &serial, &complaint)) == STATUS_OK)
        check_within(serial, der);
    if (status == STATUS_NOT_FOUND && list.entries.len > 0)
        abort();
    if (certificate_list_verify(&list, issuer) == STATUS_OK)
        abort();
    return 0;
}
