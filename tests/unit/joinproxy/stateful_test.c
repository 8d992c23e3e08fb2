/* JP-1, JP-4 to JP-7: mappings, over loopback, with an injected clock. */
#include "common/log.h"
#include "tests/unit/joinproxy/relaying.h"

static uint8_t octets[UDP_DATAGRAM_MAX];

static int set_up(void **state)
{
    relaying_set_up(state);
    struct relaying *relaying = *state;
    join_port_set_route(relaying->port,
                        &(struct route){.registrar = relaying->registrar, .stateful = relaying->stateful});
    return 0;
}

/* A datagram from this socket of a pledge, as the registrar sees it; returns its source. */
static struct endpoint forwarded(struct relaying *relaying, int pledge_fd, const char *text)
{
    struct endpoint from;
    send_to(pledge_fd, &relaying->join_address, text, strlen(text));
    ssize_t len = receive(relaying, relaying->registrar_fd, octets, &from, WAIT_MS);
    assert_int_equal(len, strlen(text));
    assert_memory_equal(octets, text, (size_t)len);
    return from;
}

static void refused(struct relaying *relaying, int pledge_fd)
{
    struct endpoint from;
    send_to(pledge_fd, &relaying->join_address, "x", 1);
    assert_int_equal(receive(relaying, relaying->registrar_fd, octets, &from, SILENCE_MS), -1);
}

static void datagrams_go_both_ways(void **state)
{
    struct relaying *relaying = *state;
    struct endpoint from, there = forwarded(relaying, relaying->pledge_fd, "up");
    send_to(relaying->registrar_fd, &there, "down", 4);
    assert_int_equal(receive(relaying, relaying->pledge_fd, octets, &from, WAIT_MS), 4);
    assert_true(endpoint_equal(&from, &relaying->join_address));
    assert_memory_equal(octets, "down", 4);
    struct endpoint again = forwarded(relaying, relaying->pledge_fd, "again");
    assert_true(endpoint_equal(&there, &again));
    assert_int_equal(stateful_count(relaying->stateful), 1);
}

static void a_stranger_cannot_use_a_mapping(void **state)
{
    struct relaying *relaying = *state;
    struct endpoint from, local, there = forwarded(relaying, relaying->pledge_fd, "up");
    int stranger = open_local(&local);
    send_to(stranger, &there, "forged", 6);
    assert_int_equal(receive(relaying, relaying->pledge_fd, octets, &from, SILENCE_MS), -1);
    close(stranger);
}

/* JP-7: two of one address; none for a fourth on the interface either. */
static void limits(void **state)
{
    struct relaying *relaying = *state;
    struct endpoint local, other;
    int second = open_local(&local), third = open_local(&local);
    struct endpoint a = forwarded(relaying, relaying->pledge_fd, "1"), b = forwarded(relaying, second, "2");
    assert_false(endpoint_equal(&a, &b));
    refused(relaying, third);
    int elsewhere[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(endpoint_parse("127.0.0.2:0", &other), STATUS_OK);
        assert_int_equal(udp_socket_open(&other, UDP_EXCLUSIVE, &elsewhere[i]), STATUS_OK);
    }
    forwarded(relaying, elsewhere[0], "3");
    refused(relaying, elsewhere[1]);
    assert_int_equal(count_of(relaying, COUNTER_MAPPINGS_REFUSED), 2);
    assert_int_equal(stateful_count(relaying->stateful), 3);
    forwarded(relaying, relaying->pledge_fd, "those that are there go on");
    close(second);
    close(third);
    close(elsewhere[0]);
    close(elsewhere[1]);
}

/* The real timer would fire after 30 s: the one of another that is short shows the rule. */
static void jp_6_expiry_counts_from_the_last_datagram(void **state)
{
    struct relaying *relaying = *state;
    struct endpoint from;
    relaying->settings.stateful.idle_s = 1;
    struct endpoint there = forwarded(relaying, relaying->pledge_fd, "up");
    clock_ms += 900;
    send_to(relaying->registrar_fd, &there, "down", 4);
    assert_int_equal(receive(relaying, relaying->pledge_fd, octets, &from, WAIT_MS), 4);
    clock_ms += 200; /* 1.1 s after the first, 0.2 s after the last */
    for (int i = 0; i < 1200; i++) {
        event_base_loop(relaying->services.base, EVLOOP_NONBLOCK);
        usleep(1000);
    }
    assert_int_equal(stateful_count(relaying->stateful), 1);
    clock_ms += 800;
    for (int i = 0; i < 5000 && stateful_count(relaying->stateful) > 0; i++) {
        event_base_loop(relaying->services.base, EVLOOP_NONBLOCK);
        usleep(1000);
    }
    assert_int_equal(stateful_count(relaying->stateful), 0);
    assert_int_equal(count_of(relaying, COUNTER_MAPPINGS_EXPIRED), 1);
    assert_int_equal(count_of(relaying, COUNTER_MAPPINGS), 0);
}

