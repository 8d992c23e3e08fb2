/* Many requests at one EST server: where they go (RA-3, URI-4), how many connections they may have (RA-4,
 * RA-5), and that each is answered once. */
#include "registrar/upstream/est_client.h"

#include "common/base64.h"
#include "common/mailbox.h"
#include "common/monotonic.h"
#include "registrar/counters.h"
#include "registrar/upstream/permit_pool.h"
#include "registrar/upstream/server_group.h"
#include "upstream_fixture.h"

#include <event2/event.h>

#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define CSR BYTES_LITERAL("TUlJQg==\r\n")

/* How many connections this process has to the server, counted where libcurl makes and closes them: these two
 * functions stand before the C library's. It is a count of the client's ends, so it cannot be late. */
static struct {
    pthread_mutex_t mutex;
    bool is_open[1024]; /* by file descriptor */
    unsigned count, peak;
} open_connections = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* The C library's declaration takes a union of pointers, where Clang and GCC differ about access. */
static bool is_ipv4(__CONST_SOCKADDR_ARG address)
{
    sa_family_t family;
    const void *at;
    memcpy(&at, &address, sizeof at);
    memcpy(&family, at, sizeof family);
    return family == AF_INET;
}

int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t len)
{
    typedef int connect_function(int, __CONST_SOCKADDR_ARG, socklen_t);
    connect_function *real;
    *(void **)&real = dlsym(RTLD_NEXT, "connect");
    if (fd < 1024 && is_ipv4(address)) {
        pthread_mutex_lock(&open_connections.mutex);
        open_connections.is_open[fd] = true;
        if (++open_connections.count > open_connections.peak)
            open_connections.peak = open_connections.count;
        pthread_mutex_unlock(&open_connections.mutex);
    }
    return real(fd, address, len);
}

int close(int fd)
{
    typedef int close_function(int);
    close_function *real;
    *(void **)&real = dlsym(RTLD_NEXT, "close");
    pthread_mutex_lock(&open_connections.mutex);
    if (fd >= 0 && fd < 1024 && open_connections.is_open[fd]) {
        open_connections.is_open[fd] = false;
        open_connections.count--;
    }
    pthread_mutex_unlock(&open_connections.mutex);
    return real(fd);
}

/* Since the last call. */
static unsigned connections_peak(void)
{
    pthread_mutex_lock(&open_connections.mutex);
    unsigned peak = open_connections.peak;
    open_connections.peak = open_connections.count;
    pthread_mutex_unlock(&open_connections.mutex);
    return peak;
}

struct test_client {
    struct metrics *metrics;
    struct permit_pool *permits;
    struct mailbox *mailbox;
    struct server_group *servers;
    struct est_client *client;
};

static void start_client(struct upstream_fixture *fixture, struct test_client *test)
{
    const struct upstream_settings *settings = &fixture->settings;
    struct buffer errors;
    buffer_init(&errors, 4096);
    (void)connections_peak();
    test->metrics = counters_create();
    test->permits = permit_pool_create(settings->max_connections, settings->queue, test->metrics);
    test->mailbox = mailbox_create(fixture->base);
    struct ra_credentials *credentials = upstream_fixture_credentials(settings);
    test->servers = server_group_load(settings, NULL, &errors);
    if (test->servers == NULL)
        fail_msg("%s", buffer_string(&errors));
    const struct est_client_services services = {fixture->base, test->mailbox, test->permits,
                                                 test->servers, test->metrics, credentials};
    test->client = est_client_create(settings, &services, &errors);
    ra_credentials_release(credentials); /* the client has its own reference */
    if (test->client == NULL)
        fail_msg("%s", buffer_string(&errors));
    buffer_free(&errors);
}

static void end_client(struct test_client *test)
{
    est_client_free(test->client);
    server_group_release(test->servers);
    mailbox_free(test->mailbox);
    permit_pool_free(test->permits);
    metrics_free(test->metrics);
}

/* Of the label, for ask. */
static const char *test_path;

static void ask(struct upstream_fixture *fixture, struct test_client *test, enum est_operation_id operation,
                struct bytes label, struct outcome *outcome)
{
    outcome_init(outcome, fixture->base);
    const struct est_call_settings call = {
        .operation = est_operation(operation),
        .label = label,
        .path = test_path,
        .body = operation == EST_SEN || operation == EST_SREN ? CSR : bytes_from_string(NULL),
        .sending = outcome_sending,
        .done = outcome_answered,
        .user = outcome,
    };
    assert_int_equal(est_client_ask(test->client, &call), STATUS_OK);
    assert_false(outcome->answered);
}

#define NO_LABEL ((struct bytes){NULL, 0})

/* What reached the server for a client: the head of the request. */
static void ask_for_client(struct upstream_fixture *fixture, struct scripted_server *server,
                           enum est_operation_id operation, struct server_counts *counts)
{
    struct test_client test;
    struct outcome outcome;
    start_client(fixture, &test);
    outcome_init(&outcome, fixture->base);
    const struct est_call_settings call = {
        .operation = est_operation(operation),
        .body = operation == EST_SEN ? CSR : NO_LABEL,
        .client = fixture->ra.certificate,
        .sending = outcome_sending,
        .done = outcome_answered,
        .user = &outcome,
    };
    assert_int_equal(est_client_ask(test.client, &call), STATUS_OK);
    outcome_await(&outcome);
    assert_int_equal(outcome.result, EST_ANSWERED);
    scripted_server_count(server, counts);
    outcome_free(&outcome);
    end_client(&test);
}

