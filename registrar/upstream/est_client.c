#include "registrar/upstream/est_client.h"

#include "common/coap_message.h"
#include "common/log.h"
#include "registrar/counters.h"
#include "registrar/upstream/https_connection.h"
#include "registrar/upstream/permit_pool.h"
#include "registrar/upstream/ra_credentials.h"

#include <event2/event.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
#define URL_OCTETS_MAX                      4096

struct est_client {
    const struct upstream_settings *settings;
    struct metrics *metrics;
    struct permit_holder *permits;
    struct https_context context;
    struct buffer url; /* of the EST server, "https://host:port" */
    struct est_call *calls;
    struct https_connection **kept; /* open and idle; the last one was used last. Room for max_connections */
    size_t kept_count;
};

/* Waits for a permit (timer is pending) or for an answer (connection is set). */
struct est_call {
    struct est_call *next, *previous;
    struct est_client *client;
    struct est_call_settings settings;
    struct permit_request permit;
    struct event *timer;
    const char *refusal; /* why it is answered without asking */
    enum est_result refusal_result;
    struct https_connection *connection;
    struct buffer url, body;
};

static enum status set_up(struct est_client *client, const struct est_client_services *services,
                          struct buffer *errors);
static enum status try_connection(struct est_client *client, struct buffer *errors);
static void ignore_sigpipe(void);
static enum status set_url(const struct upstream_settings *settings, struct buffer *url,
                           struct buffer *errors);
static enum status parse_url(const char *text, struct buffer *url);
static bool has_part(CURLU *parsed, CURLUPart part);
static enum status call_create(struct est_client *client, const struct est_call_settings *settings,
                               struct est_call **made);
static void call_free(struct est_call *call);
static void build_url(struct est_call *call, struct bytes label);
static void append_segment(struct buffer *url, struct bytes segment);
static void wait_for_permit(struct est_call *call);
static void refuse(struct est_call *call, enum est_result result, const char *reason);
static void on_timer(evutil_socket_t fd, short what, void *user);
static void on_granted(void *user, struct permit_request *permit);
static void begin(struct est_call *call);
static struct https_connection *take_connection(struct est_client *client);
static const char *accept_of(const struct est_operation *operation);
static void on_sending(void *user);
static void on_answered(void *user, const struct est_response *response);
static void settle_connection(struct est_call *call);
static void on_recall(void *user, size_t count);
static void on_lost(void *user, struct https_connection *connection);
static void count_and_log(const struct est_call *call, const struct est_response *response);
static const char *result_text(enum est_result result);

struct est_client *est_client_create(const struct upstream_settings *settings,
                                     const struct est_client_services *services, struct buffer *errors)
{
    static const struct permit_events events = {on_granted, on_recall};
    struct est_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return NULL;
    client->settings = settings;
    client->metrics = services->metrics;
    buffer_init(&client->url, URL_OCTETS_MAX);
    client->permits = permit_holder_create(services->permits, services->mailbox, &events, client);
    if (client->permits == NULL || set_up(client, services, errors) != STATUS_OK) {
        est_client_free(client);
        return NULL;
    }
    return client;
}

static enum status set_up(struct est_client *client, const struct est_client_services *services,
                          struct buffer *errors)
{
    const struct upstream_settings *settings = client->settings;
    enum status url = set_url(settings, &client->url, errors);
    if (url != STATUS_OK)
        return url;

    ignore_sigpipe();
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return STATUS_CRYPTO;
    client->kept = calloc(settings->max_connections, sizeof *client->kept);
    client->context = (struct https_context){
        .base = services->base,
        .settings = settings,
        .credentials = ra_credentials_hold(services->credentials),
        .dns = curl_share_init(), /* one thread only: needs no lock */
    };
    if (client->kept == NULL || client->context.dns == NULL ||
        curl_share_setopt(client->context.dns, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) != CURLSHE_OK)
        return STATUS_NO_MEMORY;
    return try_connection(client, errors);
}

/* Better found out now than with the first request. */
static enum status try_connection(struct est_client *client, struct buffer *errors)
{
    struct https_connection *connection = https_connection_create(&client->context, on_lost, client);
    bool created = connection != NULL;
    https_connection_free(connection);
    if (!created)
        buffer_printf(
            errors,
            "upstream: %s lacks an option that the registrar needs: install libcurl 7.88 or later with "
            "OpenSSL\n",
            curl_version());
    return created ? STATUS_OK : STATUS_UNSUPPORTED;
}

