/* Where pledges ask for a join proxy, over real sockets: JPD-1, JPD-2, JP-9, JP-10, JP-11. */
#include "joinproxy/discovery_port.h"

#include "common/coap_message.h"
#include "common/leisure.h"
#include "tests/unit/veth_link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/joinproxy/free_ports.h"

#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MS    20000
#define SILENCE_MS 50
#define LEISURE_MS 500
#define QUERY                                                                                                \
    BYTES_LITERAL("\x51\x01\x12\x34t\xbb.well-known\x04"                                                     \
                  "core\x4a"                                                                                 \
                  "brski-jp=*")

static char loopback[] = "lo", near_link[] = "near", missing[] = "nosuch0";
static uint64_t clock_ms = 100000;

static uint64_t test_clock(void)
{
    return clock_ms;
}

struct fixture {
    struct settings settings;
    struct services services;
    struct discovery_port *port;
    struct buffer errors;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){
        .settings = {.pledge = {.interfaces = {{loopback, missing}, 2}, .any_source = true},
                     .limits = {1000, 1000000, 1000},
                     .discovery = {.answer = true, .legacy_names = true, .port = three_free_ports()}}};
    buffer_init(&fixture.errors, 4096);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    discovery_port_free(fixture->port);
    neighbours_free(fixture->services.neighbours);
    traffic_limits_free(fixture->services.limits);
    pledge_links_free(fixture->services.links);
    udp_batch_free(fixture->services.batch);
    metrics_free(fixture->services.metrics);
    if (fixture->services.base != NULL)
        event_base_free(fixture->services.base);
    buffer_free(&fixture->errors);
    return 0;
}

/* After the settings were adjusted. */
static bool open_port(struct fixture *fixture)
{
    fixture->services = (struct services){.settings = &fixture->settings,
                                          .base = event_base_new(),
                                          .metrics = counters_create(),
                                          .batch = udp_batch_create(),
                                          .links = pledge_links_create(&fixture->settings.pledge),
                                          .limits = traffic_limits_create(&fixture->settings.limits),
                                          .neighbours = neighbours_create(),
                                          .now_ms = test_clock};
    fixture->port = discovery_port_create(&fixture->services, &fixture->errors);
    return fixture->port != NULL;
}

static uint64_t count(const struct fixture *fixture, enum counter counter)
{
    return metrics_get(fixture->services.metrics, counter);
}

static void announce(const struct fixture *fixture, size_t ports)
{
    static const uint16_t numbers[] = {5685, 5686};
    discovery_port_announce(fixture->port, numbers, ports);
}

/* The socket of a pledge at this address, connected to the port at another. */
static int open_pledge(const struct fixture *fixture, const char *own, const char *address)
{
    struct endpoint local, server;
    char text[ENDPOINT_TEXT_MAX];
    int fd;
    assert_int_equal(endpoint_parse(own, &local), STATUS_OK);
    snprintf(text, sizeof text, "%s:%u", address, fixture->settings.discovery.port);
    assert_int_equal(endpoint_parse(text, &server), STATUS_OK);
    assert_int_equal(udp_socket_open(&local, UDP_EXCLUSIVE, &fd), STATUS_OK);
    assert_int_equal(connect(fd, &server.address.any, server.len), 0);
    return fd;
}

static void ask(int fd, struct bytes query)
{
    assert_int_equal(send(fd, query.at, query.len, 0), query.len);
}

/* What comes back; empty: nothing in time. */
static struct bytes hear(const struct fixture *fixture, int fd, uint8_t octets[static UDP_DATAGRAM_MAX],
                         int within_ms)
{
    for (int waited = 0; waited <= within_ms; waited++) {
        event_base_loop(fixture->services.base, EVLOOP_NONBLOCK);
        if (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 1) != 1)
            continue;
        ssize_t len = recv(fd, octets, UDP_DATAGRAM_MAX, 0);
        assert_true(len > 0);
        return (struct bytes){octets, (size_t)len};
    }
    return (struct bytes){NULL, 0};
}

static void assert_links(const struct fixture *fixture, int fd, const char *links)
{
    uint8_t octets[UDP_DATAGRAM_MAX];
    struct coap_message answer;
    assert_int_equal(coap_message_parse(hear(fixture, fd, octets, WAIT_MS), &answer), STATUS_OK);
    assert_int_equal(answer.code, CM_CONTENT);
    assert_true(bytes_equal(answer.payload, bytes_from_string(links)));
}