static void without_a_route_nothing_passes(void **state)
{
    struct relaying *relaying = *state;
    join_port_set_route(relaying->port, &(struct route){.stateful = NULL});
    refused(relaying, relaying->pledge_fd);
    assert_int_equal(stateful_count(relaying->stateful), 0);
}

/* JP-9. */
static void only_link_local_pledges_pass(void **state)
{
    struct relaying *relaying = *state;
    relaying->settings.pledge.any_source = false;
    refused(relaying, relaying->pledge_fd);
    assert_int_equal(count_of(relaying, COUNTER_STRANGERS), 1);
}

/* JP-10, either direction. */
static void rates_are_limited(void **state)
{
    struct relaying *relaying = *state;
    struct endpoint from;
    relaying->settings.limits.interface_packets_per_s = 2;
    struct endpoint there = forwarded(relaying, relaying->pledge_fd, "1");
    forwarded(relaying, relaying->pledge_fd, "2");
    refused(relaying, relaying->pledge_fd);
    for (int i = 0; i < 3; i++)
        send_to(relaying->registrar_fd, &there, "down", 4);
    assert_int_equal(receive(relaying, relaying->pledge_fd, octets, &from, WAIT_MS), 4);
    assert_int_equal(receive(relaying, relaying->pledge_fd, octets, &from, WAIT_MS), 4);
    assert_int_equal(receive(relaying, relaying->pledge_fd, octets, &from, SILENCE_MS), -1);
    assert_int_equal(count_of(relaying, COUNTER_RATE_LIMITED), 2);
    clock_ms += 1000;
    forwarded(relaying, relaying->pledge_fd, "3");
}

/* A pledge causes one failure with each datagram where the registrar's network is not there: one line tells.
 */
static void failures_do_not_fill_the_log(void **state)
{
    struct relaying *relaying = *state;
    char lines[4096] = "";
    FILE *sink = tmpfile();
    assert_non_null(sink);
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, sink);
    relaying->registrar.address.v4.sin_addr.s_addr = INADDR_BROADCAST; /* connect: permission denied */
    join_port_set_route(relaying->port,
                        &(struct route){.registrar = relaying->registrar, .stateful = relaying->stateful});
    for (int i = 0; i < 5; i++)
        refused(relaying, relaying->pledge_fd);
    clock_ms += 10000;
    refused(relaying, relaying->pledge_fd);
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, stderr);
    rewind(sink);
    assert_in_range(fread(lines, 1, sizeof lines - 1, sink), 1, sizeof lines - 1);
    fclose(sink);
    unsigned count = 0;
    for (const char *at = lines; (at = strstr(at, "no socket towards 255.255.255.255")) != NULL; at++)
        count++;
    assert_int_equal(count, 2);
    assert_int_equal(count_of(relaying, COUNTER_NO_ROUTE), 6);
    assert_int_equal(count_of(relaying, COUNTER_MAPPINGS_REFUSED), 0);
}

static int open_pledge(const char *address)
{
    struct endpoint local;
    int fd;
    assert_int_equal(endpoint_parse(address, &local), STATUS_OK);
    assert_int_equal(udp_socket_open(&local, UDP_EXCLUSIVE, &fd), STATUS_OK);
    return fd;
}

/* Those that the test ends with. */
static void close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
}

/* JP-7: three seconds after the last datagram, who has never spoken again after an answer makes room; who
 * has, does not. */
