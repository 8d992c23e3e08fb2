#include "options.h"

#include "behaviour.h"
#include "memory.h"

#include <assert.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { TEXT, LIST, NUMBER, CHOICE, SWITCH, PRINT };

struct choice {
    const char *name; /* NULL ends the list */
    unsigned value;
};

struct option {
    const char *name;
    const char *argument; /* as --help shows it */
    enum kind kind;
    size_t into; /* offset in struct options */
    unsigned max;
    const struct choice *choices;
    void (*print)(void);
    const char *says;
};

static void print_help(void);
static void print_version(void);
static const struct option *find(const char *argument);
static bool take(const struct option *option, const char *argument, struct options *options);
static bool take_number(const struct option *option, const char *text, void *into);
static bool take_choice(const struct option *option, const char *text, void *into);
static bool take_one_more(const char *text, const char **list);
static bool complete(struct options *options);
static void use_pki(struct options *options);

static const struct choice authentications[] = {
    {"certificate", BY_CERTIFICATE}, {"http", BY_HTTP}, {"both", BY_BOTH}, {"either", BY_EITHER}, {NULL, 0},
};
static const struct choice schemes[] = {{"basic", SCHEME_BASIC}, {"digest", SCHEME_DIGEST}, {NULL, 0}};
static const struct choice versions[] = {{"1.2", TLS1_2_VERSION}, {"1.3", TLS1_3_VERSION}, {NULL, 0}};

#define AT(member) offsetof(struct options, member)

static const struct option all[] = {
    /* clang-format off */
    { "address", "ADDRESS", TEXT, AT(address), .says = "IP address to listen on (127.0.0.1)" },
    { "port", "N", NUMBER, AT(port), .max = 65535, .says = "TCP port, 0 for a free one (0)" },
    { "control-port", "N", NUMBER, AT(control_port), .max = 65535,
      .says = "a second port, for /stats and /approve while --libest blocks the first; 0 for a free one" },
    { "port-file", "FILE", TEXT, AT(port_file), .says = "writes the port there when ready" },
    { "pki", "DIR", TEXT, AT(pki), .says = "what tests/pki/make_pki made: sets the next five and --csrattrs" },
    { "certificate", "FILE", TEXT, AT(certificate), .says = "the server's certificate chain" },
    { "key", "FILE", TEXT, AT(key), .says = "its key" },
    { "ca", "FILE", TEXT, AT(ca), .says = "the CA that issues" },
    { "ca-key", "FILE", TEXT, AT(ca_key), .says = "its key" },
    { "client-ca", "FILE", LIST, AT(client_cas), .says = "CA of client certificates; may be repeated (with --pki manufacturer-ca too, else --ca)" },
    { "auth", "HOW", CHOICE, AT(authentication), .choices = authentications,
      .says = "what enrolment needs: certificate, http, both or either (certificate)" },
    { "http-auth", "SCHEME", CHOICE, AT(http_scheme), .choices = schemes, .says = "basic or digest (basic)" },
    { "user", "NAME", TEXT, AT(user), .says = "user name of HTTP authentication" },
    { "password-file", "FILE", TEXT, AT(password_file), .says = "its password: the first line of FILE" },
    { "csrattrs", "FILE", TEXT, AT(csrattrs), .says = "DER that csrattrs answers (none: 204)" },
    { "cacerts", "FILE", TEXT, AT(cacerts), .says = "PEM certificates that cacerts answers, up to 8 (else the CA's own)" },
    { "label", "NAME", LIST, AT(labels), .says = "a label that is known and means nothing; may be repeated" },
    { "validity-days", "N", NUMBER, AT(validity_days), .max = 36500, .says = "of what is issued (365)" },
    { "tls-max", "VERSION", CHOICE, AT(tls_max), .choices = versions, .says = "1.2 or 1.3 (1.3; with --libest 1.2)" },
    { "libest", NULL, SWITCH, AT(libest),
      .says = "is like libest: its quirks for every label, TLS 1.2, five connections at a time, idle ones held" },
    { "idle-timeout-ms", "N", NUMBER, AT(idle_timeout_ms), .max = 86400000,
      .says = "when a kept connection is left (60000; with --libest 10000)" },
    { "max-connections", "N", NUMBER, AT(max_connections), .max = 100000,
      .says = "handled at a time (10000; with --libest 5)" },
    { "log", "FILE", TEXT, AT(log), .says = "where each request is logged (stderr)" },
    { "log-entries", "N", NUMBER, AT(log_entries), .max = 100000, .says = "requests that /stats describes (500)" },
    { "help", NULL, PRINT, .print = print_help, .says = "this" },
    { "help-labels", NULL, PRINT, .print = behaviour_print_help, .says = "the grammar of labels" },
    { "version", NULL, PRINT, .print = print_version, .says = "" },
    /* clang-format on */
};

