#include "registrar/upstream/https_connection.h"

#include "registrar/protocol/https_origin.h"
#include "registrar/upstream/curl_loop.h"

#include <event2/event.h>
#include <openssl/ssl.h>

#include <stdlib.h>
#include <string.h>

#define HEADER_LINES_MAX     100 /* of one response, 1xx responses before it included */
#define HEADER_OCTETS_MAX    (32 * 1024)
#define ATTEMPTS_MAX         2 /* RA-4: a broken kept connection is replaced once */
#define KEPT_S               4 /* libest.md: connections that stay idle wedge the EST server */
#define UPLOAD_OCTETS        (16 * 1024L)
#define CLIENT_CERT_LINE_MAX (17 * 1024)
#define HOST_OCTETS_MAX      256

struct https_connection {
    const struct https_context *context;
    struct ra_credentials *credentials;
    struct curl_loop *loop;
    CURL *easy;
    https_connection_lost *lost;
    void *user;
    struct event *watch;  /* while it is kept */
    curl_socket_t socket; /* CURL_SOCKET_BAD: closed */

    struct https_request request;
    bool running;
    struct curl_slist *headers; /* of the request */
    bool announced;             /* the request was about to leave */
    unsigned attempts;          /* how often, since the last 401 */
    size_t body_read;           /* octets of the body that libcurl has taken, and may have sent */
    unsigned challenges;        /* 401s that came, each complete */
    size_t header_lines, header_octets;
    bool headers_complete;      /* of the final response */
    bool refused_certificate;   /* ours, by an alert of the EST server's */
    char host[HOST_OCTETS_MAX]; /* that the certificate must be for */
    struct buffer body;         /* of the response */
    const char *complaint;      /* why we ended it ourselves; NULL: we did not */
    char error[CURL_ERROR_SIZE];
};

/* Options that are the same for every request. The defaults of libcurl that matter to safety are named too.
 */
static const struct {
    CURLoption option;
    long value;
} numbers[] = {
    {CURLOPT_NOSIGNAL, 1},
    {CURLOPT_QUICK_EXIT, 1}, /* never wait on the loop for a resolver thread that is still busy */
    {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
    {CURLOPT_HTTP09_ALLOWED, 0},
    {CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2}, /* or later; RFC 7030 section 3.3.1, RA-1 */
    {CURLOPT_SSL_VERIFYPEER, 1},
    {CURLOPT_SSL_VERIFYHOST, 0},      /* verify_server does, and takes id-kp-cmcRA as well (RA-2) */
    {CURLOPT_SSL_SESSIONID_CACHE, 0}, /* servers that verify clients often fail to resume */
    {CURLOPT_FOLLOWLOCATION, 0},
    {CURLOPT_PATH_AS_IS, 1},
    {CURLOPT_NETRC, CURL_NETRC_IGNORED},
    {CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_OCTETS},
};

static const struct {
    CURLoption option;
    const char *value;
} strings[] = {
    {CURLOPT_PROTOCOLS_STR, "https"},
    {CURLOPT_PROXY, ""}, /* the environment's proxies are not asked */
    {CURLOPT_NOPROXY, "*"},
    {CURLOPT_CAINFO, NULL}, /* only the configured trust anchors, none of the system's */
    {CURLOPT_CAPATH, NULL},
    {CURLOPT_USERAGENT, "estuary/" ESTUARY_VERSION},
};

static bool set_options(struct https_connection *connection);
static bool set_constants(CURL *easy);
static bool set_context(struct https_connection *connection);
static bool set_authentication(struct https_connection *connection);
static bool set_callbacks(struct https_connection *connection);
static bool set_request(struct https_connection *connection);
static long timeout_ms(const struct https_connection *connection);
static bool add_headers(struct https_connection *connection);
static bool add_client_cert(struct https_connection *connection);
static bool add_header(struct curl_slist **headers, const char *name, const char *value);
static void forget_request(struct https_connection *connection);
static CURLcode prepare_tls(CURL *easy, void *context, void *user);
static void on_tls_state(const SSL *tls, int where, int value);
static bool is_about_our_certificate(int alert);
static bool find_host(struct https_connection *connection);
static int verify_server(X509_STORE_CTX *presented, void *user);
static int before_request(void *user, char *peer, char *local, int peer_port, int local_port);
static bool may_authenticate(const struct https_connection *connection);
static bool was_asked_for_password(const struct https_connection *connection);
static bool nothing_was_sent(const struct https_connection *connection);
static size_t read_body(char *to, size_t size, size_t count, void *user);
static int rewind_body(void *user, curl_off_t offset, int origin);
static size_t take_header(char *line, size_t size, size_t count, void *user);
static size_t take_body(char *octets, size_t size, size_t count, void *user);
static void on_done(void *user, CURLcode code);
static curl_socket_t open_socket(const struct https_connection *connection, CURLcode code);
static enum est_result classify(const struct https_connection *connection, CURLcode code);
static bool is_about_trust(CURLcode code);
static const char *explain(const struct https_connection *connection, CURLcode code);
static long http_status(const struct https_connection *connection);
static struct bytes header(const struct https_connection *connection, const char *name);
static void on_kept(evutil_socket_t fd, short what, void *user);

struct https_connection *https_connection_create(const struct https_context *context,
                                                 struct ra_credentials *credentials,
                                                 https_connection_lost *lost, void *user)
{
    struct https_connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL)
        return NULL;
    connection->context = context;
    connection->credentials = ra_credentials_hold(credentials);
    connection->lost = lost;
    connection->user = user;
    connection->socket = CURL_SOCKET_BAD;
    buffer_init(&connection->body, context->settings->max_response_bytes);
    connection->loop = curl_loop_create(context->base, on_done, connection);
    connection->easy = curl_easy_init();
    if (connection->loop == NULL || connection->easy == NULL || !set_options(connection)) {
        https_connection_free(connection);
        return NULL;
    }
    return connection;
}

