/* Reads the configuration file of a program: its table of keys, then its checks of several keys at once. */
#ifndef ESTUARY_COMMON_SETTINGS_FILE_H
#define ESTUARY_COMMON_SETTINGS_FILE_H

#include "common/log.h"
#include "common/settings_reader.h"

struct settings; /* each program defines its own */

/* What a check of several keys needs. */
struct settings_review {
    struct settings_reader *reader;
    const struct settings *settings;
    const char *file;
    struct buffer *warnings;
};

/* How a program's file is read. Borrowed wherever it is passed. */
struct settings_file {
    struct settings_table table;
    size_t size; /* of struct settings */
    /* Changes defaults (settings_reader_preset) before the checks; NULL: nothing to change. */
    void (*preset)(struct settings_reader *reader, struct settings *settings);
    void (*const *reviews)(const struct settings_review *review);
    size_t review_count;
};

/* Gives (settings_file_free). NULL: errors has a line for each mistake, all of the file at once. warnings may
 * get lines as well. */
struct settings *settings_file_read(const struct settings_file *file, const char *name, struct buffer *errors,
                                    struct buffer *warnings);
void settings_file_free(const struct settings_file *file, struct settings *settings);

/* Whether both keys hold what the operator wants (settings_reader_usable). */
bool settings_review_usable(const struct settings_review *review, const char *one, const char *other);

/* Appends a line to the warnings: where, and what will hurt. */
void settings_review_warn(const struct settings_review *review, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "is not …; use …" for a list item that is no name of a network interface, or NULL. */
const char *settings_complaint_about_interface(const json_t *value);

/* Names of enum log_level and enum log_format. */
extern const struct settings_name settings_log_levels[], settings_log_formats[];

#endif
