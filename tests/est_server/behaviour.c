#include "behaviour.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum argument { NOTHING, NUMBER, TEXT, HEX };

struct word {
    const char *name;
    enum argument argument;
    const char *suffix; /* after the argument */
    unsigned min, max;  /* of a NUMBER */
    size_t into;        /* offset of the member that the argument goes to */
    size_t sets;        /* offset of the member that is set to value, unless value is 0 */
    unsigned value;
    const char *says;
};

#define AT(member)               offsetof(struct behaviour, member)
#define FLAG(member)             .sets = AT(member), .value = 1
#define SET(member, constant)    .sets = AT(member), .value = (constant)
#define COUNT(member, low, high) .argument = NUMBER, .into = AT(member), .min = (low), .max = (high)
#define WORDS(member)            .argument = TEXT, .into = AT(member)

/* The first entry that a word matches counts, so a name comes before TEXT that would swallow it. */
static const struct word words[] = {
    /* clang-format off */
    /* status and fields */
    { "status-",          COUNT(status, 200, 599), .says = "answers with status N and processes nothing" },
    { "success-", COUNT(success, 200, 299), .says = "processes the request and answers N in place of 200" },
    { "retry-date-",      COUNT(retry_date_s, 0, 1000000000), .says = "Retry-After is an HTTP-date N seconds after Date" },
    { "retry-text-",      WORDS(retry_text), .says = "Retry-After is TEXT" },
    { "retry-",           COUNT(retry_s, 0, 4000000000), .says = "Retry-After is N seconds" },
    { "max-age-",         COUNT(max_age_s, 0, 4000000000), .says = "Cache-Control: max-age=N" },
    { "text-error",       SET(error_text, ERROR_CRLF), .says = "400 (or the status given) with text/plain that has CR LF in it" },
    { "html-error",       SET(error_text, ERROR_HTML), .says = "400 (or the status given) with text/html" },
    { "binary-error",     SET(error_text, ERROR_BINARY), .says = "400 (or the status given) with application/pkcs7-mime" },
    { "redirect-other", SET(redirect, REDIRECT_OTHER), .says = "redirect-307-other" },
    { "redirect-",        COUNT(status, 300, 399), .suffix = "-other", SET(redirect, REDIRECT_OTHER),
                          .says = "redirects to another origin: the same server, by its other name of localhost and 127.0.0.1" },
    { "redirect-",        COUNT(status, 300, 399), .suffix = "-same", SET(redirect, REDIRECT_SAME),
                          .says = "redirects by an absolute URL of the same origin to the label without this word" },
    { "redirect-",        COUNT(status, 300, 399), .suffix = "-loop", SET(redirect, REDIRECT_LOOP),
                          .says = "redirects to the very same URL" },
    { "redirect-",        COUNT(status, 300, 399), SET(redirect, REDIRECT_PATH),
                          .says = "redirects by a path, so to the same origin, to the label without this word" },
    { "type-text",        SET(media_type, TYPE_TEXT), .says = "Content-Type: text/plain on a success" },
    { "type-html",        SET(media_type, TYPE_HTML), .says = "Content-Type: text/html on a success" },
    { "type-none",        SET(media_type, TYPE_NONE), .says = "no Content-Type on a success" },
    { "type-bare",        SET(media_type, TYPE_BARE), .says = "application/pkcs7-mime without smime-type" },
    { "type-shouted",     SET(media_type, TYPE_SHOUTED), .says = "APPLICATION/PKCS7-MIME; SMIME-TYPE=certs-only" },
    { "type-spaced",      SET(media_type, TYPE_SPACED), .says = "application/pkcs7-mime ; smime-type=\"certs-only\"" },
    { "cte-none",         FLAG(no_transfer_encoding), .says = "no Content-Transfer-Encoding (else base64)" },
    { "cte-",             WORDS(transfer_encoding), .says = "Content-Transfer-Encoding: TEXT, whatever the body is" },
    { "chunked",          SET(framing, FRAME_CHUNKED), .says = "Transfer-Encoding: chunked" },
    { "until-close",      SET(framing, FRAME_END), .says = "no Content-Length, the body ends with the connection" },
    { "http10",           FLAG(http10), .says = "status line of HTTP/1.0, and the connection closes" },
    { "long-head-",       COUNT(head_padding, 100, 1000000), .says = "N more octets of header fields" },
    /* body */
    { "base64-76crlf",    SET(base64, BASE64_76_CRLF), .says = "base64 in lines of 76 ended by CR LF (else 64 and LF)" },
    { "base64-oneline",   SET(base64, BASE64_ONE_LINE), .says = "base64 in one line without an end" },
    { "base64-tabs",      SET(base64, BASE64_TABS), .says = "base64 with tabs and spaces in it" },
    { "der",              SET(base64, BASE64_NOT), .says = "the body is DER itself" },
    { "broken-base64",    SET(damage, DAMAGE_CHARACTER), .says = "a character of the base64 is '!'" },
    { "broken-padding",   SET(damage, DAMAGE_PADDING), .says = "the base64 has one '=' too few, or one where none belongs" },
    { "extra-text",    SET(damage, DAMAGE_EXTRA_TEXT), .says = "more base64 after the end of the base64" },
    { "trailing",         FLAG(trailing), .says = "octets after the end of the DER" },
    { "garbage",          FLAG(garbage), .says = "good base64 of octets that are no DER" },
    { "empty",            FLAG(empty), .says = "a body of no octets" },
    { "oversize-",        COUNT(oversize, 1, 100000000), .says = "a right body followed by line feeds up to N octets" },
    { "wrong-key",        FLAG(wrong_key), .says = "the certificate is for another key" },
    { "other-subject",    FLAG(other_subject), .says = "the certificate's subject has an organizational unit more" },
    { "no-certificate",   FLAG(no_certificate), .says = "a certs-only PKCS#7 with no certificate in it" },
    { "with-ca",          FLAG(with_ca), .says = "the CA certificate after the new one" },
    { "ca-first",         FLAG(ca_first), .says = "the CA certificate before the new one" },
    { "multi-ca",         FLAG(multi_ca), .says = "cacerts gives several CA certificates" },
    { "csrattrs-204",     FLAG(csrattrs_none), .says = "csrattrs answers 204, the rest works" },
    { "csrattrs-",        .argument = HEX, .into = AT(csrattrs), FLAG(csrattrs_set), .says = "csrattrs is the DER of these hexadecimal digits" },
    /* serverkeygen */
    { "key-sec1",         SET(key_form, KEY_SEC1), .says = "the part application/pkcs8 is SEC1, as libest's" },
    { "key-pkcs1",        SET(key_form, KEY_PKCS1), .says = "the key is RSA and the part application/pkcs8 is PKCS#1, as libest's" },
    { "key-other",        SET(key_form, KEY_OTHER), .says = "the key is not the certificate's" },
    { "key-cms",          SET(key_form, KEY_CMS), .says = "the key is protected by CMS, for the key-encryption key 000102…0f named \"kek\"" },
    { "key-missing",      SET(key_form, KEY_MISSING), .says = "no key part" },
    { "key-twice",        SET(key_form, KEY_TWICE), .says = "the key part twice" },
    { "certificate-first", FLAG(certificate_first), .says = "the certificate part before the key part" },
    { "multipart-lf",     FLAG(multipart_lf), .says = "multipart lines end in LF" },
    { "preamble",         FLAG(preamble), .says = "multipart with a preamble and an epilogue" },
    { "quoted-boundary",  FLAG(quoted_boundary), .says = "multipart/mixed ; charset=x; boundary=\"a quoted one\"" },
    /* delivery */
    { "delay-",           COUNT(delay_ms, 0, 3600000), .says = "processes at once, answers after N milliseconds" },
    { "hold",             FLAG(hold), .says = "processes at once, answers after POST /release; see below" },
    { "drip-",            COUNT(octets_per_second, 1, 1000000), .says = "sends N octets a second" },
    { "cut-off",          SET(ending, CUT_OFF), .says = "half of the body, then the connection closes" },
    { "close-after-post", SET(ending, SILENT), .says = "processes the request, then closes without an octet" },
    { "close",            FLAG(close_first), .says = "processes nothing and closes without an octet" },
    { "keepalive-die",    FLAG(keepalive_die), .says = "answers the first request on a connection, processes each further one and then closes without an octet" },
    { "reset",            SET(ending, RESET), .says = "processes the request, then resets the TCP connection" },
    { "hang",             SET(ending, HANG), .says = "processes the request and never answers" },
    { "not-http",         SET(ending, NOT_HTTP), .says = "processes the request and answers with something else than HTTP" },
    /* life */
    { "manual",           FLAG(manual), .says = "202 and Retry-After (60 unless retry- says else) until POST /approve; see below" },
    { "approve-attempts-",        COUNT(approve_attempts, 1, 1000000), FLAG(manual), .says = "202 until the N-th attempt with one key" },
    { "approve-wait-",            COUNT(approve_ms, 1, 3600000), FLAG(manual), .says = "202 until N milliseconds after the first attempt with one key" },
    { "times-",           COUNT(times, 1, 1000000), .says = "the other words hold for the first N requests with this label, then all is well" },
    { "basic",            SET(http_auth, HTTP_AUTH_BASIC), .says = "enrolment needs HTTP Basic authentication as well" },
    { "digest",           SET(http_auth, HTTP_AUTH_DIGEST), .says = "enrolment needs HTTP Digest authentication as well" },
    { "open",             SET(http_auth, HTTP_AUTH_OFF), .says = "enrolment needs no authentication" },
    { "tag-",             WORDS(tag), .says = "changes nothing: makes labels different, so that each test has counts of its own" },
    { "libest",           FLAG(libest), .says = "the quirks of libest; see below" },
    /* clang-format on */
};