static bool set_options(struct https_connection *connection)
{
    return set_constants(connection->easy) && set_context(connection) && set_authentication(connection) &&
           set_callbacks(connection);
}

static bool set_constants(CURL *easy)
{
    int failed = 0;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        failed |= curl_easy_setopt(easy, numbers[i].option, numbers[i].value);
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++)
        failed |= curl_easy_setopt(easy, strings[i].option, strings[i].value);
    return !failed;
}

static bool set_context(struct https_connection *connection)
{
    const struct https_context *context = connection->context;
    const struct upstream_settings *settings = context->settings;
    CURL *easy = connection->easy;
    int failed = 0;

    failed |= curl_easy_setopt(easy, CURLOPT_SHARE, context->dns);
    failed |= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)settings->connect_timeout_ms);
    failed |= curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, settings->reuse_connections ? 0L : 1L);
    return !failed;
}

/* RA-8: with both allowed libcurl sends neither before a 401 asks, and then the better of those asked for.
 * The connection is verified by then, and no redirect is followed by libcurl: only the EST server hears it.
 */
static bool set_authentication(struct https_connection *connection)
{
    const char *password = ra_credentials_password(connection->credentials);
    int failed = 0;
    if (password == NULL || connection->request.without_password)
        return true;
    failed |= curl_easy_setopt(connection->easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC | CURLAUTH_DIGEST);
    failed |= curl_easy_setopt(connection->easy, CURLOPT_USERNAME,
                               ra_credentials_username(connection->credentials));
    failed |= curl_easy_setopt(connection->easy, CURLOPT_PASSWORD, password);
    return !failed;
}

static bool set_callbacks(struct https_connection *connection)
{
    CURL *easy = connection->easy;
    int failed = 0;
    failed |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, connection->error);
    failed |= curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, prepare_tls);
    failed |= curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, connection);
    failed |= curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, before_request);
    failed |= curl_easy_setopt(easy, CURLOPT_PREREQDATA, connection);
    failed |= curl_easy_setopt(easy, CURLOPT_READFUNCTION, read_body);
    failed |= curl_easy_setopt(easy, CURLOPT_READDATA, connection);
    failed |= curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, rewind_body);
    failed |= curl_easy_setopt(easy, CURLOPT_SEEKDATA, connection);
    failed |= curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    failed |= curl_easy_setopt(easy, CURLOPT_HEADERDATA, connection);
    failed |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    failed |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, connection);
    return !failed;
}

void https_connection_free(struct https_connection *connection)
{
    if (connection == NULL)
        return;
    if (connection->watch != NULL)
        event_free(connection->watch);
    if (connection->running)
        curl_loop_stop(connection->loop, connection->easy);
    curl_easy_cleanup(connection->easy);
    curl_loop_free(connection->loop);
    curl_slist_free_all(connection->headers);
    buffer_wipe(&connection->body);
    ra_credentials_release(connection->credentials);
    free(connection);
}

enum status https_connection_ask(struct https_connection *connection, const struct https_request *request)
{
    if (connection->watch != NULL)
        event_free(connection->watch);
    connection->watch = NULL;
    forget_request(connection);
    connection->request = *request;
    connection->body.locked = request->is_secret;
    curl_easy_reset(connection->easy); /* it would send a password unasked that was asked for once */
    if (!set_options(connection) || !set_request(connection) ||
        !curl_loop_start(connection->loop, connection->easy))
        return STATUS_NO_MEMORY;
    connection->running = true;
    return STATUS_OK;
}

