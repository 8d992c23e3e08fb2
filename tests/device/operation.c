#include "operation.h"

#include <stdio.h>
#include <string.h>

#include <openssl/x509v3.h>

#include "certificate_answer.h"
#include "coap_names.h"

typedef bool judge(struct operation_result *result, const struct operation_check *check);

static judge judge_links;
static judge judge_anchors;
static judge judge_attributes;
static judge judge_issued;
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
    return operations[operation].judge == judge_issued;
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
    *result = (struct operation_result){0};
}

bool operation_judge(struct operation_result *result, const struct operation_check *check)
{
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
