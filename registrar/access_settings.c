#include "registrar/access_settings.h"

#include "common/glob.h"
#include "registrar/protocol/client_identity.h"
#include "registrar/protocol/est_operation.h"
#include "registrar/settings.h"

#include "common/settings_rows.h"

#include <curl/curl.h>

#include <string.h>

#define NAME_OCTETS_MAX    64
#define PATTERN_OCTETS_MAX 512

const struct settings_name access_defaults[] = {
    {"allow", ACCESS_ALLOW}, {"deny", ACCESS_DENY}, {"ask", ACCESS_ASK}, {NULL, 0}};
const struct settings_name webhook_failures[] = {
    {"closed", WEBHOOK_FAIL_CLOSED}, {"open", WEBHOOK_FAIL_OPEN}, {NULL, 0}};
static const struct settings_name actions[] = {
    {"allow", ACCESS_ALLOW}, {"deny", ACCESS_DENY}, {"ask", ACCESS_ASK}, {"file", ACCESS_FILE}, {NULL, 0}};
static const struct settings_name identities[] = {{"default", CSR_IDENTITY_DEFAULT},
                                                  {"same-serial", CSR_IDENTITY_SAME_SERIAL},
                                                  {"serial-only", CSR_IDENTITY_SERIAL_ONLY},
                                                  {"same-subject", CSR_IDENTITY_SAME_SUBJECT},
                                                  {"any", CSR_IDENTITY_ANY},
                                                  {NULL, 0}};

/* What a subjectAltName begins with (certificate_names_write_alternative). */
static const char *const kinds[] = {"dns:", "uri:", "email:", "ip:", "hardware:"};

static const char *complaint_about_name(const json_t *value);
static const char *complaint_about_pattern(const json_t *value);
static const char *complaint_about_label_pattern(const json_t *value);
static const char *complaint_about_san(const json_t *value);
static const char *complaint_about_allowed_san(const json_t *value);
static const char *complaint_about_key(const json_t *value);
static const char *complaint_about_trust(const json_t *value);
static const char *complaint_about_operation(const json_t *value);

#define CONDITION(name, index, look)                                                                         \
    KEY("match." name, SETTINGS_STRINGS,                                                                     \
        PLACE(struct access_rule_settings, match[index], struct settings_strings)),                          \
        .min = 1, .max = SETTINGS_STRINGS_MAX, .or_one = true, .optional = true, .complaint = (look)

/* clang-format off */
static const struct settings_field rule_fields[] = {
    { KEY("name", SETTINGS_STRING, PLACE(struct access_rule_settings, name, char *)),
      .complaint = complaint_about_name, PRESET("\"\""), SOURCE("DTLS-10"),
      DOC("what the log calls the rule; without, `access.rules[3]`") },
    { CONDITION("subject", ACCESS_SUBJECT, complaint_about_pattern), SOURCE("DTLS-10"),
      DOC("the client certificate's subject as the log shows it (RFC 4514): `CN=meter,O=Example`") },
    { CONDITION("serial_number", ACCESS_SERIAL_NUMBER, complaint_about_pattern), SOURCE("DTLS-10"),
      DOC("a serialNumber attribute of that subject") },
    { CONDITION("san", ACCESS_SAN, complaint_about_san), SOURCE("DTLS-10"),
      DOC("a subjectAltName: `dns:`, `uri:`, `email:`, `ip:` or `hardware:OID:HEX` (RFC 4108)") },
    { CONDITION("issuer", ACCESS_ISSUER, complaint_about_pattern), SOURCE("DTLS-10"),
      DOC("the certificate's issuer, as `subject`") },
    { CONDITION("authority_key_identifier", ACCESS_AUTHORITY_KEY, complaint_about_key), SOURCE("DTLS-10"),
      DOC("the key that issued the certificate, in hexadecimal without colons") },
    { CONDITION("subject_key_identifier", ACCESS_SUBJECT_KEY, complaint_about_key), SOURCE("DTLS-10"),
      DOC("the device's own key, likewise") },
    { CONDITION("trust", ACCESS_TRUST, complaint_about_trust), SOURCE("DTLS-10, DTLS-8"),
      DOC("the trust store that vouched for it: `manufacturer` or `domain`") },
    { CONDITION("operation", ACCESS_OPERATION, complaint_about_operation), SOURCE("DTLS-10"),
      DOC("`sen`, `sren`, `skg`, `skc`, `crts` or `att`; the last two are only judged by rules with this condition") },
    { CONDITION("label", ACCESS_LABEL, complaint_about_label_pattern), SOURCE("DTLS-10, URI-4"),
      DOC("the label of the request, `\"\"` where it has none") },
    { KEY("action", SETTINGS_ENUM, PLACE(struct access_rule_settings, action, enum access_action)),
      .names = actions, REQUIRED, SOURCE("DTLS-10"),
      DOC("what follows; `ask` asks the webhook, `file` looks the device up in `access.file`, and who is not there is refused") },
    { KEY("allow_san", SETTINGS_STRINGS, PLACE(struct access_rule_settings, allow_san, struct settings_strings)),
      .max = SETTINGS_STRINGS_MAX, .complaint = complaint_about_allowed_san, PRESET("[]"), SOURCE("RE-8"),
      DOC("subjectAltNames that the CSR may have besides those of the client certificate: `dns:*.meters.example`") },
    { KEY("csr_identity", SETTINGS_ENUM, PLACE(struct access_rule_settings, csr_identity, enum csr_identity)),
      .names = identities, PRESET("\"default\""), SOURCE("RE-8"),
      DOC("`access.csr_identity` for whom the rule allows") },
};
/* clang-format on */

