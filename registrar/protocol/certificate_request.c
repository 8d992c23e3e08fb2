#include "registrar/protocol/certificate_request.h"

#include "registrar/protocol/der.h"
#include "registrar/protocol/public_key.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include <stdlib.h>

#define ATTRIBUTES_MAX 32

/* Types of attributes: the content of their OBJECT IDENTIFIER. */
#define CHALLENGE_PASSWORD  BYTES_LITERAL("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07") /* 1.2.840.113549.1.9.7 */
#define CHANGE_SUBJECT_NAME BYTES_LITERAL("\x2b\x06\x01\x05\x05\x07\x07\x24")     /* 1.3.6.1.5.5.7.7.36 */

/* The parts of a CertificationRequestInfo (RFC 2986 section 4.1), as views into the octets that were parsed.
 */
struct request_info {
    struct bytes fixed; /* version, subject and subjectPKInfo */
    struct der_element key_info;
    struct bytes key_algorithm; /* the content of its AlgorithmIdentifier */
    struct bytes attributes[ATTRIBUTES_MAX];
    bool is_challenge_password[ATTRIBUTES_MAX];
    size_t attribute_count;
    bool has_change_of_name;
};

struct certificate_request {
    struct buffer der; /* what info points into */
    struct request_info info;
    X509_REQ *request;
    EVP_PKEY *key;
    OSSL_LIB_CTX *library;                 /* borrowed; NULL: OpenSSL's own */
    STACK_OF(X509_EXTENSION) * extensions; /* NULL: none */
    struct bytes challenge_password;
    bool has_challenge_password, has_repeated_attribute;
    bool is_keyless; /* an unreadable public key is no fault */
};

static enum status parse(struct certificate_request *request);
static enum status read_info(struct bytes der, struct request_info *info);
static enum status read_attributes(struct bytes attributes, struct request_info *info);
static bool attribute_is(struct bytes attribute, struct bytes wanted);
static bool key_is_acceptable(struct request_info *info);
static EVP_PKEY *read_key(const struct certificate_request *request);
static enum status read_attribute(struct certificate_request *request, int index);
static bool attribute_is_repeated(const X509_REQ *request, int index);
static enum status read_challenge_password(struct certificate_request *request, X509_ATTRIBUTE *attribute);
static enum status read_extensions(struct certificate_request *request, X509_ATTRIBUTE *attribute);

enum status certificate_request_parse(struct bytes der, struct certificate_request **request)
{
    return certificate_request_parse_in(NULL, false, der, request);
}

enum status certificate_request_parse_keyless(struct bytes der, struct certificate_request **request)
{
    return certificate_request_parse_in(NULL, true, der, request);
}

enum status certificate_request_parse_in(OSSL_LIB_CTX *library, bool is_keyless, struct bytes der,
                                         struct certificate_request **request)
{
    struct certificate_request *parsed = calloc(1, sizeof(*parsed));
    if (parsed == NULL)
        return STATUS_NO_MEMORY;
    parsed->is_keyless = is_keyless;
    parsed->library = library;
    buffer_init(&parsed->der, der.len);
    buffer_append(&parsed->der, der);
    enum status status = parsed->der.status;
    if (status == STATUS_OK)
        status = parse(parsed);
    if (status != STATUS_OK) {
        ERR_clear_error();
        certificate_request_free(parsed);
        return status;
    }
    *request = parsed;
    return STATUS_OK;
}

void certificate_request_free(struct certificate_request *request)
{
    if (request == NULL)
        return;
    sk_X509_EXTENSION_pop_free(request->extensions, X509_EXTENSION_free);
    X509_REQ_free(request->request);
    EVP_PKEY_free(request->key);
    buffer_free(&request->der);
    free(request);
}

/* Strictness first, on our own: OpenSSL takes BER, and its decoders keep the octets that they were given, so
 * that encoding again would prove nothing. */
