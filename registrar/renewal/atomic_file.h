/* Replaces a file as a whole: whenever the power fails, it holds the old content or the new. */
#ifndef ESTUARY_REGISTRAR_RENEWAL_ATOMIC_FILE_H
#define ESTUARY_REGISTRAR_RENEWAL_ATOMIC_FILE_H

#include "common/bytes.h"

#include <stdbool.h>

#define ATOMIC_FILE_SUFFIX_MAX 16 /* octets that a path must leave room for, below PATH_MAX */

/* Borrowed for the call. */
struct atomic_file {
    const char *path; /* no symbolic link: a rename would replace it */
    const char *like; /* the new file gets this one's owner, and its mode but for others; NULL: mode 0600 */
    bool keeps_old;   /* what path holds stays as PATH.old */
};

/* On failure STATUS_SYSTEM with errno, and path holds what it held. */
enum status atomic_file_replace(const struct atomic_file *file, struct bytes content);

#endif
