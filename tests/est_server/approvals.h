/* Enrolments that wait for somebody's approval (202 and Retry-After, RFC 7030 section 4.2.3). */
#ifndef EST_SERVER_APPROVALS_H
#define EST_SERVER_APPROVALS_H

#include "fingerprint.h"

#include <stdbool.h>

struct approvals;

/* What approves an enrolment besides approvals_grant. */
struct approval_rule {
    unsigned attempts; /* at that attempt; 0: never */
    unsigned wait_ms;  /* that long after the first attempt; 0: never */
};

struct approvals *approvals_create(void);
void approvals_free(struct approvals *approvals);

/* Whether the key's enrolment under that label is approved now; the approval is used up by that. Counts an
 * attempt otherwise. */
bool approvals_ask(struct approvals *approvals, const char *label, const struct fingerprint *key,
                   const struct approval_rule *rule);

/* Approves what waits under label, or everything where label is NULL; gives how many that are. */
unsigned approvals_grant(struct approvals *approvals, const char *label);

#endif
