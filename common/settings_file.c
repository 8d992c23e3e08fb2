#include "common/settings_file.h"

#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct settings_name settings_log_levels[] = {{"error", LOG_LEVEL_ERROR},
                                                    {"warning", LOG_LEVEL_WARNING},
                                                    {"info", LOG_LEVEL_INFO},
                                                    {"debug", LOG_LEVEL_DEBUG},
                                                    {NULL, 0}};
const struct settings_name settings_log_formats[] = {
    {"text", LOG_FORMAT_TEXT}, {"json", LOG_FORMAT_JSON}, {NULL, 0}};

static void fill(const struct settings_file *file, const struct settings_review *review,
                 struct settings *settings);

struct settings *settings_file_read(const struct settings_file *file, const char *name, struct buffer *errors,
                                    struct buffer *warnings)
{
    struct settings_reader *reader = settings_reader_create(name, &file->table, errors);
    if (reader == NULL)
        return NULL;
    struct settings *settings = calloc(1, file->size);
    if (settings == NULL)
        settings_reader_complain(reader, NULL, "%s", status_text(STATUS_NO_MEMORY));
    else
        fill(file, &(struct settings_review){reader, settings, name, warnings}, settings);
    if (settings_reader_error_count(reader) > 0) {
        settings_file_free(file, settings);
        settings = NULL;
    }
    settings_reader_free(reader);
    return settings;
}

static void fill(const struct settings_file *file, const struct settings_review *review,
                 struct settings *settings)
{
    settings_reader_read(review->reader, settings);
    if (file->preset != NULL)
        file->preset(review->reader, settings);
    for (size_t i = 0; i < file->review_count; i++)
        file->reviews[i](review);
}

void settings_file_free(const struct settings_file *file, struct settings *settings)
{
    if (settings == NULL)
        return;
    settings_table_release(&file->table, settings);
    free(settings);
}

bool settings_review_usable(const struct settings_review *review, const char *one, const char *other)
{
    return settings_reader_usable(review->reader, one) && settings_reader_usable(review->reader, other);
}

void settings_review_warn(const struct settings_review *review, const char *path, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    buffer_printf(review->warnings, "%s: %s: %s\n", review->file, path, text);
}

const char *settings_complaint_about_interface(const json_t *value)
{
    size_t len = json_string_length(value);
    if (len == 0 || len >= IFNAMSIZ || strpbrk(json_string_value(value), "/: \t\r\n") != NULL)
        return "is not the name of a network interface; use one that \"ip link\" shows";
    return NULL;
}
