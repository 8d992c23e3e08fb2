#include "common/settings_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct type_rules {
    size_t size;                                                           /* of the member */
    void (*release)(const struct settings_field *, void *member);          /* NULL: owns nothing */
    json_t *(*to_json)(const struct settings_field *, const void *member); /* NULL: no memory */
    void (*describe)(const struct settings_field *field, struct buffer *text);
};

static void release_string(const struct settings_field *field, void *member);
static void release_strings(const struct settings_field *field, void *member);
static void release_objects(const struct settings_field *field, void *member);
static json_t *string_to_json(const struct settings_field *field, const void *member);
static json_t *bool_to_json(const struct settings_field *field, const void *member);
static json_t *u32_to_json(const struct settings_field *field, const void *member);
static json_t *double_to_json(const struct settings_field *field, const void *member);
static json_t *enum_to_json(const struct settings_field *field, const void *member);
static json_t *strings_to_json(const struct settings_field *field, const void *member);
static json_t *endpoints_to_json(const struct settings_field *field, const void *member);
static json_t *objects_to_json(const struct settings_field *field, const void *member);
static void describe_string(const struct settings_field *field, struct buffer *text);
static void describe_file(const struct settings_field *field, struct buffer *text);
static void describe_bool(const struct settings_field *field, struct buffer *text);
static void describe_number(const struct settings_field *field, struct buffer *text);
static void describe_names(const struct settings_field *field, struct buffer *text);
static void describe_list(const struct settings_field *field, struct buffer *text);

static const struct type_rules rules[SETTINGS_TYPE_COUNT] = {
    [SETTINGS_STRING] = {sizeof(char *), release_string, string_to_json, describe_string},
    [SETTINGS_FILE] = {sizeof(char *), release_string, string_to_json, describe_file},
    [SETTINGS_BOOL] = {sizeof(bool), NULL, bool_to_json, describe_bool},
    [SETTINGS_U32] = {sizeof(uint32_t), NULL, u32_to_json, describe_number},
    [SETTINGS_DOUBLE] = {sizeof(double), NULL, double_to_json, describe_number},
    [SETTINGS_ENUM] = {sizeof(int), NULL, enum_to_json, describe_names},
    [SETTINGS_STRINGS] = {sizeof(struct settings_strings), release_strings, strings_to_json, describe_list},
    [SETTINGS_FILES] = {sizeof(struct settings_strings), release_strings, strings_to_json, describe_list},
    [SETTINGS_ENDPOINTS] = {sizeof(struct settings_endpoints), NULL, endpoints_to_json, describe_list},
    [SETTINGS_OBJECTS] = {sizeof(struct settings_objects), release_objects, objects_to_json, describe_list},
};

static json_t *to_json(const struct settings_table *table, const void *settings);
static bool is_left_out(const struct settings_field *field, const void *member);
static bool is_of_kind(const struct settings_field *field, enum settings_kind kind);
static bool differs(const struct settings_field *field, const void *one, const void *other);
static bool put(json_t *root, const char *path, json_t *value);
static struct bytes section_of(const struct settings_field *field);
static void append_reference_row(const struct settings_field *field, const char *prefix,
                                 struct buffer *markdown);

const struct settings_field *settings_table_find(const struct settings_table *table, const char *path)
{
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->fields[i].path, path) == 0)
            return &table->fields[i];
    return NULL;
}

void settings_field_describe(const struct settings_field *field, struct buffer *text)
{
    rules[field->type].describe(field, text);
}

void settings_field_release(const struct settings_field *field, void *settings)
{
    void *member = (char *)settings + field->offset;
    if (rules[field->type].release != NULL)
        rules[field->type].release(field, member);
    memset(member, 0, rules[field->type].size);
}

void settings_table_release(const struct settings_table *table, void *settings)
{
    for (size_t i = 0; i < table->count; i++)
        settings_field_release(&table->fields[i], settings);
}

void settings_table_compare(const struct settings_table *table, const void *one, const void *other,
                            enum settings_kind kind, struct buffer *paths)
{
    for (size_t i = 0; i < table->count; i++)
        if (is_of_kind(&table->fields[i], kind) && differs(&table->fields[i], one, other))
            buffer_printf(paths, "%s\n", table->fields[i].path);
}

static bool is_of_kind(const struct settings_field *field, enum settings_kind kind)
{
    return field->reloadable == (kind == SETTINGS_RELOADABLE);
}

