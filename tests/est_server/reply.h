/* Redirects, postponements and refusals, and the fields that a label adds to any response. */
#ifndef EST_SERVER_REPLY_H
#define EST_SERVER_REPLY_H

#include "transaction.h"

/* These complete the response and give DONE. */
int reply_redirect(struct transaction *transaction);
int reply_later(struct transaction *transaction); /* 202 */

/* Turns the response into a refusal with that status. */
void reply_refusal(struct transaction *transaction, int status);

/* Adds the fields that a label asks for and that any response may have, and its framing. */
void reply_finish(struct transaction *transaction);

/* The HTTP authentication scheme that counts for this request. */
enum http_scheme reply_http_scheme(const struct transaction *transaction);

#endif
