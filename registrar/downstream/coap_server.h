/* Serves the CoAP requests of one association: options and path checked, bodies assembled, discovery
 * answered, the rest handed to the exchange. Joins message_layer and block_transfer; knows no socket, loop or
 * clock. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_COAP_SERVER_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_COAP_SERVER_H

#include "common/bytes.h"
#include "registrar/exchange/exchange.h"
#include "registrar/settings.h"

struct metrics;
struct coap_server;

/* Neither callback may free the server; both are called from within the functions below. */
struct coap_server_context {
    const struct settings *settings;                 /* borrowed */
    struct metrics *metrics;                         /* borrowed */
    struct client_identity *client;                  /* borrowed for the life of the server */
    void (*send)(void *user, struct bytes datagram); /* towards the client */
    /* Whether a new request may come in (exchanges_admit). */
    struct exchange_admission (*admit)(void *user);
    /* An exchange; its client is set, its binding is not, and everything is borrowed for the call. May call
     * coap_server_answer.
     */
    void (*start)(void *user, uint32_t request, struct est_request *est_request);
    void *user;
};

/* Gives; NULL: no memory. */
struct coap_server *coap_server_create(const struct coap_server_context *context);
void coap_server_free(struct coap_server *server);

/* The largest application record that the association can carry, in octets. */
void coap_server_limit_record(struct coap_server *server, size_t octets);

/* One decrypted record. */
void coap_server_receive(struct coap_server *server, uint64_t now_ms, struct bytes datagram);

/* The answer to a request handed to start; a request that is unknown (long gone) is ignored. */
void coap_server_answer(struct coap_server *server, uint64_t now_ms, uint32_t request,
                        const struct est_answer *answer);

void coap_server_tick(struct coap_server *server, uint64_t now_ms);
uint64_t coap_server_deadline(const struct coap_server *server);

/* Work in flight: requests unanswered (their exchanges run), responses unacknowledged. */
bool coap_server_busy(const struct coap_server *server);

/* The latest moment at which a device was told to come back (now + Max-Age of a 5.03), 0: none. The
 * association is kept until then and a margin (SES-2). */
uint64_t coap_server_keep_until(const struct coap_server *server);

#endif
