#include "registrar/exchange/access_policy.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

static enum status forbid(struct buffer *diagnostic, const char *reason);
static enum status check_subject(enum csr_identity rule, X509_NAME *client, X509_NAME *requested,
                                 struct buffer *diagnostic);
static bool takes_name_of_another(const X509_NAME *client, const X509_NAME *requested);
static bool has_entry(const X509_NAME *name, int nid, const ASN1_STRING *value);
static int count_serials(const X509_NAME *name, const ASN1_STRING **serial);
static bool names_are_equal(const X509_NAME *a, const X509_NAME *b);
static bool strings_are_equal(const ASN1_STRING *a, const ASN1_STRING *b);
static enum status check_alternative_names(const struct access_decision *decision, X509 *client,
                                           const struct certificate_request *request,
                                           struct buffer *diagnostic);
static bool all_are_allowed(const struct access_rule *rule, const GENERAL_NAMES *names,
                            const GENERAL_NAMES *known);
static bool contains(const GENERAL_NAMES *names, GENERAL_NAME *wanted);

enum status access_policy_check(const struct access_decision *decision, const struct client_identity *client,
                                const struct certificate_request *request, struct buffer *diagnostic)
{
    const char *power = certificate_request_forbidden_power(request);
    if (power != NULL) {
        buffer_printf(diagnostic, "the CSR may not ask for this: %s", power);
        return STATUS_FORBIDDEN;
    }
    if (decision->csr_identity == CSR_IDENTITY_ANY)
        return STATUS_OK;
    if (certificate_request_changes_name(request)) /* RE-2 */
        return forbid(diagnostic, "the CSR asks for another name by ChangeSubjectName");
    X509 *certificate = client_identity_certificate(client);
    enum status status = check_subject(decision->csr_identity, X509_get_subject_name(certificate),
                                       certificate_request_subject(request), diagnostic);
    return status != STATUS_OK ? status : check_alternative_names(decision, certificate, request, diagnostic);
}

static enum status forbid(struct buffer *diagnostic, const char *reason)
{
    buffer_append_string(diagnostic, reason);
    return STATUS_FORBIDDEN;
}

/* RE-8 */
static enum status check_subject(enum csr_identity rule, X509_NAME *client, X509_NAME *requested,
                                 struct buffer *diagnostic)
{
    const ASN1_STRING *serial = NULL, *requested_serial = NULL;
    if (rule != CSR_IDENTITY_SAME_SUBJECT && count_serials(client, &serial) == 1) {
        if (count_serials(requested, &requested_serial) != 1 || !strings_are_equal(serial, requested_serial))
            return forbid(diagnostic, "the CSR's serialNumber is not that of the client certificate");
        if (rule == CSR_IDENTITY_SAME_SERIAL && takes_name_of_another(client, requested))
            return forbid(diagnostic, "the CSR has a commonName, emailAddress or userId that the client "
                                      "certificate has not");
        return STATUS_OK;
    }
    if (!names_are_equal(client, requested))
        return forbid(diagnostic, "the CSR's subject is not that of the client certificate");
    return STATUS_OK;
}

/* By what a peer that finds no alternative name knows whom it talks to (RFC 6125 section 6.4.4, RFC 5280
 * section 4.1.2.6, RFC 4519 section 2.39). */
static bool takes_name_of_another(const X509_NAME *client, const X509_NAME *requested)
{
    static const int guarded[] = {NID_commonName, NID_pkcs9_emailAddress, NID_userId};
    for (size_t i = 0; i < sizeof guarded / sizeof guarded[0]; i++)
        for (int at = -1; (at = X509_NAME_get_index_by_NID(requested, guarded[i], at)) >= 0;)
            if (!has_entry(client, guarded[i], X509_NAME_ENTRY_get_data(X509_NAME_get_entry(requested, at))))
                return true;
    return false;
}

static bool has_entry(const X509_NAME *name, int nid, const ASN1_STRING *value)
{
    for (int at = -1; (at = X509_NAME_get_index_by_NID(name, nid, at)) >= 0;)
        if (strings_are_equal(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)), value))
            return true;
    return false;
}

