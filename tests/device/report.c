#include "report.h"

#include <string.h>

#include <jansson.h>

#include "certificate_text.h"
#include "coap_names.h"

enum { ETAG_TEXT = 17 };

static void print_association(FILE *out, const struct operation_result *result);
static void print_exchange(FILE *out, const struct operation_result *result);
static void print_body(FILE *out, const char *direction, size_t octets, unsigned blocks, unsigned block_size);
static const char *etag_text(const struct exchange_answer *answer, char text[static ETAG_TEXT]);
static void print_content(FILE *out, const struct operation_result *result);
static void print_anchors(FILE *out, const struct operation_result *result);
static void print_issued(FILE *out, const struct operation_result *result);
static void print_key(FILE *out, const struct operation_result *result, const char *type);
static void print_link(FILE *out, struct view link);
static const char *method_name(uint8_t method);
static const char *verdict_in_words(enum verdict verdict);
static json_t *association_object(const struct operation_result *result);
static json_t *certificate_object(const X509 *certificate);
static json_t *certificate_list(STACK_OF(X509) * certificates);
static void add_exchange(json_t *object, const struct operation_result *result);
static void add_verdict(json_t *object, const char *key, enum verdict verdict);
static void add_text(json_t *object, const char *key, const char *text);
static json_t *text_value(const void *octets, size_t length);

void report_text(FILE *out, const struct operation_result *result)
{
    if (result->fresh_association)
        print_association(out, result);
    fprintf(out, "%-10s%s", operation_name(result->operation), result->implicit ? "(to verify with) " : "");
    if (result->path[0] != '\0')
        print_exchange(out, result);
    if (result->from[0] != '\0')
        fprintf(out, ", from %s", result->from);
    fprintf(out, "%s%lld ms", result->path[0] == '\0' ? "" : ", ", (long long)result->elapsed_ms);
    if (result->attempts > 1)
        fprintf(out, ", %u attempts", result->attempts);
    fprintf(out, "\n");
    if (result->succeeded)
        print_content(out, result);
    else
        fprintf(out, "          FAILED: %s\n", result->trouble.text);
    if (result->answer != NULL && result->answer->remarks.text[0] != '\0')
        fprintf(out, "          remark: %s\n", result->answer->remarks.text);
}

static void print_association(FILE *out, const struct operation_result *result)
{
    struct certificate_text server;
    const struct dtls_facts *dtls = result->dtls;
    fprintf(out, "dtls      %s %s, %s, %s handshake%s in %lld ms\n", dtls->version, dtls->cipher, dtls->group,
            dtls->resumed ? "resumed" : "full",
            dtls->extended_master_secret ? "" : " without extended master secret",
            (long long)result->handshake_ms);
    if (result->server == NULL)
        return;
    certificate_in_words(&server, result->server);
    fprintf(out, "          server %s, issued by %s, until %s\n", server.subject, server.issuer,
            server.not_after);
    fprintf(out, "          %s; id-kp-cmcRA: %s; host name: %s\n",
            dtls->server_verified ? "chain verified" : "chain NOT verified (no --trust)",
            dtls->server_has_cmc_ra ? "yes" : "no", dtls->server_has_name ? "matches" : "does not match");
}

static void print_exchange(FILE *out, const struct operation_result *result)
{
    const struct exchange_answer *answer = result->answer;
    fprintf(out, "%s %s", method_name(result->method), result->path);
    if (result->request_length > 0)
        print_body(out, content_format_name(result->request_format), result->request_length,
                   answer == NULL ? 0 : answer->blocks_sent, answer == NULL ? 0 : answer->block1_size);
    if (answer == NULL) {
        fprintf(out, " -> no answer");
        return;
    }
    fprintf(out, " -> %s %s", coap_code_dotted(answer->code).text, coap_code_name(answer->code));
    if (answer->separate)
        fprintf(out, " (separate)");
    if (answer->payload.len > 0 && answer->code >> 5 == 2)
        print_body(out, content_format_name(answer->content_format), answer->payload.len,
                   answer->blocks_received, answer->block2_size);
    char text[ETAG_TEXT];
    if (answer->etag_length > 0)
        fprintf(out, ", ETag %s", etag_text(answer, text));
    if (answer->max_age >= 0)
        fprintf(out, ", Max-Age %lld s", (long long)answer->max_age);
}

static const char *etag_text(const struct exchange_answer *answer, char text[static ETAG_TEXT])
{
    for (size_t i = 0; i < answer->etag_length; i++)
        snprintf(text + 2 * i, 3, "%02x", answer->etag[i]);
    return text;
}

static void print_body(FILE *out, const char *format, size_t octets, unsigned blocks, unsigned block_size)
{
    fprintf(out, ", %s, %zu octets", format, octets);
    if (block_size > 0)
        fprintf(out, " in %u block%s of %u", blocks, blocks == 1 ? "" : "s", block_size);
}