static bool differs(const struct settings_field *field, const void *one, const void *other)
{
    json_t *first = rules[field->type].to_json(field, (const char *)one + field->offset);
    json_t *second = rules[field->type].to_json(field, (const char *)other + field->offset);
    bool equal = json_equal(first, second) == 1;
    json_decref(first);
    json_decref(second);
    return !equal;
}

void settings_table_overlay(const struct settings_table *table, const void *from, enum settings_kind kind,
                            void *to)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct settings_field *field = &table->fields[i];
        if (is_of_kind(field, kind))
            memcpy((char *)to + field->offset, (const char *)from + field->offset, rules[field->type].size);
    }
}

void settings_table_print(const struct settings_table *table, const void *settings, struct buffer *json)
{
    json_t *root = to_json(table, settings);
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;
    if (text == NULL && json->status == STATUS_OK)
        json->status = STATUS_NO_MEMORY;
    if (text != NULL)
        buffer_printf(json, "%s\n", text);
    free(text);
    json_decref(root);
}

/* NULL: no memory. */
static json_t *to_json(const struct settings_table *table, const void *settings)
{
    json_t *root = json_object();
    for (size_t i = 0; i < table->count; i++) {
        const struct settings_field *field = &table->fields[i];
        const void *member = (const char *)settings + field->offset;
        if (!is_left_out(field, member) &&
            !put(root, field->path, rules[field->type].to_json(field, member))) {
            json_decref(root);
            return NULL;
        }
    }
    return root;
}

static bool is_left_out(const struct settings_field *field, const void *member)
{
    return field->optional && ((const struct settings_strings *)member)->count == 0;
}

void settings_table_reference(const struct settings_table *table, struct buffer *markdown)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct settings_field *field = &table->fields[i];
        struct bytes section = section_of(field);
        if (i == 0 || !bytes_equal(section, section_of(field - 1))) {
            buffer_append_string(markdown, i == 0 ? "### " : "\n### ");
            buffer_append(markdown, section.len > 0 ? section : BYTES_LITERAL("top level"));
            buffer_append_string(markdown, "\n| key | value | default | meaning | source |\n"
                                           "|---|---|---|---|---|\n");
        }
        append_reference_row(field, "", markdown);
    }
}

/* The keys of a list's objects follow as "list[].key". */
static void append_reference_row(const struct settings_field *field, const char *prefix,
                                 struct buffer *markdown)
{
    buffer_printf(markdown, "| `%s%s`%s | ", prefix, field->path, field->reloadable ? " ↻" : "");
    settings_field_describe(field, markdown);
    if (field->preset != NULL)
        buffer_printf(markdown, " | `%s`", field->preset);
    else if (field->optional)
        buffer_append_string(markdown, " | none");
    else
        buffer_append_string(markdown, " | must be given");
    buffer_printf(markdown, " | %s | %s |\n", field->doc, field->rows);
    if (field->items == NULL)
        return;
    char within[128];
    snprintf(within, sizeof(within), "%s%s[].", prefix, field->path);
    for (size_t i = 0; i < field->items->count; i++)
        append_reference_row(&field->items->fields[i], within, markdown);
}

/* "dtls" of "dtls.handshake_mtu"; empty for a key of the top level. */
static struct bytes section_of(const struct settings_field *field)
{
    const char *dot = strrchr(field->path, '.');
    return (struct bytes){(const uint8_t *)field->path, dot == NULL ? 0 : (size_t)(dot - field->path)};
}

/* Takes value. Makes the objects that path leads through. False: no memory. */
static bool put(json_t *root, const char *path, json_t *value)
{
    json_t *object = root;
    const char *dot;
    while (object != NULL && (dot = strchr(path, '.')) != NULL) {
        size_t len = (size_t)(dot - path);
        json_t *inner = json_object_getn(object, path, len);
        if (inner == NULL) {
            inner = json_object();
            if (json_object_setn_new(object, path, len, inner) != 0)
                inner = NULL;
        }
        object = inner;
        path = dot + 1;
    }
    if (object == NULL) {
        json_decref(value);
        return false;
    }
    return json_object_set_new(object, path, value) == 0;
}

static void release_string(const struct settings_field *field, void *member)
{
    (void)field;
    free(*(char **)member);
}

static void release_strings(const struct settings_field *field, void *member)
{
    (void)field;
    struct settings_strings *strings = member;
    for (size_t i = 0; i < strings->count; i++)
        free(strings->items[i]);
}

