#include "registrar/upstream/webhook.h"

#include "registrar/protocol/pem_file.h"
#include "registrar/upstream/curl_loop.h"

#include <event2/event.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <stdlib.h>
#include <string.h>

#define HEADER_OCTETS_MAX   16384 /* of one answer */
#define QUESTION_OCTETS_MAX ((size_t)1024 * 1024)
#define SETTING             "access.webhook.trust"

/* A connection, kept open between two questions where the service lets us. */
struct line {
    struct webhook *webhook;
    struct curl_loop *loop; /* NULL: not yet used */
    CURL *easy;
    struct webhook_call *call; /* NULL: none */
    bool busy;                 /* with a call, or handing its answer over */
    struct buffer body;
    size_t header_octets;
    const char *complaint; /* why we ended it ourselves; NULL: we did not */
    char error[CURL_ERROR_SIZE];
};

struct webhook {
    const struct webhook_settings *settings;
    struct event_base *base;
    STACK_OF(X509) * trust; /* NULL: none is needed */
    struct curl_slist *headers;
    char *host; /* of the URL, without the brackets of an IPv6 address; NULL: a Unix socket */
    struct webhook_call *first, *last; /* that wait */
    size_t waiting;
    struct line lines[]; /* max_connections */
};

/* Waits in the queue, or is on a line. */
struct webhook_call {
    struct webhook_call *next, *previous;
    struct webhook *webhook;
    struct line *line; /* NULL: waits */
    struct event *deadline;
    struct buffer question;
    webhook_done *done;
    void *user;
};

static enum status load_trust(const struct webhook_settings *settings, STACK_OF(X509) * *trust,
                              struct buffer *errors, struct buffer *warnings);
static bool set_up(struct webhook *webhook);
static char *host_of(const char *url);
static struct curl_slist *headers(void);
static const char *socket_of(const struct webhook_settings *settings);
static struct line *find_line(struct webhook *webhook);
static void begin(struct line *line, struct webhook_call *call);
static bool open_line(struct line *line);
static bool set_options(struct line *line);
static bool set_address(const struct line *line);
static bool set_callbacks(struct line *line);
static CURLcode prepare_tls(CURL *easy, void *context, void *user);
static size_t take_header(char *octets, size_t size, size_t count, void *user);
static size_t take_body(char *octets, size_t size, size_t count, void *user);
static void on_done(void *user, CURLcode code);
static void on_deadline(evutil_socket_t fd, short what, void *user);
static void conclude(struct webhook_call *call, const struct webhook_answer *answer);
static void release_line(struct line *line);
static void take_from_queue(struct webhook_call *call);
static void put_into_queue(struct webhook_call *call);
static void free_call(struct webhook_call *call);

