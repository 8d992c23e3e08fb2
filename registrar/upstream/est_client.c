#include "registrar/upstream/est_client.h"

#include "common/base64.h"
#include "common/coap_message.h"
#include "common/container_of.h"
#include "common/log.h"
#include "common/monotonic.h"
#include "registrar/counters.h"
#include "registrar/upstream/https_connection.h"
#include "registrar/upstream/permit_pool.h"
#include "registrar/upstream/ra_credentials.h"
#include "registrar/upstream/redirect.h"
#include "registrar/upstream/server_group.h"

#include <event2/event.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define PATH_OCTETS_MAX        1024
#define CLIENT_CERT_OCTETS_MAX 16384 /* DTLS takes certificates of 8192 octets in all */
#define PROBE_CONNECT_TIMEOUTS 2     /* for all of a probe */

/* Open and idle. */
struct kept_connection {
    struct https_connection *connection;
    uint64_t origin; /* https_origin_id of where it leads */
};

struct est_client {
    const struct upstream_settings *settings;
    struct metrics *metrics;
    struct permit_holder *permits;
    struct server_group *servers;
    struct ra_credentials *credentials;
    struct https_context context;
    struct est_call *calls;
    struct event *probe_timer;
    struct kept_connection *kept; /* the last one was used last. Room for max_connections */
    size_t kept_count;
};

/* Waits for a permit (timer is pending) or for an answer (connection is set). */
struct est_call {
    struct est_call *next, *previous;
    struct est_client *client;
    struct est_call_settings settings;
    bool is_post, is_probe;
    bool claims_probe; /* has not said yet how it ended */
    struct permit_request permit;
    struct event *timer;
    const char *refusal; /* why it is answered without asking */
    enum est_result refusal_result;
    struct buffer profile; /* the path before the operation; the same at every EST server */
    struct buffer body;
    struct buffer client_cert; /* RFC 9440; empty: none */
    uint64_t deadline_ms;      /* since it has a permit */

    struct server_group *servers; /* held */
    struct ra_credentials
        *credentials; /* held too: a reload's password is not for a server that it took out */
    size_t server;
    const char *probed; /* of a probe: what server_probe says */
    uint32_t tried;     /* bit by bit; it is one of them */
    bool sent_once;     /* a GET that may have been processed */
    struct buffer url;  /* that is asked */
    uint64_t origin;    /* https_origin_id of it */
    unsigned redirects; /* followed, at this server */
    struct https_connection *connection;
};

static enum status set_up(struct est_client *client, const struct est_client_services *services,
                          struct buffer *errors);
static enum status try_connection(struct est_client *client, struct buffer *errors);
static void ignore_sigpipe(void);
static enum status call_create(struct est_client *client, const struct est_call_settings *settings,
                               struct est_call **made);
static void call_free(struct est_call *call);
static void write_client_cert(struct est_call *call);
static void build_profile(struct est_call *call, struct bytes label);
static const char *upstream_name(const struct est_call *call);
static void append_segment(struct buffer *path, struct bytes segment);
static void bind_call(struct est_call *call);
static void start(struct est_call *call);
static bool can_be_asked(struct est_call *call);
static void wait_for_permit(struct est_call *call);
static void refuse(struct est_call *call, enum est_result result, const char *reason);
static void refuse_for_want_of_server(struct est_call *call);
static void on_timer(evutil_socket_t fd, short what, void *user);
static void on_granted(void *user, struct permit_request *permit);
static void begin(struct est_call *call);
static bool choose_server(struct est_call *call);
static bool find_server(struct est_call *call);
static void send_request(struct est_call *call);
static struct https_connection *take_connection(struct est_call *call);
static void close_kept(struct est_client *client, size_t first, size_t count);
static const char *accept_of(const struct est_operation *operation);
static void on_sending(void *user);
static void on_answered(void *user, const struct est_response *response);
static bool is_redirected(struct est_call *call, const struct est_response *response);
static void report(struct est_call *call, const struct est_response *response);
static bool goes_on(struct est_call *call, const struct est_response *response);
static void finish(struct est_call *call, const struct est_response *response);
static void settle_connection(struct est_call *call);
static void on_recall(void *user, size_t count);
static void on_lost(void *user, struct https_connection *connection);
static void schedule_probe(struct est_client *client);
static void on_probe_due(evutil_socket_t fd, short what, void *user);
static void end_probe(struct est_call *call);