static void assert_silence(const struct fixture *fixture, int fd)
{
    uint8_t octets[UDP_DATAGRAM_MAX];
    assert_int_equal(hear(fixture, fd, octets, SILENCE_MS).len, 0);
}

/* JPD-1, JP-11: the ports that work now; none, no answer (JP-2). */
static void jpd_1_pledges_are_told_the_join_ports(void **state)
{
    struct fixture *fixture = *state;
    assert_true(open_port(fixture));
    int pledge = open_pledge(fixture, "127.0.0.1:0", "127.0.0.1");
    ask(pledge, QUERY);
    assert_silence(fixture, pledge);
    announce(fixture, 1);
    ask(pledge, QUERY);
    assert_links(fixture, pledge, "<>;brski-jp=5685");
    announce(fixture, 2);
    ask(pledge, QUERY);
    assert_links(fixture, pledge, "<>;brski-jp=5685,<>;brski-jp=5686");
    announce(fixture, 0);
    ask(pledge, QUERY);
    assert_silence(fixture, pledge);
    assert_int_equal(count(fixture, COUNTER_PLEDGE_QUERIES), 4);
    close(pledge);
}

/* JPD-2 */
static void jpd_2_older_names_are_a_knob(void **state)
{
    struct fixture *fixture = *state;
    static const char query[] = "\x51\x01\x12\x34t\xbb.well-known\x04"
                                "core\x4brt=brski.jp";
    assert_true(open_port(fixture));
    int pledge = open_pledge(fixture, "[::1]:0", "[::1]");
    announce(fixture, 1);
    ask(pledge, BYTES_LITERAL(query));
    assert_links(fixture, pledge, "<coaps://[::1]:5685>;rt=brski.jp");
    fixture->settings.discovery.legacy_names = false;
    ask(pledge, BYTES_LITERAL(query));
    assert_links(fixture, pledge, "");
    close(pledge);
}

/* JP-9 */
static void jp_9_strangers_are_not_answered(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.pledge.any_source = false;
    assert_true(open_port(fixture));
    int stranger = open_pledge(fixture, "127.0.0.1:0", "127.0.0.1");
    announce(fixture, 1);
    ask(stranger, QUERY);
    assert_silence(fixture, stranger);
    assert_int_equal(count(fixture, COUNTER_STRANGERS), 1);
    close(stranger);
}

/* JP-10 */
static void jp_10_queries_count_as_traffic(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.limits.pledge_packets_per_s = 3;
    assert_true(open_port(fixture));
    int pledge = open_pledge(fixture, "127.0.0.1:0", "127.0.0.1");
    announce(fixture, 1);
    for (unsigned i = 0; i < 5; i++)
        ask(pledge, QUERY);
    for (unsigned i = 0; i < 3; i++)
        assert_links(fixture, pledge, "<>;brski-jp=5685");
    assert_silence(fixture, pledge);
    assert_int_equal(count(fixture, COUNTER_RATE_LIMITED), 2);
    clock_ms += 1000;
    ask(pledge, QUERY);
    assert_links(fixture, pledge, "<>;brski-jp=5685");
    close(pledge);
}

/* JP-10: and answers, which may be longer than what they answer. */
static void jp_10_answers_count_as_traffic(void **state)
{
    struct fixture *fixture = *state;
    const struct bytes all = BYTES_LITERAL("\x50\x01\x30\x39\xbb.well-known\x04"
                                           "core");
    uint8_t octets[UDP_DATAGRAM_MAX];
    fixture->settings.limits.interface_octets_per_s = 150;
    assert_true(open_port(fixture));
    int pledge = open_pledge(fixture, "127.0.0.1:0", "127.0.0.1");
    announce(fixture, 1);
    ask(pledge, all);
    ask(pledge, all);
    assert_in_range(hear(fixture, pledge, octets, WAIT_MS).len, 76, 150);
    assert_silence(fixture, pledge);
    assert_int_equal(count(fixture, COUNTER_RATE_LIMITED), 1);
    assert_int_equal(count(fixture, COUNTER_PLEDGE_QUERIES), 2);
    close(pledge);
}

