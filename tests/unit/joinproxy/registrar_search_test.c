/* The search for a registrar: JPD-6 (retry with back-off, cache), JP-2. No datagram leaves: socket and timer
 * are this file's, so that hours of a cache take no time. */
#include "joinproxy/registrar_search.h"

#include "common/coap_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWERS_MS  6000 /* as in registrar_search.c */
#define QUERIES     3    /* rt=brski.rjp, rt=brski, rt=ace.est* */
#define QUERIES_MAX 16

static struct {
    struct event *readable, *timer;
    uint64_t wait_ms; /* that the timer was set to */
    struct bytes answer;
    size_t queries;
    uint8_t token[REGISTRAR_TOKEN_OCTETS];
    char asked[QUERIES_MAX][40];
    struct udp_datagram last;
} net;

int event_add(struct event *event, const struct timeval *wait)
{
    if (wait == NULL) {
        net.readable = event;
        return 0;
    }
    net.timer = event;
    net.wait_ms = (uint64_t)wait->tv_sec * 1000 + (uint64_t)wait->tv_usec / 1000;
    return 0;
}

static void call(const struct event *event, short what)
{
    event_get_callback(event)(event_get_fd(event), what, event_get_callback_arg(event));
}

static void let_time_pass(void)
{
    call(net.timer, EV_TIMEOUT);
}

enum status udp_socket_open(const struct endpoint *local, enum udp_sharing sharing, int *fd)
{
    assert_int_equal(endpoint_port(local), 0);
    assert_int_equal(sharing, UDP_EXCLUSIVE);
    *fd = socket(AF_INET6, SOCK_DGRAM, 0);
    return *fd >= 0 ? STATUS_OK : STATUS_SYSTEM;
}

/* A query to the group. */
void udp_socket_send(int fd, const struct udp_datagram *datagram)
{
    struct coap_message message;
    (void)fd;
    net.last = *datagram;
    assert_int_equal(coap_message_parse(datagram->payload, &message), STATUS_OK);
    assert_int_equal(message.type, CM_NON);
    assert_int_equal(message.uri_query_count, 1);
    assert_in_range(message.uri_query[0].len, 1, sizeof net.asked[0] - 1);
    memcpy(net.token, message.token, sizeof net.token);
    assert_in_range(net.queries, 0, QUERIES_MAX - 1);
    char *asked = net.asked[net.queries++];
    memcpy(asked, message.uri_query[0].at, message.uri_query[0].len);
    asked[message.uri_query[0].len] = '\0';
}

size_t udp_socket_receive(int fd, struct udp_batch *batch,
                          void (*take)(void *user, const struct udp_datagram *datagram), void *user)
{
    (void)fd, (void)batch;
    take(user, &(struct udp_datagram){.interface = 1, .payload = net.answer});
    return 1;
}

/* --- the search --- */

static char loopback[] = "lo", missing[] = "nosuch0", group[] = "ff05::fd";

struct fixture {
    struct settings settings;
    struct services services;
    struct registrar_search *search;
    unsigned found;
    bool unusable;
    struct registrar_offer offer;
};

static bool on_found(void *user, const struct registrar_offer *offer)
{
    struct fixture *fixture = user;
    fixture->found++;
    fixture->offer = *offer;
    return !fixture->unusable;
}

static int set_up(void **state)
{
    static struct fixture fixture;
    memset(&net, 0, sizeof net);
    fixture = (struct fixture){.settings.discovery = {.port = 5683,
                                                      .registrar_interfaces = {{loopback, missing}, 2},
                                                      .group = group,
                                                      .retry_s = 5,
                                                      .retry_max_s = 60,
                                                      .cache_s = 3600}};
    fixture.services = (struct services){
        .settings = &fixture.settings, .base = event_base_new(), .metrics = counters_create()};
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    registrar_search_free(fixture->search);
    metrics_free(fixture->services.metrics);
    event_base_free(fixture->services.base);
    return 0;
}

static void start(struct fixture *fixture)
{
    struct buffer errors;
    buffer_init(&errors, 1024);
    fixture->search = registrar_search_create(&fixture->services, on_found, fixture, &errors);
    assert_string_equal(buffer_string(&errors), "");
    assert_non_null(fixture->search);
    buffer_free(&errors);
}