static enum server_verdict answer_well(const struct server_request *request);

/* RFC 9440 section 2.2: opt-in, and with POSTs only: what a GET brings is for all devices. */
static void client_cert_goes_with_posts_by_switch(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
    struct server_counts counts;
    ask_for_client(fixture, server, EST_SEN, &counts);
    assert_null(strcasestr(counts.head, "Client-Cert"));
    fixture->settings.client_cert_header = true;
    ask_for_client(fixture, server, EST_CRTS, &counts);
    assert_null(strcasestr(counts.head, "Client-Cert"));

    ask_for_client(fixture, server, EST_SEN, &counts);
    const char *field = strstr(counts.head, "\r\nClient-Cert: :");
    assert_non_null(field);
    field += strlen("\r\nClient-Cert: :");
    size_t len = strcspn(field, ":\r");
    assert_memory_equal(field + len, ":\r\n", 3);
    struct buffer der;
    buffer_init(&der, 4096);
    assert_int_equal(base64_decode((struct bytes){(const uint8_t *)field, len}, &der), STATUS_OK);
    assert_null(memchr(field, ' ', len));
    const unsigned char *at = der.at;
    X509 *sent = d2i_X509(NULL, &at, (long)der.len);
    assert_int_equal(X509_cmp(sent, fixture->ra.certificate), 0);
    X509_free(sent);
    buffer_free(&der);
    scripted_server_stop(server);
}

static void ask_at(struct upstream_fixture *fixture, struct test_client *test,
                   enum est_operation_id operation, uint64_t server, struct outcome *outcome)
{
    outcome_init(outcome, fixture->base);
    const struct est_call_settings call = {
        .operation = est_operation(operation),
        .body = operation == EST_SEN ? CSR : NO_LABEL,
        .server = server,
        .sending = outcome_sending,
        .done = outcome_answered,
        .user = outcome,
    };
    assert_int_equal(est_client_ask(test->client, &call), STATUS_OK);
    outcome_await(outcome);
}

static enum server_verdict answer_well(const struct server_request *request)
{
    server_respond(request, "200 OK", "application/pkcs7-mime", "TUlJ\n");
    return SERVER_KEEP;
}

static void assert_request_line(struct upstream_fixture *fixture, struct scripted_server *server,
                                enum est_operation_id operation, struct bytes label, const char *line)
{
    struct test_client test;
    struct outcome outcome;
    struct server_counts counts;
    start_client(fixture, &test);
    ask(fixture, &test, operation, label, &outcome);
    outcome_await(&outcome);
    assert_int_equal(outcome.result, EST_ANSWERED);
    scripted_server_count(server, &counts);
    if (strncmp(counts.head, line, strlen(line)) != 0)
        fail_msg("instead of %s:\n%s", line, counts.head);
    outcome_free(&outcome);
    end_client(&test);
}

/* URI-1, URI-4, RA-3. */
static void requests_go_to_the_long_paths(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
    static char default_label[] = "factory 7";

    assert_request_line(fixture, server, EST_CRTS, NO_LABEL, "GET /.well-known/est/cacerts HTTP/1.1\r\n");
    assert_request_line(fixture, server, EST_ATT, NO_LABEL, "GET /.well-known/est/csrattrs HTTP/1.1\r\n");
    assert_request_line(fixture, server, EST_SEN, NO_LABEL,
                        "POST /.well-known/est/simpleenroll HTTP/1.1\r\n");
    assert_request_line(fixture, server, EST_SREN, NO_LABEL,
                        "POST /.well-known/est/simplereenroll HTTP/1.1\r\n");
    assert_request_line(fixture, server, EST_CRTS, BYTES_LITERAL("p1"),
                        "GET /.well-known/est/p1/cacerts HTTP/1.1\r\n");
    assert_request_line(fixture, server, EST_CRTS, BYTES_LITERAL("a b?c#d~\xc3\xa9:@"),
                        "GET /.well-known/est/a%20b%3Fc%23d~%C3%A9%3A%40/cacerts HTTP/1.1\r\n");
    fixture->settings.default_label = default_label;
    assert_request_line(fixture, server, EST_CRTS, NO_LABEL,
                        "GET /.well-known/est/factory%207/cacerts HTTP/1.1\r\n");
    assert_request_line(fixture, server, EST_CRTS, BYTES_LITERAL("p1"),
                        "GET /.well-known/est/p1/cacerts HTTP/1.1\r\n");

    test_path = "/.well-known/est/other";
    assert_request_line(fixture, server, EST_SEN, BYTES_LITERAL("p1"),
                        "POST /.well-known/est/other/simpleenroll HTTP/1.1\r\n");
    test_path = "";
    assert_request_line(fixture, server, EST_CRTS, BYTES_LITERAL("p1"),
                        "GET /.well-known/est/p1/cacerts HTTP/1.1\r\n");
    test_path = "/profiles/p1";
    assert_request_line(fixture, server, EST_CRTS, BYTES_LITERAL("p1"),
                        "GET /profiles/p1/cacerts HTTP/1.1\r\n");
    test_path = NULL;
    scripted_server_stop(server);
}

