/* The last flight of a handshake: its datagrams, kept to be sent again as they are, and when (RFC 6347
 * section 4.2.4). OpenSSL would cut a repeated flight into other fragments, which some constrained stacks
 * cannot put together. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_DTLS_FLIGHT_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_DTLS_FLIGHT_H

#include "common/bytes.h"

#include <stdbool.h>

#define DTLS_FLIGHT_OCTETS_MAX      65536 /* kept of one flight; ours has a certificate chain in it */
#define DTLS_FLIGHT_ATTEMPTS_MAX    7 /* times the clock sends a flight: 123 s when the first timeout is 1 s */
#define DTLS_FLIGHT_REPEATS_MAX     7     /* times a client that repeats itself is answered besides */
#define DTLS_FLIGHT_TIMEOUT_MAX_MS  60000 /* RFC 6347 section 4.2.4.1 */
#define DTLS_FLIGHT_REPEAT_LEAST_MS 250   /* between two times, however often the client repeats itself */

struct dtls_flight {
    struct buffer datagrams; /* each behind its length in two octets */
    uint32_t timeout_ms;     /* the current one */
    unsigned attempts, repeats;
    uint64_t sent_ms, deadline_ms;
    bool complete; /* the next datagram begins a new flight */
};

/* Starts the clock although there is nothing to send yet: the client's flight is incomplete. */
void dtls_flight_init(struct dtls_flight *flight, uint32_t timeout_ms, uint64_t now_ms);

/* Forgets all; nothing is due any more. */
void dtls_flight_free(struct dtls_flight *flight);

/* Keeps a datagram that is being sent. The first after a dtls_flight_end replaces the flight before. */
void dtls_flight_add(struct dtls_flight *flight, struct bytes datagram);

/* All of the client's datagram is worked off: if that made a flight of ours, it is complete, and its clock
 * starts with timeout_ms. */
void dtls_flight_end(struct dtls_flight *flight, uint32_t timeout_ms, uint64_t now_ms);

enum dtls_flight_due {
    FLIGHT_NOT_DUE,
    FLIGHT_DUE,      /* send it again; counted, and the clock runs twice as long */
    FLIGHT_ABANDONED /* it was the last attempt */
};

enum dtls_flight_due dtls_flight_tick(struct dtls_flight *flight, uint64_t now_ms);

/* The client repeats its flight, so that ours must be lost: whether to send it again now. Neither does this
 * move the clock, nor is it done without end: a recorded ClientHello may come from anybody. Nor does it use
 * up the attempts: a server that gave up before its client would begin another handshake with its next
 * repetition, and the client would put together what it has of two flights. */
bool dtls_flight_repeat(struct dtls_flight *flight, uint64_t now_ms);

/* Takes the first datagram off rest, which begins as the view of all datagrams. False: there is none. */
bool dtls_flight_next(struct bytes *rest, struct bytes *datagram);

#endif
