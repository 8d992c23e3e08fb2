/* The enrolments whose outcome a device may still ask for: what makes repeating a request safe (RFC 9148
 * section 4.7, DLY-3, DLY-4). RFC 7030 has no idempotency key, so the promise is: never a second issue while
 * the outcome is known. Shared by all workers; one mutex, held for a look-up. Knows no clock: callers pass
 * monotonic milliseconds. */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_PENDING_ENROLMENTS_H
#define ESTUARY_REGISTRAR_EXCHANGE_PENDING_ENROLMENTS_H

#include "common/bytes.h"
#include "registrar/settings.h"

struct metrics;
struct pending_enrolments;

enum pending_state {
    PENDING_QUEUED,  /* no octet has left; may be forgotten without harm */
    PENDING_SENT,    /* recorded before the first octet leaves; the EST server may act */
    PENDING_WAITING, /* the EST server said 202: come back after Retry-After */
    PENDING_READY,   /* the EST server's answer is here for its device */
    PENDING_IN_DOUBT /* sent, outcome unknown: reset, timeout after sending */
};

/* SHA-256 over client fingerprint, operation, label and the digest of the CSR (certificate_request_digest).
 */
struct pending_key {
    uint8_t octets[32];
};

/* Builds the key. */
void pending_key_make(struct bytes client_fingerprint, struct bytes operation, struct bytes label,
                      const uint8_t csr_digest[static 32], struct pending_key *key);

enum pending_verdict {
    PENDING_ASK,    /* ask the EST server; the entry is now QUEUED and the caller's until it is settled */
    PENDING_LATER,  /* answer 5.03 with Max-Age: asked already, or Retry-After has not elapsed */
    PENDING_ANSWER, /* the result is in hand */
    PENDING_FULL    /* no room: 5.03 with Max-Age */
};

struct pending_outcome {
    uint32_t retry_after_s; /* with PENDING_LATER and PENDING_FULL */
    bool repeats_in_doubt;  /* with PENDING_ASK: the caller audits that it may be a second issue */
};

/* Gives; NULL: no memory. metrics is borrowed. */
struct pending_enrolments *pending_enrolments_create(const struct est_settings *settings, size_t max_bytes,
                                                     struct metrics *metrics);
void pending_enrolments_free(struct pending_enrolments *pending); /* wipes results */

/* A device asks. With PENDING_ANSWER the validated DER of the EST server's answer is appended to result, and
 * the entry stays for grace_s for an answer that gets lost. */
enum pending_verdict pending_enrolments_ask(struct pending_enrolments *pending, const struct pending_key *key,
                                            uint64_t now_ms, struct pending_outcome *outcome,
                                            struct buffer *result);

/* The first octet of the request is about to leave. Call it before it does. */
void pending_enrolments_sent(struct pending_enrolments *pending, const struct pending_key *key,
                             uint64_t now_ms);

/* The four ways in which a caller that got PENDING_ASK settles the entry: */
void pending_enrolments_ready(
    struct pending_enrolments *pending, const struct pending_key *key, uint64_t now_ms,
    struct bytes result); /* copied; kept until fetched and grace_s later, or at most a day */
void pending_enrolments_wait(struct pending_enrolments *pending, const struct pending_key *key,
                             uint64_t now_ms, uint32_t retry_after_s);
void pending_enrolments_refused(struct pending_enrolments *pending,
                                const struct pending_key *key); /* outcome known, nothing issued */
void pending_enrolments_in_doubt(struct pending_enrolments *pending, const struct pending_key *key,
                                 uint64_t now_ms);

/* The device has its answer (it was handed the result outside pending_enrolments_ask): the grace time begins.
 */
void pending_enrolments_delivered(struct pending_enrolments *pending, const struct pending_key *key,
                                  uint64_t now_ms);

/* Drops what has expired. Returns how many entries are left. */
size_t pending_enrolments_expire(struct pending_enrolments *pending, uint64_t now_ms);

#endif
