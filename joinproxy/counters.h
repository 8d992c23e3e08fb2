/* What the join proxy counts. Each name stands once, in counters.c, at the index of its enum. */
#ifndef ESTUARY_JOINPROXY_COUNTERS_H
#define ESTUARY_JOINPROXY_COUNTERS_H

#include "common/metrics.h"

enum counter {
    COUNTER_PLEDGE_DATAGRAMS,
    COUNTER_PLEDGE_OCTETS,
    COUNTER_STRANGERS,          /* dropped: not link-local, or not on an interface with pledges (JP-9) */
    COUNTER_RATE_LIMITED,       /* dropped, either direction (JP-10) */
    COUNTER_UNKNOWN_NEIGHBOURS, /* dropped: too many answers wait for pledges that nobody knows */
    COUNTER_REGISTRAR_DATAGRAMS,
    COUNTER_REGISTRAR_OCTETS,
    COUNTER_MAPPINGS, /* of the stateful mode, now */
    COUNTER_MAPPINGS_CREATED,
    COUNTER_MAPPINGS_EXPIRED,
    COUNTER_MAPPINGS_REFUSED,   /* JP-7 */
    COUNTER_MAPPINGS_DISPLACED, /* of invented pledges, by others */
    COUNTER_ICMP_REFUSALS,      /* administratively prohibited, sent */
    COUNTER_ICMP_PASSED_ON,     /* JP-8 */
    COUNTER_NO_ROUTE,           /* dropped: the registrar cannot be reached from here */
    COUNTER_JPY_SENT,
    COUNTER_JPY_TOO_LARGE,   /* dropped (JPY-5) */
    COUNTER_JPY_UNSEALABLE,  /* dropped: no header holds the pledge's address */
    COUNTER_JPY_MALFORMED,   /* dropped */
    COUNTER_JPY_FORGED,      /* dropped: the header is not ours */
    COUNTER_JPY_UNREACHABLE, /* dropped: the header's interface is gone */
    COUNTER_KEYS_ROTATED,
    COUNTER_PLEDGE_QUERIES,
    COUNTER_PLEDGE_ANSWERS,
    COUNTER_SEARCHES,
    COUNTER_REGISTRARS_FOUND,
    COUNTER_COUNT
};

/* Gives; NULL: no memory. */
struct metrics *counters_create(void);

#endif
