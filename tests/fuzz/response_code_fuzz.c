/* SEC-1: header fields and error bodies from an EST server: Retry-After, Date, Cache-Control, Age and
 * Content-Type, each ended by a line feed, and a body. */
#include "registrar/translate/freshness.h"
#include "registrar/translate/response_code.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct bytes next_line(struct bytes *rest)
{
    const uint8_t *end = rest->len == 0 ? NULL : memchr(rest->at, '\n', rest->len);
    size_t len = end == NULL ? rest->len : (size_t)(end - rest->at);
    struct bytes line = bytes_slice(*rest, 0, len);
    *rest = bytes_slice(*rest, len + 1, rest->len);
    return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes rest = {data, size};
    struct bytes retry_after = next_line(&rest), date = next_line(&rest);
    struct bytes cache_control = next_line(&rest), age = next_line(&rest), content_type = next_line(&rest);
    uint32_t seconds = retry_after_seconds(retry_after, date, 784111777, 60, 86400);
    if (seconds < 1 || seconds > 86400)
        abort();
    const struct freshness_fields fields = {cache_control, age, .expires = retry_after, .date = date};
    if (freshness_judge(&fields, 784111777, 300).seconds > 300)
        abort();
    struct buffer diagnostic;
    buffer_init(&diagnostic, 128);
    response_diagnostic(content_type, rest, &diagnostic);
    if (diagnostic.status != STATUS_OK || memchr(buffer_string(&diagnostic), '\n', diagnostic.len) != NULL)
        abort();
    buffer_free(&diagnostic);
    return 0;
}
