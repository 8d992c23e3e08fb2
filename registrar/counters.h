/* What the registrar counts. Each name stands once, in counters.c, at the index of its enum. */
#ifndef ESTUARY_REGISTRAR_COUNTERS_H
#define ESTUARY_REGISTRAR_COUNTERS_H

#include "common/metrics.h"

enum counter {
    COUNTER_DATAGRAMS_RECEIVED,
    COUNTER_DATAGRAMS_DROPPED, /* truncated, malformed, or of no association */
    COUNTER_COOKIES_SENT,
    COUNTER_COOKIES_WITHHELD, /* too much waits to leave, and this would wait too */
    COUNTER_COOKIES_REFUSED,  /* came back wrong or too late */
    COUNTER_HANDSHAKES_STARTED,
    COUNTER_HANDSHAKES_COMPLETED,
    COUNTER_HANDSHAKES_RESUMED, /* of the completed ones */
    COUNTER_HANDSHAKES_FAILED,
    COUNTER_HANDSHAKES_REFUSED, /* max_handshakes or max_associations reached */
    COUNTER_HANDSHAKES_LIMITED, /* too many of one address in a minute */
    COUNTER_FLIGHTS_RETRANSMITTED,
    COUNTER_ASSOCIATIONS, /* open now, handshakes included */
    COUNTER_HANDSHAKES,   /* in flight now */
    COUNTER_ASSOCIATIONS_EVICTED,
    COUNTER_ASSOCIATIONS_EXPIRED,
    COUNTER_JPY_MALFORMED,         /* no JPY message, or in a form that is not taken */
    COUNTER_JPY_REFUSED,           /* from a join proxy that is not in jpy.join_proxies */
    COUNTER_JPY_LIMITED,           /* handshakes beyond what one join proxy may have */
    COUNTER_ASSOCIATIONS_EXPELLED, /* the client's certificate did not count any more */
    COUNTER_MESSAGES_RECEIVED,
    COUNTER_MESSAGES_MALFORMED,
    COUNTER_MESSAGES_DUPLICATE,
    COUNTER_MESSAGES_DROPPED, /* no room in the ring of message ids, or too many open requests */
    COUNTER_RESPONSES_RETRANSMITTED,
    COUNTER_RESPONSES_ABANDONED, /* MAX_RETRANSMIT reached, or reset */
    COUNTER_TRANSFERS_EXPIRED,
    COUNTER_TRANSFERS_REFUSED, /* max_buffered_bytes or contexts used up */
    COUNTER_BUFFERED_BYTES,    /* held for block-wise transfers now */
    COUNTER_REQUESTS_LIMITED,  /* 4.29: too many of one device in a minute */
    COUNTER_REQUESTS_SHED,     /* 5.03: max_exchanges reached */
    COUNTER_EXCHANGES,         /* in flight now */
    COUNTER_EXCHANGES_STARTED,
    COUNTER_EXCHANGES_ANSWERED,
    COUNTER_EXCHANGES_REFUSED, /* 4.xx of our own */
    COUNTER_PROOFS_REFUSED,    /* of those, CSRs not linked to their association (POP-1) */
    COUNTER_ACCESS_DENIED,     /* of those, by rules, file, default or webhook */
    COUNTER_WEBHOOK_ASKED,
    COUNTER_WEBHOOK_FAILED,   /* without an answer that is of use */
    COUNTER_PENDING_ENTRIES,  /* now */
    COUNTER_PENDING_REPEATED, /* re-POSTs answered from the table */
    COUNTER_PENDING_CROWDED,  /* 4.29: max_pending_per_client reached */
    COUNTER_IN_DOUBT,         /* transactions whose outcome is unknown */
    COUNTER_JOURNAL_RECORDS,  /* of the pending table, handed to the journal */
    COUNTER_JOURNAL_SYNCS,    /* of the disk, each for all records that were written */
    COUNTER_JOURNAL_QUEUED,   /* octets of records that wait for the disk now */
    COUNTER_JOURNAL_LOST,     /* records for which the disk was too slow */
    COUNTER_UPSTREAM_REQUESTS,
    COUNTER_UPSTREAM_FAILURES,
    COUNTER_UPSTREAM_QUEUED,    /* now */
    COUNTER_UPSTREAM_REFUSED,   /* queue full */
    COUNTER_UPSTREAM_FAILOVERS, /* requests that went on to another EST server */
    COUNTER_UPSTREAM_REDIRECTS, /* followed */
    COUNTER_UPSTREAM_PROBES,
    COUNTER_UPSTREAM_CIRCUITS_OPENED,
    COUNTER_UPSTREAM_CIRCUITS_CLOSED,
    COUNTER_CACHE_HITS,
    COUNTER_CACHE_FETCHES,
    COUNTER_CACHE_STALE, /* served beyond its freshness: the EST server is down */
    COUNTER_RENEWALS,    /* of the registrar's own certificates */
    COUNTER_RENEWALS_FAILED,
    COUNTER_COUNT
};

/* Gives; NULL: no memory. */
struct metrics *counters_create(void);

#endif