static void ignore_sigpipe(void)
{
    struct sigaction action;
    if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL) {
        action.sa_handler = SIG_IGN;
        sigaction(SIGPIPE, &action, NULL);
    }
}

/* RFC 7030 section 3.2.2: the base of all requests, fixed by configuration (RA-3). */
static enum status set_url(const struct upstream_settings *settings, struct buffer *url,
                           struct buffer *errors)
{
    if (settings->servers.count == 0) {
        buffer_append_string(errors, "upstream.servers: names no EST server: write one https URL\n");
        return STATUS_NOT_FOUND;
    }
    enum status status = parse_url(settings->servers.items[0], url);
    if (status == STATUS_MALFORMED)
        buffer_printf(
            errors,
            "upstream.servers[0]: \"%s\" is not an https URL of host, port and perhaps a path: write "
            "https://HOST:PORT\n",
            settings->servers.items[0]);
    return status;
}

static enum status parse_url(const char *text, struct buffer *url)
{
    CURLU *parsed = curl_url();
    char *whole = NULL;
    enum status status = STATUS_NO_MEMORY;
    if (parsed == NULL)
        return status;

    status = STATUS_MALFORMED;
    if (strncasecmp(text, "https://", 8) == 0 && curl_url_set(parsed, CURLUPART_URL, text, 0) == CURLUE_OK &&
        !has_part(parsed, CURLUPART_USER) && !has_part(parsed, CURLUPART_PASSWORD) &&
        !has_part(parsed, CURLUPART_QUERY) && !has_part(parsed, CURLUPART_FRAGMENT) &&
        curl_url_get(parsed, CURLUPART_URL, &whole, 0) == CURLUE_OK) {
        struct bytes base = bytes_from_string(whole);
        while (base.len > 0 && base.at[base.len - 1] == '/')
            base.len--;
        buffer_append(url, base);
        status = url->status;
    }
    curl_free(whole);
    curl_url_cleanup(parsed);
    return status;
}

static bool has_part(CURLU *parsed, CURLUPart part)
{
    char *text = NULL;
    bool has = curl_url_get(parsed, part, &text, 0) == CURLUE_OK;
    curl_free(text);
    return has;
}

void est_client_free(struct est_client *client)
{
    if (client == NULL)
        return;
    for (struct est_call *call = client->calls, *next; call != NULL; call = next) {
        next = call->next;
        call_free(call);
    }
    for (size_t i = 0; i < client->kept_count; i++)
        https_connection_free(client->kept[i]);
    free(client->kept);
    permit_holder_free(client->permits);
    curl_share_cleanup(client->context.dns);
    ra_credentials_release(client->context.credentials);
    buffer_free(&client->url);
    free(client);
}

enum status est_client_check(const struct upstream_settings *settings, struct buffer *errors,
                             struct buffer *warnings)
{
    struct buffer url;
    buffer_init(&url, URL_OCTETS_MAX);
    enum status status = set_url(settings, &url, errors);
    struct ra_credentials *credentials = ra_credentials_load(settings, errors, warnings);
    if (credentials == NULL && status == STATUS_OK)
        status = STATUS_UNSUPPORTED;
    ra_credentials_release(credentials);
    buffer_free(&url);
    return status;
}

/* Kept connections were made with the old ones. */
void est_client_use_credentials(struct est_client *client, struct ra_credentials *credentials)
{
    ra_credentials_hold(credentials);
    ra_credentials_release(client->context.credentials);
    client->context.credentials = credentials;
    while (client->kept_count > 0)
        on_lost(client, client->kept[0]);
}

enum status est_client_ask(struct est_client *client, const struct est_call_settings *settings)
{
    struct est_call *call;
    enum status status = call_create(client, settings, &call);
    if (status != STATUS_OK)
        return status;

    switch (permit_ask(client->permits, &call->permit)) {
    case STATUS_OK:
        begin(call);
        break;
    case STATUS_BUSY:
        wait_for_permit(call);
        break;
    default:
        metrics_add(client->metrics, COUNTER_UPSTREAM_REFUSED, 1);
        refuse(call, EST_QUEUE_FULL, "upstream.queue requests wait already");
    }
    return STATUS_OK;
}

