#include "upstream_fixture.h"

#include "common/monotonic.h"

#include <curl/curl.h>
#include <event2/event.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define AWAIT_MS 30000

static void make_pki(struct upstream_fixture *fixture);
static void copy_text(char *to, size_t size, struct bytes from);
static void turn_once(struct event_base *base, unsigned ms);
static void end_turn(evutil_socket_t fd, short what, void *user);

int upstream_fixture_set_up(void **state)
{
    struct upstream_fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    snprintf(fixture->dir, sizeof fixture->dir, "/tmp/estuary-upstream-XXXXXX");
    assert_non_null(mkdtemp(fixture->dir));
    make_pki(fixture);
    fixture->base = event_base_new();
    assert_non_null(fixture->base);

    static char no_label[] = "";
    snprintf(fixture->trust, sizeof fixture->trust, "%s/ca.pem", fixture->dir);
    snprintf(fixture->certificate, sizeof fixture->certificate, "%s/ra.pem", fixture->dir);
    snprintf(fixture->private_key, sizeof fixture->private_key, "%s/ra.key", fixture->dir);
    fixture->settings = (struct upstream_settings){
        .trust = {.items = {fixture->trust}, .count = 1},
        .certificate = fixture->certificate,
        .private_key = fixture->private_key,
        .default_label = no_label,
        .max_failures = 5,
        .backoff_ms = 200,
        .backoff_max_ms = 400,
        .max_connections = 4,
        .reuse_connections = true,
        .connect_timeout_ms = 10000,
        .timeout_ms = 20000,
        .queue = 100,
        .max_response_bytes = 65536,
        .cacerts_max_age_s = 300,
    };
    *state = fixture;
    return 0;
}

static void make_pki(struct upstream_fixture *fixture)
{
    const struct identity *ca = &fixture->ca;
    fixture->ca = identity_make(&(struct identity_settings){.name = "EST CA", .until_s = 365 * DAY});
    fixture->other_ca = identity_make(&(struct identity_settings){.name = "Other CA", .until_s = 365 * DAY});
    fixture->server = identity_make(&(struct identity_settings){.name = "EST server",
                                                                .san = "DNS:localhost,IP:127.0.0.1",
                                                                .purposes = "serverAuth",
                                                                .until_s = 365 * DAY,
                                                                .issuer = ca});
    fixture->ra = identity_make(&(struct identity_settings){
        .name = "The RA", .purposes = "clientAuth,1.3.6.1.5.5.7.3.28", .until_s = 365 * DAY, .issuer = ca});
    identity_write(ca, fixture->dir, "ca");
    identity_write(&fixture->other_ca, fixture->dir, "other-ca");
    identity_write(&fixture->ra, fixture->dir, "ra");
}

int upstream_fixture_tear_down(void **state)
{
    struct upstream_fixture *fixture = *state;
    char command[128];
    event_base_free(fixture->base);
    identity_free(&fixture->ca);
    identity_free(&fixture->other_ca);
    identity_free(&fixture->server);
    identity_free(&fixture->ra);
    snprintf(command, sizeof command, "rm -r '%s'", fixture->dir);
    int status = system(command);
    free(fixture);
    curl_global_cleanup();
    return status;
}

struct scripted_server *upstream_fixture_serve(struct upstream_fixture *fixture,
                                               enum server_verdict (*answer)(const struct server_request *))
{
    struct scripted_server *server = scripted_server_start(
        &(struct server_settings){.identity = &fixture->server, .client_ca = &fixture->ca, .answer = answer});
    upstream_fixture_point_at(fixture, "localhost", scripted_server_port(server));
    return server;
}

struct ra_credentials *upstream_fixture_credentials(const struct upstream_settings *settings)
{
    struct buffer lines;
    buffer_init(&lines, 8192);
    struct ra_credentials *credentials = ra_credentials_load(settings, &lines, &lines);
    if (credentials == NULL)
        fail_msg("%s", buffer_string(&lines));
    buffer_free(&lines);
    return credentials;
}

void upstream_fixture_point_at(struct upstream_fixture *fixture, const char *host, uint16_t port)
{
    snprintf(fixture->url, sizeof fixture->url, "https://%s:%u", host, port);
    fixture->settings.servers.items[0] = fixture->url;
    fixture->settings.servers.count = 1;
}

void outcome_init(struct outcome *outcome, struct event_base *base)
{
    memset(outcome, 0, sizeof *outcome);
    outcome->base = base;
    buffer_init(&outcome->body, SIZE_MAX);
}

void outcome_free(struct outcome *outcome)
{
    buffer_free(&outcome->body);
}

void outcome_sending(void *user)
{
    struct outcome *outcome = user;
    assert_false(outcome->answered);
    outcome->sending++;
}

void outcome_answered(void *user, const struct est_response *response)
{
    struct outcome *outcome = user;
    assert_false(outcome->answered);
    outcome->answered = true;
    outcome->result = response->result;
    outcome->http_status = response->http_status;
    outcome->server = response->server;
    copy_text(outcome->content_type, sizeof outcome->content_type, response->content_type);
    copy_text(outcome->retry_after, sizeof outcome->retry_after, response->retry_after);
    copy_text(outcome->date, sizeof outcome->date, response->date);
    copy_text(outcome->cache_control, sizeof outcome->cache_control, response->cache_control);
    copy_text(outcome->age, sizeof outcome->age, response->age);
    copy_text(outcome->reason, sizeof outcome->reason, bytes_from_string(response->reason));
    buffer_append(&outcome->body, response->body);
    event_base_loopbreak(outcome->base);
}

static void copy_text(char *to, size_t size, struct bytes from)
{
    snprintf(to, size, "%.*s", (int)from.len, from.at != NULL ? (const char *)from.at : "");
}

void outcome_await(struct outcome *outcome)
{
    uint64_t limit = monotonic_ms() + AWAIT_MS;
    while (!outcome->answered && monotonic_ms() < limit)
        turn_once(outcome->base, 1000); /* an answer ends it earlier */
    assert_true(outcome->answered);
}

void turn_for(struct event_base *base, unsigned ms)
{
    uint64_t now, limit = monotonic_ms() + ms;
    while ((now = monotonic_ms()) < limit)
        turn_once(base, (unsigned)(limit - now));
}

static void turn_once(struct event_base *base, unsigned ms)
{
    struct timeval limit = {ms / 1000, ms % 1000 * 1000};
    struct event *timer = evtimer_new(base, end_turn, base);
    evtimer_add(timer, &limit);
    event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY);
    event_free(timer);
}

static void end_turn(evutil_socket_t fd, short what, void *user)
{
    (void)fd, (void)what;
    event_base_loopbreak(user);
}
