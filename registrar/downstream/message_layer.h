/* The message layer of one association (RFC 7252 section 4): duplicates, acknowledgements, separate
 * responses, retransmission, RST and ping. Knows no socket, loop or clock: callers pass monotonic
 * milliseconds. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_MESSAGE_LAYER_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_MESSAGE_LAYER_H

#include "common/coap_message.h"
#include "registrar/settings.h"

struct metrics;
struct message_layer;

/* Requests of one association that wait for their response, or whose separate response waits for its ACK, at
 * a time. (NSTART binds clients only, RFC 7252 section 4.7; this is what bounds our own CON messages.) */
#define MESSAGE_OPEN_MAX 4
#define MESSAGE_RING     64 /* message ids remembered for duplicate detection */
#define MESSAGE_KEPT_MAX 4  /* of those, the last ones whose response octets are kept */

/* Octets of the longest response: what RFC 7252 section 4.6 gives as the upper bound of a message. */
#define MESSAGE_OCTETS_MAX 1152

/* Both are called from within the functions below; neither may free the layer. */
struct message_layer_events {
    void (*send)(void *user, struct bytes datagram);
    /* A request that is no duplicate: answer it, now or later, with message_layer_respond or
     * message_layer_reject. message borrows. */
    void (*request)(void *user, uint64_t now_ms, uint32_t request, const struct coap_message *message);
    void *user;
};

/* EXCHANGE_LIFETIME of RFC 7252 section 4.8.2: MAX_TRANSMIT_SPAN + 2 * MAX_LATENCY + PROCESSING_DELAY. The
 * span is that of the settings or of the RFC's default parameters, whichever is longer: a client that
 * retransmits faster than it is configured here, or less often, is covered as well. 247 s by default, and
 * never less. (No copy of a request leaves later than MAX_TRANSMIT_SPAN after its first, so that
 * MAX_TRANSMIT_WAIT does not matter here.) */
uint64_t message_layer_exchange_lifetime_ms(const struct coap_settings *settings);

/* Borrows settings, metrics and the user of events. Gives; NULL: no memory. */
struct message_layer *message_layer_create(const struct coap_settings *settings, struct metrics *metrics,
                                           const struct message_layer_events *events);
void message_layer_free(struct message_layer *layer);

/* One datagram of the client. A duplicate of a CON gets what the first copy got: the same response octets, an
 * empty ACK where an empty ACK was sent (DLY-2), RST. While its request is open and no ACK is out it gets
 * nothing, for an answer or an ACK is due soon. Where the octets are no longer kept, a request that had an
 * effect or carries a block of a body gets nothing, any other one is processed again (RFC 7252 section 4.5
 * allows it). No room for a new request (MESSAGE_OPEN_MAX; a ring full of ids that must not be forgotten):
 * dropped and counted, the client will retransmit. */
void message_layer_receive(struct message_layer *layer, uint64_t now_ms, struct bytes datagram);

/* Answers: type, id and token of response are set here. Piggybacked while the request's ACK is not out, else
 * a separate response (CON for a CON request, and for a NON one NON) that is retransmitted until
 * acknowledged. had_effect: the message id is never forgotten before EXCHANGE_LIFETIME. Unknown (long gone)
 * requests are ignored. The octets of a response with secret_ms are kept for that time only. */
void message_layer_respond(struct message_layer *layer, uint64_t now_ms, uint32_t request,
                           struct coap_message *response, bool had_effect);

/* Silence: a request that must not be answered at all; a CON is rejected with RST (RFC 7252 section 4.2), a
 * NON ignored. */
void message_layer_reject(struct message_layer *layer, uint32_t request);

/* Sends what is due: empty ACKs after separate_after_ms, retransmissions. */
void message_layer_tick(struct message_layer *layer, uint64_t now_ms);

/* When the next tick is due; MONOTONIC_NEVER: nothing is. */
uint64_t message_layer_deadline(const struct message_layer *layer);

/* Requests unanswered or responses unacknowledged: the association has work in flight (SES-2). */
bool message_layer_busy(const struct message_layer *layer);

#endif