static void accept_suits_the_operation(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
    struct server_counts counts;
    assert_request_line(fixture, server, EST_ATT, NO_LABEL, "GET ");
    scripted_server_count(server, &counts);
    assert_non_null(strstr(counts.head, "\r\nAccept: application/csrattrs\r\n"));
    assert_request_line(fixture, server, EST_CRTS, NO_LABEL, "GET ");
    scripted_server_count(server, &counts);
    assert_non_null(strstr(counts.head, "\r\nAccept: application/pkcs7-mime\r\n"));
    scripted_server_stop(server);
}

static void what_is_no_request_is_refused(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct test_client test;
    struct outcome outcome;
    upstream_fixture_point_at(fixture, "localhost", 1);
    start_client(fixture, &test);
    outcome_init(&outcome, fixture->base);
    struct est_call_settings call = {
        .operation = est_operation(EST_CRTS), .done = outcome_answered, .user = &outcome};

    call.label = BYTES_LITERAL("..");
    assert_int_equal(est_client_ask(test.client, &call), STATUS_MALFORMED);
    call.label = BYTES_LITERAL("a/b");
    assert_int_equal(est_client_ask(test.client, &call), STATUS_MALFORMED);
    call.label = NO_LABEL;
    call.body = CSR; /* of a GET */
    assert_int_equal(est_client_ask(test.client, &call), STATUS_MALFORMED);
    call.operation = est_operation(EST_SEN);
    call.body = NO_LABEL;
    assert_int_equal(est_client_ask(test.client, &call), STATUS_MALFORMED);
    turn_for(fixture->base, 50);
    assert_false(outcome.answered);
    end_client(&test);
}

/* RA-4: how often connections are made. */
static void connections_are_reused_only_if_allowed(void **state)
{
    struct upstream_fixture *fixture = *state;
    for (int reuse = 0; reuse <= 1; reuse++) {
        struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
        struct server_counts counts;
        struct test_client test;
        fixture->settings.reuse_connections = reuse;
        start_client(fixture, &test);
        for (int i = 0; i < 10; i++) {
            struct outcome outcome;
            ask(fixture, &test, i % 2 == 0 ? EST_SEN : EST_CRTS, NO_LABEL, &outcome);
            outcome_await(&outcome);
            assert_int_equal(outcome.result, EST_ANSWERED);
            outcome_free(&outcome);
        }
        scripted_server_count(server, &counts);
        assert_int_equal(counts.posts, 5);
        assert_int_equal(counts.gets, 5);
        assert_int_equal(counts.connections, reuse ? 1 : 10);
        assert_int_equal(connections_peak(), 1);
        assert_int_equal(metrics_get(test.metrics, COUNTER_UPSTREAM_REQUESTS), 10);
        assert_int_equal(metrics_get(test.metrics, COUNTER_UPSTREAM_FAILURES), 0);
        end_client(&test);
        scripted_server_stop(server);
    }
}

static void ask_and_await(struct upstream_fixture *fixture, struct test_client *test)
{
    struct outcome outcome;
    ask(fixture, test, EST_SEN, NO_LABEL, &outcome);
    outcome_await(&outcome);
    assert_int_equal(outcome.result, EST_ANSWERED);
    outcome_free(&outcome);
}

static enum server_verdict answer_after_a_while(const struct server_request *request)
{
    if (request->is_post)
        server_pause(request, 100);
    return answer_well(request);
}

/* RA-7: new credentials are for new connections; kept ones are closed, and one in use is not kept. */
static void credentials_are_replaced(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_after_a_while);
    struct server_counts counts;
    struct test_client test;
    struct outcome running;
    start_client(fixture, &test);
    ask_and_await(fixture, &test);
    for (unsigned round = 1; round <= 2; round++) {
        identity_free(&fixture->ra);
        fixture->ra = identity_make(&(struct identity_settings){.name = round == 1 ? "Second RA" : "Third RA",
                                                                .purposes = "clientAuth,1.3.6.1.5.5.7.3.28",
                                                                .until_s = DAY,
                                                                .issuer = &fixture->ca});
        identity_write(&fixture->ra, fixture->dir, "ra");
        struct ra_credentials *credentials = upstream_fixture_credentials(&fixture->settings);
        if (round == 2)
            ask(fixture, &test, EST_SEN, NO_LABEL, &running); /* takes the kept connection */
        est_client_use_credentials(test.client, credentials);
        ra_credentials_release(credentials);
        if (round == 2) {
            outcome_await(&running);
            assert_int_equal(running.result, EST_ANSWERED);
            outcome_free(&running);
        }
        ask_and_await(fixture, &test);
        scripted_server_count(server, &counts);
        assert_int_equal(counts.connections, round + 1);
        assert_non_null(strstr(counts.client, round == 1 ? "Second RA" : "Third RA"));
    }
    end_client(&test);
    scripted_server_stop(server);
}

/* RA-10. */
static void sren_becomes_what_settings_say(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
    struct server_counts counts;
    for (int i = 0; i < 2; i++) {
        struct test_client test;
        struct outcome outcome;
        fixture->settings.sren_operation = i == 0 ? SREN_SIMPLEREENROLL : SREN_SIMPLEENROLL;
        start_client(fixture, &test);
        ask(fixture, &test, EST_SREN, NO_LABEL, &outcome);
        outcome_await(&outcome);
        outcome_free(&outcome);
        scripted_server_count(server, &counts);
        assert_non_null(strstr(counts.head, i == 0 ? "/simplereenroll " : "/simpleenroll "));
        end_client(&test);
    }
    scripted_server_stop(server);
}

