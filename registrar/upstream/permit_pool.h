/* The connections that the whole process may have to the EST server: max_connections is one promise, whatever
 * the number of workers, and a connection that is kept open between two requests counts as well. One permit
 * only serves GETs, so that enrolments never starve /crts (RA-5). Thread safe. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_PERMIT_POOL_H
#define ESTUARY_REGISTRAR_UPSTREAM_PERMIT_POOL_H

#include "common/mailbox.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct metrics;
struct permit_holder; /* one worker's account with the pool */
struct permit_pool;

/* One request's claim to a permit; embedded in the request, zeroed before its first use. */
struct permit_request {
    struct permit_request *next; /* in the pool's queue, or among those that are granted and not yet told */
    bool is_get;                 /* the caller's to set */
    enum { PERMIT_NONE, PERMIT_WAITING, PERMIT_GRANTED, PERMIT_HELD } state;
    struct permit_holder *holder;
    uint64_t ticket; /* its place in the order of arrival */
};

/* Called on the loop of the holder's mailbox; they must not free the holder. */
struct permit_events {
    void (*granted)(void *user, struct permit_request *request); /* the wait is over: it is HELD now */
    void (*recall)(void *user,
                   size_t count); /* close that many kept connections (or all, if there are fewer):
                                     the pool takes their permits back when this returns */
};

/* permits ≥ 2, of which one only serves GETs; queue bounds how many wait. Gives; NULL: no memory. Borrows
 * metrics. */
struct permit_pool *permit_pool_create(size_t permits, size_t queue, struct metrics *metrics);
void permit_pool_free(struct permit_pool *pool); /* after all its holders */

/* Borrows all but events, which is copied. Gives; NULL: no memory. */
struct permit_holder *permit_holder_create(struct permit_pool *pool, struct mailbox *mailbox,
                                           const struct permit_events *events, void *user);

/* After every request of it has ended and its connections are closed. The mailbox is freed later. */
void permit_holder_free(struct permit_holder *holder);

/* STATUS_OK: the permit is HELD. STATUS_BUSY: it waits, and granted() will be called; first come, first
 * served among its kind. STATUS_TOO_LARGE: the queue is full. */
enum status permit_ask(struct permit_holder *holder, struct permit_request *request);

/* Gives back the permit, or the place in the queue, whatever its state; granted() will not be called any
 * more. The connection must be closed by now. */
void permit_end(struct permit_request *request);

/* Instead of permit_end: the connection of a HELD permit shall be kept open. True: the permit is parked with
 * the holder. False: somebody else waits for it: close the connection, then call permit_end. */
bool permit_park(struct permit_request *request);

/* A kept connection shall be closed, because of its age for instance. True: the holder has a parked permit
 * for it: close it, then call permit_release. False: that permit is already recalled or promised: just close
 * it. */
bool permit_unpark(struct permit_holder *holder);
void permit_release(struct permit_holder *holder);

#endif
