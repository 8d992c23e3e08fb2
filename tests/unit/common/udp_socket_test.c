/* UDP sockets, over the real loopback interface, and over a link of our own for link-local addresses. */
#include "common/udp_socket.h"
#include "tests/unit/veth_link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TAKEN_MAX      64
#define WAIT_MS        5000
#define SILENCE_MS     100
#define GROUP_V4       "224.0.1.187"
#define OTHER_GROUP_V4 "224.0.1.188"
#define GROUP_V6       "ff02::fd"

/* What take saw; payloads are copied, because views end with the next receive. */
struct taken {
    struct udp_datagram datagrams[TAKEN_MAX];
    uint8_t first[TAKEN_MAX];
    size_t count;
};

static struct udp_batch *batch;
static struct taken taken;

static int set_up(void **state)
{
    (void)state;
    batch = udp_batch_create();
    taken.count = 0;
    return batch == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    udp_batch_free(batch);
    return 0;
}

static struct endpoint endpoint(const char *text)
{
    struct endpoint parsed;
    assert_int_equal(endpoint_parse(text, &parsed), STATUS_OK);
    return parsed;
}

/* "127.0.0.2:%u" with the port of fd. */
static struct endpoint at_port_of(const char *format_address, int fd)
{
    struct endpoint local;
    char text[ENDPOINT_TEXT_MAX];
    assert_int_equal(udp_socket_local(fd, &local), STATUS_OK);
    snprintf(text, sizeof text, "%s:%u", format_address, endpoint_port(&local));
    return endpoint(text);
}

static int opened(const char *text)
{
    int fd = -1;
    struct endpoint local = endpoint(text);
    assert_int_equal(udp_socket_open(&local, UDP_EXCLUSIVE, &fd), STATUS_OK);
    return fd;
}

/* A client in the strict sense: it hears only the very address that it asked. */
static int connected_to(const struct endpoint *server)
{
    int fd = socket(server->address.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &server->address.any, server->len), 0);
    return fd;
}

static bool is_readable(int fd, int wait_ms)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};
    return poll(&item, 1, wait_ms) == 1;
}

static void take(void *user, const struct udp_datagram *datagram)
{
    struct taken *to = user;
    assert_in_range(to->count, 0, TAKEN_MAX - 1);
    to->first[to->count] = datagram->payload.len > 0 ? datagram->payload.at[0] : 0;
    to->datagrams[to->count++] = *datagram;
}

static size_t receive(int fd)
{
    assert_true(is_readable(fd, WAIT_MS));
    return udp_socket_receive(fd, batch, take, &taken);
}

static void assert_text(const struct endpoint *actual, const struct endpoint *expected)
{
    char actual_text[ENDPOINT_TEXT_MAX], expected_text[ENDPOINT_TEXT_MAX];
    assert_string_equal(endpoint_format(actual, actual_text), endpoint_format(expected, expected_text));
}

/* A client asks address of the server and hears the answer from there. */
static void assert_answers_from(const char *bound, const char *asked)
{
    int server = opened(bound);
    struct endpoint to = at_port_of(asked, server);
    int client = connected_to(&to);
    char answer[8];
    taken.count = 0;
    assert_int_equal(send(client, "ask", 3, 0), 3);
    assert_int_equal(receive(server), 1);
    assert_int_equal(taken.datagrams[0].payload.len, 3);
    assert_memory_equal(taken.datagrams[0].payload.at, "ask", 3);
    assert_text(&taken.datagrams[0].local, &to);
    assert_false(taken.datagrams[0].multicast);
    assert_int_equal(taken.datagrams[0].interface, if_nametoindex("lo"));

    taken.datagrams[0].payload = BYTES_LITERAL("answer");
    udp_socket_send(server, &taken.datagrams[0]);
    assert_true(is_readable(client, WAIT_MS));
    assert_int_equal(recv(client, answer, sizeof answer, 0), 6);
    assert_memory_equal(answer, "answer", 6);
    close(client);
    close(server);
}

static void answers_leave_from_the_address_that_was_asked(void **state)
{
    (void)state;
    assert_answers_from("127.0.0.1:0", "127.0.0.1");
    assert_answers_from("0.0.0.0:0", "127.0.0.1");
    assert_answers_from("0.0.0.0:0", "127.0.0.2");
    assert_answers_from("[::1]:0", "[::1]");
    assert_answers_from("[::]:0", "[::1]");
    assert_answers_from("[::]:0", "127.0.0.1");
    assert_answers_from("[::]:0", "127.0.0.2");
}

