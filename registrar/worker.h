/* One event loop with all that serves its share of the devices: sockets, associations, exchanges, HTTPS
 * client. */
#ifndef ESTUARY_REGISTRAR_WORKER_H
#define ESTUARY_REGISTRAR_WORKER_H

#include "common/bytes.h"
#include "common/udp_socket.h"
#include "registrar/downstream/dtls_cookie.h"
#include "registrar/settings.h"

struct mailbox;
struct metrics;
struct pending_enrolments;
struct pending_journal;
struct permit_pool;
struct rate_table;
struct response_cache;
struct session_ticket_secret;
struct snapshot;
struct worker;

/* What the workers share. Everything is borrowed and outlives them. */
struct worker_context {
    const struct settings *settings;
    const struct settings_endpoints *coaps, *jpy; /* to listen at */
    enum udp_sharing sharing;
    struct metrics *metrics;
    const struct dtls_cookie_secret *cookie_secret;
    const struct session_ticket_secret *ticket_secret;
    struct permit_pool *permits;
    struct pending_enrolments *pending;
    struct pending_journal *journal; /* of pending; NULL: none */
    struct response_cache *cache;
    struct rate_table *request_rates, *handshake_rates;
    struct snapshot *snapshot;   /* to begin with; held only as far as it is in use */
    struct mailbox *mailbox;     /* of the main thread */
    void (*adopted)(void *user); /* called there: the worker uses what it was offered */
    void *user;
};

/* Opens the sockets. On failure NULL, and errors says what, where and how to cure
 * it. */
struct worker *worker_create(const struct worker_context *context, struct buffer *errors);

/* Only once it does not run. */
void worker_free(struct worker *worker);

/* Runs the loop in a thread of its own. STATUS_SYSTEM with errno. */
enum status worker_start(struct worker *worker);

/* What begins on the loop from soon on uses the snapshot, and then adopted is called. One at a time. */
void worker_offer(struct worker *worker, struct snapshot *snapshot);

/* Asks the loop to take no new devices, to wait for what is in flight, but at most drain_ms, and to end; then
 * waits for the thread. */
void worker_drain(struct worker *worker, uint32_t drain_ms);
void worker_join(struct worker *worker);

/* Where it listens (port 0 resolved). */
void worker_addresses(const struct worker *worker, struct listen_addresses *addresses);

#endif
