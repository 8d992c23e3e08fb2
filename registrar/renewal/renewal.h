/* Renews the registrar's own certificates at the EST server before they end: the RA's (upstream.renew) and
 * the one that devices see (dtls.renew). Each lies in one file with its key (identity_file). */
#ifndef ESTUARY_REGISTRAR_RENEWAL_RENEWAL_H
#define ESTUARY_REGISTRAR_RENEWAL_RENEWAL_H

#include "common/bytes.h"
#include "registrar/settings.h"
#include "registrar/upstream/est_client.h"

struct renewal;

struct renewal_context {
    const struct settings *settings;     /* borrowed; a reload may change which files they name */
    struct est_client_services services; /* of the loop that it runs on; renewal takes what a client takes */
    bool by_hand; /* each at once, once, due or not; upstream's whatever settings say */
    /* Neither may free the renewal. */
    void (*renewed)(void *user);          /* a file is new, and to be loaded; NULL: nobody cares */
    void (*ended)(void *user, bool well); /* by hand: each has had its try */
    void *user;
};

/* Gives; NULL: errors says why. Begins by itself: what is due is asked for at once, all else is looked at
 * from time to time. A failure is a warning in the log, near the end an error, and tried again, each time
 * later. */
struct renewal *renewal_create(const struct renewal_context *context, struct buffer *errors);
void renewal_free(struct renewal *renewal);

/* Its own, which a reload gives new credentials and EST servers. Borrows. */
struct est_client *renewal_client(const struct renewal *renewal);

/* The settings may name other files now: they are looked at, but for what is under way. */
void renewal_look(const struct renewal *renewal);

/* Seconds until the next try after this many failures in a row, with as much of the certificate's life left:
 * from a minute up to a day, and sooner than an eighth of what is left. */
uint32_t renewal_delay_s(unsigned failures, int64_t left_s);

/* Appends what stands in the way of a renewal, or of learning trust anchors, that settings switch on. */
void renewal_check(const struct settings *settings, struct buffer *warnings);

#endif
