/* One connection to the EST server: what is sent (RA-1, RA-6, PAY-2, PAY-6), whom it is sent to (RA-2), what
 * may come back, and never a POST twice (RA-4). */
#include "registrar/upstream/https_connection.h"

#include "common/monotonic.h"
#include "upstream_fixture.h"

#include <event2/event.h>

#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
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

#define CSR "TUlJQg==\r\n"

/* A connection and all that it borrows. */
struct test_connection {
    struct ra_credentials *credentials;
    struct https_context context;
    struct https_connection *connection;
    char url[128]; /* of the last request */
    bool lost;
};

static void on_lost(void *user, struct https_connection *connection)
{
    struct test_connection *test = user;
    assert_ptr_equal(connection, test->connection);
    test->lost = true;
    https_connection_free(connection);
    test->connection = NULL;
}

static void open_connection(struct upstream_fixture *fixture, struct test_connection *test)
{
    memset(test, 0, sizeof *test);
    test->credentials = upstream_fixture_credentials(&fixture->settings);
    test->context = (struct https_context){
        .base = fixture->base, .settings = &fixture->settings, .dns = curl_share_init()};
    curl_share_setopt(test->context.dns, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
    test->connection = https_connection_create(&test->context, test->credentials, on_lost, test);
    assert_non_null(test->connection);
}

static void close_connection(struct test_connection *test)
{
    https_connection_free(test->connection);
    curl_share_cleanup(test->context.dns);
    ra_credentials_release(test->credentials);
}

static void start_request(struct upstream_fixture *fixture, struct test_connection *test, const char *csr,
                          struct outcome *outcome)
{
    snprintf(test->url, sizeof test->url, "%s/.well-known/est/%s", fixture->url,
             csr != NULL ? "simpleenroll" : "cacerts");
    outcome_init(outcome, fixture->base);
    const struct https_request request = {
        .url = test->url,
        .accept = "application/pkcs7-mime",
        .is_post = csr != NULL,
        .body = bytes_from_string(csr),
        .sending = outcome_sending,
        .answered = outcome_answered,
        .user = outcome,
    };
    assert_int_equal(https_connection_ask(test->connection, &request), STATUS_OK);
    assert_false(outcome->answered);
}

/* A POST when there is a csr, else a GET. */
static void ask(struct upstream_fixture *fixture, struct test_connection *test, const char *csr,
                struct outcome *outcome)
{
    start_request(fixture, test, csr, outcome);
    outcome_await(outcome);
}

/* One POST on a connection of its own. */
static void ask_once(struct upstream_fixture *fixture, struct outcome *outcome)
{
    struct test_connection test;
    open_connection(fixture, &test);
    ask(fixture, &test, CSR, outcome);
    close_connection(&test);
}

/* Less than the four seconds after which a kept connection is given up anyway, or more. */
static void await_loss(struct upstream_fixture *fixture, const struct test_connection *test, unsigned ms)
{
    uint64_t limit = monotonic_ms() + ms;
    while (!test->lost && monotonic_ms() < limit)
        turn_for(fixture->base, 10);
    assert_true(test->lost);
}

static enum server_verdict answer_well(const struct server_request *request)
{
    server_respond(request, "200 OK", "application/pkcs7-mime; smime-type=certs-only", "TUlJ\n");
    return SERVER_KEEP;
}

static void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is missing in:\n%s", part, text);
}

static void assert_lacks(const char *text, const char *part)
{
    if (strcasestr(text, part) != NULL)
        fail_msg("\"%s\" should not be in:\n%s", part, text);
}

/* RFC 9440: the field stands once, and never leaves for a server that is not ours. */
static void client_cert_is_sent_to_est_servers_alone(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
    for (int foreign = 0; foreign <= 1; foreign++) {
        struct test_connection test;
        struct outcome outcome;
        struct server_counts counts;
        open_connection(fixture, &test);
        snprintf(test.url, sizeof test.url, "%s/.well-known/est/simpleenroll", fixture->url);
        outcome_init(&outcome, fixture->base);
        const struct https_request request = {
            .url = test.url,
            .accept = "application/pkcs7-mime",
            .is_post = true,
            .body = bytes_from_string(CSR),
            .client_cert = ":TUlJQg==:",
            .without_password = foreign,
            .sending = outcome_sending,
            .answered = outcome_answered,
            .user = &outcome,
        };
        assert_int_equal(https_connection_ask(test.connection, &request), STATUS_OK);
        outcome_await(&outcome);
        assert_int_equal(outcome.result, EST_ANSWERED);
        scripted_server_count(server, &counts);
        if (foreign)
            assert_lacks(counts.head, "Client-Cert");
        else
            assert_has(counts.head, "\r\nClient-Cert: :TUlJQg==:\r\n");
        outcome_free(&outcome);
        close_connection(&test);
    }
    scripted_server_stop(server);
}

/* RA-1, RA-6, PAY-2, PAY-6. */
static void post_is_sent_as_est_wants_it(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
    struct server_counts counts;
    struct outcome outcome;

    ask_once(fixture, &outcome);
    scripted_server_count(server, &counts);
    assert_int_equal(outcome.result, EST_ANSWERED);
    assert_int_equal(outcome.http_status, 200);
    assert_string_equal(outcome.content_type, "application/pkcs7-mime; smime-type=certs-only");
    assert_string_equal(outcome.retry_after, "");
    assert_true(bytes_equal(buffer_view(&outcome.body), BYTES_LITERAL("TUlJ\n")));
    assert_int_equal(outcome.sending, 1);

    assert_has(counts.head, "POST /.well-known/est/simpleenroll HTTP/1.1\r\n");
    assert_has(counts.head, "\r\nHost: localhost:");
    assert_has(counts.head, "\r\nAccept: application/pkcs7-mime\r\n");
    assert_has(counts.head, "\r\nContent-Type: application/pkcs10\r\n");
    assert_has(counts.head, "\r\nContent-Length: 10\r\n");
    assert_has(counts.head, "\r\nUser-Agent: estuary/" ESTUARY_VERSION "\r\n");
    assert_lacks(counts.head, "Transfer-Encoding");
    assert_lacks(counts.head, "Expect");
    assert_lacks(counts.head, "Cookie");
    assert_lacks(counts.head, "Authorization");
    assert_lacks(counts.head, "Connection");
    assert_string_equal(counts.body, CSR);
    assert_string_equal(counts.client, "/CN=The RA");
    assert_string_equal(counts.protocol, "TLSv1.3");
    outcome_free(&outcome);
    scripted_server_stop(server);
}

static void get_is_sent_without_a_body(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
    struct server_counts counts;
    struct test_connection test;
    struct outcome outcome;

    open_connection(fixture, &test);
    ask(fixture, &test, NULL, &outcome);
    scripted_server_count(server, &counts);
    assert_int_equal(outcome.result, EST_ANSWERED);
    assert_has(counts.head, "GET /.well-known/est/cacerts HTTP/1.1\r\n");
    assert_lacks(counts.head, "Content-");
    outcome_free(&outcome);
    close_connection(&test);
    scripted_server_stop(server);
}

static void settings_change_the_header(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
    struct server_counts counts;
    struct outcome outcome;

    fixture->settings.content_transfer_encoding = true;
    fixture->settings.reuse_connections = false;
    ask_once(fixture, &outcome);
    scripted_server_count(server, &counts);
    assert_has(counts.head, "\r\nContent-Transfer-Encoding: base64\r\n");
    assert_has(counts.head, "\r\nConnection: close\r\n");
    outcome_free(&outcome);
    scripted_server_stop(server);
}

