#include "registrar/translate/multipart_mixed.h"

#include "registrar/protocol/http_field.h"

#include <string.h>

struct boundary {
    char text[MULTIPART_MIXED_BOUNDARY_MAX];
    size_t len;
};

enum line_kind {
    LINE_OF_CONTENT,
    LINE_DELIMITER, /* begins a part */
    LINE_CLOSE      /* ends the last one */
};

static enum status read_boundary(struct bytes parameters, struct boundary *boundary);
static enum status take_boundary(struct bytes value, struct boundary *boundary);
static bool take_line(struct bytes *rest, struct bytes *line);
static enum line_kind kind_of(struct bytes line, const struct boundary *boundary);
static enum status read_parts(struct bytes rest, const struct boundary *boundary,
                              struct multipart_mixed *message);
static enum status take_part(struct bytes octets, struct multipart_mixed *message);
static enum status read_header(struct bytes *rest, struct multipart_mixed_part *part);
static enum status take_field(struct bytes line, struct bytes *rest, struct multipart_mixed_part *part);
static enum status append_text(struct multipart_mixed_part *part, struct bytes text);

enum status multipart_mixed_parse(struct bytes content_type, struct bytes body,
                                  struct multipart_mixed *message)
{
    struct boundary boundary = {.len = 0};
    struct bytes type;
    message->count = 0;
    if (!http_field_next(&content_type, ';', &type) ||
        !bytes_equal_ignoring_case(type, BYTES_LITERAL("multipart/mixed")))
        return STATUS_UNSUPPORTED;
    enum status status = read_boundary(content_type, &boundary);
    return status == STATUS_OK ? read_parts(body, &boundary, message) : status;
}

static enum status read_boundary(struct bytes parameters, struct boundary *boundary)
{
    struct bytes parameter, name, value;
    while (parameters.len > 0) {
        if (!http_field_next(&parameters, ';', &parameter))
            return STATUS_MALFORMED;
        http_field_split(parameter, &name, &value);
        if (!bytes_equal_ignoring_case(name, BYTES_LITERAL("boundary")))
            continue;
        if (boundary->len > 0 || take_boundary(value, boundary) != STATUS_OK)
            return STATUS_MALFORMED;
    }
    return boundary->len > 0 ? STATUS_OK : STATUS_MALFORMED;
}

/* A token, or a quoted-string in which "\" stands before a literal octet (RFC 9110 section 5.6.4). RFC 2046
 * allows no blank at the end. */
static enum status take_boundary(struct bytes value, struct boundary *boundary)
{
    bool quoted = value.len >= 2 && value.at[0] == '"' && value.at[value.len - 1] == '"';
    if (quoted)
        value = bytes_slice(value, 1, value.len - 2);
    for (size_t i = 0; i < value.len; i++) {
        if (quoted && value.at[i] == '\\' && i + 1 < value.len)
            i++;
        if (value.at[i] < 0x20 || value.at[i] > 0x7e || boundary->len == sizeof(boundary->text))
            return STATUS_MALFORMED;
        boundary->text[boundary->len++] = (char)value.at[i];
    }
    return boundary->len > 0 && boundary->text[boundary->len - 1] != ' ' ? STATUS_OK : STATUS_MALFORMED;
}

/* Cuts the next line off, without its end. False: nothing is left. */
static bool take_line(struct bytes *rest, struct bytes *line)
{
    if (rest->len == 0)
        return false;
    const uint8_t *end = memchr(rest->at, '\n', rest->len);
    size_t len = end == NULL ? rest->len : (size_t)(end - rest->at);
    *line = bytes_slice(*rest, 0, len);
    *rest = bytes_slice(*rest, len + 1, rest->len);
    if (end != NULL && line->len > 0 && line->at[line->len - 1] == '\r')
        line->len--;
    return true;
}

