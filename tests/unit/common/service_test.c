#include "common/service.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define TEXT_MAX      8192
#define ARGUMENTS_MAX 8

/* A program whose files are "good", "harmful", "broken" (cannot be read), "unusable" (its check fails) and
 * "failing" (it fails while it serves). */
struct settings {
    const char *name;
    struct log_settings log;
};

static struct settings *read_settings(const char *file, struct buffer *errors, struct buffer *warnings)
{
    if (strcmp(file, "broken") == 0) {
        buffer_append_string(errors, "broken: one\nbroken: two\n");
        return NULL;
    }
    if (strcmp(file, "harmful") == 0)
        buffer_append_string(warnings, "harmful: this will hurt\n");
    struct settings *settings = calloc(1, sizeof *settings);
    assert_non_null(settings);
    *settings = (struct settings){file, {LOG_LEVEL_WARNING, LOG_FORMAT_TEXT}};
    return settings;
}

static void free_settings(struct settings *settings)
{
    free(settings);
}

static void print_settings(const struct settings *settings, struct buffer *json)
{
    buffer_printf(json, "{\"name\": \"%s\"}\n", settings->name);
}

static void print_reference(struct buffer *markdown)
{
    buffer_append_string(markdown, "| name |\n");
}

static const struct log_settings *log_of(const struct settings *settings)
{
    return &settings->log;
}

static void append_versions(struct buffer *text)
{
    buffer_append_string(text, "with nothing\n");
}

static unsigned unloaded; /* times */

static enum status check(struct service_call *call)
{
    if (strcmp(call->settings->name, "unusable") != 0) {
        call->loaded = strdup(call->settings->name);
        return STATUS_OK;
    }
    buffer_append_string(&call->errors, "unusable: no such certificate\n");
    return STATUS_UNSUPPORTED;
}

static void unload(void *loaded)
{
    free(loaded);
    unloaded++;
}

static enum status serve(struct service_call *call)
{
    assert_string_equal(call->loaded, call->settings->name);
    free(call->loaded);
    call->loaded = NULL;
    struct sigaction pipe_action;
    assert_int_equal(sigaction(SIGPIPE, NULL, &pipe_action), 0);
    assert_true(pipe_action.sa_handler == SIG_IGN);
    assert_int_equal(prctl(PR_GET_DUMPABLE), 0);
    buffer_printf(&call->output, "served %s\n", call->file);
    if (strcmp(call->settings->name, "failing") != 0)
        return STATUS_OK;
    buffer_append_string(&call->errors, "the port is taken\n");
    return STATUS_SYSTEM;
}

static enum status ask(struct service_call *call)
{
    buffer_printf(&call->output, "%s is well\n", call->settings->name);
    return STATUS_OK;
}

static const struct service_action actions[] = {{"ask", true, "ask it, and end", ask}};

static const struct service service = {
    .name = "est-program",
    .module = "program",
    .purpose = "A program.\n",
    .config_doc = "serve with this configuration (JSON)",
    .actions = actions,
    .action_count = 1,
    .read = read_settings,
    .free = free_settings,
    .print = print_settings,
    .reference = print_reference,
    .log = log_of,
    .versions = append_versions,
    .check = check,
    .unload = unload,
    .serve = serve,
};

struct said {
    int exit_status;
    char out[TEXT_MAX], err[TEXT_MAX];
};

/* A file in the place of a standard stream, and the stream itself. */
struct diversion {
    FILE *to;
    int fd, saved;
};

static struct diversion divert(int fd)
{
    struct diversion diversion = {tmpfile(), fd, dup(fd)};
    assert_non_null(diversion.to);
    assert_true(diversion.saved >= 0 && dup2(fileno(diversion.to), fd) == fd);
    return diversion;
}

static void restore(const struct diversion *diversion, char text[static TEXT_MAX])
{
    assert_int_equal(dup2(diversion->saved, diversion->fd), diversion->fd);
    close(diversion->saved);
    rewind(diversion->to);
    text[fread(text, 1, TEXT_MAX - 1, diversion->to)] = '\0';
    fclose(diversion->to);
}

