#include "registrar/translate/request_body.h"

/* libest answers 413 to a longer body. */
#define LIBEST_BODY_MAX 8192

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
    while (base64_encoded_length(max, settings->base64_lines) > LIBEST_BODY_MAX)
        max--;
    return max;
}
