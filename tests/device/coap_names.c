#include "coap_names.h"

#include <stddef.h>
#include <stdio.h>

#define CODE(class, detail) ((class) << 5 | (detail))

/* RFC 7252 section 12.1.2, RFC 7959 section 2.9, RFC 8132, RFC 8516. */
static const struct {
    uint8_t code;
    const char *name;
} codes[] = {
    {CODE(2, 1), "Created"},
    {CODE(2, 2), "Deleted"},
    {CODE(2, 3), "Valid"},
    {CODE(2, 4), "Changed"},
    {CODE(2, 5), "Content"},
    {CODE(2, 31), "Continue"},
    {CODE(4, 0), "Bad Request"},
    {CODE(4, 1), "Unauthorized"},
    {CODE(4, 2), "Bad Option"},
    {CODE(4, 3), "Forbidden"},
    {CODE(4, 4), "Not Found"},
    {CODE(4, 5), "Method Not Allowed"},
    {CODE(4, 6), "Not Acceptable"},
    {CODE(4, 8), "Request Entity Incomplete"},
    {CODE(4, 9), "Conflict"},
    {CODE(4, 12), "Precondition Failed"},
    {CODE(4, 13), "Request Entity Too Large"},
    {CODE(4, 15), "Unsupported Content-Format"},
    {CODE(4, 22), "Unprocessable Entity"},
    {CODE(4, 29), "Too Many Requests"},
    {CODE(5, 0), "Internal Server Error"},
    {CODE(5, 1), "Not Implemented"},
    {CODE(5, 2), "Bad Gateway"},
    {CODE(5, 3), "Service Unavailable"},
    {CODE(5, 4), "Gateway Timeout"},
    {CODE(5, 5), "Proxying Not Supported"},
    {CODE(5, 8), "Hop Limit Reached"},
};

static const struct {
    int number;
    const char *name;
} content_formats[] = {
    {CONTENT_FORMAT_NONE, "none"},
    {0, "text/plain"},
    {CONTENT_FORMAT_LINKS, "link-format"},
    {CONTENT_FORMAT_MULTIPART_CORE, "multipart-core"},
    {CONTENT_FORMAT_PROTECTED_KEY, "server-generated-key"},
    {CONTENT_FORMAT_CERTS_ONLY, "certs-only"},
    {CONTENT_FORMAT_PKCS8, "pkcs8"},
    {CONTENT_FORMAT_CSRATTRS, "csrattrs"},
    {CONTENT_FORMAT_PKCS10, "pkcs10"},
    {CONTENT_FORMAT_PKIX_CERT, "pkix-cert"},
};

const char *coap_code_name(uint8_t code)
{
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (codes[i].code == code)
            return codes[i].name;
    return "unassigned code";
}

struct coap_code_text coap_code_dotted(uint8_t code)
{
    struct coap_code_text dotted;
    snprintf(dotted.text, sizeof(dotted.text), "%u.%02u", code >> 5, code & 0x1fu);
    return dotted;
}

const char *content_format_name(int content_format)
{
    for (size_t i = 0; i < sizeof(content_formats) / sizeof(content_formats[0]); i++)
        if (content_formats[i].number == content_format)
            return content_formats[i].name;
    return "unknown format";
}
