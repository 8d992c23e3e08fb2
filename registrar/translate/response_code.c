#include "registrar/translate/response_code.h"

#include "common/coap_message.h"
#include "registrar/protocol/http_field.h"

#include <string.h>

#define ANY              0 /* method */
#define DIAGNOSTIC_MAX   128
#define NOT_A_CHARACTER  0xffffffffU
#define FIRST_CONTINUING 0x80

/* What the EST server's status means for the device: requirements A8, from RFC 9148 section 4.5, RFC 8075
 * table 2 and RFC 7252 section 10.1. The first row that fits counts. In the last column is whether a POST may
 * have been acted upon all the same: a success that carries no certificate, or a gateway that gave up on the
 * EST server behind it. */
struct row {
    unsigned from, to;
    uint8_t method;
    bool with_retry_after; /* only with that header */
    struct http_mapping mapping;
};

static const struct row rows[] = {
    {200, 200, CM_GET, false, {HTTP_SUCCESS, CM_CONTENT, false}},
    {200, 200, CM_POST, false, {HTTP_SUCCESS, CM_CHANGED, false}},
    {202, 202, ANY, false, {HTTP_RETRY, CM_SERVICE_UNAVAILABLE, false}},
    {204, 204, CM_GET, false, {HTTP_NOTHING, CM_NOT_FOUND, false}},
    {201, 299, ANY, false, {HTTP_ANSWER, CM_BAD_GATEWAY, true}},
    {303, 303, CM_POST, false, {HTTP_ANSWER, CM_BAD_GATEWAY, true}},
    {300, 399, ANY, false, {HTTP_ANSWER, CM_BAD_GATEWAY, false}},
    {400, 400, ANY, false, {HTTP_ANSWER, CM_BAD_REQUEST, false}},
    {401, 401, ANY, false, {HTTP_ANSWER, CM_UNAUTHORIZED, false}},
    {403, 403, ANY, false, {HTTP_ANSWER, CM_FORBIDDEN, false}},
    {404, 404, ANY, false, {HTTP_ANSWER, CM_NOT_FOUND, false}},
    {405, 405, ANY, false, {HTTP_ANSWER, CM_METHOD_NOT_ALLOWED, false}},
    {406, 406, ANY, false, {HTTP_ANSWER, CM_NOT_ACCEPTABLE, false}},
    {407, 407, ANY, false, {HTTP_ANSWER, CM_BAD_GATEWAY, false}},
    {408, 408, ANY, false, {HTTP_ANSWER, CM_GATEWAY_TIMEOUT, false}}, /* never 4.08: RFC 7959 2.9.2 */
    {409, 409, ANY, false, {HTTP_ANSWER, CM_CONFLICT, false}},
    {410, 410, ANY, false, {HTTP_ANSWER, CM_NOT_FOUND, false}},
    {411, 411, ANY, false, {HTTP_ANSWER, CM_BAD_GATEWAY, false}},
    {412, 412, ANY, false, {HTTP_ANSWER, CM_PRECONDITION_FAILED, false}},
    {413, 413, ANY, false, {HTTP_ANSWER, CM_REQUEST_ENTITY_TOO_LARGE, false}},
    {415, 415, ANY, false, {HTTP_ANSWER, CM_UNSUPPORTED_CONTENT_FORMAT, false}},
    {417, 417, ANY, false, {HTTP_ANSWER, CM_BAD_GATEWAY, false}},
    {421, 421, ANY, false, {HTTP_ANSWER, CM_BAD_GATEWAY, false}},
    {422, 422, ANY, false, {HTTP_ANSWER, CM_UNPROCESSABLE_ENTITY, false}},
    {423, 423, ANY, true, {HTTP_RETRY, CM_SERVICE_UNAVAILABLE, false}},
    {423, 423, ANY, false, {HTTP_ANSWER, CM_FORBIDDEN, false}},
    {425, 425, ANY, false, {HTTP_RETRY, CM_SERVICE_UNAVAILABLE, false}},
    {426, 426, ANY, false, {HTTP_ANSWER, CM_BAD_GATEWAY, false}},
    {429, 429, ANY, false, {HTTP_RETRY, CM_SERVICE_UNAVAILABLE, false}}, /* RFC 8516 section 3 */
    {431, 431, ANY, false, {HTTP_ANSWER, CM_BAD_GATEWAY, false}},
    {451, 451, ANY, false, {HTTP_ANSWER, CM_FORBIDDEN, false}},
    {400, 499, ANY, false, {HTTP_ANSWER, CM_BAD_REQUEST, false}},
    {501, 501, ANY, false, {HTTP_ANSWER, CM_NOT_IMPLEMENTED, false}},
    {502, 502, ANY, false, {HTTP_ANSWER, CM_BAD_GATEWAY, true}},
    {503, 503, ANY, false, {HTTP_RETRY, CM_SERVICE_UNAVAILABLE, false}},
    {504, 504, ANY, false, {HTTP_ANSWER, CM_GATEWAY_TIMEOUT, true}},
    {505, 505, ANY, false, {HTTP_ANSWER, CM_BAD_GATEWAY, false}},
    {511, 511, ANY, false, {HTTP_ANSWER, CM_BAD_GATEWAY, false}},
    {500, 599, ANY, false, {HTTP_ANSWER, CM_INTERNAL_SERVER_ERROR, false}},
};

