#include "registrar/protocol/certificate_list.h"

#include "registrar/protocol/der.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <string.h>
#include <time.h>

enum {
    DER_UTC_TIME = 0x17,
    DER_GENERALIZED_TIME = 0x18,
    DER_CONTEXT_0_PRIMITIVE = 0x80,
};

#define VERSION_2 1 /* the only one with extensions; v1 lists have no version at all */

static const char malformed[] =
    "holds what is no CRL, or a damaged one (RFC 5280 section 5.1): fetch it anew";

/* Object identifiers, content octets. */
static const uint8_t oid_delta_crl_indicator[] = {0x55, 0x1d, 0x1b};
static const uint8_t oid_issuing_distribution_point[] = {0x55, 0x1d, 0x1c};
static const uint8_t oid_certificate_issuer[] = {0x55, 0x1d, 0x1d};

struct extension {
    struct bytes type, value; /* value: content of the OCTET STRING */
    bool critical;
};

static bool take_version(struct bytes *rest);
static bool read_time(struct bytes *rest, int64_t *unix_s);
static bool is_time(struct bytes rest);
static enum status read_extensions(struct bytes rest, const char **complaint);
static enum status judge_extension(const struct extension *extension, const char **complaint);
static enum status judge_scope(struct bytes value, const char **complaint);
static enum status judge_entry_extensions(struct bytes rest, const char **complaint);
static bool take_extension(struct bytes *rest, struct extension *extension);
static bool is_minimal(struct bytes integer);
static bool verify_signature(const struct certificate_list *list, X509 *issuer);

enum status certificate_list_read(struct bytes der, struct certificate_list *list, const char **complaint)
{
    struct der_element whole, signed_part, algorithm, signature;
    *complaint = malformed;
    *list = (struct certificate_list){.entries = {NULL, 0}};
    if (der_read_tagged(&der, DER_SEQUENCE, &whole) != STATUS_OK || der.len != 0 ||
        der_read_tagged(&whole.content, DER_SEQUENCE, &signed_part) != STATUS_OK ||
        der_read_tagged(&whole.content, DER_SEQUENCE, &algorithm) != STATUS_OK ||
        der_read_tagged(&whole.content, DER_BIT_STRING, &signature) != STATUS_OK || whole.content.len != 0)
        return STATUS_MALFORMED;
    list->signed_part = signed_part.whole;
    list->algorithm = algorithm.whole;
    list->signature = signature.whole;

    struct bytes rest = signed_part.content;
    struct der_element inner, issuer, entries;
    if (!take_version(&rest) || der_read_tagged(&rest, DER_SEQUENCE, &inner) != STATUS_OK ||
        !bytes_equal(inner.whole, algorithm.whole) || /* section 5.1.1.2 */
        der_read_tagged(&rest, DER_SEQUENCE, &issuer) != STATUS_OK ||
        !read_time(&rest, &list->this_update_unix))
        return STATUS_MALFORMED;
    list->issuer = issuer.whole;
    if (!is_time(rest)) {
        *complaint = "holds a CRL without nextUpdate, so that nobody can say how long it counts";
        return STATUS_UNSUPPORTED;
    }
    if (!read_time(&rest, &list->next_update_unix))
        return STATUS_MALFORMED;
    if (der_read_tagged(&rest, DER_SEQUENCE, &entries) == STATUS_OK)
        list->entries = entries.content;
    return read_extensions(rest, complaint);
}

/* Version ::= INTEGER OPTIONAL, v2 where there is one. */
static bool take_version(struct bytes *rest)
{
    struct der_element version;
    if (rest->len == 0 || rest->at[0] != DER_INTEGER)
        return true;
    return der_read(rest, &version) == STATUS_OK && version.content.len == 1 &&
           version.content.at[0] == VERSION_2;
}

static bool is_time(struct bytes rest)
{
    return rest.len > 0 && (rest.at[0] == DER_UTC_TIME || rest.at[0] == DER_GENERALIZED_TIME);
}

static bool read_time(struct bytes *rest, int64_t *unix_s)
{
    struct der_element element;
    struct tm date;
    if (!is_time(*rest) || der_read(rest, &element) != STATUS_OK || element.whole.len > 64)
        return false;
    const unsigned char *at = element.whole.at;
    ASN1_TIME *time = d2i_ASN1_TIME(NULL, &at, (long)element.whole.len);
    bool read = time != NULL && ASN1_TIME_to_tm(time, &date) == 1;
    if (read)
        *unix_s = timegm(&date);
    ASN1_TIME_free(time);
    ERR_clear_error();
    return read;
}