static int count_serials(const X509_NAME *name, const ASN1_STRING **serial)
{
    int count = 0;
    for (int at = -1; (at = X509_NAME_get_index_by_NID(name, NID_serialNumber, at)) >= 0; count++)
        *serial = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
    return count;
}

/* RDN by RDN, by decoded value: a device may write in UTF8String what its certificate has in PrintableString.
 * Not X509_NAME_cmp, which ignores case: to a relying party "Pump-a" and "pump-A" may be two devices. */
static bool names_are_equal(const X509_NAME *a, const X509_NAME *b)
{
    if (X509_NAME_entry_count(a) != X509_NAME_entry_count(b))
        return false;
    for (int i = 0; i < X509_NAME_entry_count(a); i++) {
        const X509_NAME_ENTRY *entry_a = X509_NAME_get_entry(a, i), *entry_b = X509_NAME_get_entry(b, i);
        if (X509_NAME_ENTRY_set(entry_a) != X509_NAME_ENTRY_set(entry_b) ||
            OBJ_cmp(X509_NAME_ENTRY_get_object(entry_a), X509_NAME_ENTRY_get_object(entry_b)) != 0 ||
            !strings_are_equal(X509_NAME_ENTRY_get_data(entry_a), X509_NAME_ENTRY_get_data(entry_b)))
            return false;
    }
    return true;
}

static bool strings_are_equal(const ASN1_STRING *a, const ASN1_STRING *b)
{
    unsigned char *text_a = NULL, *text_b = NULL;
    int len_a = ASN1_STRING_to_UTF8(&text_a, a), len_b = ASN1_STRING_to_UTF8(&text_b, b);
    bool equal = len_a >= 0 && len_b >= 0 &&
                 bytes_equal((struct bytes){text_a, (size_t)len_a}, (struct bytes){text_b, (size_t)len_b});
    OPENSSL_free(text_a);
    OPENSSL_free(text_b);
    ERR_clear_error();
    return equal;
}

/* That it decodes and stands there once has been checked with the forbidden powers. */
static enum status check_alternative_names(const struct access_decision *decision, X509 *client,
                                           const struct certificate_request *request,
                                           struct buffer *diagnostic)
{
    const STACK_OF(X509_EXTENSION) *extensions = certificate_request_extensions(request);
    GENERAL_NAMES *requested = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);
    GENERAL_NAMES *known = X509_get_ext_d2i(client, NID_subject_alt_name, NULL, NULL);
    enum status status = STATUS_OK;
    if (!all_are_allowed(decision->rule, requested, known))
        status = forbid(diagnostic, "the CSR has a subjectAltName that the client certificate has not");
    else if (X509_NAME_entry_count(certificate_request_subject(request)) == 0 &&
             sk_GENERAL_NAME_num(requested) <= 0)
        status = forbid(diagnostic, "the CSR names nobody");
    GENERAL_NAMES_free(requested);
    GENERAL_NAMES_free(known);
    ERR_clear_error();
    return status;
}

static bool all_are_allowed(const struct access_rule *rule, const GENERAL_NAMES *names,
                            const GENERAL_NAMES *known)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (!contains(known, name) && !access_rule_allows_san(rule, name))
            return false;
    }
    return true;
}

static bool contains(const GENERAL_NAMES *names, GENERAL_NAME *wanted)
{
    unsigned char *wanted_der = NULL;
    int wanted_len = i2d_GENERAL_NAME(wanted, &wanted_der);
    bool found = false;
    for (int i = 0; wanted_len > 0 && !found && i < sk_GENERAL_NAME_num(names); i++) {
        unsigned char *der = NULL;
        int len = i2d_GENERAL_NAME(sk_GENERAL_NAME_value(names, i), &der);
        found = len > 0 &&
                bytes_equal((struct bytes){der, (size_t)len}, (struct bytes){wanted_der, (size_t)wanted_len});
        OPENSSL_free(der);
    }
    OPENSSL_free(wanted_der);
    return found;
}
