/* One enrolment of one key: the CSR that is sent, byte for byte the same at each attempt (RFC 9148
 * section 4.7). */
#ifndef DEVICE_ENROLMENT_H
#define DEVICE_ENROLMENT_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "explanation.h"
#include "octets.h"

enum proof_of_possession {
    POP_NONE,
    POP_LINKED, /* the channel binding of this association in challengePassword (RFC 9148 section 3) */
    POP_WRONG   /* one bit of it off, which a registrar has to refuse */
};

struct enrolment_plan {
    X509_NAME *subject;                    /* borrowed */
    STACK_OF(X509_EXTENSION) * asks;       /* borrowed, or NULL */
    STACK_OF(X509_ATTRIBUTE) * attributes; /* borrowed, or NULL */
    const char *curve;                     /* of the fresh key */
    EVP_PKEY *key;                         /* borrowed; used instead of a fresh one, or NULL */
    struct view ready_made;                /* a CSR to send instead of one of ours; empty for none */
    enum proof_of_possession pop;
    bool identical; /* a new association does not make another CSR, even with pop */
};

struct enrolment;

/* Gives an enrolment with its key; what the plan borrows must outlive it. */
struct enrolment *enrolment_create(const struct enrolment_plan *plan, struct explanation *why);
void enrolment_free(struct enrolment *enrolment);

/* Makes the CSR if there is none yet, or if it is bound to another association than binding's. */
bool enrolment_prepare(struct enrolment *enrolment, struct view binding, struct explanation *why);

/* Borrows the CSR in DER. */
struct view enrolment_csr(const struct enrolment *enrolment);

/* Borrows the key pair; only its public half is there for a ready-made CSR. */
EVP_PKEY *enrolment_key(const struct enrolment *enrolment);
bool enrolment_has_private_key(const struct enrolment *enrolment);

#endif