static enum status parse(struct certificate_request *request)
{
    struct bytes der = buffer_view(&request->der);
    if (!der_is_strict(der) || read_info(der, &request->info) != STATUS_OK)
        return STATUS_MALFORMED;
    if (!key_is_acceptable(&request->info))
        return STATUS_MALFORMED;
    const unsigned char *at = der.at;
    request->request = (X509_REQ *)ASN1_item_d2i_ex(NULL, &at, (long)der.len, ASN1_ITEM_rptr(X509_REQ),
                                                    request->library, NULL);
    if (request->request == NULL || at != der.at + der.len)
        return STATUS_MALFORMED;
    if (X509_REQ_get_version(request->request) != X509_REQ_VERSION_1)
        return STATUS_MALFORMED;
    request->key = read_key(request);
    if (request->key == NULL && !request->is_keyless)
        return STATUS_MALFORMED;
    enum status status = STATUS_OK;
    for (int i = 0; status == STATUS_OK && i < X509_REQ_get_attr_count(request->request); i++)
        status = read_attribute(request, i);
    return status;
}

static enum status read_info(struct bytes der, struct request_info *info)
{
    struct der_element outer, inner, part;
    if (der_read_tagged(&der, DER_SEQUENCE, &outer) != STATUS_OK ||
        der_read_tagged(&outer.content, DER_SEQUENCE, &inner) != STATUS_OK)
        return STATUS_MALFORMED;
    struct bytes rest = inner.content;
    if (der_read_tagged(&rest, DER_INTEGER, &part) != STATUS_OK ||
        der_read_tagged(&rest, DER_SEQUENCE, &part) != STATUS_OK ||
        der_read_tagged(&rest, DER_SEQUENCE, &info->key_info) != STATUS_OK)
        return STATUS_MALFORMED;
    info->fixed = bytes_slice(inner.content, 0, inner.content.len - rest.len);
    if (der_read_tagged(&rest, DER_CONTEXT_0, &part) != STATUS_OK || rest.len != 0)
        return STATUS_MALFORMED; /* RFC 2986: attributes may be empty, never absent */
    return read_attributes(part.content, info);
}

static enum status read_attributes(struct bytes attributes, struct request_info *info)
{
    struct der_element attribute;
    while (attributes.len > 0) {
        if (info->attribute_count == ATTRIBUTES_MAX ||
            der_read_tagged(&attributes, DER_SEQUENCE, &attribute) != STATUS_OK)
            return STATUS_MALFORMED;
        info->has_change_of_name |= attribute_is(attribute.content, CHANGE_SUBJECT_NAME);
        info->is_challenge_password[info->attribute_count] =
            attribute_is(attribute.content, CHALLENGE_PASSWORD);
        info->attributes[info->attribute_count++] = attribute.whole;
    }
    return STATUS_OK;
}

static bool attribute_is(struct bytes attribute, struct bytes wanted)
{
    struct der_element type;
    return der_read_tagged(&attribute, DER_OBJECT_IDENTIFIER, &type) == STATUS_OK &&
           bytes_equal(type.content, wanted);
}

/* An elliptic curve stands by its name (RFC 5480 section 2.1.1): one spelt out could be of any size and
 * shape, and be slow to compute with. */
static bool key_is_acceptable(struct request_info *info)
{
    struct bytes rest = info->key_info.content;
    struct der_element algorithm, type, curve;
    if (der_read_tagged(&rest, DER_SEQUENCE, &algorithm) != STATUS_OK)
        return false;
    info->key_algorithm = algorithm.content;
    if (der_read_tagged(&algorithm.content, DER_OBJECT_IDENTIFIER, &type) != STATUS_OK)
        return false;
    if (!bytes_equal(type.content, BYTES_LITERAL("\x2a\x86\x48\xce\x3d\x02\x01"))) /* id-ecPublicKey */
        return true;
    return der_read_tagged(&algorithm.content, DER_OBJECT_IDENTIFIER, &curve) == STATUS_OK;
}

/* A library without keys has left it as it was. */
static EVP_PKEY *read_key(const struct certificate_request *request)
{
    EVP_PKEY *key = X509_REQ_get_pubkey(request->request);
    return key != NULL ? key : public_key_read(request->info.key_info.whole);
}

static enum status read_attribute(struct certificate_request *request, int index)
{
    X509_ATTRIBUTE *attribute = X509_REQ_get_attr(request->request, index);
    if (attribute_is_repeated(request->request, index)) {
        request->has_repeated_attribute = true;
        if (OBJ_obj2nid(X509_ATTRIBUTE_get0_object(attribute)) == NID_pkcs9_challengePassword)
            return STATUS_MALFORMED; /* which of the two would be the proof? */
    }
    switch (OBJ_obj2nid(X509_ATTRIBUTE_get0_object(attribute))) {
    case NID_pkcs9_challengePassword:
        return read_challenge_password(request, attribute);
    case NID_ext_req:
    case NID_ms_ext_req: /* Microsoft's older name for the same */
        return read_extensions(request, attribute);
    default:
        return STATUS_OK;
    }
}