static bool set_request(struct https_connection *connection)
{
    const struct https_request *request = &connection->request;
    CURL *easy = connection->easy;
    int failed = 0;

    if (!add_headers(connection))
        return false;
    failed |= curl_easy_setopt(easy, CURLOPT_URL, request->url);
    failed |= curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms(connection));
    failed |= curl_easy_setopt(easy, CURLOPT_HTTPHEADER, connection->headers);
    if (request->is_post) {
        failed |= curl_easy_setopt(easy, CURLOPT_POST, 1L);
        failed |= curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
    } else {
        failed |= curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    }
    return !failed;
}

static long timeout_ms(const struct https_connection *connection)
{
    uint32_t asked = connection->request.timeout_ms;
    return (long)(asked != 0 ? asked : connection->context->settings->timeout_ms);
}

/* RFC 7030 section 4.2.1, RA-6, PAY-2, PAY-6. */
static bool add_headers(struct https_connection *connection)
{
    const struct upstream_settings *settings = connection->context->settings;
    struct curl_slist **headers = &connection->headers;
    bool added = add_header(headers, "Accept", connection->request.accept);

    if (connection->request.is_post) {
        added = added && add_header(headers, "Content-Type", "application/pkcs10") &&
                add_header(headers, "Expect", ""); /* never 100-continue: it costs libest a second */
        if (settings->content_transfer_encoding)
            added = added && add_header(headers, "Content-Transfer-Encoding", "base64");
        if (!connection->request.without_password)
            added = added && add_client_cert(connection);
    }
    if (!settings->reuse_connections)
        added = added && add_header(headers, "Connection", "close");
    return added;
}

static bool add_client_cert(struct https_connection *connection)
{
    const char *value = connection->request.client_cert;
    struct buffer line;
    if (value == NULL || *value == '\0')
        return true;
    buffer_init(&line, CLIENT_CERT_LINE_MAX);
    buffer_printf(&line, "Client-Cert: %s", value);
    struct curl_slist *longer =
        line.status == STATUS_OK ? curl_slist_append(connection->headers, buffer_string(&line)) : NULL;
    buffer_free(&line);
    if (longer != NULL)
        connection->headers = longer;
    return longer != NULL;
}

/* Without a value, libcurl leaves the field out. */
static bool add_header(struct curl_slist **headers, const char *name, const char *value)
{
    char line[128];
    snprintf(line, sizeof line, "%s:%s%s", name, *value != '\0' ? " " : "", value);
    struct curl_slist *longer = curl_slist_append(*headers, line);
    if (longer != NULL)
        *headers = longer;
    return longer != NULL;
}

static void forget_request(struct https_connection *connection)
{
    curl_slist_free_all(connection->headers);
    connection->headers = NULL;
    connection->attempts = 0;
    connection->announced = false;
    connection->body_read = 0;
    connection->challenges = 0;
    connection->header_lines = 0;
    connection->header_octets = 0;
    connection->headers_complete = false;
    connection->refused_certificate = false;
    connection->complaint = NULL;
    connection->error[0] = '\0';
    connection->socket = CURL_SOCKET_BAD;
    buffer_wipe(&connection->body);
}

/* What was decrypted is wiped once it is read: it may be a private key (SKG-9). */
static CURLcode prepare_tls(CURL *easy, void *context, void *user)
{
    struct https_connection *connection = user;
    (void)easy;
    SSL_CTX_set_options((SSL_CTX *)context, SSL_OP_CLEANSE_PLAINTEXT);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(context, verify_server, connection);
    SSL_CTX_set_app_data((SSL_CTX *)context, connection);
    SSL_CTX_set_info_callback(context, on_tls_state);
    if (ra_credentials_use(connection->credentials, context) && find_host(connection))
        return CURLE_OK;
    connection->complaint = "the RA's credentials or the EST server's host name cannot be used";
    return CURLE_SSL_CERTPROBLEM;
}

/* With TLS 1.3 the EST server looks at our certificate when the request is under way already (RFC 8446
 * section 4.4.2.4). If it will have none of it, it has not read the request. */
static void on_tls_state(const SSL *tls, int where, int value)
{
    struct https_connection *connection = SSL_CTX_get_app_data(SSL_get_SSL_CTX(tls));
    if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT && is_about_our_certificate(value & 0xff))
        connection->refused_certificate = true;
}

