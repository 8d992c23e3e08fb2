/* The enrolments whose outcome a device may still ask for: what makes repeating a request safe (RFC 9148
 * section 4.7, DLY-3, DLY-4). RFC 7030 has no idempotency key, so the promise is: never a second issue while
 * the outcome is known. Shared by all workers; one mutex, held for a look-up. Knows no clock: callers pass
 * monotonic milliseconds. */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_PENDING_ENROLMENTS_H
#define ESTUARY_REGISTRAR_EXCHANGE_PENDING_ENROLMENTS_H

#include "common/bytes.h"
#include "registrar/exchange/pending_record.h"
#include "registrar/settings.h"

struct local_key;
struct metrics;
struct pending_enrolments;
struct pending_journal;

/* How long an outcome waits for its device: a READY or IN_DOUBT entry since it became that, a WAITING one
 * since Retry-After has elapsed. */
#define PENDING_KEPT_MS UINT64_C(86400000)

/* A full table forgets delivered results this long after delivery instead of after grace_s: MAX_TRANSMIT_WAIT
 * (RFC 7252 section 4.8.2), when the device that did not get its answer has long noticed. */
#define PENDING_LOST_ANSWER_MS UINT64_C(93000)

/* Keys of ours that may wait for their certificates together (SKG-9): each takes at least a page of locked
 * memory. */
#define PENDING_KEYS_MAX 1024

/* Builds the key. STATUS_CRYPTO, STATUS_NO_MEMORY. */
enum status pending_key_make(struct bytes client_fingerprint, struct bytes operation, struct bytes label,
                             const uint8_t csr_digest[static 32], struct pending_key *key);

enum pending_verdict {
    PENDING_ASK,    /* ask the EST server; the entry is now QUEUED and the caller's until it is settled */
    PENDING_LATER,  /* answer 5.03 with Max-Age: asked already, Retry-After has not elapsed, or in doubt and
                       held */
    PENDING_ANSWER, /* the result is in hand, or a refusal */
    PENDING_FULL,   /* no room: 5.03 with Max-Age */
    PENDING_CROWDED /* the client has max_pending_per_client under way: 4.29 with Max-Age */
};

struct pending_outcome {
    uint32_t retry_after_s;      /* with PENDING_LATER, PENDING_FULL and PENDING_CROWDED */
    uint8_t refusal;             /* with PENDING_ANSWER: 0, or the CoAP code of a refusal */
    bool repeats_in_doubt;       /* with PENDING_ASK: the caller audits that it may be a second issue */
    uint64_t server;             /* with PENDING_ASK: the EST server that knows the enrolment; 0: none does */
    struct local_key *local_key; /* with PENDING_ASK: what pending_enrolments_keep_key was given, a reference;
                                    NULL: nothing */
};

/* max_bytes bounds the results together. Gives; NULL: no memory. Borrows settings and metrics. */
struct pending_enrolments *pending_enrolments_create(const struct est_settings *settings, size_t max_bytes,
                                                     struct metrics *metrics);
void pending_enrolments_free(struct pending_enrolments *pending); /* wipes results */

/* What changes from here on is written to the journal, which is borrowed; with NULL to none, as at first.
 * Then it is what was known before: restore it first. */
void pending_enrolments_record(struct pending_enrolments *pending, struct pending_journal *journal);

/* Takes in what a journal says of the time before a restart: an ENTRY, or that a result was DELIVERED. What
 * was SENT is IN_DOUBT now, and so is a result that was a secret. However the wall clock was set meanwhile,
 * it is kept for grace_s at least, and no longer than if it were new. Returns the state of the entry now;
 * QUEUED: there is none, for want of memory. */
enum pending_state pending_enrolments_restore(struct pending_enrolments *pending,
                                              const struct pending_record *record, uint64_t now_ms);

/* A device asks. With PENDING_ANSWER the validated DER of the EST server's answer is appended to result, or
 * the diagnostic of its refusal; the caller says with pending_enrolments_delivered when the device was handed
 * it. */
enum pending_verdict pending_enrolments_ask(struct pending_enrolments *pending, const struct pending_key *key,
                                            uint64_t now_ms, struct pending_outcome *outcome,
                                            struct buffer *result);

/* The request is about to leave. Call it before its first octet does, and with a journal wait for that
 * (pending_journal_wait) before it leaves. The journal keeps name, who asked for what in words, at most
 * PENDING_NAME_OCTETS_MAX of it. False: the journal does not take it, and the request must not leave. */
bool pending_enrolments_sent(struct pending_enrolments *pending, const struct pending_key *key,
                             struct bytes name);