static enum server_verdict answer_gets_only(const struct server_request *request)
{
    if (!request->is_post)
        return answer_well(request);
    server_pause(request, 60000);
    return SERVER_RESET;
}

/* A black hole takes the POSTs; /crts and /att are served all the same, and the queue is bounded. */
static void black_holed_posts_delay_no_get(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_gets_only);
    struct server_counts counts;
    struct test_client test;
    struct outcome posts[6], refused, get;

    fixture->settings.max_connections = 4;
    fixture->settings.queue = 3;
    fixture->settings.timeout_ms = 60000;
    start_client(fixture, &test);
    for (size_t i = 0; i < 6; i++) /* three are under way, three wait */
        ask(fixture, &test, EST_SEN, NO_LABEL, &posts[i]);
    ask(fixture, &test, EST_SEN, NO_LABEL, &refused);
    outcome_await(&refused);
    assert_int_equal(refused.result, EST_QUEUE_FULL);
    assert_int_equal(refused.sending, 0);
    assert_int_equal(metrics_get(test.metrics, COUNTER_UPSTREAM_REFUSED), 1);

    for (int i = 0; i < 5; i++) {
        ask(fixture, &test, EST_CRTS, NO_LABEL, &get);
        outcome_await(&get);
        assert_int_equal(get.result, EST_ANSWERED);
        outcome_free(&get);
    }
    for (size_t i = 0; i < 6; i++)
        assert_false(posts[i].answered);
    end_client(&test);
    scripted_server_count(server, &counts);
    assert_true(connections_peak() <= 4);
    for (size_t i = 0; i < 6; i++)
        outcome_free(&posts[i]);
    outcome_free(&refused);
    scripted_server_stop(server);
}

static enum server_verdict take_two_seconds(const struct server_request *request)
{
    server_pause(request, 2000);
    return answer_well(request);
}

static void waiting_for_a_permit_is_bounded(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, take_two_seconds);
    struct test_client test;
    struct permit_request taken = {0};
    struct permit_holder *other;
    struct outcome waiting;

    fixture->settings.max_connections = 2;
    fixture->settings.timeout_ms = 400;
    start_client(fixture, &test);
    other = permit_holder_create(test.permits, test.mailbox, &(struct permit_events){NULL, NULL}, NULL);
    assert_int_equal(permit_ask(other, &taken), STATUS_OK); /* the one that POSTs may have */
    ask(fixture, &test, EST_SEN, NO_LABEL, &waiting);
    outcome_await(&waiting);
    assert_int_equal(waiting.result, EST_QUEUE_FULL);
    assert_int_equal(waiting.sending, 0);
    assert_int_equal(metrics_get(test.metrics, COUNTER_UPSTREAM_QUEUED), 0);
    outcome_free(&waiting);
    permit_end(&taken);
    permit_holder_free(other);
    end_client(&test);
    scripted_server_stop(server);
}

/* So long that connections meet. */
static enum server_verdict answer_slowly(const struct server_request *request)
{
    server_pause(request, 10);
    return answer_well(request);
}

/* A crowd of requests, so many at once, so many in all. */
struct crowd {
    struct event_base *base;
    struct est_client *client;
    unsigned started, total, answered, failed;
};

static void start_next(struct crowd *crowd);

static void on_crowd_done(void *user, const struct est_response *response)
{
    struct crowd *crowd = user;
    crowd->answered++;
    crowd->failed += response->result != EST_ANSWERED;
    start_next(crowd); /* from within the callback */
    if (crowd->answered == crowd->total)
        event_base_loopbreak(crowd->base);
}

static void start_next(struct crowd *crowd)
{
    if (crowd->started == crowd->total)
        return;
    bool is_get = crowd->started++ % 5 == 0;
    const struct est_call_settings call = {
        .operation = est_operation(is_get ? EST_ATT : EST_SEN),
        .body = is_get ? NO_LABEL : CSR,
        .done = on_crowd_done,
        .user = crowd,
    };
    if (est_client_ask(crowd->client, &call) != STATUS_OK)
        abort();
}

static void run_crowd(struct crowd *crowd, unsigned at_once)
{
    uint64_t limit = monotonic_ms() + 200000;
    for (unsigned i = 0; i < at_once; i++)
        start_next(crowd);
    while (crowd->answered < crowd->total && monotonic_ms() < limit)
        turn_for(crowd->base, 100);
}

/* RA-5. */
static void two_hundred_parallel_requests_are_all_served(void **state)
{
    struct upstream_fixture *fixture = *state;
    for (int reuse = 0; reuse <= 1; reuse++) {
        struct scripted_server *server = upstream_fixture_serve(fixture, answer_slowly);
        struct server_counts counts;
        struct test_client test;
        fixture->settings.reuse_connections = reuse;
        fixture->settings.queue = 200;
        start_client(fixture, &test);
        struct crowd crowd = {.base = fixture->base, .client = test.client, .total = 200};
        run_crowd(&crowd, 200);
        scripted_server_count(server, &counts);
        assert_int_equal(crowd.answered, 200);
        assert_int_equal(crowd.failed, 0);
        assert_int_equal(counts.posts, 160);
        assert_int_equal(counts.gets, 40);
        assert_int_equal(connections_peak(), fixture->settings.max_connections);
        assert_int_equal(counts.connections, reuse ? 4 : 200);
        end_client(&test);
        scripted_server_stop(server);
    }
}