static bool is_about_our_certificate(int alert)
{
    switch (alert) {
    case SSL_AD_HANDSHAKE_FAILURE:
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_DECRYPT_ERROR:
    case SSL_AD_CERTIFICATE_REQUIRED:
        return true;
    default:
        return false;
    }
}

/* Of the URL that is asked for, without the brackets of an IPv6 address. */
static bool find_host(struct https_connection *connection)
{
    struct https_origin origin;
    if (https_url_origin(connection->request.url, &origin) != STATUS_OK)
        return false;
    size_t len = strlen(origin.host), skip = origin.host[0] == '[' ? 1 : 0; /* an IPv6 address */
    if (len <= 2 * skip || len >= sizeof connection->host)
        return false;
    snprintf(connection->host, sizeof connection->host, "%.*s", (int)(len - 2 * skip), origin.host + skip);
    return true;
}

static int verify_server(X509_STORE_CTX *presented, void *user)
{
    struct https_connection *connection = user;
    const char *why;
    if (server_trust_judge(ra_credentials_trust(connection->credentials), presented, connection->host, &why))
        return 1;
    connection->complaint = why;
    return 0;
}

/* The connection is up and verified, and the request would leave next. libcurl comes here again when a kept
 * connection has died without a word, to repeat the request on a new one. Of a POST, the EST server may have
 * acted on the first already: then it must not (RA-4). */
static int before_request(void *user, char *peer, char *local, int peer_port, int local_port)
{
    struct https_connection *connection = user;
    (void)peer, (void)local, (void)peer_port, (void)local_port;

    if (may_authenticate(connection)) {
        connection->attempts = 0;
        connection->body_read = 0;
        connection->headers_complete = false;
    }
    if (connection->attempts > 0 && (connection->attempts >= ATTEMPTS_MAX ||
                                     (connection->request.is_post && !nothing_was_sent(connection)))) {
        connection->complaint = "the connection was lost before the answer came";
        return CURL_PREREQFUNC_ABORT;
    }
    connection->attempts++;
    if (!connection->announced)
        connection->request.sending(connection->request.user);
    connection->announced = true;
    return CURL_PREREQFUNC_OK;
}

/* RA-8: a whole 401 says that the EST server has not acted; after a second one there is no third request. */
static bool may_authenticate(const struct https_connection *connection)
{
    return connection->headers_complete && connection->challenges == 1 && http_status(connection) == 401 &&
           ra_credentials_password(connection->credentials) != NULL && !connection->request.without_password;
}

/* The EST server cannot act on a POST of whose body it has nothing. */
static bool nothing_was_sent(const struct https_connection *connection)
{
    return connection->attempts == 0 || (connection->request.is_post && connection->body_read == 0);
}

static size_t read_body(char *to, size_t size, size_t count, void *user)
{
    struct https_connection *connection = user;
    struct bytes next = bytes_slice(connection->request.body, connection->body_read, size * count);
    if (next.len > 0)
        memcpy(to, next.at, next.len);
    connection->body_read += next.len;
    return next.len;
}

/* libcurl asks for it before it repeats a POST: the second guard against that, beside before_request. */
static int rewind_body(void *user, curl_off_t offset, int origin)
{
    struct https_connection *connection = user;
    if (may_authenticate(connection))
        connection->body_read = 0;
    if (connection->body_read == 0 && offset == 0 && origin == SEEK_SET)
        return CURL_SEEKFUNC_OK;
    connection->complaint = "the connection was lost before the answer came";
    return CURL_SEEKFUNC_FAIL;
}

/* Only counts; libcurl keeps the fields for header(). */
static size_t take_header(char *line, size_t size, size_t count, void *user)
{
    struct https_connection *connection = user;
    struct bytes bytes = {(const uint8_t *)line, size * count};

    connection->header_octets += bytes.len;
    connection->header_lines++;
    if (connection->header_octets > HEADER_OCTETS_MAX || connection->header_lines > HEADER_LINES_MAX) {
        connection->complaint = "the header of the answer is too large";
        return CURL_WRITEFUNC_ERROR;
    }
    bool is_end = bytes_equal(bytes, BYTES_LITERAL("\r\n")) || bytes_equal(bytes, BYTES_LITERAL("\n"));
    if (is_end && http_status(connection) >= 200) {
        connection->headers_complete = true;
        connection->challenges += http_status(connection) == 401;
    }
    return bytes.len;
}

static size_t take_body(char *octets, size_t size, size_t count, void *user)
{
    struct https_connection *connection = user;
    struct bytes bytes = {(const uint8_t *)octets, size * count};

    buffer_append(&connection->body, bytes);
    if (connection->body.status == STATUS_OK)
        return bytes.len;
    connection->complaint = connection->body.status == STATUS_TOO_LARGE
                                ? "the answer is larger than upstream.max_response_bytes"
                                : "out of memory";
    return CURL_WRITEFUNC_ERROR;
}

