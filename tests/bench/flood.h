/* ClientHellos without a cookie, from many ports, whose senders never come back: what a forger sends. */
#ifndef BENCH_FLOOD_H
#define BENCH_FLOOD_H

#include "common/endpoint.h"

#include <openssl/ssl.h>

struct flood_result {
    unsigned sent;
    unsigned answered; /* by a HelloVerifyRequest (RFC 6347 section 4.2.1) */
    unsigned other;    /* by something else */
};

/* Sends count ClientHellos, each with a random value of its own. At most 64 are unanswered at a time, so that
 * the server reads them all: what the kernel throws away costs nothing and proves nothing. False: the flood
 * could not be made; a message is on stderr. */
bool flood_run(const struct endpoint *server, SSL_CTX *context, unsigned count, struct flood_result *result);

#endif
