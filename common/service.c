#include "common/service.h"

#include "common/command_line.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#define EXIT_USAGE          2
#define MESSAGES_OCTETS_MAX ((size_t)64 * 1024)
#define OUTPUT_OCTETS_MAX   ((size_t)8 * 1024 * 1024) /* the largest configuration, indented */

/* All that a program can do, and the options for it in the order of --help. */
struct repertoire {
    const struct service_action *actions[COMMAND_LINE_OPTIONS_MAX];
    struct command_line_option options[COMMAND_LINE_OPTIONS_MAX];
    size_t count;
};

static void assemble(const struct service *service, struct repertoire *repertoire);
static void add_actions(struct repertoire *repertoire, const struct service_action *actions, size_t count);
static int act(const struct service_action *action, struct service_call *call);
static enum status read_and_act(const struct service_action *action, struct service_call *call);
static bool put(struct buffer *text);
static enum status serve(struct service_call *call);
static enum status check(struct service_call *call);
static enum status print_config(struct service_call *call);
static enum status print_reference(struct service_call *call);
static enum status print_version(struct service_call *call);
static enum status print_help(struct service_call *call);
static void protect_secrets(void);
static void write_lines(const char *prefix, struct buffer *lines);

/* Those of every service stand around those of the program. */
static const struct service_action first[] = {
    {"config", true, NULL, serve}, /* the doc is the program's */
    {"check-config", true, "check it and all files that it names, and end", check},
    {"print-config", true, "print it with all defaults filled in, and end", print_config},
};
static const struct service_action last[] = {
    {"print-reference", false, "print all keys of a configuration, and end", print_reference},
    {"version", false, "print versions, and end", print_version},
    {"help", false, "print this, and end", print_help},
};

int service_main(const struct service *service, int argc, char *argv[])
{
    struct repertoire repertoire;
    struct command_line line;
    struct buffer errors;

    assemble(service, &repertoire);
    buffer_init(&errors, MESSAGES_OCTETS_MAX);
    const struct command_line_table table = {repertoire.options, repertoire.count};
    enum status status = command_line_parse(&table, argc, argv, &line, &errors);
    write_lines("", &errors);
    buffer_free(&errors);
    if (status != STATUS_OK)
        return EXIT_USAGE;
    return act(repertoire.actions[line.action],
               &(struct service_call){.service = service, .file = line.config});
}

static void assemble(const struct service *service, struct repertoire *repertoire)
{
    repertoire->count = 0;
    add_actions(repertoire, first, sizeof first / sizeof first[0]);
    add_actions(repertoire, service->actions, service->action_count);
    add_actions(repertoire, last, sizeof last / sizeof last[0]);
    repertoire->options[0].argument = "FILE";
    repertoire->options[0].doc = service->config_doc;
}

static void add_actions(struct repertoire *repertoire, const struct service_action *actions, size_t count)
{
    for (size_t i = 0; i < count && repertoire->count < COMMAND_LINE_OPTIONS_MAX; i++) {
        const struct service_action *action = &actions[i];
        repertoire->actions[repertoire->count] = action;
        repertoire->options[repertoire->count++] =
            (struct command_line_option){action->option, NULL, action->needs_config, action->doc};
    }
}

static int act(const struct service_action *action, struct service_call *call)
{
    buffer_init(&call->output, OUTPUT_OCTETS_MAX);
    buffer_init(&call->errors, MESSAGES_OCTETS_MAX);
    buffer_init(&call->warnings, MESSAGES_OCTETS_MAX);
    enum status status = action->needs_config ? read_and_act(action, call) : action->act(call);
    if (call->loaded != NULL)
        call->service->unload(call->loaded);
    write_lines("error: ", &call->errors);
    bool good = put(&call->output) && status == STATUS_OK;
    buffer_free(&call->output);
    buffer_free(&call->errors);
    buffer_free(&call->warnings);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static enum status read_and_act(const struct service_action *action, struct service_call *call)
{
    protect_secrets();
    struct settings *settings = call->service->read(call->file, &call->errors, &call->warnings);
    call->settings = settings;
    enum status status = settings == NULL ? STATUS_MALFORMED : action->act(call);
    call->service->free(settings);
    return status;
}

/* A core file would hold private keys. */
static void protect_secrets(void)
{
    prctl(PR_SET_DUMPABLE, 0);
}

static bool put(struct buffer *text)
{
    return text->status == STATUS_OK && fputs(buffer_string(text), stdout) >= 0 && fflush(stdout) == 0;
}

static enum status serve(struct service_call *call)
{
    const struct service *service = call->service;
    const struct log_settings *log = service->log(call->settings);

    log_configure(log->level, log->format, stderr);
    signal(SIGPIPE, SIG_IGN); /* a peer that went away is told by write */
    signal(SIGXFSZ, SIG_IGN); /* and so is a file that may not grow */
    enum status status = service->prepare == NULL ? STATUS_OK : service->prepare(call);
    if (status == STATUS_OK)
        status = service->check(call);
    service_log_lines(LOG_LEVEL_WARNING, service->module, &call->warnings);
    if (status == STATUS_OK)
        status = service->serve(call);
    service_log_lines(LOG_LEVEL_ERROR, service->module, &call->errors);
    return status;
}

static enum status check(struct service_call *call)
{
    enum status status = call->service->check(call);
    write_lines("warning: ", &call->warnings);
    if (status == STATUS_OK)
        buffer_printf(&call->output, "%s is good\n", call->file);
    if (status == STATUS_OK && call->service->predict != NULL)
        call->service->predict(call);
    return status;
}

static enum status print_config(struct service_call *call)
{
    call->service->print(call->settings, &call->output);
    return STATUS_OK;
}

static enum status print_reference(struct service_call *call)
{
    call->service->reference(&call->output);
    return STATUS_OK;
}

static enum status print_version(struct service_call *call)
{
    buffer_printf(&call->output, "%s %s\n", call->service->name, ESTUARY_VERSION);
    call->service->versions(&call->output);
    return STATUS_OK;
}

static enum status print_help(struct service_call *call)
{
    struct repertoire repertoire;

    assemble(call->service, &repertoire);
    const struct command_line_table table = {repertoire.options, repertoire.count};
    command_line_usage(&table, call->service->name, &call->output);
    buffer_printf(&call->output, "\n%s\n", call->service->purpose);
    command_line_options(&table, &call->output);
    buffer_append_string(&call->output, "\nExit status: 0 well, 1 failure, 2 wrong usage.\n");
    return STATUS_OK;
}

static void write_lines(const char *prefix, struct buffer *lines)
{
    struct bytes rest = buffer_view(lines), line;
    while (bytes_take_line(&rest, &line))
        if (line.len > 0)
            fprintf(stderr, "%s%.*s\n", prefix, (int)line.len, (const char *)line.at);
    buffer_reset(lines);
}

void service_log_lines(enum log_level level, const char *module, struct buffer *lines)
{
    struct bytes rest = buffer_view(lines), line;
    while (bytes_take_line(&rest, &line))
        if (line.len > 0)
            log_write(level, module, "%.*s", (int)line.len, (const char *)line.at);
    buffer_reset(lines);
}