/* Larger than what libcurl takes at once, and than the threshold for Expect: 100-continue. */
static void large_body_arrives_whole(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
    struct server_counts counts;
    struct test_connection test;
    struct outcome outcome;
    char *body = malloc(60001);
    memset(body, 'A', 60000);
    body[60000] = '\0';

    open_connection(fixture, &test);
    ask(fixture, &test, body, &outcome);
    scripted_server_count(server, &counts);
    assert_int_equal(outcome.result, EST_ANSWERED);
    assert_has(counts.head, "\r\nContent-Length: 60000\r\n");
    assert_lacks(counts.head, "Expect");
    close_connection(&test);
    outcome_free(&outcome);
    scripted_server_stop(server);
    free(body);
}

/* The variables of an operator's shell lead nowhere. */
static void environment_is_ignored(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
    struct outcome outcome;

    setenv("https_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    ask_once(fixture, &outcome);
    unsetenv("https_proxy");
    unsetenv("ALL_PROXY");
    assert_int_equal(outcome.result, EST_ANSWERED);
    outcome_free(&outcome);
    scripted_server_stop(server);
}

/* RA-2: no octet of a request, and nothing that could be taken for one. */
static void assert_untrusted(struct upstream_fixture *fixture, struct scripted_server *server)
{
    struct outcome outcome;
    ask_once(fixture, &outcome);
    scripted_server_stop(server); /* from here on nothing more is counted */
    assert_int_equal(outcome.result, EST_UNTRUSTED);
    assert_int_equal(outcome.sending, 0);
    assert_string_not_equal(outcome.reason, "");
    outcome_free(&outcome);
}

static atomic_uint requests_seen;

static enum server_verdict count_request(const struct server_request *request)
{
    atomic_fetch_add(&requests_seen, 1);
    return answer_well(request);
}

static struct scripted_server *serve_as(struct upstream_fixture *fixture, const struct identity *identity)
{
    struct scripted_server *server = scripted_server_start(
        &(struct server_settings){.identity = identity, .client_ca = &fixture->ca, .answer = count_request});
    upstream_fixture_point_at(fixture, "localhost", scripted_server_port(server));
    atomic_store(&requests_seen, 0);
    return server;
}

static void server_of_another_ca_is_refused(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct identity impostor = identity_make(&(struct identity_settings){
        .name = "localhost", .san = "DNS:localhost", .until_s = DAY, .issuer = &fixture->other_ca});
    assert_untrusted(fixture, serve_as(fixture, &impostor));
    assert_int_equal(atomic_load(&requests_seen), 0);
    identity_free(&impostor);
}

static void server_of_another_name_is_refused(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct identity other = identity_make(&(struct identity_settings){
        .name = "localhost", .san = "DNS:est.example.com", .until_s = DAY, .issuer = &fixture->ca});
    assert_untrusted(fixture, serve_as(fixture, &other));
    assert_int_equal(atomic_load(&requests_seen), 0);
    identity_free(&other);
}

/* RA-2: a device may call itself what it likes in the rest of its subject (RE-8), and the EST CA certifies
 * it. */
static void server_named_by_its_subject_alone_is_refused(void **state)
{
    struct upstream_fixture *fixture = *state;
    const char *const names[] = {NULL, "email:localhost@example.com"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct identity device = identity_make(&(struct identity_settings){
            .name = "localhost", .san = names[i], .until_s = DAY, .issuer = &fixture->ca});
        assert_untrusted(fixture, serve_as(fixture, &device));
        assert_int_equal(atomic_load(&requests_seen), 0);
        identity_free(&device);
    }
}

static void expired_server_is_refused(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct identity expired = identity_make(&(struct identity_settings){.name = "localhost",
                                                                        .san = "DNS:localhost",
                                                                        .from_s = -2 * DAY,
                                                                        .until_s = -DAY,
                                                                        .issuer = &fixture->ca});
    assert_untrusted(fixture, serve_as(fixture, &expired));
    assert_int_equal(atomic_load(&requests_seen), 0);
    identity_free(&expired);
}

static void assert_trusted(struct upstream_fixture *fixture, struct scripted_server *server)
{
    struct outcome outcome;
    ask_once(fixture, &outcome);
    scripted_server_stop(server);
    assert_int_equal(outcome.result, EST_ANSWERED);
    assert_int_equal(atomic_load(&requests_seen), 1);
    outcome_free(&outcome);
}

/* RA-2, RFC 7030 section 3.6.1: id-kp-cmcRA stands for the name, but not for serverAuth. */
static void server_with_cmc_ra_needs_no_name(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct identity_settings settings = {.name = "some RA",
                                         .san = "DNS:est.example.com",
                                         .purposes = "serverAuth,1.3.6.1.5.5.7.3.28",
                                         .until_s = DAY,
                                         .issuer = &fixture->ca};
    struct identity server = identity_make(&settings);
    assert_trusted(fixture, serve_as(fixture, &server));
    identity_free(&server);

    settings.purposes = "clientAuth,1.3.6.1.5.5.7.3.28";
    server = identity_make(&settings);
    assert_untrusted(fixture, serve_as(fixture, &server));
    identity_free(&server);
    settings.purposes = "serverAuth,1.3.6.1.5.5.7.3.28";
    settings.issuer = &fixture->other_ca;
    server = identity_make(&settings);
    assert_untrusted(fixture, serve_as(fixture, &server));
    identity_free(&server);
}

/* RA-2, RFC 7030 section 3.6.2: an implicit anchor vouches for names only. */
static void implicit_trust_is_for_names(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct identity_settings settings = {.name = "web server",
                                         .san = "DNS:localhost",
                                         .purposes = "serverAuth",
                                         .until_s = DAY,
                                         .issuer = &fixture->other_ca};
    struct identity server = identity_make(&settings);
    char other[128];
    snprintf(other, sizeof other, "%s/other-ca.pem", fixture->dir);
    fixture->settings.implicit_trust.items[0] = other;
    fixture->settings.implicit_trust.count = 1;
    for (size_t trust = 0; trust <= 1; trust++) { /* explicit trust beside it, or none */
        fixture->settings.trust.count = trust;
        assert_trusted(fixture, serve_as(fixture, &server));
    }
    identity_free(&server);

    settings.san = "DNS:est.example.com";
    settings.purposes = "serverAuth,1.3.6.1.5.5.7.3.28";
    server = identity_make(&settings);
    assert_untrusted(fixture, serve_as(fixture, &server));
    assert_int_equal(atomic_load(&requests_seen), 0);
    identity_free(&server);
}

/* RA-2: an address is not a name. */
static void server_is_known_by_its_address(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct identity_settings settings = {
        .name = "server", .san = "DNS:127.0.0.1", .until_s = DAY, .issuer = &fixture->ca};
    struct identity server = identity_make(&settings);
    struct scripted_server *serving = serve_as(fixture, &server);
    upstream_fixture_point_at(fixture, "127.0.0.1", scripted_server_port(serving));
    assert_untrusted(fixture, serving);
    identity_free(&server);
    settings.san = "IP:127.0.0.1";
    server = identity_make(&settings);
    serving = serve_as(fixture, &server);
    upstream_fixture_point_at(fixture, "127.0.0.1", scripted_server_port(serving));
    assert_trusted(fixture, serving);
    identity_free(&server);
}

static void lowest_tls_version_is_configured(void **state)
{
    struct upstream_fixture *fixture = *state;
    fixture->settings.tls_min_version = UPSTREAM_TLS_1_3;
    struct scripted_server *server =
        scripted_server_start(&(struct server_settings){.identity = &fixture->server,
                                                        .client_ca = &fixture->ca,
                                                        .tls_version_max = TLS1_2_VERSION,
                                                        .answer = count_request});
    upstream_fixture_point_at(fixture, "localhost", scripted_server_port(server));
    atomic_store(&requests_seen, 0);
    assert_untrusted(fixture, server);
    assert_int_equal(atomic_load(&requests_seen), 0);
}

/* What the scripted server demands, and how often it was given. */
static struct {
    const char *challenge; /* the value of WWW-Authenticate */
    bool closes, never_content;
    atomic_uint without, with;
} guard;

/* 401 unless there is an Authorization, which must follow an unauthenticated request. */
static enum server_verdict ask_for_password(const struct server_request *request)
{
    char answer[512];
    if (strstr(request->head, "\r\nAuthorization: ") == NULL)
        atomic_fetch_add(&guard.without, 1);
    else
        atomic_fetch_add(&guard.with, 1);
    if (strstr(request->head, "\r\nAuthorization: ") != NULL && !guard.never_content)
        return answer_well(request);
    snprintf(answer, sizeof answer,
             "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: %s\r\n%sContent-Length: 5\r\n\r\nnope\n",
             guard.challenge, guard.closes ? "Connection: close\r\n" : "");
    server_send(request, answer);
    return guard.closes ? SERVER_DROP : SERVER_KEEP;
}

static struct scripted_server *serve_guarded(struct upstream_fixture *fixture, const char *challenge)
{
    static char user[] = "registrar", file[128];
    snprintf(file, sizeof file, "%s/password", fixture->dir);
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    fputs("hunter2\n", out);
    fclose(out);
    fixture->settings.username = user;
    fixture->settings.password_file = file;
    guard.challenge = challenge;
    guard.closes = guard.never_content = false;
    atomic_store(&guard.with, 0);
    atomic_store(&guard.without, 0);
    return upstream_fixture_serve(fixture, ask_for_password);
}

#define BASIC  "Basic realm=\"est\""
#define DIGEST "Digest realm=\"est\", qop=\"auth\", nonce=\"abc\", algorithm=SHA-256"

/* RA-8: the same POST again after a whole 401, on the same connection or on another; announced once. Nothing
 * is remembered for the next request. */
static void password_is_given_when_asked_for(void **state)
{
    struct upstream_fixture *fixture = *state;
    const char *const challenges[] = {BASIC, DIGEST},
                      *words[] = {"Basic cmVnaXN0cmFyOmh1bnRlcjI=\r\n", "Digest "};
    for (size_t i = 0; i < 4; i++) {
        struct scripted_server *server = serve_guarded(fixture, challenges[i % 2]);
        struct server_counts counts;
        struct test_connection test;
        guard.closes = i >= 2;
        open_connection(fixture, &test);
        for (unsigned round = 1; round <= 2; round++) {
            struct outcome outcome;
            ask(fixture, &test, CSR, &outcome);
            scripted_server_count(server, &counts);
            assert_int_equal(outcome.result, EST_ANSWERED);
            assert_int_equal(outcome.http_status, 200);
            assert_int_equal(outcome.sending, 1);
            assert_true(bytes_equal(buffer_view(&outcome.body), BYTES_LITERAL("TUlJ\n")));
            assert_string_equal(counts.body, CSR);
            assert_has(counts.head, words[i % 2]);
            assert_int_equal(atomic_load(&guard.without), round);
            assert_int_equal(atomic_load(&guard.with), round);
            outcome_free(&outcome);
        }
        close_connection(&test);
        scripted_server_stop(server);
    }
}

/* RA-8: one attempt, even where the EST server says that its nonce was stale. */
static void wrong_password_is_tried_once(void **state)
{
    struct upstream_fixture *fixture = *state;
    const char *const challenges[] = {BASIC, DIGEST, DIGEST ", stale=true"};
    for (size_t i = 0; i < 3; i++) {
        struct scripted_server *server = serve_guarded(fixture, challenges[i]);
        struct outcome outcome;
        guard.never_content = true;
        ask_once(fixture, &outcome);
        assert_int_equal(outcome.result, EST_ANSWERED);
        assert_int_equal(outcome.http_status, 401);
        assert_int_equal(atomic_load(&guard.without), 1);
        assert_int_equal(atomic_load(&guard.with), 1);
        outcome_free(&outcome);
        scripted_server_stop(server);
    }
}

#define AND      "\r\nWWW-Authenticate: "
#define OTHER    "Digest realm=\"other\", qop=\"auth\", nonce=\"xyz\", algorithm="
#define ELSEWISE "Digest realm=\"est\", nonce=\"abc\""

/* RA-8, RFC 7616: whatever is offered, a POST goes out twice at most, and never with a password where it need
 * not. */
static void one_of_many_challenges_is_met(void **state)
{
    static const struct {
        const char *challenge, *word, *other; /* what is given; NULL: nothing */
    } rows[] = {
        {DIGEST AND OTHER "MD5", "nonce=\"abc\"", "algorithm=SHA-256"},
        {OTHER "MD5" AND DIGEST, "nonce=\"xyz\"", "algorithm=MD5"},
        {BASIC AND DIGEST, "Digest ", "algorithm=SHA-256"},
        {DIGEST ", " BASIC, "Digest ", "realm=\"est\""},
        {"Negotiate" AND "Bearer realm=\"est\"" AND DIGEST, "Digest ", "nonce=\"abc\""},
        {"Digest realm=\"est\", qop=\"auth-int, auth\", nonce=\"abc\", opaque=\"o\"", "qop=auth,",
         "opaque=\"o\""},
        {ELSEWISE, "Digest ", "realm=\"est\""}, /* without qop: RFC 2069 */
        {ELSEWISE ", algorithm=SHA-512-256, qop=\"auth\"", "Digest ", "algorithm=SHA-512-256"},
        {ELSEWISE ", userhash=true, algorithm=SHA-256, qop=\"auth\"", "userhash=true", "nc=00000001"},
        {"Digest realm=\"a\\\"b\", nonce=\"abc\", qop=\"auth\"", "realm=\"a\\\"b\"", "Digest "},
        {ELSEWISE ", algorithm=WHIRLPOOL", NULL, NULL},
        {"Digest realm=\"est\"", NULL, NULL},
        {"Digest", NULL, NULL},
        {"", NULL, NULL},
    };
    struct upstream_fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct scripted_server *server = serve_guarded(fixture, rows[i].challenge);
        struct server_counts counts;
        struct outcome outcome;
        ask_once(fixture, &outcome);
        scripted_server_count(server, &counts);
        unsigned with = rows[i].word != NULL ? 1 : 0;
        if (outcome.result != EST_ANSWERED || outcome.http_status != (with ? 200 : 401) ||
            atomic_load(&guard.with) != with || counts.posts != 1 + with)
            fail_msg("%s: result %d, status %u, %u POSTs, %u with a password: %s", rows[i].challenge,
                     outcome.result, outcome.http_status, counts.posts, atomic_load(&guard.with),
                     counts.head);
        if (with) {
            assert_has(counts.head, rows[i].word);
            assert_has(counts.head, rows[i].other);
        }
        assert_lacks(counts.head, "hunter2");
        outcome_free(&outcome);
        scripted_server_stop(server);
    }
}