static enum server_verdict break_every_third(const struct server_request *request)
{
    return request->connection % 3 == 0 ? SERVER_RESET : answer_well(request);
}

static void requests_do_not_suffer_from_each_other(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, break_every_third);
    struct server_counts counts;
    struct test_client test;
    fixture->settings.reuse_connections = false;
    start_client(fixture, &test);
    struct crowd crowd = {.base = fixture->base, .client = test.client, .total = 60};
    run_crowd(&crowd, 10);
    scripted_server_count(server, &counts);
    assert_int_equal(crowd.answered, 60);
    assert_int_equal(crowd.failed, 20);
    assert_int_equal(counts.gets + counts.posts, 60); /* none was repeated */
    assert_int_equal(metrics_get(test.metrics, COUNTER_UPSTREAM_FAILURES), 20);
    end_client(&test);
    scripted_server_stop(server);
}

/* Two workers, each with its own loop in its own thread, share the permits; connections that are kept open
 * count as well. */
struct worker {
    const struct upstream_settings *settings;
    struct permit_pool *permits;
    struct server_group *servers;
    struct metrics *metrics;
    struct crowd crowd;
    bool pauses; /* lets its connections lie idle, half of the time */
};

static void *run_worker(void *user)
{
    struct worker *worker = user;
    struct buffer errors;
    buffer_init(&errors, 4096);
    struct event_base *base = event_base_new();
    struct mailbox *mailbox = mailbox_create(base);
    struct ra_credentials *credentials = upstream_fixture_credentials(worker->settings);
    const struct est_client_services services = {
        base, mailbox, worker->permits, worker->servers, worker->metrics, credentials};
    struct est_client *client = est_client_create(worker->settings, &services, &errors);
    ra_credentials_release(credentials);
    if (client == NULL)
        abort();
    for (int i = 0; i < 5; i++) {
        worker->crowd.base = base;
        worker->crowd.client = client;
        worker->crowd.total += 40;
        run_crowd(&worker->crowd, 10);
        if (worker->pauses)
            turn_for(base, 100);
    }
    est_client_free(client);
    mailbox_free(mailbox);
    event_base_free(base);
    return NULL;
}

static void workers_share_one_bound_on_connections(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_slowly);
    struct server_counts counts;
    struct metrics *metrics = counters_create();
    struct permit_pool *permits = permit_pool_create(fixture->settings.max_connections, 100, metrics);
    struct worker workers[2] = {{.pauses = true}, {.pauses = false}};
    struct buffer errors;
    pthread_t threads[2];

    (void)connections_peak();
    buffer_init(&errors, 1024);
    struct server_group *servers = server_group_load(&fixture->settings, NULL, &errors);
    assert_non_null(servers);
    for (size_t i = 0; i < 2; i++) {
        workers[i].settings = &fixture->settings;
        workers[i].servers = servers;
        workers[i].permits = permits;
        workers[i].metrics = metrics;
        assert_int_equal(pthread_create(&threads[i], NULL, run_worker, &workers[i]), 0);
    }
    for (size_t i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].crowd.answered, 200);
        assert_int_equal(workers[i].crowd.failed, 0);
    }
    scripted_server_count(server, &counts);
    assert_int_equal(connections_peak(), fixture->settings.max_connections);
    assert_int_equal(counts.gets + counts.posts, 400);
    assert_int_equal(metrics_get(metrics, COUNTER_UPSTREAM_QUEUED), 0);
    server_group_release(servers);
    permit_pool_free(permits);
    metrics_free(metrics);
    scripted_server_stop(server);
}

/* Whatever runs, waits or has just been granted a permit. */
static void client_may_end_at_any_moment(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
    for (unsigned ms = 0; ms < 30; ms += 3) {
        struct test_client test;
        struct outcome outcomes[12];
        start_client(fixture, &test);
        for (size_t i = 0; i < 12; i++)
            ask(fixture, &test, i % 4 == 0 ? EST_CRTS : EST_SEN, NO_LABEL, &outcomes[i]);
        turn_for(fixture->base, ms);
        est_client_free(test.client);
        test.client = NULL;
        bool answered[12];
        for (size_t i = 0; i < 12; i++)
            answered[i] = outcomes[i].answered;
        turn_for(fixture->base, 1);
        for (size_t i = 0; i < 12; i++) {
            assert_int_equal(outcomes[i].answered, answered[i]);
            outcome_free(&outcomes[i]);
        }
        assert_int_equal(metrics_get(test.metrics, COUNTER_UPSTREAM_QUEUED), 0);
        end_client(&test);
    }
    scripted_server_stop(server);
}

/* Whoever asked is told when its call's turn has come, and says whether it leaves. */
struct turns {
    struct est_call *calls[2];
    unsigned count;
};

struct turn_taker {
    struct outcome outcome; /* the first: what it stands for is its user */
    struct turns *turns;
};

static void take_turn(void *user, struct est_call *call)
{
    struct turn_taker *taker = user;
    taker->turns->calls[taker->turns->count++] = call;
}

