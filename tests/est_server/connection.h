/* One TLS connection of a client: reads requests, has each answered, and delivers the answer as badly as it
 * is told to. */
#ifndef EST_SERVER_CONNECTION_H
#define EST_SERVER_CONNECTION_H

#include "http_request.h"
#include "http_response.h"

#include <event2/util.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

struct connection;

enum ending {
    SEND_ALL,
    CUT_OFF, /* close in the middle of the body */
    SILENT,  /* close without an octet, and without TLS close_notify */
    RESET,   /* the same with a TCP RST */
    HANG,    /* never send anything */
    NOT_HTTP /* send octets that are no HTTP */
};

struct delivery {
    unsigned delay_ms;
    const bool *released;       /* the answer waits until this is true; NULL: for nothing */
    unsigned octets_per_second; /* 0: as fast as it goes */
    enum ending ending;
};

/* What connections need of the server that owns them, and their list. It outlives them. */
struct connection_owner {
    void *context;
    /* Gives a response and fills in its delivery. */
    struct http_response *(*answer)(void *context, struct connection *connection,
                                    const struct http_request *request, struct delivery *delivery);
    void (*opened)(void *context);
    void (*established)(void *context, const struct connection *connection);
    void (*closed)(void *context, const struct connection *connection); /* called last of all */
    unsigned handshake_timeout_ms;                                      /* 0: none */
    unsigned idle_timeout_ms;
    bool ignores_expect; /* as libest: never says 100 Continue, for which clients wait a second */
    bool holds_idle;     /* as libest: after the idle timeout it waits for the client to close */
    uint64_t accepted;
    struct connection *first;
};

struct event_base;

/* Takes socket and ssl. The connection is in owner's list until it ends and frees itself. */
void connection_create(struct event_base *base, struct connection_owner *owner, evutil_socket_t socket,
                       SSL *ssl);
void connection_free(struct connection *connection);

const SSL *connection_ssl(const struct connection *connection); /* borrows */
bool connection_is_established(const struct connection *connection);
uint64_t connection_number(const struct connection *connection); /* 1, 2, ... in order of arrival */
unsigned
connection_requests(const struct connection *connection); /* read so far, the one being answered included */

/* A mark that answer may leave: this connection carried what is to be counted. */
void connection_set_used(struct connection *connection);
bool connection_is_used(const struct connection *connection);

#endif
