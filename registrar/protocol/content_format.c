#include "registrar/protocol/content_format.h"

#include "registrar/protocol/http_field.h"

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
static bool value_equals(struct bytes value, struct bytes wanted);

bool content_format_matches_media_type(enum content_format format, struct bytes content_type)
{
    const struct media_type *type = find_media_type(format);
    struct bytes rest = content_type, name;
    if (type == NULL || !http_field_next(&rest, ';', &name))
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
        if (!http_field_next(&parameters, ';', &part))
            return false;
        if (part.len == 0)
            continue; /* ";;" or a semicolon at the end */
        http_field_split(part, &name, &value);
        if (name.len == 0 || name.len == part.len)
            return false;
        if (type->smime_type == NULL || !bytes_equal_ignoring_case(name, BYTES_LITERAL("smime-type")))
            continue;
        if (!value_equals(value, bytes_from_string(type->smime_type)))
            return false;
        seen = true;
    }
    return seen || !type->smime_type_required;
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
