#include "registrar/upstream/webhook.h"

#include "registrar/upstream/curl_loop.h"
#include "registrar/upstream/webhook_service.h"

#include <event2/event.h>

#include <stdlib.h>
#include <string.h>

#define HEADER_OCTETS_MAX   16384 /* of one answer */
#define QUESTION_OCTETS_MAX ((size_t)1024 * 1024)

/* A connection, kept open between two questions where the service lets us. */
struct line {
    struct webhook *webhook;
    struct webhook_service *service; /* held: what it leads to; NULL: nowhere yet */
    struct curl_loop *loop;
    CURL *easy;
    struct webhook_call *call; /* NULL: none */
    bool busy;                 /* with a call, or handing its answer over */
    struct buffer body;
    size_t header_octets;
    const char *complaint; /* why we ended it ourselves; NULL: we did not */
    char error[CURL_ERROR_SIZE];
};

struct webhook {
    struct webhook_service *service; /* held; NULL: nobody is asked */
    struct event_base *base;
    struct curl_slist *headers;
    struct webhook_call *first, *last; /* that wait */
    size_t waiting;
    struct line *lines[WEBHOOK_CONNECTIONS_MAX]; /* NULL: never used */
};

/* Waits in the queue, or is on a line. */
struct webhook_call {
    struct webhook_call *next, *previous;
    struct webhook *webhook;
    struct webhook_service *service; /* held: that it was put to */
    struct line *line;               /* NULL: waits */
    struct event *deadline;
    struct buffer question;
    webhook_done *done;
    void *user;
};

static struct curl_slist *headers(void);
static void free_line(struct line *line);
static void put_through(struct webhook *webhook);
static struct line *find_line(struct webhook *webhook, const struct webhook_service *service);
static bool begin(struct line *line, struct webhook_call *call);
static bool open_line(struct line *line, struct webhook_service *service);
static void close_line(struct line *line);
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

struct webhook *webhook_create(struct webhook_service *service, struct event_base *base)
{
    struct webhook *webhook = calloc(1, sizeof(*webhook));
    if (webhook == NULL)
        return NULL;
    webhook->base = base;
    webhook->headers = headers();
    if (webhook->headers == NULL) {
        webhook_free(webhook);
        return NULL;
    }
    webhook_use_service(webhook, service);
    return webhook;
}

void webhook_free(struct webhook *webhook)
{
    if (webhook == NULL)
        return;
    for (size_t i = 0; i < WEBHOOK_CONNECTIONS_MAX; i++)
        free_line(webhook->lines[i]);
    webhook_service_release(webhook->service);
    curl_slist_free_all(webhook->headers);
    free(webhook);
}

static void free_line(struct line *line)
{
    if (line == NULL)
        return;
    close_line(line);
    buffer_free(&line->body);
    free(line);
}

void webhook_use_service(struct webhook *webhook, struct webhook_service *service)
{
    struct webhook_service *used = webhook->service;
    webhook->service = service == NULL ? NULL : webhook_service_hold(service);
    webhook_service_release(used);
    for (size_t i = 0; i < WEBHOOK_CONNECTIONS_MAX; i++)
        if (webhook->lines[i] != NULL && !webhook->lines[i]->busy && webhook->lines[i]->service != service)
            close_line(webhook->lines[i]);
}

