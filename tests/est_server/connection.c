#include "connection.h"

#include "memory.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <sys/socket.h>

enum {
    READ_LIMIT = 1 << 16, /* octets buffered ahead of the request parser */
    LINGER_MS = 2000,     /* how long a client may take to notice that the connection ends */
    DRIP_MS = 100,        /* pace of slow answers */
    HOLD_MS = 10,         /* how often a held answer looks whether it may go */
};

enum state { HANDSHAKE, READING, WAITING, SENDING, CLOSING };

struct connection {
    struct connection_owner *owner;
    struct connection *next, **place; /* in the owner's list */
    SSL *ssl;                         /* owned by events */
    struct bufferevent *events;
    struct event *timer;
    void (*on_time)(struct connection *);
    enum state state;
    uint64_t number;
    unsigned requests;
    bool established, used;
    struct http_request *request;
    struct delivery delivery;
    struct evbuffer *outgoing; /* what is left of the answer */
    bool last;                 /* the connection ends after the answer */
};

static void on_event(struct bufferevent *events, short what, void *context);
static void on_readable(struct bufferevent *events, void *context);
static void on_written(struct bufferevent *events, void *context);
static void on_timer(evutil_socket_t socket, short what, void *context);
static void after(struct connection *connection, unsigned ms, void (*on_time)(struct connection *));
static void await_request(struct connection *connection);
static void read_request(struct connection *connection);
static void answer(struct connection *connection, int verdict);
static void write_response(struct connection *connection, struct http_response *response);
static void deliver(struct connection *connection);
static void send_some(struct connection *connection);
static void finish_answer(struct connection *connection);
static void leave_idle(struct connection *connection);
static void end_orderly(struct connection *connection);
static void reset(struct connection *connection);

void connection_create(struct event_base *base, struct connection_owner *owner, evutil_socket_t socket,
                       SSL *ssl)
{
    struct connection *connection = memory_allocate(sizeof(*connection));
    connection->owner = owner;
    connection->number = ++owner->accepted;
    connection->next = owner->first;
    connection->place = &owner->first;
    if (connection->next != NULL)
        connection->next->place = &connection->next;
    owner->first = connection;
    owner->opened(owner->context);

    connection->ssl = ssl;
    connection->outgoing = evbuffer_new();
    connection->timer = evtimer_new(base, on_timer, connection);
    connection->events =
        bufferevent_openssl_socket_new(base, socket, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_openssl_set_allow_dirty_shutdown(connection->events, 1);
    bufferevent_setcb(connection->events, on_readable, on_written, on_event, connection);
    bufferevent_setwatermark(connection->events, EV_READ, 0, READ_LIMIT);
    bufferevent_enable(connection->events, EV_READ | EV_WRITE);
    if (owner->handshake_timeout_ms > 0)
        after(connection, owner->handshake_timeout_ms, connection_free);
}

void connection_free(struct connection *connection)
{
    struct connection_owner *owner = connection->owner;
    *connection->place = connection->next;
    if (connection->next != NULL)
        connection->next->place = connection->place;
    bufferevent_free(connection->events);
    event_free(connection->timer);
    evbuffer_free(connection->outgoing);
    http_request_free(connection->request);
    owner->closed(owner->context, connection);
    free(connection);
    ERR_clear_error();
}

static void on_event(struct bufferevent *events, short what, void *context)
{
    (void)events;
    struct connection *connection = context;
    if ((what & BEV_EVENT_CONNECTED) == 0) { /* an end or an error */
        connection_free(connection);
        return;
    }
    connection->established = true;
    connection->owner->established(connection->owner->context, connection);
    await_request(connection);
}

static void on_readable(struct bufferevent *events, void *context)
{
    struct connection *connection = context;
    if (connection->state == READING)
        read_request(connection);
    else if (connection->state == CLOSING)
        evbuffer_drain(bufferevent_get_input(events), READ_LIMIT);
}

static void on_written(struct bufferevent *events, void *context)
{
    (void)events;
    struct connection *connection = context;
    if (connection->state == SENDING && evbuffer_get_length(connection->outgoing) == 0)
        finish_answer(connection);
}

static void on_timer(evutil_socket_t socket, short what, void *context)
{
    (void)socket;
    (void)what;
    struct connection *connection = context;
    connection->on_time(connection);
}

static void after(struct connection *connection, unsigned ms, void (*on_time)(struct connection *))
{
    struct timeval delay = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    connection->on_time = on_time;
    evtimer_add(connection->timer, &delay);
}

static void await_request(struct connection *connection)
{
    connection->state = READING;
    http_request_free(connection->request);
    connection->request = http_request_create();
    bool there = evbuffer_get_length(bufferevent_get_input(connection->events)) > 0;
    if (there)
        after(connection, 0, read_request); /* it came while the last one was being answered */
    else
        after(connection, connection->owner->idle_timeout_ms, leave_idle);
}

static void read_request(struct connection *connection)
{
    int verdict = http_request_read(connection->request, bufferevent_get_input(connection->events));
    if (verdict == 100) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        if (!connection->owner->ignores_expect)
            bufferevent_write(connection->events, go_on, sizeof(go_on) - 1);
        verdict = http_request_read(connection->request, bufferevent_get_input(connection->events));
    }
    if (verdict != 0)
        answer(connection, verdict);
    else
        after(connection, connection->owner->idle_timeout_ms, leave_idle);
}

