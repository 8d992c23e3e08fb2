/* SEC-1: multipart-core. What can be read can be written, and is then read as the same. */
#include "registrar/translate/multipart_core.h"

#include <stdlib.h>

#define LIMIT (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct multipart_core message, again;
    struct buffer octets;
    if (multipart_core_read((struct bytes){data, size}, &message) != STATUS_OK)
        return 0;
    buffer_init(&octets, LIMIT);
    if (multipart_core_write(&message, &octets) != STATUS_OK)
        abort();
    if (octets.len > size + 1 || multipart_core_read(buffer_view(&octets), &again) != STATUS_OK ||
        again.count != message.count)
        abort();
    for (size_t i = 0; i < again.count; i++)
        if (again.parts[i].content_format != message.parts[i].content_format ||
            again.parts[i].is_null != message.parts[i].is_null ||
            !bytes_equal(again.parts[i].content, message.parts[i].content))
            abort();
    buffer_free(&octets);
    return 0;
}
