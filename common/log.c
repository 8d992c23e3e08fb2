#include "common/log.h"

#include "common/bytes.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_MAX  2000                /* octets of an escaped message; keeps a record below PIPE_BUF */
#define RECORD_MAX   (MESSAGE_MAX + 160) /* with time, level, module and their JSON names */
#define ELLIPSIS     "\xe2\x80\xa6"      /* U+2026 */
#define ELLIPSIS_LEN (sizeof ELLIPSIS - 1)
#define ESCAPE_MAX   8 /* octets of one character's escaped form, with the NUL */

static _Atomic int log_level = LOG_LEVEL_INFO;
static _Atomic int log_format = LOG_FORMAT_TEXT;
static FILE *_Atomic log_sink; /* NULL: stderr */

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARNING] = "warning",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
};

struct record {
    char at[RECORD_MAX];
    size_t len;
    bool json;
};

struct character {
    uint32_t code_point;
    size_t len; /* octets in UTF-8; 0: not UTF-8 */
};

static void append_head(struct record *record, enum log_level level, const char *module);
static void append_tail(struct record *record);
static void append_time(struct record *record);
static void append_message(struct record *record, struct bytes message, bool cut);
static void append(struct record *record, const char *octets, size_t len);
static void append_string(struct record *record, const char *text);
static size_t escape(struct bytes rest, bool json, char out[static ESCAPE_MAX], size_t *consumed);
static size_t escape_ascii(char c, bool json, char out[static ESCAPE_MAX]);
static struct character decode_utf8(struct bytes text);
static size_t without_cut_character(const char *text, size_t len);
static void write_out(const struct record *record);

