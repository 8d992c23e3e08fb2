/* What is remembered of a transaction, in JSON: for the statistics and the log. */
#ifndef EST_SERVER_RECORD_H
#define EST_SERVER_RECORD_H

#include "transaction.h"

/* Gives a description of the request and of what became of it. */
json_t *record_of_request(const struct transaction *transaction);

/* Gives a description of the certificate that was issued. */
json_t *record_of_issued(const struct transaction *transaction);

#endif
