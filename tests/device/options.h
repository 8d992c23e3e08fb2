/* The command line: one table says what each option means, reads it, and prints the help. */
#ifndef DEVICE_OPTIONS_H
#define DEVICE_OPTIONS_H

#include <stdio.h>

#include <openssl/x509.h>

#include "certificate_request.h"
#include "operation.h"

enum { OPERATIONS_LIMIT = 64 };

struct options { /* texts are borrowed from argv */
    const char *server;
    const char *certificate_file, *key_file, *trust_file;
    const char *discover_uri, *resource_type;
    const char *root, *label, *subject, *csr_file;
    const char *out_file, *key_out_file, *csr_out_file, *cacerts_out_file;
    const char *ciphers, *groups, *key_type, *verify;
    const char *want_encrypted, *smime_capabilities;
    const char *etag;
    const char *decrypt_key_file, *decrypt_key_id, *decrypt_certificate_file, *decrypt_private_key_file;
    STACK_OF(X509_EXTENSION) * asks; /* owned */
    unsigned accept, block_size, ack_timeout_ms, max_retransmit, response_timeout_ms;
    unsigned attempts, max_wait_s, timeout_s, discover_s, source_port, max_fragment, mtu;
    unsigned handshake_retransmit;
    bool has_handshake_retransmit;
    bool has_max_retransmit, has_max_wait;
    bool pop, pop_wrong, repeat_identical, non, ask_size, renew, strict_anchors, no_ems;
    bool quiet, json, verbose, trace, help, version;
    enum operation operations[OPERATIONS_LIMIT];
    size_t operation_count;
};

/* Reads the command line; false with the reason. */
bool options_read(struct options *options, int argc, char **argv, struct explanation *why);

/* Frees what it owns. */
void options_clear(struct options *options);

void options_print_help(FILE *out);

#endif
