#include "certificate_request.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>

enum { REQUEST_LIMIT = 16384, BINDING_LIMIT = 64 };

static bool fill(X509_REQ *built, const struct certificate_request *request, struct explanation *why);
static bool add_binding(X509_REQ *built, struct view binding, struct explanation *why);
static bool add_name_part(X509_NAME *name, const char *part, struct explanation *why);
static X509_EXTENSION *make_extension(int nid, const char *value);
static bool join_alternative_name(STACK_OF(X509_EXTENSION) * asks, X509_EXTENSION *more);

bool certificate_request_encode(const struct certificate_request *request, struct octets *der,
                                struct explanation *why)
{
    unsigned char *encoded = NULL;
    X509_REQ *built = X509_REQ_new();
    bool good = built != NULL && fill(built, request, why);
    if (good) {
        int length = i2d_X509_REQ(built, &encoded);
        octets_clear(der);
        good = length > 0 && octets_append(der, (struct view){encoded, (size_t)length}, REQUEST_LIMIT);
        if (!good)
            explain_openssl(why, "the CSR could not be encoded");
    }
    OPENSSL_free(encoded);
    X509_REQ_free(built);
    return good;
}

static bool fill(X509_REQ *built, const struct certificate_request *request, struct explanation *why)
{
    if (X509_REQ_set_version(built, X509_REQ_VERSION_1) != 1 ||
        X509_REQ_set_subject_name(built, request->subject) != 1 ||
        X509_REQ_set_pubkey(built, request->key) != 1)
        return explain_openssl(why, "the CSR could not be built");
    if (request->asks != NULL && sk_X509_EXTENSION_num(request->asks) > 0 &&
        X509_REQ_add_extensions(built, request->asks) != 1)
        return explain_openssl(why, "the extensions do not fit into a CSR");
    for (int i = 0; i < sk_X509_ATTRIBUTE_num(request->attributes); i++)
        if (X509_REQ_add1_attr(built, sk_X509_ATTRIBUTE_value(request->attributes, i)) != 1)
            return explain_openssl(why, "an attribute does not fit into the CSR");
    if (request->channel_binding.len > 0 && !add_binding(built, request->channel_binding, why))
        return false;
    if (X509_REQ_sign(built, request->key, EVP_sha256()) <= 0)
        return explain_openssl(why, "the CSR could not be signed");
    return true;
}

/* Base64's alphabet is within PrintableString's. */
static bool add_binding(X509_REQ *built, struct view binding, struct explanation *why)
{
    unsigned char text[(BINDING_LIMIT + 2) / 3 * 4 + 1];
    if (binding.len > BINDING_LIMIT)
        return explain(why, "the channel binding is too long");
    int length = EVP_EncodeBlock(text, binding.at, (int)binding.len);
    if (X509_REQ_add1_attr_by_NID(built, NID_pkcs9_challengePassword, V_ASN1_PRINTABLESTRING, text, length) !=
        1)
        return explain_openssl(why, "challengePassword could not be added");
    return true;
}

EVP_PKEY *fresh_key(const char *curve)
{
    return EVP_EC_gen(curve);
}

X509_NAME *subject_read(const char *text, struct explanation *why)
{
    const char *separator = *text == '/' ? "/" : ",";
    char *copy = strdup(text);
    X509_NAME *name = X509_NAME_new();
    bool good = copy != NULL && name != NULL;
    char *rest = copy;
    char *part;
    while (good && (part = strsep(&rest, separator)) != NULL)
        good = *part == '\0' || add_name_part(name, part, why);
    free(copy);
    if (good && X509_NAME_entry_count(name) > 0)
        return name;
    if (good)
        explain(why, "%s: no attribute in it; write CN=name,serialNumber=number", text);
    X509_NAME_free(name);
    return NULL;
}

static bool add_name_part(X509_NAME *name, const char *part, struct explanation *why)
{
    char type[64];
    part += strspn(part, " ");
    const char *equals = strchr(part, '=');
    if (equals == NULL || equals == part || (size_t)(equals - part) >= sizeof(type))
        return explain(why, "%s: write TYPE=value", part);
    memcpy(type, part, (size_t)(equals - part));
    type[equals - part] = '\0';
    const unsigned char *value = (const unsigned char *)equals + 1;
    if (X509_NAME_add_entry_by_txt(name, type, MBSTRING_UTF8, value, -1, -1, 0) != 1)
        return explain_openssl(why, part);
    return true;
}

