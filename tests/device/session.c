#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"

enum { LIBCOAP_TIMEOUT_S = 10 };

/* Retransmission faster than libcoap allows, see hurry_set. */
struct hurry {
    unsigned ack_timeout_ms; /* 0: libcoap keeps the time */
    bool waiting;            /* for the answer to the last message */
    unsigned first_ms;
    unsigned retransmissions;
    int64_t due_ms;
};

struct session {
    coap_context_t *context;
    coap_session_t *libcoap;
    struct dtls_client *dtls; /* NULL without security */
    enum session_state state;
    struct explanation trouble;
    struct server_address server;
    int64_t opened_ms;
    uint16_t max_retransmit;
    struct hurry hurry;
    unsigned flight_ms; /* how long the first flight of a handshake waits for an answer */
    void (*on_response)(void *receiver, const coap_pdu_t *response, const coap_address_t *from);
    void *receiver;
};

static bool create_context(struct session *session);
static bool connect_session(struct session *session, const struct session_settings *settings);
static coap_session_t *connect_dtls(struct session *session, const coap_address_t *local);
static void local_address(coap_address_t *local, const struct server_address *server, uint16_t port);
static void set_transmission(struct session *session, const struct session_settings *settings);
static void hurry_set(struct session *session, unsigned ack_timeout_ms);
static void hurry_begin(struct hurry *hurry);
static void hurry_process(struct session *session);
static coap_response_t on_response(coap_session_t *libcoap, const coap_pdu_t *sent,
                                   const coap_pdu_t *received, const coap_mid_t id);
static void on_nack(coap_session_t *libcoap, const coap_pdu_t *sent, const coap_nack_reason_t reason,
                    const coap_mid_t id);
static const char *nack_in_words(coap_nack_reason_t reason);
static int on_event(coap_session_t *libcoap, const coap_event_t event);
static const char *end_in_words(const struct session *session);
static void fail(struct session *session, const char *what);
static struct session *session_of(const coap_session_t *libcoap);

struct session *session_open(const struct session_settings *settings, struct explanation *why)
{
    struct session *session = calloc(1, sizeof(*session));
    if (session == NULL) {
        explain(why, "out of memory");
        return NULL;
    }
    session->server = *settings->server;
    session->opened_ms = monotonic_ms();
    session->flight_ms = settings->offer.timeout_ms == 0 ? 1000 : settings->offer.timeout_ms;
    session->on_response = settings->on_response;
    session->receiver = settings->receiver;
    if (session->server.secure)
        session->dtls = dtls_client_create(&settings->offer);
    if ((session->server.secure && session->dtls == NULL) || !create_context(session) ||
        !connect_session(session, settings)) {
        struct address_text where = address_in_words(&session->server.socket);
        explain(why, "no session with %s could be started: %s", where.text, session_trouble(session));
        session_close(session, true);
        return NULL;
    }
    return session;
}

static bool create_context(struct session *session)
{
    session->context = coap_new_context(NULL);
    if (session->context == NULL)
        return false;
    coap_set_app_data(session->context, session);
    coap_register_response_handler(session->context, on_response);
    coap_register_nack_handler(session->context, on_nack);
    coap_register_event_handler(session->context, on_event);
    return coap_context_get_coap_fd(session->context) >= 0;
}

static bool connect_session(struct session *session, const struct session_settings *settings)
{
    coap_address_t local;
    const coap_address_t *bind_to = settings->local_port == 0 ? NULL : &local;
    local_address(&local, &session->server, settings->local_port);
    if (session->server.secure) {
        session->libcoap = connect_dtls(session, bind_to);
    } else {
        session->libcoap =
            coap_new_client_session(session->context, bind_to, &session->server.socket, COAP_PROTO_UDP);
        session->state = SESSION_CONNECTED;
    }
    if (session->libcoap == NULL)
        return false;
    set_transmission(session, settings);
    return true;
}

/* libcoap gets no keys and no trust: both are set on its SSL by dtls_client, since libcoap 4.3.1 sends the
 * first certificate of a file only, and adds the trust anchors to those of the system. */
