#include "scripted_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define CONNECTIONS_MAX 1024 /* in the life of a server */

struct connection {
    struct scripted_server *server;
    pthread_t thread;
    int socket; /* -1: closed; guarded by the server's mutex */
    unsigned number;
};

struct scripted_server {
    struct server_settings settings;
    SSL_CTX *tls;
    int listener, stopper; /* stopper is an eventfd that stays readable once rung */
    uint16_t port;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t closed; /* some connection */
    struct server_counts counts;
    struct connection connections[CONNECTIONS_MAX];
};

static SSL_CTX *make_tls(const struct server_settings *settings);
static void *accept_all(void *user);
static void start_connection(struct scripted_server *server, int socket);
static void *serve(void *user);
static void wait_for_end(int socket);
static void serve_requests(struct connection *connection, SSL *ssl);
static bool read_request(SSL *ssl, char *text, size_t size, char **body);
static void note_handshake(struct scripted_server *server, SSL *ssl);
static void note_request(struct scripted_server *server, const struct server_request *request);
static void reset_on_close(int socket);

struct scripted_server *scripted_server_start(const struct server_settings *settings)
{
    struct scripted_server *server = calloc(1, sizeof *server);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    assert_non_null(server);
    signal(SIGPIPE, SIG_IGN);

    server->settings = *settings;
    server->tls = make_tls(settings);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    server->stopper = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(server->listener, 128), 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &len), 0);
    server->port = ntohs(address.sin_port);
    pthread_mutex_init(&server->mutex, NULL);
    pthread_cond_init(&server->closed, NULL);
    assert_int_equal(pthread_create(&server->thread, NULL, accept_all, server), 0);
    return server;
}

static SSL_CTX *make_tls(const struct server_settings *settings)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    assert_non_null(tls);
    if (settings->tls_version_max == TLS1_1_VERSION) {
        SSL_CTX_set_min_proto_version(tls, TLS1_VERSION);
        SSL_CTX_set_security_level(tls, 0);
    }
    SSL_CTX_set_max_proto_version(tls, settings->tls_version_max);
    assert_int_equal(SSL_CTX_use_certificate(tls, settings->identity->certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(tls, settings->identity->key), 1);
    if (settings->client_ca == NULL)
        return tls;
    X509_STORE_add_cert(SSL_CTX_get_cert_store(tls), settings->client_ca->certificate);
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return tls;
}