enum options_verdict options_read(struct options *options, int argc, char *argv[])
{
    *options = (struct options){
        .address = "127.0.0.1", .control_port = UINT_MAX, .validity_days = 365, .log_entries = 500};
    for (int i = 1; i < argc; i++) {
        const struct option *option = find(argv[i]);
        if (option == NULL) {
            fprintf(stderr, "est-server: unknown option %s; see --help\n", argv[i]);
            return OPTIONS_WRONG;
        }
        if (option->kind == PRINT) {
            option->print();
            return OPTIONS_END;
        }
        const char *argument = option->argument != NULL ? argv[++i] : "";
        if (argument == NULL || !take(option, argument, options)) {
            fprintf(stderr, "est-server: --%s wants %s: %s\n", option->name, option->argument, option->says);
            return OPTIONS_WRONG;
        }
    }
    return complete(options) ? OPTIONS_RUN : OPTIONS_WRONG;
}

void options_clear(struct options *options)
{
    for (size_t i = 0; i < sizeof(options->pki_files) / sizeof(*options->pki_files); i++)
        free(options->pki_files[i]);
}

static const struct option *find(const char *argument)
{
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        if (strncmp(argument, "--", 2) == 0 && strcmp(argument + 2, all[i].name) == 0)
            return &all[i];
    return NULL;
}

static bool take(const struct option *option, const char *argument, struct options *options)
{
    void *into = (char *)options + option->into;
    switch (option->kind) {
    case TEXT:
        *(const char **)into = argument;
        return true;
    case LIST:
        return take_one_more(argument, into);
    case NUMBER:
        return take_number(option, argument, into);
    case CHOICE:
        return take_choice(option, argument, into);
    case SWITCH:
        *(bool *)into = true;
        return true;
    case PRINT:
        break;
    }
    return false;
}

static bool take_number(const struct option *option, const char *text, void *into)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value > option->max)
        return false;
    *(unsigned *)into = (unsigned)value;
    return true;
}

static bool take_choice(const struct option *option, const char *text, void *into)
{
    for (const struct choice *choice = option->choices; choice->name != NULL; choice++) {
        if (strcmp(choice->name, text) == 0) {
            *(unsigned *)into = choice->value;
            return true;
        }
    }
    return false;
}

static bool take_one_more(const char *text, const char **list)
{
    for (size_t i = 0; i < OPTION_REPEATS; i++) {
        if (list[i] == NULL) {
            list[i] = text;
            return true;
        }
    }
    return false;
}

/* Defaults that depend on other options, and what may not be missing. */
static bool complete(struct options *options)
{
    options->has_control_port = options->control_port != UINT_MAX;
    if (options->pki != NULL)
        use_pki(options);
    if (options->client_cas[0] == NULL)
        options->client_cas[0] = options->ca;
    if (options->idle_timeout_ms == 0)
        options->idle_timeout_ms = options->libest ? 10000 : 60000;
    if (options->max_connections == 0)
        options->max_connections = options->libest ? 5 : 10000;
    if (options->libest)
        options->tls_max = TLS1_2_VERSION;
    bool there = options->certificate != NULL && options->key != NULL && options->ca != NULL &&
                 options->ca_key != NULL;
    if (!there)
        fprintf(stderr, "est-server: give --pki, or --certificate, --private-key, --ca-certificate and "
                        "--ca-private-key\n");
    bool named = (options->user != NULL) == (options->password_file != NULL);
    if (!named)
        fprintf(stderr, "est-server: --user and --password-file go together\n");
    return there && named;
}

/* What is given by itself is kept. */
static void use_pki(struct options *options)
{
    static const struct {
        const char *name;
        size_t into;
    } files[] = {
        {"est-server.pem", AT(certificate)},
        {"est-server.key", AT(key)},
        {"est-ca.pem", AT(ca)},
        {"est-ca.key", AT(ca_key)},
        {"csrattrs.der", AT(csrattrs)},
        {"manufacturer-ca.pem", AT(client_cas[1])},
    };
    static_assert(sizeof(files) / sizeof(*files) == PKI_FILES, "one place for each");
    bool own_clients = options->client_cas[0] != NULL;
    for (size_t i = 0; i < PKI_FILES; i++) {
        const char **into = (const char **)(void *)((char *)options + files[i].into);
        size_t room = strlen(options->pki) + strlen(files[i].name) + 2;
        if (*into != NULL || (own_clients && files[i].into == AT(client_cas[1])))
            continue;
        options->pki_files[i] = memory_allocate(room);
        snprintf(options->pki_files[i], room, "%s/%s", options->pki, files[i].name);
        *into = options->pki_files[i];
    }
}

static void print_help(void)
{
    printf("est-server: an EST server (RFC 7030) with its own CA, for tests\n\n");
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
        char name[40];
        snprintf(name, sizeof(name), "--%s %s", all[i].name, all[i].argument != NULL ? all[i].argument : "");
        printf("  %-26s %s\n", name, all[i].says);
    }
}

static void print_version(void)
{
    printf("est-server %s, %s\n", ESTUARY_VERSION, OpenSSL_version(OPENSSL_VERSION));
}