/* A reload that takes an EST server out and brings another password: the two never meet. */
static void a_call_goes_on_with_the_credentials_it_began_with(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
    struct server_counts counts;
    struct test_client test;
    struct turns turns = {.count = 0};
    struct turn_taker taker = {.turns = &turns};
    start_client(fixture, &test);
    outcome_init(&taker.outcome, fixture->base);
    const struct est_call_settings call = {.operation = est_operation(EST_SEN),
                                           .body = CSR,
                                           .turn = take_turn,
                                           .sending = outcome_sending,
                                           .done = outcome_answered,
                                           .user = &taker};
    assert_int_equal(est_client_ask(test.client, &call), STATUS_OK);
    assert_int_equal(turns.count, 1);
    identity_free(&fixture->ra);
    fixture->ra = identity_make(&(struct identity_settings){
        .name = "Second RA", .purposes = "clientAuth", .until_s = DAY, .issuer = &fixture->ca});
    identity_write(&fixture->ra, fixture->dir, "ra");
    struct ra_credentials *credentials = upstream_fixture_credentials(&fixture->settings);
    est_client_use_credentials(test.client, credentials);
    ra_credentials_release(credentials);
    ask_and_await(fixture, &test); /* its connection is kept */
    scripted_server_count(server, &counts);
    assert_non_null(strstr(counts.client, "Second RA"));
    est_call_go(turns.calls[0]);
    outcome_await(&taker.outcome);
    assert_int_equal(taker.outcome.result, EST_ANSWERED);
    outcome_free(&taker.outcome);
    scripted_server_count(server, &counts);
    assert_int_equal(counts.connections, 2);
    assert_null(strstr(counts.client, "Second RA"));
    end_client(&test);
    scripted_server_stop(server);
}

static void a_call_waits_for_leave_to_go(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
    struct server_counts counts;
    struct test_client test;
    struct turns turns = {.count = 0};
    struct turn_taker takers[2];
    fixture->settings.max_connections = 2; /* one of them for POSTs */
    fixture->settings.queue = 3;
    start_client(fixture, &test);
    for (size_t i = 0; i < 2; i++) {
        outcome_init(&takers[i].outcome, fixture->base);
        takers[i].turns = &turns;
        const struct est_call_settings call = {.operation = est_operation(EST_SEN),
                                               .body = CSR,
                                               .turn = take_turn,
                                               .sending = outcome_sending,
                                               .done = outcome_answered,
                                               .user = &takers[i]};
        assert_int_equal(est_client_ask(test.client, &call), STATUS_OK);
    }
    assert_int_equal(turns.count, 1);
    turn_for(fixture->base, 50);
    assert_false(takers[0].outcome.answered);
    assert_int_equal(takers[0].outcome.sending, 0);
    scripted_server_count(server, &counts);
    assert_int_equal(counts.connections, 0);
    est_call_go(turns.calls[0]);
    outcome_await(&takers[0].outcome);
    assert_int_equal(takers[0].outcome.result, EST_ANSWERED);

    while (turns.count < 2) /* the permit is free again */
        turn_for(fixture->base, 10);
    est_call_withhold(turns.calls[1], "test");
    assert_false(takers[1].outcome.answered);
    outcome_await(&takers[1].outcome);
    assert_int_equal(takers[1].outcome.result, EST_WITHHELD);
    scripted_server_count(server, &counts);
    assert_int_equal(counts.posts, 1);
    assert_int_equal(metrics_get(test.metrics, COUNTER_UPSTREAM_FAILURES), 0);
    for (size_t i = 0; i < 2; i++)
        outcome_free(&takers[i].outcome);
    end_client(&test);
    scripted_server_stop(server);
}

/* Two EST servers; the first one is at a port where nobody listens, or as a test says. */
struct two_servers {
    int refusing; /* bound to the first one's port */
    struct scripted_server *first, *second;
    char urls[2][64];
};

static void start_two(struct upstream_fixture *fixture, struct two_servers *two,
                      enum server_verdict (*first)(const struct server_request *))
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    two->first = first != NULL ? upstream_fixture_serve(fixture, first) : NULL;
    two->refusing = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(two->refusing, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(two->refusing, (struct sockaddr *)&address, &len), 0);
    if (first == NULL)
        upstream_fixture_point_at(fixture, "localhost", ntohs(address.sin_port));
    snprintf(two->urls[0], sizeof two->urls[0], "%s", fixture->url);
    two->second = upstream_fixture_serve(fixture, answer_well);
    snprintf(two->urls[1], sizeof two->urls[1], "%s", fixture->url);
    fixture->settings.servers.items[0] = two->urls[0];
    fixture->settings.servers.items[1] = two->urls[1];
    fixture->settings.servers.count = 2;
}

static void end_two(struct two_servers *two)
{
    close(two->refusing);
    if (two->first != NULL)
        scripted_server_stop(two->first);
    scripted_server_stop(two->second);
}

static void assert_counts(struct scripted_server *server, unsigned gets, unsigned posts)
{
    struct server_counts counts;
    scripted_server_count(server, &counts);
    assert_int_equal(counts.gets, gets);
    assert_int_equal(counts.posts, posts);
}

