/* The socket towards a registrar, on the loopback interface: JP-5, JP-8, JP-9, JPY-4. */
#include "joinproxy/registrar_socket.h"

#include "common/udp_socket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/icmp6.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MS    20000
#define SILENCE_MS 50

static int open_at(const char *text, struct endpoint *local)
{
    int fd;
    assert_int_equal(endpoint_parse(text, local), STATUS_OK);
    assert_int_equal(udp_socket_open(local, UDP_EXCLUSIVE, &fd), STATUS_OK);
    assert_int_equal(udp_socket_local(fd, local), STATUS_OK);
    return fd;
}

static struct endpoint own_address(int fd, const char *address)
{
    struct endpoint bound, own;
    char text[ENDPOINT_TEXT_MAX];
    assert_int_equal(udp_socket_local(fd, &bound), STATUS_OK);
    snprintf(text, sizeof text, "%s:%u", address, endpoint_port(&bound));
    assert_int_equal(endpoint_parse(text, &own), STATUS_OK);
    return own;
}

static bool is_readable(int fd, int within_ms)
{
    return poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, within_ms) == 1;
}

static void send_to(int fd, const struct endpoint *to, struct bytes octets)
{
    assert_int_equal(sendto(fd, octets.at, octets.len, 0, &to->address.any, to->len), octets.len);
}

/* The registrar's host has other ports, and other hosts have the same. */
static void only_the_registrar_is_heard(const char *registrar_at, const char *stranger_at, const char *own)
{
    struct endpoint registrar, stranger;
    uint8_t octets[16];
    int fd, server = open_at(registrar_at, &registrar), other = open_at(stranger_at, &stranger);
    assert_int_equal(registrar_socket_open(&registrar, 0, &fd), STATUS_OK);
    struct endpoint here = own_address(fd, own);
    send_to(other, &here, BYTES_LITERAL("forged"));
    assert_false(is_readable(fd, SILENCE_MS));
    send_to(server, &here, BYTES_LITERAL("true"));
    assert_true(is_readable(fd, WAIT_MS));
    assert_int_equal(recv(fd, octets, sizeof octets, 0), 4);

    registrar_socket_send(fd, BYTES_LITERAL("to you"));
    assert_true(is_readable(server, WAIT_MS));
    assert_int_equal(recv(server, octets, sizeof octets, 0), 6);
    assert_memory_equal(octets, "to you", 6);
    close(fd);
    close(server);
    close(other);
}

static void jp_9_only_the_registrar_is_heard(void **state)
{
    (void)state;
    only_the_registrar_is_heard("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1");
    only_the_registrar_is_heard("127.0.0.1:0", "127.0.0.2:0", "127.0.0.1");
    only_the_registrar_is_heard("[::1]:0", "[::1]:0", "[::1]");
}

/* JP-5 */
static void each_has_a_port_of_its_own(void **state)
{
    (void)state;
    struct endpoint registrar;
    int first, second, server = open_at("[::1]:0", &registrar);
    assert_int_equal(registrar_socket_open(&registrar, 0, &first), STATUS_OK);
    assert_int_equal(registrar_socket_open(&registrar, 0, &second), STATUS_OK);
    struct endpoint a = own_address(first, "[::1]"), b = own_address(second, "[::1]");
    assert_int_not_equal(endpoint_port(&a), endpoint_port(&b));
    int third;
    assert_int_equal(registrar_socket_open(&registrar, endpoint_port(&a), &third), STATUS_SYSTEM);
    assert_int_equal(errno, EADDRINUSE);
    close(first);
    assert_int_equal(registrar_socket_open(&registrar, endpoint_port(&a), &third), STATUS_OK);
    struct endpoint c = own_address(third, "[::1]");
    assert_int_equal(endpoint_port(&c), endpoint_port(&a));
    close(second);
    close(third);
    close(server);
}

/* JP-8: what the registrar's host reports becomes an error of ICMPv6, with the payload that met it. */
static void a_closed_port_is_reported(const char *at)
{
    struct endpoint registrar;
    struct icmp_error error;
    struct buffer payload;
    int fd;
    close(open_at(at, &registrar));
    buffer_init(&payload, UDP_DATAGRAM_MAX);
    assert_int_equal(registrar_socket_open(&registrar, 0, &fd), STATUS_OK);
    assert_false(registrar_socket_error(fd, &error, &payload));
    registrar_socket_send(fd, BYTES_LITERAL("anybody there?"));
    assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = 0}, 1, WAIT_MS), 1); /* POLLERR */
    assert_true(registrar_socket_error(fd, &error, &payload));
    assert_int_equal(error.type, ICMP6_DST_UNREACH);
    assert_int_equal(error.code, ICMP6_DST_UNREACH_NOPORT);
    assert_true(bytes_equal(buffer_view(&payload), BYTES_LITERAL("anybody there?")));
    assert_false(registrar_socket_error(fd, &error, &payload));
    registrar_socket_send(fd, BYTES_LITERAL("still usable"));
    buffer_free(&payload);
    close(fd);
}

static void jp_8_a_closed_port_is_reported(void **state)
{
    (void)state;
    a_closed_port_is_reported("127.0.0.1:0");
    a_closed_port_is_reported("[::1]:0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jp_9_only_the_registrar_is_heard),
        cmocka_unit_test(each_has_a_port_of_its_own),
        cmocka_unit_test(jp_8_a_closed_port_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
