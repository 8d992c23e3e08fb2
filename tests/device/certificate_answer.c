#include "certificate_answer.h"

#include <string.h>

#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/pkcs7.h>

#include "coap_names.h"
#include "multipart_core.h"

enum { WORDS_LIMIT = 4096 };

static STACK_OF(X509) * read_certs_only(struct view payload, struct explanation *why);
static bool is_certs_only(const PKCS7 *message, struct explanation *why);
static STACK_OF(X509) * read_multipart(struct view payload, struct explanation *why);
static bool add_part(int content_format, struct view content, STACK_OF(X509) * bag, struct explanation *why);
static STACK_OF(X509) * read_one(struct view payload, struct explanation *why);
static bool name_attribute(const ASN1_TYPE *element, struct octets *words, struct explanation *why);

STACK_OF(X509) * certificates_read(int content_format, struct view payload, struct explanation *why)
{
    ERR_clear_error();
    if (content_format == CONTENT_FORMAT_CERTS_ONLY)
        return read_certs_only(payload, why);
    if (content_format == CONTENT_FORMAT_PKIX_CERT)
        return read_one(payload, why);
    if (content_format == CONTENT_FORMAT_MULTIPART_CORE)
        return read_multipart(payload, why);
    explain(why, "the answer's Content-Format is %d (%s), not 281, 287 or 62", content_format,
            content_format_name(content_format));
    return NULL;
}

static STACK_OF(X509) * read_certs_only(struct view payload, struct explanation *why)
{
    const unsigned char *at = payload.at;
    STACK_OF(X509) *bag = NULL;
    PKCS7 *message = d2i_PKCS7(NULL, &at, (long)payload.len);
    if (message == NULL)
        explain_openssl(why, "the payload is not PKCS#7");
    else if (at != payload.at + payload.len)
        explain(why, "%zu octets follow the PKCS#7 message", (size_t)(payload.at + payload.len - at));
    else if (is_certs_only(message, why))
        bag = X509_chain_up_ref(message->d.sign->cert);
    PKCS7_free(message);
    return bag;
}

static bool is_certs_only(const PKCS7 *message, struct explanation *why)
{
    if (OBJ_obj2nid(message->type) != NID_pkcs7_signed || message->d.sign == NULL)
        return explain(why, "the PKCS#7 message is not SignedData");
    const PKCS7_SIGNED *signed_data = message->d.sign;
    if (sk_X509_num(signed_data->cert) < 1)
        return explain(why, "the PKCS#7 message holds no certificate");
    if (sk_PKCS7_SIGNER_INFO_num(signed_data->signer_info) > 0)
        return explain(why, "the PKCS#7 message has a signer: it is not certs-only");
    if (signed_data->contents == NULL || signed_data->contents->d.ptr != NULL)
        return explain(why, "the PKCS#7 message has content: it is not certs-only");
    return true;
}

/* draft-ietf-anima-constrained-voucher: certificates (287) one after the other, and nothing else. */
static STACK_OF(X509) * read_multipart(struct view payload, struct explanation *why)
{
    struct multipart_core read;
    STACK_OF(X509) *bag = sk_X509_new_null();
    bool good = bag != NULL && multipart_core_read(payload, &read, why) &&
                (read.count > 0 || explain(why, "the array is empty"));
    for (size_t i = 0; good && i < read.count; i++)
        good = add_part(read.parts[i].content_format, read.parts[i].content, bag, why);
    if (good)
        return bag;
    sk_X509_pop_free(bag, X509_free);
    return NULL;
}

static bool add_part(int content_format, struct view content, STACK_OF(X509) * bag, struct explanation *why)
{
    if (content_format != CONTENT_FORMAT_PKIX_CERT)
        return explain(why, "a part is of Content-Format %d (%s), not 287", content_format,
                       content_format_name(content_format));
    STACK_OF(X509) *one = read_one(content, why);
    bool added = one != NULL && sk_X509_push(bag, sk_X509_value(one, 0)) > 0;
    if (added)
        X509_up_ref(sk_X509_value(one, 0));
    sk_X509_pop_free(one, X509_free);
    return added;
}

static STACK_OF(X509) * read_one(struct view payload, struct explanation *why)
{
    const unsigned char *at = payload.at;
    X509 *certificate = d2i_X509(NULL, &at, (long)payload.len);
    STACK_OF(X509) *bag = sk_X509_new_null();
    if (certificate == NULL)
        explain_openssl(why, "the payload is not a certificate");
    else if (at != payload.at + payload.len)
        explain(why, "%zu octets follow the certificate", (size_t)(payload.at + payload.len - at));
    else if (bag != NULL && sk_X509_push(bag, certificate) > 0)
        return bag;
    X509_free(certificate);
    sk_X509_free(bag);
    return NULL;
}

X509 *certificate_for_key(STACK_OF(X509) * bag, EVP_PKEY *key, struct explanation *why)
{
    X509 *ours = NULL;
    int found = 0;
    for (int i = 0; i < sk_X509_num(bag); i++) {
        X509 *certificate = sk_X509_value(bag, i);
        if (EVP_PKEY_eq(X509_get0_pubkey(certificate), key) != 1)
            continue;
        ours = certificate;
        found++;
    }
    ERR_clear_error();
    if (found == 1)
        return ours;
    explain(why, "%d of the %d certificates in the answer are for our key; exactly one must be", found,
            sk_X509_num(bag));
    return NULL;
}

bool csrattrs_read(struct view payload, struct octets *words, struct explanation *why)
{
    const unsigned char *at = payload.at;
    ASN1_SEQUENCE_ANY *elements = d2i_ASN1_SEQUENCE_ANY(NULL, &at, (long)payload.len);
    if (elements == NULL)
        return explain_openssl(why, "the payload is not a SEQUENCE");
    bool good = at == payload.at + payload.len;
    if (!good)
        explain(why, "octets follow the CsrAttrs");
    for (int i = 0; good && i < sk_ASN1_TYPE_num(elements); i++)
        good = name_attribute(sk_ASN1_TYPE_value(elements, i), words, why);
    sk_ASN1_TYPE_pop_free(elements, ASN1_TYPE_free);
    return good;
}

/* AttrOrOID ::= CHOICE { oid OBJECT IDENTIFIER, attribute Attribute } */
static bool name_attribute(const ASN1_TYPE *element, struct octets *words, struct explanation *why)
{
    char name[80];
    ASN1_OBJECT *object = NULL;
    ASN1_SEQUENCE_ANY *attribute = NULL;
    if (element->type == V_ASN1_OBJECT) {
        object = element->value.object;
    } else if (element->type == V_ASN1_SEQUENCE) {
        const unsigned char *at = element->value.sequence->data;
        attribute = d2i_ASN1_SEQUENCE_ANY(NULL, &at, element->value.sequence->length);
        if (sk_ASN1_TYPE_num(attribute) > 0 && sk_ASN1_TYPE_value(attribute, 0)->type == V_ASN1_OBJECT)
            object = sk_ASN1_TYPE_value(attribute, 0)->value.object;
    }
    bool good = object != NULL && OBJ_obj2txt(name, sizeof(name), object, 0) > 0;
    if (good && words->len > 0)
        good = octets_append(words, (struct view){(const uint8_t *)" ", 1}, WORDS_LIMIT);
    if (good)
        good = octets_append(words, (struct view){(const uint8_t *)name, strlen(name)}, WORDS_LIMIT);
    sk_ASN1_TYPE_pop_free(attribute, ASN1_TYPE_free);
    return good || explain(why, "an element of the CsrAttrs is neither an OID nor an attribute");
}
