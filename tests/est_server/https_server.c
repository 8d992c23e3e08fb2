#include "https_server.h"

#include "memory.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

union address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

struct https_server {
    struct event_base *base;
    SSL_CTX *tls;
    struct evconnlistener *listener;
    struct connection_owner connections;
    struct connection_owner observer; /* whom the callbacks are meant for */
    unsigned max_handled, handled;
    uint16_t port;
    char url[80];
};

static bool listen_at(struct https_server *server, const char *address, uint16_t port);
static bool read_port(struct https_server *server, const char *address);
static void on_accept(struct evconnlistener *listener, evutil_socket_t socket, struct sockaddr *peer, int len,
                      void *context);
static struct http_response *on_request(void *context, struct connection *connection,
                                        const struct http_request *request, struct delivery *delivery);
static void on_opened(void *context);
static void on_established(void *context, const struct connection *connection);
static void on_closed(void *context, const struct connection *connection);

struct https_server *https_server_create(struct event_base *base, SSL_CTX *tls,
                                         const struct https_server_settings *settings)
{
    struct https_server *server = memory_allocate(sizeof(*server));
    server->base = base;
    server->tls = tls;
    server->max_handled = settings->max_handled;
    server->observer = settings->connections;
    server->connections = settings->connections;
    server->connections.context = server;
    server->connections.answer = on_request;
    server->connections.opened = on_opened;
    server->connections.established = on_established;
    server->connections.closed = on_closed;
    if (listen_at(server, settings->address, settings->port))
        return server;
    fprintf(stderr, "est-server: cannot listen on %s port %u: %s\n", settings->address, settings->port,
            evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
    https_server_free(server);
    return NULL;
}

void https_server_free(struct https_server *server)
{
    if (server == NULL)
        return;
    while (server->connections.first != NULL)
        connection_free(server->connections.first);
    if (server->listener != NULL)
        evconnlistener_free(server->listener);
    free(server);
}

static bool listen_at(struct https_server *server, const char *address, uint16_t port)
{
    enum { BACKLOG = 1024 };
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *found;
    if (getaddrinfo(address, NULL, &hints, &found) != 0)
        return false;
    if (found->ai_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)found->ai_addr)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)(void *)found->ai_addr)->sin_port = htons(port);
    server->listener =
        evconnlistener_new_bind(server->base, on_accept, server, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE,
                                BACKLOG, found->ai_addr, (int)found->ai_addrlen);
    freeaddrinfo(found);
    return server->listener != NULL && read_port(server, address);
}

static bool read_port(struct https_server *server, const char *address)
{
    union address bound = {.six = {0}};
    socklen_t len = sizeof(bound);
    if (getsockname(evconnlistener_get_fd(server->listener), &bound.any, &len) != 0)
        return false;
    bool six = bound.any.sa_family == AF_INET6;
    server->port = ntohs(six ? bound.six.sin6_port : bound.four.sin_port);
    snprintf(server->url, sizeof(server->url), six ? "https://[%s]:%u" : "https://%s:%u", address,
             server->port);
    return true;
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t socket, struct sockaddr *peer, int len,
                      void *context)
{
    (void)listener;
    (void)peer;
    (void)len;
    struct https_server *server = context;
    int on = 1;
    SSL *ssl = SSL_new(server->tls);
    if (ssl == NULL) {
        evutil_closesocket(socket);
        return;
    }
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    connection_create(server->base, &server->connections, socket, ssl);
}

static struct http_response *on_request(void *context, struct connection *connection,
                                        const struct http_request *request, struct delivery *delivery)
{
    struct https_server *server = context;
    return server->observer.answer(server->observer.context, connection, request, delivery);
}

static void on_opened(void *context)
{
    struct https_server *server = context;
    if (++server->handled >= server->max_handled)
        evconnlistener_disable(server->listener);
    server->observer.opened(server->observer.context);
}

static void on_established(void *context, const struct connection *connection)
{
    struct https_server *server = context;
    server->observer.established(server->observer.context, connection);
}

static void on_closed(void *context, const struct connection *connection)
{
    struct https_server *server = context;
    server->handled--;
    evconnlistener_enable(server->listener);
    server->observer.closed(server->observer.context, connection);
}

const char *https_server_url(const struct https_server *server)
{
    return server->url;
}

uint16_t https_server_port(const struct https_server *server)
{
    return server->port;
}