static void *accept_all(void *user)
{
    struct scripted_server *server = user;
    int listener = server->listener;
    for (;;) {
        struct pollfd fds[2] = {{.fd = listener, .events = POLLIN},
                                {.fd = server->stopper, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            abort();
        if (fds[1].revents != 0)
            return NULL;
        int socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (socket < 0 && errno == EINVAL)
            listener = -1; /* server_close_port */
        if (socket >= 0)
            start_connection(server, socket);
    }
}

static void start_connection(struct scripted_server *server, int socket)
{
    pthread_mutex_lock(&server->mutex);
    if (server->counts.connections == CONNECTIONS_MAX)
        abort();
    struct connection *connection = &server->connections[server->counts.connections++];
    connection->server = server;
    connection->socket = socket;
    connection->number = server->counts.connections;
    if (pthread_create(&connection->thread, NULL, serve, connection) != 0)
        abort();
    pthread_mutex_unlock(&server->mutex);
}

static void *serve(void *user)
{
    struct connection *connection = user;
    struct scripted_server *server = connection->server;
    int socket = connection->socket; /* only this thread closes it */
    SSL *ssl = SSL_new(server->tls);
    SSL_set_fd(ssl, socket);

    if (server->settings.silent) {
        struct pollfd fd = {.fd = server->stopper, .events = POLLIN};
        poll(&fd, 1, -1);
    } else if (SSL_accept(ssl) == 1) {
        note_handshake(server, ssl);
        serve_requests(connection, ssl);
    } else {
        wait_for_end(socket);
    }
    SSL_free(ssl);
    ERR_clear_error();
    pthread_mutex_lock(&server->mutex);
    close(socket);
    connection->socket = -1;
    pthread_cond_broadcast(&server->closed);
    pthread_mutex_unlock(&server->mutex);
    return NULL;
}

/* To close with unread octets would be a reset, which may overtake the alert. */
static void wait_for_end(int socket)
{
    char octets[1024];
    shutdown(socket, SHUT_WR);
    while (recv(socket, octets, sizeof octets, 0) > 0)
        ;
}

static void serve_requests(struct connection *connection, SSL *ssl)
{
    struct server_request request = {
        .server = connection->server,
        .ssl = ssl,
        .socket = connection->socket,
        .connection = connection->number,
    };
    char *text = malloc(SERVER_TEXT_MAX), *body;
    enum server_verdict verdict = SERVER_KEEP;

    while (verdict == SERVER_KEEP && read_request(ssl, text, SERVER_TEXT_MAX, &body)) {
        request.number++;
        request.is_post = strncmp(text, "POST ", 5) == 0;
        request.head = text;
        request.body = body;
        note_request(connection->server, &request);
        verdict = connection->server->settings.answer(&request);
    }
    if (verdict == SERVER_CLOSE)
        SSL_shutdown(ssl);
    if (verdict == SERVER_RESET)
        reset_on_close(connection->socket);
    free(text);
}

/* Reads up to the end of the body; the empty line becomes the end of the head. */
static bool read_request(SSL *ssl, char *text, size_t size, char **body)
{
    size_t len = 0, wanted = SIZE_MAX;
    *body = NULL;
    while (len < wanted && len + 1 < size) {
        int got = SSL_read(ssl, text + len, (int)(size - 1 - len));
        if (got <= 0)
            return false;
        len += (size_t)got;
        text[len] = '\0';
        if (*body == NULL && (*body = strstr(text, "\r\n\r\n")) != NULL) {
            const char *content_length = strcasestr(text, "\r\nContent-Length:");
            *body += 4;
            wanted = (size_t)(*body - text);
            if (content_length != NULL && content_length < *body)
                wanted += strtoul(content_length + 17, NULL, 10);
        }
    }
    if (*body == NULL)
        return false;
    (*body)[-2] = '\0';
    return true;
}

static void note_handshake(struct scripted_server *server, SSL *ssl)
{
    X509 *client = SSL_get1_peer_certificate(ssl);
    pthread_mutex_lock(&server->mutex);
    server->counts.handshakes++;
    snprintf(server->counts.protocol, sizeof server->counts.protocol, "%s", SSL_get_version(ssl));
    if (client != NULL)
        X509_NAME_oneline(X509_get_subject_name(client), server->counts.client, sizeof server->counts.client);
    pthread_mutex_unlock(&server->mutex);
    X509_free(client);
}

static void note_request(struct scripted_server *server, const struct server_request *request)
{
    pthread_mutex_lock(&server->mutex);
    if (request->is_post)
        server->counts.posts++;
    else
        server->counts.gets++;
    snprintf(server->counts.head, sizeof server->counts.head, "%s", request->head);
    snprintf(server->counts.body, sizeof server->counts.body, "%s", request->body);
    pthread_mutex_unlock(&server->mutex);
}

static void reset_on_close(int socket)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(socket, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

uint16_t scripted_server_port(const struct scripted_server *server)
{
    return server->port;
}

void scripted_server_count(struct scripted_server *server, struct server_counts *counts)
{
    pthread_mutex_lock(&server->mutex);
    *counts = server->counts;
    pthread_mutex_unlock(&server->mutex);
}

/* shutdown for reading alone sends nothing, but wakes the thread, which closes; that sends RST. */
void scripted_server_drop_all(struct scripted_server *server)
{
    pthread_mutex_lock(&server->mutex);
    for (unsigned i = 0; i < server->counts.connections; i++) {
        const struct connection *connection = &server->connections[i];
        if (connection->socket < 0)
            continue;
        reset_on_close(connection->socket);
        shutdown(connection->socket, SHUT_RD);
        while (connection->socket >= 0)
            pthread_cond_wait(&server->closed, &server->mutex);
    }
    pthread_mutex_unlock(&server->mutex);
}

void scripted_server_stop(struct scripted_server *server)
{
    eventfd_write(server->stopper, 1);
    pthread_join(server->thread, NULL);
    pthread_mutex_lock(&server->mutex);
    for (unsigned i = 0; i < server->counts.connections; i++) {
        if (server->connections[i].socket >= 0)
            shutdown(server->connections[i].socket, SHUT_RDWR);
    }
    pthread_mutex_unlock(&server->mutex);
    for (unsigned i = 0; i < server->counts.connections; i++)
        pthread_join(server->connections[i].thread, NULL);
    close(server->listener);
    close(server->stopper);
    SSL_CTX_free(server->tls);
    pthread_cond_destroy(&server->closed);
    pthread_mutex_destroy(&server->mutex);
    free(server);
}

void server_send(const struct server_request *request, const char *text)
{
    SSL_write(request->ssl, text, (int)strlen(text));
}

void server_respond(const struct server_request *request, const char *status, const char *content_type,
                    const char *body)
{
    char head[512];
    snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", status,
             content_type, strlen(body));
    server_send(request, head);
    if (*body != '\0')
        server_send(request, body);
}

void server_close_port(const struct server_request *request)
{
    shutdown(request->server->listener, SHUT_RDWR);
}

void server_pause(const struct server_request *request, unsigned ms)
{
    struct pollfd fd = {.fd = request->server->stopper, .events = POLLIN};
    poll(&fd, 1, (int)ms);
}
