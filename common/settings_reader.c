#include "common/settings_reader.h"

#include "common/regular_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_TEXT_MAX  4096 /* octets of a file name, a path and a value that a message repeats */
#define PATH_TEXT_MAX  200
#define PATH_ROOM      (PATH_TEXT_MAX + 2) /* so that what is cut can be seen to be */
#define VALUE_TEXT_MAX 60
#define LINE_MAX       8192
#define KEY_MAX        64 /* octets; nothing near a longer key is looked for */

enum origin { NOT_GIVEN, GIVEN, WRONG };

struct settings_reader {
    const char *file;
    const struct settings_table *table;
    struct buffer *errors;
    size_t error_count;
    char *folder; /* absolute: where relative file names start */
    json_t *root;
    enum origin *origins; /* one for each field of the table */
};

/* An object whose keys a table describes: the whole file, or an item of a list. */
struct scope {
    struct settings_reader *reader;
    const struct settings_table *table;
    enum origin *origins; /* one for each field of the table */
    const char *prefix;   /* of paths: "", or "access.rules[3]." */
    void *settings;
};

/* A value's place in the file and in the struct. */
struct place {
    struct settings_reader *reader;
    const struct settings_field *field;
    const char *path; /* in the file: "upstream.servers[0]" */
    void *to;         /* the member, or the item */
};

static bool parse(struct settings_reader *reader);
static void complain_about_syntax(struct settings_reader *reader, const json_error_t *error);
static bool read_text(struct settings_reader *reader, struct buffer *text);
static bool find_folder(struct settings_reader *reader);
static void read_object(const struct scope *scope, json_t *object);
static void walk(const struct scope *scope, json_t *object, const char *section);
static void read_key(const struct scope *scope, const char *key, json_t *value);
static bool is_section(const struct settings_table *table, const char *path);
static void refuse_unknown(const struct scope *scope, const char *key);
static void fill_in(const struct scope *scope, const struct settings_field *field);
static bool read_preset(const struct place *place, const char *text);
static char *path_in(const struct scope *scope, const char *key, char path[static PATH_ROOM]);
static bool read_value(const struct place *place, const json_t *value);
static bool read_string(const struct place *place, const json_t *value);
static bool read_file_name(const struct place *place, const json_t *value);
static bool read_bool(const struct place *place, const json_t *value);
static bool read_u32(const struct place *place, const json_t *value);
static bool read_double(const struct place *place, const json_t *value);
static bool read_enum(const struct place *place, const json_t *value);
static bool read_strings(const struct place *place, const json_t *value);
static bool read_endpoints(const struct place *place, const json_t *value);
static bool read_objects(const struct place *place, const json_t *value);
static bool read_item(const struct place *place, json_t *value);
static json_t *spell_out(const struct settings_field *field, json_t *value);
static bool is_list_of_right_length(const struct place *place, const json_t *value);
static bool passes_complaint(const struct place *place, const json_t *value);
static bool keep_string(const struct place *place, char *string);
static bool refuse_kind(const struct place *place, const json_t *value, const char *problem);
static bool refuse(const struct place *place, const json_t *value, const char *what);
static void append_line(struct settings_reader *reader, const char *where, const char *what);
static void append_value(const json_t *value, struct buffer *text);
static void append_printable(struct buffer *text, const char *from, size_t most);
static struct bytes nearest_key(const struct settings_table *table, const char *path);
static struct bytes split_path(struct bytes path, struct bytes *section);
static size_t edit_distance(struct bytes a, struct bytes b);

static bool (*const readers[SETTINGS_TYPE_COUNT])(const struct place *, const json_t *) = {
    [SETTINGS_STRING] = read_string,       [SETTINGS_FILE] = read_file_name,
    [SETTINGS_BOOL] = read_bool,           [SETTINGS_U32] = read_u32,
    [SETTINGS_DOUBLE] = read_double,       [SETTINGS_ENUM] = read_enum,
    [SETTINGS_STRINGS] = read_strings,     [SETTINGS_FILES] = read_strings,
    [SETTINGS_ENDPOINTS] = read_endpoints, [SETTINGS_OBJECTS] = read_objects,
};

