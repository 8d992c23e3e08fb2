#include "common/settings_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum colour { RED, GREEN };

struct sample {
    char *name, *key_file;
    bool on;
    uint32_t count, threads;
    double factor;
    enum colour colour;
    struct settings_strings words, files;
    struct settings_endpoints listen;
    struct settings_objects rules;
};

struct rule {
    char *name;
    struct settings_strings only;
    uint32_t weight;
};

static const char *complaint_about_word(const json_t *value)
{
    return strcmp(json_string_value(value), "bad") == 0 ? "is a bad word; use a good one" : NULL;
}

static const struct settings_name colours[] = {{"red", RED}, {"green", GREEN}, {NULL, 0}};
static const struct settings_name automatic[] = {{"auto", 0}, {NULL, 0}};

#define OF_RULE(member) .offset = offsetof(struct rule, member)
static const struct settings_field rule_fields[] = {
    {"name", SETTINGS_STRING, OF_RULE(name), .preset = NULL, .rows = "X-4", .doc = "its name"},
    {"match.only", SETTINGS_STRINGS, OF_RULE(only), .min = 1, .max = 2, .or_one = true, .optional = true,
     .complaint = complaint_about_word, .rows = "", .doc = "these"},
    {"match.weight", SETTINGS_U32, OF_RULE(weight), .max = 9, .preset = "3", .rows = "", .doc = ""},
};
static const struct settings_table rule_table = {rule_fields, sizeof(rule_fields) / sizeof(rule_fields[0])};

#define AT(member) .offset = offsetof(struct sample, member)
static const struct settings_field fields[] = {
    {"main.name", SETTINGS_STRING, AT(name), .preset = "\"estuary\"", .rows = "X-1", .doc = "the name"},
    {"main.key_file", SETTINGS_FILE, AT(key_file), .preset = NULL, .rows = "X-2", .doc = "the key"},
    {"main.on", SETTINGS_BOOL, AT(on), .preset = "true", .rows = "", .doc = ""},
    {"limits.count", SETTINGS_U32, AT(count), .min = 2, .max = 4294967295, .preset = "7", .rows = "",
     .doc = "", .reloadable = true},
    {"limits.factor", SETTINGS_DOUBLE, AT(factor), .min = 1, .max = 3, .preset = "1.5", .rows = "",
     .doc = ""},
    {"limits.colour", SETTINGS_ENUM, AT(colour), .names = colours, .preset = "\"green\"", .rows = "",
     .doc = ""},
    {"lists.words", SETTINGS_STRINGS, AT(words), .max = 3, .complaint = complaint_about_word,
     .preset = "[\"a\"]", .rows = "", .doc = ""},
    {"lists.files", SETTINGS_FILES, AT(files), .max = 64, .preset = "[]", .rows = "", .doc = ""},
    {"lists.listen", SETTINGS_ENDPOINTS, AT(listen), .min = 1, .max = 8, .preset = "[\"[::]:5684\"]",
     .rows = "", .doc = ""},
    {"lists.rules", SETTINGS_OBJECTS, AT(rules), .max = 3, .items = &rule_table,
     .item_size = sizeof(struct rule), .shorthand = "name", .preset = "[]", .rows = "X-3", .doc = "rules",
     .reloadable = true},
    {"threads", SETTINGS_U32, AT(threads), .min = 1, .max = 64, .names = automatic, .preset = "1", .rows = "",
     .doc = ""},
};
static const struct settings_table table = {fields, sizeof(fields) / sizeof(fields[0])};