bool extension_read(STACK_OF(X509_EXTENSION) * *asks, const char *text, struct explanation *why)
{
    static const struct {
        const char *prefix;
        int nid;
    } kinds[] = {{"san=", NID_subject_alt_name},
                 {"ku=", NID_key_usage},
                 {"eku=", NID_ext_key_usage},
                 {"bc=", NID_basic_constraints}};
    X509_EXTENSION *extension = NULL;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && extension == NULL; i++) {
        size_t length = strlen(kinds[i].prefix);
        if (strncmp(text, kinds[i].prefix, length) != 0)
            continue;
        extension = make_extension(kinds[i].nid, text + length);
        if (extension == NULL)
            return explain_openssl(why, text);
    }
    if (extension == NULL)
        return explain(why, "%s: expected san=, ku=, eku= or bc=", text);
    if (*asks == NULL)
        *asks = sk_X509_EXTENSION_new_null();
    if (join_alternative_name(*asks, extension)) {
        X509_EXTENSION_free(extension);
        return true;
    }
    return sk_X509_EXTENSION_push(*asks, extension) > 0;
}

/* OpenSSL knows DNS:, IP: and URI: in capitals only. */
static X509_EXTENSION *make_extension(int nid, const char *value)
{
    char *capital = strdup(value);
    if (capital == NULL)
        return NULL;
    bool at_kind = nid == NID_subject_alt_name && strncmp(value, "email:", 6) != 0;
    for (char *at = capital; *at != '\0'; at++) {
        if (*at == ':')
            at_kind = false;
        else if (*at == ',')
            at_kind = nid == NID_subject_alt_name && strncmp(at + 1, "email:", 6) != 0;
        else if (at_kind)
            *at = (char)toupper((unsigned char)*at);
    }
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, capital);
    free(capital);
    return extension;
}

/* A certificate has one subjectAltName: a second san= goes into the first. True when more was merged. */
static bool join_alternative_name(STACK_OF(X509_EXTENSION) * asks, X509_EXTENSION *more)
{
    int at = X509v3_get_ext_by_NID(asks, NID_subject_alt_name, -1);
    if (at < 0 || OBJ_obj2nid(X509_EXTENSION_get_object(more)) != NID_subject_alt_name)
        return false;
    GENERAL_NAMES *names = X509V3_EXT_d2i(X509v3_get_ext(asks, at));
    GENERAL_NAMES *others = X509V3_EXT_d2i(more);
    while (sk_GENERAL_NAME_num(others) > 0)
        sk_GENERAL_NAME_push(names, sk_GENERAL_NAME_shift(others));
    X509_EXTENSION *joined = X509V3_EXT_i2d(NID_subject_alt_name, 0, names);
    X509_EXTENSION_free(X509v3_delete_ext(asks, at));
    sk_X509_EXTENSION_insert(asks, joined, at);
    GENERAL_NAMES_free(names);
    GENERAL_NAMES_free(others);
    return true;
}

STACK_OF(X509_EXTENSION) * extensions_to_repeat(X509 *certificate)
{
    STACK_OF(X509_EXTENSION) *asks = sk_X509_EXTENSION_new_null();
    int at = X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1);
    if (asks == NULL || at < 0)
        return asks;
    X509_EXTENSION *copy = X509_EXTENSION_dup(X509_get_ext(certificate, at));
    if (copy != NULL)
        sk_X509_EXTENSION_push(asks, copy);
    return asks;
}

EVP_PKEY *certificate_request_key(struct view der, struct explanation *why)
{
    const unsigned char *at = der.at;
    X509_REQ *request = d2i_X509_REQ(NULL, &at, (long)der.len);
    EVP_PKEY *key = request == NULL ? NULL : X509_REQ_get_pubkey(request);
    X509_REQ_free(request);
    if (key == NULL)
        explain_openssl(why, "the CSR is not a PKCS#10 request in DER");
    return key;
}