struct settings_reader *settings_reader_create(const char *file, const struct settings_table *table,
                                               struct buffer *errors)
{
    struct settings_reader *reader = calloc(1, sizeof(*reader));
    if (reader == NULL) {
        buffer_printf(errors, "%s: %s\n", file, status_text(STATUS_NO_MEMORY));
        return NULL;
    }
    reader->file = file;
    reader->table = table;
    reader->errors = errors;
    reader->origins = calloc(table->count, sizeof(*reader->origins));
    if (reader->origins == NULL)
        append_line(reader, NULL, status_text(STATUS_NO_MEMORY));
    else if (parse(reader) && find_folder(reader))
        return reader;
    settings_reader_free(reader);
    return NULL;
}

void settings_reader_free(struct settings_reader *reader)
{
    if (reader == NULL)
        return;
    json_decref(reader->root);
    free(reader->folder);
    free(reader->origins);
    free(reader);
}

void settings_reader_read(struct settings_reader *reader, void *settings)
{
    read_object(&(struct scope){reader, reader->table, reader->origins, "", settings}, reader->root);
}

void settings_reader_preset(struct settings_reader *reader, const char *path, const char *value,
                            void *settings)
{
    const struct settings_field *field = settings_table_find(reader->table, path);
    enum origin *origin = field == NULL ? NULL : &reader->origins[field - reader->table->fields];
    if (origin == NULL || *origin != NOT_GIVEN)
        return;
    settings_field_release(field, settings);
    if (!read_preset(&(struct place){reader, field, path, (char *)settings + field->offset}, value))
        *origin = WRONG;
}

bool settings_reader_usable(const struct settings_reader *reader, const char *path)
{
    const struct settings_field *field = settings_table_find(reader->table, path);
    if (field == NULL)
        return false;
    enum origin origin = reader->origins[field - reader->table->fields];
    return origin == GIVEN || (origin == NOT_GIVEN && field->preset != NULL);
}

void settings_reader_complain(struct settings_reader *reader, const char *where, const char *format, ...)
{
    char what[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    append_line(reader, where, what);
}

size_t settings_reader_error_count(const struct settings_reader *reader)
{
    return reader->error_count;
}

/* jansson stops at the first syntax error. A key given twice stops it as well; then a second, milder parse
 * lets the rest of the file be judged too. */
static bool parse(struct settings_reader *reader)
{
    struct buffer text;
    buffer_init(&text, SETTINGS_FILE_MAX + 1);
    json_error_t error;
    if (read_text(reader, &text)) {
        const char *at = (const char *)text.at;
        reader->root = json_loadb(at, text.len, JSON_REJECT_DUPLICATES, &error);
        if (reader->root == NULL) {
            bool duplicate = json_error_code(&error) == json_error_duplicate_key;
            complain_about_syntax(reader, &error);
            reader->root = duplicate ? json_loadb(at, text.len, 0, &error) : NULL;
        }
        if (reader->root != NULL && !json_is_object(reader->root)) {
            append_line(reader, NULL, "is not a JSON object; write { \"section\": { \"key\": value } }");
            json_decref(reader->root);
            reader->root = NULL;
        }
    }
    buffer_free(&text);
    return reader->root != NULL;
}

/* What jansson found "near" the error may be a secret; the place is enough. */
static void complain_about_syntax(struct settings_reader *reader, const json_error_t *error)
{
    const char *near = strstr(error->text, " near ");
    int len = near == NULL ? (int)strlen(error->text) : (int)(near - error->text);
    if (json_error_code(error) == json_error_duplicate_key)
        settings_reader_complain(reader, NULL, "line %d, column %d: the key stands here twice; remove one",
                                 error->line, error->column);
    else
        settings_reader_complain(reader, NULL, "line %d, column %d: %.*s; mend the JSON there", error->line,
                                 error->column, len, error->text);
}

static bool read_text(struct settings_reader *reader, struct buffer *text)
{
    const char *why;
    FILE *stream = regular_file_open(reader->file, &why);
    uint8_t *at = stream == NULL ? NULL : buffer_extend(text, SETTINGS_FILE_MAX + 1);
    if (at != NULL)
        text->len = fread(at, 1, SETTINGS_FILE_MAX + 1, stream);

    bool readable = at != NULL && !ferror(stream);
    if (!readable)
        settings_reader_complain(reader, NULL, "cannot be read: %s; name a readable file",
                                 stream == NULL ? why : strerror(errno));
    else if (text->len > SETTINGS_FILE_MAX)
        settings_reader_complain(reader, NULL, "is larger than %d octets; is it the right file?",
                                 SETTINGS_FILE_MAX);
    if (stream != NULL)
        fclose(stream);
    return readable && text->len <= SETTINGS_FILE_MAX;
}

static bool find_folder(struct settings_reader *reader)
{
    const char *slash = strrchr(reader->file, '/');
    char *name = slash == NULL           ? strdup(".")
                 : slash == reader->file ? strdup("/")
                                         : strndup(reader->file, (size_t)(slash - reader->file));
    if (name != NULL)
        reader->folder = realpath(name, NULL);
    if (reader->folder == NULL)
        settings_reader_complain(reader, NULL, "is in a folder that has no path: %s", strerror(errno));
    free(name);
    return reader->folder != NULL;
}

static void read_object(const struct scope *scope, json_t *object)
{
    walk(scope, object, "");
    for (size_t i = 0; i < scope->table->count; i++)
        if (scope->origins[i] == NOT_GIVEN)
            fill_in(scope, &scope->table->fields[i]);
}

/* No deeper than the paths of the table. */
static void walk(const struct scope *scope, json_t *object, const char *section)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        char path[PATH_ROOM];
        struct buffer key;
        buffer_init(&key, strlen(section) + 1 + strlen(name));
        buffer_printf(&key, "%s%s%s", section, *section == '\0' ? "" : ".", name);
        if (strchr(name, '.') != NULL)
            append_line(scope->reader, path_in(scope, buffer_string(&key), path),
                        "no key has a dot; write one object in another: \"section\": { \"key\": value }");
        else
            read_key(scope, buffer_string(&key), value);
        buffer_free(&key);
    }
}