bool webhook_fails_open(const struct webhook *webhook)
{
    return webhook->service != NULL && webhook_service_terms(webhook->service)->fails_open;
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

/* Calls. */

static struct webhook_call *create_call(struct webhook *webhook, struct bytes question);

struct webhook_call *webhook_ask(struct webhook *webhook, struct bytes question, webhook_done *done,
                                 void *user)
{
    if (webhook->service == NULL)
        return NULL;
    struct line *line = find_line(webhook, webhook->service);
    if (line == NULL && webhook->waiting >= webhook_service_terms(webhook->service)->queue)
        return NULL;
    struct webhook_call *call = create_call(webhook, question);
    if (call == NULL)
        return NULL;
    call->done = done;
    call->user = user;
    if (line != NULL)
        begin(line, call);
    else
        put_into_queue(call);
    return call;
}

static struct webhook_call *create_call(struct webhook *webhook, struct bytes question)
{
    const uint32_t timeout_ms = webhook_service_terms(webhook->service)->timeout_ms;
    const struct timeval timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    struct webhook_call *call = calloc(1, sizeof(*call));
    if (call == NULL)
        return NULL;
    call->webhook = webhook;
    call->service = webhook_service_hold(webhook->service);
    buffer_init(&call->question, QUESTION_OCTETS_MAX);
    buffer_append(&call->question, question);
    call->deadline = evtimer_new(webhook->base, on_deadline, call);
    if (call->question.status == STATUS_OK && call->deadline != NULL &&
        evtimer_add(call->deadline, &timeout) == 0)
        return call;
    free_call(call);
    return NULL;
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

/* One that is free; NULL: the service takes no more at a time. */
static struct line *find_line(struct webhook *webhook, const struct webhook_service *service)
{
    for (size_t i = 0; i < webhook_service_terms(service)->max_connections; i++) {
        struct line *line = webhook->lines[i];
        if (line != NULL && !line->busy)
            return line;
        if (line != NULL)
            continue;
        line = webhook->lines[i] = calloc(1, sizeof(*line));
        if (line == NULL)
            return NULL;
        line->webhook = webhook;
        buffer_init(&line->body, WEBHOOK_ANSWER_MAX);
        return line;
    }
    return NULL;
}

/* What fails here is told by the deadline's timer, at once: never before webhook_ask has returned. */
static bool begin(struct line *line, struct webhook_call *call)
{
    static const struct timeval now = {0, 0};
    line->complaint = NULL;
    line->error[0] = '\0';
    line->header_octets = 0;
    buffer_reset(&line->body);
    if (open_line(line, call->service) &&
        curl_easy_setopt(line->easy, CURLOPT_POSTFIELDS, call->question.at) == CURLE_OK &&
        curl_easy_setopt(line->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->question.len) ==
            CURLE_OK &&
        curl_loop_start(line->loop, line->easy)) {
        line->busy = true;
        line->call = call;
        call->line = line;
        return true;
    }
    put_into_queue(call);
    evtimer_add(call->deadline, &now);
    return false;
}

static bool open_line(struct line *line, struct webhook_service *service)
{
    if (line->service == service)
        return true;
    close_line(line);
    line->service = webhook_service_hold(service);
    line->loop = curl_loop_create(line->webhook->base, on_done, line);
    line->easy = curl_easy_init();
    if (line->loop != NULL && line->easy != NULL && set_options(line))
        return true;
    close_line(line);
    return false;
}

static void close_line(struct line *line)
{
    curl_easy_cleanup(line->easy);
    curl_loop_free(line->loop);
    webhook_service_release(line->service);
    line->easy = NULL;
    line->loop = NULL;
    line->service = NULL;
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
    const char *socket = webhook_service_socket(line->service);
    int failed = curl_easy_setopt(line->easy, CURLOPT_PROTOCOLS_STR, socket != NULL ? "http" : "https");
    failed |= curl_easy_setopt(line->easy, CURLOPT_URL, webhook_service_url(line->service));
    if (socket != NULL)
        failed |= curl_easy_setopt(line->easy, CURLOPT_UNIX_SOCKET_PATH, socket);
    return !failed;
}

static bool set_callbacks(struct line *line)
{
    CURL *easy = line->easy;
    int failed = 0;
    failed |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, line->error);
    failed |= curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, prepare_tls);
    failed |= curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, line->service);
    failed |= curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    failed |= curl_easy_setopt(easy, CURLOPT_HEADERDATA, line);
    failed |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    failed |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, line);
    return !failed;
}

static CURLcode prepare_tls(CURL *easy, void *context, void *user)
{
    (void)easy;
    return webhook_service_secure(user, context) ? CURLE_OK : CURLE_OUT_OF_MEMORY;
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

/* What led to a service that is replaced meanwhile leads nowhere then. */
static void release_line(struct line *line)
{
    struct webhook *webhook = line->webhook;
    line->busy = false;
    put_through(webhook);
    if (!line->busy && line->service != webhook->service)
        close_line(line);
}

/* Those who wait, as far as there are lines for them. */
static void put_through(struct webhook *webhook)
{
    struct webhook_call *call;
    struct line *line;
    while ((call = webhook->first) != NULL && (line = find_line(webhook, call->service)) != NULL) {
        take_from_queue(call);
        if (!begin(line, call))
            return;
    }
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
    webhook_service_release(call->service);
    buffer_free(&call->question);
    free(call);
}
