/* The unsecured port over real sockets: DTLS-1, DISC-3 to DISC-6, JPD-3, JPD-5. */
#include "registrar/downstream/discovery_port.h"

#include "common/coap_message.h"
#include "common/leisure.h"
#include "common/monotonic.h"
#include "common/udp_socket.h"
#include "registrar/counters.h"
#include "tests/unit/veth_link.h"

#include <event2/event.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COAPS_PORT 61617
#define WAIT_MS    8000 /* longer than the leisure */
#define GROUP_V4   "224.0.1.187"
#define QUERY                                                                                                \
    BYTES_LITERAL("\x51\x01\x12\x34t\xbb.well-known\x04"                                                     \
                  "core\x4brt=ace.est*")
#define QUERY_WITHOUT_MATCH                                                                                  \
    BYTES_LITERAL("\x51\x01\x12\x34t\xbb.well-known\x04"                                                     \
                  "core\x49rt=nosuch")
#define QUERY_FOR_JPY                                                                                        \
    BYTES_LITERAL("\x51\x01\x12\x34t\xbb.well-known\x04"                                                     \
                  "core\x4crt=brski.rjp")
#define QUERY_FOR_PROXY                                                                                      \
    BYTES_LITERAL("\x51\x01\x12\x34t\xbb.well-known\x04"                                                     \
                  "core\x4a"                                                                                 \
                  "brski-jp=*")
#define EST_REQUEST                                                                                          \
    BYTES_LITERAL("\x41\x01\x12\x34t\xb3"                                                                    \
                  "est\x04"                                                                                  \
                  "crts")

struct fixture {
    struct settings settings;
    struct event_base *base;
    struct metrics *metrics;
    struct discovery_port *port;
    struct buffer errors;
    struct endpoint local;          /* of the first listener */
    struct listen_addresses listen; /* where EST is said to be */
};

static char root[] = "/est";
static struct fixture fixture;

static void serve_at(const char *text)
{
    assert_int_equal(endpoint_parse(text, &fixture.listen.coaps.items[fixture.listen.coaps.count++]),
                     STATUS_OK);
}

static int set_up(void **state)
{
    (void)state;
    fixture = (struct fixture){
        .settings = {.coap.block_size = 512, .est = {.root = root, .att = true}},
        .base = event_base_new(),
        .metrics = counters_create(),
    };
    buffer_init(&fixture.errors, 4096);
    serve_at("[::]:61617");
    return fixture.base == NULL || fixture.metrics == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    discovery_port_free(fixture.port);
    buffer_free(&fixture.errors);
    metrics_free(fixture.metrics);
    event_base_free(fixture.base);
    return 0;
}

static void listen_at(const char *text)
{
    struct settings_endpoints *endpoints = &fixture.settings.listen.discovery;
    assert_int_equal(endpoint_parse(text, &endpoints->items[endpoints->count++]), STATUS_OK);
}

static void join_on(char *interface)
{
    struct settings_strings *names = &fixture.settings.listen.multicast_interfaces;
    names->items[names->count++] = interface;
}

static bool create_port(void)
{
    struct settings_endpoints addresses;
    fixture.port = discovery_port_create(&fixture.settings, &fixture.listen, fixture.base, fixture.metrics,
                                         &fixture.errors);
    if (fixture.port == NULL)
        return false;
    discovery_port_addresses(fixture.port, &addresses);
    assert_int_equal(addresses.count, fixture.settings.listen.discovery.count);
    fixture.local = addresses.items[0];
    return true;
}

static struct endpoint at(const char *address)
{
    char text[ENDPOINT_TEXT_MAX];
    struct endpoint parsed;
    snprintf(text, sizeof text, "%s:%u", address, endpoint_port(&fixture.local));
    assert_int_equal(endpoint_parse(text, &parsed), STATUS_OK);
    return parsed;
}

/* A client that hears only the very address that it asked. */
static int connected_to(const char *address)
{
    struct endpoint server = at(address);
    int fd = socket(server.address.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &server.address.any, server.len), 0);
    return fd;
}

static void on_timeout(evutil_socket_t fd, short what, void *user)
{
    (void)fd;
    (void)what;
    *(bool *)user = true;
}

