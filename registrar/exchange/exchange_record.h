/* The line that an exchange leaves in the log (SEC-2): who asked for what, and what came of it. Never a CSR,
 * never a key. Pure. */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_EXCHANGE_RECORD_H
#define ESTUARY_REGISTRAR_EXCHANGE_EXCHANGE_RECORD_H

#include "common/bytes.h"
#include "registrar/protocol/client_identity.h"
#include "registrar/protocol/est_operation.h"

/* Borrows everything. */
struct exchange_record {
    const struct client_identity *client;
    const struct est_operation *operation;
    struct bytes label;
    const char *source;    /* what the answer is from: "registrar", "cache", "pending", "timeout" … */
    unsigned http_status;  /* stands in place of source; 0: none */
    uint8_t code;          /* that the device got */
    uint8_t outcome;       /* that came later, when the device had been told to come back (DLY-3); else 0 */
    bool repeats_in_doubt; /* an enrolment in doubt was asked for again (in_doubt: retry) */
    uint32_t elapsed_ms;
    const char *rule;        /* of access.rules that decided; NULL: none did */
    struct bytes serial;     /* of the certificate that was issued; empty: none */
    struct bytes diagnostic; /* of a refusal; empty: none */
};

/* Appends "client="CN=…" trust=domain operation=sen …", one line without its end. */
void exchange_record_write(const struct exchange_record *record, struct buffer *line);

#endif
