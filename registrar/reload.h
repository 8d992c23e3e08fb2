/* Reads the configuration anew, in full or not at all: off all loops, on a thread of its own. */
#ifndef ESTUARY_REGISTRAR_RELOAD_H
#define ESTUARY_REGISTRAR_RELOAD_H

#include "common/bytes.h"
#include "registrar/settings.h"
#include "registrar/snapshot.h"

struct mailbox;
struct reload;

/* What came of it. */
struct reload_result {
    struct snapshot *snapshot; /* NULL: refused, and nothing changes */
    enum log_level log_level;
    struct buffer errors;   /* why it is refused: a line for each mistake */
    struct buffer warnings; /* lines: what will hurt later */
    struct buffer fixed;    /* lines: the paths of keys that have changed, but only for the next start */
};

/* Everything is borrowed. */
struct reload_context {
    const char *file;
    const struct settings *running; /* as the registrar has started with them */
    struct mailbox *mailbox;        /* of the loop that asks, and is told */
    /* The result is borrowed for the call. The next reload waits for reload_adopted. */
    void (*done)(void *user, struct reload_result *result);
    void *user;
};

/* Copies context. Gives; NULL: no memory. */
struct reload *reload_create(const struct reload_context *context);

/* Waits for the thread; done is not called any more, and nothing begins. */
void reload_stop(struct reload *reload); /* NULL is ignored */

/* Only once it is stopped, and then its mailbox freed. */
void reload_free(struct reload *reload);

/* done will be called, and never before this has returned. While one is under way, just one more will follow,
 * however often it is asked for. False: no thread could be started, with errno. */
bool reload_begin(struct reload *reload);

/* The result is in use, or was refused. False: likewise, for the next one that is due. */
bool reload_adopted(struct reload *reload);

#endif
