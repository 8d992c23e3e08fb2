/* The join proxy as a whole, put together from its settings: JP-2, JP-4, JP-11, JPY-1. */
#include "joinproxy/join_proxy.h"

#include "common/udp_socket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/joinproxy/free_ports.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char loopback[] = "lo", missing[] = "nosuch0", no_file[] = "", group[] = "ff05::fd";

struct fixture {
    struct settings settings;
    struct buffer errors, warnings;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){
        .settings = {
            .mode = MODE_STATEFUL,
            .pledge = {.interfaces = {{loopback}, 1}},
            .stateful = {30, 2, 10},
            .stateless = {.mtu = 1280, .key_file = no_file, .key_lifetime_s = 86400},
            .limits = {500, 125000, 100},
            .discovery = {.group = group, .retry_s = 5, .retry_max_s = 300, .cache_s = 3600, .port = 5683}}};
    buffer_init(&fixture.errors, 4096);
    buffer_init(&fixture.warnings, 4096);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    buffer_free(&fixture->errors);
    buffer_free(&fixture->warnings);
    return 0;
}

static void add_registrar(struct fixture *fixture, const char *text)
{
    struct settings_endpoints *registrars = &fixture->settings.registrars;
    assert_int_equal(endpoint_parse(text, &registrars->items[registrars->count++]), STATUS_OK);
}

static int open_any(struct endpoint *local)
{
    int fd;
    assert_int_equal(endpoint_parse("[::]:0", local), STATUS_OK);
    assert_int_equal(udp_socket_open(local, UDP_EXCLUSIVE, &fd), STATUS_OK);
    assert_int_equal(udp_socket_local(fd, local), STATUS_OK);
    return fd;
}

/* JP-4, JP-11: one port for each registrar, one after the other, given back in the end. */
static void jp_11_each_registrar_has_a_join_port(void **state)
{
    struct fixture *fixture = *state;
    add_registrar(fixture, "127.0.0.1:5684");
    add_registrar(fixture, "127.0.0.1:5784");
    uint16_t first = three_free_ports();
    fixture->settings.pledge.join_port = first;
    struct join_proxy *proxy = join_proxy_create(&fixture->settings, &fixture->errors);
    assert_non_null(proxy);
    assert_false(port_is_free(first));
    assert_false(port_is_free((uint16_t)(first + 1)));
    assert_true(port_is_free((uint16_t)(first + 2)));
    join_proxy_free(proxy);
    assert_true(port_is_free(first));
    assert_true(port_is_free((uint16_t)(first + 1)));
}

/* JPY-1: and one of ours towards each in stateless mode. */
static void jpy_1_each_registrar_has_a_source_port(void **state)
{
    struct fixture *fixture = *state;
    add_registrar(fixture, "127.0.0.1:5690");
    add_registrar(fixture, "[::1]:5690");
    fixture->settings.mode = MODE_STATELESS;
    uint16_t first = three_free_ports();
    fixture->settings.stateless.source_port = first;
    struct join_proxy *proxy = join_proxy_create(&fixture->settings, &fixture->errors);
    assert_non_null(proxy);
    assert_false(port_is_free(first));
    assert_false(port_is_free((uint16_t)(first + 1)));
    join_proxy_free(proxy);
}

/* JP-2: without a registrar, one is looked for; until then there is a port, and nothing behind it. */
static void jp_2_without_a_registrar_it_looks_for_one(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.mode = MODE_AUTO;
    fixture->settings.discovery.registrar_interfaces = (struct settings_strings){{missing}, 1};
    struct join_proxy *proxy = join_proxy_create(&fixture->settings, &fixture->errors);
    assert_non_null(proxy);
    join_proxy_free(proxy);
    join_proxy_free(NULL);
}

static void what_is_taken_is_told(void **state)
{
    struct fixture *fixture = *state;
    struct endpoint taken;
    char expected[128];
    int fd = open_any(&taken);
    add_registrar(fixture, "127.0.0.1:5684");
    fixture->settings.pledge.join_port = endpoint_port(&taken);
    assert_null(join_proxy_create(&fixture->settings, &fixture->errors));
    snprintf(expected, sizeof expected,
             "pledge.join_port: \"[::]:%u\" cannot be opened: Address already in use", endpoint_port(&taken));
    assert_non_null(strstr(buffer_string(&fixture->errors), expected));
    close(fd);
}

static void serves_until_it_is_told_to_stop(void **state)
{
    struct fixture *fixture = *state;
    add_registrar(fixture, "127.0.0.1:5684");
    struct join_proxy *proxy = join_proxy_create(&fixture->settings, &fixture->errors);
    assert_non_null(proxy);
    raise(SIGUSR1);
    raise(SIGTERM); /* waits for the loop */
    assert_int_equal(join_proxy_run(proxy), STATUS_OK);
    join_proxy_free(proxy);
}

static void is_checked_without_opening_anything(void **state)
{
    struct fixture *fixture = *state;
    char file[] = "/tmp/join-proxy-keys-XXXXXX";
    int fd = mkstemp(file);
    fixture->settings.pledge.interfaces = (struct settings_strings){{loopback, missing}, 2};
    assert_int_equal(join_proxy_check(&fixture->settings, &fixture->errors, &fixture->warnings), STATUS_OK);
    assert_string_equal(
        buffer_string(&fixture->warnings),
        "pledge.interfaces[1]: \"nosuch0\" does not exist now; \"ip link\" shows those that do\n");

    assert_int_equal(write(fd, "junk", 4), 4);
    fixture->settings.stateless.key_file = file;
    assert_int_equal(join_proxy_check(&fixture->settings, &fixture->errors, &fixture->warnings),
                     STATUS_UNSUPPORTED);
    assert_non_null(strstr(buffer_string(&fixture->errors), "is not a file of header keys; remove it"));
    fixture->settings.mode = MODE_STATELESS;
    add_registrar(fixture, "127.0.0.1:5690");
    buffer_reset(&fixture->errors);
    assert_null(join_proxy_create(&fixture->settings, &fixture->errors));
    assert_non_null(strstr(buffer_string(&fixture->errors), "is not a file of header keys; remove it"));
    close(fd);
    unlink(file);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(jp_11_each_registrar_has_a_join_port),      TEST(jpy_1_each_registrar_has_a_source_port),
        TEST(jp_2_without_a_registrar_it_looks_for_one), TEST(what_is_taken_is_told),
        TEST(serves_until_it_is_told_to_stop),           TEST(is_checked_without_opening_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
