/* Everything that SIGHUP replaces, loaded from one configuration file: a whole set, so that a reload happens
 * in full or not at all. */
#ifndef ESTUARY_REGISTRAR_SNAPSHOT_H
#define ESTUARY_REGISTRAR_SNAPSHOT_H

#include "common/bytes.h"
#include "registrar/file_marks.h"
#include "registrar/settings.h"

#include <stdatomic.h>

struct access_rules;
struct dtls_credentials;
struct key_directory;
struct ra_credentials;
struct revocation_lists;
struct server_group;
struct webhook_service;

/* Immutable, reference counted, thread safe. Every pointer is one reference to an object of the same kind. */
struct snapshot {
    atomic_uint references;
    struct dtls_credentials *dtls_credentials;
    struct revocation_lists *revocations;
    struct ra_credentials *ra_credentials;
    struct server_group *servers;
    struct key_directory *key_directory; /* NULL: none */
    struct access_rules *access_rules;
    struct webhook_service *webhook_service; /* NULL: none */
    struct file_marks marks;                 /* of the watched files, from before they were read */
};

enum snapshot_part { /* a set of bits */
                     SNAPSHOT_DTLS_CREDENTIALS = 1 << 0,
                     SNAPSHOT_REVOCATIONS = 1 << 1,
                     SNAPSHOT_RA_CREDENTIALS = 1 << 2,
                     SNAPSHOT_SERVERS = 1 << 3,
                     SNAPSHOT_KEY_DIRECTORY = 1 << 4,
                     SNAPSHOT_ACCESS_RULES = 1 << 5,
                     SNAPSHOT_WEBHOOK_SERVICE = 1 << 6,
                     SNAPSHOT_ALL = (1 << 7) - 1,
                     SNAPSHOT_WATCHED = SNAPSHOT_REVOCATIONS | SNAPSHOT_ACCESS_RULES /* by file_marks */
};

/* What a snapshot is loaded from, and where it is said what is wrong (errors) and what will hurt later: lines
 * that begin with the configuration file's name. Borrowed for the call. */
struct snapshot_source {
    const char *file;
    const struct settings *settings;
    struct buffer *errors, *warnings;
};

/* Reads the files that the settings name for these parts, and takes all others from another snapshot, which
 * may be NULL for SNAPSHOT_ALL; what that one has learnt of EST servers stays known. May take seconds: not
 * for a loop. Gives the first reference; on failure NULL, and there is a line for each thing wrong. */
struct snapshot *snapshot_load(const struct snapshot_source *source, unsigned parts,
                               const struct snapshot *others);
struct snapshot *snapshot_hold(struct snapshot *snapshot);
void snapshot_release(struct snapshot *snapshot); /* NULL is ignored */

#endif