static bool attribute_is_repeated(const X509_REQ *request, int index)
{
    const ASN1_OBJECT *type = X509_ATTRIBUTE_get0_object(X509_REQ_get_attr(request, index));
    return index > 0 && X509_REQ_get_attr_by_OBJ(request, type, -1) < index;
}

/* A DirectoryString in one of its forms (RFC 2985 section 5.4.1, POP-6); its octets are judged elsewhere. */
static enum status read_challenge_password(struct certificate_request *request, X509_ATTRIBUTE *attribute)
{
    ASN1_TYPE *value = X509_ATTRIBUTE_get0_type(attribute, 0);
    if (X509_ATTRIBUTE_count(attribute) != 1 || value == NULL)
        return STATUS_MALFORMED;
    switch (value->type) {
    case V_ASN1_PRINTABLESTRING:
    case V_ASN1_UTF8STRING:
    case V_ASN1_IA5STRING:
    case V_ASN1_T61STRING:
    case V_ASN1_BMPSTRING:
    case V_ASN1_UNIVERSALSTRING:
        break;
    default:
        return STATUS_MALFORMED;
    }
    const ASN1_STRING *text = value->value.asn1_string;
    request->challenge_password =
        (struct bytes){ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text)};
    request->has_challenge_password = true;
    return STATUS_OK;
}

static enum status read_extensions(struct certificate_request *request, X509_ATTRIBUTE *attribute)
{
    ASN1_TYPE *value = X509_ATTRIBUTE_get0_type(attribute, 0);
    if (X509_ATTRIBUTE_count(attribute) != 1 || value == NULL || value->type != V_ASN1_SEQUENCE)
        return STATUS_MALFORMED;
    if (request->extensions != NULL) { /* which of the two sets would the CA take? */
        request->has_repeated_attribute = true;
        return STATUS_OK;
    }
    const ASN1_STRING *sequence = value->value.sequence;
    const unsigned char *at = ASN1_STRING_get0_data(sequence), *end = at + ASN1_STRING_length(sequence);
    request->extensions = d2i_X509_EXTENSIONS(NULL, &at, end - at);
    return request->extensions != NULL && at == end ? STATUS_OK : STATUS_MALFORMED;
}

OSSL_LIB_CTX *certificate_request_library(const struct certificate_request *request)
{
    return request->library;
}

enum status certificate_request_verify(const struct certificate_request *request)
{
    if (X509_REQ_verify_ex(request->request, request->key, NULL, NULL) == 1) /* not in its library */
        return STATUS_OK;
    ERR_clear_error();
    return STATUS_UNTRUSTED;
}

struct bytes certificate_request_der(const struct certificate_request *request)
{
    return buffer_view(&request->der);
}

X509_NAME *certificate_request_subject(const struct certificate_request *request)
{
    return X509_REQ_get_subject_name(request->request);
}

EVP_PKEY *certificate_request_key(const struct certificate_request *request)
{
    return request->key;
}

struct bytes certificate_request_key_info(const struct certificate_request *request)
{
    return request->info.key_info.whole;
}

const STACK_OF(X509_EXTENSION) * certificate_request_extensions(const struct certificate_request *request)
{
    return request->extensions;
}

bool certificate_request_changes_name(const struct certificate_request *request)
{
    return request->info.has_change_of_name;
}

struct bytes certificate_request_key_algorithm(const struct certificate_request *request)
{
    return request->info.key_algorithm;
}

size_t certificate_request_attributes(const struct certificate_request *request,
                                      const struct bytes **attributes)
{
    *attributes = request->info.attributes;
    return request->info.attribute_count;
}

