/* Asks the EST server over HTTPS (RFC 7030) on a worker's own event loop, with RA credentials. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_EST_CLIENT_H
#define ESTUARY_REGISTRAR_UPSTREAM_EST_CLIENT_H

#include "common/bytes.h"
#include "registrar/protocol/est_operation.h"
#include "registrar/settings.h"

struct event_base;
struct mailbox;
struct metrics;
struct permit_pool;
struct est_client;
struct est_call;

enum est_result {
    EST_ANSWERED,  /* a complete HTTP response is here, whatever its status */
    EST_NOT_SENT,  /* refused, unreachable, DNS failure, connect timeout: no octet of the request has left */
    EST_TIMEOUT,   /* no (complete) answer in time after the request was (partly) sent */
    EST_BROKEN,    /* connection lost, malformed or oversized answer after the request was (partly) sent */
    EST_UNTRUSTED, /* TLS handshake or verification failed; no octet of the request has left */
    EST_QUEUE_FULL /* 5.03: no permit and no room in the queue */
};

/* Views are borrowed for the callback. Header values are "" when absent. */
struct est_response {
    enum est_result result;
    unsigned http_status;
    struct bytes content_type, retry_after, date, cache_control, age, body;
    const char *reason; /* why it is not EST_ANSWERED, for the log; static or borrowed; never NULL */
};

struct est_call_settings {
    const struct est_operation *operation;
    struct bytes label;          /* copied; empty: default_label */
    struct bytes body;           /* copied; base64 already */
    void (*sending)(void *user); /* right before the first octet of the request can leave; may be NULL */
    void (*done)(void *user,
                 const struct est_response *response); /* exactly once, never before est_client_ask returns */
    void *user;
};

/* Borrows all. Loads the RA credentials and trust anchors: on failure NULL, and errors names file and cure.
 */
struct est_client *est_client_create(const struct upstream_settings *settings, struct event_base *base,
                                     struct mailbox *mailbox, struct permit_pool *permits,
                                     struct metrics *metrics, struct buffer *errors);

/* Ends what still runs; its callbacks are not called any more. */
void est_client_free(struct est_client *client);

/* STATUS_OK: done will be called, on the loop. STATUS_NO_MEMORY: it will not. A POST once sent is never
 * repeated by the client itself. */
enum status est_client_ask(struct est_client *client, const struct est_call_settings *call);

/* Loads what est_client_create would, and appends what will hurt later to warnings (RA-1): certificate
 * without id-kp-cmcRA or clientAuth, about to expire, a key that does not match is an error. For
 * --check-config. */
enum status est_client_check(const struct upstream_settings *settings, struct buffer *errors,
                             struct buffer *warnings);

#endif
