#include "registrar/upstream/circuit_breaker.h"

static void open_circuit(struct circuit_breaker *breaker, const struct circuit_settings *settings,
                         uint64_t now_ms, uint32_t random);
static uint64_t backoff_ms(const struct circuit_breaker *breaker, const struct circuit_settings *settings);

bool circuit_breaker_failed(struct circuit_breaker *breaker, const struct circuit_settings *settings,
                            uint64_t now_ms, uint32_t random)
{
    if (breaker->open || ++breaker->failures < settings->failures)
        return false;
    open_circuit(breaker, settings, now_ms, random);
    return true;
}

bool circuit_breaker_probe_failed(struct circuit_breaker *breaker, const struct circuit_settings *settings,
                                  uint64_t now_ms, uint32_t random)
{
    bool opens = !breaker->open;
    open_circuit(breaker, settings, now_ms, random);
    return opens;
}

static void open_circuit(struct circuit_breaker *breaker, const struct circuit_settings *settings,
                         uint64_t now_ms, uint32_t random)
{
    if (!breaker->open && now_ms >= breaker->closed_ms + settings->backoff_max_ms)
        breaker->backoffs = 0;
    uint64_t whole = backoff_ms(breaker, settings), half = whole / 2;
    breaker->open = true;
    breaker->due_ms = now_ms + half + random % (whole - half + 1);
    breaker->backoffs++;
}

static uint64_t backoff_ms(const struct circuit_breaker *breaker, const struct circuit_settings *settings)
{
    uint64_t backoff = settings->backoff_ms;
    for (unsigned i = 0; i < breaker->backoffs && backoff < settings->backoff_max_ms; i++)
        backoff *= 2;
    return backoff < settings->backoff_max_ms ? backoff : settings->backoff_max_ms;
}

bool circuit_breaker_served(struct circuit_breaker *breaker, uint64_t now_ms)
{
    breaker->backoffs = 0;
    return circuit_breaker_probe_served(breaker, now_ms);
}

/* A server that answers probes and fails all the same is not to be asked every second: the back-off stays. */
bool circuit_breaker_probe_served(struct circuit_breaker *breaker, uint64_t now_ms)
{
    bool closes = breaker->open;
    if (closes)
        breaker->closed_ms = now_ms;
    breaker->open = false;
    breaker->failures = 0;
    return closes;
}
