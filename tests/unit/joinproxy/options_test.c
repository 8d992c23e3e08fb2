#include "joinproxy/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <openssl/crypto.h>
#include <string.h>

#define ARGUMENTS_MAX 8

/* Parses the words of a command line; returns what was complained about, "" for nothing. */
static const char *parse(const char *line, struct options *options)
{
    static char program[] = "est-join-proxy", words[256], complaint[256];
    char *argv[ARGUMENTS_MAX + 1] = {program};
    int argc = 1;
    assert_true(strlen(line) < sizeof(words));
    strcpy(words, line);
    for (char *word = strtok(words, " "); word != NULL && argc < ARGUMENTS_MAX; word = strtok(NULL, " "))
        argv[argc++] = word;

    struct buffer errors;
    buffer_init(&errors, sizeof(complaint) - 1);
    enum status status = options_parse(argc, argv, options, &errors);
    strcpy(complaint, buffer_string(&errors));
    buffer_free(&errors);
    assert_int_equal(status == STATUS_OK, *complaint == '\0');
    return complaint;
}

static void knows_each_action(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        enum options_action action;
        const char *config;
    } cases[] = {
        {"--config f.json", OPTIONS_RUN, "f.json"},
        {"--config=f.json", OPTIONS_RUN, "f.json"},
        {"--config f.json --check-config", OPTIONS_CHECK_CONFIG, "f.json"},
        {"--check-config --config f.json", OPTIONS_CHECK_CONFIG, "f.json"},
        {"--config f.json --print-config", OPTIONS_PRINT_CONFIG, "f.json"},
        {"--print-reference", OPTIONS_PRINT_REFERENCE, NULL},
        {"--version", OPTIONS_VERSION, NULL},
        {"--help", OPTIONS_HELP, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct options options;
        assert_string_equal(parse(cases[i].line, &options), "");
        assert_int_equal(options.action, cases[i].action);
        if (cases[i].config == NULL)
            assert_null(options.config);
        else
            assert_string_equal(options.config, cases[i].config);
    }
}

static void names_the_option_that_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *line, *complaint;
    } cases[] = {
        {"", "--config is missing; give --config FILE, or see --help\n"},
        {"--check-config", "--check-config needs --config FILE as well\n"},
        {"--config", "--config needs an argument; see --help\n"},
        {"--config a --config b", "--config is given twice; give one file\n"},
        {"--conifg f.json", "--conifg is not understood; see --help\n"},
        {"--version=2", "--version=2 is not understood; see --help\n"},
        {"-c f.json", "-c is not understood; see --help\n"},
        {"f.json", "f.json is not an option; see --help\n"},
        {"--config f.json g.json", "g.json is not an option; see --help\n"},
        {"--config f.json --print-config --check-config",
         "--print-config and --check-config exclude each other; give one of them\n"},
        {"--health", "--health is not understood; see --help\n"},
        {"--version --version", "--version and --version exclude each other; give one of them\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct options options;
        assert_string_equal(parse(cases[i].line, &options), cases[i].complaint);
    }
}

static void helps_with_every_option(void **state)
{
    (void)state;
    static const char *const names[] = {"--config FILE", "--check-config", "--print-config",
                                        "--version",     "--help",         "--print-reference"};
    struct buffer text;
    buffer_init(&text, 4096);
    options_help(&text);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_non_null(strstr(buffer_string(&text), names[i]));
    for (const char *line = buffer_string(&text), *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        assert_true(end - line <= 80);
    buffer_free(&text);
}

static void names_versions(void **state)
{
    (void)state;
    struct buffer text;
    buffer_init(&text, 4096);
    options_version(&text);
    assert_non_null(strstr(buffer_string(&text), "est-join-proxy " ESTUARY_VERSION "\n"));
    assert_non_null(strstr(buffer_string(&text), OpenSSL_version(OPENSSL_VERSION)));
    static const char *const libraries[] = {"libcoap ", "libcbor ", "libevent ", "jansson "};
    for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++)
        assert_non_null(strstr(buffer_string(&text), libraries[i]));
    buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_each_action),
        cmocka_unit_test(names_the_option_that_is_wrong),
        cmocka_unit_test(helps_with_every_option),
        cmocka_unit_test(names_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