static struct said run(const char *words)
{
    static char program[] = "est-program";
    char copy[256], *argv[ARGUMENTS_MAX + 1] = {program};
    int argc = 1;
    assert_true(strlen(words) < sizeof copy);
    strcpy(copy, words);
    for (char *word = strtok(copy, " "); word != NULL && argc < ARGUMENTS_MAX; word = strtok(NULL, " "))
        argv[argc++] = word;

    struct said said;
    fflush(stdout);
    fflush(stderr);
    struct diversion out = divert(STDOUT_FILENO), err = divert(STDERR_FILENO);
    said.exit_status = service_main(&service, argc, argv);
    fflush(stdout);
    fflush(stderr);
    restore(&err, said.err);
    restore(&out, said.out);
    return said;
}

static void assert_said(const char *words, int exit_status, const char *out, const char *err)
{
    struct said said = run(words);
    assert_string_equal(said.err, err);
    assert_string_equal(said.out, out);
    assert_int_equal(said.exit_status, exit_status);
}

static void has_the_actions_of_every_service(void **state)
{
    (void)state;
    assert_said("--version", 0, "est-program " ESTUARY_VERSION "\nwith nothing\n", "");
    assert_said("--print-reference", 0, "| name |\n", "");
    assert_said("--config good --print-config", 0, "{\"name\": \"good\"}\n", "");
    assert_said("--config good --check-config", 0, "good is good\n", "");
    assert_said("--config harmful --check-config", 0, "harmful is good\n",
                "warning: harmful: this will hurt\n");
    assert_said("--config unusable --check-config", 1, "", "error: unusable: no such certificate\n");
}

static void has_the_actions_of_the_program(void **state)
{
    (void)state;
    assert_said("--config good --ask", 0, "good is well\n", "");
    assert_said("--ask", 2, "", "--ask needs --config FILE as well\n");
}

static void helps_with_every_option(void **state)
{
    (void)state;
    static const char *const names[] = {
        "--config FILE", "--check-config", "--print-config",    "--ask",
        "--version",     "--help",         "--print-reference", "A program.\n"};
    struct said said = run("--help");
    assert_int_equal(said.exit_status, 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_non_null(strstr(said.out, names[i]));
    for (const char *line = said.out, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        assert_true(end - line <= 80);
}

static void refuses_files_that_cannot_be_read(void **state)
{
    (void)state;
    static const char *const lines[] = {"--config broken", "--config broken --check-config",
                                        "--config broken --print-config", "--config broken --ask"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        assert_said(lines[i], 1, "", "error: broken: one\nerror: broken: two\n");
}

/* What goes wrong with a program that serves goes to its log, and to nothing else. */
static void serves(void **state)
{
    (void)state;
    assert_said("--config good", 0, "served good\n", "");
    static const struct {
        const char *line, *record;
        int exit_status;
        bool served;
    } cases[] = {
        {"--config harmful", " warning program: harmful: this will hurt\n", 0, true},
        {"--config unusable", " error program: unusable: no such certificate\n", 1, false},
        {"--config failing", " error program: the port is taken\n", 1, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct said said = run(cases[i].line);
        assert_int_equal(said.exit_status, cases[i].exit_status);
        assert_non_null(strstr(said.err, cases[i].record));
        assert_ptr_equal(strchr(said.err, '\n'), said.err + strlen(said.err) - 1);
        assert_int_equal(strncmp(said.out, "served", 6) == 0, cases[i].served);
    }
}

/* What is loaded to check it is served by, and not loaded again. */
static void what_is_loaded_is_taken_or_freed(void **state)
{
    (void)state;
    unloaded = 0;
    run("--config good");
    run("--config unusable --check-config");
    run("--config good --ask");
    assert_int_equal(unloaded, 0);
    run("--config good --check-config");
    assert_int_equal(unloaded, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_the_actions_of_every_service),
        cmocka_unit_test(has_the_actions_of_the_program),
        cmocka_unit_test(helps_with_every_option),
        cmocka_unit_test(refuses_files_that_cannot_be_read),
        cmocka_unit_test(serves),
        cmocka_unit_test(what_is_loaded_is_taken_or_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