/* The answer of a registrar with these links. */
static void answer_with(const char *links)
{
    struct coap_message message = {.type = CM_NON,
                                   .code = CM_CONTENT,
                                   .token_len = REGISTRAR_TOKEN_OCTETS,
                                   .content_format = {true, 40},
                                   .payload = bytes_from_string(links)};
    struct buffer datagram;
    memcpy(message.token, net.token, sizeof message.token);
    buffer_init(&datagram, 1024);
    assert_int_equal(coap_message_write(&message, &datagram), STATUS_OK);
    net.answer = buffer_view(&datagram);
    call(net.readable, EV_READ);
    buffer_free(&datagram);
}

static void assert_asks(void)
{
    assert_int_equal(net.wait_ms, ANSWERS_MS);
    assert_int_equal(net.queries, QUERIES);
    net.queries = 0;
}

#define EST "<coaps://[2001:db8::1]:5684/est/sen>;rt=\"ace.est.sen\""
#define JPY "<jpy://[2001:db8::1]:5690>;rt=brski.rjp"

/* Every name once, to the group, on each interface that is there. */
static void jpd_6_asks_the_group(void **state)
{
    struct fixture *fixture = *state;
    start(fixture);
    assert_asks();
    assert_string_equal(net.asked[0], "rt=brski.rjp");
    assert_string_equal(net.asked[1], "rt=brski");
    assert_string_equal(net.asked[2], "rt=ace.est*");
    char text[ENDPOINT_TEXT_MAX];
    assert_non_null(strstr(endpoint_format(&net.last.peer, text), "ff05::fd"));
    assert_int_equal(endpoint_port(&net.last.peer), 5683);
}

static void jpd_6_pauses_double_up_to_a_limit(void **state)
{
    struct fixture *fixture = *state;
    static const uint64_t pauses_s[] = {5, 10, 20, 40, 60, 60};
    start(fixture);
    for (size_t i = 0; i < sizeof pauses_s / sizeof pauses_s[0]; i++) {
        assert_asks();
        let_time_pass(); /* no answer */
        assert_int_equal(net.wait_ms, pauses_s[i] * 1000);
        assert_int_equal(net.queries, 0);
        let_time_pass();
    }
    assert_int_equal(fixture->found, 0);
    /* once one is found, a later failure begins with the first pause again */
    answer_with(EST);
    let_time_pass();
    assert_int_equal(fixture->found, 1);
    let_time_pass();
    let_time_pass();
    assert_int_equal(net.wait_ms, 5000);
}

/* JP-2: of all answers within the time, the best. */
static void jp_2_jpy_wins_over_est(void **state)
{
    struct fixture *fixture = *state;
    start(fixture);
    answer_with(EST);
    answer_with(JPY);
    answer_with(EST);
    assert_int_equal(fixture->found, 0);
    let_time_pass();
    assert_int_equal(fixture->found, 1);
    assert_int_equal(fixture->offer.mode, MODE_STATELESS);
    assert_int_equal(endpoint_port(&fixture->offer.registrar), 5690);
}

/* JPD-6: what was found is used for cache_s, and nothing is asked meanwhile; then anew. The same one again is
 * no news, none leaves the old one in use, another one takes its place. */
static void jpd_6_the_cache_expires(void **state)
{
    struct fixture *fixture = *state;
    start(fixture);
    answer_with(EST);
    let_time_pass();
    assert_int_equal(fixture->found, 1);
    assert_int_equal(net.wait_ms, 3600 * 1000);
    net.queries = 0;

    answer_with(JPY); /* late, or forged: nobody asked */
    let_time_pass();  /* the cache has expired */
    assert_asks();
    answer_with(EST);
    let_time_pass();
    assert_int_equal(fixture->found, 1);
    assert_int_equal(net.wait_ms, 3600 * 1000);

    let_time_pass();
    assert_asks();
    let_time_pass(); /* nobody answers */
    assert_int_equal(fixture->found, 1);
    assert_int_equal(net.wait_ms, 5000);

    let_time_pass();
    assert_asks();
    answer_with("<coaps://[2001:db8::2]:5684/est/sen>;rt=\"ace.est.sen\"");
    let_time_pass();
    assert_int_equal(fixture->found, 2);
    assert_int_equal(metrics_get(fixture->services.metrics, COUNTER_REGISTRARS_FOUND), 2);
    assert_int_equal(metrics_get(fixture->services.metrics, COUNTER_SEARCHES), 4);
}