/* key is a path within the scope. */
static void read_key(const struct scope *scope, const char *key, json_t *value)
{
    char path[PATH_ROOM];
    const struct settings_field *field = settings_table_find(scope->table, key);
    path_in(scope, key, path);
    if (field != NULL) {
        struct place place = {scope->reader, field, path, (char *)scope->settings + field->offset};
        scope->origins[field - scope->table->fields] = read_value(&place, value) ? GIVEN : WRONG;
    } else if (!is_section(scope->table, key)) {
        refuse_unknown(scope, key);
    } else if (!json_is_object(value)) {
        append_line(scope->reader, path, "is not an object; write { \"key\": value }");
    } else {
        walk(scope, value, key);
    }
}

static bool is_section(const struct settings_table *table, const char *path)
{
    size_t len = strlen(path);
    for (size_t i = 0; i < table->count; i++)
        if (strncmp(table->fields[i].path, path, len) == 0 && table->fields[i].path[len] == '.')
            return true;
    return false;
}

/* The value is not repeated: it may be a secret. */
static void refuse_unknown(const struct scope *scope, const char *key)
{
    char path[PATH_ROOM];
    struct bytes nearest = nearest_key(scope->table, key);
    path_in(scope, key, path);
    if (nearest.len == 0)
        append_line(scope->reader, path, "unknown key; remove it (docs/configuration.md lists all keys)");
    else
        settings_reader_complain(scope->reader, path, "unknown key; did you mean %.*s?", (int)nearest.len,
                                 (const char *)nearest.at);
}

/* A key that the file does not give. */
static void fill_in(const struct scope *scope, const struct settings_field *field)
{
    char path[PATH_ROOM];
    struct place place = {scope->reader, field, path_in(scope, field->path, path),
                          (char *)scope->settings + field->offset};
    if (field->preset != NULL) {
        if (!read_preset(&place, field->preset)) /* out of memory */
            scope->origins[field - scope->table->fields] = WRONG;
        return;
    }
    if (field->optional)
        return;
    struct buffer accepted;
    buffer_init(&accepted, LINE_MAX);
    settings_field_describe(field, &accepted);
    settings_reader_complain(scope->reader, path, "is missing; give %s", buffer_string(&accepted));
    buffer_free(&accepted);
}

static bool read_preset(const struct place *place, const char *text)
{
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    bool good =
        value != NULL ? read_value(place, value) : refuse(place, NULL, "has no usable default; give a value");
    json_decref(value);
    return good;
}