/* One test's files and results. */
struct fixture {
    char folder[64], file[80];
    struct buffer errors;
    struct sample sample;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    strcpy(fixture->folder, "/tmp/settings-reader-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    snprintf(fixture->file, sizeof(fixture->file), "%s/f.json", fixture->folder);
    buffer_init(&fixture->errors, 65536);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    unlink(fixture->file);
    rmdir(fixture->folder);
    settings_table_release(&table, &fixture->sample);
    buffer_free(&fixture->errors);
    free(fixture);
    return 0;
}

static void write_file(const struct fixture *fixture, const void *text, size_t len)
{
    FILE *stream = fopen(fixture->file, "w");
    assert_non_null(stream);
    assert_int_equal(fwrite(text, 1, len, stream), len);
    fclose(stream);
}

/* How many errors the text makes. Start anew every time. */
static size_t read_text(struct fixture *fixture, const char *text)
{
    settings_table_release(&table, &fixture->sample);
    buffer_reset(&fixture->errors);
    write_file(fixture, text, strlen(text));
    struct settings_reader *reader = settings_reader_create(fixture->file, &table, &fixture->errors);
    if (reader == NULL)
        return SIZE_MAX;
    settings_reader_read(reader, &fixture->sample);
    size_t errors = settings_reader_error_count(reader);
    settings_reader_free(reader);
    return errors;
}

/* Whether the errors have the line "FILE" + rest. */
static bool has_line(struct fixture *fixture, const char *rest)
{
    char line[512];
    snprintf(line, sizeof(line), "%s%s\n", fixture->file, rest);
    const char *at = strstr(buffer_string(&fixture->errors), line);
    return at != NULL && (at == buffer_string(&fixture->errors) || at[-1] == '\n');
}

#define assert_line(fixture, rest)                                                                           \
    do {                                                                                                     \
        if (!has_line(fixture, rest))                                                                        \
            fail_msg("no line \"%s\" in:\n%s", rest, buffer_string(&(fixture)->errors));                     \
    } while (0)

static size_t count_lines(struct fixture *fixture)
{
    size_t count = 0;
    for (const char *at = buffer_string(&fixture->errors); (at = strchr(at, '\n')) != NULL; at++)
        count++;
    return count;
}

static void gives_the_default_of_every_key_that_is_not_there(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(read_text(fixture, "{\"main\": {\"key_file\": \"/k.pem\"}}"), 0);
    const struct sample *sample = &fixture->sample;
    assert_string_equal(sample->name, "estuary");
    assert_string_equal(sample->key_file, "/k.pem");
    assert_true(sample->on);
    assert_int_equal(sample->count, 7);
    assert_true(sample->factor > 1.49 && sample->factor < 1.51);
    assert_int_equal(sample->colour, GREEN);
    assert_int_equal(sample->words.count, 1);
    assert_string_equal(sample->words.items[0], "a");
    assert_int_equal(sample->files.count, 0);
    assert_int_equal(sample->listen.count, 1);
    assert_int_equal(endpoint_port(&sample->listen.items[0]), 5684);
    assert_int_equal(sample->threads, 1);
}

static void reads_every_type(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(read_text(fixture,
                               "{\"main\": {\"name\": \"x\", \"key_file\": \"k.pem\", \"on\": false},"
                               " \"limits\": {\"count\": 4294967295, \"factor\": 2, \"colour\": \"red\"},"
                               " \"lists\": {\"words\": [\"p\", \"q\"], \"files\": [\"a.pem\", \"/b.pem\"],"
                               "  \"listen\": [\"127.0.0.1:1\", \"[::1]:2\"]}, \"threads\": \"auto\"}"),
                     0);
    const struct sample *sample = &fixture->sample;
    assert_string_equal(sample->name, "x");
    assert_false(sample->on);
    assert_int_equal(sample->count, UINT32_MAX);
    assert_true(sample->factor > 1.99 && sample->factor < 2.01);
    assert_int_equal(sample->colour, RED);
    assert_int_equal(sample->words.count, 2);
    assert_string_equal(sample->words.items[1], "q");
    assert_int_equal(endpoint_port(&sample->listen.items[1]), 2);
    assert_int_equal(sample->threads, 0);
}

static void reads_lists_of_objects(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(read_text(fixture, "{\"main\": {\"key_file\": \"k\"}, \"lists\": {\"rules\": [\"short\","
                                        " {\"name\": \"a\", \"match\": {\"only\": \"x\", \"weight\": 9}},"
                                        " {\"match\": {\"only\": [\"y\", \"z\"]}, \"name\": \"b\"}]}}"),
                     0);
    const struct rule *rules = fixture->sample.rules.items;
    assert_int_equal(fixture->sample.rules.count, 3);
    assert_string_equal(rules[0].name, "short");
    assert_int_equal(rules[0].only.count, 0);
    assert_int_equal(rules[0].weight, 3);
    assert_int_equal(rules[1].only.count, 1);
    assert_string_equal(rules[1].only.items[0], "x");
    assert_int_equal(rules[1].weight, 9);
    assert_int_equal(rules[2].only.count, 2);
    assert_string_equal(rules[2].only.items[1], "z");
}

static void names_the_place_of_a_mistake_in_a_list_of_objects(void **state)
{
    struct fixture *fixture = *state;
    size_t errors =
        read_text(fixture, "{\"main\": {\"key_file\": \"k\"}, \"lists\": {\"rules\": [5,"
                           " {\"name\": 7, \"match\": {\"only\": [], \"weigth\": 1, \"weight\": 10}},"
                           " {\"mach\": 1, \"match\": {\"only\": [\"ok\", \"bad\"]}}]}}");
    static const char *const lines[] = {
        ": lists.rules[0]: 5 is not an object; write { \"key\": value }",
        ": lists.rules[1].name: 7 is not a string; give one in double quotes",
        ": lists.rules[1].match.only: a list is too short; use a string or a list of 1 to 2 strings",
        ": lists.rules[1].match.weigth: unknown key; did you mean match.weight?",
        ": lists.rules[1].match.weight: 10 is out of range; use 0 to 9",
        ": lists.rules[2].mach: unknown key; did you mean match?",
        ": lists.rules[2].match.only[1]: \"bad\" is a bad word; use a good one",
        ": lists.rules[2].name: is missing; give a string",
    };
    assert_int_equal(errors, 8);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_line(fixture, lines[i]);
    read_text(fixture, "{\"lists\": {\"rules\": [\"a\", \"b\", \"c\", \"d\"]}}");
    assert_line(fixture,
                ": lists.rules: a list is too long; use a list of at most 3 objects or strings, each for "
                "an object with that `name`");
    read_text(fixture, "{\"lists\": {\"rules\": {\"name\": \"a\"}}}");
    assert_line(fixture,
                ": lists.rules: an object is not a list; use a list of at most 3 objects or strings, each "
                "for an object with that `name`");
}

static void prints_and_describes_lists_of_objects(void **state)
{
    struct fixture *fixture = *state;
    struct buffer text;
    buffer_init(&text, 65536);
    assert_int_equal(read_text(fixture,
                               "{\"main\": {\"key_file\": \"/k\"}, \"lists\": {\"rules\": [\"short\","
                               " {\"name\": \"a\", \"match\": {\"only\": [\"x\"]}}]}}"),
                     0);
    settings_table_print(&table, &fixture->sample, &text);
    assert_int_equal(read_text(fixture, buffer_string(&text)), 0);
    const struct rule *rules = fixture->sample.rules.items;
    assert_int_equal(fixture->sample.rules.count, 2);
    assert_string_equal(rules[0].name, "short");
    assert_int_equal(rules[0].only.count, 0);
    assert_string_equal(rules[1].only.items[0], "x");

    buffer_reset(&text);
    settings_table_reference(&table, &text);
    assert_non_null(strstr(buffer_string(&text),
                           "| `lists.rules[].name` | a string | must be given | its name | X-4 |\n"));
    assert_non_null(
        strstr(buffer_string(&text),
               "| `lists.rules[].match.only` | a string or a list of 1 to 2 strings | none | these |  |\n"));
    buffer_free(&text);
}

static void resolves_file_names_against_the_folder_of_the_file(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(
        read_text(fixture,
                  "{\"main\": {\"key_file\": \"k.pem\"}, \"lists\": {\"files\": [\"a.pem\", \"/b.pem\"]}}"),
        0);
    char expected[128];
    snprintf(expected, sizeof(expected), "%s/k.pem", fixture->folder);
    assert_string_equal(fixture->sample.key_file, expected);
    snprintf(expected, sizeof(expected), "%s/a.pem", fixture->folder);
    assert_string_equal(fixture->sample.files.items[0], expected);
    assert_string_equal(fixture->sample.files.items[1], "/b.pem");
}

static void resolves_file_names_to_absolute_ones_when_the_file_is_named_relatively(void **state)
{
    struct fixture *fixture = *state;
    static const char text[] = "{\"main\": {\"key_file\": \"k.pem\"}}";
    write_file(fixture, text, sizeof(text) - 1);
    char before[4096], expected[128];
    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(fixture->folder), 0);
    struct settings_reader *reader = settings_reader_create("f.json", &table, &fixture->errors);
    assert_int_equal(chdir(before), 0);
    assert_non_null(reader);
    settings_reader_read(reader, &fixture->sample);
    settings_reader_free(reader);
    snprintf(expected, sizeof(expected), "%s/k.pem", fixture->folder);
    assert_string_equal(fixture->sample.key_file, expected);
}

