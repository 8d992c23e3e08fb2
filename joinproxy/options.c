#include "joinproxy/options.h"

#include <cbor.h>
#include <coap3/coap.h>
#include <event2/event.h>
#include <getopt.h>
#include <jansson.h>
#include <openssl/crypto.h>

#include <stddef.h>

/* Every option but --config is an action; of those there is one at most. */
struct option_row {
    const char *name, *argument; /* argument: NULL for none */
    enum options_action action;  /* OPTIONS_RUN: none */
    bool needs_config;
    const char *doc;
};

static const struct option_row rows[] = {
    {"config", "FILE", OPTIONS_RUN, true, "relay with this configuration (JSON)"},
    {"check-config", NULL, OPTIONS_CHECK_CONFIG, true, "check it and all files that it names, and end"},
    {"print-config", NULL, OPTIONS_PRINT_CONFIG, true, "print it with all defaults filled in, and end"},
    {"print-reference", NULL, OPTIONS_PRINT_REFERENCE, false, "print all keys of a configuration, and end"},
    {"version", NULL, OPTIONS_VERSION, false, "print versions, and end"},
    {"help", NULL, OPTIONS_HELP, false, "print this, and end"},
};

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

static enum status take_option(const struct option_row *row, struct options *options, struct buffer *errors);
static enum status check_whole(int argc, char *const argv[], const struct options *options,
                               struct buffer *errors);
static enum status refuse_option(int code, const char *option, struct buffer *errors);
static const struct option_row *row_of(enum options_action action);

enum status options_parse(int argc, char *const argv[], struct options *options, struct buffer *errors)
{
    struct option long_options[ROW_COUNT + 1] = {{0}};
    for (size_t i = 0; i < ROW_COUNT; i++)
        long_options[i] = (struct option){
            rows[i].name, rows[i].argument == NULL ? no_argument : required_argument, NULL, 0};

    *options = (struct options){OPTIONS_RUN, NULL};
    enum status status = STATUS_OK;
    int code, index;
    optind = 0; /* begin anew, whatever was parsed before */
    opterr = 0;
    while (status == STATUS_OK && (code = getopt_long(argc, argv, "+:", long_options, &index)) != -1)
        status = code == 0 ? take_option(&rows[index], options, errors)
                           : refuse_option(code, argv[optind - 1], errors);
    return status == STATUS_OK ? check_whole(argc, argv, options, errors) : status;
}

void options_help(struct buffer *text)
{
    buffer_append_string(text, "usage: est-join-proxy --config FILE [--check-config | --print-config]\n"
                               "       est-join-proxy --print-reference | --version | --help\n\n"
                               "A constrained join proxy: takes devices that are not yet on the network to\n"
                               "their registrar (draft-ietf-anima-constrained-join-proxy).\n\n");
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const char *argument = rows[i].argument == NULL ? "" : rows[i].argument;
        int room = 17 - (int)bytes_from_string(rows[i].name).len;
        buffer_printf(text, "  --%s %-*s%s\n", rows[i].name, room, argument, rows[i].doc);
    }
    buffer_append_string(text, "\nExit status: 0 well, 1 failure, 2 wrong usage.\n");
}

void options_version(struct buffer *text)
{
    buffer_printf(text, "est-join-proxy %s\n", ESTUARY_VERSION);
    buffer_printf(text, "with %s, %s, libcbor %d.%d.%d, libevent %s, jansson %s\n",
                  OpenSSL_version(OPENSSL_VERSION), coap_package_version(), CBOR_MAJOR_VERSION,
                  CBOR_MINOR_VERSION, CBOR_PATCH_VERSION, event_get_version(), jansson_version_str());
}

static enum status take_option(const struct option_row *row, struct options *options, struct buffer *errors)
{
    if (row->argument != NULL) {
        if (options->config != NULL) {
            buffer_printf(errors, "--%s is given twice; give one file\n", row->name);
            return STATUS_MALFORMED;
        }
        options->config = optarg;
        return STATUS_OK;
    }
    if (options->action != OPTIONS_RUN) {
        buffer_printf(errors, "--%s and --%s exclude each other; give one of them\n",
                      row_of(options->action)->name, row->name);
        return STATUS_MALFORMED;
    }
    options->action = row->action;
    return STATUS_OK;
}

static enum status check_whole(int argc, char *const argv[], const struct options *options,
                               struct buffer *errors)
{
    const struct option_row *row = row_of(options->action);
    if (optind < argc) {
        buffer_printf(errors, "%s is not an option; see --help\n", argv[optind]);
        return STATUS_MALFORMED;
    }
    if (row->needs_config && options->config == NULL) {
        if (row->action == OPTIONS_RUN)
            buffer_append_string(errors, "--config is missing; give --config FILE, or see --help\n");
        else
            buffer_printf(errors, "--%s needs --config FILE as well\n", row->name);
        return STATUS_MALFORMED;
    }
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

static const struct option_row *row_of(enum options_action action)
{
    const struct option_row *row = rows;
    while (row->action != action)
        row++;
    return row;
}