/* Runs the port until the client has something to read; false: nothing came. */
static bool run_until_readable(int client, long wait_ms)
{
    bool readable = false, too_late = false;
    struct timeval wait = {wait_ms / 1000, wait_ms % 1000 * 1000};
    struct event *answer = event_new(fixture.base, client, EV_READ, on_timeout, &readable);
    struct event *limit = evtimer_new(fixture.base, on_timeout, &too_late);
    event_add(answer, NULL);
    evtimer_add(limit, &wait);
    while (!readable && !too_late)
        event_base_loop(fixture.base, EVLOOP_ONCE);
    event_free(answer);
    event_free(limit);
    return readable;
}

static struct coap_message answer_to(int client, struct bytes datagram,
                                     uint8_t octets[static UDP_DATAGRAM_MAX])
{
    struct coap_message message;
    assert_int_equal(send(client, datagram.at, datagram.len, 0), datagram.len);
    assert_true(run_until_readable(client, WAIT_MS));
    ssize_t len = recv(client, octets, UDP_DATAGRAM_MAX, 0);
    assert_true(len > 0);
    assert_int_equal(coap_message_parse((struct bytes){octets, (size_t)len}, &message), STATUS_OK);
    return message;
}

static void assert_first_link(const struct coap_message *answer, const char *authority)
{
    char link[200];
    int len = snprintf(link, sizeof link, "<coaps://%s:%d/est/crts>;rt=\"ace.est.crts\";ct=\"281 287 62\",",
                       authority, COAPS_PORT);
    assert_int_equal(answer->code, CM_CONTENT);
    assert_in_range(answer->payload.len, len, 512);
    assert_memory_equal(answer->payload.at, link, len);
}

static void assert_links_name(const char *address)
{
    uint8_t octets[UDP_DATAGRAM_MAX];
    int client = connected_to(address);
    struct coap_message answer = answer_to(client, QUERY, octets);
    assert_int_equal(answer.type, CM_NON);
    assert_memory_equal(answer.token, "t", 1);
    assert_first_link(&answer, address);
    close(client);
}

static void disc_3_links_name_the_address_that_was_asked(void **state)
{
    (void)state;
    listen_at("[::]:0");
    assert_true(create_port());
    assert_links_name("127.0.0.1");
    assert_links_name("127.0.0.2");
    assert_links_name("[::1]");
    assert_int_equal(metrics_get(fixture.metrics, COUNTER_DATAGRAMS_RECEIVED), 3);
    assert_int_equal(metrics_get(fixture.metrics, COUNTER_MESSAGES_RECEIVED), 3);
}

/* Links name an address and a port where somebody listens. */
static void disc_3_links_name_a_coaps_address(void **state)
{
    (void)state;
    static const struct {
        const char *coaps[3], *asked, *authority;
    } rows[] = {
        {{"127.0.0.1:1000", "[::1]:2000"}, "127.0.0.1", "127.0.0.1:1000"},
        {{"127.0.0.1:1000", "[::1]:2000"}, "[::1]", "[::1]:2000"},
        {{"[::]:1000", "127.0.0.1:2000"}, "127.0.0.1", "127.0.0.1:2000"},
        {{"[::]:1000", "127.0.0.1:2000"}, "127.0.0.2", "127.0.0.2:1000"},
        {{"[::]:1000", "127.0.0.1:2000"}, "[::1]", "[::1]:1000"},
        {{"127.0.0.9:1000", "0.0.0.0:2000"}, "127.0.0.1", "127.0.0.1:2000"},
        {{"127.0.0.9:1000", "0.0.0.0:2000"}, "[::1]", "127.0.0.9:1000"},
        {{"127.0.0.9:1000", "127.0.0.8:1000"}, "127.0.0.1", "127.0.0.9:1000"},
        {{"0.0.0.0:1000"}, "[::1]", "[::1]:1000"}, /* at a loss */
    };
    listen_at("[::]:0");
    assert_true(create_port());
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t octets[UDP_DATAGRAM_MAX];
        char link[100];
        fixture.listen.coaps.count = 0;
        for (size_t j = 0; j < 3 && rows[i].coaps[j] != NULL; j++)
            serve_at(rows[i].coaps[j]);
        int client = connected_to(rows[i].asked);
        struct coap_message answer = answer_to(client, QUERY, octets);
        int len = snprintf(link, sizeof link, "<coaps://%s/est/crts>;", rows[i].authority);
        assert_in_range(answer.payload.len, len, 512);
        assert_memory_equal(answer.payload.at, link, len);
        close(client);
    }
}

