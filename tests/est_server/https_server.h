/* A port on which connections are accepted, as many at a time as are to be handled. */
#ifndef EST_SERVER_HTTPS_SERVER_H
#define EST_SERVER_HTTPS_SERVER_H

#include "connection.h"

struct https_server;

struct https_server_settings {
    const char *address;                 /* IPv4, or IPv6 without brackets */
    uint16_t port;                       /* 0: a free one */
    unsigned max_handled;                /* connections at a time; further ones wait in the backlog */
    struct connection_owner connections; /* callbacks and times; context is given to them */
};

/* Borrows base and tls until it is freed. NULL after a message to stderr. */
struct https_server *https_server_create(struct event_base *base, SSL_CTX *tls,
                                         const struct https_server_settings *settings);
/* Ends all connections. */
void https_server_free(struct https_server *server);

/* "https://127.0.0.1:40001"; borrows. */
const char *https_server_url(const struct https_server *server);
uint16_t https_server_port(const struct https_server *server);

#endif