static enum status call_create(struct est_client *client, const struct est_call_settings *settings,
                               struct est_call **made)
{
    bool is_get = settings->operation->method == CM_GET;
    struct bytes label =
        settings->label.len > 0 ? settings->label : bytes_from_string(client->settings->default_label);
    if ((label.len > 0 && !est_label_is_valid(label)) || is_get != (settings->body.len == 0))
        return STATUS_MALFORMED;
    struct est_call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return STATUS_NO_MEMORY;

    call->client = client;
    call->settings = *settings;
    call->permit.is_get = is_get;
    call->timer = evtimer_new(client->context.base, on_timer, call);
    call->next = client->calls;
    if (call->next != NULL)
        call->next->previous = call;
    client->calls = call;
    build_url(call, label);
    buffer_init(&call->body, settings->body.len);
    buffer_append(&call->body, settings->body);
    if (call->timer == NULL || buffer_string(&call->url)[0] == '\0' || call->body.status != STATUS_OK) {
        call_free(call);
        return STATUS_NO_MEMORY;
    }
    *made = call;
    return STATUS_OK;
}

/* RFC 7030 section 3.2.2: base, perhaps a label, operation; or the path that stands for the label. */
static void build_url(struct est_call *call, struct bytes label)
{
    buffer_init(&call->url, URL_OCTETS_MAX);
    buffer_append(&call->url, buffer_view(&call->client->url));
    if (call->settings.path != NULL && call->settings.path[0] != '\0') {
        buffer_append_string(&call->url, call->settings.path);
    } else {
        buffer_append_string(&call->url, "/.well-known/est");
        if (label.len > 0) {
            buffer_append_string(&call->url, "/");
            append_segment(&call->url, label);
        }
    }
    buffer_append_string(&call->url, "/");
    buffer_append_string(&call->url, call->settings.operation->long_name);
}

/* RFC 3986 section 2.3: everything else is percent-encoded (URI-4). */
static void append_segment(struct buffer *url, struct bytes segment)
{
    static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (size_t i = 0; i < segment.len; i++) {
        uint8_t octet = segment.at[i];
        if (octet != '\0' && strchr(unreserved, octet) != NULL)
            buffer_append_byte(url, octet);
        else
            buffer_printf(url, "%%%02X", octet);
    }
}

/* Closes its connection first and gives the permit back afterwards. */
static void call_free(struct est_call *call)
{
    https_connection_free(call->connection);
    permit_end(&call->permit);
    if (call->previous != NULL)
        call->previous->next = call->next;
    else
        call->client->calls = call->next;
    if (call->next != NULL)
        call->next->previous = call->previous;
    if (call->timer != NULL)
        event_free(call->timer);
    buffer_free(&call->url);
    buffer_wipe(&call->body);
    free(call);
}

static void wait_for_permit(struct est_call *call)
{
    uint32_t timeout_ms = call->client->settings->timeout_ms;
    struct timeval timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    call->refusal_result = EST_QUEUE_FULL;
    call->refusal = "no connection to the EST server came free within upstream.timeout_ms";
    evtimer_add(call->timer, &timeout);
}

/* Not at once: done is never called before est_client_ask returns. */
static void refuse(struct est_call *call, enum est_result result, const char *reason)
{
    call->refusal_result = result;
    call->refusal = reason;
    event_active(call->timer, EV_TIMEOUT, 0);
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
    struct est_call *call = user;
    (void)fd, (void)what;
    on_answered(call, &(struct est_response){.result = call->refusal_result, .reason = call->refusal});
}

static void on_granted(void *user, struct permit_request *permit)
{
    (void)user;
    struct est_call *call = CONTAINER_OF(permit, struct est_call, permit);
    evtimer_del(call->timer);
    begin(call);
}

static void begin(struct est_call *call)
{
    if (call->settings.turn != NULL)
        call->settings.turn(call->settings.user, call);
    else
        est_call_go(call);
}

void est_call_withhold(struct est_call *call, const char *reason)
{
    refuse(call, EST_WITHHELD, reason);
}

