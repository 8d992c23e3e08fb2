#include "joinproxy/traffic_limits.h"

#include "common/rate_limit.h"
#include "common/siphash.h"

#include <stdlib.h>
#include <sys/random.h>

#define PLEDGE_SHARES   1024 /* a power of two */
#define ENDPOINT_OCTETS 26   /* of endpoint_serialise */

struct direction {
    struct rate_limit packets, octets;
};

struct traffic_limits {
    const struct limit_settings *settings;
    struct siphash_key key;
    struct direction up[PLEDGE_LINKS_MAX], down[PLEDGE_LINKS_MAX];
    struct rate_limit pledges[PLEDGE_SHARES];
};

static struct rate_limit *share_of(struct traffic_limits *limits, const struct endpoint *pledge);
static bool admit(const struct limit_settings *settings, struct direction *direction, size_t octets,
                  uint64_t now_ms);

struct traffic_limits *traffic_limits_create(const struct limit_settings *settings)
{
    struct traffic_limits *limits = calloc(1, sizeof *limits);
    if (limits == NULL)
        return NULL;
    limits->settings = settings;
    if (getrandom(&limits->key, sizeof limits->key, 0) == sizeof limits->key)
        return limits;
    free(limits);
    return NULL;
}

void traffic_limits_free(struct traffic_limits *limits)
{
    free(limits);
}

bool traffic_limits_admit_up(struct traffic_limits *limits, size_t link, const struct endpoint *pledge,
                             size_t octets, uint64_t now_ms)
{
    struct rate_limit *share = share_of(limits, pledge);
    if (!rate_limit_has(share, limits->settings->pledge_packets_per_s, 1, now_ms))
        return false;
    if (!admit(limits->settings, &limits->up[link], octets, now_ms))
        return false;
    rate_limit_take(share, 1);
    return true;
}

bool traffic_limits_admit_down(struct traffic_limits *limits, size_t link, size_t octets, uint64_t now_ms)
{
    return admit(limits->settings, &limits->down[link], octets, now_ms);
}

/* By address and scope: a pledge has many ports. */
static struct rate_limit *share_of(struct traffic_limits *limits, const struct endpoint *pledge)
{
    struct endpoint address = *pledge;
    struct buffer octets;
    if (address.address.any.sa_family == AF_INET)
        address.address.v4.sin_port = 0;
    else
        address.address.v6.sin6_port = 0;
    buffer_init(&octets, ENDPOINT_OCTETS);
    endpoint_serialise(&address, &octets);
    uint64_t hash = siphash(&limits->key, buffer_view(&octets));
    buffer_free(&octets);
    return &limits->pledges[hash & (PLEDGE_SHARES - 1)];
}

static bool admit(const struct limit_settings *settings, struct direction *direction, size_t octets,
                  uint64_t now_ms)
{
    if (!rate_limit_has(&direction->packets, settings->interface_packets_per_s, 1, now_ms) ||
        !rate_limit_has(&direction->octets, settings->interface_octets_per_s, (uint32_t)octets, now_ms))
        return false;
    rate_limit_take(&direction->packets, 1);
    rate_limit_take(&direction->octets, (uint32_t)octets);
    return true;
}
