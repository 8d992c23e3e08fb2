#include "joinproxy/counters.h"

static const char *const names[COUNTER_COUNT] = {
    [COUNTER_PLEDGE_DATAGRAMS] = "pledge_datagrams",
    [COUNTER_PLEDGE_OCTETS] = "pledge_octets",
    [COUNTER_STRANGERS] = "strangers",
    [COUNTER_RATE_LIMITED] = "rate_limited",
    [COUNTER_UNKNOWN_NEIGHBOURS] = "unknown_neighbours",
    [COUNTER_REGISTRAR_DATAGRAMS] = "registrar_datagrams",
    [COUNTER_REGISTRAR_OCTETS] = "registrar_octets",
    [COUNTER_MAPPINGS] = "mappings",
    [COUNTER_MAPPINGS_CREATED] = "mappings_created",
    [COUNTER_MAPPINGS_EXPIRED] = "mappings_expired",
    [COUNTER_MAPPINGS_REFUSED] = "mappings_refused",
    [COUNTER_MAPPINGS_DISPLACED] = "mappings_displaced",
    [COUNTER_ICMP_REFUSALS] = "icmp_refusals",
    [COUNTER_ICMP_PASSED_ON] = "icmp_passed_on",
    [COUNTER_NO_ROUTE] = "no_route",
    [COUNTER_JPY_SENT] = "jpy_sent",
    [COUNTER_JPY_TOO_LARGE] = "jpy_too_large",
    [COUNTER_JPY_UNSEALABLE] = "jpy_unsealable",
    [COUNTER_JPY_MALFORMED] = "jpy_malformed",
    [COUNTER_JPY_FORGED] = "jpy_forged",
    [COUNTER_JPY_UNREACHABLE] = "jpy_unreachable",
    [COUNTER_KEYS_ROTATED] = "keys_rotated",
    [COUNTER_PLEDGE_QUERIES] = "pledge_queries",
    [COUNTER_PLEDGE_ANSWERS] = "pledge_answers",
    [COUNTER_SEARCHES] = "searches",
    [COUNTER_REGISTRARS_FOUND] = "registrars_found",
};

struct metrics *counters_create(void)
{
    return metrics_create(names, COUNTER_COUNT);
}