/* JPD-6: of two that answer the one in use stays, whichever is faster this time. */
static void jpd_6_the_one_in_use_stays(void **state)
{
    struct fixture *fixture = *state;
    start(fixture);
    answer_with(EST);
    let_time_pass();
    let_time_pass(); /* the cache has expired */
    answer_with("<coaps://[2001:db8::2]:5684/est/sen>;rt=\"ace.est.sen\"");
    answer_with(EST);
    answer_with("<coaps://[2001:db8::3]:5684/est/sen>;rt=\"ace.est.sen\"");
    let_time_pass();
    assert_int_equal(fixture->found, 1);
    let_time_pass();
    answer_with(EST);
    answer_with(JPY); /* but a better way is better */
    let_time_pass();
    assert_int_equal(fixture->found, 2);
    assert_int_equal(fixture->offer.mode, MODE_STATELESS);
}

/* JPD-6: one that no route can be made to is tried again, with the pauses of a search that finds nothing. */
static void jpd_6_what_cannot_be_used_is_tried_again(void **state)
{
    struct fixture *fixture = *state;
    fixture->unusable = true;
    start(fixture);
    for (unsigned tries = 1; tries <= 2; tries++) {
        answer_with(EST);
        let_time_pass();
        assert_int_equal(fixture->found, tries);
        assert_int_equal(net.wait_ms, tries * 5000);
        let_time_pass();
    }
    fixture->unusable = false;
    answer_with(EST);
    let_time_pass();
    assert_int_equal(fixture->found, 3);
    assert_int_equal(net.wait_ms, 3600 * 1000);
}

/* A round of the join proxy's housekeeping, before which so many datagrams went either way. */
static void watch(struct fixture *fixture, unsigned spoken, unsigned answered)
{
    metrics_add(fixture->services.metrics, COUNTER_PLEDGE_DATAGRAMS, spoken);
    metrics_add(fixture->services.metrics, COUNTER_REGISTRAR_DATAGRAMS, answered);
    registrar_search_watch(fixture->search);
}

/* JPD-6: a registrar that leaves pledges without answers is looked for before the cache expires: it may have
 * another address now. Pledges that are silent, or that it answers, are no reason. */
static void jpd_6_one_that_has_moved_is_found(void **state)
{
    struct fixture *fixture = *state;
    start(fixture);
    watch(fixture, 1, 0); /* not found yet: nothing to watch */
    watch(fixture, 1, 0);
    watch(fixture, 1, 0);
    net.queries = 0;
    answer_with(EST);
    let_time_pass();
    watch(fixture, 1, 1);
    for (int i = 0; i < 10; i++)
        watch(fixture, 0, 0);
    watch(fixture, 5, 0);
    watch(fixture, 1, 0);
    watch(fixture, 1, 1);
    watch(fixture, 1, 0);
    watch(fixture, 0, 0);
    watch(fixture, 1, 0);
    assert_int_equal(net.queries, 0);
    watch(fixture, 1, 0);
    assert_asks();
    watch(fixture, 1, 0); /* it is being looked for */
    assert_int_equal(net.queries, 0);
    answer_with("<coaps://[2001:db8::2]:5684/est/sen>;rt=\"ace.est.sen\"");
    let_time_pass();
    assert_int_equal(fixture->found, 2);
    assert_int_equal(net.wait_ms, 3600 * 1000);
}

/* An answer with the token of an earlier search is none. */
static void old_answers_do_not_count(void **state)
{
    struct fixture *fixture = *state;
    uint8_t old[REGISTRAR_TOKEN_OCTETS];
    start(fixture);
    memcpy(old, net.token, sizeof old);
    let_time_pass();
    let_time_pass();
    assert_memory_not_equal(old, net.token, sizeof old);
    memcpy(net.token, old, sizeof old);
    answer_with(EST);
    let_time_pass();
    assert_int_equal(fixture->found, 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(jpd_6_asks_the_group),
        TEST(jpd_6_pauses_double_up_to_a_limit),
        TEST(jp_2_jpy_wins_over_est),
        TEST(jpd_6_the_cache_expires),
        TEST(jpd_6_the_one_in_use_stays),
        TEST(jpd_6_what_cannot_be_used_is_tried_again),
        TEST(jpd_6_one_that_has_moved_is_found),
        TEST(old_answers_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
