/* Keeps requests away from a server that fails, until a probe has found it well again. Pure: knows no clock
 * and no chance, both are given. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_CIRCUIT_BREAKER_H
#define ESTUARY_REGISTRAR_UPSTREAM_CIRCUIT_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

struct circuit_settings {
    uint32_t failures;                   /* in a row, that open the circuit */
    uint32_t backoff_ms, backoff_max_ms; /* until the first probe, doubling up to the second */
};

/* Zeroed: closed. Half open is one that is open while its one probe is under way. */
struct circuit_breaker {
    bool open;
    unsigned failures;  /* in a row while closed */
    unsigned backoffs;  /* since a request, not only a probe, was served, or since it was closed for long */
    uint64_t due_ms;    /* open: when to probe */
    uint64_t closed_ms; /* closed by a probe: since when */
};

/* A request has failed, or one has been served. A late word about a request that was sent before the circuit
 * opened does not postpone the probe. True: that opened, or closed, the circuit. */
bool circuit_breaker_failed(struct circuit_breaker *breaker, const struct circuit_settings *settings,
                            uint64_t now_ms, uint32_t random);
bool circuit_breaker_served(struct circuit_breaker *breaker, uint64_t now_ms);

/* The same for a probe. One failure opens the circuit: no device has waited for it. Between half and the
 * whole of the back-off passes until the next one, so that many registrars do not probe in step. */
bool circuit_breaker_probe_failed(struct circuit_breaker *breaker, const struct circuit_settings *settings,
                                  uint64_t now_ms, uint32_t random);
bool circuit_breaker_probe_served(struct circuit_breaker *breaker, uint64_t now_ms);

#endif
