#include "joinproxy/link_reader.h"

#include <string.h>

#define NO_CLOSE SIZE_MAX

static enum status read_parameter(struct bytes *rest, struct link_read *link);
static struct bytes read_value(struct bytes *rest, bool *closed);
static size_t find(struct bytes octets, const char *any_of);
static bool take_octet(struct bytes *rest, char octet);
static struct bytes take(struct bytes *rest, size_t len);
static bool starts_with(struct bytes octets, const char *start);

enum status link_reader_next(struct bytes *rest, struct link_read *link)
{
    *link = (struct link_read){{NULL, 0}, {NULL, 0}};
    if (rest->len == 0)
        return STATUS_NOT_FOUND;
    size_t end = take_octet(rest, '<') ? find(*rest, ">") : NO_CLOSE;
    if (end >= rest->len)
        return STATUS_MALFORMED;
    link->target = take(rest, end);
    take(rest, 1);
    while (take_octet(rest, ';'))
        if (read_parameter(rest, link) != STATUS_OK)
            return STATUS_MALFORMED;
    if (rest->len == 0)
        return STATUS_OK;
    /* A comma with nothing behind it announces a link that is not there. */
    return take_octet(rest, ',') && rest->len > 0 ? STATUS_OK : STATUS_MALFORMED;
}

bool link_reader_has_type(const struct link_read *link, const char *pattern)
{
    struct bytes values = link->resource_type, wanted = bytes_from_string(pattern);
    bool prefix = wanted.len > 0 && wanted.at[wanted.len - 1] == '*';
    while (values.len > 0) {
        struct bytes value = take(&values, find(values, " "));
        take(&values, 1);
        if (prefix
                ? bytes_equal(bytes_slice(value, 0, wanted.len - 1), bytes_slice(wanted, 0, wanted.len - 1))
                : bytes_equal(value, wanted))
            return true;
    }
    return false;
}

enum status link_reader_endpoint(const struct link_read *link, const char *scheme, struct endpoint *endpoint)
{
    char text[ENDPOINT_TEXT_MAX];
    struct bytes rest = link->target;
    if (!starts_with(rest, scheme))
        return STATUS_MISMATCH;
    take(&rest, strlen(scheme));
    if (!starts_with(rest, "://"))
        return STATUS_MISMATCH;
    take(&rest, 3);
    struct bytes authority = take(&rest, find(rest, "/?#"));
    if (authority.len == 0 || authority.len >= sizeof text ||
        memchr(authority.at, '\0', authority.len) != NULL ||
        memchr(authority.at, '%', authority.len) != NULL) /* a scope is of nobody's business but ours */
        return STATUS_MALFORMED;
    memcpy(text, authority.at, authority.len);
    text[authority.len] = '\0';
    if (endpoint_parse(text, endpoint) != STATUS_OK || endpoint_port(endpoint) == 0)
        return STATUS_MALFORMED;
    return STATUS_OK;
}

/* name, name=value or name="value"; of several rt the first counts (RFC 6690 section 3.1). */
static enum status read_parameter(struct bytes *rest, struct link_read *link)
{
    struct bytes name = take(rest, find(*rest, "=;,"));
    struct bytes value = {NULL, 0};
    bool closed = true;
    if (name.len == 0)
        return STATUS_MALFORMED;
    if (take_octet(rest, '='))
        value = read_value(rest, &closed);
    if (link->resource_type.at == NULL && bytes_equal(name, BYTES_LITERAL("rt")))
        link->resource_type = value;
    return closed ? STATUS_OK : STATUS_MALFORMED;
}

/* In a quoted string a backslash takes the next octet as it is; it stays in the value. */
static struct bytes read_value(struct bytes *rest, bool *closed)
{
    if (!take_octet(rest, '"'))
        return take(rest, find(*rest, ";,"));
    size_t len = 0;
    while (len < rest->len && rest->at[len] != '"')
        len += rest->at[len] == '\\' ? 2 : 1;
    *closed = len < rest->len;
    struct bytes value = take(rest, len);
    take(rest, 1);
    return value;
}

/* The offset of the first octet that is one of these; the length if none is. */
static size_t find(struct bytes octets, const char *any_of)
{
    size_t at = 0;
    while (at < octets.len && (octets.at[at] == '\0' || strchr(any_of, octets.at[at]) == NULL))
        at++;
    return at;
}

static bool take_octet(struct bytes *rest, char octet)
{
    if (rest->len == 0 || rest->at[0] != (uint8_t)octet)
        return false;
    take(rest, 1);
    return true;
}

static struct bytes take(struct bytes *rest, size_t len)
{
    struct bytes taken = bytes_slice(*rest, 0, len);
    *rest = bytes_slice(*rest, len, rest->len);
    return taken;
}

static bool starts_with(struct bytes octets, const char *start)
{
    return bytes_equal(bytes_slice(octets, 0, strlen(start)), bytes_from_string(start));
}
