#include "common/command_line.h"

#include <getopt.h>

#define NAME_COLUMNS 17

static enum status take_option(const struct command_line_table *table, size_t index,
                               struct command_line *line, struct buffer *errors);
static enum status check_whole(const struct command_line_table *table, const char *surplus,
                               const struct command_line *line, struct buffer *errors);
static enum status refuse_option(int code, const char *option, struct buffer *errors);
static void append_actions(const struct command_line_table *table, bool needs_config, struct buffer *text);

enum status command_line_parse(const struct command_line_table *table, int argc, char *const argv[],
                               struct command_line *line, struct buffer *errors)
{
    struct option long_options[COMMAND_LINE_OPTIONS_MAX + 1] = {{0}};
    for (size_t i = 0; i < table->count && i < COMMAND_LINE_OPTIONS_MAX; i++)
        long_options[i] =
            (struct option){table->options[i].name,
                            table->options[i].argument == NULL ? no_argument : required_argument, NULL, 0};

    *line = (struct command_line){0, NULL};
    enum status status = STATUS_OK;
    int code, index;
    optind = 0; /* begin anew, whatever was parsed before */
    opterr = 0;
    while (status == STATUS_OK && (code = getopt_long(argc, argv, "+:", long_options, &index)) != -1)
        status = code == 0 ? take_option(table, (size_t)index, line, errors)
                           : refuse_option(code, argv[optind - 1], errors);
    return status == STATUS_OK ? check_whole(table, optind < argc ? argv[optind] : NULL, line, errors)
                               : status;
}

static enum status take_option(const struct command_line_table *table, size_t index,
                               struct command_line *line, struct buffer *errors)
{
    const char *name = table->options[index].name;
    if (index == 0) {
        if (line->config != NULL) {
            buffer_printf(errors, "--%s is given twice; give one file\n", name);
            return STATUS_MALFORMED;
        }
        line->config = optarg;
        return STATUS_OK;
    }
    if (line->action != 0) {
        buffer_printf(errors, "--%s and --%s exclude each other; give one of them\n",
                      table->options[line->action].name, name);
        return STATUS_MALFORMED;
    }
    line->action = index;
    return STATUS_OK;
}

/* getopt's code for an option without its argument is ':', for any other fault '?'. */
static enum status refuse_option(int code, const char *option, struct buffer *errors)
{
    buffer_printf(errors,
                  code == ':' ? "%s needs an argument; see --help\n" : "%s is not understood; see --help\n",
                  option);
    return STATUS_MALFORMED;
}

static enum status check_whole(const struct command_line_table *table, const char *surplus,
                               const struct command_line *line, struct buffer *errors)
{
    const struct command_line_option *config = &table->options[0], *action = &table->options[line->action];
    if (surplus != NULL) {
        buffer_printf(errors, "%s is not an option; see --help\n", surplus);
        return STATUS_MALFORMED;
    }
    if (!action->needs_config || line->config != NULL)
        return STATUS_OK;
    if (action == config)
        buffer_printf(errors, "--%s is missing; give --%s %s, or see --help\n", config->name, config->name,
                      config->argument);
    else
        buffer_printf(errors, "--%s needs --%s %s as well\n", action->name, config->name, config->argument);
    return STATUS_MALFORMED;
}

void command_line_usage(const struct command_line_table *table, const char *program, struct buffer *text)
{
    buffer_printf(text, "usage: %s --%s %s [", program, table->options[0].name, table->options[0].argument);
    append_actions(table, true, text);
    buffer_printf(text, "]\n       %s ", program);
    append_actions(table, false, text);
    buffer_append_string(text, "\n");
}

static void append_actions(const struct command_line_table *table, bool needs_config, struct buffer *text)
{
    const char *separator = "";
    for (size_t i = 1; i < table->count; i++) {
        if (table->options[i].needs_config != needs_config)
            continue;
        buffer_printf(text, "%s--%s", separator, table->options[i].name);
        separator = " | ";
    }
}

void command_line_options(const struct command_line_table *table, struct buffer *text)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct command_line_option *option = &table->options[i];
        int room = NAME_COLUMNS - (int)bytes_from_string(option->name).len;
        buffer_printf(text, "  --%s %-*s%s\n", option->name, room,
                      option->argument == NULL ? "" : option->argument, option->doc);
    }
}
