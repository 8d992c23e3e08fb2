#include "registrar/exchange/access_question.h"

#include "registrar/protocol/certificate_names.h"

#include <jansson.h>
#include <openssl/err.h>

#include <stdlib.h>
#include <string.h>

#define TEXT_OCTETS_MAX ((size_t)256 * 1024) /* of one name; certificates are smaller */

static json_t *device_of(const struct client_identity *client);
static json_t *csr_of(const struct certificate_request *csr);
static json_t *dn_text(const X509_NAME *name);
static json_t *serials_of(const X509_NAME *subject);
static json_t *alternatives_of(const GENERAL_NAMES *names);
static void write_other(GENERAL_NAME *name, struct buffer *text);
static json_t *hex_text(struct bytes octets);
static json_t *key_text(const ASN1_OCTET_STRING *identifier);
static json_t *give_text(struct buffer *text);

enum status access_question_write(const struct access_question *question, struct buffer *json)
{
    json_t *root = json_pack("{s:s, s:o, s:s, s:s%, s:s, s:o}", "request", "access", "device",
                             device_of(question->client), "operation", question->operation->name, "label",
                             question->label.len > 0 ? (const char *)question->label.at : "",
                             question->label.len, "rule", question->rule, "csr", csr_of(question->csr));
    char *text = root != NULL ? json_dumps(root, JSON_COMPACT) : NULL;
    if (text != NULL)
        buffer_append_string(json, text);
    free(text);
    json_decref(root);
    return text == NULL ? STATUS_MALFORMED : json->status;
}

static json_t *device_of(const struct client_identity *client)
{
    X509 *certificate = client_identity_certificate(client);
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    json_t *device = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "subject",
                               dn_text(X509_get_subject_name(certificate)), "issuer",
                               dn_text(X509_get_issuer_name(certificate)), "serial_numbers",
                               serials_of(X509_get_subject_name(certificate)), "san", alternatives_of(names),
                               "authority_key_identifier", key_text(X509_get0_authority_key_id(certificate)),
                               "subject_key_identifier", key_text(X509_get0_subject_key_id(certificate)),
                               "fingerprint", hex_text(client_identity_fingerprint(client)), "trust",
                               trust_store_name(client_identity_trust(client)));
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    return device;
}

static json_t *csr_of(const struct certificate_request *csr)
{
    if (csr == NULL)
        return json_null();
    GENERAL_NAMES *names =
        X509V3_get_d2i(certificate_request_extensions(csr), NID_subject_alt_name, NULL, NULL);
    json_t *made = json_pack("{s:o, s:o, s:b}", "subject", dn_text(certificate_request_subject(csr)), "san",
                             alternatives_of(names), "changes_name", certificate_request_changes_name(csr));
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    return made;
}

static json_t *dn_text(const X509_NAME *name)
{
    struct buffer text;
    buffer_init(&text, TEXT_OCTETS_MAX);
    certificate_names_write_dn(name, &text);
    return give_text(&text);
}

static json_t *serials_of(const X509_NAME *subject)
{
    json_t *list = json_array();
    for (int at = -1; (at = X509_NAME_get_index_by_NID(subject, NID_serialNumber, at)) >= 0;) {
        struct buffer text;
        buffer_init(&text, TEXT_OCTETS_MAX);
        certificate_names_write_value(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), &text);
        if (json_array_append_new(list, give_text(&text)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *alternatives_of(const GENERAL_NAMES *names)
{
    json_t *list = json_array();
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        struct buffer text;
        buffer_init(&text, TEXT_OCTETS_MAX);
        if (!certificate_names_write_alternative(sk_GENERAL_NAME_value(names, i), &text))
            write_other(sk_GENERAL_NAME_value(names, i), &text);
        if (json_array_append_new(list, give_text(&text)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* What has no text of its own is not hidden. */
static void write_other(GENERAL_NAME *name, struct buffer *text)
{
    unsigned char *der = NULL;
    int len = i2d_GENERAL_NAME(name, &der);
    buffer_append_string(text, "other:");
    certificate_names_write_hex((struct bytes){der, len > 0 ? (size_t)len : 0}, text);
    OPENSSL_free(der);
}

static json_t *key_text(const ASN1_OCTET_STRING *identifier)
{
    if (identifier == NULL)
        return json_null();
    return hex_text(
        (struct bytes){ASN1_STRING_get0_data(identifier), (size_t)ASN1_STRING_length(identifier)});
}

static json_t *hex_text(struct bytes octets)
{
    struct buffer text;
    buffer_init(&text, TEXT_OCTETS_MAX);
    certificate_names_write_hex(octets, &text);
    return give_text(&text);
}

/* Takes text. NULL: it does not fit, or is no UTF-8. */
static json_t *give_text(struct buffer *text)
{
    const char *at = buffer_string(text);
    json_t *string = text->status == STATUS_OK ? json_stringn(at, text->len) : NULL;
    buffer_free(text);
    return string;
}

enum access_answer access_answer_read(struct bytes json, struct buffer *reason)
{
    json_t *root =
        json.len > 0 ? json_loadb((const char *)json.at, json.len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    const char *decision = json_string_value(json_object_get(root, "decision"));
    const char *why = json_string_value(json_object_get(root, "reason"));
    enum access_answer answer = ANSWER_UNUSABLE;
    if (decision != NULL && strcmp(decision, "allow") == 0)
        answer = ANSWER_ALLOW;
    else if (decision != NULL && strcmp(decision, "deny") == 0)
        answer = ANSWER_DENY;
    for (; answer == ANSWER_DENY && why != NULL && *why != '\0' && reason->len < reason->limit; why++)
        buffer_append_byte(reason, *why >= 0x20 && *why < 0x7f ? (uint8_t)*why : '?');
    json_decref(root);
    return answer;
}
