#include "reply.h"

#include "operation.h"

#include <event2/buffer.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void write_refusal_text(struct transaction *transaction, int status);
static void add_padding(struct http_response *response, unsigned octets);
static void add_retry_after(struct transaction *transaction);
static void add_http_date(struct http_response *response, const char *name, time_t when);
static bool asks_for_http_authentication(const struct transaction *transaction);

int reply_redirect(struct transaction *transaction)
{
    struct http_response *response = transaction->response;
    const char *host = http_request_field(transaction->request, "Host");
    char rest[LABEL_LIMIT + 1];
    char path[LABEL_LIMIT + 64];
    behaviour_label_after_redirect(transaction->label, rest);
    snprintf(path, sizeof(path), "/.well-known/est/%s%s%s", rest, rest[0] != '\0' ? "/" : "",
             transaction->operation->name);
    bool is_localhost = host != NULL && strncmp(host, "localhost", 9) == 0;
    response->status = (int)transaction->behaviour.status;
    switch (transaction->behaviour.redirect) {
    case REDIRECT_LOOP:
        http_response_add(response, "Location", "%s", http_request_target(transaction->request));
        break;
    case REDIRECT_SAME:
        http_response_add(response, "Location", "https://%s%s", host != NULL ? host : "localhost", path);
        break;
    case REDIRECT_OTHER:
        http_response_add(response, "Location", "https://%s:%u%s", is_localhost ? "127.0.0.1" : "localhost",
                          transaction->service->port, path);
        break;
    default:
        http_response_add(response, "Location", "%s", path);
        break;
    }
    return DONE;
}

int reply_later(struct transaction *transaction)
{
    struct http_response *response = transaction->response;
    response->status = 202;
    if (transaction->behaviour.retry_s == RETRY_ABSENT)
        transaction->behaviour.retry_s = 60;
    if (!transaction->behaviour.libest)
        return DONE;
    if (transaction->behaviour.retry_s < 60)
        transaction->behaviour.retry_s = 60;
    response->framing = FRAME_NO_LENGTH;
    response->closes = response->closes_unsaid = true;
    return DONE;
}

void reply_refusal(struct transaction *transaction, int status)
{
    struct http_response *response = transaction->response;
    response->status = status;
    if (status == 401 && asks_for_http_authentication(transaction))
        http_credentials_challenge(transaction->service->credentials, reply_http_scheme(transaction),
                                   response);
    if (status == 401 && transaction->behaviour.libest)
        response->closes = response->closes_unsaid = true;
    else
        write_refusal_text(transaction, status);
}

static void write_refusal_text(struct transaction *transaction, int status)
{
    struct http_response *response = transaction->response;
    const char *reason = transaction->reason != NULL ? transaction->reason : "the label says so";
    switch (transaction->behaviour.error_text) {
    case ERROR_CRLF:
        http_response_add(response, "Content-Type", "text/plain; charset=utf-8");
        evbuffer_add_printf(response->body, "first line\r\nsecond line\twith a tab\r\n");
        break;
    case ERROR_HTML:
        http_response_add(response, "Content-Type", "text/html");
        evbuffer_add_printf(response->body, "<html><body><h1>refused</h1></body></html>\n");
        break;
    case ERROR_BINARY:
        http_response_add(response, "Content-Type", "application/pkcs7-mime; smime-type=CMC-response");
        evbuffer_add_printf(response->body, "MAUCAQECAQI=\n");
        break;
    default:
        if (transaction->behaviour.libest) { /* without a type */
            evbuffer_add_printf(response->body, "Error %d: %s\n%s", status, http_reason(status), reason);
            response->closes = true;
            break;
        }
        http_response_add(response, "Content-Type", "text/plain");
        evbuffer_add_printf(response->body, "%s\n", reason);
        break;
    }
}

void reply_finish(struct transaction *transaction)
{
    const struct behaviour *behaviour = &transaction->behaviour;
    struct http_response *response = transaction->response;
    add_retry_after(transaction);
    if (behaviour->max_age_s != RETRY_ABSENT)
        http_response_add(response, "Cache-Control", "max-age=%u", behaviour->max_age_s);
    if (behaviour->libest && (response->status < 300))
        http_response_add(response, "Status", "%d %s", response->status, http_reason(response->status));
    add_padding(response, behaviour->head_padding);
    if (behaviour->framing != FRAME_LENGTH)
        response->framing = behaviour->framing;
    if (behaviour->http10) {
        response->version = "HTTP/1.0";
        response->closes = true;
    }
}

/* About that many octets of fields. */
static void add_padding(struct http_response *response, unsigned octets)
{
    enum { FIELD = 1000, NAME_AND_END = 13 };
    for (unsigned left = octets; left > 0; left -= left < FIELD ? left : FIELD)
        http_response_add(response, "X-Padding", "%0*d", (left < FIELD ? (int)left : FIELD) - NAME_AND_END,
                          0);
}

static void add_retry_after(struct transaction *transaction)
{
    const struct behaviour *behaviour = &transaction->behaviour;
    struct http_response *response = transaction->response;
    bool is_success = response->status == 200 || response->status == 201;
    if (is_success && behaviour->manual)
        return;
    if (behaviour->retry_text[0] != '\0')
        http_response_add(response, "Retry-After", "%s", behaviour->retry_text);
    else if (behaviour->retry_s != RETRY_ABSENT)
        http_response_add(response, "Retry-After", "%u", behaviour->retry_s);
    if (behaviour->retry_date_s == RETRY_ABSENT)
        return;
    time_t now = time(NULL);
    add_http_date(response, "Date", now);
    add_http_date(response, "Retry-After", now + (time_t)behaviour->retry_date_s);
}

static void add_http_date(struct http_response *response, const char *name, time_t when)
{
    char text[40];
    struct tm utc;
    strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&when, &utc));
    http_response_add(response, name, "%s", text);
}

static bool asks_for_http_authentication(const struct transaction *transaction)
{
    unsigned wanted = transaction->behaviour.http_auth;
    return wanted == HTTP_AUTH_BASIC || wanted == HTTP_AUTH_DIGEST ||
           transaction->service->authentication != BY_CERTIFICATE;
}

enum http_scheme reply_http_scheme(const struct transaction *transaction)
{
    unsigned wanted = transaction->behaviour.http_auth;
    if (wanted == HTTP_AUTH_AS_SET || wanted == HTTP_AUTH_OFF)
        return transaction->service->http_scheme;
    return wanted == HTTP_AUTH_BASIC ? SCHEME_BASIC : SCHEME_DIGEST;
}