static void release_objects(const struct settings_field *field, void *member)
{
    struct settings_objects *objects = member;
    for (size_t i = 0; i < objects->count; i++)
        settings_table_release(field->items, (char *)objects->items + i * field->item_size);
    free(objects->items);
}

static json_t *string_to_json(const struct settings_field *field, const void *member)
{
    (void)field;
    return json_string(*(char *const *)member);
}

static json_t *bool_to_json(const struct settings_field *field, const void *member)
{
    (void)field;
    return json_boolean(*(const bool *)member);
}

/* A number that has a name is written by it: it may be out of the range of numbers. */
static json_t *u32_to_json(const struct settings_field *field, const void *member)
{
    uint32_t value = *(const uint32_t *)member;
    const struct settings_name *name = field->names;
    while (name != NULL && name->name != NULL && name->value != value)
        name++;
    return name != NULL && name->name != NULL ? json_string(name->name) : json_integer(value);
}

static json_t *double_to_json(const struct settings_field *field, const void *member)
{
    (void)field;
    return json_real(*(const double *)member);
}

static json_t *enum_to_json(const struct settings_field *field, const void *member)
{
    unsigned value;
    memcpy(&value, member, sizeof(value));
    const struct settings_name *name = field->names;
    while (name->name != NULL && name->value != value)
        name++;
    return json_string(name->name);
}

static json_t *strings_to_json(const struct settings_field *field, const void *member)
{
    (void)field;
    const struct settings_strings *strings = member;
    json_t *list = json_array();
    for (size_t i = 0; i < strings->count; i++) {
        if (json_array_append_new(list, json_string(strings->items[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *endpoints_to_json(const struct settings_field *field, const void *member)
{
    (void)field;
    const struct settings_endpoints *endpoints = member;
    json_t *list = json_array();
    for (size_t i = 0; i < endpoints->count; i++) {
        char text[ENDPOINT_TEXT_MAX];
        if (json_array_append_new(list, json_string(endpoint_format(&endpoints->items[i], text))) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *objects_to_json(const struct settings_field *field, const void *member)
{
    const struct settings_objects *objects = member;
    json_t *list = json_array();
    for (size_t i = 0; i < objects->count; i++) {
        const void *item = (const char *)objects->items + i * field->item_size;
        if (json_array_append_new(list, to_json(field->items, item)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static void describe_string(const struct settings_field *field, struct buffer *text)
{
    (void)field;
    buffer_append_string(text, "a string");
}

static void describe_file(const struct settings_field *field, struct buffer *text)
{
    (void)field;
    buffer_append_string(text, "a file name");
}

static void describe_bool(const struct settings_field *field, struct buffer *text)
{
    (void)field;
    buffer_append_string(text, "true or false");
}

static void describe_number(const struct settings_field *field, struct buffer *text)
{
    buffer_printf(text, "%.15g to %.15g", field->min, field->max);
    if (field->names != NULL) {
        buffer_append_string(text, " or ");
        describe_names(field, text);
    }
}

static void describe_names(const struct settings_field *field, struct buffer *text)
{
    for (const struct settings_name *name = field->names; name->name != NULL; name++) {
        if (name != field->names)
            buffer_append_string(text, name[1].name == NULL ? " or " : ", ");
        buffer_printf(text, "\"%s\"", name->name);
    }
}

static void describe_list(const struct settings_field *field, struct buffer *text)
{
    static const char *const one[] = {[SETTINGS_STRINGS] = "string",
                                      [SETTINGS_FILES] = "file name",
                                      [SETTINGS_ENDPOINTS] = "address with port",
                                      [SETTINGS_OBJECTS] = "object"};
    static const char *const many[] = {[SETTINGS_STRINGS] = "strings",
                                       [SETTINGS_FILES] = "file names",
                                       [SETTINGS_ENDPOINTS] = "addresses with port",
                                       [SETTINGS_OBJECTS] = "objects"};
    if (field->or_one)
        buffer_append_string(text, "a string or ");
    if (field->min == 1 && field->max == 1)
        buffer_printf(text, "a list of one %s", one[field->type]);
    else if (field->min > 0)
        buffer_printf(text, "a list of %.0f to %.0f %s", field->min, field->max, many[field->type]);
    else
        buffer_printf(text, "a list of at most %.0f %s", field->max, many[field->type]);
    if (field->shorthand != NULL)
        buffer_printf(text, " or strings, each for an object with that `%s`", field->shorthand);
}
