/* Keeps what is reloadable up to date: the whole configuration on SIGHUP, and lists that others write as soon
 * as they change. Everything is read off all loops, on a thread of its own, and used in full or not at all.
 */
#ifndef ESTUARY_REGISTRAR_RELOAD_H
#define ESTUARY_REGISTRAR_RELOAD_H

#include "common/bytes.h"
#include "registrar/settings.h"
#include "registrar/snapshot.h"

struct event_base;
struct mailbox;
struct reload;

/* Everything is borrowed, but for the snapshot. */
struct reload_context {
    const char *file;
    const struct settings *settings; /* those that the registrar starts with */
    struct snapshot *snapshot;       /* of these; a reference of its own is taken */
    struct event_base *base;         /* of the main thread, where all functions are called */
    struct mailbox *mailbox;         /* likewise */
    uint32_t retry_ms;               /* after parts could not be loaded */
    /* What begins from now on shall use the snapshot instead of the one before; once it does, reload_adopted
     * is to be called. Never called before it was. */
    void (*offer)(void *user, const struct snapshot *before, struct snapshot *snapshot);
    void *user;
};

/* Copies context. Gives; NULL: no memory. */
struct reload *reload_create(const struct reload_context *context);

/* Waits for the thread; nothing is offered any more, and nothing begins. */
void reload_stop(struct reload *reload); /* NULL is ignored */

/* Only once it is stopped, and then its mailbox freed. */
void reload_free(struct reload *reload);

/* The configuration file is to be read anew, and all that it names. While one reload is under way, just one
 * more will follow, however often it is asked for. The log tells how it went. */
void reload_begin(struct reload *reload);

/* So are the files of these parts (enum snapshot_part), with the configuration as it is. If they are refused,
 * that is tried again later, but for those that are watched, until they were loaded. */
void reload_begin_parts(struct reload *reload, unsigned parts);

void reload_adopted(struct reload *reload);

/* What is in use, or was offered last. Both borrow. */
const struct settings *reload_settings(const struct reload *reload);
const struct snapshot *reload_snapshot(const struct reload *reload);

#endif
