/* One request and its whole answer, both block by block where they are large (RFC 7959), over libcoap's
 * messages.
 *
 * The blocks are driven here and not by libcoap's large-body mode, for two reasons: that mode forgets an
 * answer that comes later than its own timers (obgm/libcoap issue 1465), where RFC 9148 section 4.7 lets a
 * registrar take its time; and it hides each single block, where this client has to say what a registrar did
 * with them. */
#ifndef DEVICE_EXCHANGE_H
#define DEVICE_EXCHANGE_H

#include <coap3/coap.h>

#include "explanation.h"
#include "octets.h"

struct exchange_request {
    uint8_t method;      /* COAP_REQUEST_CODE_GET or COAP_REQUEST_CODE_POST */
    const char *path;    /* borrowed; "/.well-known/est/sen" */
    const char *query;   /* borrowed; "rt=ace.est*", NULL for none */
    int content_format;  /* CONTENT_FORMAT_NONE for no option */
    int accept;          /* likewise */
    struct view body;    /* borrowed */
    struct view etag;    /* borrowed; of what we have already, up to 8 octets (RFC 7252 section 5.10.6) */
    unsigned block_size; /* 16 to 1024 for both directions; 0: 1024 for the request, the server's choice for
                            the answer */
    bool confirmable;
    bool ask_size; /* send Size2 0: how large will the answer be? (RFC 7959 section 4) */
};

struct exchange_answer {
    uint8_t code;
    bool separate; /* came in a message of its own and not in the ACK (RFC 7252 section 5.2.2) */
    int content_format;
    int64_t max_age; /* seconds; -1 when the option was absent */
    uint8_t etag[8];
    size_t etag_length; /* 0 when absent */
    struct octets payload;
    size_t announced_size; /* Size2; 0 when absent */
    unsigned blocks_sent;  /* messages that carried a part of the body, or the whole */
    unsigned blocks_received;
    unsigned block1_size; /* of the last block sent; 0 when the body went in one piece */
    unsigned block2_size;
    struct explanation
        remarks; /* what the server did that RFC 7959 does not allow, yet could be lived with */
};

enum exchange_state {
    EXCHANGE_SEND,  /* exchange_next_message has one to send */
    EXCHANGE_WAIT,  /* for the response to it */
    EXCHANGE_DONE,  /* the answer is whole */
    EXCHANGE_BROKEN /* it cannot go on; see exchange_fault */
};

struct exchange;

/* Gives an exchange that has yet to send its first message; what the request borrows must outlive it. */
struct exchange *exchange_create(const struct exchange_request *request);

/* Gives another exchange that awaits a response to the same message: a multicast request has one answer from
 * each who heard it (RFC 7252 section 8.2). */
struct exchange *exchange_twin(const struct exchange *exchange);

void exchange_free(struct exchange *exchange);

enum exchange_state exchange_state(const struct exchange *exchange);

/* Gives the next message for coap_send, NULL when it cannot be built. The state is EXCHANGE_WAIT afterwards.
 */
coap_pdu_t *exchange_next_message(struct exchange *exchange, coap_session_t *session);

/* Takes in a response. Ignores one that does not carry the token of the last message. */
void exchange_take_response(struct exchange *exchange, const coap_pdu_t *response);

/* Borrows the answer; whole once the state is EXCHANGE_DONE. */
const struct exchange_answer *exchange_answer(const struct exchange *exchange);

/* Borrows the sentence that says why the exchange is EXCHANGE_BROKEN. */
const char *exchange_fault(const struct exchange *exchange);

#endif
