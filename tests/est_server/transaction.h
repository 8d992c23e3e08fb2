/* One request on its way through the EST service: what is known of it, and what will be answered. */
#ifndef EST_SERVER_TRANSACTION_H
#define EST_SERVER_TRANSACTION_H

#include "behaviour.h"
#include "certification_request.h"
#include "est_service.h"

/* What a step says: go on, the answer is complete, or (100 and above) the HTTP status that refuses the
 * request. */
enum verdict { NEXT = 0, DONE = 1 };

struct transaction {
    struct est_service *service;
    struct connection *connection;
    const struct http_request *request;
    const struct operation *operation; /* NULL: the path names none */
    char label[LABEL_LIMIT + 1];       /* "" for none */
    struct behaviour behaviour;
    const X509 *client; /* borrowed from the connection, NULL without a certificate */
    bool client_is_ra;
    struct certification_request csr;
    EVP_PKEY *generated; /* serverkeygen */
    X509 *issued;
    struct http_response *response;
    struct delivery delivery;
    const char *reason; /* of a refusal, for people */
};

typedef int transaction_step(struct transaction *transaction);

/* Refuses with that status and reason: for use as "return transaction_refuse(...)". */
int transaction_refuse(struct transaction *transaction, int status, const char *reason);

#endif
