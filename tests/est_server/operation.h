/* The operations of RFC 7030 that the server knows, each a path of steps. */
#ifndef EST_SERVER_OPERATION_H
#define EST_SERVER_OPERATION_H

#include "transaction.h"

struct operation {
    const char *name;
    const char *method;
    transaction_step *const *steps; /* NULL-terminated */
};

/* The operation of that name, or NULL. */
const struct operation *operation_named(const char *name);

#endif
