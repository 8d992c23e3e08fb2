/* The answers to cacerts and csrattrs, kept for a while and fetched once for everybody who waits (RFC 7252
 * section 5.6), and served beyond that while the EST server is down (RFC 9111 section 4.2.4). Shared by all
 * workers; knows no clock. Keys are operation and label; labels come from the allow-list only, so its size is
 * bounded. A waiter belongs to an exchange, and those are bounded. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_RESPONSE_CACHE_H
#define ESTUARY_REGISTRAR_UPSTREAM_RESPONSE_CACHE_H

#include "common/bytes.h"
#include "common/mailbox.h"
#include "registrar/protocol/est_operation.h"
#include "registrar/settings.h"

struct metrics;
struct response_cache;

/* While something stale may be served: after a fetch that failed the EST server is left alone for that long,
 * and nobody waits for a fetch that takes longer than that. */
#define CACHE_RETRY_MS    10000
#define CACHE_PATIENCE_MS 2000

/* What a fetch came to: a representation (without octets: HTTP 204, there is none), or a failure that all who
 * waited share. */
struct cached_response {
    uint8_t code;       /* 0: der holds the EST server's answer; else the CoAP code to answer with */
    uint32_t max_age_s; /* remaining freshness; with a 5.03 the wait */
    bool may_be_stale;  /* it may be kept and served for serve_stale_s after it */
    bool stale;         /* of what the cache gives: it was not to be had fresh */
    struct buffer der;  /* the decoded answer, or a diagnostic */
};

void cached_response_init(struct cached_response *response, size_t limit);
void cached_response_free(struct cached_response *response);

/* One who waits for somebody else's fetch; embedded in the waiting exchange. letter.open, mailbox and
 * response (by cached_response_init) are the caller's to set before. */
struct cache_waiter {
    struct cache_waiter *next;
    struct letter letter;    /* posted to mailbox with response filled in */
    struct mailbox *mailbox; /* borrowed */
    struct cached_response response;
};

enum cache_verdict {
    CACHE_HIT,   /* waiter->response is filled in, perhaps stale */
    CACHE_FETCH, /* the caller fetches, and must call response_cache_fetched exactly once, whatever happens:
                    with 5.03 if it ends before it has an answer */
    CACHE_WAIT   /* somebody fetches: the waiter's letter will come */
};

/* Gives; NULL: no memory. Borrows both. */
struct response_cache *response_cache_create(const struct settings *settings, struct metrics *metrics);
void response_cache_free(struct response_cache *cache); /* when nobody waits any more */

/* A response that cannot be copied for lack of memory comes as 5.00. */
enum cache_verdict response_cache_ask(struct response_cache *cache, enum est_operation_id operation,
                                      struct bytes label, uint64_t now_ms, struct cache_waiter *waiter);

/* Hands a copy to all who wait, and keeps it for max_age_s when code is 0. Where it is a 5.xx, the EST server
 * being down, and something stale may be served, that takes its place: in fetched as well, and true comes
 * back. */
bool response_cache_fetched(struct response_cache *cache, enum est_operation_id operation, struct bytes label,
                            uint64_t now_ms, struct cached_response *fetched);

/* Fills in what may be served stale, for whoever can wait no longer. False: there is nothing. */
bool response_cache_stale(struct response_cache *cache, enum est_operation_id operation, struct bytes label,
                          uint64_t now_ms, struct cached_response *response);

/* What was fetched before, or is being fetched now, is served to nobody who asks later: the EST server may be
 * another one. */
void response_cache_forget(struct response_cache *cache);

/* What was fetched before is fresh no more, but may be served stale as ever: it may have changed. */
void response_cache_expire(struct response_cache *cache);

/* After CACHE_WAIT, the waiter loses interest. True: it is forgotten and may be freed. False: its letter is
 * in the mailbox, or was opened: the waiter must live until then (mailbox_free opens what is left). */
bool response_cache_leave(struct response_cache *cache, struct cache_waiter *waiter);

#endif