static void reports_all_mistakes_at_once_each_with_path_value_and_cure(void **state)
{
    struct fixture *fixture = *state;
    size_t errors = read_text(
        fixture,
        "{\"main\": {\"name\": 5, \"key_file\": \"\", \"on\": 1},"
        " \"limits\": {\"count\": \"7\", \"factor\": 3.5, \"colour\": \"blue\"},"
        " \"lists\": {\"words\": [\"ok\", \"bad\", 7], \"files\": \"a.pem\", \"listen\": [\"localhost:1\"]},"
        " \"threads\": 65}");
    static const char *const lines[] = {
        ": main.name: 5 is not a string; give one in double quotes",
        ": main.key_file: \"\" does not name a file; give the name of a file",
        ": main.on: 1 is not a truth value; use true or false",
        ": limits.count: \"7\" is not a whole number; use 2 to 4294967295",
        ": limits.factor: 3.5 is out of range; use 1 to 3",
        ": limits.colour: \"blue\" is not known here; use \"red\" or \"green\"",
        ": lists.words[1]: \"bad\" is a bad word; use a good one",
        ": lists.words[2]: 7 is not a string; give one in double quotes",
        ": lists.files: \"a.pem\" is not a list; use a list of at most 64 file names",
        (": lists.listen[0]: \"localhost:1\" is not a numeric address with port; "
         "use \"192.0.2.1:5684\" or \"[2001:db8::1]:5684\""),
        ": threads: 65 is out of range; use 1 to 64 or \"auto\"",
    };
    assert_int_equal(errors, 11);
    assert_int_equal(count_lines(fixture), 11);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_line(fixture, lines[i]);
}

