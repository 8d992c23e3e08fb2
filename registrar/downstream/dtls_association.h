/* One DTLS 1.2 association as a server, on memory: datagrams in, flights out (RFC 6347). Knows no socket,
 * loop or clock. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_DTLS_ASSOCIATION_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_DTLS_ASSOCIATION_H

#include "common/bytes.h"
#include "registrar/downstream/dtls_credentials.h"

struct client_identity;
struct metrics;
struct dtls_association;

enum dtls_state {
    DTLS_HANDSHAKING,
    DTLS_ESTABLISHED,
    DTLS_CLOSED /* finished, failed or closed by the peer: free it */
};

/* Called from within the functions below; none may free the association. */
struct dtls_events {
    void (*send)(void *user, struct bytes datagram);
    void (*established)(void *user);                  /* once */
    void (*receive)(void *user, struct bytes record); /* one application record */
    void *user;
};

struct dtls_association_settings {
    uint32_t handshake_mtu;         /* largest datagram of a handshake flight, octets of UDP payload */
    uint32_t retransmit_timeout_ms; /* doubles up to 60 s (RFC 6347 section 4.2.4.1) */
};

/* Borrows credentials, settings, metrics and the user of events. Gives; NULL: no memory. */
struct dtls_association *dtls_association_create(struct dtls_credentials *credentials,
                                                 const struct dtls_association_settings *settings,
                                                 struct metrics *metrics, const struct dtls_events *events);
void dtls_association_free(struct dtls_association *association);

/* One datagram. The first must be the ClientHello whose cookie dtls_cookie_judge found good. */
void dtls_association_receive(struct dtls_association *association, uint64_t now_ms, struct bytes datagram);

/* Sends one application record; at most dtls_association_record_limit octets. */
enum status dtls_association_send(struct dtls_association *association, struct bytes record);

/* Sends close_notify when established. */
void dtls_association_close(struct dtls_association *association);

/* Resends the stored datagrams of the last flight, verbatim, when due; after the last attempt the state is
 * DTLS_CLOSED. */
void dtls_association_tick(struct dtls_association *association, uint64_t now_ms);
uint64_t
dtls_association_deadline(const struct dtls_association *association); /* MONOTONIC_NEVER: nothing due */

enum dtls_state dtls_association_state(const struct dtls_association *association);

/* Once established. Borrows. */
struct client_identity *dtls_association_client(const struct dtls_association *association);

/* Octets of application data a record may carry: max_fragment_length where the client negotiated it (RFC 6066
 * section 4). */
size_t dtls_association_record_limit(const struct dtls_association *association);

#endif