const struct settings_table access_rule_table = {rule_fields, sizeof(rule_fields) / sizeof(rule_fields[0])};

static void review_rule(const struct settings_review *review, size_t index);
static void review_need(const struct settings_review *review, const char *path, enum access_action action);
static void review_webhook(const struct settings_review *review);
static bool asks(const struct access_settings *access);
static void review_names(const struct settings_review *review);
static bool is_named(const struct access_settings *access, const char *label);
static void review_rule_labels(const struct settings_review *review, size_t index);
static bool may_fit_a_label(const struct est_settings *est, const char *pattern);
static void review_order(const struct settings_review *review);
static bool holds_always(const struct access_rule_settings *rule);
static bool fit_all(const struct settings_strings *patterns, const char *const *texts, size_t count);
static bool is_about_enrolments(const struct access_rule_settings *rule);
static const struct access_rule_settings *rule_at(const struct access_settings *access, size_t index);
static bool fits(const char *pattern, const char *text);

void access_settings_review(const struct settings_review *review)
{
    const struct access_settings *access = &review->settings->access;
    if (!settings_review_usable(review, "access.rules", "access.file") ||
        !settings_reader_usable(review->reader, "access.webhook.url"))
        return;
    for (size_t i = 0; i < access->rules.count; i++)
        review_rule(review, i);
    review_order(review);
    review_webhook(review);
    if (settings_reader_usable(review->reader, "est.labels"))
        review_names(review);
}

static void review_rule(const struct settings_review *review, size_t index)
{
    const struct access_rule_settings *rule = rule_at(&review->settings->access, index);
    char path[64];
    snprintf(path, sizeof(path), "access.rules[%zu].action", index);
    review_need(review, path, rule->action);
    snprintf(path, sizeof(path), "access.rules[%zu].csr_identity", index);
    if (rule->csr_identity == CSR_IDENTITY_ANY)
        settings_review_warn(review, path,
                             "\"any\" lets whom the rule allows enrol in the name of any other");
    if (rule->action != ACCESS_DENY)
        return;
    snprintf(path, sizeof(path), "access.rules[%zu]", index);
    if (rule->allow_san.count > 0 || rule->csr_identity != CSR_IDENTITY_DEFAULT)
        settings_reader_complain(review->reader, path,
                                 "denies, so that allow_san and csr_identity mean nothing; remove them");
}

static void review_need(const struct settings_review *review, const char *path, enum access_action action)
{
    const struct access_settings *access = &review->settings->access;
    if (action == ACCESS_FILE && access->file[0] == '\0')
        settings_reader_complain(review->reader, path, "\"file\" has nothing to look at; give access.file");
}

static void review_webhook(const struct settings_review *review)
{
    const struct access_settings *access = &review->settings->access;
    bool is_https = strncmp(access->webhook.url, "https://", strlen("https://")) == 0;
    if (is_https && access->webhook.trust.count == 0 &&
        settings_reader_usable(review->reader, "access.webhook.trust"))
        settings_reader_complain(review->reader, "access.webhook.trust",
                                 "is empty; name the PEM file of the CA of the webhook's certificate");
    if (access->webhook.url[0] == '\0')
        return;
    if (settings_review_usable(review, "access.webhook.timeout_ms", "coap.answer_within_ms") &&
        access->webhook.timeout_ms >= review->settings->coap.answer_within_ms)
        settings_reader_complain(
            review->reader, "access.webhook.timeout_ms",
            "%u is not below coap.answer_within_ms, which is %u; lower the one or raise the other",
            access->webhook.timeout_ms, review->settings->coap.answer_within_ms);
    if (!asks(access))
        settings_review_warn(review, "access.webhook.url",
                             "is never asked: no rule has the action \"ask\", nor has access.default");
    if (access->webhook.fail == WEBHOOK_FAIL_OPEN)
        settings_review_warn(review, "access.webhook.fail",
                             "\"open\" lets everybody enrol while the webhook is silent; use \"closed\"");
}

