/* SEC-1: a multipart/mixed body from an EST server. The media type ends at the first line feed. */
#include "registrar/translate/multipart_mixed.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct multipart_mixed message;
    const uint8_t *line_end = size == 0 ? NULL : memchr(data, '\n', size);
    if (line_end == NULL)
        return 0;
    struct bytes content_type = {data, (size_t)(line_end - data)};
    struct bytes body = {line_end + 1, size - content_type.len - 1};
    if (multipart_mixed_parse(content_type, body, &message) != STATUS_OK)
        return 0;
    if (message.count == 0 || message.count > MULTIPART_MIXED_PARTS_MAX)
        abort();
    for (size_t i = 0; i < message.count; i++) {
        const struct bytes part = message.parts[i].body;
        if (strlen(message.parts[i].content_type) > MULTIPART_MIXED_TYPE_OCTETS_MAX)
            abort();
        if (part.len > 0 && (part.at < body.at || part.at + part.len > body.at + body.len))
            abort();
    }
    return 0;
}
