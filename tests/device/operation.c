#include "operation.h"

#include <stdio.h>
#include <string.h>

#include <openssl/x509v3.h>

#include "certificate_answer.h"
#include "coap_names.h"
#include "multipart_core.h"

typedef bool judge(struct operation_result *result, const struct operation_check *check);

static judge judge_links;
static judge judge_anchors;
static judge judge_attributes;
static judge judge_issued;
static judge judge_generated;
static bool find_parts(struct operation_result *result, const struct multipart_core *read, struct view *key,
                       struct view *certificate);
static bool read_key(struct operation_result *result, const struct operation_check *check, struct view part);
static bool verify_signer(struct operation_result *result, const struct operation_check *check);
static int certificate_format(enum operation operation);
static bool read_certificates(struct operation_result *result, const struct operation_check *check);
static bool verify_issued(struct operation_result *result, struct trust *issuer);
static bool explain_code(struct operation_result *result);
static size_t printable_prefix(const struct octets *payload);

/* RFC 9148 section 4.1 table 1 and section 4.5 table 4. */
static const struct {
    const char *name;
    const char *resource; /* NULL when nothing is asked */
    uint8_t method;
    uint8_t success;
    int request_format;
    judge *judge;
} operations[OPERATION_COUNT] = {
    [OPERATION_DISCOVER] = {"discover", "", COAP_REQUEST_CODE_GET, COAP_RESPONSE_CODE(205),
                            CONTENT_FORMAT_NONE, judge_links},
    [OPERATION_CRTS] = {"crts", "crts", COAP_REQUEST_CODE_GET, COAP_RESPONSE_CODE(205), CONTENT_FORMAT_NONE,
                        judge_anchors},
    [OPERATION_ATT] = {"att", "att", COAP_REQUEST_CODE_GET, COAP_RESPONSE_CODE(205), CONTENT_FORMAT_NONE,
                       judge_attributes},
    [OPERATION_SEN] = {"sen", "sen", COAP_REQUEST_CODE_POST, COAP_RESPONSE_CODE(204), CONTENT_FORMAT_PKCS10,
                       judge_issued},
    [OPERATION_SREN] = {"sren", "sren", COAP_REQUEST_CODE_POST, COAP_RESPONSE_CODE(204),
                        CONTENT_FORMAT_PKCS10, judge_issued},
    [OPERATION_SKG] = {"skg", "skg", COAP_REQUEST_CODE_POST, COAP_RESPONSE_CODE(204), CONTENT_FORMAT_PKCS10,
                       judge_generated},
    [OPERATION_SKC] = {"skc", "skc", COAP_REQUEST_CODE_POST, COAP_RESPONSE_CODE(204), CONTENT_FORMAT_PKCS10,
                       judge_generated},
    [OPERATION_RECONNECT] = {.name = "reconnect"},
    [OPERATION_RESUME] = {.name = "resume"},
    [OPERATION_REBOOT] = {.name = "reboot"},
};

const char *operation_name(enum operation operation)
{
    return operations[operation].name;
}

enum operation operation_by_name(const char *name)
{
    enum operation operation = 0;
    while (operation < OPERATION_COUNT && strcmp(operations[operation].name, name) != 0)
        operation++;
    return operation;
}

bool operation_enrols(enum operation operation)
{
    return operations[operation].judge == judge_issued || operation_generates_key(operation);
}

bool operation_may_be_valid(enum operation operation)
{
    return operation == OPERATION_CRTS || operation == OPERATION_ATT;
}

bool operation_generates_key(enum operation operation)
{
    return operations[operation].judge == judge_generated;
}

int operation_accept(enum operation operation, int accept)
{
    bool is_multipart = accept == CONTENT_FORMAT_MULTIPART_CORE;
    if (operation == OPERATION_DISCOVER || operation == OPERATION_ATT ||
        (operation_generates_key(operation) && !is_multipart) ||
        (operation_enrols(operation) && !operation_generates_key(operation) && is_multipart))
        return CONTENT_FORMAT_NONE;
    return accept;
}

bool operation_only_connects(enum operation operation)
{
    return operations[operation].resource == NULL;
}

