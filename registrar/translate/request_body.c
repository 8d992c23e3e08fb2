#include "registrar/translate/request_body.h"

/* libest answers 413 to a longer body. */
#define LIBEST_BODY_MAX 8192

static size_t encoded_len(const struct upstream_settings *settings, size_t der_len);

enum status request_body_encode(const struct upstream_settings *settings, struct bytes der,
                                struct buffer *body)
{
    if (der.len > request_body_der_max(settings))
        return STATUS_TOO_LARGE;
    base64_encode(der, settings->base64_lines, body);
    return body->status;
}

size_t request_body_der_max(const struct upstream_settings *settings)
{
    if (settings->profile != UPSTREAM_LIBEST)
        return SIZE_MAX;
    size_t max = LIBEST_BODY_MAX / 4 * 3;
    while (encoded_len(settings, max) > LIBEST_BODY_MAX)
        max--;
    return max;
}

static size_t encoded_len(const struct upstream_settings *settings, size_t der_len)
{
    static const size_t line_ends[] = {[BASE64_ONE_LINE] = 0, [BASE64_64_LF] = 1, [BASE64_64_CRLF] = 2};
    return (der_len + 2) / 3 * 4 + (der_len + 47) / 48 * line_ends[settings->base64_lines];
}