static void holds_the_bounds_of_numbers_and_lists(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *text, *line;
    } cases[] = {
        {"{\"limits\": {\"count\": 1}}", ": limits.count: 1 is out of range; use 2 to 4294967295"},
        {"{\"limits\": {\"count\": -7}}", ": limits.count: -7 is out of range; use 2 to 4294967295"},
        {"{\"limits\": {\"count\": 4294967296}}",
         ": limits.count: 4294967296 is out of range; use 2 to 4294967295"},
        {"{\"limits\": {\"count\": 7.0}}", ": limits.count: 7.0 is not a whole number; use 2 to 4294967295"},
        {"{\"limits\": {\"count\": null}}",
         ": limits.count: null is not a whole number; use 2 to 4294967295"},
        {"{\"limits\": {\"factor\": 0.99}}", ": limits.factor: 0.99 is out of range; use 1 to 3"},
        {"{\"threads\": \"many\"}", ": threads: \"many\" is not known here; use 1 to 64 or \"auto\""},
        {"{\"threads\": [1]}", ": threads: a list is not a whole number; use 1 to 64 or \"auto\""},
        {"{\"lists\": {\"listen\": []}}",
         ": lists.listen: a list is too short; use a list of 1 to 8 addresses with port"},
        {"{\"lists\": {\"words\": [\"a\",\"b\",\"c\",\"d\"]}}",
         ": lists.words: a list is too long; use a list of at most 3 strings"},
        {"{\"limits\": 7}", ": limits: is not an object; write { \"key\": value }"},
        {"{}", ": main.key_file: is missing; give a file name"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        read_text(fixture, cases[i].text);
        assert_line(fixture, cases[i].line);
    }
}