static void other_schemes_and_no_password_are_401(void **state)
{
    struct upstream_fixture *fixture = *state;
    for (int has_password = 0; has_password <= 1; has_password++) {
        struct scripted_server *server =
            serve_guarded(fixture, has_password ? "Bearer realm=\"est\"" : BASIC);
        struct outcome outcome;
        static char none[] = "";
        if (!has_password)
            fixture->settings.password_file = none;
        ask_once(fixture, &outcome);
        assert_int_equal(outcome.result, EST_ANSWERED);
        assert_int_equal(outcome.http_status, 401);
        assert_int_equal(atomic_load(&guard.without), 1);
        assert_int_equal(atomic_load(&guard.with), 0);
        outcome_free(&outcome);
        scripted_server_stop(server);
    }
}

/* RA-1: an RA certificate that the EST server does not take (expired, of another CA). With TLS 1.3 it says so
 * when the request is under way; nothing is in doubt all the same, and another server may be asked. */
static void certificate_that_the_server_refuses_is_no_doubt(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    struct upstream_fixture *fixture = *state;
    for (size_t i = 0; i < 4; i++) {
        struct scripted_server *server =
            scripted_server_start(&(struct server_settings){.identity = &fixture->server,
                                                            .client_ca = &fixture->other_ca,
                                                            .tls_version_max = versions[i % 2],
                                                            .answer = count_request});
        struct test_connection test;
        struct outcome outcome;
        upstream_fixture_point_at(fixture, "localhost", scripted_server_port(server));
        atomic_store(&requests_seen, 0);
        open_connection(fixture, &test);
        ask(fixture, &test, i < 2 ? CSR : NULL, &outcome);
        close_connection(&test);
        scripted_server_stop(server);
        if (outcome.result != EST_UNTRUSTED)
            fail_msg("result %d: %s", outcome.result, outcome.reason);
        assert_has(outcome.reason, "unknown ca");
        assert_int_equal(atomic_load(&requests_seen), 0);
        outcome_free(&outcome);
    }
}

