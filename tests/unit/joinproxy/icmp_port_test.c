/* Errors told to a pledge by a raw socket: JP-7, JP-8. The pledge is a socket of ::1, whose kernel hears
 * them. */
#include "joinproxy/icmp_port.h"

#include "common/udp_socket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WAIT_MS  20000
#define START_MS 100000

struct fixture {
    int proxy, pledge; /* connected to the proxy's */
    struct endpoint proxy_address, pledge_address;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    assert_int_equal(endpoint_parse("[::1]:0", &fixture.proxy_address), STATUS_OK);
    fixture.pledge_address = fixture.proxy_address;
    assert_int_equal(udp_socket_open(&fixture.proxy_address, UDP_EXCLUSIVE, &fixture.proxy), STATUS_OK);
    assert_int_equal(udp_socket_open(&fixture.pledge_address, UDP_EXCLUSIVE, &fixture.pledge), STATUS_OK);
    assert_int_equal(udp_socket_local(fixture.proxy, &fixture.proxy_address), STATUS_OK);
    assert_int_equal(udp_socket_local(fixture.pledge, &fixture.pledge_address), STATUS_OK);
    assert_int_equal(connect(fixture.pledge, &fixture.proxy_address.address.any, fixture.proxy_address.len),
                     0);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    const struct fixture *fixture = *state;
    close(fixture->proxy);
    close(fixture->pledge);
    return 0;
}

static bool tell(struct icmp_port *port, const struct fixture *fixture, uint8_t code, uint64_t now_ms)
{
    const struct icmp_occasion occasion = {.error = {ICMP6_DST_UNREACH, code, 0},
                                           .pledge = &fixture->pledge_address,
                                           .local = &fixture->proxy_address,
                                           .interface = if_nametoindex("lo"),
                                           .payload = BYTES_LITERAL("what I sent")};
    return icmp_port_send(port, &occasion, now_ms);
}

/* What the pledge's next read says. */
static int error_of(const struct fixture *fixture)
{
    uint8_t octet;
    assert_int_equal(poll(&(struct pollfd){.fd = fixture->pledge, .events = POLLIN}, 1, WAIT_MS), 1);
    assert_int_equal(recv(fixture->pledge, &octet, 1, 0), -1);
    return errno;
}

static void jp_7_and_8_a_pledge_hears_errors(void **state)
{
    const struct fixture *fixture = *state;
    struct icmp_port *port = icmp_port_create();
    assert_non_null(port);
    if (!tell(port, fixture, ICMP6_DST_UNREACH_ADMIN, START_MS))
        fail_msg("no raw socket: this test needs root, or CAP_NET_RAW");
    assert_int_equal(error_of(fixture), EACCES);
    assert_true(tell(port, fixture, ICMP6_DST_UNREACH_NOPORT, START_MS));
    assert_int_equal(error_of(fixture), ECONNREFUSED);
    icmp_port_free(port);
}

/* RFC 4443 section 2.4 (f) */
static void few_a_second(void **state)
{
    const struct fixture *fixture = *state;
    struct icmp_port *port = icmp_port_create();
    unsigned sent = 0;
    for (unsigned i = 0; i < 30; i++)
        sent += tell(port, fixture, ICMP6_DST_UNREACH_ADMIN, START_MS) ? 1 : 0;
    assert_int_equal(sent, 10);
    assert_false(tell(port, fixture, ICMP6_DST_UNREACH_ADMIN, START_MS + 99));
    assert_true(tell(port, fixture, ICMP6_DST_UNREACH_ADMIN, START_MS + 100));
    icmp_port_free(port);
}

static void set_effective(struct __user_cap_data_struct *data, bool on)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct changed[2];
    assert_int_equal(syscall(SYS_capget, &header, data), 0);
    changed[0] = data[0];
    changed[1] = data[1];
    if (on)
        changed[0].effective |= 1u << CAP_NET_RAW;
    else
        changed[0].effective &= ~(1u << CAP_NET_RAW);
    assert_int_equal(syscall(SYS_capset, &header, changed), 0);
}

/* JP-7: then it is silent, and nothing else changes. */
static void without_permission_it_is_silent(void **state)
{
    const struct fixture *fixture = *state;
    struct __user_cap_data_struct before[2];
    set_effective(before, false);
    struct icmp_port *port = icmp_port_create();
    if ((before[0].permitted & 1u << CAP_NET_RAW) != 0)
        set_effective(before, true);
    assert_non_null(port);
    assert_false(tell(port, fixture, ICMP6_DST_UNREACH_ADMIN, START_MS));
    icmp_port_free(port);
    icmp_port_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(jp_7_and_8_a_pledge_hears_errors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(few_a_second, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_permission_it_is_silent, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
