/* One libcoap client session, over DTLS or without security, driven from outside: it never blocks. */
#ifndef DEVICE_SESSION_H
#define DEVICE_SESSION_H

#include <coap3/coap.h>

#include "dtls_client.h"
#include "server_address.h"

struct session_settings {
    const struct server_address *server; /* borrowed for the call */
    struct dtls_offer offer;             /* used when the server is coaps; borrowed for the session's life */
    uint16_t local_port;                 /* 0: any */
    unsigned ack_timeout_ms;             /* RFC 7252 section 4.8; 0: two seconds */
    int max_retransmit;                  /* -1: four */
    int handshake_retransmit;            /* of a DTLS flight; -1: as max_retransmit */
    void (*on_response)(void *receiver, const coap_pdu_t *response, const coap_address_t *from);
    void *receiver;
};

enum session_state {
    SESSION_CONNECTING,
    SESSION_CONNECTED,
    SESSION_FAILED /* see session_trouble; it stays so */
};

struct session;

/* Gives a session whose handshake has begun, NULL when it could not begin. */
struct session *session_open(const struct session_settings *settings, struct explanation *why);

/* Closes it; a DTLS peer is told with close_notify unless silently. */
void session_close(struct session *session, bool silently);

/* Does whatever is due now. Responses reach on_response from here only. */
void session_process(struct session *session);

/* A file descriptor that is readable when there is something to process. */
int session_descriptor(const struct session *session);

/* Milliseconds after which session_process wants to be called; -1 for never. */
int session_due_ms(const struct session *session);

enum session_state session_state(const struct session *session);

/* Why it failed, in words; and whether the same attempt would fail the same way. */
const char *session_trouble(const struct session *session);
bool session_was_refused(const struct session *session);

/* Takes the message. False when it could not be sent. */
bool session_send(struct session *session, coap_pdu_t *message);

/* Borrows libcoap's session, to build messages for. */
coap_session_t *session_libcoap(struct session *session);

/* Borrows; NULL without DTLS. */
const struct dtls_client *session_dtls(const struct session *session);

#endif