/* RA-8: an unverified server never sees a password, nor a request. */
static void password_is_for_verified_servers(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct identity impostor = identity_make(&(struct identity_settings){
        .name = "localhost", .san = "DNS:localhost", .until_s = DAY, .issuer = &fixture->other_ca});
    scripted_server_stop(serve_guarded(fixture, BASIC));
    struct scripted_server *server = scripted_server_start(&(struct server_settings){
        .identity = &impostor, .client_ca = &fixture->ca, .answer = ask_for_password});
    upstream_fixture_point_at(fixture, "localhost", scripted_server_port(server));
    assert_untrusted(fixture, server);
    assert_int_equal(atomic_load(&guard.without) + atomic_load(&guard.with), 0);
    identity_free(&impostor);
}

/* RA-4: after the 401 the POST is sent once only, as ever. */
static enum server_verdict ask_then_die(const struct server_request *request)
{
    if (strstr(request->head, "\r\nAuthorization: ") == NULL)
        return ask_for_password(request);
    atomic_fetch_add(&guard.with, 1);
    return SERVER_DROP;
}

static void authenticated_post_is_sent_once(void **state)
{
    struct upstream_fixture *fixture = *state;
    scripted_server_stop(serve_guarded(fixture, BASIC));
    struct scripted_server *server = upstream_fixture_serve(fixture, ask_then_die);
    struct outcome outcome;
    ask_once(fixture, &outcome);
    assert_int_equal(outcome.result, EST_BROKEN);
    assert_int_equal(atomic_load(&guard.with), 1);
    outcome_free(&outcome);
    scripted_server_stop(server);
}

static enum server_verdict ask_for_password_and_go(const struct server_request *request)
{
    server_close_port(request);
    return ask_for_password(request);
}

static enum server_verdict begin_to_ask_for_password(const struct server_request *request)
{
    server_close_port(request);
    server_send(request, "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: " BASIC
                         "\r\nContent-Length: 5\r\nConnection: close\r\n\r\nno");
    return SERVER_DROP;
}

/* The 401 was no answer for the device: what it asked for could not be given to the EST server any more. */
static void server_that_is_gone_after_its_401_was_not_reached(void **state)
{
    struct upstream_fixture *fixture = *state;
    enum server_verdict (*const answers[])(const struct server_request *) = {ask_for_password_and_go,
                                                                             begin_to_ask_for_password};
    for (size_t i = 0; i < 2; i++) {
        scripted_server_stop(serve_guarded(fixture, BASIC));
        guard.closes = true;
        struct scripted_server *server = upstream_fixture_serve(fixture, answers[i]);
        struct outcome outcome;
        ask_once(fixture, &outcome);
        assert_int_equal(outcome.result, EST_NOT_SENT);
        assert_int_equal(atomic_load(&guard.with), 0);
        outcome_free(&outcome);
        scripted_server_stop(server);
    }
}

/* RA-1. */
static void server_with_tls_1_1_is_refused(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server =
        scripted_server_start(&(struct server_settings){.identity = &fixture->server,
                                                        .client_ca = &fixture->ca,
                                                        .tls_version_max = TLS1_1_VERSION,
                                                        .answer = count_request});
    upstream_fixture_point_at(fixture, "localhost", scripted_server_port(server));
    atomic_store(&requests_seen, 0);
    assert_untrusted(fixture, server);
    assert_int_equal(atomic_load(&requests_seen), 0);
}

static void server_with_tls_1_2_is_accepted(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct server_counts counts;
    struct outcome outcome;
    struct scripted_server *server =
        scripted_server_start(&(struct server_settings){.identity = &fixture->server,
                                                        .client_ca = &fixture->ca,
                                                        .tls_version_max = TLS1_2_VERSION,
                                                        .answer = answer_well});
    upstream_fixture_point_at(fixture, "localhost", scripted_server_port(server));
    ask_once(fixture, &outcome);
    scripted_server_count(server, &counts);
    assert_int_equal(outcome.result, EST_ANSWERED);
    assert_string_equal(counts.protocol, "TLSv1.2");
    assert_string_equal(counts.client, "/CN=The RA");
    outcome_free(&outcome);
    scripted_server_stop(server);
}

/* The system's store holds a CA: it must not count. OpenSSL reads SSL_CERT_FILE only where its default store
 * is used. */
static void system_trust_store_is_not_asked(void **state)
{
    struct upstream_fixture *fixture = *state;
    char other[128];
    snprintf(other, sizeof other, "%s/other-ca.pem", fixture->dir);
    struct identity impostor = identity_make(&(struct identity_settings){
        .name = "localhost", .san = "DNS:localhost", .until_s = DAY, .issuer = &fixture->other_ca});
    setenv("SSL_CERT_FILE", other, 1);
    setenv("CURL_CA_BUNDLE", other, 1);
    assert_untrusted(fixture, serve_as(fixture, &impostor));
    unsetenv("SSL_CERT_FILE");
    unsetenv("CURL_CA_BUNDLE");
    identity_free(&impostor);
}

/* A port where nobody listens. */
static uint16_t closed_port(int *socket_bound)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    *socket_bound = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(*socket_bound, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(*socket_bound, (struct sockaddr *)&address, &len), 0);
    return ntohs(address.sin_port);
}

