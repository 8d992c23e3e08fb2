/* What the journal of pending enrolments says of one of them, and how it is written down. Pure. */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_PENDING_RECORD_H
#define ESTUARY_REGISTRAR_EXCHANGE_PENDING_RECORD_H

#include "common/bytes.h"

enum pending_state {
    PENDING_QUEUED,  /* no octet has left; may be forgotten without harm */
    PENDING_SENT,    /* recorded before the first octet leaves; the EST server may act */
    PENDING_WAITING, /* the EST server said when to come back: 202, or overloaded */
    PENDING_READY,   /* the EST server's answer is here for its device */
    PENDING_REFUSED, /* the EST server has refused, and the device has not heard of it */
    PENDING_IN_DOUBT /* sent, outcome unknown: reset, timeout after sending, an answer of no use */
};

/* Which enrolment it is: SHA-256 over client fingerprint, operation, label and the digest of the CSR
 * (certificate_request_digest). And whose it is. */
struct pending_key {
    uint8_t octets[32];
    uint8_t client[32]; /* its fingerprint */
};

enum pending_record_kind {
    PENDING_RECORD_ENTRY = 1,     /* all there is to know; replaces what was known */
    PENDING_RECORD_DELIVERED = 2, /* the device was handed the result; only expires_ms is new */
    PENDING_RECORD_FORGOTTEN = 3  /* there is no such enrolment any more; only the key counts */
};

#define PENDING_NAME_OCTETS_MAX 512

/* Times are milliseconds of whatever clock the caller goes by. */
struct pending_record {
    enum pending_record_kind kind;
    struct pending_key key;
    enum pending_state state; /* not QUEUED: that need not be known */
    bool doubtful;            /* an earlier request may have had a certificate issued */
    bool is_secret;  /* READY: there is a private key in the result, which is never written down; WAITING: one
                        waits for its certificate */
    uint8_t refusal; /* REFUSED: the CoAP code */
    uint8_t passed[32]; /* the latest CSR that passed proof of possession; zeros: none */
    uint64_t server;    /* the EST server that has taken it on (202); 0: none has */
    uint64_t due_ms;    /* WAITING: until when; READY: how long it may be kept at most */
    uint64_t expires_ms;
    struct bytes name;   /* who asked for what, for people; at most PENDING_NAME_OCTETS_MAX */
    struct bytes result; /* READY and not secret; REFUSED: the diagnostic. Views borrow */
};

/* Appends it, with clock_ms added to its times. A failure sticks to to. */
void pending_record_encode(const struct pending_record *record, uint64_t clock_ms, struct buffer *to);

/* The reverse; clock_ms is taken off the times again, as far as they are later than it. STATUS_MALFORMED.
 * Views borrow from octets. */
enum status pending_record_decode(struct bytes octets, uint64_t clock_ms, struct pending_record *record);

#endif
