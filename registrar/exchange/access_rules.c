#include "registrar/exchange/access_rules.h"

#include "common/glob.h"
#include "registrar/exchange/serial_list.h"
#include "registrar/protocol/certificate_names.h"

#include <openssl/err.h>

#include <ctype.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define NAME_OCTETS_MAX 40                    /* of "access.rules[3]" */
#define FACTS_MAX       ((size_t)1024 * 1024) /* octets about one condition; certificates are smaller */

struct patterns {
    char **items; /* each and all owned */
    size_t count;
};

struct access_rule {
    char *name;
    struct patterns match[ACCESS_CONDITION_COUNT], allow_san;
    enum access_action action;
    enum csr_identity csr_identity;
};

struct access_rules {
    atomic_uint references;
    struct access_rule *items;
    size_t count;
    enum access_action preset;
    enum csr_identity csr_identity;
    struct serial_list *file; /* NULL: none */
    bool needs[ACCESS_CONDITION_COUNT];
};

/* What is true of a request: for each condition texts, each after its length. */
struct facts {
    struct buffer texts[ACCESS_CONDITION_COUNT];
};

static bool compile(struct access_rules *rules, const struct access_settings *settings);
static bool compile_rule(struct access_rule *rule, const struct access_rule_settings *settings, size_t index);
static bool copy_patterns(struct patterns *patterns, const struct settings_strings *strings,
                          void (*normalise)(char *));
static void lower_dns(char *pattern);
static void lower(char *text);
static bool load_file(struct access_rules *rules, const char *file, struct buffer *errors,
                      struct buffer *warnings);
static bool asks_somebody(const struct access_rules *rules, const char *url, struct buffer *errors);
static void free_rule(struct access_rule *rule);
static void free_patterns(struct patterns *patterns);

struct access_rules *access_rules_load(const struct access_settings *settings, struct buffer *errors,
                                       struct buffer *warnings)
{
    struct access_rules *rules = calloc(1, sizeof(*rules));
    if (rules != NULL)
        atomic_init(&rules->references, 1);
    if (rules == NULL || !compile(rules, settings)) {
        buffer_printf(errors, "access.rules: %s\n", status_text(STATUS_NO_MEMORY));
        access_rules_release(rules);
        return NULL;
    }
    if (!load_file(rules, settings->file, errors, warnings) ||
        !asks_somebody(rules, settings->webhook.url, errors)) {
        access_rules_release(rules);
        return NULL;
    }
    return rules;
}

struct access_rules *access_rules_hold(struct access_rules *rules)
{
    atomic_fetch_add_explicit(&rules->references, 1, memory_order_relaxed);
    return rules;
}