static bool apply_word(const char *word, size_t len, struct behaviour *result);
static bool apply(const struct word *entry, const char *argument, size_t len, struct behaviour *result);
static bool apply_number(const struct word *entry, const char *digits, size_t len, void *into);
static bool apply_hex(const char *digits, size_t len, struct behaviour *result);

struct behaviour behaviour_default(void)
{
    return (struct behaviour){
        .success = 200,
        .retry_s = RETRY_ABSENT,
        .retry_date_s = RETRY_ABSENT,
        .max_age_s = RETRY_ABSENT,
    };
}

bool behaviour_parse(const char *label, struct behaviour *result)
{
    *result = behaviour_default();
    for (;;) {
        size_t len = strcspn(label, ".");
        if (!apply_word(label, len, result))
            return false;
        if (label[len] == '\0')
            break;
        label += len + 1;
    }
    if (result->error_text != ERROR_PLAIN && result->status == 0)
        result->status = 400;
    if (result->redirect != REDIRECT_NOT && result->status == 0)
        result->status = 307;
    return true;
}

static bool apply_word(const char *word, size_t len, struct behaviour *result)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        const struct word *entry = &words[i];
        size_t name = strlen(entry->name);
        size_t suffix = entry->suffix != NULL ? strlen(entry->suffix) : 0;
        if (len < name + suffix || strncmp(word, entry->name, name) != 0)
            continue;
        if (suffix > 0 && strncmp(word + len - suffix, entry->suffix, suffix) != 0)
            continue;
        if (apply(entry, word + name, len - name - suffix, result))
            return true;
    }
    return false;
}

