/* How much may pass: per interface and direction, and from each pledge address (JP-10). */
#ifndef ESTUARY_JOINPROXY_TRAFFIC_LIMITS_H
#define ESTUARY_JOINPROXY_TRAFFIC_LIMITS_H

#include "common/endpoint.h"
#include "joinproxy/settings.h"

struct traffic_limits;

/* Borrows settings. Gives; NULL: no memory or no randomness. */
struct traffic_limits *traffic_limits_create(const struct limit_settings *settings);
void traffic_limits_free(struct traffic_limits *limits);

/* Whether a pledge's datagram of so many octets on this link may pass, and takes it into account if so. One
 * pledge that floods uses up its own share first. Pledges' shares stand in a table of fixed size, found by a
 * keyed hash: two of them may have to share. */
bool traffic_limits_admit_up(struct traffic_limits *limits, size_t link, const struct endpoint *pledge,
                             size_t octets, uint64_t now_ms);

/* The same for a datagram towards a pledge. */
bool traffic_limits_admit_down(struct traffic_limits *limits, size_t link, size_t octets, uint64_t now_ms);

#endif
