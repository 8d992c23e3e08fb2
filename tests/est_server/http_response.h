/* One HTTP/1.1 response: status, fields and body, and the ways in which its frame can be wrong. */
#ifndef EST_SERVER_HTTP_RESPONSE_H
#define EST_SERVER_HTTP_RESPONSE_H

#include <stdbool.h>

struct evbuffer;

enum http_framing {
    FRAME_LENGTH,    /* Content-Length */
    FRAME_CHUNKED,   /* Transfer-Encoding: chunked */
    FRAME_END,       /* the body ends where the connection ends */
    FRAME_NO_LENGTH, /* no body, and no word about it */
};

struct http_response {
    int status;
    const char *version; /* HTTP/1.1 */
    struct evbuffer *fields;
    struct evbuffer *body;
    enum http_framing framing;
    bool closes;        /* the connection ends after this response ... */
    bool closes_unsaid; /* ... and no Connection: close says so */
};

/* Gives an empty response. */
struct http_response *http_response_create(int status);
void http_response_free(struct http_response *response);

/* Adds the field "name: value". */
void http_response_add(struct http_response *response, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Appends the octets of the head, or of the body as it is framed, to out; the body of response is used up. */
void http_response_write_head(const struct http_response *response, struct evbuffer *out);
void http_response_write_body(struct http_response *response, struct evbuffer *out);

/* The reason phrase of a status. */
const char *http_reason(int status);

#endif