static void print_content(FILE *out, const struct operation_result *result)
{
    if (result->operation == OPERATION_DISCOVER)
        report_links(out, octets_view(&result->answer->payload));
    if (result->operation == OPERATION_CRTS)
        print_anchors(out, result);
    if (result->operation == OPERATION_ATT)
        fprintf(out, "          attributes: %.*s\n", (int)result->csrattrs.len,
                result->csrattrs.len == 0 ? "" : (const char *)result->csrattrs.at);
    if (result->issued != NULL)
        print_issued(out, result);
}

static void print_anchors(FILE *out, const struct operation_result *result)
{
    struct certificate_text text;
    for (int i = 0; i < sk_X509_num(result->certificates); i++) {
        certificate_in_words(&text, sk_X509_value(result->certificates, i));
        fprintf(out, "          CA %s, issued by %s, until %s\n", text.subject, text.issuer, text.not_after);
    }
    if (result->server_rechecked == CHECK_PASSED)
        fprintf(out, "          the server's chain verifies against these as well\n");
    if (result->server_rechecked == CHECK_FAILED)
        fprintf(out, "          the server's chain does NOT verify against these: %s\n",
                result->server_trouble.text);
}

static void print_issued(FILE *out, const struct operation_result *result)
{
    struct certificate_text text;
    certificate_in_words(&text, result->issued);
    fprintf(out, "          subject  %s\n", text.subject);
    fprintf(out, "          issuer   %s\n", text.issuer);
    fprintf(out, "          serial   %s\n", text.serial);
    fprintf(out, "          validity %s to %s\n", text.not_before, text.not_after);
    print_key(out, result, text.key);
    fprintf(out, "          verified %s\n", verdict_in_words(result->verified));
}

/* Where a generated key came from and how, never the key. */
static void print_key(FILE *out, const struct operation_result *result, const char *type)
{
    struct certificate_text signer;
    const struct key_protection *protection = &result->protection;
    fprintf(out, "          key      %s, %s\n", type,
            result->generated == NULL ? "ours" : "made by the server");
    if (result->generated == NULL)
        return;
    if (protection->recipient == NULL) {
        fprintf(out, "          it came  plain (284)\n");
        return;
    }
    certificate_in_words(&signer, protection->signer);
    fprintf(out, "          it came  encrypted (280, %s), signed by %s, verified %s\n", protection->recipient,
            signer.subject, verdict_in_words(result->signer_verified));
}

void report_links(FILE *out, struct view document)
{
    size_t start = 0;
    bool quoted = false;
    for (size_t i = 0; i <= document.len; i++) {
        if (i < document.len && document.at[i] == '"')
            quoted = !quoted;
        if (i < document.len && (quoted || document.at[i] != ','))
            continue;
        if (i > start)
            print_link(out, (struct view){document.at + start, i - start});
        start = i + 1;
    }
    if (document.len == 0)
        fprintf(out, "          no links\n");
}

/* A link may hold anything; a terminal is not told to do anything. */
static void print_link(FILE *out, struct view link)
{
    fprintf(out, "          ");
    for (size_t i = 0; i < link.len; i++)
        fputc(link.at[i] < 0x20 || link.at[i] == 0x7f ? '?' : link.at[i], out);
    fprintf(out, "\n");
}

static const char *method_name(uint8_t method)
{
    return method == COAP_REQUEST_CODE_POST ? "POST" : "GET";
}

static const char *verdict_in_words(enum verdict verdict)
{
    static const char *const words[] = {
        [NOT_CHECKED] = "not checked", [CHECK_PASSED] = "yes", [CHECK_FAILED] = "NO"};
    return words[verdict];
}

void report_json(FILE *out, const struct operation_result *result)
{
    json_t *object = json_object();
    json_object_set_new(object, "operation", json_string(operation_name(result->operation)));
    json_object_set_new(object, "ok", json_boolean(result->succeeded));
    if (result->implicit)
        json_object_set_new(object, "implicit", json_true());
    json_object_set_new(object, "attempts", json_integer(result->attempts));
    json_object_set_new(object, "elapsed_ms", json_integer(result->elapsed_ms));
    if (!result->succeeded)
        add_text(object, "trouble", result->trouble.text);
    if (result->dtls != NULL)
        json_object_set_new(object, "dtls", association_object(result));
    add_exchange(object, result);
    if (result->operation == OPERATION_CRTS && result->certificates != NULL)
        json_object_set_new(object, "certificates", certificate_list(result->certificates));
    if (result->operation == OPERATION_ATT && result->succeeded)
        json_object_set_new(object, "attributes", text_value(result->csrattrs.at, result->csrattrs.len));
    if (result->operation == OPERATION_DISCOVER && result->succeeded)
        json_object_set_new(object, "links",
                            text_value(result->answer->payload.at, result->answer->payload.len));
    if (result->issued != NULL)
        json_object_set_new(object, "certificate", certificate_object(result->issued));
    if (result->key_format != 0)
        json_object_set_new(object, "key_format", json_integer(result->key_format));
    if (result->protection.recipient != NULL)
        add_text(object, "key_recipient", result->protection.recipient);
    if (result->protection.signer != NULL) {
        json_object_set_new(object, "key_signer", certificate_object(result->protection.signer));
        add_verdict(object, "key_signer_verified", result->signer_verified);
    }
    if (operation_enrols(result->operation))
        add_verdict(object, "verified", result->verified);
    if (result->operation == OPERATION_CRTS)
        add_verdict(object, "server_rechecked", result->server_rechecked);
    json_dumpf(object, out, JSON_COMPACT);
    fprintf(out, "\n");
    json_decref(object);
}

