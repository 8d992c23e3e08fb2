/* Asks the EST server for its CA certificates once a day, and keeps new roots that the old ones vouch for in
 * upstream.learnt_trust (RFC 7030 section 4.1.3, RA-2). */
#ifndef ESTUARY_REGISTRAR_RENEWAL_TRUST_WATCH_H
#define ESTUARY_REGISTRAR_RENEWAL_TRUST_WATCH_H

#include "common/bytes.h"
#include "registrar/settings.h"
#include "registrar/upstream/est_client.h"

struct trust_watch;

struct trust_watch_context {
    const struct settings *settings; /* borrowed; a reload may change which roots they name */
    struct est_client_services
        services;               /* of the loop that it runs on; the watch takes what a client takes */
    void (*learnt)(void *user); /* the file is new, and to be loaded. May not free the watch */
    void *user;
};

/* Gives; NULL: errors says why. Asks at once, and again each day, or in an hour after a failure. */
struct trust_watch *trust_watch_create(const struct trust_watch_context *context, struct buffer *errors);
void trust_watch_free(struct trust_watch *watch);

/* Its own, which a reload gives new credentials and EST servers. Borrows. */
struct est_client *trust_watch_client(const struct trust_watch *watch);

#endif
