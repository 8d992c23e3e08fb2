/* A program that serves by one configuration file: its command line, its actions, and what they say. */
#ifndef ESTUARY_COMMON_SERVICE_H
#define ESTUARY_COMMON_SERVICE_H

#include "common/bytes.h"
#include "common/log.h"

struct service;
struct settings; /* each program defines its own */

/* What an action works with, and where it puts what it has to say. */
struct service_call {
    const struct service *service;
    const char *file;                /* of the configuration; NULL for actions that need none */
    const struct settings *settings; /* what it says; likewise */
    struct buffer output;            /* goes to stdout */
    struct buffer errors;            /* lines; go to stderr, or to the log of a program that serves */
    struct buffer warnings;          /* lines; likewise, where they matter to the action */
    void *loaded;                    /* by check, for serve to take; NULL: nothing */
};

/* Something to do instead of serving. Anything but STATUS_OK is exit status 1. */
struct service_action {
    const char *option;
    bool needs_config;
    const char *doc; /* one line, for --help */
    enum status (*act)(struct service_call *call);
};

/* What differs from program to program. Borrowed; all but actions, prepare, unload and predict must be given.
 */
struct service {
    const char *name;                     /* "est-registrar" */
    const char *module;                   /* of the log records about its configuration */
    const char *purpose;                  /* lines of --help */
    const char *config_doc;               /* what it does with a configuration, likewise */
    const struct service_action *actions; /* that it has beside those of every service */
    size_t action_count;

    /* As settings.h of the program says. */
    struct settings *(*read)(const char *file, struct buffer *errors, struct buffer *warnings);
    void (*free)(struct settings *settings);
    void (*print)(const struct settings *settings, struct buffer *json);
    void (*reference)(struct buffer *markdown);
    const struct log_settings *(*log)(const struct settings *settings);

    void (*versions)(struct buffer *text); /* appends what it is linked with, and what that cannot do */
    /* Makes libraries ready to serve, before anything is loaded. On failure lines in errors. */
    enum status (*prepare)(struct service_call *call);
    /* Loads what a start would load, and may leave it in loaded. On failure lines in errors. */
    enum status (*check)(struct service_call *call);
    /* Frees what check has left in loaded, where nobody takes it; NULL: it leaves nothing. */
    void (*unload)(void *loaded);
    /* What --check-config says besides of a good configuration; NULL: nothing. */
    void (*predict)(struct service_call *call);
    /* Runs until it is told to stop; log and SIGPIPE are set up, check has passed. On failure lines in
     * errors. */
    enum status (*serve)(struct service_call *call);
};

/* The whole of main. Gives the exit status: 0 well, 1 failure, 2 wrong usage. */
int service_main(const struct service *service, int argc, char *argv[]);

/* Logs each line as a record of its own, and empties the buffer. */
void service_log_lines(enum log_level level, const char *module, struct buffer *lines);

#endif
