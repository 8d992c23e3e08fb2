#include "http_response.h"

#include "memory.h"

#include <event2/buffer.h>
#include <stdarg.h>
#include <stdlib.h>

static bool may_have_body(const struct http_response *response);

struct http_response *http_response_create(int status)
{
    struct http_response *response = memory_allocate(sizeof(*response));
    response->status = status;
    response->version = "HTTP/1.1";
    response->fields = evbuffer_new();
    response->body = evbuffer_new();
    return response;
}

void http_response_free(struct http_response *response)
{
    if (response == NULL)
        return;
    evbuffer_free(response->fields);
    evbuffer_free(response->body);
    free(response);
}

void http_response_add(struct http_response *response, const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    evbuffer_add_printf(response->fields, "%s: ", name);
    evbuffer_add_vprintf(response->fields, format, arguments);
    evbuffer_add_printf(response->fields, "\r\n");
    va_end(arguments);
}

void http_response_write_head(const struct http_response *response, struct evbuffer *out)
{
    evbuffer_add_printf(out, "%s %d %s\r\n", response->version, response->status,
                        http_reason(response->status));
    evbuffer_add_buffer_reference(out, response->fields);
    if (response->framing == FRAME_LENGTH && may_have_body(response))
        evbuffer_add_printf(out, "Content-Length: %zu\r\n", evbuffer_get_length(response->body));
    if (response->framing == FRAME_CHUNKED)
        evbuffer_add_printf(out, "Transfer-Encoding: chunked\r\n");
    if (response->closes && !response->closes_unsaid)
        evbuffer_add_printf(out, "Connection: close\r\n");
    evbuffer_add_printf(out, "\r\n");
}

void http_response_write_body(struct http_response *response, struct evbuffer *out)
{
    enum { CHUNK = 100 };
    if (!may_have_body(response) || response->framing == FRAME_NO_LENGTH)
        return;
    if (response->framing != FRAME_CHUNKED) {
        evbuffer_add_buffer(out, response->body);
        return;
    }
    for (size_t left; (left = evbuffer_get_length(response->body)) > 0;) {
        size_t size = left < CHUNK ? left : CHUNK;
        evbuffer_add_printf(out, "%zx\r\n", size);
        evbuffer_remove_buffer(response->body, out, size);
        evbuffer_add_printf(out, "\r\n");
    }
    evbuffer_add_printf(out, "0\r\n\r\n");
}

/* RFC 9110 sections 15.2, 15.3.5 and 15.4.5. */
static bool may_have_body(const struct http_response *response)
{
    return response->status >= 200 && response->status != 204 && response->status != 304;
}

const char *http_reason(int status)
{
    static const struct {
        int status;
        const char *phrase;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {423, "Locked"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].phrase;
    return "Status";
}
