/* Describes a configuration file: one row for each key, from which reading, defaults, the printed
 * configuration and the reference page all follow. */
#ifndef ESTUARY_COMMON_SETTINGS_TABLE_H
#define ESTUARY_COMMON_SETTINGS_TABLE_H

#include "common/bytes.h"
#include "common/endpoint.h"

#include <jansson.h>

#define SETTINGS_LISTENERS_MAX 8
#define SETTINGS_STRINGS_MAX   64

/* Owned by the settings; items are never NULL. File names are resolved against the configuration file's
 * folder. */
struct settings_strings {
    char *items[SETTINGS_STRINGS_MAX];
    size_t count;
};

struct settings_endpoints {
    struct endpoint items[SETTINGS_LISTENERS_MAX];
    size_t count;
};

/* Of structs that a table of their own describes. */
struct settings_objects {
    void *items; /* owned; NULL: none */
    size_t count;
};

/* The type of the member that a field is read into. */
enum settings_type {
    SETTINGS_STRING,    /* char *, never NULL */
    SETTINGS_FILE,      /* char *, an absolute path */
    SETTINGS_BOOL,      /* bool */
    SETTINGS_U32,       /* uint32_t */
    SETTINGS_DOUBLE,    /* double */
    SETTINGS_ENUM,      /* an enum the size of an int */
    SETTINGS_STRINGS,   /* struct settings_strings */
    SETTINGS_FILES,     /* struct settings_strings, absolute paths */
    SETTINGS_ENDPOINTS, /* struct settings_endpoints */
    SETTINGS_OBJECTS,   /* struct settings_objects */
    SETTINGS_TYPE_COUNT
};

struct settings_name {
    const char *name; /* NULL ends a list of names */
    uint32_t value;
};

struct settings_field {
    const char *path; /* "dtls.handshake_mtu"; in the table, the keys of a section stand together */
    enum settings_type type;
    size_t offset;                     /* of the member in the struct */
    double min, max;                   /* of a number, or of how many items a list has */
    const struct settings_name *names; /* of an enum; or words that stand for a number; else NULL */
    /* What is wrong with a value or list item of the right type: "is not …; use …", or NULL. May be NULL. */
    const char *(*complaint)(const json_t *value);
    const struct settings_table *items; /* of SETTINGS_OBJECTS: the keys of one, with paths within it */
    size_t item_size;                   /* of their struct */
    const char *shorthand; /* of SETTINGS_OBJECTS: a string stands for an object with this key; NULL: none */
    bool or_one;           /* of SETTINGS_STRINGS: a string stands for a list of one */
    bool optional;      /* of a list: may be left out, and is empty then, though min forbids to give none */
    const char *preset; /* the default as JSON; NULL: the key must be given, unless it is optional */
    const char *rows;   /* of the requirements, or section of an RFC; for the reference */
    const char *doc;    /* one line of Markdown, units included */
    bool reloadable;    /* a running program can take a new value; otherwise it needs a restart */
};

/* Borrowed wherever it is passed, for as long as the reader lives. */
struct settings_table {
    const struct settings_field *fields;
    size_t count;
};

/* The row of a path, or NULL. */
const struct settings_field *settings_table_find(const struct settings_table *table, const char *path);

/* Appends what a field accepts, in words: "256 to 1200", "a list of file names". */
void settings_field_describe(const struct settings_field *field, struct buffer *text);

/* Frees what the field's member owns, and zeroes it. */
void settings_field_release(const struct settings_field *field, void *settings);

/* Frees the strings in the struct and zeroes its fields. */
void settings_table_release(const struct settings_table *table, void *settings);

enum settings_kind { SETTINGS_FIXED, SETTINGS_RELOADABLE };

/* Appends a line for each field of that kind whose values differ: its path. */
void settings_table_compare(const struct settings_table *table, const void *one, const void *other,
                            enum settings_kind kind, struct buffer *paths);

/* Overwrites the fields of that kind in to with those of from, which goes on owning them: to is not to be
 * released after. */
void settings_table_overlay(const struct settings_table *table, const void *from, enum settings_kind kind,
                            void *to);

/* Appends the struct as JSON, one that settings_reader reads. */
void settings_table_print(const struct settings_table *table, const void *settings, struct buffer *json);

/* Appends a Markdown table for each section: key, values, default, meaning, rows. */
void settings_table_reference(const struct settings_table *table, struct buffer *markdown);

#endif
