/* All DTLS associations of one worker: found by flow, bounded, expired, and joined to the CoAP server and the
 * exchanges. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_ASSOCIATION_TABLE_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_ASSOCIATION_TABLE_H

#include "common/udp_socket.h"
#include "registrar/downstream/dtls_cookie.h"
#include "registrar/downstream/dtls_credentials.h"
#include "registrar/settings.h"

struct event_base;
struct exchanges;
struct metrics;
struct association_table;

/* Everything is borrowed. The limits of the settings are those of the whole process and are held through the
 * metrics' gauges. */
struct association_table_context {
    const struct settings *settings;
    struct event_base *base;
    struct metrics *metrics;
    struct dtls_credentials *credentials;
    const struct dtls_cookie_secret *cookie_secret; /* shared by all workers */
    struct exchanges *exchanges;
};

/* Gives; NULL: no memory. */
struct association_table *association_table_create(const struct association_table_context *context);

/* Sends close_notify to all that are established. */
void association_table_free(struct association_table *table);

/* One datagram that came in on the socket fd; answers leave through the same socket. A flow is the socket,
 * the local address, the peer address with its scope id, and the peer port. */
void association_table_receive(struct association_table *table, int fd, const struct udp_datagram *datagram);

/* No new association is accepted any more; those that are open go on (SIGTERM drains). */
void association_table_drain(struct association_table *table);

/* Whether any association has work in flight. */
bool association_table_busy(const struct association_table *table);

#endif