static void suggests_the_key_that_was_meant(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *text, *line;
    } cases[] = {
        {"{\"limits\": {\"cuont\": 1}}", ": limits.cuont: unknown key; did you mean limits.count?"},
        {"{\"main\": {\"keyfile\": 1}}", ": main.keyfile: unknown key; did you mean main.key_file?"},
        {"{\"main\": {\"colour\": 1}}", ": main.colour: unknown key; did you mean limits.colour?"},
        {"{\"colour\": 1}", ": colour: unknown key; did you mean limits.colour?"},
        {"{\"limit\": {}}", ": limit: unknown key; did you mean limits?"},
        {"{\"thread\": 1}", ": thread: unknown key; did you mean threads?"},
        {"{\"nothing_like_it\": 1}",
         ": nothing_like_it: unknown key; remove it (docs/configuration.md lists all keys)"},
        {"{\"\": 1}", ": : unknown key; remove it (docs/configuration.md lists all keys)"},
        {"{\"limits.count\": 3}",
         ": limits.count: no key has a dot; write one object in another: \"section\": { \"key\": value }"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        read_text(fixture, cases[i].text);
        assert_line(fixture, cases[i].line);
    }
}

/* SEC-2 */
static void repeats_no_secret(void **state)
{
    struct fixture *fixture = *state;
    static const char *const texts[] = {
        "{\"main\": {\"password\": \"hunter2\"}}",
        "{\"lists\": {\"listen\": [\"ra:hunter2@est.example.com\"]}}",
        "{\"limits\": {\"count\": \"-----BEGIN PRIVATE KEY-----\\nhunter2\"}}",
        "{\"main\": {\"key_file\": \"-----BEGIN PRIVATE KEY-----\\nhunter2\"}}",
        "{\"main\": {\"name\": {\"password\": \"hunter2\"}}}",
        "{\"main\": {\"name\": \"x\" \"hunter2\"}}",
        "{\"main\": {\"name\": hunter2}}",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_not_equal(read_text(fixture, texts[i]), 0);
        if (strstr(buffer_string(&fixture->errors), "hunter2") != NULL)
            fail_msg("repeats a secret: %s", buffer_string(&fixture->errors));
    }
    read_text(fixture, texts[1]);
    assert_line(fixture, ": lists.listen[0]: \"…@est.example.com\" is not a numeric address with port; "
                         "use \"192.0.2.1:5684\" or \"[2001:db8::1]:5684\"");
}

static void keeps_a_mistake_on_one_short_line(void **state)
{
    struct fixture *fixture = *state;
    read_text(fixture, "{\"limits\": {\"colour\": \"a\\u001b[2Jb\\nc\"}}");
    assert_line(fixture, ": limits.colour: \"a…\" is not known here; use \"red\" or \"green\"");
    read_text(fixture, "{\"a\\nb\": 1}");
    assert_line(fixture, ": a…: unknown key; remove it (docs/configuration.md lists all keys)");

    char text[4096] = "{\"limits\": {\"colour\": \"";
    for (int i = 0; i < 1000; i++) /* 2 octets each: the cut must not halve one */
        strcat(text, "é");
    strcat(text, "x\"}}");
    read_text(fixture, text);
    const char *dots = strstr(buffer_string(&fixture->errors), "é…\" is not known here");
    assert_non_null(dots);
}

static void names_the_place_of_a_syntax_error(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(read_text(fixture, "{\n  \"main\": }\n"), SIZE_MAX);
    assert_line(fixture, ": line 2, column 11: unexpected token; mend the JSON there");
    assert_int_equal(read_text(fixture, ""), SIZE_MAX);
    assert_int_equal(count_lines(fixture), 1);
    assert_int_equal(read_text(fixture, "[1]"), SIZE_MAX);
    assert_line(fixture, ": is not a JSON object; write { \"section\": { \"key\": value } }");
    assert_int_equal(read_text(fixture, "{} trailing"), SIZE_MAX);
    assert_int_equal(count_lines(fixture), 1);
    assert_int_equal(read_text(fixture, "{\"main\": {\"name\": \"\xff\"}}"), SIZE_MAX);
    assert_int_equal(count_lines(fixture), 1);
}

static void refuses_a_key_given_twice_and_judges_the_rest(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(
        read_text(fixture, "{\"main\": {\"key_file\": \"k\", \"on\": true, \"on\": false}, \"threads\": 0}"),
        2);
    assert_line(fixture, ": line 1, column 43: the key stands here twice; remove one");
    assert_line(fixture, ": threads: 0 is out of range; use 1 to 64 or \"auto\"");
}

