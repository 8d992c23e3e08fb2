/* SEC-1: an HTTP body from an EST server. The first octet chooses operation, profile and policies; the media
 * type ends at the first line feed. */
#include "registrar/translate/response_body.h"

#include <stdlib.h>
#include <string.h>

#define LIMIT 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void present(const struct response_context *context, struct bytes der)
{
    for (size_t i = 0; i < context->operation->response_count; i++) {
        struct buffer representation;
        buffer_init(&representation, LIMIT);
        enum status status =
            response_body_present(context, context->operation->response[i], der, &representation);
        if (status == STATUS_OK && representation.len == 0)
            abort();
        buffer_free(&representation);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *line_end = size == 0 ? NULL : memchr(data, '\n', size);
    if (line_end == NULL || line_end == data)
        return 0;
    struct bytes content_type = {data + 1, (size_t)(line_end - data) - 1};
    struct bytes body = {line_end + 1, size - (size_t)(line_end - data) - 1};
    struct settings settings = {
        .upstream = {.profile = data[0] & 4 ? UPSTREAM_LIBEST : UPSTREAM_RFC7030},
        .est = {.crts_287 = data[0] & 8 ? CRTS_287_ROOT : CRTS_287_ISSUING_CA},
    };
    struct response_context context = {
        .operation = est_operation((enum est_operation_id)(data[0] & 3)),
        .settings = &settings,
    };
    struct buffer der;
    buffer_init(&der, LIMIT);
    enum status status = response_body_decode(&context, content_type, body, &der, NULL);
    if ((status == STATUS_OK) != (der.len > 0))
        abort();
    if (status == STATUS_OK)
        present(&context, buffer_view(&der));
    buffer_free(&der);
    return 0;
}
