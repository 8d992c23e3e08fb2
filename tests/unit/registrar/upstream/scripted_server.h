/* A TLS server in threads of the test, which answers each HTTP request as a function of the test says, and
 * counts what reached it. */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_UPSTREAM_SCRIPTED_SERVER_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_UPSTREAM_SCRIPTED_SERVER_H

#include "test_pki.h"

#include <openssl/ssl.h>

#include <stdbool.h>
#include <stdint.h>

struct scripted_server;

#define SERVER_TEXT_MAX 65536

struct server_request {
    struct scripted_server *server;
    SSL *ssl;
    int socket;
    unsigned connection, number; /* from 1: the how-manieth connection, and request on it */
    bool is_post;
    const char *head, *body; /* NUL-terminated */
};

enum server_verdict {
    SERVER_KEEP,  /* wait for the next request */
    SERVER_CLOSE, /* say goodbye and close */
    SERVER_DROP,  /* close without TLS's goodbye, as libest does */
    SERVER_RESET  /* RST */
};

struct server_settings {
    const struct identity *identity, *client_ca; /* client_ca NULL: clients need no certificate */
    int tls_version_max;                         /* TLS1_1_VERSION, …; 0: any */
    bool silent;                                 /* accepts connections and never says a word */
    enum server_verdict (*answer)(const struct server_request *request); /* in a thread of the server */
};

/* What has been seen so far. */
struct server_counts {
    unsigned connections; /* accepted */
    unsigned handshakes, gets, posts;
    char head[4096];   /* of the last request */
    char body[4096];   /* of the last request */
    char client[256];  /* subject of the last client certificate */
    char protocol[16]; /* "TLSv1.3" */
};

/* Listens on 127.0.0.1 at a free port. Fails the test when it cannot. */
struct scripted_server *scripted_server_start(const struct server_settings *settings);
uint16_t scripted_server_port(const struct scripted_server *server);
void scripted_server_count(struct scripted_server *server, struct server_counts *counts);

/* Ends every open connection by RST, and returns when that is done; it goes on to accept new ones. Not while
 * answer runs. */
void scripted_server_drop_all(struct scripted_server *server);

/* Ends all connections and threads. */
void scripted_server_stop(struct scripted_server *server);

/* Within answer: from here on, new connections are refused. */
void server_close_port(const struct server_request *request);

/* Within answer: sends text, or a whole response with a Content-Length. */
void server_send(const struct server_request *request, const char *text);
void server_respond(const struct server_request *request, const char *status, const char *content_type,
                    const char *body);

/* Within answer: sleeps, but not longer than the server lives. */
void server_pause(const struct server_request *request, unsigned ms);

#endif
