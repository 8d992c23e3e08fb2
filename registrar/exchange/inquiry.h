/* What is asked of the EST server, once, however often devices ask: an enrolment through the pending table
 * (DLY-3, DLY-4), what everybody gets alike through the response cache. */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_INQUIRY_H
#define ESTUARY_REGISTRAR_EXCHANGE_INQUIRY_H

#include "common/bytes.h"
#include "registrar/exchange/est_outcome.h"
#include "registrar/exchange/exchange.h"
#include "registrar/protocol/certificate_request.h"

struct inquiry;

/* All is borrowed until inquiry_free. */
struct inquiry_subject {
    const struct est_operation *operation;
    struct bytes label;
    const struct client_identity *client;
    const struct certificate_request *csr; /* NULL for GETs */
    struct est_outcome *outcome;           /* what it comes to is written here */
    void (*done)(void *user);              /* the outcome is here; never before inquiry_ask returns */
    void *user;
};

/* What the log and the message layer want to know. */
struct inquiry_report {
    const char *source;    /* "cache", "pending", "timeout" …: static */
    unsigned http_status;  /* 0: none */
    bool reached;          /* the EST server has or may have acted on it */
    bool repeats_in_doubt; /* it may have acted on it before, unknown to us: this one may be a second issue */
};

enum inquiry_verdict {
    INQUIRY_ANSWERED, /* the outcome is here already, and done will not be called */
    INQUIRY_WAITS     /* done will be called once */
};

/* Gives; NULL: no memory. services outlives it. */
struct inquiry *inquiry_create(const struct exchange_services *services,
                               const struct inquiry_subject *subject);

/* Whether the same CSR, to the octet, has passed all checks before and its enrolment is still known (DLY-7).
 */
bool inquiry_has_passed(const struct exchange_services *services, const struct inquiry_subject *subject);

/* Asks, or finds out without asking. body is for the EST server, empty for GETs; it is copied. */
enum inquiry_verdict inquiry_ask(struct inquiry *inquiry, struct bytes body);

struct inquiry_report inquiry_report(const struct inquiry *inquiry);

/* The device was handed the outcome. */
void inquiry_delivered(struct inquiry *inquiry);

/* What a GET asked for can wait no longer: fills in the outcome with what may be served stale meanwhile.
 * False: there is nothing. The inquiry runs on. */
bool inquiry_settle_for_stale(struct inquiry *inquiry);

/* A key that is being made is given up: true where there was one, and the outcome then is to come back. done
 * will not be called. */
bool inquiry_give_up_key(struct inquiry *inquiry);

/* Whether nobody needs the outcome: true for whoever merely waits for what another exchange fetches, and done
 * will then not be called. An enrolment is never left, nor is a fetch that others wait for. */
bool inquiry_leave(struct inquiry *inquiry);

/* Settles it early, the registrar stops: what runs is recorded as in doubt, and those who wait for it are
 * told. The est_client must not call back any more. */
void inquiry_abandon(struct inquiry *inquiry);

/* Ends it, abandoned if need be. Memory may stay behind until the mailbox is freed. */
void inquiry_free(struct inquiry *inquiry);

#endif
