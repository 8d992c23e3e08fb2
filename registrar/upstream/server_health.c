#include "registrar/upstream/server_health.h"

#include <stdlib.h>
#include <string.h>

static struct health_part *add_part(struct server_health *health, const char *profile);
static bool is_whole(const struct health_part *part);
static bool opens(struct health_part *part, const struct circuit_settings *settings,
                  const struct health_event *event);

struct server_health *server_health_create(void)
{
    struct server_health *health = calloc(1, sizeof *health);
    if (health != NULL && add_part(health, "") != NULL)
        return health;
    free(health);
    return NULL;
}

/* After the others, so that the server as a whole stays first. NULL: no memory, or too many. */
static struct health_part *add_part(struct server_health *health, const char *profile)
{
    struct health_part **end = &health->parts;
    size_t count = 0, octets = strlen(profile) + 1;
    for (; *end != NULL; count++)
        end = &(*end)->next;
    struct health_part *part = count <= SERVER_PROFILES_MAX ? calloc(1, sizeof *part + octets) : NULL;
    if (part == NULL)
        return NULL;
    memcpy(part->profile, profile, octets);
    *end = part;
    return part;
}

void server_health_free(struct server_health *health)
{
    if (health == NULL)
        return;
    for (struct health_part *part = health->parts, *next; part != NULL; part = next) {
        next = part->next;
        free(part);
    }
    free(health);
}

struct health_part *server_health_part(const struct server_health *health, const char *profile)
{
    struct health_part *part = health->parts;
    while (part != NULL && strcmp(part->profile, profile) != 0)
        part = part->next;
    return part;
}

bool server_health_is_well(const struct server_health *health, const char *profile)
{
    const struct health_part *part = server_health_part(health, profile);
    return !health->parts->circuit.open && (part == NULL || !part->circuit.open);
}

/* The server first: once it is left as a whole, so are its profiles. */
const struct health_part *server_health_failed(struct server_health *health,
                                               const struct circuit_settings *settings,
                                               const struct health_event *event)
{
    struct health_part *whole = health->parts, *part = server_health_to_blame(health, event);
    if (!is_whole(part)) {
        health->several_failed |= health->failed != NULL && health->failed != part;
        health->failed = part;
    }
    if ((is_whole(part) || health->several_failed) && opens(whole, settings, event))
        return whole;
    return !is_whole(part) && opens(part, settings, event) ? part : NULL;
}

struct health_part *server_health_to_blame(struct server_health *health, const struct health_event *event)
{
    struct health_part *part = event->of_server ? health->parts : server_health_part(health, event->profile);
    if (part == NULL)
        part = add_part(health, event->profile);
    return part != NULL ? part : health->parts;
}

static bool is_whole(const struct health_part *part)
{
    return part->profile[0] == '\0';
}

static bool opens(struct health_part *part, const struct circuit_settings *settings,
                  const struct health_event *event)
{
    if (!circuit_breaker_failed(&part->circuit, settings, event->now_ms, event->random))
        return false;
    part->fails_since_ms = event->now_ms;
    return true;
}

/* What several profiles have failed with before is the server's no more. */
bool server_health_probe_served(struct server_health *health, struct health_part *part, uint64_t now_ms)
{
    if (is_whole(part)) {
        health->failed = NULL;
        health->several_failed = false;
    }
    return circuit_breaker_probe_served(&part->circuit, now_ms);
}

/* A profile that is left alone while its server is stays so until its own probe. */
const struct health_part *server_health_served(struct server_health *health, const struct health_event *event)
{
    struct health_part *whole = health->parts, *part = server_health_part(health, event->profile);
    health->failed = NULL;
    health->several_failed = false;
    if (circuit_breaker_served(&whole->circuit, event->now_ms))
        return whole;
    return part != NULL && circuit_breaker_served(&part->circuit, event->now_ms) ? part : NULL;
}