/* JPD-3, JPD-5: by the address that was asked; the JPY port may be at another. */
static void jpd_3_and_5_other_ways_are_told(void **state)
{
    (void)state;
    static char jpy[] = "jpy";
    static const struct {
        const char *jpy, *coaps, *answer;
        bool brski_jp;
    } rows[] = {
        {NULL, "[::]:1000", "", false},
        {NULL, "[::]:1000", "<>;brski-jp=1000", true},
        {NULL, "127.0.0.1:1000", "<>;brski-jp=1000", true},
        {NULL, "127.0.0.9:1000", "", true}, /* EST is not at the address that answers */
        {"[::]:2000", "127.0.0.9:1000", "<jpy://127.0.0.1:2000>;rt=brski.rjp", true},
        {"192.0.2.1:2000", "127.0.0.9:1000", "<jpy://192.0.2.1:2000>;rt=brski.rjp", true},
    };
    fixture.settings.jpy.schemes = (struct settings_strings){{jpy}, 1};
    listen_at("127.0.0.1:0");
    assert_true(create_port());
    int client = connected_to("127.0.0.1");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t octets[UDP_DATAGRAM_MAX];
        fixture.listen = (struct listen_addresses){.coaps.count = 0};
        fixture.settings.listen.brski_jp = rows[i].brski_jp;
        serve_at(rows[i].coaps);
        if (rows[i].jpy != NULL)
            assert_int_equal(
                endpoint_parse(rows[i].jpy, &fixture.listen.jpy.items[fixture.listen.jpy.count++]),
                STATUS_OK);
        struct coap_message answer =
            answer_to(client, rows[i].jpy != NULL ? QUERY_FOR_JPY : QUERY_FOR_PROXY, octets);
        assert_true(bytes_equal(answer.payload, bytes_from_string(rows[i].answer)));
    }
    close(client);
}

static void every_listener_answers(void **state)
{
    (void)state;
    listen_at("127.0.0.1:0");
    listen_at("[::1]:0");
    assert_true(create_port());
    struct settings_endpoints addresses;
    discovery_port_addresses(fixture.port, &addresses);
    assert_links_name("127.0.0.1");
    fixture.local = addresses.items[1];
    assert_links_name("[::1]");
}

static void dtls_1_est_is_refused_and_the_port_lives_on(void **state)
{
    (void)state;
    uint8_t octets[UDP_DATAGRAM_MAX];
    listen_at("127.0.0.1:0");
    assert_true(create_port());
    int client = connected_to("127.0.0.1");
    struct coap_message answer = answer_to(client, EST_REQUEST, octets);
    assert_int_equal(answer.type, CM_ACK);
    assert_int_equal(answer.code, CM_NOT_FOUND);
    answer = answer_to(client, BYTES_LITERAL("\x40\x01\x12\x34\xff"), octets);
    assert_int_equal(answer.type, CM_RST);
    answer = answer_to(client, BYTES_LITERAL("\x40\x00\x12\x34"), octets);
    assert_int_equal(answer.type, CM_RST);
    answer = answer_to(client, QUERY_WITHOUT_MATCH, octets);
    assert_int_equal(answer.code, CM_CONTENT); /* DISC-6 */
    assert_int_equal(answer.payload.len, 0);
    assert_int_equal(metrics_get(fixture.metrics, COUNTER_MESSAGES_MALFORMED), 1);
    close(client);
}

static void a_duplicate_gets_the_same_links(void **state)
{
    (void)state;
    uint8_t first[UDP_DATAGRAM_MAX], second[UDP_DATAGRAM_MAX];
    listen_at("127.0.0.1:0");
    assert_true(create_port());
    int client = connected_to("127.0.0.1");
    struct coap_message one = answer_to(client, QUERY, first), two = answer_to(client, QUERY, second);
    assert_true(bytes_equal(one.payload, two.payload));
    close(client);
}

/* A socket that asks groups through interface. */
static int group_client(int family, const char *interface)
{
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    struct ip_mreqn via = {.imr_ifindex = (int)if_nametoindex(interface)};
    struct sockaddr_in loopback = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (family == AF_INET)
        assert_int_equal(bind(fd, (struct sockaddr *)&loopback, sizeof loopback), 0);
    if (family == AF_INET)
        assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &via, sizeof via), 0);
    return fd;
}