/* RA-4: nothing of it has left for the first one. */
static void what_was_not_sent_goes_to_the_next_server(void **state)
{
    static const enum est_operation_id operations[] = {EST_SEN, EST_CRTS};
    struct upstream_fixture *fixture = *state;
    struct two_servers two;
    struct test_client test;
    start_two(fixture, &two, NULL);
    start_client(fixture, &test);
    for (size_t i = 0; i < 2; i++) {
        struct outcome outcome;
        ask_at(fixture, &test, operations[i], 0, &outcome);
        assert_int_equal(outcome.result, EST_ANSWERED);
        assert_true(outcome.server == server_group_id(test.servers, 1));
        assert_int_equal(outcome.sending, 1);
        outcome_free(&outcome);
    }
    assert_counts(two.second, 1, 1);
    assert_int_equal(metrics_get(test.metrics, COUNTER_UPSTREAM_FAILOVERS), 2);
    assert_int_equal(metrics_get(test.metrics, COUNTER_UPSTREAM_FAILURES), 0);
    end_client(&test);
    end_two(&two);
}

static enum server_verdict reset(const struct server_request *request)
{
    (void)request;
    return SERVER_RESET;
}

/* RA-4: the first one may have issued a certificate. */
static void a_post_that_was_sent_goes_to_no_other_server(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct two_servers two;
    struct test_client test;
    struct outcome outcome;
    start_two(fixture, &two, reset);
    start_client(fixture, &test);
    ask_at(fixture, &test, EST_SEN, 0, &outcome);
    assert_int_equal(outcome.result, EST_BROKEN);
    assert_true(outcome.server == server_group_id(test.servers, 0));
    outcome_free(&outcome);
    assert_counts(two.first, 0, 1);
    assert_counts(two.second, 0, 0);

    ask_at(fixture, &test, EST_CRTS, 0, &outcome); /* which does no harm */
    assert_int_equal(outcome.result, EST_ANSWERED);
    outcome_free(&outcome);
    assert_counts(two.first, 1, 1);
    assert_counts(two.second, 1, 0);
    end_client(&test);
    end_two(&two);
}

static void what_waits_at_a_server_goes_to_no_other(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct two_servers two;
    struct test_client test;
    struct outcome outcome;
    start_two(fixture, &two, NULL);
    start_client(fixture, &test);
    for (unsigned i = 0; i < 7; i++) { /* while it is asked, and while it is not */
        ask_at(fixture, &test, EST_SEN, server_group_id(test.servers, 0), &outcome);
        assert_int_equal(outcome.result, EST_NOT_SENT);
        outcome_free(&outcome);
    }
    assert_counts(two.second, 0, 0);
    ask_at(fixture, &test, EST_SEN, server_group_id(test.servers, 1), &outcome);
    assert_int_equal(outcome.result, EST_ANSWERED);
    outcome_free(&outcome);
    ask_at(fixture, &test, EST_SEN, 12345, &outcome); /* configured no more: anybody */
    assert_int_equal(outcome.result, EST_ANSWERED);
    outcome_free(&outcome);
    end_client(&test);
    end_two(&two);
}

static atomic_bool is_broken;

static enum server_verdict answer_unless_broken(const struct server_request *request)
{
    return atomic_load(&is_broken) ? SERVER_RESET : answer_well(request);
}

static unsigned await_circuits_closed(struct upstream_fixture *fixture, struct test_client *test)
{
    uint64_t limit = monotonic_ms() + 20000;
    while (metrics_get(test->metrics, COUNTER_UPSTREAM_CIRCUITS_CLOSED) == 0 && monotonic_ms() < limit)
        turn_for(fixture->base, 10);
    return (unsigned)metrics_get(test->metrics, COUNTER_UPSTREAM_CIRCUITS_CLOSED);
}

/* After max_failures nobody but a probe asks it, and all go back to it when that was answered. */
static void a_failing_server_is_left_until_a_probe_succeeds(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct two_servers two;
    struct test_client test;
    struct server_counts counts;
    struct outcome outcome;
    atomic_store(&is_broken, true);
    start_two(fixture, &two, answer_unless_broken);
    start_client(fixture, &test);
    for (unsigned i = 0; i < 20; i++) {
        ask_at(fixture, &test, EST_CRTS, 0, &outcome);
        assert_int_equal(outcome.result, EST_ANSWERED);
        outcome_free(&outcome);
    }
    scripted_server_count(two.first, &counts);
    unsigned probes = (unsigned)metrics_get(test.metrics, COUNTER_UPSTREAM_PROBES);
    assert_int_equal(counts.gets - probes, fixture->settings.max_failures);
    assert_counts(two.second, 20, 0);
    assert_int_equal(metrics_get(test.metrics, COUNTER_UPSTREAM_CIRCUITS_OPENED), 1);

    atomic_store(&is_broken, false);
    assert_int_equal(await_circuits_closed(fixture, &test), 1);
    ask_at(fixture, &test, EST_SEN, 0, &outcome);
    assert_int_equal(outcome.result, EST_ANSWERED);
    assert_true(outcome.server == server_group_id(test.servers, 0));
    outcome_free(&outcome);
    assert_true(metrics_get(test.metrics, COUNTER_UPSTREAM_PROBES) >= 1);
    end_client(&test);
    end_two(&two);
}

/* A single one that is down costs no connection a request, and nobody's time. */
static void without_any_server_requests_fail_at_once(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct two_servers two;
    struct test_client test;
    struct outcome outcome;
    start_two(fixture, &two, NULL);
    fixture->settings.servers.count = 1;
    fixture->settings.backoff_ms = fixture->settings.backoff_max_ms = 60000;
    start_client(fixture, &test);
    for (unsigned i = 0; i < 20; i++) {
        ask_at(fixture, &test, i % 2 == 0 ? EST_SEN : EST_CRTS, 0, &outcome);
        assert_int_equal(outcome.result, EST_NOT_SENT);
        assert_int_equal(outcome.sending, 0);
        assert_int_equal(strstr(outcome.reason, "waits for a probe") != NULL, i >= 5);
        outcome_free(&outcome);
    }
    end_client(&test);
    end_two(&two);
}