/* The defaults of libcurl that matter to safety are named too. */
static const struct {
    CURLoption option;
    long value;
} numbers[] = {
    {CURLOPT_NOSIGNAL, 1},
    {CURLOPT_QUICK_EXIT, 1}, /* never wait on the loop for a resolver thread */
    {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
    {CURLOPT_HTTP09_ALLOWED, 0},
    {CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2}, /* or later */
    {CURLOPT_SSL_VERIFYPEER, 1},
    {CURLOPT_SSL_VERIFYHOST, 2},
    {CURLOPT_FOLLOWLOCATION, 0},
    {CURLOPT_NETRC, CURL_NETRC_IGNORED},
    {CURLOPT_POST, 1},
};

static const struct {
    CURLoption option;
    const char *value;
} strings[] = {
    {CURLOPT_PROXY, ""}, /* the environment's proxies are not asked */
    {CURLOPT_NOPROXY, "*"},
    {CURLOPT_CAINFO, NULL}, /* only the configured trust anchors, none of the system's */
    {CURLOPT_CAPATH, NULL},
    {CURLOPT_USERAGENT, "estuary/" ESTUARY_VERSION},
};

struct webhook *webhook_create(const struct webhook_settings *settings, struct event_base *base,
                               struct buffer *errors)
{
    struct webhook *webhook =
        calloc(1, sizeof(*webhook) + settings->max_connections * sizeof(webhook->lines[0]));
    struct buffer warnings; /* told by webhook_check */
    if (webhook == NULL)
        return NULL;
    webhook->settings = settings;
    webhook->base = base;
    buffer_init(&warnings, QUESTION_OCTETS_MAX);
    bool built = load_trust(settings, &webhook->trust, errors, &warnings) == STATUS_OK && set_up(webhook);
    buffer_free(&warnings);
    if (built)
        return webhook;
    webhook_free(webhook);
    return NULL;
}

static bool set_up(struct webhook *webhook)
{
    for (size_t i = 0; i < webhook->settings->max_connections; i++) {
        webhook->lines[i].webhook = webhook;
        buffer_init(&webhook->lines[i].body, WEBHOOK_ANSWER_MAX);
    }
    webhook->headers = headers();
    if (webhook->headers == NULL)
        return false;
    if (socket_of(webhook->settings) != NULL)
        return true;
    webhook->host = host_of(webhook->settings->url);
    return webhook->host != NULL;
}

void webhook_free(struct webhook *webhook)
{
    if (webhook == NULL)
        return;
    for (size_t i = 0; i < webhook->settings->max_connections; i++) {
        curl_easy_cleanup(webhook->lines[i].easy);
        curl_loop_free(webhook->lines[i].loop);
        buffer_free(&webhook->lines[i].body);
    }
    sk_X509_pop_free(webhook->trust, X509_free);
    curl_slist_free_all(webhook->headers);
    free(webhook->host);
    free(webhook);
}

enum status webhook_check(const struct webhook_settings *settings, struct buffer *errors,
                          struct buffer *warnings)
{
    STACK_OF(X509) *trust = NULL;
    enum status status = load_trust(settings, &trust, errors, warnings);
    sk_X509_pop_free(trust, X509_free);
    return status;
}

static enum status load_trust(const struct webhook_settings *settings, STACK_OF(X509) * *trust,
                              struct buffer *errors, struct buffer *warnings)
{
    enum status status = STATUS_OK;
    *trust = sk_X509_new_null();
    for (size_t i = 0; i < settings->trust.count && *trust != NULL; i++) {
        char setting[48];
        snprintf(setting, sizeof(setting), SETTING "[%zu]", i);
        const struct pem_file file = {setting, settings->trust.items[i]};
        STACK_OF(X509) *certificates = pem_file_certificates(&file, errors);
        if (certificates == NULL)
            status = STATUS_MALFORMED;
        for (int j = 0; j < sk_X509_num(certificates); j++) {
            X509 *certificate = sk_X509_value(certificates, j);
            pem_file_warn_of_validity(&file, certificate, warnings);
            if (X509_up_ref(certificate) != 1 || sk_X509_push(*trust, certificate) <= 0)
                status = STATUS_NO_MEMORY;
        }
        sk_X509_pop_free(certificates, X509_free);
    }
    return *trust == NULL ? STATUS_NO_MEMORY : status;
}

static struct curl_slist *headers(void)
{
    static const char *const lines[] = {"Content-Type: application/json", "Accept: application/json",
                                        "Expect:"};
    struct curl_slist *list = NULL;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct curl_slist *longer = curl_slist_append(list, lines[i]);
        if (longer == NULL) {
            curl_slist_free_all(list);
            return NULL;
        }
        list = longer;
    }
    return list;
}

static char *host_of(const char *url)
{
    CURLU *parsed = curl_url();
    char *host = NULL, *copy = NULL;
    if (parsed != NULL && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK)
        copy = host[0] == '[' ? strndup(host + 1, strcspn(host + 1, "]")) : strdup(host);
    curl_free(host);
    curl_url_cleanup(parsed);
    return copy;
}

/* NULL: it is asked over HTTPS. */
static const char *socket_of(const struct webhook_settings *settings)
{
    static const char prefix[] = "unix:";
    return strncmp(settings->url, prefix, strlen(prefix)) == 0 ? settings->url + strlen(prefix) : NULL;
}

/* Calls. */