/* The file may have lines that ask. */
static bool asks(const struct access_settings *access)
{
    bool found = access->preset == ACCESS_ASK || access->file[0] != '\0';
    for (size_t i = 0; i < access->rules.count; i++)
        found = found || rule_at(access, i)->action == ACCESS_ASK;
    return found;
}

/* URI-4 */
static void review_names(const struct settings_review *review)
{
    const struct settings *settings = review->settings;
    const struct label_settings *label = settings->est.labels.items;
    for (size_t i = 0; i < settings->est.labels.count; i++)
        if (!is_named(&settings->access, label[i].name))
            settings_review_warn(
                review, "est.labels",
                "\"%s\" is refused to everybody: no rule of access.rules has a match.label that "
                "fits it",
                label[i].name);
    for (size_t i = 0; i < settings->access.rules.count; i++)
        review_rule_labels(review, i);
}

static bool is_named(const struct access_settings *access, const char *label)
{
    for (size_t i = 0; i < access->rules.count; i++) {
        const struct settings_strings *patterns = &rule_at(access, i)->match[ACCESS_LABEL];
        for (size_t j = 0; j < patterns->count; j++)
            if (fits(patterns->items[j], label))
                return true;
    }
    return false;
}

static void review_rule_labels(const struct settings_review *review, size_t index)
{
    const struct settings_strings *patterns = &rule_at(&review->settings->access, index)->match[ACCESS_LABEL];
    for (size_t i = 0; i < patterns->count; i++)
        if (!may_fit_a_label(&review->settings->est, patterns->items[i]))
            settings_review_warn(review, "access.rules",
                                 "rule %zu: match.label \"%s\" fits no label of est.labels", index,
                                 patterns->items[i]);
}

static bool may_fit_a_label(const struct est_settings *est, const char *pattern)
{
    const struct label_settings *label = est->labels.items;
    bool found = pattern[strcspn(pattern, "*?")] != '\0' || pattern[0] == '\0';
    for (size_t i = 0; i < est->labels.count; i++)
        found = found || fits(pattern, label[i].name);
    return found;
}

/* A rule that decides about every enrolment leaves nothing to those after it, nor to the file. */
static void review_order(const struct settings_review *review)
{
    const struct access_settings *access = &review->settings->access;
    size_t first = 0, hidden = 0;
    bool looks_at_file = false;
    for (; first < access->rules.count && !holds_always(rule_at(access, first)); first++)
        looks_at_file = looks_at_file || rule_at(access, first)->action == ACCESS_FILE;
    if (first == access->rules.count)
        return;
    for (size_t i = first + 1; i < access->rules.count; i++)
        hidden += is_about_enrolments(rule_at(access, i));
    char path[64];
    snprintf(path, sizeof(path), "access.rules[%zu]", first);
    if (hidden > 0)
        settings_review_warn(review, path,
                             "has no condition that could fail, and so decides about every enrolment: the "
                             "rules after it never do; put it last, or give it a match");
    if (access->file[0] != '\0' && !looks_at_file && rule_at(access, first)->action != ACCESS_FILE)
        settings_review_warn(review, "access.file",
                             "is never looked at: access.rules[%zu] decides about every enrolment; remove "
                             "the one or the other, or give the rule the action \"file\"",
                             first);
}

static bool holds_always(const struct access_rule_settings *rule)
{
    static const char *const trust[] = {"manufacturer", "domain"}, *const enrolments[] = {"sen", "sren",
                                                                                          "skg", "skc"};
    static const struct {
        const char *const *texts; /* all that the condition can look at; NULL: who knows */
        size_t count;
    } all[ACCESS_CONDITION_COUNT] = {
        [ACCESS_TRUST] = {trust, sizeof(trust) / sizeof(trust[0])},
        [ACCESS_OPERATION] = {enrolments, sizeof(enrolments) / sizeof(enrolments[0])},
    };
    for (size_t i = 0; i < ACCESS_CONDITION_COUNT; i++)
        if (rule->match[i].count > 0 &&
            (all[i].texts == NULL || !fit_all(&rule->match[i], all[i].texts, all[i].count)))
            return false;
    return true;
}