static void refused_connection_is_not_sent(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct outcome outcome;
    int socket_bound;
    upstream_fixture_point_at(fixture, "127.0.0.1", closed_port(&socket_bound));
    ask_once(fixture, &outcome);
    assert_int_equal(outcome.result, EST_NOT_SENT);
    assert_int_equal(outcome.sending, 0);
    assert_has(outcome.reason, "connect");
    outcome_free(&outcome);
    close(socket_bound);
}

/* A black hole: the connection comes up, the TLS handshake never does. */
static void silent_server_is_not_sent(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct outcome outcome;
    struct scripted_server *server = scripted_server_start(&(struct server_settings){
        .identity = &fixture->server, .client_ca = &fixture->ca, .silent = true, .answer = answer_well});
    upstream_fixture_point_at(fixture, "localhost", scripted_server_port(server));
    fixture->settings.connect_timeout_ms = 300;

    uint64_t start = monotonic_ms();
    ask_once(fixture, &outcome);
    assert_in_range(monotonic_ms() - start, 250, fixture->settings.timeout_ms - 1);
    assert_int_equal(outcome.result, EST_NOT_SENT);
    assert_int_equal(outcome.sending, 0);
    outcome_free(&outcome);
    scripted_server_stop(server);
}

/* Asks the server that answers like this, once, by POST. */
static void ask_server(struct upstream_fixture *fixture,
                       enum server_verdict (*answer)(const struct server_request *), struct outcome *outcome)
{
    struct scripted_server *server = upstream_fixture_serve(fixture, answer);
    struct server_counts counts;
    ask_once(fixture, outcome);
    scripted_server_count(server, &counts);
    assert_int_equal(counts.posts, 1);
    assert_int_equal(outcome->sending, 1);
    scripted_server_stop(server);
}

static enum server_verdict never_answer(const struct server_request *request)
{
    server_pause(request, 60000);
    return SERVER_RESET;
}

static void silence_after_the_request_is_a_timeout(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct outcome outcome;
    fixture->settings.timeout_ms = 2000; /* the handshake included */
    ask_server(fixture, never_answer, &outcome);
    assert_int_equal(outcome.result, EST_TIMEOUT);
    assert_int_equal(outcome.http_status, 0);
    outcome_free(&outcome);
}