static void flows_of_two_addresses_are_told_apart(void **state)
{
    (void)state;
    int server = opened("[::]:0");
    struct endpoint one = at_port_of("127.0.0.1", server), two = at_port_of("127.0.0.2", server);
    int client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(sendto(client, "1", 1, 0, &one.address.any, one.len), 1);
    assert_int_equal(receive(server), 1);
    assert_int_equal(sendto(client, "2", 1, 0, &two.address.any, two.len), 1);
    assert_int_equal(receive(server), 1);
    assert_true(endpoint_equal(&taken.datagrams[0].peer, &taken.datagrams[1].peer));
    assert_false(endpoint_equal(&taken.datagrams[0].local, &taken.datagrams[1].local));
    close(client);
    close(server);
}

static void sockets_do_not_block_and_are_closed_on_exec(void **state)
{
    (void)state;
    int fd = opened("127.0.0.1:0");
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(udp_socket_receive(fd, batch, take, &taken), 0);
    close(fd);
}

static void a_batch_is_bounded_and_the_rest_stays(void **state)
{
    (void)state;
    int server = opened("127.0.0.1:0");
    struct endpoint to = at_port_of("127.0.0.1", server);
    int client = connected_to(&to);
    for (uint8_t i = 0; i < UDP_BATCH_MAX + 8; i++)
        assert_int_equal(send(client, &i, 1, 0), 1);
    assert_int_equal(receive(server), UDP_BATCH_MAX);
    assert_int_equal(receive(server), 8);
    for (uint8_t i = 0; i < UDP_BATCH_MAX + 8; i++)
        assert_int_equal(taken.first[i], i);
    close(client);
    close(server);
}

static void a_datagram_too_long_is_dropped_and_its_neighbours_are_not(void **state)
{
    (void)state;
    static uint8_t octets[UDP_DATAGRAM_MAX + 1];
    int server = opened("127.0.0.1:0");
    struct endpoint to = at_port_of("127.0.0.1", server);
    int client = connected_to(&to);
    assert_int_equal(send(client, octets, UDP_DATAGRAM_MAX, 0), UDP_DATAGRAM_MAX);
    assert_int_equal(send(client, octets, UDP_DATAGRAM_MAX + 1, 0), UDP_DATAGRAM_MAX + 1);
    assert_int_equal(send(client, octets, 0, 0), 0);
    assert_int_equal(receive(server), 2);
    assert_int_equal(taken.datagrams[0].payload.len, UDP_DATAGRAM_MAX);
    assert_int_equal(taken.datagrams[1].payload.len, 0);
    close(client);
    close(server);
}

/* The buffers are used again: lengths and flags of the last round must not show through. */
static void a_batch_serves_two_sockets_in_turn(void **state)
{
    (void)state;
    int v4 = opened("127.0.0.1:0"), v6 = opened("[::1]:0");
    struct endpoint to_v4 = at_port_of("127.0.0.1", v4), to_v6 = at_port_of("[::1]", v6);
    int client_v4 = connected_to(&to_v4), client_v6 = connected_to(&to_v6);
    for (int round = 0; round < 3; round++) {
        taken.count = 0;
        assert_int_equal(send(client_v4, "4", 1, 0), 1);
        assert_int_equal(receive(v4), 1);
        assert_text(&taken.datagrams[0].local, &to_v4);
        assert_int_equal(send(client_v6, "six", 3, 0), 3);
        assert_int_equal(receive(v6), 1);
        assert_text(&taken.datagrams[1].local, &to_v6);
        assert_int_equal(taken.datagrams[1].payload.len, 3);
    }
    close(client_v4);
    close(client_v6);
    close(v4);
    close(v6);
}

/* An ICMP "port unreachable" for an earlier answer is reported to the next call on the socket. */
static void icmp_errors_do_not_stop_reading(void **state)
{
    (void)state;
    int server = opened("127.0.0.1:0"), client = opened("127.0.0.1:0");
    struct endpoint to_server = at_port_of("127.0.0.1", server), to_client = at_port_of("127.0.0.1", client);
    close(client);
    assert_int_equal(connect(server, &to_client.address.any, to_client.len),
                     0); /* else Linux tells nothing */
    assert_int_equal(send(server, "x", 1, 0), 1);
    assert_true(is_readable(server, WAIT_MS)); /* the error */
    assert_int_equal(udp_socket_open(&to_client, UDP_EXCLUSIVE, &client), STATUS_OK);
    assert_int_equal(sendto(client, "y", 1, 0, &to_server.address.any, to_server.len), 1);
    assert_int_equal(receive(server), 1);
    assert_int_equal(taken.first[0], 'y');
    close(client);
    close(server);
}

static void assert_in_use(const struct endpoint *local, enum udp_sharing sharing)
{
    int fd = -1;
    assert_int_equal(udp_socket_open(local, sharing, &fd), STATUS_SYSTEM);
    assert_int_equal(errno, EADDRINUSE);
    assert_int_equal(fd, -1);
}