/* Cut where it is too long to be repeated. */
static char *path_in(const struct scope *scope, const char *key, char path[static PATH_ROOM])
{
    snprintf(path, PATH_ROOM, "%s%s", scope->prefix, key);
    return path;
}

static bool read_value(const struct place *place, const json_t *value)
{
    return readers[place->field->type](place, value);
}

static bool read_string(const struct place *place, const json_t *value)
{
    if (!json_is_string(value))
        return refuse(place, value, "is not a string; give one in double quotes");
    return passes_complaint(place, value) && keep_string(place, strdup(json_string_value(value)));
}

static bool read_file_name(const struct place *place, const json_t *value)
{
    const char *name = json_string_value(value);
    if (name == NULL)
        return refuse(place, value, "is not a string; give one in double quotes");
    if (*name == '\0' && place->field->preset != NULL && strcmp(place->field->preset, "\"\"") == 0)
        return keep_string(place, strdup("")); /* none */
    if (*name == '\0' || strpbrk(name, "\r\n") != NULL)
        return refuse(place, value, "does not name a file; give the name of a file");
    if (!passes_complaint(place, value))
        return false;

    const char *folder = place->reader->folder;
    char *path = NULL;
    if (*name == '/' || strncmp(name, "pkcs11:", strlen("pkcs11:")) == 0) /* a key's URI (RFC 7512) */
        path = strdup(name);
    else if (asprintf(&path, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, name) < 0)
        path = NULL;
    return keep_string(place, path);
}

static bool read_bool(const struct place *place, const json_t *value)
{
    if (!json_is_boolean(value))
        return refuse_kind(place, value, "is not a truth value");
    *(bool *)place->to = json_is_true(value);
    return passes_complaint(place, value);
}

static bool read_u32(const struct place *place, const json_t *value)
{
    const struct settings_field *field = place->field;
    if (json_is_string(value) && field->names != NULL)
        return read_enum(place, value);
    if (!json_is_integer(value))
        return refuse_kind(place, value, "is not a whole number");
    if ((double)json_integer_value(value) < field->min || (double)json_integer_value(value) > field->max)
        return refuse_kind(place, value, "is out of range");
    *(uint32_t *)place->to = (uint32_t)json_integer_value(value);
    return passes_complaint(place, value);
}

static bool read_double(const struct place *place, const json_t *value)
{
    if (!json_is_number(value))
        return refuse_kind(place, value, "is not a number");
    if (json_number_value(value) < place->field->min || json_number_value(value) > place->field->max)
        return refuse_kind(place, value, "is out of range");
    *(double *)place->to = json_number_value(value);
    return passes_complaint(place, value);
}

static bool read_enum(const struct place *place, const json_t *value)
{
    const char *text = json_string_value(value);
    for (const struct settings_name *name = place->field->names; text != NULL && name->name != NULL; name++) {
        if (strcmp(name->name, text) == 0) {
            memcpy(place->to, &name->value, sizeof(name->value));
            return true;
        }
    }
    return refuse_kind(place, value, "is not known here");
}

static bool read_strings(const struct place *place, const json_t *value)
{
    struct settings_strings *strings = place->to;
    if (place->field->or_one && json_is_string(value)) {
        struct place item = {place->reader, place->field, place->path, &strings->items[0]};
        strings->count = read_string(&item, value);
        return strings->count == 1;
    }
    if (!is_list_of_right_length(place, value))
        return false;
    bool good = true;
    for (size_t i = 0; i < json_array_size(value); i++) {
        char path[PATH_ROOM];
        snprintf(path, sizeof(path), "%s[%zu]", place->path, i);
        struct place item = {place->reader, place->field, path, &strings->items[strings->count]};
        bool right = place->field->type == SETTINGS_FILES ? read_file_name(&item, json_array_get(value, i))
                                                          : read_string(&item, json_array_get(value, i));
        strings->count += right;
        good = good && right;
    }
    return good;
}

