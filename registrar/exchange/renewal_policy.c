#include "registrar/exchange/renewal_policy.h"

#include <openssl/x509v3.h>

static enum status forbid(struct buffer *diagnostic, const char *reason);
static struct bytes name_der(const X509_NAME *name);
static struct bytes alternative_names(const STACK_OF(X509_EXTENSION) * extensions);

enum status renewal_policy_check(const struct client_identity *client,
                                 const struct certificate_request *request, struct buffer *diagnostic)
{
    const X509 *certificate = client_identity_certificate(client);
    if (client_identity_trust(client) != TRUST_DOMAIN)
        return forbid(diagnostic, "only a certificate of this domain can be renewed; use /sen");
    if (!bytes_equal(name_der(X509_get_subject_name(certificate)),
                     name_der(certificate_request_subject(request))))
        return forbid(diagnostic, "the CSR's subject is not that of the certificate to be renewed");
    if (!bytes_equal(alternative_names(X509_get0_extensions(certificate)),
                     alternative_names(certificate_request_extensions(request))))
        return forbid(diagnostic, "the CSR's subjectAltName is not that of the certificate to be renewed");
    return STATUS_OK;
}

static enum status forbid(struct buffer *diagnostic, const char *reason)
{
    buffer_append_string(diagnostic, reason);
    return STATUS_FORBIDDEN;
}

/* Borrows. A name without an encoding equals none but another such. */
static struct bytes name_der(const X509_NAME *name)
{
    const unsigned char *der = NULL;
    size_t len = 0;
    if (X509_NAME_get0_der(name, &der, &len) != 1)
        return (struct bytes){NULL, 0};
    return (struct bytes){der, len};
}

/* The content of the extension; empty: there is none. A CSR with two is refused elsewhere (RE-7), and OpenSSL
 * lets no certificate with two pass. Borrows. */
static struct bytes alternative_names(const STACK_OF(X509_EXTENSION) * extensions)
{
    int index = X509v3_get_ext_by_NID(extensions, NID_subject_alt_name, -1);
    if (index < 0)
        return (struct bytes){NULL, 0};
    const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(X509v3_get_ext(extensions, index));
    return (struct bytes){ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value)};
}
