#include "common/command_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#define ARGUMENTS_MAX 8

enum { SERVE, CHECK_CONFIG, HEALTH, VERSION, HELP };

static const struct command_line_option options[] = {
    [SERVE] = {"config", "FILE", true, "serve with this configuration (JSON)"},
    [CHECK_CONFIG] = {"check-config", NULL, true, "check it, and end"},
    [HEALTH] = {"health", NULL, true, "ask it, and end"},
    [VERSION] = {"version", NULL, false, "print versions, and end"},
    [HELP] = {"help", NULL, false, "print this, and end"},
};
static const struct command_line_table table = {options, sizeof options / sizeof options[0]};

/* Parses the words of a command line; returns what was complained about, "" for nothing. */
static const char *parse(const char *words, struct command_line *line)
{
    static char program[] = "est-program", copy[256], complaint[256];
    char *argv[ARGUMENTS_MAX + 1] = {program};
    int argc = 1;
    assert_true(strlen(words) < sizeof copy);
    strcpy(copy, words);
    for (char *word = strtok(copy, " "); word != NULL && argc < ARGUMENTS_MAX; word = strtok(NULL, " "))
        argv[argc++] = word;

    struct buffer errors;
    buffer_init(&errors, sizeof complaint - 1);
    enum status status = command_line_parse(&table, argc, argv, line, &errors);
    strcpy(complaint, buffer_string(&errors));
    buffer_free(&errors);
    assert_int_equal(status == STATUS_OK, *complaint == '\0');
    return complaint;
}

static void knows_each_action(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        size_t action;
        const char *config;
    } cases[] = {
        {"--config f.json", SERVE, "f.json"},
        {"--config=f.json", SERVE, "f.json"},
        {"--config f.json --check-config", CHECK_CONFIG, "f.json"},
        {"--check-config --config f.json", CHECK_CONFIG, "f.json"},
        {"--config f.json --health", HEALTH, "f.json"},
        {"--version", VERSION, NULL},
        {"--help", HELP, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct command_line line;
        assert_string_equal(parse(cases[i].words, &line), "");
        assert_int_equal(line.action, cases[i].action);
        if (cases[i].config == NULL)
            assert_null(line.config);
        else
            assert_string_equal(line.config, cases[i].config);
    }
}

static void names_the_option_that_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *words, *complaint;
    } cases[] = {
        {"", "--config is missing; give --config FILE, or see --help\n"},
        {"--check-config", "--check-config needs --config FILE as well\n"},
        {"--health", "--health needs --config FILE as well\n"},
        {"--config", "--config needs an argument; see --help\n"},
        {"--config a --config b", "--config is given twice; give one file\n"},
        {"--conifg f.json", "--conifg is not understood; see --help\n"},
        {"--version=2", "--version=2 is not understood; see --help\n"},
        {"-c f.json", "-c is not understood; see --help\n"},
        {"f.json", "f.json is not an option; see --help\n"},
        {"--config f.json g.json", "g.json is not an option; see --help\n"},
        {"--config f.json --health --check-config",
         "--health and --check-config exclude each other; give one of them\n"},
        {"--version --version", "--version and --version exclude each other; give one of them\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct command_line line;
        assert_string_equal(parse(cases[i].words, &line), cases[i].complaint);
    }
}

static void shows_every_option(void **state)
{
    (void)state;
    struct buffer text;
    buffer_init(&text, 4096);
    command_line_usage(&table, "est-program", &text);
    assert_string_equal(buffer_string(&text), "usage: est-program --config FILE [--check-config | --health]\n"
                                              "       est-program --version | --help\n");
    buffer_reset(&text);
    command_line_options(&table, &text);
    assert_string_equal(buffer_string(&text), "  --config FILE       serve with this configuration (JSON)\n"
                                              "  --check-config      check it, and end\n"
                                              "  --health            ask it, and end\n"
                                              "  --version           print versions, and end\n"
                                              "  --help              print this, and end\n");
    buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_each_action),
        cmocka_unit_test(names_the_option_that_is_wrong),
        cmocka_unit_test(shows_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