/* Verdict is 200 for a request that could be read, else the status that refuses it. */
static void answer(struct connection *connection, int verdict)
{
    struct connection_owner *owner = connection->owner;
    struct http_response *response;
    connection->state = WAITING;
    connection->requests++;
    connection->delivery = (struct delivery){0};
    evtimer_del(connection->timer);
    if (verdict == 200) {
        response = owner->answer(owner->context, connection, connection->request, &connection->delivery);
    } else {
        response = http_response_create(verdict);
        response->closes = true;
    }
    response->closes |= response->framing == FRAME_END || !http_request_keeps_alive(connection->request);
    connection->last = response->closes;
    write_response(connection, response);
    http_response_free(response);
    if (connection->delivery.delay_ms > 0)
        after(connection, connection->delivery.delay_ms, deliver);
    else
        deliver(connection);
}

static void write_response(struct connection *connection, struct http_response *response)
{
    struct evbuffer *out = connection->outgoing;
    if (connection->delivery.ending == NOT_HTTP) {
        evbuffer_add_printf(out, "This is no HTTP.\r\n\r\n");
        connection->last = true;
        return;
    }
    struct evbuffer *body = evbuffer_new();
    http_response_write_head(response, out);
    http_response_write_body(response, body);
    if (connection->delivery.ending == CUT_OFF) {
        evbuffer_remove_buffer(body, out, evbuffer_get_length(body) / 2);
        connection->last = true;
    } else {
        evbuffer_add_buffer(out, body);
    }
    evbuffer_free(body);
}

static void deliver(struct connection *connection)
{
    const bool *released = connection->delivery.released;
    if (released != NULL && !*released) {
        after(connection, HOLD_MS, deliver);
        return;
    }
    switch (connection->delivery.ending) {
    case HANG:
        return;
    case SILENT:
        connection_free(connection);
        return;
    case RESET:
        reset(connection);
        return;
    case SEND_ALL:
    case CUT_OFF:
    case NOT_HTTP:
        connection->state = SENDING;
        send_some(connection);
        return;
    }
}

/* Everything at once, or one drop of a slow answer. */
static void send_some(struct connection *connection)
{
    struct evbuffer *out = connection->outgoing;
    unsigned pace = connection->delivery.octets_per_second;
    if (pace == 0) {
        evbuffer_pullup(out, -1); /* each piece would become a TLS record of its own */
        bufferevent_write_buffer(connection->events, out);
        return;
    }
    unsigned drops_per_second = pace < 1000 / DRIP_MS ? pace : 1000 / DRIP_MS;
    evbuffer_remove_buffer(out, bufferevent_get_output(connection->events), pace / drops_per_second);
    if (evbuffer_get_length(out) > 0)
        after(connection, 1000 / drops_per_second, send_some);
}

static void finish_answer(struct connection *connection)
{
    if (connection->delivery.ending == CUT_OFF)
        connection_free(connection);
    else if (connection->last)
        end_orderly(connection);
    else
        await_request(connection);
}

/* libest sends its close_notify and then waits in SSL_shutdown for the client, however long that takes. */
static void leave_idle(struct connection *connection)
{
    if (!connection->owner->holds_idle) {
        end_orderly(connection);
        return;
    }
    connection->state = CLOSING;
    SSL_shutdown(connection->ssl);
}

/* RFC 9112 section 9.6: closing both directions at once could destroy what the client has not read yet. */
static void end_orderly(struct connection *connection)
{
    connection->state = CLOSING;
    SSL_shutdown(connection->ssl);
    shutdown(bufferevent_getfd(connection->events), SHUT_WR);
    after(connection, LINGER_MS, connection_free);
}

static void reset(struct connection *connection)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(bufferevent_getfd(connection->events), SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    connection_free(connection);
}

const SSL *connection_ssl(const struct connection *connection)
{
    return connection->ssl;
}

bool connection_is_established(const struct connection *connection)
{
    return connection->established;
}

uint64_t connection_number(const struct connection *connection)
{
    return connection->number;
}

unsigned connection_requests(const struct connection *connection)
{
    return connection->requests;
}

void connection_set_used(struct connection *connection)
{
    connection->used = true;
}

bool connection_is_used(const struct connection *connection)
{
    return connection->used;
}