/* crlExtensions [0] EXPLICIT, the last field. */
static enum status read_extensions(struct bytes rest, const char **complaint)
{
    struct der_element tagged, extensions;
    struct extension extension;
    if (rest.len == 0)
        return STATUS_OK;
    if (der_read_tagged(&rest, DER_CONTEXT_0, &tagged) != STATUS_OK || rest.len != 0 ||
        der_read_tagged(&tagged.content, DER_SEQUENCE, &extensions) != STATUS_OK || tagged.content.len != 0)
        return STATUS_MALFORMED;
    while (extensions.content.len > 0) {
        if (!take_extension(&extensions.content, &extension))
            return STATUS_MALFORMED;
        enum status status = judge_extension(&extension, complaint);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static enum status judge_extension(const struct extension *extension, const char **complaint)
{
    const struct bytes delta = {oid_delta_crl_indicator, sizeof oid_delta_crl_indicator};
    const struct bytes scope = {oid_issuing_distribution_point, sizeof oid_issuing_distribution_point};
    if (bytes_equal(extension->type, delta)) {
        *complaint = "holds a delta CRL: name the complete one";
        return STATUS_UNSUPPORTED;
    }
    if (bytes_equal(extension->type, scope))
        return judge_scope(extension->value, complaint);
    if (!extension->critical)
        return STATUS_OK;
    *complaint = "holds a CRL with a critical extension that is not known here";
    return STATUS_UNSUPPORTED;
}

/* RFC 5280 section 5.2.5: of IssuingDistributionPoint's parts, only the name of the distribution point leaves
 * a list that covers every certificate it is about. The flags are there only when they are true. */
static enum status judge_scope(struct bytes value, const char **complaint)
{
    struct der_element scope, part;
    if (der_read_tagged(&value, DER_SEQUENCE, &scope) != STATUS_OK || value.len != 0)
        return STATUS_MALFORMED;
    while (scope.content.len > 0) {
        if (der_read(&scope.content, &part) != STATUS_OK)
            return STATUS_MALFORMED;
        if (part.tag == DER_CONTEXT_0) /* distributionPoint */
            continue;
        *complaint = part.tag == (DER_CONTEXT_0_PRIMITIVE | 4)
                         ? "holds an indirect CRL: name the CRL that each CA signs itself"
                         : "holds a CRL of some reasons or kinds of certificate only: name the complete one";
        return STATUS_UNSUPPORTED;
    }
    return STATUS_OK;
}

enum status certificate_list_next(struct bytes *entries, struct bytes *serial, const char **complaint)
{
    struct der_element entry, number, date;
    if (entries->len == 0)
        return STATUS_NOT_FOUND;
    *complaint = malformed;
    if (der_read_tagged(entries, DER_SEQUENCE, &entry) != STATUS_OK ||
        der_read_tagged(&entry.content, DER_INTEGER, &number) != STATUS_OK || !is_minimal(number.content))
        return STATUS_MALFORMED;
    if (!is_time(entry.content) || der_read(&entry.content, &date) != STATUS_OK)
        return STATUS_MALFORMED;
    *serial = number.content;
    return entry.content.len == 0 ? STATUS_OK : judge_entry_extensions(entry.content, complaint);
}

/* X.690 section 8.3.2, without which the same number could be written twice. */
static bool is_minimal(struct bytes integer)
{
    if (integer.len < 2)
        return integer.len == 1;
    bool negative = (integer.at[1] & 0x80) != 0;
    return integer.at[0] != (negative ? 0xff : 0x00);
}

/* RFC 5280 section 5.3 */
static enum status judge_entry_extensions(struct bytes rest, const char **complaint)
{
    const struct bytes certificate_issuer = {oid_certificate_issuer, sizeof oid_certificate_issuer};
    struct der_element extensions;
    struct extension extension;
    if (der_read_tagged(&rest, DER_SEQUENCE, &extensions) != STATUS_OK || rest.len != 0)
        return STATUS_MALFORMED;
    while (extensions.content.len > 0) {
        if (!take_extension(&extensions.content, &extension))
            return STATUS_MALFORMED;
        if (extension.critical || bytes_equal(extension.type, certificate_issuer)) {
            *complaint = "holds a CRL with a critical extension of an entry, as indirect CRLs have";
            return STATUS_UNSUPPORTED;
        }
    }
    return STATUS_OK;
}

static bool take_extension(struct bytes *rest, struct extension *extension)
{
    struct der_element whole, type, critical, value;
    if (der_read_tagged(rest, DER_SEQUENCE, &whole) != STATUS_OK ||
        der_read_tagged(&whole.content, DER_OBJECT_IDENTIFIER, &type) != STATUS_OK)
        return false;
    extension->critical = der_read_tagged(&whole.content, DER_BOOLEAN, &critical) == STATUS_OK;
    if (extension->critical && (critical.content.len != 1 || critical.content.at[0] != 0xff))
        return false;
    if (der_read_tagged(&whole.content, DER_OCTET_STRING, &value) != STATUS_OK || whole.content.len != 0)
        return false;
    extension->type = type.content;
    extension->value = value.content;
    return true;
}

enum status certificate_list_verify(const struct certificate_list *list, X509 *issuer)
{
    bool verified = (X509_get_key_usage(issuer) & KU_CRL_SIGN) != 0 && X509_check_ca(issuer) > 0 &&
                    verify_signature(list, issuer);
    ERR_clear_error();
    return verified ? STATUS_OK : STATUS_UNTRUSTED;
}

/* By ASN1_item_verify, which knows the parameters of every algorithm; the signed part goes as it is. */
static bool verify_signature(const struct certificate_list *list, X509 *issuer)
{
    const unsigned char *at = list->algorithm.at;
    X509_ALGOR *algorithm = d2i_X509_ALGOR(NULL, &at, (long)list->algorithm.len);
    at = list->signature.at;
    ASN1_BIT_STRING *signature = d2i_ASN1_BIT_STRING(NULL, &at, (long)list->signature.len);
    at = list->signed_part.at;
    ASN1_TYPE *signed_part = d2i_ASN1_TYPE(NULL, &at, (long)list->signed_part.len);
    bool verified = algorithm != NULL && signature != NULL && signed_part != NULL &&
                    ASN1_item_verify(ASN1_ITEM_rptr(ASN1_ANY), algorithm, signature, signed_part,
                                     X509_get0_pubkey(issuer)) == 1;
    ASN1_TYPE_free(signed_part);
    ASN1_BIT_STRING_free(signature);
    X509_ALGOR_free(algorithm);
    return verified;
}
