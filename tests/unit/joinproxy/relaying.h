/* A join proxy's services on the loopback interface, with a clock of the test's, a pledge and a registrar. */
#ifndef ESTUARY_TESTS_UNIT_JOINPROXY_RELAYING_H
#define ESTUARY_TESTS_UNIT_JOINPROXY_RELAYING_H

#include "joinproxy/join_port.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MS    20000
#define SILENCE_MS 100

static uint64_t clock_ms = 100000;
static char loopback[] = "lo", no_file[] = "";

static inline uint64_t test_clock(void)
{
    return clock_ms;
}

struct relaying {
    struct settings settings;
    struct services services;
    struct stateful *stateful;
    struct header_keys *keys;
    struct join_port *port;
    struct endpoint registrar, join_address;
    int registrar_fd, pledge_fd;
};

static inline int open_local(struct endpoint *local)
{
    int fd;
    assert_int_equal(endpoint_parse("127.0.0.1:0", local), STATUS_OK);
    assert_int_equal(udp_socket_open(local, UDP_EXCLUSIVE, &fd), STATUS_OK);
    assert_int_equal(udp_socket_local(fd, local), STATUS_OK);
    return fd;
}

static inline int relaying_set_up(void **state)
{
    struct relaying *relaying = calloc(1, sizeof *relaying);
    struct endpoint pledge;
    struct buffer errors;
    buffer_init(&errors, 4096);
    relaying->settings =
        (struct settings){.pledge = {.interfaces = {{loopback}, 1}, .any_source = true},
                          .stateful = {30, 2, 3},
                          .stateless = {.mtu = 1280, .key_file = no_file, .key_lifetime_s = 60},
                          .limits = {1000, 1000000, 1000}};
    relaying->services = (struct services){.settings = &relaying->settings,
                                           .base = event_base_new(),
                                           .metrics = counters_create(),
                                           .batch = udp_batch_create(),
                                           .links = pledge_links_create(&relaying->settings.pledge),
                                           .limits = traffic_limits_create(&relaying->settings.limits),
                                           .icmp = icmp_port_create(),
                                           .neighbours = neighbours_create(),
                                           .now_ms = test_clock};
    relaying->stateful = stateful_create(&relaying->services);
    relaying->keys = header_keys_create(no_file, 60, 1000, &errors);
    relaying->port = join_port_create(&relaying->services, 0, NULL, &errors);
    assert_non_null(relaying->port);
    relaying->registrar_fd = open_local(&relaying->registrar);
    relaying->pledge_fd = open_local(&pledge);
    assert_int_equal(endpoint_parse("127.0.0.1:0", &relaying->join_address), STATUS_OK);
    relaying->join_address.address.v4.sin_port = htons(join_port_number(relaying->port));
    buffer_free(&errors);
    *state = relaying;
    return 0;
}

static inline int relaying_tear_down(void **state)
{
    struct relaying *relaying = *state;
    close(relaying->registrar_fd);
    close(relaying->pledge_fd);
    stateful_free(relaying->stateful);
    join_port_free(relaying->port);
    header_keys_free(relaying->keys);
    neighbours_free(relaying->services.neighbours);
    icmp_port_free(relaying->services.icmp);
    traffic_limits_free(relaying->services.limits);
    pledge_links_free(relaying->services.links);
    udp_batch_free(relaying->services.batch);
    metrics_free(relaying->services.metrics);
    event_base_free(relaying->services.base);
    free(relaying);
    return 0;
}

static inline void send_to(int fd, const struct endpoint *to, const void *octets, size_t len)
{
    assert_int_equal(sendto(fd, octets, len, 0, &to->address.any, to->len), len);
}

/* Lets the proxy work until the socket has something, and reads that; -1: nothing came in time. */
static inline ssize_t receive(struct relaying *relaying, int fd, uint8_t octets[static UDP_DATAGRAM_MAX],
                              struct endpoint *from, int within_ms)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    for (int waited = 0; waited <= within_ms; waited++) {
        event_base_loop(relaying->services.base, EVLOOP_NONBLOCK);
        if (poll(&readable, 1, 1) != 1)
            continue;
        from->len = sizeof from->address;
        return recvfrom(fd, octets, UDP_DATAGRAM_MAX, 0, &from->address.any, &from->len);
    }
    return -1;
}

static inline uint64_t count_of(const struct relaying *relaying, enum counter counter)
{
    return metrics_get(relaying->services.metrics, counter);
}

#endif