struct webhook_call *webhook_ask(struct webhook *webhook, struct bytes question, webhook_done *done,
                                 void *user)
{
    const uint32_t timeout_ms = webhook->settings->timeout_ms;
    const struct timeval timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    struct line *line = find_line(webhook);
    if (line == NULL && webhook->waiting >= webhook->settings->queue)
        return NULL;
    struct webhook_call *call = calloc(1, sizeof(*call));
    if (call == NULL)
        return NULL;
    call->webhook = webhook;
    call->done = done;
    call->user = user;
    buffer_init(&call->question, QUESTION_OCTETS_MAX);
    buffer_append(&call->question, question);
    call->deadline = evtimer_new(webhook->base, on_deadline, call);
    if (call->question.status != STATUS_OK || call->deadline == NULL ||
        evtimer_add(call->deadline, &timeout) != 0) {
        free_call(call);
        return NULL;
    }
    if (line != NULL)
        begin(line, call);
    else
        put_into_queue(call);
    return call;
}

void webhook_cancel(struct webhook_call *call)
{
    if (call == NULL)
        return;
    struct line *line = call->line;
    if (line == NULL)
        take_from_queue(call);
    free_call(call);
    if (line == NULL)
        return;
    line->call = NULL;
    curl_loop_stop(line->loop, line->easy);
    release_line(line);
}

static struct line *find_line(struct webhook *webhook)
{
    for (size_t i = 0; i < webhook->settings->max_connections; i++)
        if (!webhook->lines[i].busy)
            return &webhook->lines[i];
    return NULL;
}

/* What fails here is told by the deadline's timer, at once: never before webhook_ask has returned. */
static void begin(struct line *line, struct webhook_call *call)
{
    static const struct timeval now = {0, 0};
    line->complaint = NULL;
    line->error[0] = '\0';
    line->header_octets = 0;
    buffer_reset(&line->body);
    if (open_line(line) && curl_easy_setopt(line->easy, CURLOPT_POSTFIELDS, call->question.at) == CURLE_OK &&
        curl_easy_setopt(line->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->question.len) ==
            CURLE_OK &&
        curl_loop_start(line->loop, line->easy)) {
        line->busy = true;
        line->call = call;
        call->line = line;
        return;
    }
    put_into_queue(call);
    evtimer_add(call->deadline, &now);
}

static bool open_line(struct line *line)
{
    if (line->loop == NULL)
        line->loop = curl_loop_create(line->webhook->base, on_done, line);
    if (line->easy == NULL) {
        line->easy = curl_easy_init();
        if (line->easy != NULL && !set_options(line)) {
            curl_easy_cleanup(line->easy);
            line->easy = NULL;
        }
    }
    return line->loop != NULL && line->easy != NULL;
}

static bool set_options(struct line *line)
{
    int failed = 0;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        failed |= curl_easy_setopt(line->easy, numbers[i].option, numbers[i].value);
    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
        failed |= curl_easy_setopt(line->easy, strings[i].option, strings[i].value);
    failed |= curl_easy_setopt(line->easy, CURLOPT_HTTPHEADER, line->webhook->headers);
    return !failed && set_address(line) && set_callbacks(line);
}

static bool set_address(const struct line *line)
{
    const struct webhook_settings *settings = line->webhook->settings;
    const char *path = socket_of(settings);
    int failed = curl_easy_setopt(line->easy, CURLOPT_PROTOCOLS_STR, path != NULL ? "http" : "https");
    failed |= curl_easy_setopt(line->easy, CURLOPT_URL, path != NULL ? "http://localhost/" : settings->url);
    if (path != NULL)
        failed |= curl_easy_setopt(line->easy, CURLOPT_UNIX_SOCKET_PATH, path);
    return !failed;
}

static bool set_callbacks(struct line *line)
{
    CURL *easy = line->easy;
    int failed = 0;
    failed |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, line->error);
    failed |= curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, prepare_tls);
    failed |= curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, line->webhook);
    failed |= curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    failed |= curl_easy_setopt(easy, CURLOPT_HEADERDATA, line);
    failed |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    failed |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, line);
    return !failed;
}

