#include "registrar/downstream/join_proxies.h"

#include "common/container_of.h"
#include "common/rate_limit.h"
#include "registrar/downstream/flow_map.h"

#include <stdlib.h>

/* Found by a flow of which only the peer's address is set. */
struct entry {
    struct flow_node node; /* first: the map gives pointers to it */
    struct join_proxy proxy;
    struct rate_limit rate;
    TAILQ_ENTRY(entry) order; /* of those without guests */
};

struct join_proxies {
    uint32_t handshakes_per_s;
    struct flow_map *map;
    TAILQ_HEAD(, entry) idle; /* the one without guests for longest first */
    size_t idle_count;
};

static struct flow key_of(const struct endpoint *peer);
static struct entry *add(struct join_proxies *proxies, const struct flow *key);
static void rest(struct join_proxies *proxies, struct entry *entry);
static void drop(struct join_proxies *proxies, struct entry *entry);
static bool is_idle(const struct join_proxy *proxy);
static struct entry *entry_of(struct join_proxy *proxy);

struct join_proxies *join_proxies_create(uint32_t handshakes_per_s)
{
    struct join_proxies *proxies = calloc(1, sizeof *proxies);
    if (proxies == NULL)
        return NULL;
    proxies->handshakes_per_s = handshakes_per_s;
    proxies->map = flow_map_create(JOIN_PROXIES_IDLE_MAX);
    TAILQ_INIT(&proxies->idle);
    if (proxies->map != NULL)
        return proxies;
    free(proxies);
    return NULL;
}

void join_proxies_free(struct join_proxies *proxies)
{
    if (proxies == NULL)
        return;
    struct entry *entry;
    while ((entry = TAILQ_FIRST(&proxies->idle)) != NULL)
        drop(proxies, entry); /* NOLINT(clang-analyzer-unix.Malloc): it is taken off the list */
    flow_map_free(proxies->map);
    free(proxies);
}

struct join_proxy *join_proxies_find(struct join_proxies *proxies, const struct endpoint *peer)
{
    const struct flow key = key_of(peer);
    struct entry *entry = (struct entry *)flow_map_find(proxies->map, &key);
    if (entry == NULL)
        entry = add(proxies, &key);
    return entry != NULL ? &entry->proxy : NULL;
}

bool join_proxies_admit(struct join_proxies *proxies, struct join_proxy *proxy, uint64_t now_ms)
{
    struct rate_limit *rate = &entry_of(proxy)->rate;
    if (!rate_limit_has(rate, proxies->handshakes_per_s, 1, now_ms))
        return false;
    rate_limit_take(rate, 1);
    return true;
}

void join_proxies_enter(struct join_proxies *proxies, struct join_proxy *proxy,
                        struct join_proxy_guest *guest)
{
    if (is_idle(proxy)) {
        TAILQ_REMOVE(&proxies->idle, entry_of(proxy), order);
        proxies->idle_count--;
    }
    guest->proxy = proxy;
    guest->established = false;
    TAILQ_INSERT_TAIL(&proxy->handshakes, guest, order);
    proxy->handshake_count++;
}

void join_proxies_establish(struct join_proxy_guest *guest)
{
    struct join_proxy *proxy = guest->proxy;
    if (proxy == NULL)
        return;
    TAILQ_REMOVE(&proxy->handshakes, guest, order);
    proxy->handshake_count--;
    guest->established = true;
    TAILQ_INSERT_TAIL(&proxy->established, guest, order);
    proxy->established_count++;
}

void join_proxies_touch(struct join_proxy_guest *guest)
{
    struct join_proxy *proxy = guest->proxy;
    if (proxy == NULL || !guest->established)
        return;
    TAILQ_REMOVE(&proxy->established, guest, order);
    TAILQ_INSERT_TAIL(&proxy->established, guest, order);
}

void join_proxies_leave(struct join_proxies *proxies, struct join_proxy_guest *guest)
{
    struct join_proxy *proxy = guest->proxy;
    if (proxy == NULL)
        return;
    TAILQ_REMOVE(guest->established ? &proxy->established : &proxy->handshakes, guest, order);
    *(guest->established ? &proxy->established_count : &proxy->handshake_count) -= 1;
    guest->proxy = NULL;
    if (is_idle(proxy))
        rest(proxies, entry_of(proxy));
}

static struct flow key_of(const struct endpoint *peer)
{
    struct flow key = {.peer = *peer};
    if (key.peer.address.any.sa_family == AF_INET6)
        key.peer.address.v6.sin6_port = 0;
    else
        key.peer.address.v4.sin_port = 0;
    return key;
}

static struct entry *add(struct join_proxies *proxies, const struct flow *key)
{
    struct entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        return NULL;
    entry->node.flow = *key;
    TAILQ_INIT(&entry->proxy.handshakes);
    TAILQ_INIT(&entry->proxy.established);
    flow_map_insert(proxies->map, &entry->node);
    rest(proxies, entry);
    return entry;
}

/* The one that has rested for longest is forgotten: its bucket is full again, or its address was one of many.
 */
static void rest(struct join_proxies *proxies, struct entry *entry)
{
    TAILQ_INSERT_TAIL(&proxies->idle, entry, order);
    if (++proxies->idle_count > JOIN_PROXIES_IDLE_MAX)
        drop(proxies, TAILQ_FIRST(&proxies->idle));
}

static void drop(struct join_proxies *proxies, struct entry *entry)
{
    TAILQ_REMOVE(&proxies->idle, entry, order);
    proxies->idle_count--;
    flow_map_remove(proxies->map, &entry->node);
    free(entry);
}

static bool is_idle(const struct join_proxy *proxy)
{
    return proxy->handshake_count + proxy->established_count == 0;
}

static struct entry *entry_of(struct join_proxy *proxy)
{
    return CONTAINER_OF(proxy, struct entry, proxy);
}