void operation_request(enum operation operation, const struct path_parts *parts,
                       struct exchange_request *request, char path[160])
{
    if (operation == OPERATION_DISCOVER)
        snprintf(path, 160, "/.well-known/core");
    else
        snprintf(path, 160, "%s%s%s/%s", parts->root, parts->label == NULL ? "" : "/",
                 parts->label == NULL ? "" : parts->label, operations[operation].resource);
    request->method = operations[operation].method;
    request->path = path;
    request->content_format = operations[operation].request_format;
}

void operation_result_clear(struct operation_result *result)
{
    sk_X509_pop_free(result->certificates, X509_free);
    octets_clear(&result->csrattrs);
    EVP_PKEY_free(result->generated);
    key_protection_clear(&result->protection);
    *result = (struct operation_result){0};
}

bool operation_judge(struct operation_result *result, const struct operation_check *check)
{
    if (result->answer->code == COAP_RESPONSE_CODE(203) && operation_may_be_valid(result->operation))
        return true;
    if (result->answer->code != operations[result->operation].success)
        return explain_code(result);
    return operations[result->operation].judge(result, check);
}

static bool judge_links(struct operation_result *result, const struct operation_check *check)
{
    (void)check;
    const struct exchange_answer *answer = result->answer;
    if (answer->content_format == CONTENT_FORMAT_LINKS || answer->payload.len == 0)
        return true;
    return explain(&result->trouble, "the answer's Content-Format is %d (%s), not 40", answer->content_format,
                   content_format_name(answer->content_format));
}

static bool judge_anchors(struct operation_result *result, const struct operation_check *check)
{
    if (!read_certificates(result, check))
        return false;
    if (check->server == NULL)
        return true;
    struct trust *anchors = trust_from_bag(result->certificates, &result->trouble);
    if (anchors == NULL)
        return false;
    bool good = trust_verifies(anchors, check->server, check->server_chain, X509_PURPOSE_SSL_SERVER,
                               &result->server_trouble);
    result->server_rechecked = good ? CHECK_PASSED : CHECK_FAILED;
    trust_free(anchors);
    return true;
}

static bool judge_attributes(struct operation_result *result, const struct operation_check *check)
{
    (void)check;
    const struct exchange_answer *answer = result->answer;
    if (answer->content_format != CONTENT_FORMAT_CSRATTRS)
        return explain(&result->trouble, "the answer's Content-Format is %d (%s), not 285",
                       answer->content_format, content_format_name(answer->content_format));
    return csrattrs_read(octets_view(&answer->payload), &result->csrattrs, &result->trouble);
}

static bool judge_issued(struct operation_result *result, const struct operation_check *check)
{
    if (!read_certificates(result, check))
        return false;
    result->issued = certificate_for_key(result->certificates, check->key, &result->trouble);
    if (result->issued == NULL)
        return false;
    return check->issuer == NULL || verify_issued(result, check->issuer);
}

/* RFC 9148 section 4.8: four items, in either order of the two parts. */
static bool judge_generated(struct operation_result *result, const struct operation_check *check)
{
    const struct exchange_answer *answer = result->answer;
    struct multipart_core read;
    struct view key = {0}, certificate = {0};
    if (answer->content_format != CONTENT_FORMAT_MULTIPART_CORE)
        return explain(&result->trouble, "the answer's Content-Format is %d (%s), not 62",
                       answer->content_format, content_format_name(answer->content_format));
    if (!multipart_core_read(octets_view(&answer->payload), &read, &result->trouble) ||
        !find_parts(result, &read, &key, &certificate) || !read_key(result, check, key))
        return false;
    result->certificates =
        certificates_read(certificate_format(result->operation), certificate, &result->trouble);
    if (result->certificates == NULL || !verify_signer(result, check))
        return false;
    result->issued = certificate_for_key(result->certificates, result->generated, &result->trouble);
    if (result->issued == NULL)
        return false;
    result->key = result->generated;
    return check->issuer == NULL || verify_issued(result, check->issuer);
}

