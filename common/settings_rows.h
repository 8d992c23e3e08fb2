/* The words in which settings.c of a program writes the rows of its table; struct settings is the program's.
 */
#ifndef ESTUARY_COMMON_SETTINGS_ROWS_H
#define ESTUARY_COMMON_SETTINGS_ROWS_H

#include "common/settings_file.h"

/* Where a member of a struct is, checked by the compiler to have the type that is read. */
#define PLACE(whole, member, c_type)                                                                         \
    (offsetof(whole, member) + 0 * sizeof(1 ? &((whole *)0)->member : (c_type *)0))
/* A member of an object of a list. */
#define KEY(name, kind, place) .path = (name), .type = (kind), .offset = (place)
/* A member of struct settings under its own path. */
#define MEMBER(member, kind, c_type)                                                                         \
    .path = #member, .type = (kind), .offset = PLACE(struct settings, member, c_type)
#define STRING(member, look)        MEMBER(member, SETTINGS_STRING, char *), .complaint = (look)
#define A_FILE(member)              MEMBER(member, SETTINGS_FILE, char *)
#define BOOL(member)                MEMBER(member, SETTINGS_BOOL, bool)
#define U32(member, least, most)    MEMBER(member, SETTINGS_U32, uint32_t), .min = (least), .max = (most)
#define DOUBLE(member, least, most) MEMBER(member, SETTINGS_DOUBLE, double), .min = (least), .max = (most)
#define ENUM(member, c_type, words) MEMBER(member, SETTINGS_ENUM, c_type), .names = (words)
#define STRINGS(member, least, most, look)                                                                   \
    MEMBER(member, SETTINGS_STRINGS, struct settings_strings), .min = (least), .max = (most),                \
                                                               .complaint = (look)
#define INTERFACES(member, least, most) STRINGS(member, least, most, settings_complaint_about_interface)
#define FILES(member, least)                                                                                 \
    MEMBER(member, SETTINGS_FILES, struct settings_strings), .min = (least), .max = SETTINGS_STRINGS_MAX
#define ENDPOINTS(member, least)                                                                             \
    MEMBER(member, SETTINGS_ENDPOINTS, struct settings_endpoints), .min = (least),                           \
                                                                   .max = SETTINGS_LISTENERS_MAX
#define OBJECTS(member, most, table, c_type)                                                                 \
    MEMBER(member, SETTINGS_OBJECTS, struct settings_objects), .max = (most), .items = &(table),             \
                                                               .item_size = sizeof(c_type)
#define PRESET(value) .preset = value
#define REQUIRED      .preset = NULL
#define SOURCE(text)  .rows = text
#define DOC(text)     .doc = text
#define RELOADABLE    .reloadable = true

/* What every program has. */
#define LOG_LEVEL_ROW                                                                                        \
    ENUM(log.level, enum log_level, settings_log_levels), PRESET("\"info\""), SOURCE("SEC-2"),               \
        DOC("least weight that is logged")
#define LOG_FORMAT_ROW                                                                                       \
    ENUM(log.format, enum log_format, settings_log_formats), PRESET("\"text\""), SOURCE("SEC-2"),            \
        DOC("records as text or as JSON, one a line, on standard error")

_Static_assert(sizeof(enum settings_type) == sizeof(int), "SETTINGS_ENUM needs enums the size of an int");

#endif
