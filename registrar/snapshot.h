/* Everything that SIGHUP replaces, loaded from one configuration file: a whole set, so that a reload happens
 * in full or not at all. */
#ifndef ESTUARY_REGISTRAR_SNAPSHOT_H
#define ESTUARY_REGISTRAR_SNAPSHOT_H

#include "common/bytes.h"
#include "registrar/settings.h"

#include <stdatomic.h>

struct access_rules;
struct dtls_credentials;
struct key_directory;
struct ra_credentials;
struct revocation_lists;
struct server_group;

/* Immutable, reference counted, thread safe. Every pointer is one reference to an object of the same kind. */
struct snapshot {
    atomic_uint references;
    struct dtls_credentials *dtls_credentials;
    struct revocation_lists *revocations;
    struct ra_credentials *ra_credentials;
    struct server_group *servers;
    struct key_directory *key_directory; /* NULL: none */
    struct access_rules *access_rules;
};

/* Reads all files that the reloadable keys of the settings name; may take seconds: not for a loop. Gives the
 * first reference; on failure NULL, and errors has a line for each thing wrong. warnings has one for each
 * thing that will hurt later. Borrows settings for the call. */
struct snapshot *snapshot_load(const struct settings *settings, struct buffer *errors,
                               struct buffer *warnings);
struct snapshot *snapshot_hold(struct snapshot *snapshot);
void snapshot_release(struct snapshot *snapshot); /* NULL is ignored */

#endif
