/* All DTLS associations of one worker: found by flow, bounded, replaced, and ended. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_ASSOCIATION_TABLE_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_ASSOCIATION_TABLE_H

#include "common/jpy.h"
#include "common/udp_socket.h"
#include "registrar/downstream/dtls_cookie.h"
#include "registrar/downstream/dtls_credentials.h"
#include "registrar/settings.h"

struct event_base;
struct exchanges;
struct metrics;
struct rate_table;
struct association_table;

/* With max_handshakes of them in flight, one of the address that has most of them makes room for a newcomer
 * from an address that has fewer; for another one of its own, or of one that has as many, only once it is
 * this old and twice its first retransmission timeout. */
#define HANDSHAKE_PATIENCE_MS 10000

/* Idle associations looked for, oldest first, when max_associations are open; those with work in flight that
 * stand before them are skipped. */
#define EVICTION_LOOKS_MAX 64

/* Failed handshakes logged in a second; the others are counted, and logged as debug. */
#define FAILURES_LOGGED_MAX 10

/* Everything is borrowed, but for the credentials, which the table holds on to. The limits of the settings
 * are those of the whole process and are held through the metrics' gauges. */
struct association_table_context {
    const struct settings *settings;
    struct event_base *base;
    struct metrics *metrics;
    struct dtls_credentials *credentials;
    struct revocation_lists *revocations;           /* held on to; NULL: none */
    const struct dtls_cookie_secret *cookie_secret; /* shared by all workers */
    struct rate_table *handshake_rates;             /* of addresses; shared by all workers */
    const struct session_ticket_secret
        *ticket_secret;          /* shared by all workers; NULL: no session is resumed */
    struct exchanges *exchanges; /* may be freed before the table, once nothing is received any more */
};

/* Gives; NULL: no memory. */
struct association_table *association_table_create(const struct association_table_context *context);

/* For all handshakes that begin from now on. */
void association_table_use_credentials(struct association_table *table, struct dtls_credentials *credentials);

/* Sends close_notify to all that are established. */
void association_table_free(struct association_table *table);

/* From now on handshakes and requests are judged by these. Holds on to them. */
void association_table_use_revocation_lists(struct association_table *table, struct revocation_lists *lists);

/* One datagram that came in on the socket fd; answers leave through the same socket. A flow is the socket,
 * the local address, the peer address with its scope id, and the peer port. */
void association_table_receive(struct association_table *table, int fd, const struct udp_datagram *datagram);

/* The same for a datagram from a stateless join proxy that was a JPY message: its header and form are of the
 * flow, and answers leave in such messages (JPR-2). */
void association_table_receive_jpy(struct association_table *table, int fd,
                                   const struct udp_datagram *datagram, const struct jpy_message *message);

/* No new association is accepted any more; those that are open go on (SIGTERM drains). */
void association_table_drain(struct association_table *table);

/* Whether any association has work in flight. Looks at all of them. */
bool association_table_busy(const struct association_table *table);

#endif
