/* One HTTPS connection to the EST server: carries one request at a time, never the same POST twice (but where
 * a whole 401 asked for a password), and may be kept open between two requests. Everything that is said to
 * libcurl is said here. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_HTTPS_CONNECTION_H
#define ESTUARY_REGISTRAR_UPSTREAM_HTTPS_CONNECTION_H

#include "common/bytes.h"
#include "registrar/settings.h"
#include "registrar/upstream/est_response.h"
#include "registrar/upstream/ra_credentials.h"

#include <curl/curl.h>
#include <stdbool.h>

struct event_base;
struct https_connection;

/* What all connections of one EST client share; borrowed. */
struct https_context {
    struct event_base *base;
    const struct upstream_settings *settings;
    CURLSH *dns; /* looked up once for all of them */
};

/* Everything is borrowed until answered is called. */
struct https_request {
    const char *url;
    const char *accept;
    bool is_post;            /* of application/pkcs10 */
    bool is_secret;          /* the answer carries a private key: the connection is then not used again, for
                                 libcurl's buffers are only wiped with it (SKG-9) */
    struct bytes body;       /* of a POST, not empty */
    const char *client_cert; /* value of the field of RFC 9440, where the URL leads to an EST server of ours;
                                "" or NULL: none */
    bool
        without_password; /* the URL leads to no EST server of ours, but where one of them redirects (RA-9) */
    uint32_t timeout_ms;  /* for all of it; 0: upstream.timeout_ms */
    void (*sending)(void *user); /* once, right before the first octet of the request can leave */
    void (*answered)(void *user, /* once, on the loop; the response is borrowed for the call, in which the
                                     connection may be freed or kept */
                     const struct est_response *response);
    void *user;
};

/* Called on the loop when a kept connection was closed by the EST server, or is too old. It shall be freed.
 */
typedef void https_connection_lost(void *user, struct https_connection *connection);

/* Borrows all, but takes a reference of its own to the credentials. Gives; NULL: no memory. It connects with
 * its first request. */
struct https_connection *https_connection_create(const struct https_context *context,
                                                 struct ra_credentials *credentials,
                                                 https_connection_lost *lost, void *user);

/* Whether it was made with these credentials. */
bool https_connection_is_of(const struct https_connection *connection,
                            const struct ra_credentials *credentials);

/* Closes it; a request that still runs is not answered any more. */
void https_connection_free(struct https_connection *connection);

/* STATUS_OK: answered will be called. */
enum status https_connection_ask(struct https_connection *connection, const struct https_request *request);

/* Whether the connection is open after the answer, and upstream.reuse_connections allows to use it again. */
bool https_connection_is_reusable(const struct https_connection *connection);

/* Keeps it open until the next request, or until lost is called. */
enum status https_connection_keep(struct https_connection *connection);

#endif