static void refuses_a_file_that_is_not_there_or_too_large(void **state)
{
    struct fixture *fixture = *state;
    assert_null(settings_reader_create(fixture->file, &table, &fixture->errors));
    assert_line(fixture, ": cannot be read: No such file or directory; name a readable file");
    buffer_reset(&fixture->errors);
    assert_null(settings_reader_create(fixture->folder, &table, &fixture->errors));
    assert_non_null(strstr(buffer_string(&fixture->errors), "Is a directory"));

    size_t len = SETTINGS_FILE_MAX + 1;
    char *text = malloc(len);
    assert_non_null(text);
    memset(text, ' ', len);
    memcpy(text, "{\"main\": {\"key_file\": \"k\"}}", 27);
    write_file(fixture, text, len);
    buffer_reset(&fixture->errors);
    assert_null(settings_reader_create(fixture->file, &table, &fixture->errors));
    assert_line(fixture, ": is larger than 1048576 octets; is it the right file?");

    write_file(fixture, text, SETTINGS_FILE_MAX);
    struct settings_reader *reader = settings_reader_create(fixture->file, &table, &fixture->errors);
    assert_non_null(reader);
    settings_reader_free(reader);
    free(text);
}

static void bounds_the_errors(void **state)
{
    struct fixture *fixture = *state;
    char text[8192] = "{\"main\": {\"key_file\": \"k\"}";
    for (int i = 0; i < 300; i++) {
        char key[32];
        snprintf(key, sizeof(key), ",\"unknown key %d\":0", i);
        strcat(text, key);
    }
    strcat(text, "}");
    assert_int_equal(read_text(fixture, text), 300);
    assert_int_equal(count_lines(fixture), SETTINGS_ERRORS_MAX);
    assert_line(fixture, ": has more mistakes; mend those above first");

    buffer_free(&fixture->errors);
    buffer_init(&fixture->errors, 300); /* what fits stays readable */
    assert_int_equal(read_text(fixture, text), 300);
    assert_int_equal(fixture->errors.status, STATUS_OK);
    assert_true(count_lines(fixture) > 0);
}

static void presets_only_what_the_file_does_not_give(void **state)
{
    struct fixture *fixture = *state;
    static const char text[] = "{\"main\": {\"key_file\": \"k\", \"name\": \"mine\"}}";
    write_file(fixture, text, sizeof(text) - 1);
    struct settings_reader *reader = settings_reader_create(fixture->file, &table, &fixture->errors);
    assert_non_null(reader);
    settings_reader_read(reader, &fixture->sample);
    settings_reader_preset(reader, "main.name", "\"profile\"", &fixture->sample);
    settings_reader_preset(reader, "limits.count", "9", &fixture->sample);
    settings_reader_preset(reader, "lists.words", "[\"p\", \"q\"]", &fixture->sample);
    assert_int_equal(settings_reader_error_count(reader), 0);
    settings_reader_free(reader);
    assert_string_equal(fixture->sample.name, "mine");
    assert_int_equal(fixture->sample.count, 9);
    assert_int_equal(fixture->sample.words.count, 2);
}

static void knows_which_keys_are_usable(void **state)
{
    struct fixture *fixture = *state;
    static const char text[] = "{\"limits\": {\"count\": 1, \"factor\": 2}}";
    write_file(fixture, text, sizeof(text) - 1);
    struct settings_reader *reader = settings_reader_create(fixture->file, &table, &fixture->errors);
    assert_non_null(reader);
    settings_reader_read(reader, &fixture->sample);
    assert_false(settings_reader_usable(reader, "limits.count"));
    assert_true(settings_reader_usable(reader, "limits.factor"));
    assert_true(settings_reader_usable(reader, "limits.colour"));
    assert_false(settings_reader_usable(reader, "main.key_file"));
    assert_false(settings_reader_usable(reader, "no.such"));
    settings_reader_preset(reader, "limits.colour", "\"mauve\"", &fixture->sample); /* as without memory */
    assert_false(settings_reader_usable(reader, "limits.colour"));
    settings_reader_free(reader);
}

static void prints_what_it_reads(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(read_text(fixture, "{\"main\": {\"key_file\": \"k\", \"name\": \"q\\\"\\u00e9\"},"
                                        " \"lists\": {\"words\": [], \"listen\": [\"[fe80::1%1]:7\"]},"
                                        " \"limits\": {\"factor\": 1.1}}"),
                     0);
    struct buffer first, second;
    buffer_init(&first, 65536);
    buffer_init(&second, 65536);
    settings_table_print(&table, &fixture->sample, &first);
    assert_non_null(strstr(buffer_string(&first), "\"factor\": 1.1,"));
    assert_int_equal(read_text(fixture, buffer_string(&first)), 0);
    settings_table_print(&table, &fixture->sample, &second);
    assert_string_equal(buffer_string(&first), buffer_string(&second));
    buffer_free(&first);
    buffer_free(&second);
}