static void ask_group(int client, const struct endpoint *group, struct bytes datagram)
{
    assert_int_equal(sendto(client, datagram.at, datagram.len, 0, &group->address.any, group->len),
                     datagram.len);
}

/* Collects answers until none comes any more; returns how many. */
static size_t collect_answers(int client, size_t expected, struct endpoint *from, uint64_t *last_ms)
{
    size_t count = 0;
    while (count < expected && run_until_readable(client, WAIT_MS)) {
        uint8_t octets[UDP_DATAGRAM_MAX];
        struct coap_message answer;
        from->len = sizeof from->address;
        ssize_t len = recvfrom(client, octets, sizeof octets, 0, &from->address.any, &from->len);
        assert_true(len > 0);
        assert_int_equal(coap_message_parse((struct bytes){octets, (size_t)len}, &answer), STATUS_OK);
        assert_int_equal(answer.type, CM_NON);
        assert_int_equal(answer.code, CM_CONTENT);
        assert_true(answer.payload.len > 0);
        *last_ms = monotonic_ms();
        count++;
    }
    return count;
}

static void disc_5_a_group_is_answered_within_the_leisure(void **state)
{
    (void)state;
    char lo[] = "lo";
    struct endpoint from;
    uint64_t last_ms = 0;
    listen_at("[::]:0");
    join_on(lo);
    assert_true(create_port());
    int client = group_client(AF_INET, "lo");
    struct endpoint group = at(GROUP_V4);
    uint64_t start_ms = monotonic_ms();
    ask_group(client, &group, QUERY_WITHOUT_MATCH); /* and this one is not */
    for (int i = 0; i < 8; i++)
        ask_group(client, &group, QUERY);
    assert_int_equal(collect_answers(client, 8, &from, &last_ms), 8);
    assert_in_range(last_ms - start_ms, 100, 5500); /* eight of eight within 100 ms: once in 10^13 runs */
    assert_int_equal(from.address.v4.sin_addr.s_addr, htonl(INADDR_LOOPBACK)); /* no group */
    assert_int_equal(endpoint_port(&from), endpoint_port(&fixture.local));
    assert_false(run_until_readable(client, 50));
    close(client);
}

static void delayed_answers_are_bounded(void **state)
{
    (void)state;
    char lo[] = "lo";
    listen_at("0.0.0.0:0");
    join_on(lo);
    assert_true(create_port());
    int client = group_client(AF_INET, "lo");
    struct endpoint group = at(GROUP_V4);
    /* Asked faster than any leisure ends: what is over the bound is dropped and counted. */
    for (uint64_t i = 1; i <= 4 * LEISURE_ANSWERS_MAX; i++) {
        ask_group(client, &group, QUERY);
        while (metrics_get(fixture.metrics, COUNTER_MESSAGES_RECEIVED) < i)
            event_base_loop(fixture.base, EVLOOP_ONCE);
    }
    assert_in_range(metrics_get(fixture.metrics, COUNTER_MESSAGES_DROPPED), 1, 3 * LEISURE_ANSWERS_MAX);
    close(client);
}

/* RFC 7252 section 11.3: whoever forges senders' addresses gets no more than so much out of it. */
static void what_is_sent_is_bounded(void **state)
{
    (void)state;
    enum { ASKED = 1000, BURST = 300, PER_S = 50 };
    uint8_t octets[UDP_DATAGRAM_MAX];
    listen_at("127.0.0.1:0");
    assert_true(create_port());
    int client = connected_to("127.0.0.1");
    uint64_t begin_ms = monotonic_ms(), answers = 0;
    for (uint64_t i = 1; i <= ASKED; i++) {
        assert_int_equal(send(client, QUERY.at, QUERY.len, 0), QUERY.len);
        while (metrics_get(fixture.metrics, COUNTER_DATAGRAMS_RECEIVED) < i)
            event_base_loop(fixture.base, EVLOOP_ONCE);
        while (recv(client, octets, sizeof octets, MSG_DONTWAIT) > 0)
            answers++;
    }
    uint64_t elapsed_ms = monotonic_ms() - begin_ms;
    assert_in_range(answers, BURST, BURST + elapsed_ms * PER_S / 1000 + 1);
    assert_int_equal(metrics_get(fixture.metrics, COUNTER_DATAGRAMS_DROPPED), ASKED - answers);
    close(client);
}

