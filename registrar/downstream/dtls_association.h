/* One DTLS 1.2 association as a server, on memory: datagrams in, flights out (RFC 6347). Knows no socket,
 * loop or clock. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_DTLS_ASSOCIATION_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_DTLS_ASSOCIATION_H

#include "common/bytes.h"
#include "registrar/downstream/dtls_credentials.h"
#include "registrar/protocol/channel_binding.h"

struct client_identity;
struct metrics;
struct dtls_association;

/* What is kept of a stranger is bounded before OpenSSL sees it: it would take messages of up to 100 kB, set
 * aside as much as a fragment announces, and 17 kB for each record of an epoch to come. RFC 7925
 * section 4.4.4 wants chains, the largest message of a client, short. */
#define DTLS_MESSAGE_OCTETS_MAX 8192
#define DTLS_MESSAGE_SEQ_MAX    7 /* a client's Finished has 5 */
#define DTLS_EARLY_RECORDS_MAX  2 /* kept before their ChangeCipherSpec: a Finished that overtook it */

#define DTLS_FLIGHT_OCTETS_MIN 228 /* of a datagram: OpenSSL makes none that are bound to be smaller */

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

/* What all associations of one worker share. Everything is borrowed for the life of each association. */
struct dtls_association_context {
    struct dtls_credentials *credentials;       /* associations hold on to those that they began with */
    const struct revocation_lists *revocations; /* may change between calls; NULL: none */
    BIO_METHOD *bio_method;                     /* of dtls_association_bio_method */
    struct metrics *metrics;
    const struct session_ticket_secret *tickets; /* NULL: no session is resumed */
    uint32_t handshake_mtu;         /* largest datagram of a handshake flight, octets of UDP payload */
    uint32_t retransmit_timeout_ms; /* doubles up to 60 s (RFC 6347 section 4.2.4.1) */
};

/* How the SSLs of associations read and write. Gives; free with BIO_meth_free after the last association.
 * NULL: no memory. */
BIO_METHOD *dtls_association_bio_method(void);

/* Copies events, borrows their user. Gives; NULL: no memory. */
struct dtls_association *dtls_association_create(const struct dtls_association_context *context,
                                                 const struct dtls_events *events, uint64_t now_ms);
void dtls_association_free(struct dtls_association *association);

/* Before the first datagram: what is sent gets this many octets more on its way, so that handshake flights
 * have to be smaller by them (JPR-5); never below DTLS_FLIGHT_OCTETS_MIN. */
void dtls_association_reserve(struct dtls_association *association, size_t overhead);

/* One datagram. The first must be the ClientHello whose cookie dtls_cookie_judge found good. */
void dtls_association_receive(struct dtls_association *association, uint64_t now_ms, struct bytes datagram);

/* Sends one application record of at least 1 and at most dtls_association_record_limit octets.
 * STATUS_TOO_LARGE, STATUS_CLOSED when not established. */
enum status dtls_association_send(struct dtls_association *association, struct bytes record);

/* Sends close_notify when established. */
void dtls_association_close(struct dtls_association *association);

/* Resends the stored datagrams of the last flight when due, octet for octet but for the numbers of their
 * records, which are new (RFC 6347 section 4.2.2); when a session is resumed, OpenSSL makes them anew, for
 * one record is encrypted, and one of a number that the client has seen would not make it repeat its own.
 * After the last attempt the state is DTLS_CLOSED. */
void dtls_association_tick(struct dtls_association *association, uint64_t now_ms);
uint64_t
dtls_association_deadline(const struct dtls_association *association); /* MONOTONIC_NEVER: nothing due */

enum dtls_state dtls_association_state(const struct dtls_association *association);

/* Whether it is closed for a failure, and appends the reason, fit for a log. */
bool dtls_association_failed(const struct dtls_association *association, struct buffer *reason);

/* Once established: whether it took up an earlier session (SES-3). */
bool dtls_association_is_resumed(const struct dtls_association *association);

/* Once established. Borrows. */
struct client_identity *dtls_association_client(const struct dtls_association *association);

/* Once established: its tls-unique (RFC 5929 section 3.1). */
struct channel_binding dtls_association_binding(const struct dtls_association *association);

/* Whether that client may still be served, by the credentials and revocation lists of now. */
enum client_standing dtls_association_standing(const struct dtls_association *association, int64_t now_unix);

/* Octets of application data a record may carry: max_fragment_length where the client negotiated it (RFC 6066
 * section 4). */
size_t dtls_association_record_limit(const struct dtls_association *association);

#endif
