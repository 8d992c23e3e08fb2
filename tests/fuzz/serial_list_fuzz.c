/* access.file: whatever is accepted is found again, and lines that are refused are named. */
#include "registrar/exchange/serial_list.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer errors;
    buffer_init(&errors, (size_t)64 * 1024);
    struct serial_list *list = serial_list_parse((struct bytes){data, size}, "fuzz", &errors);
    if ((list == NULL) != (errors.len > 0))
        abort();
    if (list != NULL) {
        enum access_action action;
        if (serial_list_find(list, (struct bytes){data, size}, &action) && serial_list_count(list) == 0)
            abort();
    }
    serial_list_free(list);
    buffer_free(&errors);
    return 0;
}
