/* What the modules that relay share. */
#ifndef ESTUARY_JOINPROXY_SERVICES_H
#define ESTUARY_JOINPROXY_SERVICES_H

#include "common/metrics.h"
#include "common/neighbours.h"
#include "common/udp_socket.h"
#include "joinproxy/counters.h"
#include "joinproxy/icmp_port.h"
#include "joinproxy/pledge_links.h"
#include "joinproxy/settings.h"
#include "joinproxy/traffic_limits.h"

#include <event2/event.h>

/* All borrowed, for as long as anything relays. */
struct services {
    const struct settings *settings;
    struct event_base *base;
    struct metrics *metrics;
    struct udp_batch *batch;
    struct pledge_links *links;
    struct traffic_limits *limits;
    struct icmp_port *icmp;
    struct neighbours *neighbours;
    uint64_t (*now_ms)(void);
};

/* One datagram from a pledge that may pass, and where it is to go. */
struct pledge_datagram {
    const struct udp_datagram *datagram;
    size_t link;
    int pledge_fd; /* of the socket that it came to, and that answers */
    const struct endpoint *registrar;
};

#endif