/* Those that run go on with what they have. */
static void other_servers_can_be_used_while_requests_run(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct two_servers two;
    struct test_client test;
    struct outcome old, new;
    struct buffer errors;
    buffer_init(&errors, 1024);
    atomic_store(&is_broken, false);
    start_two(fixture, &two, answer_unless_broken);
    start_client(fixture, &test);
    ask(fixture, &test, EST_SEN, NO_LABEL, &old);
    fixture->settings.servers.items[0] = two.urls[1];
    fixture->settings.servers.count = 1;
    struct server_group *servers = server_group_load(&fixture->settings, NULL, &errors);
    assert_non_null(servers);
    est_client_use_servers(test.client, servers);
    server_group_release(servers);
    ask(fixture, &test, EST_SEN, NO_LABEL, &new);
    outcome_await(&old);
    outcome_await(&new);
    assert_true(old.server == server_group_id(test.servers, 0));
    assert_true(new.server == server_group_id(test.servers, 1));
    assert_counts(two.first, 0, 1);
    assert_counts(two.second, 0, 1);
    outcome_free(&old);
    outcome_free(&new);
    end_client(&test);
    end_two(&two);
}

/* RA-9: the label says where to. */
static enum server_verdict redirect(const struct server_request *request)
{
    static const char *const rules[][3] = {
        {"/same/", "307 Temporary Redirect", "/.well-known/est/end/simpleenroll"},
        {"/once/", "302 Found", "/.well-known/est/end/simpleenroll"},
        {"/loop/", "308 Permanent Redirect", "simpleenroll"},
        {"/plain/", "307 Temporary Redirect", "http://localhost/x"},
        {"/nowhere/", "307 Temporary Redirect", "https://elsewhere.example/x"},
    };
    char text[512];
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (strstr(request->head, rules[i][0]) == NULL)
            continue;
        snprintf(text, sizeof text, "HTTP/1.1 %s\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", rules[i][1],
                 rules[i][2]);
        server_send(request, text);
        return SERVER_KEEP;
    }
    return answer_well(request);
}

static void assert_redirected(struct upstream_fixture *fixture, struct bytes label, unsigned status,
                              unsigned posts)
{
    struct scripted_server *server = upstream_fixture_serve(fixture, redirect);
    struct test_client test;
    struct outcome outcome;
    struct server_counts counts;
    start_client(fixture, &test);
    ask(fixture, &test, EST_SEN, label, &outcome);
    outcome_await(&outcome);
    assert_int_equal(outcome.result, EST_ANSWERED);
    assert_int_equal(outcome.http_status, status);
    assert_counts(server, 0, posts);
    scripted_server_count(server, &counts);
    assert_string_equal(counts.body, "TUlJQg==\r\n"); /* with its body, each time */
    assert_int_equal(counts.connections, fixture->settings.reuse_connections ? 1 : posts);
    assert_int_equal(connections_peak(), 1);
    assert_int_equal(metrics_get(test.metrics, COUNTER_UPSTREAM_REDIRECTS), posts - 1);
    outcome_free(&outcome);
    end_client(&test);
    scripted_server_stop(server);
}

static void redirects_are_followed_within_bounds(void **state)
{
    struct upstream_fixture *fixture = *state;
    for (int reuse = 0; reuse <= 1; reuse++) {
        fixture->settings.reuse_connections = reuse;
        assert_redirected(fixture, BYTES_LITERAL("same"), 200, 2);
        assert_redirected(fixture, BYTES_LITERAL("once"), 302, 1);
        assert_redirected(fixture, BYTES_LITERAL("loop"), 308, 6);
        assert_redirected(fixture, BYTES_LITERAL("plain"), 307, 1);
        assert_redirected(fixture, BYTES_LITERAL("nowhere"), 307, 1);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, upstream_fixture_set_up, upstream_fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_go_to_the_long_paths),
        TEST(client_cert_goes_with_posts_by_switch),
        TEST(accept_suits_the_operation),
        TEST(what_is_no_request_is_refused),
        TEST(connections_are_reused_only_if_allowed),
        TEST(credentials_are_replaced),
        TEST(a_call_goes_on_with_the_credentials_it_began_with),
        TEST(sren_becomes_what_settings_say),
        TEST(black_holed_posts_delay_no_get),
        TEST(waiting_for_a_permit_is_bounded),
        TEST(two_hundred_parallel_requests_are_all_served),
        TEST(requests_do_not_suffer_from_each_other),
        TEST(workers_share_one_bound_on_connections),
        TEST(client_may_end_at_any_moment),
        TEST(what_was_not_sent_goes_to_the_next_server),
        TEST(a_post_that_was_sent_goes_to_no_other_server),
        TEST(what_waits_at_a_server_goes_to_no_other),
        TEST(a_failing_server_is_left_until_a_probe_succeeds),
        TEST(without_any_server_requests_fail_at_once),
        TEST(other_servers_can_be_used_while_requests_run),
        TEST(redirects_are_followed_within_bounds),
        TEST(a_call_waits_for_leave_to_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