enum status certificate_request_attribute(const struct certificate_request *request, struct bytes type,
                                          struct bytes *value)
{
    struct der_element attribute, name, set, only;
    bool found = false;
    for (size_t i = 0; i < request->info.attribute_count; i++) {
        struct bytes rest = request->info.attributes[i];
        if (der_read(&rest, &attribute) != STATUS_OK || !attribute_is(attribute.content, type))
            continue;
        if (found || der_read(&attribute.content, &name) != STATUS_OK ||
            der_read_tagged(&attribute.content, DER_SET, &set) != STATUS_OK ||
            der_read(&set.content, &only) != STATUS_OK || set.content.len != 0)
            return STATUS_MALFORMED;
        found = true;
    }
    if (!found)
        return STATUS_NOT_FOUND;
    *value = only.whole;
    return STATUS_OK;
}

bool certificate_request_challenge_password(const struct certificate_request *request, struct bytes *text)
{
    *text = request->challenge_password;
    return request->has_challenge_password;
}

enum status certificate_request_fingerprint(const struct certificate_request *request,
                                            uint8_t digest[static 32])
{
    struct bytes der = certificate_request_der(request);
    return EVP_Digest(der.at, der.len, digest, NULL, EVP_sha256(), NULL) == 1 ? STATUS_OK : STATUS_CRYPTO;
}

enum status certificate_request_digest(const struct certificate_request *request, uint8_t digest[static 32])
{
    const struct request_info *info = &request->info;
    size_t attributes_len = 0;
    for (size_t i = 0; i < info->attribute_count; i++)
        attributes_len += info->is_challenge_password[i] ? 0 : info->attributes[i].len;

    struct buffer attributes, whole;
    buffer_init(&attributes, request->der.len + 16);
    buffer_init(&whole, request->der.len + 16);
    der_append_head(&attributes, DER_CONTEXT_0, attributes_len);
    for (size_t i = 0; i < info->attribute_count; i++)
        if (!info->is_challenge_password[i])
            buffer_append(&attributes, info->attributes[i]);
    der_append_head(&whole, DER_SEQUENCE, info->fixed.len + attributes.len);
    buffer_append(&whole, info->fixed);
    buffer_append(&whole, buffer_view(&attributes));

    enum status status = attributes.status != STATUS_OK ? attributes.status : whole.status;
    if (status == STATUS_OK && EVP_Digest(whole.at, whole.len, digest, NULL, EVP_sha256(), NULL) != 1)
        status = STATUS_CRYPTO;
    buffer_free(&attributes);
    buffer_free(&whole);
    return status;
}

/* Forbidden powers (RE-7). */

struct type_power {
    const char *oid, *power;
};

/* Extended key usages: those of RE-7, and the others by which a CA hands a part of its own authority on. */
static const struct type_power purpose_powers[] = {
    {"1.3.6.1.5.5.7.3.28", "extendedKeyUsage cmcRA"},      /* RFC 6402 section 2.10 */
    {"1.3.6.1.5.5.7.3.27", "extendedKeyUsage cmcCA"},      /* RFC 6402 section 2.10 */
    {"2.5.29.37.0", "extendedKeyUsage any"},               /* RFC 5280 section 4.2.1.12 */
    {"1.3.6.1.5.5.7.3.29", "extendedKeyUsage cmcArchive"}, /* RFC 6402 section 2.10 */
    {"1.3.6.1.5.5.7.3.32", "extendedKeyUsage cmKGA"},      /* RFC 9480 section 2.2 */
    {"1.3.6.1.5.5.7.3.9", "extendedKeyUsage OCSPSigning"}, /* RFC 6960 section 4.2.2.2 */
    /* Microsoft's RA: its holder requests certificates in anybody's name. */
    {"1.3.6.1.4.1.311.20.2.1", "extendedKeyUsage enrollmentAgent"},
};

/* Extensions by which a Microsoft CA behind the EST server would let the device choose what it becomes: its
 * profile ("SubCA"), its extended key usages by another name, its account. */
