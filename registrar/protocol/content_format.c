#include "registrar/protocol/content_format.h"

struct media_type {
    enum content_format format;
    const char *name;
    const char *smime_type; /* the only value that parameter may have; NULL: the parameter is ignored */
    bool smime_type_required;
};

/* RFC 9148 section 8.1, RFC 8710 section 5, RFC 6690 section 7.3. */
static const struct media_type media_types[] = {
    {CONTENT_FORMAT_LINK, "application/link-format", NULL, false},
    {CONTENT_FORMAT_MULTIPART_CORE, "application/multipart-core", NULL, false},
    {CONTENT_FORMAT_SERVER_KEY, "application/pkcs7-mime", "server-generated-key", true},
    {CONTENT_FORMAT_CERTS_ONLY, "application/pkcs7-mime", "certs-only", false},
    {CONTENT_FORMAT_PKCS8, "application/pkcs8", NULL, false},
    {CONTENT_FORMAT_CSRATTRS, "application/csrattrs", NULL, false},
    {CONTENT_FORMAT_PKCS10, "application/pkcs10", NULL, false},
    {CONTENT_FORMAT_ONE_CERT, "application/pkix-cert", NULL, false},
};

static const struct media_type *find_media_type(enum content_format format);
static bool smime_type_fits(const struct media_type *type, struct bytes parameters);
static bool next_part(struct bytes *rest, struct bytes *part);
static bool split_parameter(struct bytes part, struct bytes *name, struct bytes *value);
static bool value_equals(struct bytes value, struct bytes wanted);
static struct bytes trim(struct bytes text);

bool content_format_matches_media_type(enum content_format format, struct bytes content_type)
{
    const struct media_type *type = find_media_type(format);
    struct bytes rest = content_type, name;
    if (type == NULL || !next_part(&rest, &name))
        return false;
    return bytes_equal_ignoring_case(name, bytes_from_string(type->name)) && smime_type_fits(type, rest);
}

static const struct media_type *find_media_type(enum content_format format)
{
    for (size_t i = 0; i < sizeof(media_types) / sizeof(media_types[0]); i++)
        if (media_types[i].format == format)
            return &media_types[i];
    return NULL;
}

static bool smime_type_fits(const struct media_type *type, struct bytes parameters)
{
    struct bytes part, name, value;
    bool seen = false;
    while (parameters.len > 0) {
        if (!next_part(&parameters, &part))
            return false;
        if (part.len == 0)
            continue; /* ";;" or a semicolon at the end */
        if (!split_parameter(part, &name, &value))
            return false;
        if (type->smime_type == NULL || !bytes_equal_ignoring_case(name, BYTES_LITERAL("smime-type")))
            continue;
        if (!value_equals(value, bytes_from_string(type->smime_type)))
            return false;
        seen = true;
    }
    return seen || !type->smime_type_required;
}

/* Cuts off what stands before the next semicolon outside quotes. False: a quote is never closed. */
static bool next_part(struct bytes *rest, struct bytes *part)
{
    bool quoted = false;
    size_t end = 0;
    for (; end < rest->len && (quoted || rest->at[end] != ';'); end++) {
        if (quoted && rest->at[end] == '\\' && end + 1 < rest->len)
            end++;
        else if (rest->at[end] == '"')
            quoted = !quoted;
    }
    *part = trim(bytes_slice(*rest, 0, end));
    *rest = bytes_slice(*rest, end + 1, rest->len);
    return !quoted;
}

static bool split_parameter(struct bytes part, struct bytes *name, struct bytes *value)
{
    size_t equals = 0;
    while (equals < part.len && part.at[equals] != '=')
        equals++;
    *name = trim(bytes_slice(part, 0, equals));
    *value = trim(bytes_slice(part, equals + 1, part.len));
    return equals < part.len && name->len > 0;
}

/* value is a token or a quoted-string (RFC 9110 section 5.6.4), in which "\" stands before a literal octet.
 */
static bool value_equals(struct bytes value, struct bytes wanted)
{
    if (value.len < 2 || value.at[0] != '"')
        return bytes_equal_ignoring_case(value, wanted);
    if (value.at[value.len - 1] != '"')
        return false;
    struct bytes text = bytes_slice(value, 1, value.len - 2);
    size_t at = 0;
    for (size_t i = 0; i < wanted.len; i++) {
        if (at + 1 < text.len && text.at[at] == '\\')
            at++;
        if (!bytes_equal_ignoring_case(bytes_slice(text, at, 1), bytes_slice(wanted, i, 1)))
            return false;
        at++;
    }
    return at == text.len;
}

static struct bytes trim(struct bytes text)
{
    while (text.len > 0 && (text.at[0] == ' ' || text.at[0] == '\t'))
        text = bytes_slice(text, 1, text.len);
    while (text.len > 0 && (text.at[text.len - 1] == ' ' || text.at[text.len - 1] == '\t'))
        text.len--;
    return text;
}
