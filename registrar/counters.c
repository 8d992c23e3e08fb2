#include "registrar/counters.h"

static const char *const names[COUNTER_COUNT] = {
    [COUNTER_DATAGRAMS_RECEIVED] = "datagrams_received",
    [COUNTER_DATAGRAMS_DROPPED] = "datagrams_dropped",
    [COUNTER_COOKIES_SENT] = "cookies_sent",
    [COUNTER_COOKIES_REFUSED] = "cookies_refused",
    [COUNTER_HANDSHAKES_STARTED] = "handshakes_started",
    [COUNTER_HANDSHAKES_COMPLETED] = "handshakes_completed",
    [COUNTER_HANDSHAKES_FAILED] = "handshakes_failed",
    [COUNTER_HANDSHAKES_REFUSED] = "handshakes_refused",
    [COUNTER_FLIGHTS_RETRANSMITTED] = "flights_retransmitted",
    [COUNTER_ASSOCIATIONS] = "associations",
    [COUNTER_HANDSHAKES] = "handshakes",
    [COUNTER_ASSOCIATIONS_EVICTED] = "associations_evicted",
    [COUNTER_ASSOCIATIONS_EXPIRED] = "associations_expired",
    [COUNTER_JPY_MALFORMED] = "jpy_malformed",
    [COUNTER_JPY_REFUSED] = "jpy_refused",
    [COUNTER_JPY_LIMITED] = "jpy_limited",
    [COUNTER_MESSAGES_RECEIVED] = "messages_received",
    [COUNTER_MESSAGES_MALFORMED] = "messages_malformed",
    [COUNTER_MESSAGES_DUPLICATE] = "messages_duplicate",
    [COUNTER_MESSAGES_DROPPED] = "messages_dropped",
    [COUNTER_RESPONSES_RETRANSMITTED] = "responses_retransmitted",
    [COUNTER_RESPONSES_ABANDONED] = "responses_abandoned",
    [COUNTER_TRANSFERS_EXPIRED] = "transfers_expired",
    [COUNTER_TRANSFERS_REFUSED] = "transfers_refused",
    [COUNTER_BUFFERED_BYTES] = "buffered_bytes",
    [COUNTER_EXCHANGES_STARTED] = "exchanges_started",
    [COUNTER_EXCHANGES_ANSWERED] = "exchanges_answered",
    [COUNTER_EXCHANGES_REFUSED] = "exchanges_refused",
    [COUNTER_PROOFS_REFUSED] = "proofs_refused",
    [COUNTER_PENDING_ENTRIES] = "pending_entries",
    [COUNTER_PENDING_REPEATED] = "pending_repeated",
    [COUNTER_IN_DOUBT] = "in_doubt",
    [COUNTER_UPSTREAM_REQUESTS] = "upstream_requests",
    [COUNTER_UPSTREAM_FAILURES] = "upstream_failures",
    [COUNTER_UPSTREAM_QUEUED] = "upstream_queued",
    [COUNTER_UPSTREAM_REFUSED] = "upstream_refused",
    [COUNTER_CACHE_HITS] = "cache_hits",
    [COUNTER_CACHE_FETCHES] = "cache_fetches",
    [COUNTER_CACHE_STALE] = "cache_stale",
};

struct metrics *counters_create(void)
{
    return metrics_create(names, COUNTER_COUNT);
}
