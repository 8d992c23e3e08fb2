#include "joinproxy/pledge_links.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESSES_MAX 8 /* link-local ones of one interface; further ones are not looked at */

struct link_state {
    unsigned interface;
    struct in6_addr addresses[ADDRESSES_MAX];
    size_t address_count;
};

struct pledge_links {
    const struct pledge_settings *settings;
    struct link_state items[PLEDGE_LINKS_MAX];
    unsigned generation;
};

static void note_address(struct pledge_links *links, const struct ifaddrs *item);
static bool is_link_local(const struct endpoint *endpoint);
static bool is_ours(const struct link_state *state, const struct endpoint *peer);
static uint16_t check_of(const struct in6_addr *address);

struct pledge_links *pledge_links_create(const struct pledge_settings *settings)
{
    struct pledge_links *links = calloc(1, sizeof *links);
    if (links == NULL)
        return NULL;
    links->settings = settings;
    pledge_links_refresh(links);
    return links;
}

void pledge_links_free(struct pledge_links *links)
{
    free(links);
}

void pledge_links_refresh(struct pledge_links *links)
{
    struct ifaddrs *all = NULL;
    for (size_t i = 0; i < links->settings->interfaces.count; i++) {
        unsigned interface = if_nametoindex(links->settings->interfaces.items[i]);
        if (interface != links->items[i].interface)
            links->generation++;
        links->items[i] = (struct link_state){.interface = interface};
    }
    if (getifaddrs(&all) != 0)
        return;
    for (const struct ifaddrs *item = all; item != NULL; item = item->ifa_next)
        if (item->ifa_addr != NULL && item->ifa_addr->sa_family == AF_INET6)
            note_address(links, item);
    freeifaddrs(all);
}

unsigned pledge_links_generation(const struct pledge_links *links)
{
    return links->generation;
}

size_t pledge_links_count(const struct pledge_links *links)
{
    return links->settings->interfaces.count;
}

const char *pledge_links_name(const struct pledge_links *links, size_t link)
{
    return links->settings->interfaces.items[link];
}

unsigned pledge_links_interface(const struct pledge_links *links, size_t link)
{
    return links->items[link].interface;
}

bool pledge_links_admit(const struct pledge_links *links, const struct udp_datagram *datagram, size_t *link)
{
    if (datagram->interface == 0 || endpoint_port(&datagram->peer) == 0)
        return false;
    if (!links->settings->any_source && !is_link_local(&datagram->peer))
        return false;
    for (size_t i = 0; i < pledge_links_count(links); i++) {
        if (links->items[i].interface != datagram->interface)
            continue;
        *link = i;
        return links->settings->any_source || !is_ours(&links->items[i], &datagram->peer);
    }
    return false;
}

uint16_t pledge_links_check(const struct endpoint *local)
{
    return local->address.any.sa_family == AF_INET6 ? check_of(&local->address.v6.sin6_addr) : 0;
}

bool pledge_links_local(const struct pledge_links *links, size_t link, uint16_t check, struct endpoint *local)
{
    const struct link_state *state = &links->items[link];
    for (size_t i = 0; i < state->address_count; i++) {
        if (check_of(&state->addresses[i]) != check)
            continue;
        *local = (struct endpoint){.len = sizeof local->address.v6};
        local->address.v6 = (struct sockaddr_in6){
            .sin6_family = AF_INET6, .sin6_addr = state->addresses[i], .sin6_scope_id = state->interface};
        return true;
    }
    return false;
}

static void note_address(struct pledge_links *links, const struct ifaddrs *item)
{
    struct sockaddr_in6 address;
    memcpy(&address, item->ifa_addr, sizeof address);
    if (!IN6_IS_ADDR_LINKLOCAL(&address.sin6_addr))
        return;
    for (size_t i = 0; i < pledge_links_count(links); i++) {
        struct link_state *state = &links->items[i];
        if (strcmp(pledge_links_name(links, i), item->ifa_name) == 0 && state->address_count < ADDRESSES_MAX)
            state->addresses[state->address_count++] = address.sin6_addr;
    }
}

static bool is_link_local(const struct endpoint *endpoint)
{
    return endpoint->address.any.sa_family == AF_INET6 &&
           IN6_IS_ADDR_LINKLOCAL(&endpoint->address.v6.sin6_addr);
}

/* Whoever forges it would have answers delivered to this host: to its join-port again, or another program. */
static bool is_ours(const struct link_state *state, const struct endpoint *peer)
{
    for (size_t i = 0; i < state->address_count && peer->address.any.sa_family == AF_INET6; i++)
        if (memcmp(&state->addresses[i], &peer->address.v6.sin6_addr, sizeof state->addresses[i]) == 0)
            return true;
    return false;
}

/* The sum of the interface identifier's words: enough to tell a few addresses apart. */
static uint16_t check_of(const struct in6_addr *address)
{
    uint32_t sum = 0;
    for (size_t i = 8; i < sizeof address->s6_addr; i += 2)
        sum = sum * 31 + (uint32_t)(address->s6_addr[i] << 8 | address->s6_addr[i + 1]);
    return (uint16_t)(sum ^ sum >> 16);
}