static void invented_pledges_make_room(void **state)
{
    struct relaying *relaying = *state;
    struct endpoint from;
    const int fds[] = {open_pledge("127.0.0.2:0"), open_pledge("127.0.0.3:0"), open_pledge("127.0.0.4:0"),
                       open_pledge("127.0.0.5:0"), open_pledge("127.0.0.6:0")};
    struct endpoint there = forwarded(relaying, fds[0], "1");
    send_to(relaying->registrar_fd, &there, "down", 4);
    assert_int_equal(receive(relaying, fds[0], octets, &from, WAIT_MS), 4);
    forwarded(relaying, fds[0], "real");
    forwarded(relaying, fds[1], "2");
    forwarded(relaying, fds[2], "3");
    clock_ms += 2999;
    refused(relaying, fds[3]);
    clock_ms += 1;
    forwarded(relaying, fds[3], "4");
    forwarded(relaying, fds[4], "5");
    refused(relaying, fds[1]);
    assert_int_equal(count_of(relaying, COUNTER_MAPPINGS_DISPLACED), 2);
    struct endpoint still = forwarded(relaying, fds[0], "the same port");
    assert_true(endpoint_equal(&there, &still));
    assert_int_equal(stateful_count(relaying->stateful), 3);
    close_all(fds, sizeof fds / sizeof fds[0]);
}

/* JP-7: a pledge that tries again from other ports displaces itself, and nobody else while there is room. */
static void a_pledge_displaces_itself(void **state)
{
    struct relaying *relaying = *state;
    const int fds[] = {open_pledge("127.0.0.2:0"), open_pledge("127.0.0.3:0"), open_pledge("127.0.0.3:0"),
                       open_pledge("127.0.0.3:0")};
    forwarded(relaying, fds[0], "1");
    forwarded(relaying, fds[1], "2");
    clock_ms += 3000;
    forwarded(relaying, fds[2], "3");
    struct endpoint there = forwarded(relaying, fds[3], "from a third port");
    struct endpoint again = forwarded(relaying, fds[3], "again");
    assert_true(endpoint_equal(&there, &again));
    assert_int_equal(count_of(relaying, COUNTER_MAPPINGS_DISPLACED), 1);
    refused(relaying, fds[1]);
    forwarded(relaying, fds[0], "is still there");
    assert_int_equal(count_of(relaying, COUNTER_MAPPINGS_CREATED), 4);
    close_all(fds, sizeof fds / sizeof fds[0]);
}

/* JP-10: what is refused does not use up what others may send, nor does it make room for nothing. */
static void refusals_cost_others_nothing(void **state)
{
    struct relaying *relaying = *state;
    relaying->settings.limits.interface_packets_per_s = 5;
    const int fds[] = {open_pledge("127.0.0.2:0"), open_pledge("127.0.0.3:0"), open_pledge("127.0.0.4:0"),
                       open_pledge("127.0.0.5:0")};
    for (int i = 0; i < 3; i++)
        forwarded(relaying, fds[i], "x");
    for (int i = 0; i < 8; i++)
        refused(relaying, fds[3]);
    forwarded(relaying, fds[0], "4");
    forwarded(relaying, fds[0], "5");
    refused(relaying, fds[0]);
    assert_int_equal(count_of(relaying, COUNTER_RATE_LIMITED), 1);
    relaying->settings.limits.interface_packets_per_s = 0;
    clock_ms += 3000;
    refused(relaying, fds[3]);
    assert_int_equal(count_of(relaying, COUNTER_MAPPINGS_DISPLACED), 0);
    assert_int_equal(stateful_count(relaying->stateful), 3);
    close_all(fds, sizeof fds / sizeof fds[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(datagrams_go_both_ways, set_up, relaying_tear_down),
        cmocka_unit_test_setup_teardown(a_stranger_cannot_use_a_mapping, set_up, relaying_tear_down),
        cmocka_unit_test_setup_teardown(limits, set_up, relaying_tear_down),
        cmocka_unit_test_setup_teardown(jp_6_expiry_counts_from_the_last_datagram, set_up,
                                        relaying_tear_down),
        cmocka_unit_test_setup_teardown(without_a_route_nothing_passes, set_up, relaying_tear_down),
        cmocka_unit_test_setup_teardown(only_link_local_pledges_pass, set_up, relaying_tear_down),
        cmocka_unit_test_setup_teardown(rates_are_limited, set_up, relaying_tear_down),
        cmocka_unit_test_setup_teardown(failures_do_not_fill_the_log, set_up, relaying_tear_down),
        cmocka_unit_test_setup_teardown(invented_pledges_make_room, set_up, relaying_tear_down),
        cmocka_unit_test_setup_teardown(a_pledge_displaces_itself, set_up, relaying_tear_down),
        cmocka_unit_test_setup_teardown(refusals_cost_others_nothing, set_up, relaying_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
