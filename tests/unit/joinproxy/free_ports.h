/* UDP ports that nobody has, and that nobody is given meanwhile: the kernel hands out those above 32767 only.
 */
#ifndef ESTUARY_TESTS_UNIT_JOINPROXY_FREE_PORTS_H
#define ESTUARY_TESTS_UNIT_JOINPROXY_FREE_PORTS_H

#include "common/endpoint.h"
#include "common/udp_socket.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

static inline bool port_is_free(uint16_t port)
{
    struct endpoint any;
    int fd;
    char text[32];
    snprintf(text, sizeof text, "[::]:%u", port);
    assert_int_equal(endpoint_parse(text, &any), STATUS_OK);
    if (udp_socket_open(&any, UDP_EXCLUSIVE, &fd) != STATUS_OK)
        return false;
    close(fd);
    return true;
}

/* The first of three ports in a row. */
static inline uint16_t three_free_ports(void)
{
    enum { FIRST = 20000, ROWS = 4000 };
    for (unsigned row = (unsigned)getpid(), tries = 0; tries < ROWS; row++, tries++) {
        uint16_t port = (uint16_t)(FIRST + row % ROWS * 3);
        if (port_is_free(port) && port_is_free((uint16_t)(port + 1)) && port_is_free((uint16_t)(port + 2)))
            return port;
    }
    fail_msg("no three free ports");
    return 0;
}

#endif
