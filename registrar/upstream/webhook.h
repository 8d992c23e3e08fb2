/* Puts questions in JSON to a service of the operator, over HTTPS or a Unix socket, on a worker's event loop:
 * so many at a time, so many waiting, each for so long. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_WEBHOOK_H
#define ESTUARY_REGISTRAR_UPSTREAM_WEBHOOK_H

#include "common/bytes.h"
#include "registrar/settings.h"

#define WEBHOOK_ANSWER_MAX 4096 /* octets of an answer's body */

struct event_base;
struct webhook;
struct webhook_call;

/* Borrowed for the call that hands it over. */
struct webhook_answer {
    unsigned http_status; /* 0: there is no answer */
    struct bytes body;
    const char *failure; /* why there is none; NULL: there is one */
};

/* Called once, on the loop, never before webhook_ask has returned. The call is gone then. */
typedef void webhook_done(void *user, const struct webhook_answer *answer);

/* Borrows settings and base. Reads the trust anchors: on failure NULL, and errors says which file and why. */
struct webhook *webhook_create(const struct webhook_settings *settings, struct event_base *base,
                               struct buffer *errors);

/* When no call is left: each was answered or cancelled. */
void webhook_free(struct webhook *webhook);

/* Posts question, which is copied, to access.webhook.url. An answer that takes longer than
 * access.webhook.timeout_ms, waiting included, is a failure. NULL: access.webhook.queue questions wait
 * already, or no memory; done is not called. */
struct webhook_call *webhook_ask(struct webhook *webhook, struct bytes question, webhook_done *done,
                                 void *user);

/* done will not be called. NULL is ignored. */
void webhook_cancel(struct webhook_call *call);

/* Reads what webhook_create would: STATUS_OK, or errors has a line. */
enum status webhook_check(const struct webhook_settings *settings, struct buffer *errors,
                          struct buffer *warnings);

#endif
