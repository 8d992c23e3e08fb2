/* The command line of est-join-proxy. */
#ifndef ESTUARY_JOINPROXY_OPTIONS_H
#define ESTUARY_JOINPROXY_OPTIONS_H

#include "common/bytes.h"

enum options_action {
    OPTIONS_RUN,             /* needs config, as do the next two */
    OPTIONS_CHECK_CONFIG,    /* read everything that it names, say what is wrong, do not serve */
    OPTIONS_PRINT_CONFIG,    /* settings_print */
    OPTIONS_PRINT_REFERENCE, /* settings_reference */
    OPTIONS_VERSION,
    OPTIONS_HELP
};

struct options {
    enum options_action action;
    const char *config; /* borrowed from the arguments; NULL: not given, and not needed */
};

/* STATUS_MALFORMED: errors has one line that names the option and the cure; exit with status 2. Not thread
 * safe (getopt). */
enum status options_parse(int argc, char *const argv[], struct options *options, struct buffer *errors);

/* Appends what --help says. */
void options_help(struct buffer *text);

/* Appends what --version says: versions of the program and of the libraries that it runs with. */
void options_version(struct buffer *text);

#endif