/* Trusts the configured anchors, and looks for the host in subjectAltNames alone: libcurl would take a common
 * name too, which RE-8 lets devices choose, and their CA may be the webhook's as well (RFC 9525 section 2).
 */
static CURLcode prepare_tls(CURL *easy, void *context, void *user)
{
    const struct webhook *webhook = user;
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    X509_VERIFY_PARAM *wanted = SSL_CTX_get0_param(context);
    (void)easy;
    for (int i = 0; i < sk_X509_num(webhook->trust); i++)
        if (X509_STORE_add_cert(store, sk_X509_value(webhook->trust, i)) != 1)
            return CURLE_OUT_OF_MEMORY;
    X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
                                                X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (X509_VERIFY_PARAM_set1_ip_asc(wanted, webhook->host) != 1 &&
        X509_VERIFY_PARAM_set1_host(wanted, webhook->host, 0) != 1)
        return CURLE_OUT_OF_MEMORY;
    return CURLE_OK;
}

static size_t take_header(char *octets, size_t size, size_t count, void *user)
{
    struct line *line = user;
    (void)octets;
    line->header_octets += size * count;
    if (line->header_octets <= HEADER_OCTETS_MAX)
        return size * count;
    line->complaint = "the header of its answer is too large";
    return CURL_WRITEFUNC_ERROR;
}

static size_t take_body(char *octets, size_t size, size_t count, void *user)
{
    struct line *line = user;
    struct bytes bytes = {(const uint8_t *)octets, size * count};
    buffer_append(&line->body, bytes);
    if (line->body.status == STATUS_OK)
        return bytes.len;
    line->complaint = line->body.status == STATUS_TOO_LARGE ? "its answer is too large" : "out of memory";
    return CURL_WRITEFUNC_ERROR;
}

static void on_done(void *user, CURLcode code)
{
    struct line *line = user;
    struct webhook_call *call = line->call;
    struct webhook_answer answer = {.body = buffer_view(&line->body)};
    long status = 0;
    curl_easy_getinfo(line->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_loop_stop(line->loop, line->easy);
    line->call = NULL;
    if (line->complaint != NULL)
        answer.failure = line->complaint;
    else if (code != CURLE_OK)
        answer.failure = line->error[0] != '\0' ? line->error : curl_easy_strerror(code);
    answer.http_status = answer.failure == NULL ? (unsigned)status : 0;
    conclude(call, &answer);
    release_line(line);
}

static void on_deadline(evutil_socket_t fd, short what, void *user)
{
    struct webhook_call *call = user;
    struct line *line = call->line;
    const struct webhook_answer none = {.failure = "it did not decide in time"};
    (void)fd, (void)what;
    if (line == NULL) {
        take_from_queue(call);
        conclude(call, &none);
        return;
    }
    line->call = NULL;
    curl_loop_stop(line->loop, line->easy);
    conclude(call, &none);
    release_line(line);
}

/* The line stays busy meanwhile: the answer may lie in it. */
static void conclude(struct webhook_call *call, const struct webhook_answer *answer)
{
    webhook_done *done = call->done;
    void *user = call->user;
    free_call(call);
    done(user, answer);
}

static void release_line(struct line *line)
{
    struct webhook_call *next = line->webhook->first;
    line->busy = false;
    if (next == NULL)
        return;
    take_from_queue(next);
    begin(line, next);
}

static void put_into_queue(struct webhook_call *call)
{
    struct webhook *webhook = call->webhook;
    call->next = NULL;
    call->previous = webhook->last;
    if (webhook->last != NULL)
        webhook->last->next = call;
    else
        webhook->first = call;
    webhook->last = call;
    webhook->waiting++;
}

static void take_from_queue(struct webhook_call *call)
{
    struct webhook *webhook = call->webhook;
    if (call->previous != NULL)
        call->previous->next = call->next;
    else
        webhook->first = call->next;
    if (call->next != NULL)
        call->next->previous = call->previous;
    else
        webhook->last = call->previous;
    call->next = call->previous = NULL;
    webhook->waiting--;
}

static void free_call(struct webhook_call *call)
{
    if (call->deadline != NULL)
        event_free(call->deadline);
    buffer_free(&call->question);
    free(call);
}
