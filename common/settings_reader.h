/* Reads a JSON file into a struct by a table of fields, and finds everything that is wrong with it. */
#ifndef ESTUARY_COMMON_SETTINGS_READER_H
#define ESTUARY_COMMON_SETTINGS_READER_H

#include "common/settings_table.h"

#define SETTINGS_FILE_MAX   1048576 /* octets of a configuration file */
#define SETTINGS_ERRORS_MAX 100     /* lines about one file */

struct settings_reader;

/* Parses the file. Borrows file, table and errors. On failure NULL, and errors says why. */
struct settings_reader *settings_reader_create(const char *file, const struct settings_table *table,
                                               struct buffer *errors);
void settings_reader_free(struct settings_reader *reader);

/* Fills the zeroed struct that the table describes: the value of every key, the default where it is not
 * given. Every mistake appends a line "file: path: value what is wrong; what to write". Frees nothing on
 * failure: settings_table_release does. */
void settings_reader_read(struct settings_reader *reader, void *settings);

/* Replaces a default of a key that the file does not give; value is JSON. */
void settings_reader_preset(struct settings_reader *reader, const char *path, const char *value,
                            void *settings);

/* Whether the struct holds what the operator wants: the file's right value, or the default for a key that
 * may be left out. Checks of several keys ask first, so that one mistake is one line. */
bool settings_reader_usable(const struct settings_reader *reader, const char *path);

/* Appends one line more to errors; where is a path or any other place in the file. */
void settings_reader_complain(struct settings_reader *reader, const char *where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Lines appended to errors so far, or left out because there were too many. */
size_t settings_reader_error_count(const struct settings_reader *reader);

#endif