static void a_port_that_is_taken_is_told(void **state)
{
    struct fixture *fixture = *state;
    struct endpoint any;
    char expected[32];
    int fd;
    assert_int_equal(endpoint_parse("[::]:0", &any), STATUS_OK);
    assert_int_equal(udp_socket_open(&any, UDP_EXCLUSIVE, &fd), STATUS_OK);
    assert_int_equal(udp_socket_local(fd, &any), STATUS_OK);
    fixture->settings.discovery.port = endpoint_port(&any);
    assert_false(open_port(fixture));
    snprintf(expected, sizeof expected, "discovery.port: %u ", endpoint_port(&any));
    assert_non_null(strstr(buffer_string(&fixture->errors), expected));
    assert_non_null(strstr(buffer_string(&fixture->errors), "Address already in use"));
    close(fd);
}

/* A socket at the far end of the link, and the group as that one asks it. */
static int open_far(const struct fixture *fixture, struct endpoint *group)
{
    struct endpoint local;
    char text[ENDPOINT_TEXT_MAX];
    int fd;
    assert_int_equal(endpoint_parse("[fe80::2%far]:0", &local), STATUS_OK);
    assert_int_equal(udp_socket_open(&local, UDP_EXCLUSIVE, &fd), STATUS_OK);
    snprintf(text, sizeof text, "[ff02::fd]:%u", fixture->settings.discovery.port);
    assert_int_equal(endpoint_parse(text, group), STATUS_OK);
    group->address.v6.sin6_scope_id = if_nametoindex("far");
    return fd;
}

static void ask_group(int fd, const struct endpoint *group)
{
    const struct bytes query = QUERY;
    assert_int_equal(sendto(fd, query.at, query.len, 0, &group->address.any, group->len), query.len);
}

/* JPD-1: on a link of its own, from whose far end ff02::fd is asked; answers come from our link-local
 * address, within the leisure; more than LEISURE_ANSWERS_MAX do not wait at a time. Last: it changes the
 * network. */
static void jpd_1_the_group_is_answered(void **state)
{
    struct fixture *fixture = *state;
    struct endpoint group, from = {.len = sizeof from.address}, ours;
    uint8_t octets[UDP_DATAGRAM_MAX];
    char text[ENDPOINT_TEXT_MAX];
    if (!veth_link_make())
        fail_msg("%s", VETH_LINK_NEEDS);
    fixture->settings.pledge = (struct pledge_settings){.interfaces = {{near_link}, 1}};
    fixture->settings.discovery.leisure_ms = LEISURE_MS;
    assert_true(open_port(fixture));
    announce(fixture, 1);

    int pledge = open_far(fixture, &group);
    for (unsigned i = 0; i < 2 * LEISURE_ANSWERS_MAX; i++)
        ask_group(pledge, &group);
    unsigned answers = 0;
    for (int within_ms = WAIT_MS; hear(fixture, pledge, octets, within_ms).len > 0;)
        within_ms = ++answers < LEISURE_ANSWERS_MAX ? WAIT_MS : LEISURE_MS + SILENCE_MS;
    assert_in_range(answers, LEISURE_ANSWERS_MAX,
                    2 * LEISURE_ANSWERS_MAX - 1); /* the first ones may be out before the last come */

    ask_group(pledge, &group);
    for (int waited = 0; waited < WAIT_MS; waited++) {
        event_base_loop(fixture->services.base, EVLOOP_NONBLOCK);
        if (poll(&(struct pollfd){.fd = pledge, .events = POLLIN}, 1, 1) == 1)
            break;
    }
    assert_true(recvfrom(pledge, octets, sizeof octets, 0, &from.address.any, &from.len) > 0);
    snprintf(text, sizeof text, "[fe80::1%%far]:%u", fixture->settings.discovery.port);
    assert_int_equal(endpoint_parse(text, &ours), STATUS_OK);
    assert_true(endpoint_equal(&from, &ours));
    close(pledge);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(jpd_1_pledges_are_told_the_join_ports), TEST(jpd_2_older_names_are_a_knob),
        TEST(jp_9_strangers_are_not_answered),       TEST(jp_10_queries_count_as_traffic),
        TEST(jp_10_answers_count_as_traffic),        TEST(a_port_that_is_taken_is_told),
        TEST(jpd_1_the_group_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
