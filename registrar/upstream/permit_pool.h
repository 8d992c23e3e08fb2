/* The connections that the whole process may have to the EST server: max_connections is one promise, whatever
 * the number of workers. One permit is kept for GETs, so that enrolments never starve /crts. Thread safe. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_PERMIT_POOL_H
#define ESTUARY_REGISTRAR_UPSTREAM_PERMIT_POOL_H

#include "common/mailbox.h"

#include <stdbool.h>
#include <stddef.h>

struct permit_pool;
struct metrics;

/* One request's place in the queue; embedded in the request that waits. */
struct permit_request {
    struct permit_request *next, *previous; /* of the queue */
    struct letter letter;                   /* posted to mailbox when the permit is granted */
    struct mailbox *mailbox;                /* borrowed: the waiting worker's */
    bool is_get;
    enum { PERMIT_NONE, PERMIT_WAITING, PERMIT_GRANTED } state;
};

/* permits ≥ 2, of which one only serves GETs; queue bounds how many wait. Gives; NULL: no memory. metrics is
 * borrowed. */
struct permit_pool *permit_pool_create(size_t permits, size_t queue, struct metrics *metrics);
void permit_pool_free(struct permit_pool *pool);

/* STATUS_OK: granted at once. STATUS_BUSY: waits, and its letter will be posted once granted, first come
 * first served among its kind. STATUS_TOO_LARGE: the queue is full. request->letter.open, mailbox and is_get
 * are the caller's to set before. */
enum status permit_pool_ask(struct permit_pool *pool, struct permit_request *request);

/* Returns a granted permit (perhaps one whose letter is still unopened: the owner must still let it open
 * before freeing the request, unless permit_pool_cancel said true), and wakes whoever is next. */
void permit_pool_return(struct permit_pool *pool, struct permit_request *request);

/* Leaves the queue. False: the permit was granted meanwhile, and the letter is posted or opened. */
bool permit_pool_cancel(struct permit_pool *pool, struct permit_request *request);

#endif