static void on_done(void *user, CURLcode code)
{
    struct https_connection *connection = user;
    struct https_request request = connection->request;

    connection->socket = open_socket(connection, code);
    curl_loop_stop(connection->loop, connection->easy);
    connection->running = false;

    const struct est_response response = {
        .result = classify(connection, code),
        .http_status = (unsigned)http_status(connection),
        .content_type = header(connection, "Content-Type"),
        .retry_after = header(connection, "Retry-After"),
        .date = header(connection, "Date"),
        .cache_control = header(connection, "Cache-Control"),
        .age = header(connection, "Age"),
        .expires = header(connection, "Expires"),
        .location = header(connection, "Location"),
        .body = buffer_view(&connection->body),
        .reason = explain(connection, code),
    };
    request.answered(request.user, &response); /* may free the connection */
}

/* libcurl knows it as long as the transfer belongs to the multi handle. */
static curl_socket_t open_socket(const struct https_connection *connection, CURLcode code)
{
    curl_socket_t socket = CURL_SOCKET_BAD;
    if (code != CURLE_OK || !connection->context->settings->reuse_connections ||
        curl_easy_getinfo(connection->easy, CURLINFO_ACTIVESOCKET, &socket) != CURLE_OK)
        return CURL_SOCKET_BAD;
    return socket;
}

static enum est_result classify(const struct https_connection *connection, CURLcode code)
{
    bool was_in_vain = code != CURLE_OK && was_asked_for_password(connection);
    /* libcurl takes a header that is cut off for a complete one. With any other status than 200 the header
     * says it all, and the outcome is known. */
    if (connection->headers_complete && !was_in_vain && (code == CURLE_OK || http_status(connection) != 200))
        return EST_ANSWERED;
    if (connection->refused_certificate && connection->header_lines == 0)
        return EST_UNTRUSTED;
    if (was_in_vain || nothing_was_sent(connection))
        return is_about_trust(code) ? EST_UNTRUSTED : EST_NOT_SENT;
    return code == CURLE_OPERATION_TIMEDOUT ? EST_TIMEOUT : EST_BROKEN;
}

/* And could not give it: the request that has it has not left, and the one before was not acted on. */
static bool was_asked_for_password(const struct https_connection *connection)
{
    long schemes = 0;
    curl_easy_getinfo(connection->easy, CURLINFO_HTTPAUTH_AVAIL, &schemes);
    return may_authenticate(connection) && (schemes & (long)(CURLAUTH_BASIC | CURLAUTH_DIGEST)) != 0;
}

static bool is_about_trust(CURLcode code)
{
    switch (code) {
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT:
        return true;
    default:
        return false;
    }
}

static const char *explain(const struct https_connection *connection, CURLcode code)
{
    if (connection->complaint != NULL)
        return connection->complaint;
    if (code == CURLE_OK && !connection->headers_complete)
        return "the header of the answer is cut off";
    return connection->error[0] != '\0' ? connection->error : curl_easy_strerror(code);
}

static long http_status(const struct https_connection *connection)
{
    long status = 0;
    curl_easy_getinfo(connection->easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

/* Of the final response, the field of that name which came first. */
static struct bytes header(const struct https_connection *connection, const char *name)
{
    struct curl_header *field;
    if (curl_easy_header(connection->easy, name, 0, CURLH_HEADER, -1, &field) != CURLHE_OK)
        return (struct bytes){NULL, 0};
    return bytes_from_string(field->value);
}

bool https_connection_is_of(const struct https_connection *connection,
                            const struct ra_credentials *credentials)
{
    return connection->credentials == credentials;
}

bool https_connection_is_reusable(const struct https_connection *connection)
{
    return connection->socket != CURL_SOCKET_BAD && !connection->request.is_secret;
}

/* The EST server has nothing to say now: whatever can be read is the end, or the beginning of a confusion. */
enum status https_connection_keep(struct https_connection *connection)
{
    static const struct timeval kept = {KEPT_S, 0};
    curl_socket_t socket = connection->socket;

    forget_request(connection);
    connection->watch = event_new(connection->context->base, socket, EV_READ, on_kept, connection);
    if (connection->watch == NULL || event_add(connection->watch, &kept) != 0)
        return STATUS_NO_MEMORY;
    return STATUS_OK;
}

static void on_kept(evutil_socket_t fd, short what, void *user)
{
    struct https_connection *connection = user;
    (void)fd, (void)what;
    connection->lost(connection->user, connection);
}
