/* The command line of est-server. */
#ifndef EST_SERVER_OPTIONS_H
#define EST_SERVER_OPTIONS_H

#include "est_service.h"

enum { OPTION_REPEATS = 16 /* how often an option may be repeated that may */, PKI_FILES = 6 };

/* Every option's argument is a text, a number or one of some words; the texts are borrowed from argv, or from
 * pki_files. */
struct options {
    const char *address;
    unsigned port, control_port;
    bool has_control_port;
    const char *port_file;
    const char *pki;
    const char *certificate, *key;
    const char *ca, *ca_key;
    const char *client_cas[OPTION_REPEATS + 1]; /* NULL-terminated, as is labels */
    const char *labels[OPTION_REPEATS + 1];
    unsigned authentication; /* enum authentication */
    unsigned http_scheme;    /* enum http_scheme */
    const char *user, *password_file;
    const char *csrattrs, *cacerts;
    unsigned validity_days;
    unsigned tls_max; /* a version of OpenSSL's, 0: any */
    bool libest;
    unsigned idle_timeout_ms, max_connections;
    const char *log;
    unsigned log_entries;

    char *pki_files[PKI_FILES]; /* owned */
};

enum options_verdict { OPTIONS_RUN, OPTIONS_END, OPTIONS_WRONG };

/* Fills in options. OPTIONS_END after --help and its like have printed, OPTIONS_WRONG after a message to
 * stderr. */
enum options_verdict options_read(struct options *options, int argc, char *argv[]);
void options_clear(struct options *options);

#endif