static json_t *association_object(const struct operation_result *result)
{
    const struct dtls_facts *dtls = result->dtls;
    json_t *object = json_object();
    json_object_set_new(object, "fresh", json_boolean(result->fresh_association));
    json_object_set_new(object, "version", json_string(dtls->version));
    json_object_set_new(object, "cipher", json_string(dtls->cipher));
    json_object_set_new(object, "group", json_string(dtls->group));
    json_object_set_new(object, "resumed", json_boolean(dtls->resumed));
    json_object_set_new(object, "extended_master_secret", json_boolean(dtls->extended_master_secret));
    json_object_set_new(object, "handshake_ms", json_integer(result->handshake_ms));
    json_object_set_new(object, "server_verified", json_boolean(dtls->server_verified));
    json_object_set_new(object, "server_cmc_ra", json_boolean(dtls->server_has_cmc_ra));
    json_object_set_new(object, "server_name_matches", json_boolean(dtls->server_has_name));
    if (result->server != NULL)
        json_object_set_new(object, "server", certificate_object(result->server));
    return object;
}

static json_t *certificate_object(const X509 *certificate)
{
    struct certificate_text text;
    json_t *object = json_object();
    certificate_in_words(&text, certificate);
    add_text(object, "subject", text.subject);
    add_text(object, "issuer", text.issuer);
    add_text(object, "serial", text.serial);
    add_text(object, "not_before", text.not_before);
    add_text(object, "not_after", text.not_after);
    add_text(object, "key", text.key);
    return object;
}

static json_t *certificate_list(STACK_OF(X509) * certificates)
{
    json_t *list = json_array();
    for (int i = 0; i < sk_X509_num(certificates); i++)
        json_array_append_new(list, certificate_object(sk_X509_value(certificates, i)));
    return list;
}

static void add_exchange(json_t *object, const struct operation_result *result)
{
    const struct exchange_answer *answer = result->answer;
    if (result->from[0] != '\0')
        add_text(object, "from", result->from);
    if (result->path[0] == '\0')
        return;
    json_object_set_new(object, "method", json_string(method_name(result->method)));
    add_text(object, "path", result->path);
    json_object_set_new(object, "request_octets", json_integer((json_int_t)result->request_length));
    if (answer == NULL)
        return;
    json_object_set_new(object, "code", json_string(coap_code_dotted(answer->code).text));
    json_object_set_new(object, "code_name", json_string(coap_code_name(answer->code)));
    json_object_set_new(object, "separate", json_boolean(answer->separate));
    char text[ETAG_TEXT];
    if (answer->etag_length > 0)
        json_object_set_new(object, "etag", json_string(etag_text(answer, text)));
    if (answer->max_age >= 0)
        json_object_set_new(object, "max_age", json_integer(answer->max_age));
    if (answer->content_format != CONTENT_FORMAT_NONE)
        json_object_set_new(object, "content_format", json_integer(answer->content_format));
    json_object_set_new(object, "payload_octets", json_integer((json_int_t)answer->payload.len));
    json_object_set_new(object, "blocks_sent", json_integer(answer->blocks_sent));
    json_object_set_new(object, "block1_size", json_integer(answer->block1_size));
    json_object_set_new(object, "blocks_received", json_integer(answer->blocks_received));
    json_object_set_new(object, "block2_size", json_integer(answer->block2_size));
    if (answer->announced_size > 0)
        json_object_set_new(object, "size2", json_integer((json_int_t)answer->announced_size));
    if (answer->remarks.text[0] != '\0')
        add_text(object, "remarks", answer->remarks.text);
    if (answer->code >> 5 != 2 && answer->payload.len > 0)
        json_object_set_new(object, "diagnostic", text_value(answer->payload.at, answer->payload.len));
}

static void add_verdict(json_t *object, const char *key, enum verdict verdict)
{
    json_object_set_new(object, key,
                        verdict == NOT_CHECKED ? json_null() : json_boolean(verdict == CHECK_PASSED));
}

static void add_text(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, text_value(text, strlen(text)));
}

/* Text from the network need not be UTF-8; what is not becomes a question mark. */
static json_t *text_value(const void *octets, size_t length)
{
    uint8_t plain[1024];
    json_t *value = length == 0 ? json_string("") : json_stringn(octets, length);
    if (value != NULL)
        return value;
    size_t kept = length < sizeof(plain) ? length : sizeof(plain);
    for (size_t i = 0; i < kept; i++) {
        uint8_t octet = ((const uint8_t *)octets)[i];
        plain[i] = octet >= 0x20 && octet < 0x7f ? octet : '?';
    }
    return json_stringn((const char *)plain, kept);
}
