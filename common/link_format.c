#include "common/link_format.h"

#include <string.h>

static void append_parameter(struct buffer *out, const char *name, const char *value, bool quoted);
static const char *parameter(const struct link *link, struct bytes name);
static bool any_value_matches(struct bytes values, struct bytes pattern);
static bool value_matches(struct bytes value, struct bytes pattern);
static bool split(struct bytes whole, char at, struct bytes *before, struct bytes *after);

void link_format_append(struct buffer *out, const struct link *link)
{
    if (out->len > 0)
        buffer_append_byte(out, ',');
    buffer_append_byte(out, '<');
    buffer_append_string(out, link->target);
    buffer_append_byte(out, '>');
    append_parameter(out, "rt", link->resource_type, true);
    /* RFC 9148 section 4.1 quotes ct where it holds more than one number. */
    append_parameter(out, "ct", link->content_type,
                     link->content_type != NULL && strchr(link->content_type, ' ') != NULL);
}

bool link_format_matches(const struct link *link, struct bytes query)
{
    struct bytes name, pattern;
    if (query.len == 0) /* "?" alone is no filter */
        return true;
    if (!split(query, '=', &name, &pattern))
        return false;
    if (bytes_equal(name, BYTES_LITERAL("href")))
        return value_matches(bytes_from_string(link->target), pattern);
    const char *values = parameter(link, name);
    return values != NULL && any_value_matches(bytes_from_string(values), pattern);
}

bool link_parameter_matches(const struct link_parameter *parameter, struct bytes query)
{
    struct bytes name, pattern;
    if (query.len == 0)
        return true;
    if (!split(query, '=', &name, &pattern))
        return false;
    if (bytes_equal(name, BYTES_LITERAL("href")))
        return value_matches(bytes_from_string(parameter->target), pattern);
    return bytes_equal(name, bytes_from_string(parameter->name)) &&
           any_value_matches(bytes_from_string(parameter->value), pattern);
}

static void append_parameter(struct buffer *out, const char *name, const char *value, bool quoted)
{
    if (value == NULL)
        return;
    const char *quote = quoted ? "\"" : "";
    buffer_printf(out, ";%s=%s%s%s", name, quote, value, quote);
}

static const char *parameter(const struct link *link, struct bytes name)
{
    if (bytes_equal(name, BYTES_LITERAL("rt")))
        return link->resource_type;
    return bytes_equal(name, BYTES_LITERAL("ct")) ? link->content_type : NULL;
}

static bool any_value_matches(struct bytes values, struct bytes pattern)
{
    struct bytes value;
    while (split(values, ' ', &value, &values))
        if (value_matches(value, pattern))
            return true;
    return value_matches(values, pattern);
}

static bool value_matches(struct bytes value, struct bytes pattern)
{
    if (pattern.len == 0 || pattern.at[pattern.len - 1] != '*')
        return bytes_equal(value, pattern);
    return bytes_equal(bytes_slice(value, 0, pattern.len - 1), bytes_slice(pattern, 0, pattern.len - 1));
}

/* Cuts at the first octet that is at; before may be the same object as whole, and so may after. */
static bool split(struct bytes whole, char at, struct bytes *before, struct bytes *after)
{
    const uint8_t *found = whole.len > 0 ? memchr(whole.at, at, whole.len) : NULL;
    if (found == NULL)
        return false;
    size_t len = (size_t)(found - whole.at);
    *before = bytes_slice(whole, 0, len);
    *after = bytes_slice(whole, len + 1, whole.len);
    return true;
}
