/* What the webhook is asked about a request, and what it may answer: JSON (docs/configuration.md). Pure. */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_ACCESS_QUESTION_H
#define ESTUARY_REGISTRAR_EXCHANGE_ACCESS_QUESTION_H

#include "common/bytes.h"
#include "registrar/protocol/certificate_request.h"
#include "registrar/protocol/client_identity.h"
#include "registrar/protocol/est_operation.h"

/* Borrowed for the call. */
struct access_question {
    const struct client_identity *client;
    const struct est_operation *operation;
    struct bytes label;
    const char *rule;                      /* that wants it to be asked */
    const struct certificate_request *csr; /* NULL: none */
};

enum access_answer { ANSWER_UNUSABLE, ANSWER_ALLOW, ANSWER_DENY };

/* Appends it, without any secret: no key, no challengePassword. STATUS_NO_MEMORY, or STATUS_MALFORMED for
 * names that are no text. */
enum status access_question_write(const struct access_question *question, struct buffer *json);

/* {"decision": "allow"}, or {"decision": "deny", "reason": "…"}. Other keys mean nothing. Appends the reason,
 * cut to what reason may hold, and with "?" for all that is not visible ASCII: it goes to the device and into
 * the log. */
enum access_answer access_answer_read(struct bytes json, struct buffer *reason);

#endif