static void an_exclusive_port_is_not_shared(void **state)
{
    (void)state;
    int first = opened("[::]:0");
    struct endpoint same = at_port_of("[::]", first), v4 = at_port_of("0.0.0.0", first);
    struct endpoint one = at_port_of("127.0.0.1", first);
    assert_in_use(&same, UDP_EXCLUSIVE);
    assert_in_use(&same, UDP_REUSEPORT);
    assert_in_use(&v4, UDP_EXCLUSIVE);
    assert_in_use(&one, UDP_EXCLUSIVE);
    close(first);
}

static void a_shared_port_is_shared_with_its_like_only(void **state)
{
    (void)state;
    struct endpoint any = endpoint("[::1]:0");
    int first = -1, second = -1;
    assert_int_equal(udp_socket_open(&any, UDP_REUSEPORT, &first), STATUS_OK);
    struct endpoint same = at_port_of("[::1]", first);
    assert_int_equal(udp_socket_open(&same, UDP_REUSEPORT, &second), STATUS_OK);
    assert_in_use(&same, UDP_EXCLUSIVE);
    close(first);
    close(second);
}

static void an_address_that_is_not_ours_cannot_be_opened(void **state)
{
    (void)state;
    int fd = -1;
    struct endpoint foreign = endpoint("198.51.100.1:0");
    assert_int_equal(udp_socket_open(&foreign, UDP_EXCLUSIVE, &fd), STATUS_SYSTEM);
    assert_int_equal(errno, EADDRNOTAVAIL);
}

/* A datagram to group on the interface called name. */
static void send_to_group(const char *group, const char *name, uint16_t port)
{
    char text[ENDPOINT_TEXT_MAX];
    snprintf(text, sizeof text, "%s:%u", group, port);
    struct endpoint to = endpoint(text);
    struct ip_mreqn via = {.imr_ifindex = (int)if_nametoindex(name)};
    int client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(client, IPPROTO_IP, IP_MULTICAST_IF, &via, sizeof via), 0);
    assert_int_equal(sendto(client, "g", 1, 0, &to.address.any, to.len), 1);
    close(client);
}

static void assert_hears_only_its_group(const char *bound)
{
    int server = opened(bound), neighbour = opened(bound);
    struct endpoint local;
    assert_int_equal(udp_socket_local(server, &local), STATUS_OK);
    assert_int_equal(udp_socket_join(server, GROUP_V4, "lo"), STATUS_OK);
    /* Joined by somebody else on this host: no business of the server's. */
    assert_int_equal(udp_socket_join(neighbour, OTHER_GROUP_V4, "lo"), STATUS_OK);
    send_to_group(OTHER_GROUP_V4, "lo", endpoint_port(&local));
    send_to_group(GROUP_V4, "lo", endpoint_port(&local));
    taken.count = 0;
    assert_int_equal(receive(server), 1);
    assert_true(taken.datagrams[0].multicast);
    assert_int_equal(taken.datagrams[0].interface, if_nametoindex("lo"));
    char text[ENDPOINT_TEXT_MAX];
    assert_memory_equal(endpoint_format(&taken.datagrams[0].local, text), GROUP_V4 ":", sizeof GROUP_V4);
    assert_false(is_readable(server, SILENCE_MS));
    close(server);
    close(neighbour);
}

static void disc_5_a_group_that_was_joined_is_heard(void **state)
{
    (void)state;
    assert_hears_only_its_group("0.0.0.0:0");
    assert_hears_only_its_group("[::]:0");
}

static void joining_fails_by_name_of_the_cause(void **state)
{
    (void)state;
    int fd = opened("[::]:0");
    assert_int_equal(udp_socket_join(fd, GROUP_V6, "nosuchif"), STATUS_SYSTEM);
    assert_int_equal(errno, ENODEV);
    assert_int_equal(udp_socket_join(fd, "all nodes", "lo"), STATUS_SYSTEM);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(udp_socket_join(fd, "2001:db8::1", "lo"), STATUS_SYSTEM);
    close(fd);
}

static void the_source_for_a_peer_is_found(void **state)
{
    (void)state;
    struct endpoint peer = endpoint("127.0.0.1:9"), source;
    char text[ENDPOINT_TEXT_MAX];
    assert_int_equal(udp_source_for(&peer, &source), STATUS_OK);
    assert_memory_equal(endpoint_format(&source, text), "127.0.0.1:", 10);
    peer = endpoint("[::1]:9");
    assert_int_equal(udp_source_for(&peer, &source), STATUS_OK);
    assert_memory_equal(endpoint_format(&source, text), "[::1]:", 6);
    peer = endpoint("[::ffff:127.0.0.1]:9");
    assert_int_equal(udp_source_for(&peer, &source), STATUS_OK);
    assert_memory_equal(endpoint_format(&source, text), "127.0.0.1:", 10);
    peer = endpoint("[fe80::1]:9"); /* no scope: on which link? */
    assert_int_equal(udp_source_for(&peer, &source), STATUS_SYSTEM);
}

