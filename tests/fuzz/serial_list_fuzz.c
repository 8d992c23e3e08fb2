/* access.file: all or nothing, and whatever a plain line says is found. */
#include "registrar/exchange/serial_list.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* "allow " and no blank or "#" behind it: what that means needs no parser. */
static void check_line(const struct serial_list *list, struct bytes line)
{
    static const char word[] = "allow ";
    enum access_action action;
    if (line.len <= strlen(word) || memcmp(line.at, word, strlen(word)) != 0)
        return;
    struct bytes serial = bytes_slice(line, strlen(word), line.len);
    for (size_t i = 0; i < serial.len; i++)
        if (serial.at[i] <= 0x20 || serial.at[i] == '#')
            return;
    check(serial_list_find(list, serial, &action) && action == ACCESS_ALLOW);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer errors;
    buffer_init(&errors, (size_t)64 * 1024);
    struct serial_list *list = serial_list_parse((struct bytes){data, size}, "fuzz", &errors);
    check((list == NULL) == (errors.len > 0) && errors.status == STATUS_OK);
    for (size_t at = 0; list != NULL && at < size;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        check(end != NULL);
        check_line(list, (struct bytes){data + at, (size_t)(end - data) - at});
        at = (size_t)(end - data) + 1;
    }
    serial_list_free(list);
    buffer_free(&errors);
    return 0;
}