void access_rules_release(struct access_rules *rules)
{
    if (rules == NULL || atomic_fetch_sub_explicit(&rules->references, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < rules->count; i++)
        free_rule(&rules->items[i]);
    free(rules->items);
    serial_list_free(rules->file);
    free(rules);
}

static bool compile(struct access_rules *rules, const struct access_settings *settings)
{
    const struct access_rule_settings *given = settings->rules.items;
    rules->preset = settings->preset;
    rules->csr_identity = settings->csr_identity;
    rules->items = calloc(settings->rules.count + 1, sizeof(rules->items[0]));
    if (rules->items == NULL)
        return false;
    for (; rules->count < settings->rules.count; rules->count++) {
        if (!compile_rule(&rules->items[rules->count], &given[rules->count], rules->count)) {
            free_rule(&rules->items[rules->count]);
            return false;
        }
        for (size_t i = 0; i < ACCESS_CONDITION_COUNT; i++)
            rules->needs[i] |= given[rules->count].match[i].count > 0;
    }
    return true;
}

static bool compile_rule(struct access_rule *rule, const struct access_rule_settings *settings, size_t index)
{
    static void (*const normalise[ACCESS_CONDITION_COUNT])(char *) = {
        [ACCESS_SAN] = lower_dns, [ACCESS_AUTHORITY_KEY] = lower, [ACCESS_SUBJECT_KEY] = lower};
    char name[NAME_OCTETS_MAX];
    snprintf(name, sizeof(name), "access.rules[%zu]", index);
    rule->name = strdup(settings->name[0] != '\0' ? settings->name : name);
    rule->action = settings->action;
    rule->csr_identity = settings->csr_identity;
    bool copied = rule->name != NULL && copy_patterns(&rule->allow_san, &settings->allow_san, lower_dns);
    for (size_t i = 0; i < ACCESS_CONDITION_COUNT && copied; i++)
        copied = copy_patterns(&rule->match[i], &settings->match[i], normalise[i]);
    return copied;
}

static bool copy_patterns(struct patterns *patterns, const struct settings_strings *strings,
                          void (*normalise)(char *))
{
    patterns->items = strings->count > 0 ? calloc(strings->count, sizeof(patterns->items[0])) : NULL;
    if (patterns->items == NULL)
        return strings->count == 0;
    for (; patterns->count < strings->count; patterns->count++) {
        char *copy = strdup(strings->items[patterns->count]);
        if (copy == NULL)
            return false;
        if (normalise != NULL)
            normalise(copy);
        patterns->items[patterns->count] = copy;
    }
    return true;
}

/* Host names have no case (RFC 4343). */
static void lower_dns(char *pattern)
{
    if (strncmp(pattern, "dns:", strlen("dns:")) == 0)
        lower(pattern);
}

static void lower(char *text)
{
    for (; *text != '\0'; text++)
        *text = (char)tolower((unsigned char)*text);
}

static bool load_file(struct access_rules *rules, const char *file, struct buffer *errors,
                      struct buffer *warnings)
{
    if (file[0] == '\0')
        return true;
    rules->file = serial_list_load(file, errors);
    if (rules->file == NULL)
        return false;
    rules->needs[ACCESS_SERIAL_NUMBER] = true;
    if (serial_list_count(rules->file) == 0)
        buffer_printf(warnings, "access.file: \"%s\" holds no serial number; is it the right file?\n", file);
    return true;
}

/* A question to nobody would refuse every device for ever. */
static bool asks_somebody(const struct access_rules *rules, const char *url, struct buffer *errors)
{
    const char *who = rules->preset == ACCESS_ASK ? "access.default" : NULL;
    for (size_t i = 0; i < rules->count; i++)
        if (rules->items[i].action == ACCESS_ASK)
            who = rules->items[i].name;
    if (rules->file != NULL && serial_list_asks(rules->file))
        who = "access.file";
    if (who == NULL || url[0] != '\0')
        return true;
    buffer_printf(errors, "%s: \"ask\" asks nobody; give access.webhook.url\n", who);
    return false;
}

static void free_rule(struct access_rule *rule)
{
    free(rule->name);
    free_patterns(&rule->allow_san);
    for (size_t i = 0; i < ACCESS_CONDITION_COUNT; i++)
        free_patterns(&rule->match[i]);
}

static void free_patterns(struct patterns *patterns)
{
    for (size_t i = 0; i < patterns->count; i++)
        free(patterns->items[i]);
    free(patterns->items);
}

/* A decision. */

static enum status gather(const struct access_rules *rules, const struct access_request *request,
                          struct facts *facts);
static void decide(const struct access_rules *rules, const struct access_request *request,
                   const struct facts *facts, struct access_decision *decision);
static bool names_label(const struct access_rules *rules, struct bytes label);
static bool holds(const struct access_rule *rule, const struct facts *facts);
static bool any_fits(const struct patterns *patterns, const struct buffer *texts);
static bool fits(const struct patterns *patterns, struct bytes text);
static void apply(const struct access_rules *rules, const struct access_rule *rule, const struct facts *facts,
                  struct access_decision *decision);
static bool look_up(const struct access_rules *rules, const struct facts *facts, enum access_action *action);
static void conclude(struct access_decision *decision, enum access_action action, const char *by);

enum status access_rules_decide(const struct access_rules *rules, const struct access_request *request,
                                struct access_decision *decision)
{
    struct facts facts;
    for (size_t i = 0; i < ACCESS_CONDITION_COUNT; i++)
        buffer_init(&facts.texts[i], FACTS_MAX);
    enum status status = gather(rules, request, &facts);
    *decision = (struct access_decision){.csr_identity = rules->csr_identity};
    if (status == STATUS_OK)
        decide(rules, request, &facts, decision);
    for (size_t i = 0; i < ACCESS_CONDITION_COUNT; i++)
        buffer_free(&facts.texts[i]);
    return status;
}

static void decide(const struct access_rules *rules, const struct access_request *request,
                   const struct facts *facts, struct access_decision *decision)
{
    const bool is_get = request->operation->method == CM_GET, has_label = request->label.len > 0;
    enum access_action listed;
    if (has_label && !names_label(rules, request->label)) {
        conclude(decision, ACCESS_DENY, "no rule for the label");
        return;
    }
    for (size_t i = 0; i < rules->count; i++) {
        const struct access_rule *rule = &rules->items[i];
        if ((!is_get || rule->match[ACCESS_OPERATION].count > 0) && holds(rule, facts)) {
            apply(rules, rule, facts, decision);
            return;
        }
    }
    if (is_get)
        conclude(decision, ACCESS_ALLOW, "access.default");
    else if (look_up(rules, facts, &listed))
        conclude(decision, listed, "access.file");
    else if (has_label)
        conclude(decision, ACCESS_DENY, "no rule for the label and the device");
    else
        conclude(decision, rules->preset, "access.default");
}

static bool names_label(const struct access_rules *rules, struct bytes label)
{
    for (size_t i = 0; i < rules->count; i++)
        if (fits(&rules->items[i].match[ACCESS_LABEL], label))
            return true;
    return false;
}

static bool holds(const struct access_rule *rule, const struct facts *facts)
{
    for (size_t i = 0; i < ACCESS_CONDITION_COUNT; i++)
        if (rule->match[i].count > 0 && !any_fits(&rule->match[i], &facts->texts[i]))
            return false;
    return true;
}

static void apply(const struct access_rules *rules, const struct access_rule *rule, const struct facts *facts,
                  struct access_decision *decision)
{
    enum access_action action = rule->action;
    if (action == ACCESS_FILE && !look_up(rules, facts, &action))
        action = ACCESS_DENY;
    conclude(decision, action, rule->name);
    decision->rule = rule;
    if (rule->csr_identity != CSR_IDENTITY_DEFAULT)
        decision->csr_identity = rule->csr_identity;
}

static void conclude(struct access_decision *decision, enum access_action action, const char *by)
{
    decision->action = action;
    decision->by = by;
}

/* Cuts the next of the texts off rest. */
static bool next_text(struct bytes *rest, struct bytes *text)
{
    size_t len;
    if (rest->len < sizeof(len))
        return false;
    memcpy(&len, rest->at, sizeof(len));
    *text = bytes_slice(*rest, sizeof(len), len);
    *rest = bytes_slice(*rest, sizeof(len) + len, rest->len);
    return true;
}

static bool any_fits(const struct patterns *patterns, const struct buffer *texts)
{
    struct bytes rest = buffer_view(texts), text;
    while (next_text(&rest, &text))
        if (fits(patterns, text))
            return true;
    return false;
}

static bool fits(const struct patterns *patterns, struct bytes text)
{
    for (size_t i = 0; i < patterns->count; i++)
        if (glob_matches(bytes_from_string(patterns->items[i]), text))
            return true;
    return false;
}

static bool look_up(const struct access_rules *rules, const struct facts *facts, enum access_action *action)
{
    static const int weights[] = {[ACCESS_ALLOW] = 1, [ACCESS_ASK] = 2, [ACCESS_DENY] = 3};
    struct bytes rest = buffer_view(&facts->texts[ACCESS_SERIAL_NUMBER]), serial;
    int heaviest = 0;
    while (rules->file != NULL && next_text(&rest, &serial)) {
        enum access_action listed;
        if (serial_list_find(rules->file, serial, &listed) && weights[listed] > heaviest) {
            heaviest = weights[listed];
            *action = listed;
        }
    }
    return heaviest > 0;
}

bool access_rule_allows_san(const struct access_rule *rule, const GENERAL_NAME *name)
{
    struct buffer text;
    buffer_init(&text, FACTS_MAX);
    bool allowed = rule != NULL && rule->allow_san.count > 0 &&
                   certificate_names_write_alternative(name, &text) && text.status == STATUS_OK &&
                   (name->type != GEN_DNS || memchr(text.at, '*', text.len) == NULL) &&
                   fits(&rule->allow_san, buffer_view(&text));
    buffer_free(&text);
    return allowed;
}

/* Facts. */

static void add_dn(struct buffer *texts, const X509_NAME *name);
static void add_serials(struct buffer *texts, const X509_NAME *subject);
static void add_alternatives(struct buffer *texts, X509 *certificate);
static void add_key(struct buffer *texts, const ASN1_OCTET_STRING *identifier);
static void add(struct buffer *texts, struct bytes text);

/* Only those that a rule looks at. */
static enum status gather(const struct access_rules *rules, const struct access_request *request,
                          struct facts *facts)
{
    X509 *certificate = client_identity_certificate(request->client);
    struct buffer *texts = facts->texts;
    if (rules->needs[ACCESS_SUBJECT])
        add_dn(&texts[ACCESS_SUBJECT], X509_get_subject_name(certificate));
    if (rules->needs[ACCESS_ISSUER])
        add_dn(&texts[ACCESS_ISSUER], X509_get_issuer_name(certificate));
    if (rules->needs[ACCESS_SERIAL_NUMBER])
        add_serials(&texts[ACCESS_SERIAL_NUMBER], X509_get_subject_name(certificate));
    if (rules->needs[ACCESS_SAN])
        add_alternatives(&texts[ACCESS_SAN], certificate);
    if (rules->needs[ACCESS_AUTHORITY_KEY])
        add_key(&texts[ACCESS_AUTHORITY_KEY], X509_get0_authority_key_id(certificate));
    if (rules->needs[ACCESS_SUBJECT_KEY])
        add_key(&texts[ACCESS_SUBJECT_KEY], X509_get0_subject_key_id(certificate));
    if (rules->needs[ACCESS_TRUST])
        add(&texts[ACCESS_TRUST],
            bytes_from_string(trust_store_name(client_identity_trust(request->client))));
    if (rules->needs[ACCESS_OPERATION])
        add(&texts[ACCESS_OPERATION], bytes_from_string(request->operation->name));
    if (rules->needs[ACCESS_LABEL])
        add(&texts[ACCESS_LABEL], request->label);
    for (size_t i = 0; i < ACCESS_CONDITION_COUNT; i++)
        if (texts[i].status != STATUS_OK)
            return STATUS_NO_MEMORY;
    return STATUS_OK;
}

static void add_dn(struct buffer *texts, const X509_NAME *name)
{
    struct buffer text;
    buffer_init(&text, FACTS_MAX);
    certificate_names_write_dn(name, &text);
    if (text.status != STATUS_OK)
        texts->status = text.status;
    add(texts, buffer_view(&text));
    buffer_free(&text);
}

/* All of them: the CA vouched for each. */
static void add_serials(struct buffer *texts, const X509_NAME *subject)
{
    for (int at = -1; (at = X509_NAME_get_index_by_NID(subject, NID_serialNumber, at)) >= 0;) {
        struct buffer text;
        buffer_init(&text, FACTS_MAX);
        if (certificate_names_write_value(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), &text))
            add(texts, buffer_view(&text));
        if (text.status != STATUS_OK)
            texts->status = text.status;
        buffer_free(&text);
    }
}

static void add_alternatives(struct buffer *texts, X509 *certificate)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        struct buffer text;
        buffer_init(&text, FACTS_MAX);
        if (certificate_names_write_alternative(sk_GENERAL_NAME_value(names, i), &text))
            add(texts, buffer_view(&text));
        if (text.status != STATUS_OK)
            texts->status = text.status;
        buffer_free(&text);
    }
    GENERAL_NAMES_free(names);
    ERR_clear_error();
}

static void add_key(struct buffer *texts, const ASN1_OCTET_STRING *identifier)
{
    struct buffer text;
    if (identifier == NULL)
        return;
    buffer_init(&text, FACTS_MAX);
    certificate_names_write_hex(
        (struct bytes){ASN1_STRING_get0_data(identifier), (size_t)ASN1_STRING_length(identifier)}, &text);
    if (text.status != STATUS_OK)
        texts->status = text.status;
    add(texts, buffer_view(&text));
    buffer_free(&text);
}

static void add(struct buffer *texts, struct bytes text)
{
    size_t len = text.len;
    buffer_append(texts, (struct bytes){(const uint8_t *)&len, sizeof(len)});
    buffer_append(texts, text);
}
