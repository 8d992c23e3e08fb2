/* The configuration: it is refused with a reason, or what --print-config makes of it is accepted and means
 * the same. */
#include "registrar/settings.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define TEXT_OCTETS_MAX ((size_t)8 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct settings *read_settings(struct bytes json)
{
    char path[64];
    struct buffer errors, warnings;
    int fd = memfd_create("settings", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fd < 0 || (json.len > 0 && write(fd, json.at, json.len) != (ssize_t)json.len))
        abort();
    buffer_init(&errors, TEXT_OCTETS_MAX);
    buffer_init(&warnings, TEXT_OCTETS_MAX);
    struct settings *settings = settings_read(path, &errors, &warnings);
    if ((settings == NULL) != (errors.len > 0))
        abort();
    buffer_free(&errors);
    buffer_free(&warnings);
    close(fd);
    return settings;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct settings *settings = read_settings((struct bytes){data, size});
    if (settings == NULL)
        return 0;
    struct buffer printed, again;
    buffer_init(&printed, TEXT_OCTETS_MAX);
    buffer_init(&again, TEXT_OCTETS_MAX);
    settings_print(settings, &printed);
    settings_free(settings);
    settings = read_settings(buffer_view(&printed));
    if (settings == NULL)
        abort();
    settings_print(settings, &again);
    if (!bytes_equal(buffer_view(&printed), buffer_view(&again)))
        abort();
    settings_free(settings);
    buffer_free(&printed);
    buffer_free(&again);
    return 0;
}