static bool read_endpoints(const struct place *place, const json_t *value)
{
    if (!is_list_of_right_length(place, value))
        return false;
    struct settings_endpoints *endpoints = place->to;
    bool good = true;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        const char *text = json_string_value(item);
        char path[PATH_ROOM];
        snprintf(path, sizeof(path), "%s[%zu]", place->path, i);
        struct place at = {place->reader, place->field, path, &endpoints->items[endpoints->count]};
        if (text == NULL || endpoint_parse(text, at.to) != STATUS_OK)
            good = refuse(&at, item,
                          "is not a numeric address with port; use \"192.0.2.1:5684\" "
                          "or \"[2001:db8::1]:5684\"");
        else if (passes_complaint(&at, item))
            endpoints->count++;
        else
            good = false;
    }
    return good;
}

static bool read_objects(const struct place *place, const json_t *value)
{
    if (!is_list_of_right_length(place, value))
        return false;
    struct settings_objects *objects = place->to;
    size_t count = json_array_size(value);
    objects->items = calloc(count > 0 ? count : 1, place->field->item_size);
    if (objects->items == NULL)
        return refuse(place, NULL, status_text(STATUS_NO_MEMORY));
    bool good = true;
    for (; objects->count < count; objects->count++) {
        char path[PATH_ROOM];
        snprintf(path, sizeof(path), "%s[%zu]", place->path, objects->count);
        struct place item = {place->reader, place->field, path,
                             (char *)objects->items + objects->count * place->field->item_size};
        json_t *object = spell_out(place->field, json_array_get(value, objects->count));
        good = read_item(&item, object) && good;
        json_decref(object);
    }
    return good;
}

/* The object that a shorthand stands for. Gives a reference. */
static json_t *spell_out(const struct settings_field *field, json_t *value)
{
    if (field->shorthand != NULL && json_is_string(value))
        return json_pack("{s:O}", field->shorthand, value);
    return json_incref(value);
}

static bool read_item(const struct place *place, json_t *value)
{
    const struct settings_table *table = place->field->items;
    char prefix[PATH_ROOM + 1]; /* and the point */
    if (!json_is_object(value))
        return refuse(place, value, "is not an object; write { \"key\": value }");
    snprintf(prefix, sizeof(prefix), "%s.", place->path);
    struct scope scope = {place->reader, table, calloc(table->count, sizeof(enum origin)), prefix, place->to};
    if (scope.origins == NULL)
        return refuse(place, NULL, status_text(STATUS_NO_MEMORY));
    size_t errors = place->reader->error_count;
    read_object(&scope, value);
    free(scope.origins);
    return place->reader->error_count == errors;
}

static bool is_list_of_right_length(const struct place *place, const json_t *value)
{
    if (!json_is_array(value))
        return refuse_kind(place, value, "is not a list");
    double count = (double)json_array_size(value);
    if (count < place->field->min)
        return refuse_kind(place, value, "is too short");
    if (count > place->field->max)
        return refuse_kind(place, value, "is too long");
    return true;
}

static bool passes_complaint(const struct place *place, const json_t *value)
{
    const char *complaint = place->field->complaint == NULL ? NULL : place->field->complaint(value);
    return complaint == NULL || refuse(place, value, complaint);
}

/* Takes string. */
static bool keep_string(const struct place *place, char *string)
{
    if (string == NULL)
        return refuse(place, NULL, status_text(STATUS_NO_MEMORY));
    *(char **)place->to = string;
    return true;
}

/* Always false: refuses, and tells what the field accepts. value is NULL where there is none to repeat. */
static bool refuse_kind(const struct place *place, const json_t *value, const char *problem)
{
    struct buffer what;
    buffer_init(&what, LINE_MAX);
    buffer_printf(&what, "%s; use ", problem);
    settings_field_describe(place->field, &what);
    refuse(place, value, buffer_string(&what));
    buffer_free(&what);
    return false;
}

/* Always false. what names problem and cure. */
static bool refuse(const struct place *place, const json_t *value, const char *what)
{
    struct buffer text;
    buffer_init(&text, LINE_MAX);
    if (value != NULL) {
        append_value(value, &text);
        buffer_append_byte(&text, ' ');
    }
    buffer_append_string(&text, what);
    append_line(place->reader, place->path, buffer_string(&text));
    buffer_free(&text);
    return false;
}

