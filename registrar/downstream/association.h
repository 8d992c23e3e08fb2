/* One association of a worker: DTLS below, the CoAP server above, the exchanges beside, and the timer of all.
 */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_ASSOCIATION_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_ASSOCIATION_H

#include "registrar/downstream/dtls_association.h"
#include "registrar/downstream/flow.h"
#include "registrar/exchange/exchange.h"

struct association;
struct event_base;

/* How much longer than it was told to wait a device finds its association (SES-2). */
#define ASSOCIATION_KEEP_MARGIN_MS 30000

/* A client that has lost its rights is heard until it can have repeated a request whose answer got lost. */
#define ASSOCIATION_FAREWELL_TIMEOUTS 2 /* ACK_TIMEOUT * ACK_RANDOM_FACTOR, RFC 7252 section 4.2 */

/* What all associations of one worker share; everything is borrowed for the life of each association. */
struct association_context {
    const struct settings *settings;
    struct event_base *base;
    struct metrics *metrics;
    struct dtls_association_context dtls;
    struct exchanges *exchanges;
    struct est_reply reply; /* to which handle and request are added */
};

struct association_events {
    void (*established)(void *user); /* once */
    void (*active)(void *user);      /* an authentic record came */
    void (*ended)(void *user);       /* closed, failed or expired: free it, now */
    void *user;
};

/* Borrows flow for its life, copies events and borrows their user. handle is what exchanges know it by.
 * Gives; NULL: no memory. */
struct association *association_create(const struct association_context *context, const struct flow *flow,
                                       uint64_t handle, const struct association_events *events);
void association_free(struct association *association);

/* One datagram; the first must be the ClientHello with a good cookie. After this the association may be gone,
 * as after association_answer: ended may have been called. */
void association_receive(struct association *association, uint64_t now_ms, struct bytes datagram);

/* The answer of an exchange. */
void association_answer(struct association *association, uint64_t now_ms, uint32_t request,
                        const struct est_answer *answer);

/* Sends close_notify when established; does not call ended. */
void association_close(struct association *association);

/* Requests or responses are under way. */
bool association_is_busy(const struct association *association);

/* Established, not busy, and no device was told to come back: may be closed for others (SES-2). */
bool association_is_idle(const struct association *association, uint64_t now_ms);

/* As dtls_association_failed. */
bool association_failed(const struct association *association, struct buffer *reason);

/* As dtls_association_standing; once established. */
enum client_standing association_standing(const struct association *association);

/* Once established: as dtls_association_is_resumed. */
bool association_is_resumed(const struct association *association);

/* Once established. Borrows. */
const struct client_identity *association_client(const struct association *association);

#endif
