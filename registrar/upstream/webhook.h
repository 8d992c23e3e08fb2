/* Puts questions in JSON to a service of the operator, over HTTPS or a Unix socket, on a worker's event loop:
 * so many at a time, so many waiting, each for so long. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_WEBHOOK_H
#define ESTUARY_REGISTRAR_UPSTREAM_WEBHOOK_H

#include "common/bytes.h"

#include <stdbool.h>

#define WEBHOOK_ANSWER_MAX 4096 /* octets of an answer's body */

struct event_base;
struct webhook;
struct webhook_call;
struct webhook_service;

/* Borrowed for the call that hands it over. */
struct webhook_answer {
    unsigned http_status; /* 0: there is no answer */
    struct bytes body;
    const char *failure; /* why there is none; NULL: there is one */
};

/* Called once, on the loop, never before webhook_ask has returned. The call is gone then. */
typedef void webhook_done(void *user, const struct webhook_answer *answer);

/* Borrows base; holds service, which may be NULL: nobody. Gives; NULL: no memory. */
struct webhook *webhook_create(struct webhook_service *service, struct event_base *base);

/* When no call is left: each was answered or cancelled. */
void webhook_free(struct webhook *webhook);

/* For questions from now on. Those that were put before are answered by the service that they were put to. */
void webhook_use_service(struct webhook *webhook, struct webhook_service *service);

/* Whether a device passes when there is no answer to a question that is put now. */
bool webhook_fails_open(const struct webhook *webhook);

/* Posts question, which is copied, to the service. An answer that takes longer than its terms allow, waiting
 * included, is a failure. NULL: there is no service, as many questions as may wait do so already, or no
 * memory; done is not called. */
struct webhook_call *webhook_ask(struct webhook *webhook, struct bytes question, webhook_done *done,
                                 void *user);

/* done will not be called. NULL is ignored. */
void webhook_cancel(struct webhook_call *call);

#endif
