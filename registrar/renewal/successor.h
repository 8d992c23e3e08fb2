/* What comes after a certificate of the registrar's own that is about to end: a new key of the same kind, the
 * request for its certificate, and the certificate if it will do. Pure but for the clock. */
#ifndef ESTUARY_REGISTRAR_RENEWAL_SUCCESSOR_H
#define ESTUARY_REGISTRAR_RENEWAL_SUCCESSOR_H

#include "common/bytes.h"
#include "registrar/upstream/ra_identity.h"

#include <stdatomic.h>
#include <time.h>

/* When two thirds of the certificate's life are over, and when all of it. */
struct successor_times {
    time_t due, end;
};

/* STATUS_MALFORMED: its validity cannot be read. */
enum status successor_times(const X509 *certificate, struct successor_times *times);

/* A new key like that one: RSA of the same length, EC on the same curve, or Edwards. RSA takes up to seconds,
 * or until abandoned is set (NULL: never). Gives; NULL: it is of another kind. */
EVP_PKEY *successor_make_key(EVP_PKEY *like, const atomic_bool *abandoned);

/* Whether both are of one kind and size, and not the same key. */
bool successor_key_suits(EVP_PKEY *key, EVP_PKEY *like);

/* Appends the DER of a CSR with the subject, subjectAltName, key usages and basic constraints of the
 * certificate, for key (RFC 7030 section 4.2.2). */
enum status successor_request(const X509 *certificate, EVP_PKEY *key, struct buffer *der);

/* Whether kept, the DER of a CSR, asks for the same as request does, and is signed: ECDSA signs the same
 * request differently each time. */
bool successor_request_repeats(struct bytes kept, struct bytes request);

/* Takes the certificate for key, and the intermediates above it, out of a certs-only message, or those of the
 * present identity where its issuer stays. next gets references of its own, to key too (ra_identity_free).
 * STATUS_MISMATCH, and why says so: there is none for key, it is due for renewal itself, is not
 * valid yet, has another subject (RFC 7030 section 4.2.2), or lacks a name or purpose that the present one
 * has. */
enum status successor_accept(const struct ra_identity *present, EVP_PKEY *key, struct bytes certs_only,
                             struct ra_identity *next, const char **why);

#endif