/* where is NULL for the whole file. Never lets the errors overflow: what was said stays readable. */
static void append_line(struct settings_reader *reader, const char *where, const char *what)
{
    struct buffer line;
    buffer_init(&line, LINE_MAX);
    if (++reader->error_count == SETTINGS_ERRORS_MAX)
        what = "has more mistakes; mend those above first";
    append_printable(&line, reader->file, FILE_TEXT_MAX);
    if (where != NULL && reader->error_count < SETTINGS_ERRORS_MAX) {
        buffer_append_string(&line, ": ");
        append_printable(&line, where, PATH_TEXT_MAX);
    }
    buffer_printf(&line, ": %s\n", what);
    if (reader->error_count <= SETTINGS_ERRORS_MAX && line.status == STATUS_OK &&
        line.len <= reader->errors->limit - reader->errors->len)
        buffer_append(reader->errors, buffer_view(&line));
    buffer_free(&line);
}

/* Repeats no more of a value than it takes to find it: what stands before an @ may be a password, what has
 * line ends may be a key. */
static void append_value(const json_t *value, struct buffer *text)
{
    if (json_is_array(value) || json_is_object(value)) {
        buffer_append_string(text, json_is_array(value) ? "a list" : "an object");
        return;
    }
    if (!json_is_string(value)) {
        char *literal = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
        buffer_append_string(text, literal);
        free(literal);
        return;
    }
    const char *string = json_string_value(value);
    const char *at = strrchr(string, '@');
    buffer_append_string(text, at == NULL ? "\"" : "\"…");
    append_printable(text, at == NULL ? string : at, VALUE_TEXT_MAX);
    buffer_append_byte(text, '"');
}

/* At most so many octets, never half a character, and nothing from the first control character on. */
static void append_printable(struct buffer *text, const char *from, size_t most)
{
    size_t len = 0;
    while (len < most && (unsigned char)from[len] >= 0x20 && from[len] != 0x7f)
        len++;
    bool cut = from[len] != '\0';
    while (cut && len > 0 && (from[len] & 0xc0) == 0x80)
        len--;
    buffer_append(text, (struct bytes){(const uint8_t *)from, len});
    if (cut)
        buffer_append_string(text, "…");
}

/* The key or section that was perhaps meant, or nothing. */
static struct bytes nearest_key(const struct settings_table *table, const char *path)
{
    struct bytes sought_section, sought = split_path(bytes_from_string(path), &sought_section);
    struct bytes nearest = {NULL, 0};
    size_t nearest_distance = 2 + sought.len / 4;
    if (sought.len > KEY_MAX)
        return nearest;
    for (size_t i = 0; i < table->count; i++) {
        struct bytes whole = bytes_from_string(table->fields[i].path), section;
        struct bytes key = split_path(whole, &section);
        size_t distance = edit_distance(sought, key) + !bytes_equal(sought_section, section);
        if (distance < nearest_distance) {
            nearest_distance = distance;
            nearest = whole;
        }
        if (sought_section.len == 0 && edit_distance(sought, section) < nearest_distance) {
            nearest_distance = edit_distance(sought, section);
            nearest = section;
        }
    }
    return nearest;
}

/* "handshake_mtu" of "dtls.handshake_mtu", with "dtls" in section. */
static struct bytes split_path(struct bytes path, struct bytes *section)
{
    const uint8_t *dot = memrchr(path.at, '.', path.len);
    *section = bytes_slice(path, 0, dot == NULL ? 0 : (size_t)(dot - path.at));
    return dot == NULL ? path : bytes_slice(path, section->len + 1, path.len);
}

/* Levenshtein's: how many octets to insert, remove or exchange. a is at most KEY_MAX octets long. */
static size_t edit_distance(struct bytes a, struct bytes b)
{
    size_t row[KEY_MAX + 1];
    for (size_t i = 0; i <= a.len; i++)
        row[i] = i;
    for (size_t j = 1; j <= b.len; j++) {
        size_t diagonal = row[0];
        row[0] = j;
        for (size_t i = 1; i <= a.len; i++) {
            size_t exchanged = diagonal + (a.at[i - 1] != b.at[j - 1]);
            size_t shorter = row[i] < row[i - 1] ? row[i] + 1 : row[i - 1] + 1;
            diagonal = row[i];
            row[i] = exchanged < shorter ? exchanged : shorter;
        }
    }
    return row[a.len];
}