static bool fit_all(const struct settings_strings *patterns, const char *const *texts, size_t count)
{
    size_t fitting = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < patterns->count; j++)
            if (fits(patterns->items[j], texts[i])) {
                fitting++;
                break;
            }
    return fitting == count;
}

static bool is_about_enrolments(const struct access_rule_settings *rule)
{
    static const char *const others[] = {"crts", "att"};
    const struct settings_strings *patterns = &rule->match[ACCESS_OPERATION];
    for (size_t i = 0; i < patterns->count; i++)
        if (strcmp(patterns->items[i], others[0]) != 0 && strcmp(patterns->items[i], others[1]) != 0)
            return true;
    return patterns->count == 0;
}

static const struct access_rule_settings *rule_at(const struct access_settings *access, size_t index)
{
    return (const struct access_rule_settings *)access->rules.items + index;
}

static bool fits(const char *pattern, const char *text)
{
    return glob_matches(bytes_from_string(pattern), bytes_from_string(text));
}

/* Complaints. */

static const char *complaint_about_name(const json_t *value)
{
    const char *name = json_string_value(value);
    for (size_t i = 0; name[i] != '\0'; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f || i == NAME_OCTETS_MAX)
            return "is no name; use one line of at most 64 octets";
    return NULL;
}

static const char *complaint_about_label_pattern(const json_t *value)
{
    if (json_string_length(value) > PATTERN_OCTETS_MAX)
        return "is too long; use at most 512 octets";
    return NULL;
}

static const char *complaint_about_pattern(const json_t *value)
{
    if (json_string_length(value) == 0)
        return "fits nobody; use a text with or without the wildcards * and ?";
    return complaint_about_label_pattern(value);
}

static const char *complaint_about_san(const json_t *value)
{
    const char *pattern = json_string_value(value);
    size_t len = strcspn(pattern, ":*?");
    if (pattern[len] == '*' || pattern[len] == '?')
        return complaint_about_label_pattern(value);
    return complaint_about_allowed_san(value);
}

/* A rule says which kind of name it lets a device take. */
static const char *complaint_about_allowed_san(const json_t *value)
{
    const char *pattern = json_string_value(value);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strncmp(pattern, kinds[i], strlen(kinds[i])) == 0)
            return complaint_about_pattern(value);
    return "names no kind of subjectAltName; begin with dns:, uri:, email:, ip: or hardware:";
}

static const char *complaint_about_key(const json_t *value)
{
    const char *pattern = json_string_value(value);
    if (*pattern == '\0' || pattern[strspn(pattern, "0123456789abcdefABCDEF*?")] != '\0')
        return "is no key identifier; use hexadecimal digits without colons, and the wildcards * and ?";
    return complaint_about_pattern(value);
}

static const char *complaint_about_trust(const json_t *value)
{
    const char *pattern = json_string_value(value);
    if (fits(pattern, trust_store_name(TRUST_MANUFACTURER)) || fits(pattern, trust_store_name(TRUST_DOMAIN)))
        return NULL;
    return "is no trust store; use \"manufacturer\" or \"domain\"";
}

static const char *complaint_about_operation(const json_t *value)
{
    for (size_t i = 0; i < EST_OPERATION_COUNT; i++)
        if (fits(json_string_value(value), est_operation((enum est_operation_id)i)->name))
            return NULL;
    return "is no operation; use \"sen\", \"sren\", \"skg\", \"skc\", \"crts\" or \"att\"";
}

const char *access_complaint_about_url(const json_t *value)
{
    static const char cure[] =
        "is no address of a webhook; use https://host[:port]/path, or unix:/path for a Unix socket";
    const char *url = json_string_value(value);
    char *host = NULL;
    if (*url == '\0' ||
        (strncmp(url, "unix:/", strlen("unix:/")) == 0 && strlen(url) <= strlen("unix:") + 107))
        return NULL;
    CURLU *parsed = curl_url();
    bool good = parsed != NULL && strncmp(url, "https://", strlen("https://")) == 0 &&
                strchr(url, '@') == NULL && strchr(url, '#') == NULL &&
                curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
                curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK;
    curl_free(host);
    curl_url_cleanup(parsed);
    return good ? NULL : cure;
}