/* Before pending_enrolments_wait: our own key for the device, for which the EST server lets wait (202), is
 * held on to until the EST server is asked again, or is settled otherwise. That is in key_grace_s at the
 * latest, counted from the first time, and the entry is then IN_DOUBT, for there may be a certificate some
 * day whose key nobody has; its result may stay no longer either. Nothing of it is written down.
 * STATUS_TOO_LARGE: the key would be gone by then; STATUS_BUSY: there are PENDING_KEYS_MAX, or too many
 * octets; STATUS_NOT_FOUND. */
enum status pending_enrolments_keep_key(struct pending_enrolments *pending, const struct pending_key *key,
                                        uint64_t now_ms, uint32_t retry_after_s, struct local_key *local_key);

/* Whether there is room for one more such key. */
bool pending_enrolments_has_room_for_key(struct pending_enrolments *pending);

/* The five ways in which a caller that got PENDING_ASK settles the entry: */

/* The result is here; it is copied, and kept until delivered and grace_s longer, or a day at most. Not
 * STATUS_OK: there was no room for it, and the entry is IN_DOUBT, for a repetition cannot be answered. */
enum status pending_enrolments_ready(struct pending_enrolments *pending, const struct pending_key *key,
                                     uint64_t now_ms, struct bytes result);

/* The same for a result with a private key (SKG-9): it lies in locked memory and is wiped key_grace_s later,
 * whatever has become of it. If no device was handed it by then, the entry becomes IN_DOUBT: there is a
 * certificate whose key nobody has. */
enum status pending_enrolments_ready_secret(struct pending_enrolments *pending, const struct pending_key *key,
                                            uint64_t now_ms, struct bytes result);

/* The EST server is to be asked again, but not before retry_after_s. server: the one that has taken the
 * enrolment on and decides later (202), and must be asked again; 0: none has, now. */
void pending_enrolments_wait(struct pending_enrolments *pending, const struct pending_key *key,
                             uint64_t now_ms, uint32_t retry_after_s, uint64_t server);

/* The EST server issued nothing, and answers code with diagnostic, which is copied. It is kept until it is
 * delivered, or for grace_s: lest a device that was told to come back asks, is told so again, and never hears
 * of it. Then a repetition asks again. (What was in doubt before stays so, and nothing is kept.) */
void pending_enrolments_refused(struct pending_enrolments *pending, const struct pending_key *key,
                                uint64_t now_ms, uint8_t code, struct bytes diagnostic);

/* The EST server was not asked: a repetition may ask at once. (What was in doubt before stays so, and what an
 * EST server had taken on before waits for that one as long as before.) */
void pending_enrolments_withdrawn(struct pending_enrolments *pending, const struct pending_key *key,
                                  uint64_t now_ms);

/* The EST server may have issued a certificate that did not arrive here. */
void pending_enrolments_in_doubt(struct pending_enrolments *pending, const struct pending_key *key,
                                 uint64_t now_ms);

/* The device was handed the result: the time of grace for an answer that gets lost begins (again). Or the
 * refusal, which is then forgotten. */
void pending_enrolments_delivered(struct pending_enrolments *pending, const struct pending_key *key,
                                  uint64_t now_ms);

/* The CSR with this fingerprint (certificate_request_fingerprint) has passed proof of possession: the entry,
 * if there is one, remembers the latest that did. */
void pending_enrolments_passed(struct pending_enrolments *pending, const struct pending_key *key,
                               const uint8_t csr[static 32]);

/* Whether the same CSR, to the octet, has passed before: then it need not do so again (DLY-7). */
bool pending_enrolments_has_passed(struct pending_enrolments *pending, const struct pending_key *key,
                                   const uint8_t csr[static 32]);

/* Where an entry stands, for whoever looks on. False: there is none. */
bool pending_enrolments_state(struct pending_enrolments *pending, const struct pending_key *key,
                              enum pending_state *state);

/* Wipes the private keys whose time has come, soonest first and without a look at anything else. Returns how
 * many of them no device was handed, those that waited for their certificates among them. */
size_t pending_enrolments_expire_secrets(struct pending_enrolments *pending, uint64_t now_ms);

/* Drops what has expired. Returns how many entries are left. */
size_t pending_enrolments_expire(struct pending_enrolments *pending, uint64_t now_ms);

/* How long a device is told to wait for a request that has been running for running_ms: as long again, at
 * least 1 s, at most max_s. */
uint32_t pending_retry_after_s(uint64_t running_ms, uint32_t max_s);

#endif