static const struct type_power extension_powers[] = {
    {"1.3.6.1.4.1.311.20.2", "certificate template"},
    {"1.3.6.1.4.1.311.21.7", "certificate template"},
    {"1.3.6.1.4.1.311.21.10", "application policies"},
    {"1.3.6.1.4.1.311.25.2", "security identifier"},
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const char *forbidden_extension(const struct certificate_request *request, int index);
static const char *power_of_extension(int nid, const void *value);
static const char *power_of_basic_constraints(const BASIC_CONSTRAINTS *constraints);
static const char *power_of_key_usage(const ASN1_BIT_STRING *usage);
static const char *power_of_extended_key_usage(const EXTENDED_KEY_USAGE *usage);
static const char *power_of_type(const struct type_power *powers, size_t count, const ASN1_OBJECT *type);
static const char *power_of_netscape_type(const ASN1_BIT_STRING *type);

const char *certificate_request_forbidden_power(const struct certificate_request *request)
{
    if (request->has_repeated_attribute)
        return "repeated attribute";
    for (int i = 0; i < sk_X509_EXTENSION_num(request->extensions); i++) {
        const char *power = forbidden_extension(request, i);
        if (power != NULL)
            return power;
    }
    return NULL;
}

static const char *forbidden_extension(const struct certificate_request *request, int index)
{
    X509_EXTENSION *extension = sk_X509_EXTENSION_value(request->extensions, index);
    const ASN1_OBJECT *type = X509_EXTENSION_get_object(extension);
    if (X509v3_get_ext_by_OBJ(request->extensions, type, index) >= 0)
        return "repeated extension";
    const char *power = power_of_type(extension_powers, COUNT_OF(extension_powers), type);
    if (power != NULL)
        return power;
    const X509V3_EXT_METHOD *method = X509V3_EXT_get(extension);
    if (method == NULL)
        return NULL; /* of a kind that OpenSSL does not know, so none of those below */
    const ASN1_OCTET_STRING *octets = X509_EXTENSION_get_data(extension);
    if (!der_is_strict((struct bytes){ASN1_STRING_get0_data(octets), (size_t)ASN1_STRING_length(octets)}))
        return "undecodable extension";
    void *value = X509V3_EXT_d2i(extension);
    if (value == NULL) {
        ERR_clear_error();
        return "undecodable extension";
    }
    power = power_of_extension(OBJ_obj2nid(type), value);
    if (method->it != NULL)
        ASN1_item_free(value, ASN1_ITEM_ptr(method->it));
    else
        method->ext_free(value);
    return power;
}

/* RFC 5280 section 4.2.1 names the extensions that only CA certificates have. */
static const char *power_of_extension(int nid, const void *value)
{
    switch (nid) {
    case NID_basic_constraints:
        return power_of_basic_constraints(value);
    case NID_key_usage:
        return power_of_key_usage(value);
    case NID_ext_key_usage:
        return power_of_extended_key_usage(value);
    case NID_netscape_cert_type:
        return power_of_netscape_type(value);
    case NID_name_constraints:
        return "nameConstraints";
    case NID_policy_mappings:
        return "policyMappings";
    case NID_policy_constraints:
        return "policyConstraints";
    case NID_inhibit_any_policy:
        return "inhibitAnyPolicy";
    default:
        return NULL;
    }
}

static const char *power_of_basic_constraints(const BASIC_CONSTRAINTS *constraints)
{
    return constraints->ca ? "basicConstraints CA:TRUE" : NULL;
}

static const char *power_of_key_usage(const ASN1_BIT_STRING *usage)
{
    if (ASN1_BIT_STRING_get_bit(usage, 5))
        return "keyUsage keyCertSign";
    return ASN1_BIT_STRING_get_bit(usage, 6) ? "keyUsage cRLSign" : NULL;
}

static const char *power_of_extended_key_usage(const EXTENDED_KEY_USAGE *usage)
{
    for (int i = 0; i < sk_ASN1_OBJECT_num(usage); i++) {
        const char *power =
            power_of_type(purpose_powers, COUNT_OF(purpose_powers), sk_ASN1_OBJECT_value(usage, i));
        if (power != NULL)
            return power;
    }
    return NULL;
}

static const char *power_of_type(const struct type_power *powers, size_t count, const ASN1_OBJECT *type)
{
    char oid[64];
    if (OBJ_obj2txt(oid, sizeof(oid), type, 1) <= 0)
        return "undecodable extension";
    for (size_t i = 0; i < count; i++)
        if (bytes_equal(bytes_from_string(oid), bytes_from_string(powers[i].oid)))
            return powers[i].power;
    return NULL;
}

/* Bits 5 to 7 of netscape-cert-type stand for kinds of CA; OpenSSL itself still honours them. */
static const char *power_of_netscape_type(const ASN1_BIT_STRING *type)
{
    for (int bit = 5; bit <= 7; bit++)
        if (ASN1_BIT_STRING_get_bit(type, bit))
            return "netscape-cert-type CA";
    return NULL;
}
