/* What asking the EST server came to: plain values that est_client gives and https_connection finds out. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_EST_RESPONSE_H
#define ESTUARY_REGISTRAR_UPSTREAM_EST_RESPONSE_H

#include "common/bytes.h"

/* RA-4: the line that matters runs between those after which the EST server cannot have acted (NOT_SENT,
 * UNTRUSTED, QUEUE_FULL, WITHHELD) and those after which it may have (TIMEOUT, BROKEN). */
enum est_result {
    EST_ANSWERED,  /* an HTTP response is here, whatever its status. The body is complete when the status is
                      200;  with another one it is only a diagnostic, and may be cut off or empty */
    EST_NOT_SENT,  /* refused, unreachable, DNS failure, connect timeout: no octet of the request has left, or
                      none of a POST's body */
    EST_TIMEOUT,   /* no (complete) answer in time after the request was (partly) sent */
    EST_BROKEN,    /* connection lost, malformed or oversized answer after the request was (partly) sent */
    EST_UNTRUSTED, /* TLS handshake or verification failed, on either side: no octet of the request has left,
                      or none was read */
    EST_QUEUE_FULL, /* 5.03: no permit, and no room in the queue or timeout_ms spent in it; nothing was sent
                     */
    EST_WITHHELD    /* 5.03: when its turn came, whoever asked did not let it go */
};

/* Views are borrowed for the callback. Header values are "" when absent; of a repeated field it is the first.
 */
struct est_response {
    enum est_result result;
    unsigned http_status; /* 0: none came */
    struct bytes content_type, retry_after, date, cache_control, age, expires, location, body;
    uint64_t server;    /* whose answer it is (server_group_id); 0: nobody was asked */
    const char *reason; /* why it is not EST_ANSWERED, for the log; borrowed; never NULL */
};

#endif