/* Runs last: it leaves the network namespace of the others. */
static void link_local_flows_keep_their_scope(void **state)
{
    (void)state;
    if (!veth_link_make())
        fail_msg("%s", VETH_LINK_NEEDS);
    int server = opened("[::]:0"), client = opened("[::]:0");
    unsigned near = if_nametoindex("near"), far = if_nametoindex("far");
    assert_int_equal(udp_socket_join(server, GROUP_V6, "far"), STATUS_OK);
    struct endpoint group = at_port_of("[" GROUP_V6 "]", server);
    group.address.v6.sin6_scope_id = near;
    assert_int_equal(sendto(client, "g", 1, 0, &group.address.any, group.len), 1);
    assert_int_equal(receive(server), 1);
    assert_true(taken.datagrams[0].multicast);
    assert_int_equal(taken.datagrams[0].interface, far);
    assert_int_equal(taken.datagrams[0].local.address.v6.sin6_scope_id, far);
    assert_int_equal(taken.datagrams[0].peer.address.v6.sin6_scope_id, far);

    struct endpoint source;
    assert_int_equal(udp_source_for(&taken.datagrams[0].peer, &source), STATUS_OK);
    assert_true(IN6_IS_ADDR_LINKLOCAL(&source.address.v6.sin6_addr));
    assert_int_equal(source.address.v6.sin6_scope_id, far);

    /* Back along the link, first left to the kernel, then from the address just found. */
    taken.datagrams[0].payload = BYTES_LITERAL("1");
    udp_socket_send(server, &taken.datagrams[0]);
    assert_int_equal(receive(client), 1);
    assert_int_equal(taken.datagrams[1].interface, near);
    assert_false(taken.datagrams[1].multicast);
    assert_memory_equal(&taken.datagrams[1].peer.address.v6.sin6_addr, &source.address.v6.sin6_addr, 16);
    assert_int_equal(taken.datagrams[1].local.address.v6.sin6_scope_id, near);

    taken.datagrams[1].payload = BYTES_LITERAL("2");
    udp_socket_send(client, &taken.datagrams[1]); /* unicast: from local, on its interface */
    assert_int_equal(receive(server), 1);
    assert_false(taken.datagrams[2].multicast);
    assert_true(endpoint_equal(&taken.datagrams[2].peer, &taken.datagrams[0].peer));
    close(client);
    close(server);
}

static void count(void *user, const struct udp_datagram *datagram)
{
    (void)datagram;
    ++*(size_t *)user;
}

static size_t octets_that_the_kernel_grants(void)
{
    FILE *limit = fopen("/proc/sys/net/core/rmem_max", "r");
    unsigned long octets = 0;
    if (limit == NULL)
        return 0;
    if (fscanf(limit, "%lu", &octets) != 1)
        octets = 0;
    fclose(limit);
    return octets;
}

/* A thousand ClientHellos at once, of the size that Mbed TLS sends; the default buffer holds a quarter. */
static void a_burst_is_held(void **state)
{
    (void)state;
    if (octets_that_the_kernel_grants() < UDP_RECEIVE_OCTETS)
        skip();
    const uint8_t hello[139] = {22};
    int server = opened("127.0.0.1:0");
    struct endpoint local = at_port_of("127.0.0.1", server);
    int client = connected_to(&local);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(send(client, hello, sizeof hello, 0), sizeof hello);
    size_t counted = 0;
    while (udp_socket_receive(server, batch, count, &counted) > 0)
        continue;
    assert_int_equal(counted, 1000);
    close(client);
    close(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_leave_from_the_address_that_was_asked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(flows_of_two_addresses_are_told_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sockets_do_not_block_and_are_closed_on_exec, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_batch_is_bounded_and_the_rest_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_datagram_too_long_is_dropped_and_its_neighbours_are_not, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_batch_serves_two_sockets_in_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_burst_is_held, set_up, tear_down),
        cmocka_unit_test_setup_teardown(icmp_errors_do_not_stop_reading, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_exclusive_port_is_not_shared, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_shared_port_is_shared_with_its_like_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_address_that_is_not_ours_cannot_be_opened, set_up, tear_down),
        cmocka_unit_test_setup_teardown(disc_5_a_group_that_was_joined_is_heard, set_up, tear_down),
        cmocka_unit_test_setup_teardown(joining_fails_by_name_of_the_cause, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_source_for_a_peer_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(link_local_flows_keep_their_scope, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