static coap_session_t *connect_dtls(struct session *session, const coap_address_t *local)
{
    coap_dtls_pki_t setup = {.version = COAP_DTLS_PKI_SETUP_VERSION, .verify_peer_cert = 1};
    dtls_client_adopt_next(session->dtls);
    coap_session_t *libcoap = coap_new_client_session_pki(session->context, local, &session->server.socket,
                                                          COAP_PROTO_DTLS, &setup);
    dtls_client_adopt_none();
    return libcoap;
}

static void local_address(coap_address_t *local, const struct server_address *server, uint16_t port)
{
    coap_address_init(local);
    local->size = server->socket.size;
    local->addr.sa.sa_family = server->socket.addr.sa.sa_family;
    coap_address_set_port(local, port);
}

static void set_transmission(struct session *session, const struct session_settings *settings)
{
    unsigned ms = settings->ack_timeout_ms;
    coap_fixed_point_t timeout = {(uint16_t)(ms / 1000), (uint16_t)(ms % 1000)};
    session->max_retransmit =
        settings->max_retransmit < 0 ? COAP_DEFAULT_MAX_RETRANSMIT : (uint16_t)settings->max_retransmit;
    bool handshake = session->server.secure && settings->handshake_retransmit >= 0;
    coap_session_set_max_retransmit(session->libcoap, handshake ? (uint16_t)settings->handshake_retransmit
                                                                : session->max_retransmit);
    if (ms >= 1000)
        coap_session_set_ack_timeout(session->libcoap, timeout);
    else if (ms > 0)
        hurry_set(session, ms);
}

/* libcoap takes no ACK_TIMEOUT below one second. It gets one that never comes to bear, and is told at our own
 * times that the time has come: coap_io_prepare_epoll retransmits what is due at the moment that it is given.
 */
static void hurry_set(struct session *session, unsigned ack_timeout_ms)
{
    const coap_fixed_point_t never = {LIBCOAP_TIMEOUT_S, 0};
    const coap_fixed_point_t exactly = {1, 0};
    coap_session_set_ack_timeout(session->libcoap, never);
    coap_session_set_ack_random_factor(session->libcoap, exactly);
    session->hurry.ack_timeout_ms = ack_timeout_ms;
}

/* RFC 7252 section 4.2: between ACK_TIMEOUT and that times ACK_RANDOM_FACTOR, 1.5. */
static void hurry_begin(struct hurry *hurry)
{
    uint8_t dice = 0;
    if (hurry->ack_timeout_ms == 0)
        return;
    coap_prng(&dice, sizeof(dice));
    hurry->waiting = true;
    hurry->retransmissions = 0;
    hurry->first_ms = hurry->ack_timeout_ms + hurry->ack_timeout_ms * dice / 510;
    hurry->due_ms = monotonic_ms() + hurry->first_ms;
}

/* libcoap's n-th retransmission is due LIBCOAP_TIMEOUT_S * 2^n after the one before; half as much again is
 * late enough for that one and too early for the next. */
static void hurry_process(struct session *session)
{
    coap_tick_t now;
    struct hurry *hurry = &session->hurry;
    if (!hurry->waiting || session->state != SESSION_CONNECTED || monotonic_ms() < hurry->due_ms)
        return;
    coap_ticks(&now);
    coap_tick_t late =
        ((coap_tick_t)LIBCOAP_TIMEOUT_S << hurry->retransmissions) * COAP_TICKS_PER_SECOND * 3 / 2;
    hurry->waiting = hurry->retransmissions < session->max_retransmit;
    hurry->retransmissions++;
    hurry->due_ms += (int64_t)hurry->first_ms << hurry->retransmissions;
    coap_io_prepare_epoll(session->context, now + late);
}

void session_close(struct session *session, bool silently)
{
    if (session == NULL)
        return;
    SSL *ssl = session->dtls == NULL || session->libcoap == NULL
                   ? NULL
                   : coap_session_get_tls(session->libcoap, NULL);
    if (silently && ssl != NULL)
        SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    if (session->libcoap != NULL)
        coap_session_release(session->libcoap);
    if (session->context != NULL)
        coap_free_context(session->context);
    dtls_client_free(session->dtls);
    free(session);
}

void session_process(struct session *session)
{
    coap_io_process(session->context, COAP_IO_NO_WAIT);
    hurry_process(session);
}

int session_descriptor(const struct session *session)
{
    return coap_context_get_coap_fd(session->context);
}

