#include "registrar/downstream/dtls_flight.h"

#include "common/monotonic.h"

#define LENGTH_OCTETS 2

static void start_clock(struct dtls_flight *flight, uint32_t timeout_ms, uint64_t now_ms);

void dtls_flight_init(struct dtls_flight *flight, uint32_t timeout_ms, uint64_t now_ms)
{
    *flight = (struct dtls_flight){.complete = true};
    buffer_init(&flight->datagrams, DTLS_FLIGHT_OCTETS_MAX);
    start_clock(flight, timeout_ms, now_ms);
}

void dtls_flight_free(struct dtls_flight *flight)
{
    buffer_free(&flight->datagrams);
    flight->deadline_ms = MONOTONIC_NEVER;
}

void dtls_flight_add(struct dtls_flight *flight, struct bytes datagram)
{
    if (flight->complete)
        buffer_reset(&flight->datagrams);
    flight->complete = false;
    buffer_append_byte(&flight->datagrams, (uint8_t)(datagram.len >> 8));
    buffer_append_byte(&flight->datagrams, (uint8_t)datagram.len);
    buffer_append(&flight->datagrams, datagram);
}

void dtls_flight_end(struct dtls_flight *flight, uint32_t timeout_ms, uint64_t now_ms)
{
    if (flight->complete)
        return;
    flight->complete = true;
    flight->attempts = flight->repeats = 0;
    start_clock(flight, timeout_ms, now_ms);
}

static void start_clock(struct dtls_flight *flight, uint32_t timeout_ms, uint64_t now_ms)
{
    flight->timeout_ms = timeout_ms;
    flight->attempts++;
    flight->sent_ms = now_ms;
    flight->deadline_ms = now_ms + timeout_ms;
}

enum dtls_flight_due dtls_flight_tick(struct dtls_flight *flight, uint64_t now_ms)
{
    if (now_ms < flight->deadline_ms)
        return FLIGHT_NOT_DUE;
    if (flight->attempts >= DTLS_FLIGHT_ATTEMPTS_MAX)
        return FLIGHT_ABANDONED;
    uint32_t timeout_ms = flight->timeout_ms < DTLS_FLIGHT_TIMEOUT_MAX_MS / 2 ? flight->timeout_ms * 2
                                                                              : DTLS_FLIGHT_TIMEOUT_MAX_MS;
    start_clock(flight, timeout_ms, now_ms);
    return FLIGHT_DUE;
}

bool dtls_flight_repeat(struct dtls_flight *flight, uint64_t now_ms)
{
    if (flight->datagrams.len == 0 || flight->repeats >= DTLS_FLIGHT_REPEATS_MAX ||
        now_ms < flight->sent_ms + DTLS_FLIGHT_REPEAT_LEAST_MS)
        return false;
    flight->repeats++;
    flight->sent_ms = now_ms;
    return true;
}

bool dtls_flight_next(struct bytes *rest, struct bytes *datagram)
{
    if (rest->len < LENGTH_OCTETS)
        return false;
    size_t len = (size_t)(rest->at[0] << 8 | rest->at[1]);
    if (rest->len - LENGTH_OCTETS < len)
        return false;
    *datagram = bytes_slice(*rest, LENGTH_OCTETS, len);
    *rest = bytes_slice(*rest, LENGTH_OCTETS + len, rest->len);
    return true;
}