/* No HTTP at all: an interim or an impossible status at the end of a response. */
static const struct http_mapping malformed = {HTTP_ANSWER, CM_BAD_GATEWAY, true};

struct http_mapping response_code_map(unsigned http_status, uint8_t method, bool has_retry_after)
{
    struct http_mapping mapping = malformed;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        if (http_status < row->from || http_status > row->to || (row->with_retry_after && !has_retry_after) ||
            (row->method != ANY && row->method != method))
            continue;
        mapping = row->mapping;
        break;
    }
    mapping.may_have_issued &= method == CM_POST;
    return mapping;
}

/* Retry-After (RFC 9110 section 10.2.3). */

static uint32_t limited_difference(int64_t then, int64_t base);

uint32_t retry_after_seconds(struct bytes retry_after, struct bytes date, int64_t now_unix, uint32_t fallback,
                             uint32_t max)
{
    uint32_t seconds = fallback;
    int64_t then, base = now_unix;
    struct bytes value = http_field_trim(retry_after);
    if (!http_field_seconds(value, &seconds) && http_field_date(value, &then)) {
        http_field_date(http_field_trim(date), &base);
        seconds = limited_difference(then, base);
    }
    if (seconds > max)
        return max;
    return seconds < 1 ? 1 : seconds;
}

static uint32_t limited_difference(int64_t then, int64_t base)
{
    if (then <= base)
        return 0;
    return then - base > UINT32_MAX ? UINT32_MAX : (uint32_t)(then - base);
}

/* Diagnostic payloads (RSP-3). */

static bool is_plain_text(struct bytes content_type, struct bytes body);
static void append_printable(struct bytes body, struct buffer *diagnostic);
static uint32_t next_character(struct bytes text, size_t *len);
static bool is_control(uint32_t character);

void response_diagnostic(struct bytes content_type, struct bytes body, struct buffer *diagnostic)
{
    if (!is_plain_text(content_type, body))
        return;
    size_t len;
    for (struct bytes rest = body; rest.len > 0; rest = bytes_slice(rest, len, rest.len))
        if (next_character(rest, &len) == NOT_A_CHARACTER)
            return;
    append_printable(body, diagnostic);
}

/* text/plain, or without a type: then what begins like HTML or XML is not plain. */
static bool is_plain_text(struct bytes content_type, struct bytes body)
{
    struct bytes type;
    http_field_next(&content_type, ';', &type);
    if (type.len > 0)
        return bytes_equal_ignoring_case(type, BYTES_LITERAL("text/plain"));
    while (body.len > 0 && body.at[0] <= ' ')
        body = bytes_slice(body, 1, body.len);
    return body.len > 0 && body.at[0] != '<';
}

static void append_printable(struct bytes body, struct buffer *diagnostic)
{
    size_t start = diagnostic->len, len;
    bool gap = false;
    for (struct bytes rest = body; rest.len > 0; rest = bytes_slice(rest, len, rest.len)) {
        uint32_t character = next_character(rest, &len);
        if (character == ' ' || is_control(character)) {
            gap = diagnostic->len > start;
            continue;
        }
        if (diagnostic->len - start + len + (gap ? 1 : 0) > DIAGNOSTIC_MAX)
            return;
        if (gap)
            buffer_append_byte(diagnostic, ' ');
        buffer_append(diagnostic, bytes_slice(rest, 0, len));
        gap = false;
    }
}

/* One character of UTF-8 (RFC 3629 section 4), or NOT_A_CHARACTER: overlong forms, surrogates, truncation.
 * text is not empty; len is at least 1. */
static uint32_t next_character(struct bytes text, size_t *len)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t first = text.at[0];
    *len = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (first < 0x80)
        return first;
    if (first < 0xc2 || first > 0xf4 || text.len < *len)
        return NOT_A_CHARACTER;
    uint32_t character = first & (0x7fU >> *len);
    for (size_t i = 1; i < *len; i++) {
        if ((text.at[i] & 0xc0) != FIRST_CONTINUING)
            return NOT_A_CHARACTER;
        character = character << 6 | (text.at[i] & 0x3fU);
    }
    bool is_surrogate = character >= 0xd800 && character <= 0xdfff;
    return is_surrogate || character < smallest[*len] || character > 0x10ffff ? NOT_A_CHARACTER : character;
}

/* C0, DEL, C1, and Unicode's line and paragraph separators. */
static bool is_control(uint32_t character)
{
    return character < 0x20 || (character >= 0x7f && character < 0xa0) || character == 0x2028 ||
           character == 0x2029;
}
