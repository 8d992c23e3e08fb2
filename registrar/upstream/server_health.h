/* What is learnt of one EST server: whether it is left alone, as a whole or for one profile, which is the
 * path before the operation and so that of one label. Knows no clock and no chance, both are given. Its owner
 * guards it. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_SERVER_HEALTH_H
#define ESTUARY_REGISTRAR_UPSTREAM_SERVER_HEALTH_H

#include "registrar/upstream/circuit_breaker.h"

#include <stddef.h>

#define SERVER_PROFILES_MAX 128 /* that have been in trouble; est.labels are 64 at most */

/* The server as a whole, or one profile there. */
struct health_part {
    struct health_part *next;
    struct circuit_breaker circuit;
    uint64_t fails_since_ms;
    char profile[]; /* "": the server as a whole */
};

struct server_health {
    struct health_part *parts;        /* the server as a whole, then profiles that have been in trouble */
    const struct health_part *failed; /* a profile that has, since something was answered; NULL: none */
    bool several_failed;              /* not only that one */
};

/* How a request for a profile ended, and when. */
struct health_event {
    const char *profile;
    bool of_server; /* a failure: before the server could see which profile is meant */
    uint64_t now_ms;
    uint32_t random; /* spreads probes */
};

/* Gives; NULL: no memory. All is well. */
struct server_health *server_health_create(void);
void server_health_free(struct server_health *health); /* NULL is ignored */

/* The server as a whole (""), or a profile there; NULL: it was never in trouble. Lives as long as health. */
struct health_part *server_health_part(const struct server_health *health, const char *profile);

/* Whether neither the server nor that profile is left alone. */
bool server_health_is_well(const struct server_health *health, const char *profile);

/* A profile's failure counts for the server only if several profiles fail and nothing is answered in between.
 * Gives the part whose circuit that opened; NULL: none. */
const struct health_part *server_health_failed(struct server_health *health,
                                               const struct circuit_settings *settings,
                                               const struct health_event *event);

/* The part that a failure speaks against: the server as a whole, or the profile. */
struct health_part *server_health_to_blame(struct server_health *health, const struct health_event *event);

/* A probe of that part has shown that it is well. True: its circuit closed. */
bool server_health_probe_served(struct server_health *health, struct health_part *part, uint64_t now_ms);

/* The part whose circuit that closed; NULL: none. */
const struct health_part *server_health_served(struct server_health *health,
                                               const struct health_event *event);

#endif
