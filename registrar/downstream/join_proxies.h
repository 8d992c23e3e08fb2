/* The stateless join proxies that devices come through, and what each has open: one that invents devices
 * takes from itself alone (JPR-6). */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_JOIN_PROXIES_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_JOIN_PROXIES_H

#include "common/endpoint.h"

#include <sys/queue.h>

/* Of those that have nothing open, so many are remembered for their rate. */
#define JOIN_PROXIES_IDLE_MAX 1024

struct join_proxies;

TAILQ_HEAD(join_proxy_guests, join_proxy_guest);

/* One address, whatever the port. Only join_proxies changes it. */
struct join_proxy {
    struct join_proxy_guests handshakes;  /* the oldest first */
    struct join_proxy_guests established; /* the one silent for longest first */
    uint32_t handshake_count, established_count;
};

/* Embedded in each association that came through a join proxy. */
struct join_proxy_guest {
    struct join_proxy *proxy; /* NULL: it came directly */
    bool established;
    TAILQ_ENTRY(join_proxy_guest) order;
};

/* handshakes_per_s is for each of them. Gives; NULL: no memory or no randomness. */
struct join_proxies *join_proxies_create(uint32_t handshakes_per_s);
void join_proxies_free(struct join_proxies *proxies); /* guests have left */

/* The one at this address. NULL: no memory. Borrows, until the next call that names another address. */
struct join_proxy *join_proxies_find(struct join_proxies *proxies, const struct endpoint *peer);

/* Whether the rate lets another handshake of it begin now, and counts that one. */
bool join_proxies_admit(struct join_proxies *proxies, struct join_proxy *proxy, uint64_t now_ms);

/* What a guest goes through: it begins a handshake, is established, is heard of, and leaves at any time. All
 * but the first do nothing for one that came directly. */
void join_proxies_enter(struct join_proxies *proxies, struct join_proxy *proxy,
                        struct join_proxy_guest *guest);
void join_proxies_establish(struct join_proxy_guest *guest);
void join_proxies_touch(struct join_proxy_guest *guest);
void join_proxies_leave(struct join_proxies *proxies, struct join_proxy_guest *guest);

#endif