void est_call_go(struct est_call *call)
{
    const struct https_request request = {
        .url = buffer_string(&call->url),
        .accept = accept_of(call->settings.operation),
        .is_post = !call->permit.is_get,
        .is_secret = est_operation_makes_key(call->settings.operation),
        .body = buffer_view(&call->body),
        .sending = on_sending,
        .answered = on_answered,
        .user = call,
    };
    call->connection = take_connection(call->client);
    if (call->connection == NULL || https_connection_ask(call->connection, &request) != STATUS_OK)
        refuse(call, EST_NOT_SENT, "out of memory");
}

/* The one that was used last is the likeliest to be alive. */
static struct https_connection *take_connection(struct est_client *client)
{
    if (client->kept_count > 0)
        return client->kept[--client->kept_count];
    return https_connection_create(&client->context, on_lost, client);
}

/* RA-6; RFC 7030 sections 4.1.3, 4.2.3, 4.4.2 and 4.5.2. */
static const char *accept_of(const struct est_operation *operation)
{
    switch (operation->response[0]) {
    case CONTENT_FORMAT_CSRATTRS:
        return "application/csrattrs";
    case CONTENT_FORMAT_MULTIPART_CORE:
        return "multipart/mixed";
    default:
        return "application/pkcs7-mime";
    }
}

static void on_sending(void *user)
{
    const struct est_call *call = user;
    metrics_add(call->client->metrics, COUNTER_UPSTREAM_REQUESTS, 1);
    if (call->settings.sending != NULL)
        call->settings.sending(call->settings.user);
}

static void on_answered(void *user, const struct est_response *response)
{
    struct est_call *call = user;
    count_and_log(call, response);
    call->settings.done(call->settings.user, response);
    settle_connection(call);
    call_free(call);
}

/* Keeps the connection open if it can be used again and nobody else waits for its permit. */
static void settle_connection(struct est_call *call)
{
    struct est_client *client = call->client;
    struct https_connection *connection = call->connection;
    if (connection == NULL || !https_connection_is_reusable(connection) ||
        https_connection_keep(connection) != STATUS_OK || !permit_park(&call->permit))
        return;
    client->kept[client->kept_count++] = connection;
    call->connection = NULL;
}

/* Another worker needs the permits. The oldest connections go first. */
static void on_recall(void *user, size_t count)
{
    struct est_client *client = user;
    size_t closing = count < client->kept_count ? count : client->kept_count;
    for (size_t i = 0; i < closing; i++)
        https_connection_free(client->kept[i]);
    client->kept_count -= closing;
    memmove(client->kept, client->kept + closing, client->kept_count * sizeof *client->kept);
}

static void on_lost(void *user, struct https_connection *connection)
{
    struct est_client *client = user;
    size_t i = 0;
    while (i < client->kept_count && client->kept[i] != connection)
        i++;
    if (i == client->kept_count)
        return;
    client->kept_count--;
    memmove(client->kept + i, client->kept + i + 1, (client->kept_count - i) * sizeof *client->kept);

    bool has_permit = permit_unpark(client->permits);
    https_connection_free(connection);
    if (has_permit)
        permit_release(client->permits);
}

static void count_and_log(const struct est_call *call, const struct est_response *response)
{
    const char *name = call->settings.operation->long_name;
    if (response->result == EST_WITHHELD) /* no fault of the EST server's, and known to whoever withheld it */
        return;
    if (response->result == EST_ANSWERED) {
        log_debug("upstream", "%s: HTTP status %u", name, response->http_status);
        return;
    }
    metrics_add(call->client->metrics, COUNTER_UPSTREAM_FAILURES, 1);
    log_warning("upstream", "%s: %s: %s", name, result_text(response->result), response->reason);
}

static const char *result_text(enum est_result result)
{
    switch (result) {
    case EST_NOT_SENT:
        return "the EST server was not reached";
    case EST_TIMEOUT:
        return "the EST server did not answer in time";
    case EST_BROKEN:
        return "the EST server did not answer properly";
    case EST_UNTRUSTED:
        return "no TLS connection with the EST server";
    case EST_QUEUE_FULL:
        return "too many requests";
    case EST_WITHHELD:
        return "the request was not sent";
    case EST_ANSWERED:
        break;
    }
    return "answered";
}