struct est_client *est_client_create(const struct upstream_settings *settings,
                                     const struct est_client_services *services, struct buffer *errors)
{
    static const struct permit_events events = {on_granted, on_recall};
    struct est_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return NULL;
    client->settings = settings;
    client->metrics = services->metrics;
    client->servers = server_group_hold(services->servers);
    client->credentials = ra_credentials_hold(services->credentials);
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

    ignore_sigpipe();
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return STATUS_CRYPTO;
    client->kept = calloc(settings->max_connections, sizeof *client->kept);
    client->context = (struct https_context){
        .base = services->base,
        .settings = settings,
        .dns = curl_share_init(), /* one thread only: needs no lock */
    };
    client->probe_timer = evtimer_new(services->base, on_probe_due, client);
    if (client->kept == NULL || client->probe_timer == NULL || client->context.dns == NULL ||
        curl_share_setopt(client->context.dns, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) != CURLSHE_OK)
        return STATUS_NO_MEMORY;
    schedule_probe(client);
    return try_connection(client, errors);
}

/* Better found out now than with the first request. */
static enum status try_connection(struct est_client *client, struct buffer *errors)
{
    struct https_connection *connection =
        https_connection_create(&client->context, client->credentials, on_lost, client);
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

void est_client_free(struct est_client *client)
{
    if (client == NULL)
        return;
    for (struct est_call *call = client->calls, *next; call != NULL; call = next) {
        next = call->next;
        call_free(call);
    }
    close_kept(client, 0, client->kept_count);
    free(client->kept);
    if (client->probe_timer != NULL)
        event_free(client->probe_timer);
    permit_holder_free(client->permits);
    curl_share_cleanup(client->context.dns);
    ra_credentials_release(client->credentials);
    server_group_release(client->servers);
    free(client);
}

/* Kept connections were made with the old ones. */
void est_client_use_credentials(struct est_client *client, struct ra_credentials *credentials)
{
    ra_credentials_hold(credentials);
    ra_credentials_release(client->credentials);
    client->credentials = credentials;
    while (client->kept_count > 0)
        on_lost(client, client->kept[0].connection);
}

void est_client_use_servers(struct est_client *client, struct server_group *servers)
{
    server_group_hold(servers);
    server_group_release(client->servers);
    client->servers = servers;
    schedule_probe(client);
}

enum status est_client_ask(struct est_client *client, const struct est_call_settings *settings)
{
    struct est_call *call;
    enum status status = call_create(client, settings, &call);
    if (status != STATUS_OK)
        return status;