static enum server_verdict drip(const struct server_request *request)
{
    server_send(request, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    for (int i = 0; i < 600; i++) {
        server_send(request, "A");
        server_pause(request, 50);
        if (SSL_get_shutdown(request->ssl) != 0)
            break;
    }
    return SERVER_RESET;
}

static void slow_drip_ends_with_the_timeout(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct outcome outcome;
    fixture->settings.timeout_ms = 2000;
    uint64_t start = monotonic_ms();
    ask_server(fixture, drip, &outcome);
    assert_in_range(monotonic_ms() - start, 1950, 20000); /* and not after the 30 s of the drops */
    assert_int_equal(outcome.result, EST_TIMEOUT);
    outcome_free(&outcome);
}

static enum server_verdict close_without_a_word(const struct server_request *request)
{
    (void)request;
    return SERVER_CLOSE;
}

static enum server_verdict reset(const struct server_request *request)
{
    (void)request;
    return SERVER_RESET;
}

static enum server_verdict talk_garbage(const struct server_request *request)
{
    server_send(request, "220 smtp.example.com ESMTP\r\n\r\n");
    return SERVER_CLOSE;
}

static enum server_verdict drop_without_a_word(const struct server_request *request)
{
    (void)request;
    return SERVER_DROP;
}

static enum server_verdict cut_body(const struct server_request *request)
{
    server_send(request, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nTUlJ");
    return SERVER_CLOSE;
}

static enum server_verdict cut_chunks(const struct server_request *request)
{
    server_send(request, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nTUlJ");
    return SERVER_CLOSE;
}

static enum server_verdict cut_header(const struct server_request *request)
{
    server_send(request, "HTTP/1.1 200 OK\r\nContent-Type: application/pkcs7-mi");
    return SERVER_CLOSE;
}

static enum server_verdict reset_in_the_body(const struct server_request *request)
{
    server_send(request, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nTUlJ");
    return SERVER_RESET;
}

static enum server_verdict send_many_headers(const struct server_request *request)
{
    server_send(request, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 200; i++)
        server_send(request, "X-Field: value\r\n");
    server_send(request, "Content-Length: 0\r\n\r\n");
    return SERVER_CLOSE;
}

static enum server_verdict send_large_header(const struct server_request *request)
{
    char kilobyte[1025];
    memset(kilobyte, 'h', 1024);
    kilobyte[1024] = '\0';
    server_send(request, "HTTP/1.1 200 OK\r\nX-Field: ");
    for (int i = 0; i < 40; i++)
        server_send(request, kilobyte);
    server_send(request, "\r\nContent-Length: 0\r\n\r\n");
    return SERVER_CLOSE;
}

static enum server_verdict continue_for_ever(const struct server_request *request)
{
    for (int i = 0; i < 1000; i++)
        server_send(request, "HTTP/1.1 100 Continue\r\n\r\n");
    return SERVER_CLOSE;
}

static enum server_verdict send_too_much(const struct server_request *request)
{
    server_send(request, "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n");
    for (int i = 0; i < 200; i++)
        server_send(request, "0123456789");
    return SERVER_CLOSE;
}

static enum server_verdict send_chunks_for_ever(const struct server_request *request)
{
    server_send(request, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 1000; i++)
        server_send(request, "a\r\n0123456789\r\n");
    return SERVER_CLOSE;
}

/* The outcome is unknown, and nothing of it looks like an answer. */
static void broken_answers_are_broken(void **state)
{
    static const struct {
        const char *name;
        enum server_verdict (*answer)(const struct server_request *request);
    } rows[] = {
        {"closed without a word", close_without_a_word},
        {"reset", reset},
        {"dropped", drop_without_a_word},
        {"garbage", talk_garbage},
        {"body cut off", cut_body},
        {"chunks cut off", cut_chunks},
        {"header cut off", cut_header},
        {"reset in the body", reset_in_the_body},
        {"many header fields", send_many_headers},
        {"large header", send_large_header},
        {"1xx for ever", continue_for_ever},
        {"larger than max_response_bytes", send_too_much},
        {"chunks for ever", send_chunks_for_ever},
    };
    struct upstream_fixture *fixture = *state;
    fixture->settings.max_response_bytes = 1500;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct outcome outcome;
        ask_server(fixture, rows[i].answer, &outcome);
        if (outcome.result != EST_BROKEN || outcome.body.len > 1500)
            fail_msg("%s: result %d, %zu octets: %s", rows[i].name, outcome.result, outcome.body.len,
                     outcome.reason);
        assert_string_not_equal(outcome.reason, "");
        outcome_free(&outcome);
    }
}

/* What the scripted server sends next, and how it goes on. */
static struct {
    const char *answer;
    enum server_verdict verdict;
} script;

static enum server_verdict send_script(const struct server_request *request)
{
    server_send(request, script.answer);
    return script.verdict;
}

/* One request to a server that answers so. Returns how many POSTs came. */
static unsigned ask_for_script(struct upstream_fixture *fixture, const char *answer,
                               enum server_verdict verdict, struct outcome *outcome)
{
    struct server_counts counts;
    script.answer = answer;
    script.verdict = verdict;
    struct scripted_server *server = upstream_fixture_serve(fixture, send_script);
    ask_once(fixture, outcome);
    scripted_server_count(server, &counts);
    scripted_server_stop(server);
    return counts.posts;
}

#define WELL "HTTP/1.1 200 OK\r\n"

/* Odd, but HTTP: the answer is what it is. */
static void odd_answers_are_answers(void **state)
{
    static const struct {
        const char *name, *answer;
        enum server_verdict verdict;
    } rows[] = {
        {"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nTUlJ\n", SERVER_CLOSE},
        {"HTTP/1.0 that keeps",
         "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nTUlJ\n", SERVER_KEEP},
        {"no reason phrase", "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nTUlJ\n", SERVER_KEEP},
        {"line feeds alone", "HTTP/1.1 200 OK\nContent-Length: 5\n\nTUlJ\n", SERVER_KEEP},
        {"100 Continue unasked", "HTTP/1.1 100 Continue\r\n\r\n" WELL "Content-Length: 5\r\n\r\nTUlJ\n",
         SERVER_KEEP},
        {"hints first",
         "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" WELL "Content-Length: 5\r\n\r\nTUlJ\n", SERVER_KEEP},
        {"processing",
         "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" WELL
         "Content-Length: 5\r\n\r\nTUlJ\n",
         SERVER_KEEP},
        {"chunks with extensions and trailers",
         WELL "Transfer-Encoding: Chunked\r\n\r\n02;a=b\r\nTU\r\n3 \r\nlJ\n\r\n0\r\nX: y\r\n\r\n",
         SERVER_KEEP},
        {"chunks beat a length",
         WELL "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nTUlJ\n\r\n0\r\n\r\n", SERVER_KEEP},
        {"octets after the end",
         WELL "Content-Length: 5\r\n\r\nTUlJ\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", SERVER_KEEP},
        {"a length twice", WELL "Content-Length: 5\r\nContent-Length: 5\r\n\r\nTUlJ\n", SERVER_KEEP},
        {"until it closes", WELL "\r\nTUlJ\n", SERVER_CLOSE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct outcome outcome;
        unsigned posts = ask_for_script(*state, rows[i].answer, rows[i].verdict, &outcome);
        if (outcome.result != EST_ANSWERED || outcome.http_status != 200 || posts != 1 ||
            !bytes_equal(buffer_view(&outcome.body), BYTES_LITERAL("TUlJ\n")))
            fail_msg("%s: result %d, status %u, %u POSTs, \"%s\": %s", rows[i].name, outcome.result,
                     outcome.http_status, posts, buffer_string(&outcome.body), outcome.reason);
        outcome_free(&outcome);
    }
}

/* What is not HTTP, or could be read in two ways, is nobody's answer, and the POST is not repeated. */
static void ambiguous_answers_are_broken(void **state)
{
    static const struct {
        const char *name, *answer;
        enum server_verdict verdict;
    } rows[] = {
        {"a chunk of no size", WELL "Transfer-Encoding: chunked\r\n\r\nxyz\r\nTUlJ\n\r\n0\r\n\r\n",
         SERVER_CLOSE},
        {"a chunk larger than memory", WELL "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nTUlJ\n",
         SERVER_CLOSE},
        {"a negative chunk", WELL "Transfer-Encoding: chunked\r\n\r\n-5\r\nTUlJ\n\r\n0\r\n\r\n",
         SERVER_CLOSE},
        {"a chunk without its end", WELL "Transfer-Encoding: chunked\r\n\r\n5\r\nTUlJ\nGARBAGE\r\n",
         SERVER_CLOSE},
        {"chunks without an end", WELL "Transfer-Encoding: chunked\r\n\r\n5\r\nTUlJ\n\r\n", SERVER_CLOSE},
        {"two lengths", WELL "Content-Length: 5\r\nContent-Length: 500\r\n\r\nTUlJ\n", SERVER_CLOSE},
        {"a length that is none", WELL "Content-Length: five\r\n\r\nTUlJ\n", SERVER_CLOSE},
        {"a negative length", WELL "Content-Length: -5\r\n\r\nTUlJ\n", SERVER_CLOSE},
        {"HTTP/0.9", "TUlJ\n", SERVER_CLOSE},
        {"HTTP/9", "HTTP/9.1 200 OK\r\nContent-Length: 5\r\n\r\nTUlJ\n", SERVER_CLOSE},
        {"no status", "HTTP/1.1 OK\r\nContent-Length: 5\r\n\r\nTUlJ\n", SERVER_CLOSE},
        {"another protocol",
         "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nTUlJ\n",
         SERVER_CLOSE},
        {"nothing but 100 Continue", "HTTP/1.1 100 Continue\r\n\r\n", SERVER_CLOSE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct outcome outcome;
        unsigned posts = ask_for_script(*state, rows[i].answer, rows[i].verdict, &outcome);
        if (outcome.result != EST_BROKEN || posts != 1)
            fail_msg("%s: result %d, status %u, %u POSTs, \"%s\": %s", rows[i].name, outcome.result,
                     outcome.http_status, posts, buffer_string(&outcome.body), outcome.reason);
        outcome_free(&outcome);
    }
}

static enum server_verdict refuse_at_length(const struct server_request *request)
{
    server_send(request, "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 100000\r\n\r\n");
    for (int i = 0; i < 1000; i++)
        server_send(request, "Error 0: it hurts, and here is my long story.");
    return SERVER_DROP;
}

/* libest.md: no Content-Length, and the connection closes; here without close_notify. */
static enum server_verdict tell_to_come_back(const struct server_request *request)
{
    server_send(request, "HTTP/1.1 202 Accepted\r\nStatus: 202 Accepted\r\nRetry-After: 120\r\n\r\n");
    return SERVER_DROP;
}

/* With another status than 200, the header says it all: the outcome is known. */
static void status_is_an_answer_whatever_happens_to_its_body(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct outcome outcome;
    fixture->settings.max_response_bytes = 1500;

    ask_server(fixture, refuse_at_length, &outcome);
    assert_int_equal(outcome.result, EST_ANSWERED);
    assert_int_equal(outcome.http_status, 500);
    assert_true(outcome.body.len <= 1500);
    outcome_free(&outcome);

    ask_server(fixture, tell_to_come_back, &outcome);
    assert_int_equal(outcome.result, EST_ANSWERED);
    assert_int_equal(outcome.http_status, 202);
    assert_string_equal(outcome.retry_after, "120");
    outcome_free(&outcome);
}

static enum server_verdict send_all_fields(const struct server_request *request)
{
    server_send(request, "HTTP/1.1 100 Continue\r\nRetry-After: 1\r\n\r\n"
                         "HTTP/1.1 503 Busy\r\nretry-after: 7\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                         "Cache-Control: max-age=60\r\nAge: 3\r\nRetry-After: 8\r\nContent-Length: 4\r\n"
                         "Content-Type: text/plain\r\n\r\nbusy");
    return SERVER_KEEP;
}

static void header_fields_are_those_of_the_final_response(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct outcome outcome;
    ask_server(fixture, send_all_fields, &outcome);
    assert_int_equal(outcome.result, EST_ANSWERED);
    assert_int_equal(outcome.http_status, 503);
    assert_string_equal(outcome.retry_after, "7");
    assert_string_equal(outcome.date, "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_string_equal(outcome.cache_control, "max-age=60");
    assert_string_equal(outcome.age, "3");
    assert_string_equal(outcome.content_type, "text/plain");
    assert_true(bytes_equal(buffer_view(&outcome.body), BYTES_LITERAL("busy")));
    outcome_free(&outcome);
}

static enum server_verdict redirect(const struct server_request *request)
{
    server_send(request,
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
    return SERVER_KEEP;
}

static void redirect_is_only_reported(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct outcome outcome;
    ask_server(fixture, redirect, &outcome); /* which also counts the POSTs */
    assert_int_equal(outcome.result, EST_ANSWERED);
    assert_int_equal(outcome.http_status, 307);
    outcome_free(&outcome);
}

/* RA-4. */
static void connection_is_used_again(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
    struct server_counts counts;
    struct test_connection test;

    open_connection(fixture, &test);
    for (int i = 0; i < 5; i++) {
        struct outcome outcome;
        ask(fixture, &test, i % 2 == 0 ? CSR : NULL, &outcome);
        assert_int_equal(outcome.result, EST_ANSWERED);
        assert_int_equal(outcome.sending, 1); /* announced on a kept connection as well */
        assert_true(https_connection_is_reusable(test.connection));
        assert_int_equal(https_connection_keep(test.connection), STATUS_OK);
        outcome_free(&outcome);
    }
    scripted_server_count(server, &counts);
    assert_int_equal(counts.connections, 1);
    assert_int_equal(counts.posts, 3);
    assert_int_equal(counts.gets, 2);
    close_connection(&test);
    scripted_server_stop(server);
}

static void connection_is_not_used_again_when_forbidden(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
    struct test_connection test;
    struct outcome outcome;

    fixture->settings.reuse_connections = false;
    open_connection(fixture, &test);
    ask(fixture, &test, CSR, &outcome);
    assert_int_equal(outcome.result, EST_ANSWERED);
    assert_false(https_connection_is_reusable(test.connection));
    outcome_free(&outcome);
    close_connection(&test);
    scripted_server_stop(server);
}

static enum server_verdict answer_and_close(const struct server_request *request)
{
    server_send(request, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nTUlJ");
    return SERVER_CLOSE;
}

static void connection_that_the_server_closes_is_not_used_again(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_and_close);
    struct test_connection test;
    struct outcome outcome;

    open_connection(fixture, &test);
    ask(fixture, &test, CSR, &outcome);
    assert_int_equal(outcome.result, EST_ANSWERED);
    assert_false(https_connection_is_reusable(test.connection));
    outcome_free(&outcome);
    close_connection(&test);
    scripted_server_stop(server);
}

/* A kept connection that ends is closed at once: libest waits for that. */
static void kept_connection_is_given_up_when_the_server_closes(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
    struct test_connection test;
    struct outcome outcome;

    open_connection(fixture, &test);
    ask(fixture, &test, CSR, &outcome);
    assert_int_equal(https_connection_keep(test.connection), STATUS_OK);
    scripted_server_drop_all(server);
    await_loss(fixture, &test, 3000);
    outcome_free(&outcome);
    close_connection(&test);
    scripted_server_stop(server);
}

static void kept_connection_is_given_up_after_four_seconds(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
    struct test_connection test;
    struct outcome outcome;

    open_connection(fixture, &test);
    ask(fixture, &test, CSR, &outcome);
    assert_int_equal(https_connection_keep(test.connection), STATUS_OK);
    uint64_t start = monotonic_ms();
    await_loss(fixture, &test, 10000);
    assert_in_range(monotonic_ms() - start, 3900, 10000);
    outcome_free(&outcome);
    close_connection(&test);
    scripted_server_stop(server);
}

/* Whatever stands in the connection before the next request is nobody's answer. */
static enum server_verdict answer_twice(const struct server_request *request)
{
    answer_well(request);
    server_respond(request, "200 OK", "application/pkcs7-mime", "c29tZWJvZHkgZWxzZQ==");
    return SERVER_KEEP;
}

static void unsolicited_answer_is_never_taken_for_the_next_one(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_twice);
    struct test_connection test;
    struct outcome outcome;

    open_connection(fixture, &test);
    ask(fixture, &test, CSR, &outcome);
    outcome_free(&outcome);
    if (https_connection_is_reusable(test.connection)) {
        assert_int_equal(https_connection_keep(test.connection), STATUS_OK);
        await_loss(fixture, &test, 3000);
    }
    close_connection(&test);
    scripted_server_stop(server);
}

/* The trap: libcurl would send the POST again, silently, and the EST server would issue twice. */
static enum server_verdict die_on_the_second_request(const struct server_request *request)
{
    if (request->number == 1)
        return answer_well(request);
    return SERVER_RESET; /* it has read the whole request, and may have acted */
}

static enum server_verdict close_on_the_second_request(const struct server_request *request)
{
    return request->number == 1 ? answer_well(request) : SERVER_CLOSE;
}

static void assert_second_post_is_sent_once(struct upstream_fixture *fixture, const char *csr,
                                            enum server_verdict (*answer)(const struct server_request *))
{
    struct scripted_server *server = upstream_fixture_serve(fixture, answer);
    struct server_counts counts;
    struct test_connection test;
    struct outcome outcome;

    open_connection(fixture, &test);
    ask(fixture, &test, NULL, &outcome);
    assert_int_equal(outcome.result, EST_ANSWERED);
    assert_int_equal(https_connection_keep(test.connection), STATUS_OK);
    outcome_free(&outcome);

    ask(fixture, &test, csr, &outcome);
    scripted_server_count(server, &counts);
    assert_int_equal(outcome.result, EST_BROKEN);
    assert_int_equal(outcome.sending, 1);
    assert_int_equal(counts.posts, 1);
    assert_false(https_connection_is_reusable(test.connection));
    outcome_free(&outcome);
    close_connection(&test);
    scripted_server_stop(server);
}

static void post_is_never_sent_twice(void **state)
{
    struct upstream_fixture *fixture = *state;
    char *large = malloc(40001);
    memset(large, 'A', 40000);
    large[40000] = '\0';
    assert_second_post_is_sent_once(fixture, CSR, die_on_the_second_request);
    assert_second_post_is_sent_once(fixture, CSR, close_on_the_second_request);
    assert_second_post_is_sent_once(fixture, large, close_on_the_second_request);
    free(large);
}

/* RA-4: a GET is harmless, and repeated once. */
static void get_is_repeated_on_a_new_connection(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, die_on_the_second_request);
    struct server_counts counts;
    struct test_connection test;
    struct outcome outcome;

    open_connection(fixture, &test);
    ask(fixture, &test, NULL, &outcome);
    assert_int_equal(https_connection_keep(test.connection), STATUS_OK);
    outcome_free(&outcome);

    ask(fixture, &test, NULL, &outcome);
    scripted_server_count(server, &counts);
    assert_int_equal(outcome.result, EST_ANSWERED);
    assert_int_equal(outcome.sending, 1);
    assert_int_equal(counts.gets, 3);
    assert_int_equal(counts.connections, 2);
    outcome_free(&outcome);
    close_connection(&test);
    scripted_server_stop(server);
}

static void request_on_a_connection_that_died_idle_is_sent_on_a_new_one(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, answer_well);
    struct server_counts counts;
    struct test_connection test;
    struct outcome outcome;

    open_connection(fixture, &test);
    ask(fixture, &test, CSR, &outcome);
    assert_int_equal(https_connection_keep(test.connection), STATUS_OK);
    outcome_free(&outcome);
    scripted_server_drop_all(server); /* its end has arrived, and the loop has not looked yet */

    ask(fixture, &test, CSR, &outcome);
    scripted_server_count(server, &counts);
    assert_int_equal(outcome.result, EST_ANSWERED);
    assert_int_equal(counts.posts, 2);
    assert_int_equal(counts.connections, 2);
    outcome_free(&outcome);
    close_connection(&test);
    scripted_server_stop(server);
}

/* The other trap: a resolver that takes its time. libcurl's thread calls this function, as the program's own
 * symbol comes before the C library's. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool released;
    unsigned asleep;
} slow_resolver = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

#define RESOLVER_S 8

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
    typedef int resolver(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    resolver *real;
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (node == NULL || strcmp(node, "slow.example") != 0)
        return real(node, service, hints, result);

    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += RESOLVER_S;
    pthread_mutex_lock(&slow_resolver.mutex);
    slow_resolver.asleep++;
    while (!slow_resolver.released &&
           pthread_cond_timedwait(&slow_resolver.changed, &slow_resolver.mutex, &until) == 0)
        ;
    slow_resolver.asleep--;
    pthread_cond_broadcast(&slow_resolver.changed);
    pthread_mutex_unlock(&slow_resolver.mutex);
    return EAI_AGAIN;
}

static unsigned resolvers_asleep(void)
{
    pthread_mutex_lock(&slow_resolver.mutex);
    unsigned asleep = slow_resolver.asleep;
    pthread_mutex_unlock(&slow_resolver.mutex);
    return asleep;
}

static void release_resolvers(void)
{
    pthread_mutex_lock(&slow_resolver.mutex);
    slow_resolver.released = true;
    pthread_cond_broadcast(&slow_resolver.changed);
    while (slow_resolver.asleep > 0)
        pthread_cond_wait(&slow_resolver.changed, &slow_resolver.mutex);
    pthread_mutex_unlock(&slow_resolver.mutex);
}

struct ticker {
    uint64_t last_ms, largest_gap_ms;
    unsigned ticks;
};

static void tick(evutil_socket_t fd, short what, void *user)
{
    struct ticker *ticker = user;
    uint64_t now = monotonic_ms(), gap = now - ticker->last_ms;
    (void)fd, (void)what;
    ticker->largest_gap_ms = gap > ticker->largest_gap_ms ? gap : ticker->largest_gap_ms;
    ticker->last_ms = now;
    ticker->ticks++;
}

/* The loop goes on while the resolver sleeps, through the timeout of the request and through the end of a
 * connection whose resolver still sleeps. */
static void slow_resolver_does_not_stop_the_loop(void **state)
{
    static const struct timeval every = {0, 10 * 1000};
    struct upstream_fixture *fixture = *state;
    struct ticker ticker = {.last_ms = monotonic_ms()};
    struct event *event = event_new(fixture->base, -1, EV_PERSIST, tick, &ticker);
    struct test_connection first, second;
    struct outcome timed_out, abandoned;

    upstream_fixture_point_at(fixture, "slow.example", 443);
    fixture->settings.connect_timeout_ms = 500;
    event_add(event, &every);
    open_connection(fixture, &first);
    open_connection(fixture, &second);
    start_request(fixture, &first, CSR, &timed_out);
    outcome_await(&timed_out);
    assert_int_equal(timed_out.result, EST_NOT_SENT);
    assert_int_equal(timed_out.sending, 0);

    start_request(fixture, &second, NULL, &abandoned);
    uint64_t limit = monotonic_ms() + 5000;
    while (resolvers_asleep() < 2 && monotonic_ms() < limit) /* it is ours that libcurl asks */
        turn_for(fixture->base, 10);
    assert_int_equal(resolvers_asleep(), 2);
    close_connection(&first);
    close_connection(&second);
    turn_for(fixture->base, 200);
    assert_false(abandoned.answered);
    assert_int_equal(resolvers_asleep(), 2);
    assert_true(ticker.ticks > 30);
    assert_in_range(ticker.largest_gap_ms, 10,
                    1000); /* libcurl's default makes it the rest of eight seconds */

    release_resolvers();
    event_free(event);
    outcome_free(&timed_out);
    outcome_free(&abandoned);
}

static void connection_may_end_at_any_moment(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct scripted_server *server = upstream_fixture_serve(fixture, never_answer);
    for (unsigned ms = 0; ms < 20; ms += 2) {
        struct test_connection test;
        struct outcome outcome;
        open_connection(fixture, &test);
        start_request(fixture, &test, CSR, &outcome);
        turn_for(fixture->base, ms);
        close_connection(&test);
        turn_for(fixture->base, 1);
        assert_false(outcome.answered);
        outcome_free(&outcome);
    }
    scripted_server_stop(server);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, upstream_fixture_set_up, upstream_fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(post_is_sent_as_est_wants_it),
        TEST(client_cert_is_sent_to_est_servers_alone),
        TEST(get_is_sent_without_a_body),
        TEST(settings_change_the_header),
        TEST(large_body_arrives_whole),
        TEST(environment_is_ignored),
        TEST(server_of_another_ca_is_refused),
        TEST(server_of_another_name_is_refused),
        TEST(server_named_by_its_subject_alone_is_refused),
        TEST(expired_server_is_refused),
        TEST(server_with_cmc_ra_needs_no_name),
        TEST(implicit_trust_is_for_names),
        TEST(server_is_known_by_its_address),
        TEST(lowest_tls_version_is_configured),
        TEST(password_is_given_when_asked_for),
        TEST(wrong_password_is_tried_once),
        TEST(one_of_many_challenges_is_met),
        TEST(other_schemes_and_no_password_are_401),
        TEST(certificate_that_the_server_refuses_is_no_doubt),
        TEST(password_is_for_verified_servers),
        TEST(authenticated_post_is_sent_once),
        TEST(server_that_is_gone_after_its_401_was_not_reached),
        TEST(server_with_tls_1_1_is_refused),
        TEST(server_with_tls_1_2_is_accepted),
        TEST(system_trust_store_is_not_asked),
        TEST(refused_connection_is_not_sent),
        TEST(silent_server_is_not_sent),
        TEST(silence_after_the_request_is_a_timeout),
        TEST(slow_drip_ends_with_the_timeout),
        TEST(broken_answers_are_broken),
        TEST(odd_answers_are_answers),
        TEST(ambiguous_answers_are_broken),
        TEST(status_is_an_answer_whatever_happens_to_its_body),
        TEST(header_fields_are_those_of_the_final_response),
        TEST(redirect_is_only_reported),
        TEST(connection_is_used_again),
        TEST(connection_is_not_used_again_when_forbidden),
        TEST(connection_that_the_server_closes_is_not_used_again),
        TEST(kept_connection_is_given_up_when_the_server_closes),
        TEST(kept_connection_is_given_up_after_four_seconds),
        TEST(unsolicited_answer_is_never_taken_for_the_next_one),
        TEST(post_is_never_sent_twice),
        TEST(get_is_repeated_on_a_new_connection),
        TEST(request_on_a_connection_that_died_idle_is_sent_on_a_new_one),
        TEST(slow_resolver_does_not_stop_the_loop),
        TEST(connection_may_end_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