void log_configure(enum log_level level, enum log_format format, FILE *sink)
{
    atomic_store(&log_level, (int)level);
    atomic_store(&log_format, (int)format);
    atomic_store(&log_sink, sink);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

void log_write(enum log_level level, const char *module, const char *format, ...)
{
    if (!log_enabled(level))
        return;
    int saved_errno = errno;
    char message[MESSAGE_MAX + 1];
    va_list arguments;
    va_start(arguments, format);
    int formatted = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    bool cut = formatted > MESSAGE_MAX;
    size_t len = formatted < 0 ? 0 : cut ? without_cut_character(message, MESSAGE_MAX) : (size_t)formatted;

    struct record record = {.json = atomic_load(&log_format) == LOG_FORMAT_JSON};
    append_head(&record, level, module);
    append_message(&record, (struct bytes){(const uint8_t *)message, len}, cut);
    append_tail(&record);
    write_out(&record);
    errno = saved_errno;
}

static void append_head(struct record *record, enum log_level level, const char *module)
{
    char head[96];
    if (record->json) {
        append_string(record, "{\"time\":\"");
        append_time(record);
        snprintf(head, sizeof head, "\",\"level\":\"%s\",\"module\":\"%.32s\",\"message\":\"",
                 level_names[level], module);
    } else {
        append_time(record);
        snprintf(head, sizeof head, " %-5s %.32s: ", level_names[level], module);
    }
    append_string(record, head);
}

static void append_tail(struct record *record)
{
    append_string(record, record->json ? "\"}\n" : "\n");
}

/* RFC 3339 in UTC, to the millisecond. */
static void append_time(struct record *record)
{
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    char text[40];
    size_t len = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    append(record, text, len);
    snprintf(text, sizeof text, ".%03dZ", (int)(now.tv_nsec / 1000000));
    append_string(record, text);
}

/* Escapes character by character, so that a cut never splits one. */
static void append_message(struct record *record, struct bytes message, bool cut)
{
    size_t end = record->len + MESSAGE_MAX - ELLIPSIS_LEN;
    while (message.len > 0) {
        char escaped[ESCAPE_MAX];
        size_t consumed;
        size_t len = escape(message, record->json, escaped, &consumed);
        if (record->len + len > end) {
            cut = true;
            break;
        }
        append(record, escaped, len);
        message = bytes_slice(message, consumed, message.len);
    }
    if (cut)
        append_string(record, ELLIPSIS);
}

static void append(struct record *record, const char *octets, size_t len)
{
    size_t room = sizeof record->at - record->len;
    if (len > room)
        len = room;
    memcpy(record->at + record->len, octets, len);
    record->len += len;
}

static void append_string(struct record *record, const char *text)
{
    append(record, text, strlen(text));
}

/* The escaped form of the first character of rest; both formats use the same, which JSON can hold. */
static size_t escape(struct bytes rest, bool json, char out[static ESCAPE_MAX], size_t *consumed)
{
    struct character first = decode_utf8(rest);
    *consumed = first.len > 0 ? first.len : 1;
    if (first.len == 1)
        return escape_ascii((char)*rest.at, json, out);
    if (first.len == 0)
        return (size_t)snprintf(out, ESCAPE_MAX, json ? "\\\\x%02x" : "\\x%02x", *rest.at);
    /* C1 controls drive terminals, U+2028 and U+2029 end lines. */
    if (first.code_point < 0xa0 || first.code_point == 0x2028 || first.code_point == 0x2029)
        return (size_t)snprintf(out, ESCAPE_MAX, "\\u%04x", (unsigned)first.code_point & 0xffff);
    memcpy(out, rest.at, first.len);
    return first.len;
}

static size_t escape_ascii(char c, bool json, char out[static ESCAPE_MAX])
{
    switch (c) {
    case '\n':
        return (size_t)snprintf(out, ESCAPE_MAX, "\\n");
    case '\r':
        return (size_t)snprintf(out, ESCAPE_MAX, "\\r");
    case '\t':
        return (size_t)snprintf(out, ESCAPE_MAX, "\\t");
    case '\\': /* so that nobody can write what looks like an escape of ours */
        return (size_t)snprintf(out, ESCAPE_MAX, "\\\\");
    case '"':
        return (size_t)snprintf(out, ESCAPE_MAX, json ? "\\\"" : "\"");
    default:
        if (c < 0x20 || c == 0x7f)
            return (size_t)snprintf(out, ESCAPE_MAX, "\\u%04x", (unsigned char)c);
        out[0] = c;
        return 1;
    }
}

/* RFC 3629: shortest form only, no surrogates, nothing above U+10FFFF. */
static struct character decode_utf8(struct bytes text)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const struct character none = {0, 0};
    uint8_t lead = text.at[0];
    if (lead < 0x80)
        return (struct character){lead, 1};
    size_t len = lead >= 0xf8 ? 0 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 0;
    if (len == 0 || len > text.len)
        return none;
    uint32_t code_point = lead & (0x7fU >> len);
    for (size_t i = 1; i < len; i++) {
        if ((text.at[i] & 0xc0) != 0x80)
            return none;
        code_point = code_point << 6 | (text.at[i] & 0x3f);
    }
    bool surrogate = code_point >= 0xd800 && code_point <= 0xdfff;
    if (code_point < least[len] || surrogate || code_point > 0x10ffff)
        return none;
    return (struct character){code_point, len};
}

/* The length of text without the octets of a character that vsnprintf cut at its end. */
static size_t without_cut_character(const char *text, size_t len)
{
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        uint8_t octet = (uint8_t)text[len - back];
        if ((octet & 0xc0) == 0x80)
            continue;
        size_t whole = octet >= 0xf0 ? 4 : octet >= 0xe0 ? 3 : octet >= 0xc0 ? 2 : 1;
        return whole > back ? len - back : len;
    }
    return len;
}

/* One write, so that records of threads and processes never mix. A sink that fails has nowhere to say so. */
static void write_out(const struct record *record)
{
    FILE *sink = atomic_load(&log_sink);
    int fd = fileno(sink != NULL ? sink : stderr);
    ssize_t written;
    do
        written = write(fd, record->at, record->len);
    while (written < 0 && errno == EINTR);
}