/* What a reload may change, and what it may not. */
static void compares_and_overlays_what_is_reloadable(void **state)
{
    struct fixture *fixture = *state;
    struct sample other, merged;
    struct buffer paths;
    buffer_init(&paths, 4096);
    assert_int_equal(read_text(fixture, "{\"main\": {\"key_file\": \"k\"}, \"lists\": {\"rules\": [\"a\"]}}"),
                     0);
    other = fixture->sample;
    memset(&fixture->sample, 0, sizeof fixture->sample);
    assert_int_equal(read_text(fixture,
                               "{\"main\": {\"key_file\": \"l\"}, \"threads\": 2, \"limits\": {\"count\": 9},"
                               " \"lists\": {\"rules\": [\"b\"], \"words\": [\"a\"]}}"),
                     0);

    settings_table_compare(&table, &other, &fixture->sample, SETTINGS_FIXED, &paths);
    assert_string_equal(buffer_string(&paths), "main.key_file\nthreads\n");
    buffer_reset(&paths);
    settings_table_compare(&table, &other, &fixture->sample, SETTINGS_RELOADABLE, &paths);
    assert_string_equal(buffer_string(&paths), "limits.count\nlists.rules\n");
    buffer_reset(&paths);
    settings_table_compare(&table, &other, &other, SETTINGS_FIXED, &paths);
    assert_int_equal(paths.len, 0);

    merged = fixture->sample;
    settings_table_overlay(&table, &other, SETTINGS_FIXED, &merged);
    assert_ptr_equal(merged.key_file, other.key_file);
    assert_int_equal(merged.threads, 1);
    assert_int_equal(merged.count, 9);
    assert_ptr_equal(merged.rules.items, fixture->sample.rules.items);
    settings_table_release(&table, &other);
    buffer_free(&paths);
}

static void writes_the_reference(void **state)
{
    (void)state;
    struct buffer markdown;
    buffer_init(&markdown, 65536);
    settings_table_reference(&(struct settings_table){fields, 4}, &markdown);
    assert_string_equal(buffer_string(&markdown),
                        "### main\n"
                        "| key | value | default | meaning | source |\n"
                        "|---|---|---|---|---|\n"
                        "| `main.name` | a string | `\"estuary\"` | the name | X-1 |\n"
                        "| `main.key_file` | a file name | must be given | the key | X-2 |\n"
                        "| `main.on` | true or false | `true` |  |  |\n"
                        "\n### limits\n"
                        "| key | value | default | meaning | source |\n"
                        "|---|---|---|---|---|\n"
                        "| `limits.count` ↻ | 2 to 4294967295 | `7` |  |  |\n");
    buffer_free(&markdown);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gives_the_default_of_every_key_that_is_not_there),
        TEST(reads_every_type),
        TEST(reads_lists_of_objects),
        TEST(names_the_place_of_a_mistake_in_a_list_of_objects),
        TEST(prints_and_describes_lists_of_objects),
        TEST(resolves_file_names_against_the_folder_of_the_file),
        TEST(resolves_file_names_to_absolute_ones_when_the_file_is_named_relatively),
        TEST(reports_all_mistakes_at_once_each_with_path_value_and_cure),
        TEST(holds_the_bounds_of_numbers_and_lists),
        TEST(suggests_the_key_that_was_meant),
        TEST(repeats_no_secret),
        TEST(keeps_a_mistake_on_one_short_line),
        TEST(names_the_place_of_a_syntax_error),
        TEST(refuses_a_key_given_twice_and_judges_the_rest),
        TEST(refuses_a_file_that_is_not_there_or_too_large),
        TEST(bounds_the_errors),
        TEST(presets_only_what_the_file_does_not_give),
        TEST(knows_which_keys_are_usable),
        TEST(prints_what_it_reads),
        TEST(compares_and_overlays_what_is_reloadable),
        TEST(writes_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
