/* What the EST server's response, or its silence, means for the device and for a repetition of its request
 * (requirements A8). Pure: no socket, loop or clock. */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_EST_OUTCOME_H
#define ESTUARY_REGISTRAR_EXCHANGE_EST_OUTCOME_H

#include "common/bytes.h"
#include "registrar/translate/response_body.h"
#include "registrar/upstream/est_response.h"

enum est_outcome_kind {
    OUTCOME_RESULT,  /* content is the DER of what was asked for, checked */
    OUTCOME_NOTHING, /* there is none to get: 204 to a GET */
    OUTCOME_WAIT,    /* the EST server says when to come back: 5.03 */
    OUTCOME_REFUSED, /* code says why; nothing was issued */
    OUTCOME_IN_DOUBT /* code says why; but the EST server may have issued a certificate */
};

struct est_outcome {
    enum est_outcome_kind kind;
    uint8_t code;          /* CoAP */
    uint32_t max_age_s;    /* RESULT and NOTHING of a GET: remaining freshness; with 5.03: the wait */
    bool may_be_stale;     /* RESULT and NOTHING of a GET: it may be served beyond that */
    struct buffer content; /* DER, or a diagnostic payload */
    struct buffer serial;  /* of the certificate, in hexadecimal (SEC-2); empty but for enrolments */
};

void est_outcome_init(struct est_outcome *outcome, size_t limit);
void est_outcome_free(struct est_outcome *outcome); /* wipes */

/* Sets all but a result. diagnostic may be "". */
void est_outcome_refuse(struct est_outcome *outcome, uint8_t code, const char *diagnostic);

/* Fills in outcome. A 200 counts as RESULT only when its body is what was asked for (PAY-8). now_unix counts
 * where Retry-After is a date and the response has none. */
void est_outcome_judge(const struct response_context *asked, const struct est_response *response,
                       int64_t now_unix, struct est_outcome *outcome);

#endif