static void errors_name_path_value_and_cure(void **state)
{
    (void)state;
    char nosuch[] = "nosuchif", lo[] = "lo", text[ENDPOINT_TEXT_MAX], expected[200];
    struct endpoint any, taken;
    int fd;
    assert_int_equal(endpoint_parse("127.0.0.1:0", &any), STATUS_OK);
    assert_int_equal(udp_socket_open(&any, UDP_EXCLUSIVE, &fd), STATUS_OK);
    assert_int_equal(udp_socket_local(fd, &taken), STATUS_OK);
    listen_at("127.0.0.1:0");
    listen_at(endpoint_format(&taken, text));
    listen_at("198.51.100.1:5683");
    assert_false(create_port());
    const char *errors = buffer_string(&fixture.errors);
    snprintf(expected, sizeof expected,
             "listen.discovery[1]: \"%s\" cannot be opened: Address already in use; use", text);
    assert_non_null(strstr(errors, expected));
    assert_non_null(strstr(errors,
                           "listen.discovery[2]: \"198.51.100.1:5683\" cannot be opened: Cannot assign "
                           "requested address; use an address that this host has"));
    close(fd);

    buffer_reset(&fixture.errors);
    fixture.settings.listen.discovery.count = 1;
    join_on(lo);
    assert_false(create_port());
    assert_non_null(strstr(buffer_string(&fixture.errors),
                           "listen.multicast_interfaces[0]: \"lo\" needs a wildcard address"));

    buffer_reset(&fixture.errors);
    fixture.settings.listen.discovery.count = 0;
    listen_at("[::]:0");
    join_on(nosuch);
    assert_false(create_port());
    errors = buffer_string(&fixture.errors);
    assert_non_null(strstr(errors,
                           "listen.multicast_interfaces[1]: \"nosuchif\" cannot join ff02::fd: No such "
                           "device; use an interface"));
    assert_null(strstr(errors, "\"lo\""));
}

static void no_listener_is_allowed(void **state)
{
    (void)state;
    struct settings_endpoints addresses;
    fixture.port = discovery_port_create(&fixture.settings, &fixture.listen, fixture.base, fixture.metrics,
                                         &fixture.errors);
    assert_non_null(fixture.port);
    discovery_port_addresses(fixture.port, &addresses);
    assert_int_equal(addresses.count, 0);
    discovery_port_free(NULL);
}

/* Runs last: it leaves the network namespace of the others. */
static void disc_5_link_local_group(void **state)
{
    (void)state;
    char far[] = "far";
    uint8_t octets[UDP_DATAGRAM_MAX];
    if (!veth_link_make())
        fail_msg("%s", VETH_LINK_NEEDS);
    listen_at("[::]:0");
    join_on(far);
    assert_true(create_port());
    int client = group_client(AF_INET6, "near");
    struct endpoint group = at("[ff02::fd]"), from = {.len = sizeof from.address};
    group.address.v6.sin6_scope_id = if_nametoindex("near");
    ask_group(client, &group, QUERY);
    assert_true(run_until_readable(client, WAIT_MS));
    ssize_t len = recvfrom(client, octets, sizeof octets, 0, &from.address.any, &from.len);
    struct coap_message answer;
    assert_int_equal(coap_message_parse((struct bytes){octets, (size_t)len}, &answer), STATUS_OK);
    assert_first_link(&answer, "[fe80::2]"); /* the interface's address, and no zone */
    struct endpoint expected = at("[fe80::2%near]");
    assert_true(endpoint_equal(&from, &expected));
    close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(disc_3_links_name_the_address_that_was_asked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(disc_3_links_name_a_coaps_address, set_up, tear_down),
        cmocka_unit_test_setup_teardown(jpd_3_and_5_other_ways_are_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_listener_answers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(dtls_1_est_is_refused_and_the_port_lives_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_duplicate_gets_the_same_links, set_up, tear_down),
        cmocka_unit_test_setup_teardown(disc_5_a_group_is_answered_within_the_leisure, set_up, tear_down),
        cmocka_unit_test_setup_teardown(delayed_answers_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_sent_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(errors_name_path_value_and_cure, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_listener_is_allowed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(disc_5_link_local_group, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
