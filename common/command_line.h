/* The command line of a program that has one action for each option, and one configuration file. */
#ifndef ESTUARY_COMMON_COMMAND_LINE_H
#define ESTUARY_COMMON_COMMAND_LINE_H

#include "common/bytes.h"

#define COMMAND_LINE_OPTIONS_MAX 16

struct command_line_option {
    const char *name;
    const char *argument; /* only the first option has one, the configuration file; NULL for none */
    bool needs_config;
    const char *doc;
};

/* The first option names the configuration file and means to serve with it; each other is an action, of
 * which there is one at most. Borrowed. */
struct command_line_table {
    const struct command_line_option *options;
    size_t count;
};

struct command_line {
    size_t action;      /* index of an option; 0: to serve */
    const char *config; /* borrowed from the arguments; NULL: not given, and not needed */
};

/* STATUS_MALFORMED: errors has one line that names the option and the cure; exit with status 2. Not thread
 * safe (getopt). */
enum status command_line_parse(const struct command_line_table *table, int argc, char *const argv[],
                               struct command_line *line, struct buffer *errors);

/* Appends a line of usage for each kind of action, under the name of the program. */
void command_line_usage(const struct command_line_table *table, const char *program, struct buffer *text);

/* Appends a line for each option. */
void command_line_options(const struct command_line_table *table, struct buffer *text);

#endif
