/* est-registrar: the EST-coaps to HTTPS registrar (RFC 9148 section 5). */
#include "common/log.h"
#include "registrar/health.h"
#include "registrar/options.h"
#include "registrar/registrar.h"
#include "registrar/secret_memory.h"
#include "registrar/settings.h"

#include <curl/curl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define EXIT_USAGE          2
#define MESSAGES_OCTETS_MAX ((size_t)64 * 1024)

/* What reading and checking the configuration has to say: lines. */
struct messages {
    struct buffer errors, warnings;
};

static int run(const struct options *options);
static int with_settings(const struct options *options, const struct settings *settings,
                         struct messages *messages);
static int serve(const struct settings *settings, struct messages *messages);
static bool start_libraries(const struct settings *settings);
static int check(const char *file, const struct settings *settings, struct messages *messages);
static int probe_health(const struct settings *settings, struct messages *messages);
static int print(void (*write)(struct buffer *text));
static int print_config(const struct settings *settings);
static int put(struct buffer *text);
static void write_lines(const char *prefix, struct buffer *lines);
static void log_lines(enum log_level level, struct buffer *lines);
static void protect_secrets(void);

int main(int count, char *arguments[])
{
    struct options options;
    struct buffer errors;

    buffer_init(&errors, MESSAGES_OCTETS_MAX);
    enum status status = options_parse(count, arguments, &options, &errors);
    write_lines("", &errors);
    buffer_free(&errors);
    if (status != STATUS_OK)
        return EXIT_USAGE;

    switch (options.action) {
    case OPTIONS_HELP:
        return print(options_help);
    case OPTIONS_VERSION:
        return print(options_version);
    case OPTIONS_PRINT_REFERENCE:
        return print(settings_reference);
    default:
        return run(&options);
    }
}

static int run(const struct options *options)
{
    struct messages messages;
    int exit_status = EXIT_FAILURE;

    protect_secrets();
    buffer_init(&messages.errors, MESSAGES_OCTETS_MAX);
    buffer_init(&messages.warnings, MESSAGES_OCTETS_MAX);
    struct settings *settings = settings_read(options->config, &messages.errors, &messages.warnings);
    if (settings == NULL)
        write_lines("error: ", &messages.errors);
    else
        exit_status = with_settings(options, settings, &messages);
    settings_free(settings);
    buffer_free(&messages.errors);
    buffer_free(&messages.warnings);
    return exit_status;
}

/* A core file would hold private keys. */
static void protect_secrets(void)
{
    prctl(PR_SET_DUMPABLE, 0);
}

static int with_settings(const struct options *options, const struct settings *settings,
                         struct messages *messages)
{
    switch (options->action) {
    case OPTIONS_CHECK_CONFIG:
        return check(options->config, settings, messages);
    case OPTIONS_PRINT_CONFIG:
        return print_config(settings);
    case OPTIONS_HEALTH:
        return probe_health(settings, messages);
    default:
        return serve(settings, messages);
    }
}

static int serve(const struct settings *settings, struct messages *messages)
{
    int exit_status = EXIT_FAILURE;

    log_configure(settings->log.level, settings->log.format, stderr);
    signal(SIGPIPE, SIG_IGN); /* a peer that went away is told by write */
    if (!start_libraries(settings))
        return EXIT_FAILURE;

    registrar_check(settings, &messages->errors, &messages->warnings);
    log_lines(LOG_LEVEL_WARNING, &messages->warnings);
    struct registrar *registrar =
        messages->errors.len > 0 ? NULL : registrar_create(settings, &messages->errors);
    log_lines(LOG_LEVEL_ERROR, &messages->errors);
    if (registrar != NULL && registrar_run(registrar) == STATUS_OK)
        exit_status = EXIT_SUCCESS;
    registrar_free(registrar);
    curl_global_cleanup();
    return exit_status;
}

static bool start_libraries(const struct settings *settings)
{
    if (!settings->est.skg && !settings->est.skc)
        return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    enum status status = secret_memory_start();
    if (status != STATUS_OK)
        log_error("registrar", "no safe memory for private keys: %s", status_text(status));
    return status == STATUS_OK;
}

static int check(const char *file, const struct settings *settings, struct messages *messages)
{
    enum status status = registrar_check(settings, &messages->errors, &messages->warnings);
    write_lines("warning: ", &messages->warnings);
    write_lines("error: ", &messages->errors);
    if (status == STATUS_OK)
        printf("%s is good\n", file);
    return status == STATUS_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int print(void (*write)(struct buffer *text))
{
    struct buffer text;
    buffer_init(&text, MESSAGES_OCTETS_MAX);
    write(&text);
    return put(&text);
}

static int print_config(const struct settings *settings)
{
    struct buffer json;
    buffer_init(&json, MESSAGES_OCTETS_MAX);
    settings_print(settings, &json);
    return put(&json);
}

/* Frees text. */
static int put(struct buffer *text)
{
    bool written =
        text->status == STATUS_OK && fputs(buffer_string(text), stdout) >= 0 && fflush(stdout) == 0;
    buffer_free(text);
    return written ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int probe_health(const struct settings *settings, struct messages *messages)
{
    enum status status = health_check(settings, &messages->errors);
    write_lines("", &messages->errors);
    return status == STATUS_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void write_lines(const char *prefix, struct buffer *lines)
{
    char *rest = NULL, *text = strdup(buffer_string(lines));
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
        fprintf(stderr, "%s%s\n", prefix, line);
    free(text);
}

static void log_lines(enum log_level level, struct buffer *lines)
{
    char *rest = NULL, *text = strdup(buffer_string(lines));
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
        log_write(level, "registrar", "%s", line);
    free(text);
}
