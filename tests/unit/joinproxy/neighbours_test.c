/* JP-10: answers to pledges that nobody knows do not stop those to others. On a link of its own, whose far
 * end answers for fe80::2 alone. */
#include "joinproxy/neighbours.h"

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

/* Nothing is asked of the kernel where an answer leaves anyway. */
static void others_are_known(void **state)
{
    (void)state;
    struct neighbours *neighbours = neighbours_create();
    const struct endpoint routable = at("[2001:db8::1]:1"), v4 = at("127.0.0.1:1");
    assert_non_null(neighbours);
    assert_true(neighbours_know(neighbours, &routable, 1));
    assert_true(neighbours_know(neighbours, &v4, 1));
    neighbours_free(neighbours);
    neighbours_free(NULL);
}

static void invented_pledges_wait_alone(void **state)
{
    (void)state;
    if (!veth_link_make())
        fail_msg("%s", VETH_LINK_NEEDS);
    struct neighbours *neighbours = neighbours_create();
    const unsigned interface = if_nametoindex("near");
    const struct endpoint local = at("[fe80::1%near]:0");
    struct udp_datagram datagram = {.interface = interface, .payload = BYTES_LITERAL("x"), .local.len = 0};
    const struct endpoint real = at("[fe80::2%near]:9");
    int fd;
    assert_int_equal(udp_socket_open(&local, UDP_EXCLUSIVE, &fd), STATUS_OK);

    assert_false(neighbours_know(neighbours, &real, interface));
    assert_int_equal(system("ip -6 neigh add fe80::2 lladdr 02:00:00:00:00:02 dev near nud stale"), 0);
    assert_true(neighbours_know(neighbours, &real, interface));
    assert_false(neighbours_know(neighbours, &real, if_nametoindex("far")));

    unsigned sent = 0;
    do
        datagram.peer = invent(++sent);
    while (neighbours_admit(neighbours, fd, &datagram) &&
           (udp_socket_send(fd, &datagram), sent < INVENTED_MAX));
    assert_in_range(sent, 10, INVENTED_MAX - 1);
    datagram.peer = real;
    assert_true(neighbours_admit(neighbours, fd, &datagram));
    close(fd);
    neighbours_free(neighbours);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_are_known),
        cmocka_unit_test(invented_pledges_wait_alone), /* last: it changes the network */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