/* RFC 2046 section 5.1.1: blanks may follow, which transports have added. */
static enum line_kind kind_of(struct bytes line, const struct boundary *boundary)
{
    const struct bytes dashes = BYTES_LITERAL("--");
    struct bytes text = {(const uint8_t *)boundary->text, boundary->len};
    if (!bytes_equal(bytes_slice(line, 0, 2), dashes) || !bytes_equal(bytes_slice(line, 2, text.len), text))
        return LINE_OF_CONTENT;
    struct bytes behind = bytes_slice(line, 2 + text.len, line.len);
    bool closes = bytes_equal(bytes_slice(behind, 0, 2), dashes);
    if (closes)
        behind = bytes_slice(behind, 2, behind.len);
    while (behind.len > 0 && behind.at[behind.len - 1] == '\r')
        behind.len--;
    if (http_field_trim(behind).len > 0)
        return LINE_OF_CONTENT;
    return closes ? LINE_CLOSE : LINE_DELIMITER;
}

static enum status read_parts(struct bytes rest, const struct boundary *boundary,
                              struct multipart_mixed *message)
{
    struct bytes line, part = {NULL, 0};
    bool in_part = false;
    while (take_line(&rest, &line)) {
        enum line_kind kind = kind_of(line, boundary);
        if (kind == LINE_OF_CONTENT)
            continue;
        if (!in_part && kind == LINE_CLOSE)
            return STATUS_MALFORMED;
        if (in_part) {
            enum status status = take_part(bytes_slice(part, 0, (size_t)(line.at - part.at)), message);
            if (status != STATUS_OK || kind == LINE_CLOSE)
                return status;
        }
        in_part = true;
        part = rest;
    }
    return STATUS_MALFORMED;
}

/* octets reach to the delimiter line; the line end before it belongs to the delimiter. */
static enum status take_part(struct bytes octets, struct multipart_mixed *message)
{
    if (message->count == MULTIPART_MIXED_PARTS_MAX)
        return STATUS_TOO_LARGE;
    struct multipart_mixed_part *part = &message->parts[message->count++];
    part->content_type[0] = '\0';
    enum status status = read_header(&octets, part);
    if (octets.len > 0 && octets.at[octets.len - 1] == '\n')
        octets.len--;
    if (octets.len > 0 && octets.at[octets.len - 1] == '\r')
        octets.len--;
    part->body = octets;
    return status;
}

static enum status read_header(struct bytes *rest, struct multipart_mixed_part *part)
{
    struct bytes line;
    while (take_line(rest, &line)) {
        if (line.len == 0)
            return STATUS_OK;
        enum status status = take_field(line, rest, part);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_MALFORMED;
}

/* One field, and the lines that continue it (RFC 5322 section 2.2.3). */
static enum status take_field(struct bytes line, struct bytes *rest, struct multipart_mixed_part *part)
{
    static const struct bytes name = {(const uint8_t *)"content-type", 12};
    const uint8_t *colon = memchr(line.at, ':', line.len);
    if (colon == NULL || colon == line.at)
        return STATUS_MALFORMED;
    size_t len = (size_t)(colon - line.at);
    bool wanted = bytes_equal_ignoring_case(http_field_trim(bytes_slice(line, 0, len)), name);
    if (wanted && part->content_type[0] != '\0')
        return STATUS_MALFORMED;
    enum status status =
        wanted ? append_text(part, http_field_trim(bytes_slice(line, len + 1, line.len))) : STATUS_OK;
    while (status == STATUS_OK && rest->len > 0 && (rest->at[0] == ' ' || rest->at[0] == '\t')) {
        take_line(rest, &line);
        if (wanted && append_text(part, BYTES_LITERAL(" ")) == STATUS_OK)
            status = append_text(part, http_field_trim(line));
    }
    return status;
}

static enum status append_text(struct multipart_mixed_part *part, struct bytes text)
{
    size_t len = strlen(part->content_type);
    if (text.len > MULTIPART_MIXED_TYPE_OCTETS_MAX - len)
        return STATUS_TOO_LARGE;
    if (text.len > 0 && memchr(text.at, '\0', text.len) != NULL)
        return STATUS_MALFORMED;
    if (text.len > 0)
        memcpy(part->content_type + len, text.at, text.len);
    part->content_type[len + text.len] = '\0';
    return STATUS_OK;
}
