/* JP-10: answers to pledges that nobody knows do not stop those to others. On a link of its own, whose far
 * end answers for fe80::2 alone. */
#include "common/neighbours.h"
#include "common/udp_socket.h"

#include "tests/unit/veth_link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <net/if.h>
#include <string.h>
#include <unistd.h>

#define INVENTED_MAX 5000

static struct endpoint at(const char *text)
{
    struct endpoint endpoint;
    assert_int_equal(endpoint_parse(text, &endpoint), STATUS_OK);
    return endpoint;
}

/* A pledge that nobody has seen. */
static struct endpoint invent(unsigned number)
{
    struct endpoint pledge = at("[fe80::dead:0:0%near]:9");
    const uint32_t last = htonl(number);
    memcpy(pledge.address.v6.sin6_addr.s6_addr + 12, &last, sizeof last);
    return pledge;
}

/* An answer that goes nowhere, or no further than this host, does not wait. */
static void others_are_known(void **state)
{
    (void)state;
    struct neighbours *neighbours = neighbours_create();
    const struct endpoint here = at("[::1]:1"), v4 = at("127.0.0.1:1"), mapped = at("[::ffff:127.0.0.1]:1");
    assert_non_null(neighbours);
    assert_true(neighbours_know(neighbours, &here, 1));
    assert_true(neighbours_know(neighbours, &v4, 1));
    assert_true(neighbours_know(neighbours, &mapped, 1));
    neighbours_free(neighbours);
    neighbours_free(NULL);
}

static void run(const char *command)
{
    if (system(command) != 0)
        fail_msg("%s", command);
}

static void assert_known_after(struct neighbours *neighbours, const char *peer, const char *command)
{
    const struct endpoint endpoint = at(peer);
    assert_false(neighbours_know(neighbours, &endpoint, 0));
    run(command);
    assert_true(neighbours_know(neighbours, &endpoint, 0));
}

/* What counts is who comes first on the way: the peer on our own link, else its router. */
static void routes_are_followed(struct neighbours *neighbours)
{
    const struct endpoint own = at("[2001:db8::1]:9"), nowhere = at("[2001:db8:2::1]:9");
    run("ip addr add 2001:db8::1/64 dev near nodad; ip addr add 10.0.0.1/24 dev near; n=0; "
        "until ip -6 route get 2001:db8::1 | grep -q ^local; do n=$((n+1)); [ $n -lt 400 ] || exit 1; sleep "
        "0.05; done");
    run("until ip route get 2001:db8::1 | grep -q ^local; do sleep 0.01; done"); /* some time after */
    run("ip route add 2001:db8:1::/48 via 2001:db8::9; ip route add 10.1.0.0/16 via 10.0.0.9");
    assert_true(neighbours_know(neighbours, &own, 0));
    assert_true(neighbours_know(neighbours, &nowhere, 0));
#define ADD_NEIGHBOUR(address) "ip neigh add " address " lladdr 02:00:00:00:00:02 dev near nud stale"
    assert_known_after(neighbours, "[2001:db8::2]:9", ADD_NEIGHBOUR("2001:db8::2"));
    assert_known_after(neighbours, "[2001:db8:1::2]:9", ADD_NEIGHBOUR("2001:db8::9"));
    assert_known_after(neighbours, "10.0.0.2:9", ADD_NEIGHBOUR("10.0.0.2"));
    assert_known_after(neighbours, "[::ffff:10.0.0.3]:9", ADD_NEIGHBOUR("10.0.0.3"));
    assert_known_after(neighbours, "10.1.2.3:9", ADD_NEIGHBOUR("10.0.0.9"));
}

static void invented_pledges_wait_alone(void **state)
{
    (void)state;
    if (!veth_link_make())
        fail_msg("%s", VETH_LINK_NEEDS);
    struct neighbours *neighbours = neighbours_create();
    const unsigned interface = if_nametoindex("near"), other = if_nametoindex("far");
    const struct endpoint local = at("[fe80::1%near]:0"), real = at("[fe80::2%near]:9");
    int fd;
    assert_int_equal(udp_socket_open(&local, UDP_EXCLUSIVE, &fd), STATUS_OK);

    assert_false(neighbours_know(neighbours, &real, interface));
    run("ip -6 neigh add fe80::2 lladdr 02:00:00:00:00:02 dev near nud stale");
    assert_true(neighbours_know(neighbours, &real, interface));
    assert_false(neighbours_know(neighbours, &real, other));
    run("ip link set far arp off");
    assert_true(neighbours_know(neighbours, &real, other));
    run("ip link set far arp on");
    routes_are_followed(neighbours);

    struct udp_datagram datagram = {.interface = interface, .payload = BYTES_LITERAL("x"), .local.len = 0};
    unsigned sent = 0;
    do
        datagram.peer = invent(++sent);
    while (neighbours_admit(neighbours, fd, &datagram.peer, interface) &&
           (udp_socket_send(fd, &datagram), sent < INVENTED_MAX));
    assert_in_range(sent, 10, INVENTED_MAX - 1);
    assert_true(neighbours_admit(neighbours, fd, &real, interface));
    close(fd);
    neighbours_free(neighbours);
    run("ip link del near"); /* with all neighbours, of whom the kernel has one table for all namespaces */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_are_known),
        cmocka_unit_test(invented_pledges_wait_alone), /* last: it changes the network */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