    start(call);
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
    call->is_post = !is_get;
    call->permit.is_get = is_get;
    call->servers = server_group_hold(client->servers);
    call->credentials = ra_credentials_hold(client->credentials);
    call->timer = evtimer_new(client->context.base, on_timer, call);
    call->next = client->calls;
    if (call->next != NULL)
        call->next->previous = call;
    client->calls = call;
    build_profile(call, label);
    buffer_init(&call->url, HTTPS_URL_OCTETS_MAX);
    buffer_init(&call->body, settings->body.len);
    buffer_append(&call->body, settings->body);
    write_client_cert(call);
    if (call->timer == NULL || call->profile.status != STATUS_OK || call->body.status != STATUS_OK ||
        call->client_cert.status != STATUS_OK) {
        call_free(call);
        return STATUS_NO_MEMORY;
    }
    bind_call(call);
    *made = call;
    return STATUS_OK;
}

/* RFC 9440 section 2.2: a Byte Sequence of RFC 8941 section 3.3.5. Not with GETs, whose answers are
 * everybody's. */
static void write_client_cert(struct est_call *call)
{
    unsigned char *der = NULL;
    buffer_init(&call->client_cert, CLIENT_CERT_OCTETS_MAX);
    X509 *client = call->settings.client;
    call->settings.client = NULL;
    if (!call->is_post || client == NULL || !call->client->settings->client_cert_header)
        return;
    int len = i2d_X509(client, &der);
    if (len <= 0) {
        call->client_cert.status = STATUS_NO_MEMORY;
        return;
    }
    buffer_append_byte(&call->client_cert, ':');
    base64_encode((struct bytes){der, (size_t)len}, BASE64_ONE_LINE, &call->client_cert);
    buffer_append_byte(&call->client_cert, ':');
    OPENSSL_free(der);
}

/* RFC 7030 section 3.2.2: perhaps a label; or the path that stands for it. */
static void build_profile(struct est_call *call, struct bytes label)
{
    buffer_init(&call->profile, PATH_OCTETS_MAX);
    if (call->settings.path != NULL && call->settings.path[0] != '\0') {
        buffer_append_string(&call->profile, call->settings.path);
        return;
    }
    buffer_append_string(&call->profile, "/.well-known/est");
    if (label.len > 0) {
        buffer_append_string(&call->profile, "/");
        append_segment(&call->profile, label);
    }
}

/* RA-10. */
static const char *upstream_name(const struct est_call *call)
{
    const struct est_operation *operation = call->settings.operation;
    bool is_enrolled =
        operation->id == EST_SREN && call->client->settings->sren_operation == SREN_SIMPLEENROLL;
    return est_operation(is_enrolled ? EST_SEN : operation->id)->long_name;
}

static void append_segment(struct buffer *path, struct bytes segment)
{
    static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (size_t i = 0; i < segment.len; i++) {
        uint8_t octet = segment.at[i];
        if (octet != '\0' && strchr(unreserved, octet) != NULL)
            buffer_append_byte(path, octet);
        else
            buffer_printf(path, "%%%02X", octet);
    }
}

/* Closes its connection first and gives the permit back afterwards. */
static void call_free(struct est_call *call)
{
    https_connection_free(call->connection);
    permit_end(&call->permit);
    if (call->claims_probe)
        server_group_return_probe(call->servers, &(struct server_probe){call->server, call->probed},
                                  monotonic_ms());
    if (call->previous != NULL)
        call->previous->next = call->next;
    else
        call->client->calls = call->next;
    if (call->next != NULL)
        call->next->previous = call->previous;
    if (call->timer != NULL)
        event_free(call->timer);
    buffer_free(&call->profile);
    buffer_free(&call->url);
    buffer_wipe(&call->body);
    buffer_free(&call->client_cert);
    server_group_release(call->servers);
    ra_credentials_release(call->credentials);
    free(call);
}

/* An enrolment that waits is known to one EST server only. */
static void bind_call(struct est_call *call)
{
    size_t server;
    if (call->settings.server == 0 || server_group_find(call->servers, call->settings.server, &server))
        return;
    log_warning(
        "upstream",
        "%s: the EST server where it waits is not in upstream.servers any more: another is asked, and the "
        "first may have issued a certificate for nobody",
        call->settings.operation->long_name);
    call->settings.server = 0;
}

/* Nobody waits for a connection to a server that is not to be asked. */
static void start(struct est_call *call)
{
    if (!call->is_probe && !can_be_asked(call)) {
        refuse_for_want_of_server(call);
        return;
    }
    switch (permit_ask(call->client->permits, &call->permit)) {
    case STATUS_OK:
        begin(call);
        break;
    case STATUS_BUSY:
        wait_for_permit(call);
        break;
    default:
        metrics_add(call->client->metrics, COUNTER_UPSTREAM_REFUSED, 1);
        refuse(call, EST_QUEUE_FULL, "upstream.queue requests wait already");
    }
}

static bool can_be_asked(struct est_call *call)
{
    bool is_bound = call->settings.server != 0;
    for (size_t i = 0; i < server_group_count(call->servers); i++) {
        bool is_meant = !is_bound || server_group_id(call->servers, i) == call->settings.server;
        if (is_meant && server_group_is_well(call->servers, i, buffer_string(&call->profile)))
            return true;
    }
    return false;
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

static void refuse_for_want_of_server(struct est_call *call)
{
    refuse(call, server_group_refusal(call->servers),
           call->settings.server != 0 ? "the EST server that knows the request fails, and waits for a probe"
                                      : "every EST server fails, and waits for a probe");
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
    struct est_call *call = user;
    const struct est_response refusal = {.result = call->refusal_result, .reason = call->refusal};
    const struct server_report told = {
        .operation = call->settings.operation->long_name,
        .profile = buffer_string(&call->profile),
        .result = refusal.result,
        .reason = refusal.reason,
    };
    (void)fd, (void)what;
    if (!call->is_probe && refusal.result != EST_WITHHELD) /* which is no fault of an EST server's */
        server_group_report_refusal(call->servers, &told, monotonic_ms());
    finish(call, &refusal);
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
    if (!call->is_probe && !can_be_asked(call))
        refuse_for_want_of_server(call);
    else if (call->settings.turn != NULL)
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
    const struct upstream_settings *settings = call->client->settings;
    uint64_t probe_ms = (uint64_t)settings->connect_timeout_ms * PROBE_CONNECT_TIMEOUTS;
    bool is_short = call->is_probe && probe_ms < settings->timeout_ms;
    call->deadline_ms = monotonic_ms() + (is_short ? probe_ms : settings->timeout_ms);
    if (!choose_server(call)) {
        refuse_for_want_of_server(call);
        return;
    }
    call->connection = take_connection(call);
    send_request(call);
}

/* The next EST server that has not been tried, and its URL. A probe knows whom it is for. */
static bool choose_server(struct est_call *call)
{
    if (!call->is_probe && !find_server(call))
        return false;
    call->tried |= UINT32_C(1) << call->server;
    call->redirects = 0;
    call->origin = server_group_id(call->servers, call->server);
    buffer_reset(&call->url);
    buffer_printf(&call->url, "%s%s/%s", server_group_url(call->servers, call->server),
                  buffer_string(&call->profile), upstream_name(call));
    return true;
}

static bool find_server(struct est_call *call)
{
    const char *profile = buffer_string(&call->profile);
    if (call->settings.server == 0)
        return server_group_pick(call->servers, profile, call->tried, &call->server);
    return server_group_find(call->servers, call->settings.server, &call->server) &&
           (call->tried >> call->server & 1) == 0 &&
           server_group_is_well(call->servers, call->server, profile);
}

static void send_request(struct est_call *call)
{
    uint64_t now_ms = monotonic_ms();
    size_t server;
    const struct https_request request = {
        .url = buffer_string(&call->url),
        .accept = accept_of(call->settings.operation),
        .is_post = call->is_post,
        .is_secret = est_operation_makes_key(call->settings.operation),
        .body = buffer_view(&call->body),
        .client_cert = buffer_string(&call->client_cert),
        .without_password = !server_group_find(call->servers, call->origin, &server),
        .timeout_ms = now_ms < call->deadline_ms ? (uint32_t)(call->deadline_ms - now_ms) : 1,
        .sending = on_sending,
        .answered = on_answered,
        .user = call,
    };
    if (call->connection == NULL)
        call->connection =
            https_connection_create(&call->client->context, call->credentials, on_lost, call->client);
    if (call->connection == NULL || call->url.status != STATUS_OK ||
        https_connection_ask(call->connection, &request) != STATUS_OK)
        refuse(call, EST_NOT_SENT, "out of memory");
}

/* The one to that origin that was used last is the likeliest to be alive. If there is none, the permit is
 * that of another kept connection, which goes. NULL: one is to be made. */
static struct https_connection *take_connection(struct est_call *call)
{
    struct est_client *client = call->client;
    for (size_t i = client->kept_count; i > 0; i--) {
        if (client->kept[i - 1].origin != call->origin ||
            !https_connection_is_of(client->kept[i - 1].connection, call->credentials))
            continue;
        struct https_connection *connection = client->kept[i - 1].connection;
        client->kept[i - 1].connection = NULL;
        close_kept(client, i - 1, 1);
        return connection;
    }
    if (client->kept_count > 0)
        close_kept(client, 0, 1);
    return NULL;
}

static void close_kept(struct est_client *client, size_t first, size_t count)
{
    if (count == 0)
        return;
    for (size_t i = first; i < first + count; i++)
        https_connection_free(client->kept[i].connection);
    client->kept_count -= count;
    memmove(client->kept + first, client->kept + first + count,
            (client->kept_count - first) * sizeof *client->kept);
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
    if (is_redirected(call, response)) {
        send_request(call);
        return;
    }
    report(call, response);
    if (goes_on(call, response)) {
        metrics_add(call->client->metrics, COUNTER_UPSTREAM_FAILOVERS, 1);
        send_request(call);
        return;
    }
    finish(call, response);
}

/* RA-9. The next hop takes the permit over: with its connection if that is to the same origin and still open.
 */
static bool is_redirected(struct est_call *call, const struct est_response *response)
{
    const struct redirected asked = {buffer_string(&call->url), call->is_post, call->redirects};
    struct https_origin origin;
    struct buffer url;
    const char *complaint = "";
    buffer_init(&url, HTTPS_URL_OCTETS_MAX);
    enum redirect_verdict verdict = redirect_judge(&asked, response, call->servers, &url, &complaint);
    if (verdict == REDIRECT_REFUSED)
        server_group_report_refusal(call->servers,
                                    &(struct server_report){call->settings.operation->long_name,
                                                            buffer_string(&call->profile), EST_ANSWERED,
                                                            response->http_status, complaint, NULL},
                                    monotonic_ms());
    if (verdict != REDIRECT_FOLLOW || https_url_origin(buffer_string(&url), &origin) != STATUS_OK) {
        buffer_free(&url);
        return false;
    }
    metrics_add(call->client->metrics, COUNTER_UPSTREAM_REDIRECTS, 1);
    call->redirects++;
    if (https_origin_id(&origin) != call->origin || !https_connection_is_reusable(call->connection)) {
        https_connection_free(call->connection);
        call->connection = NULL;
    }
    call->origin = https_origin_id(&origin);
    buffer_free(&call->url);
    call->url = url;
    return true;
}

/* What the EST server's behaviour teaches. */
static void report(struct est_call *call, const struct est_response *response)
{
    const struct server_report told = {
        .operation = call->settings.operation->long_name,
        .profile = buffer_string(&call->profile),
        .result = response->result,
        .http_status = response->http_status,
        .reason = response->result == EST_ANSWERED ? NULL : response->reason,
        .probed = call->probed,
    };
    struct est_client *client = call->client;
    enum server_news news;
    call->claims_probe = false;
    if (call->is_probe)
        news = server_group_report_probe(call->servers, call->server, &told, monotonic_ms());
    else
        news = server_group_report(call->servers, call->server, &told, monotonic_ms());
    if (response->result == EST_ANSWERED)
        log_debug("upstream", "%s: HTTP status %u", told.operation, told.http_status);
    if (news == SERVER_FAILS || news == SERVER_IS_WELL_IN_PART)
        metrics_add(client->metrics, COUNTER_UPSTREAM_CIRCUITS_OPENED, 1);
    if (news == SERVER_IS_WELL || news == SERVER_IS_WELL_IN_PART)
        metrics_add(client->metrics, COUNTER_UPSTREAM_CIRCUITS_CLOSED, 1);
    if (news != SERVER_NO_NEWS || call->is_probe)
        schedule_probe(client);
}

/* RA-4: to the next EST server, if this one cannot have acted; a GET does no harm, once. */
static bool goes_on(struct est_call *call, const struct est_response *response)
{
    bool unsent = response->result == EST_NOT_SENT || response->result == EST_UNTRUSTED;
    bool harmless = !call->is_post && !call->sent_once && response->result != EST_ANSWERED;
    if (call->is_probe || (!unsent && !harmless) || monotonic_ms() >= call->deadline_ms ||
        !choose_server(call))
        return false;
    call->sent_once |= !unsent;
    https_connection_free(call->connection);
    call->connection = NULL;
    return true;
}

static void finish(struct est_call *call, const struct est_response *response)
{
    if (call->is_probe) {
        end_probe(call);
        return;
    }
    struct est_response told = *response;
    told.server = call->tried != 0 ? server_group_id(call->servers, call->server) : 0;
    if (response->result != EST_ANSWERED && response->result != EST_WITHHELD)
        metrics_add(call->client->metrics, COUNTER_UPSTREAM_FAILURES, 1);
    call->settings.done(call->settings.user, &told);
    settle_connection(call);
    call_free(call);
}

/* Keeps the connection open if it can be used again and nobody else waits for its permit. */
static void settle_connection(struct est_call *call)
{
    struct est_client *client = call->client;
    struct https_connection *connection = call->connection;
    if (connection == NULL || !https_connection_is_reusable(connection) ||
        !https_connection_is_of(connection, client->credentials) ||
        https_connection_keep(connection) != STATUS_OK || !permit_park(&call->permit))
        return;
    client->kept[client->kept_count++] = (struct kept_connection){connection, call->origin};
    call->connection = NULL;
}

/* Another worker needs the permits. The oldest connections go first. */
static void on_recall(void *user, size_t count)
{
    struct est_client *client = user;
    close_kept(client, 0, count < client->kept_count ? count : client->kept_count);
}

static void on_lost(void *user, struct https_connection *connection)
{
    struct est_client *client = user;
    size_t i = 0;
    while (i < client->kept_count && client->kept[i].connection != connection)
        i++;
    if (i == client->kept_count)
        return;
    bool has_permit = permit_unpark(client->permits);
    close_kept(client, i, 1);
    if (has_permit)
        permit_release(client->permits);
}

/* Probes are GETs of cacerts that no device waits for. Each worker's timer is set for the next; whoever comes
 * first makes it. */
static void schedule_probe(struct est_client *client)
{
    uint64_t now_ms = monotonic_ms(), due_ms = server_group_probe_due_ms(client->servers, now_ms);
    uint64_t wait_ms = due_ms - now_ms;
    struct timeval wait = {(time_t)(wait_ms / 1000), (suseconds_t)(wait_ms % 1000 * 1000)};
    if (due_ms == MONOTONIC_NEVER)
        evtimer_del(client->probe_timer);
    else
        evtimer_add(client->probe_timer, &wait);
}

static void on_probe_due(evutil_socket_t fd, short what, void *user)
{
    struct est_client *client = user;
    struct server_probe probe;
    struct est_call *call;
    (void)fd, (void)what;
    if (!server_group_claim_probe(client->servers, monotonic_ms(), &probe)) {
        schedule_probe(client);
        return;
    }
    const struct est_call_settings settings = {.operation = est_operation(EST_CRTS), .path = probe.profile};
    if (call_create(client, &settings, &call) != STATUS_OK) {
        server_group_return_probe(client->servers, &probe, monotonic_ms());
        schedule_probe(client);
        return;
    }
    call->is_probe = call->claims_probe = true;
    call->server = probe.server;
    call->probed = probe.profile;
    call->permit.is_get = false; /* the one that is kept for GETs is the devices' */
    metrics_add(client->metrics, COUNTER_UPSTREAM_PROBES, 1);
    start(call);
}

static void end_probe(struct est_call *call)
{
    struct est_client *client = call->client;
    settle_connection(call);
    call_free(call);
    schedule_probe(client);
}
