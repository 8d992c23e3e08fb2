/* One enrolment as a constrained device does it: POST /est/sen with the CSR in Block1 blocks, the certificate
 * in Block2 blocks (RFC 9148 section 4, RFC 7959). Knows no socket and no clock. */
#ifndef BENCH_ENROLMENT_H
#define BENCH_ENROLMENT_H

#include "common/bytes.h"

#include <openssl/x509.h>

enum enrolment_verdict {
    ENROLMENT_WAIT,  /* for the next datagram */
    ENROLMENT_DONE,  /* the certificate is here */
    ENROLMENT_FAILED /* a message is on stderr */
};

/* Called from within the functions below. */
struct enrolment_events {
    void (*send)(void *user, struct bytes datagram);
    void *user;
};

struct enrolment;

/* With a CSR of its own: for a fresh key, in the subject's name, which is borrowed for the call. szx says the
 * size of blocks (RFC 7959 section 2.2). Sends the first request. Gives; NULL: no memory. */
struct enrolment *enrolment_start(const X509_NAME *subject, uint8_t szx,
                                  const struct enrolment_events *events);
void enrolment_free(struct enrolment *enrolment);

enum enrolment_verdict enrolment_receive(struct enrolment *enrolment, struct bytes datagram);

/* No answer came for a while: sends the last request again, unless it was acknowledged. */
void enrolment_repeat(struct enrolment *enrolment);

#endif