static bool find_parts(struct operation_result *result, const struct multipart_core *read, struct view *key,
                       struct view *certificate)
{
    int wanted = certificate_format(result->operation), keys = 0, certificates = 0;
    for (size_t i = 0; i < read->count; i++) {
        int format = read->parts[i].content_format;
        bool is_key = format == CONTENT_FORMAT_PKCS8 || format == CONTENT_FORMAT_PROTECTED_KEY;
        if (read->parts[i].is_null || (!is_key && format != wanted))
            return explain(&result->trouble, "part %zu is %s of Content-Format %d (%s)", i + 1,
                           read->parts[i].is_null ? "null" : "one", format, content_format_name(format));
        *(is_key ? key : certificate) = read->parts[i].content;
        if (is_key)
            result->key_format = format;
        keys += is_key ? 1 : 0;
        certificates += is_key ? 0 : 1;
    }
    return (keys == 1 && certificates == 1) ||
           explain(&result->trouble, "%d keys (284 or 280) and %d certificates (%d) came; one of each must",
                   keys, certificates, wanted);
}

static bool read_key(struct operation_result *result, const struct operation_check *check, struct view part)
{
    bool is_plain = result->key_format == CONTENT_FORMAT_PKCS8;
    if (is_plain && check->expects == KEY_FORM_ENCRYPTED)
        return explain(&result->trouble, "a plain key came, where the CSR asks for an encrypted one");
    if (!is_plain && check->expects == KEY_FORM_PLAIN)
        return explain(&result->trouble, "an encrypted key came, where the CSR asks for a plain one");
    result->generated = generated_key_read(result->key_format, part, check->decryption, &result->protection,
                                           &result->trouble);
    return result->generated != NULL;
}

/* RFC 7030 section 4.4.2: whoever made the key has signed it, the registrar, the EST server or the CA. */
static bool verify_signer(struct operation_result *result, const struct operation_check *check)
{
    struct key_protection *protection = &result->protection;
    if (protection->signer == NULL || (check->issuer == NULL && check->trust == NULL))
        return true;
    struct explanation why = {""};
    bool good = (check->trust != NULL && trust_verifies(check->trust, protection->signer, protection->others,
                                                        X509_PURPOSE_ANY, &why)) ||
                (check->issuer != NULL && trust_verifies(check->issuer, protection->signer,
                                                         protection->others, X509_PURPOSE_ANY, &why));
    result->signer_verified = good ? CHECK_PASSED : CHECK_FAILED;
    return good || explain(&result->trouble, "the signer of the key is not trusted: %s", why.text);
}

static int certificate_format(enum operation operation)
{
    return operation == OPERATION_SKC ? CONTENT_FORMAT_PKIX_CERT : CONTENT_FORMAT_CERTS_ONLY;
}

static bool read_certificates(struct operation_result *result, const struct operation_check *check)
{
    const struct exchange_answer *answer = result->answer;
    if (check->accept != CONTENT_FORMAT_NONE && answer->content_format != check->accept)
        return explain(&result->trouble, "asked for Content-Format %d, got %d", check->accept,
                       answer->content_format);
    result->certificates =
        certificates_read(answer->content_format, octets_view(&answer->payload), &result->trouble);
    return result->certificates != NULL;
}

static bool verify_issued(struct operation_result *result, struct trust *issuer)
{
    bool good = trust_verifies(issuer, result->issued, result->certificates, X509_PURPOSE_ANY,
                               &result->verify_trouble);
    result->verified = good ? CHECK_PASSED : CHECK_FAILED;
    if (!good)
        explain(&result->trouble, "the certificate does not chain to the CA certificates: %s",
                result->verify_trouble.text);
    return good;
}

/* RFC 7252 section 5.5.2: the payload of an error is text for a person. */
static bool explain_code(struct operation_result *result)
{
    const struct exchange_answer *answer = result->answer;
    struct coap_code_text code = coap_code_dotted(answer->code);
    size_t length = printable_prefix(&answer->payload);
    explain(&result->trouble, "%s %s%s%.*s%s", code.text, coap_code_name(answer->code),
            length > 0 ? ": \"" : "", (int)length, length > 0 ? (const char *)answer->payload.at : "",
            length > 0 ? "\"" : "");
    if (answer->code >> 5 == 2)
        explain(&result->trouble, "%s %s, where RFC 9148 section 4.5 has %s", code.text,
                coap_code_name(answer->code), coap_code_dotted(operations[result->operation].success).text);
    return false;
}

static size_t printable_prefix(const struct octets *payload)
{
    size_t length = 0;
    while (length < payload->len && length < 200 && payload->at[length] >= 0x20 &&
           payload->at[length] != 0x7f)
        length++;
    return length;
}
