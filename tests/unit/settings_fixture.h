/* What the tests of every program's settings share: a file that says what a case wants, and what it led to.
 * Include the program's settings.h and cmocka first. */
#ifndef ESTUARY_TESTS_UNIT_SETTINGS_FIXTURE_H
#define ESTUARY_TESTS_UNIT_SETTINGS_FIXTURE_H

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SOURCE_FOLDER VECTORS "/../.."
#define TEXT_MAX      65536

struct fixture {
    char file[64];
    struct buffer errors, warnings;
    struct settings *settings;
};

static inline int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    strcpy(fixture->file, "/tmp/settings-XXXXXX");
    int fd = mkstemp(fixture->file);
    buffer_init(&fixture->errors, TEXT_MAX);
    buffer_init(&fixture->warnings, TEXT_MAX);
    *state = fixture;
    return fd < 0 ? -1 : close(fd);
}

static inline int tear_down(void **state)
{
    struct fixture *fixture = *state;
    unlink(fixture->file);
    settings_free(fixture->settings);
    buffer_free(&fixture->errors);
    buffer_free(&fixture->warnings);
    free(fixture);
    return 0;
}

static inline bool read_text(struct fixture *fixture, const char *text)
{
    FILE *stream = fopen(fixture->file, "w");
    assert_non_null(stream);
    assert_true(fputs(text, stream) >= 0);
    fclose(stream);
    settings_free(fixture->settings);
    buffer_reset(&fixture->errors);
    buffer_reset(&fixture->warnings);
    fixture->settings = settings_read(fixture->file, &fixture->errors, &fixture->warnings);
    assert_int_equal(fixture->settings == NULL, fixture->errors.len > 0);
    return fixture->settings != NULL;
}

/* Gives the file's text. */
static inline char *text_of(const char *file)
{
    FILE *stream = fopen(file, "r");
    assert_non_null(stream);
    char *text = calloc(1, TEXT_MAX);
    assert_non_null(text);
    size_t len = fread(text, 1, TEXT_MAX - 1, stream);
    assert_in_range(len, 1, TEXT_MAX - 2);
    fclose(stream);
    return text;
}

/* The page holds what --print-reference prints. On failure: write that between the two marks. */
static inline void assert_described_in(const char *page)
{
    struct buffer reference;
    buffer_init(&reference, TEXT_MAX);
    buffer_append_string(&reference, "<!-- reference: begin -->\n");
    settings_reference(&reference);
    buffer_append_string(&reference, "<!-- reference: end -->\n");
    char *text = text_of(page);
    if (strstr(text, buffer_string(&reference)) == NULL)
        fail_msg("%s does not hold\n%s", page, buffer_string(&reference));
    free(text);
    buffer_free(&reference);
}

/* The example holds every key, at its default where it has one: it prints as itself, apart from the folder
 * that file names are resolved against; and there is nothing to warn of. */
static inline void assert_complete(struct fixture *fixture, const char *folder_name, const char *example)
{
    char *folder = realpath(folder_name, NULL);
    assert_non_null(folder);
    struct buffer printed, plain;
    buffer_init(&printed, TEXT_MAX);
    buffer_init(&plain, TEXT_MAX);
    buffer_printf(&plain, "%s/%s", folder, example);
    fixture->settings = settings_read(buffer_string(&plain), &fixture->errors, &fixture->warnings);
    json_t *shown = json_load_file(buffer_string(&plain), 0, NULL);
    buffer_reset(&plain);
    assert_string_equal(buffer_string(&fixture->errors), "");
    assert_string_equal(buffer_string(&fixture->warnings), "");

    settings_print(fixture->settings, &printed);
    const char *at = buffer_string(&printed);
    for (const char *next; (next = strstr(at, folder)) != NULL; at = next + strlen(folder) + 1)
        buffer_append(&plain, (struct bytes){(const uint8_t *)at, (size_t)(next - at)});
    buffer_append_string(&plain, at);
    json_t *effective = json_loads(buffer_string(&plain), 0, NULL);
    assert_non_null(shown);
    assert_true(json_equal(shown, effective));
    json_decref(shown);
    json_decref(effective);
    free(folder);
    buffer_free(&plain);
    buffer_free(&printed);
}

/* Each key of object in turn, and of the objects in it, is of no kind that it could be: that is refused,
 * whatever else the file, of which root is the whole, says. */
static inline void assert_no_kind_fits(struct fixture *fixture, json_t *root, json_t *object)
{
    const char *key;
    json_t *value;
    void *next;
    json_object_foreach_safe(object, next, key, value)
    {
        if (json_is_object(value)) {
            assert_no_kind_fits(fixture, root, value);
            continue;
        }
        json_incref(value);
        json_object_set_new(object, key, json_null());
        char *text = json_dumps(root, 0);
        if (read_text(fixture, text) || strstr(buffer_string(&fixture->errors), key) == NULL)
            fail_msg("%s may be null", key);
        free(text);
        json_object_set_new(object, key, value);
    }
}

/* Lists and strings of object, and of the objects in it, become empty. */
static inline void make_empty(json_t *object)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (json_is_object(value))
            make_empty(value);
        if (json_is_array(value))
            json_array_clear(value);
        if (json_is_string(value))
            json_string_set(value, "");
    }
}

/* As it is, and with all that can be empty: no review of several keys looks at one that was refused. */
static inline void assert_wrong_kinds_are_refused(struct fixture *fixture, const char *file)
{
    json_t *root = json_load_file(file, 0, NULL);
    assert_non_null(root);
    assert_no_kind_fits(fixture, root, root);
    make_empty(root);
    assert_no_kind_fits(fixture, root, root);
    json_decref(root);
}

#endif