int session_due_ms(const struct session *session)
{
    coap_tick_t now;
    coap_ticks(&now);
    unsigned due = coap_io_prepare_epoll(session->context, now);
    int64_t left = session->hurry.due_ms - monotonic_ms();
    if (session->hurry.waiting && (due == 0 || left < due))
        return left < 0 ? 0 : (int)left;
    return due == 0 ? -1 : (int)due;
}

enum session_state session_state(const struct session *session)
{
    return session->state;
}

const char *session_trouble(const struct session *session)
{
    const char *handshake = session->dtls == NULL ? NULL : dtls_client_trouble(session->dtls);
    if (handshake != NULL)
        return handshake;
    return session->trouble.text[0] == '\0' ? "no reason known" : session->trouble.text;
}

bool session_was_refused(const struct session *session)
{
    return session->dtls != NULL && dtls_client_was_refused(session->dtls);
}

bool session_send(struct session *session, coap_pdu_t *message)
{
    hurry_begin(&session->hurry);
    return coap_send(session->libcoap, message) != COAP_INVALID_MID;
}

coap_session_t *session_libcoap(struct session *session)
{
    return session->libcoap;
}

const struct dtls_client *session_dtls(const struct session *session)
{
    return session->dtls;
}

static coap_response_t on_response(coap_session_t *libcoap, const coap_pdu_t *sent,
                                   const coap_pdu_t *received, const coap_mid_t id)
{
    struct session *session = session_of(libcoap);
    (void)sent;
    (void)id;
    session->hurry.waiting = false;
    session->on_response(session->receiver, received, coap_session_get_addr_remote(libcoap));
    return COAP_RESPONSE_OK;
}

static void on_nack(coap_session_t *libcoap, const coap_pdu_t *sent, const coap_nack_reason_t reason,
                    const coap_mid_t id)
{
    struct session *session = session_of(libcoap);
    (void)sent;
    (void)id;
    fail(session, reason == COAP_NACK_TLS_FAILED ? end_in_words(session) : nack_in_words(reason));
}

static const char *nack_in_words(coap_nack_reason_t reason)
{
    static const char *const words[] = {
        [COAP_NACK_TOO_MANY_RETRIES] = "no acknowledgement: the message was sent MAX_RETRANSMIT + 1 times",
        [COAP_NACK_NOT_DELIVERABLE] = "the message could not be delivered",
        [COAP_NACK_RST] = "the server answered with a Reset message",
        [COAP_NACK_ICMP_ISSUE] = "the port is unreachable, nothing listens there (ICMP)",
    };
    if ((size_t)reason < sizeof(words) / sizeof(words[0]) && words[reason] != NULL)
        return words[reason];
    return "libcoap gave the message up";
}

static int on_event(coap_session_t *libcoap, const coap_event_t event)
{
    struct session *session = session_of(libcoap);
    if (session == NULL || session->dtls == NULL)
        return 0;
    if (event == COAP_EVENT_DTLS_CONNECTED) {
        dtls_client_connected(session->dtls, coap_session_get_tls(libcoap, NULL));
        session->state = SESSION_CONNECTED;
        coap_session_set_max_retransmit(libcoap,
                                        session->max_retransmit); /* it was the handshake's until now */
    } else if (event == COAP_EVENT_DTLS_CLOSED || event == COAP_EVENT_DTLS_ERROR) {
        fail(session, end_in_words(session));
    }
    return 0;
}

/* libcoap reports an unreachable port and a silent one alike; the former is known before the first flight
 * times out. */
static const char *end_in_words(const struct session *session)
{
    if (session->state != SESSION_CONNECTING)
        return "the DTLS association ended before the message was answered";
    if (monotonic_ms() - session->opened_ms < session->flight_ms)
        return "no DTLS handshake: the port is unreachable, nothing listens there";
    return "no DTLS handshake: nobody answered";
}

/* The first reason is the one that counts. */
static void fail(struct session *session, const char *what)
{
    if (session->state != SESSION_FAILED)
        explain(&session->trouble, "%s", what);
    session->state = SESSION_FAILED;
}

static struct session *session_of(const coap_session_t *libcoap)
{
    return coap_get_app_data(coap_session_get_context(libcoap));
}
