/* One HTTP/1.1 request, read piece by piece as octets arrive (RFC 9112). */
#ifndef EST_SERVER_HTTP_REQUEST_H
#define EST_SERVER_HTTP_REQUEST_H

#include "octets.h"

#include <stdbool.h>

enum {
    HTTP_HEAD_LIMIT = 16384, /* octets of request line and fields */
    HTTP_FIELDS_LIMIT = 64,
    HTTP_BODY_LIMIT = 1 << 20,
};

struct evbuffer;
struct http_request;

/* Gives a request that has read nothing. */
struct http_request *http_request_create(void);
void http_request_free(struct http_request *request);

/* Takes octets off the front of input. Gives 0 when more are needed, 200 when the request is complete (what
   follows it stays in input), 100 when the client waits for that before it sends the body, else the status
   that refuses the request. */
int http_request_read(struct http_request *request, struct evbuffer *input);

/* Whether any octet of the request has been read. */
bool http_request_begun(const struct http_request *request);

/* All of these borrow from the request; method and target are "" until they are read. */
const char *http_request_method(const struct http_request *request);
const char *http_request_target(const struct http_request *request);
/* The first field of that name, NULL where there is none. */
const char *http_request_field(const struct http_request *request, const char *name);
struct octets http_request_body(const struct http_request *request);

bool http_request_is_chunked(const struct http_request *request);
/* Whether the client allows a further request on this connection. */
bool http_request_keeps_alive(const struct http_request *request);

#endif
