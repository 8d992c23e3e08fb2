/* One device of many: a UDP port of its own, a handshake, and what the task says. */
#ifndef BENCH_FLOW_H
#define BENCH_FLOW_H

#include "common/endpoint.h"

#include <openssl/ssl.h>

enum flow_task {
    FLOW_HANDSHAKE, /* shakes hands and closes */
    FLOW_ENROL,     /* shakes hands, enrols and closes */
    FLOW_HOLD       /* shakes hands and says no more */
};

enum flow_state { FLOW_UNDER_WAY, FLOW_DONE, FLOW_FAILED };

/* What all flows share. All is borrowed. */
struct flow_plan {
    enum flow_task task;
    SSL_CTX *context; /* device_context_create */
    const struct endpoint *server;
    uint8_t szx;         /* of the enrolment's blocks */
    bool wants_ticket;   /* of a full handshake */
    SSL_SESSION *resume; /* NULL: the handshake is a full one */
    SSL_SESSION *
        *session; /* where a finished handshake leaves its session, which the caller frees; or NULL */
};

struct flow;

/* Opens the socket and sends the ClientHello. Gives; NULL after a message on stderr. */
struct flow *flow_start(const struct flow_plan *plan, uint64_t now_ms);

/* The socket is readable, or some time has passed; call it every 100 ms at least. */
enum flow_state flow_step(struct flow *flow, uint64_t now_ms);

int flow_socket(const struct flow *flow);

/* Closes the socket. */
void flow_free(struct flow *flow);

/* Frees all but the socket, which stays bound to its port. Gives the socket. */
int flow_abandon(struct flow *flow);

#endif