static bool apply(const struct word *entry, const char *argument, size_t len, struct behaviour *result)
{
    char *base = (char *)result;
    bool good = len == 0;
    if (entry->argument == NUMBER) {
        good = apply_number(entry, argument, len, base + entry->into);
    } else if (entry->argument == HEX) {
        good = apply_hex(argument, len, result);
    } else if (entry->argument == TEXT) {
        good = len > 0 && len <= WORD_TEXT_LIMIT;
        if (good)
            snprintf(base + entry->into, WORD_TEXT_LIMIT + 1, "%.*s", (int)len, argument);
    }
    if (good && entry->value != 0)
        memcpy(base + entry->sets, &entry->value, sizeof(entry->value));
    return good;
}

static bool apply_number(const struct word *entry, const char *digits, size_t len, void *into)
{
    unsigned long value = 0;
    if (len == 0 || len > 10)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)digits[i]))
            return false;
        value = value * 10 + (unsigned long)(digits[i] - '0');
    }
    if (value < entry->min || value > entry->max)
        return false;
    unsigned number = (unsigned)value;
    memcpy(into, &number, sizeof(number));
    return true;
}

static bool apply_hex(const char *digits, size_t len, struct behaviour *result)
{
    if (len == 0 || len % 2 != 0 || len / 2 > WORD_HEX_LIMIT)
        return false;
    for (size_t i = 0; i < len; i += 2) {
        char pair[] = {digits[i], digits[i + 1], '\0'};
        char *end;
        if (!isxdigit((unsigned char)pair[0]))
            return false;
        result->csrattrs[i / 2] = (uint8_t)strtoul(pair, &end, 16);
        if (*end != '\0')
            return false;
    }
    result->csrattrs_len = len / 2;
    return true;
}

void behaviour_label_after_redirect(const char *label, char *rest)
{
    size_t used = 0;
    while (*label != '\0' && used < LABEL_LIMIT) {
        size_t len = strcspn(label, ".");
        if (strncmp(label, "redirect-", 9) != 0)
            used += (size_t)snprintf(rest + used, LABEL_LIMIT + 1 - used, "%s%.*s", used > 0 ? "." : "",
                                     (int)len, label);
        label += len + (label[len] == '.');
    }
    rest[used] = '\0';
}

void behaviour_print_help(void)
{
    static const char *const arguments[] = {[NOTHING] = "", [NUMBER] = "N", [TEXT] = "TEXT", [HEX] = "HEX"};
    printf("| word | the server |\n|---|---|\n");
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        printf("| `%s%s%s` | %s |\n", words[i].name, arguments[words[i].argument],
               words[i].suffix != NULL ? words[i].suffix : "", words[i].says);
}
