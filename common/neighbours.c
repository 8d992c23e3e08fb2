#include "common/neighbours.h"

#include "common/udp_socket.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define REPLY_OCTETS_MAX 1024
#define STALE_REPLIES    8 /* that an earlier question may have left */
#define NUD_SENDABLE     (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY)

#define IPV4_OCTETS 4
#define IPV6_OCTETS 16

struct neighbours {
    int fd; /* -1: there is no netlink */
    uint32_t sequence;
};

/* Whom a datagram goes to. */
struct hop {
    uint8_t family, address[IPV6_OCTETS];
    size_t len; /* of address */
    int interface;
};

/* rtnetlink(7): one neighbour, or the route to one address. */
struct question {
    struct nlmsghdr head;
    union {
        struct ndmsg neighbour;
        struct rtmsg route;
    } about;
    struct rtattr attribute;
    uint8_t address[IPV6_OCTETS];
};

/* What follows the head, which says what it is. */
struct reply {
    struct nlmsghdr head;
    uint8_t octets[REPLY_OCTETS_MAX];
    size_t len;
};

static struct hop hop_of(const struct endpoint *peer, unsigned interface);
static bool is_link_local(const struct hop *hop);
static bool find_route(struct neighbours *neighbours, struct hop *hop);
static bool read_route(const struct reply *reply, struct hop *hop);
static bool is_known(struct neighbours *neighbours, const struct hop *hop);
static bool has_no_addresses(const struct neighbours *neighbours, int interface);
static bool ask(struct neighbours *neighbours, struct question *question, const struct hop *hop,
                struct reply *reply);
static bool hear(const struct neighbours *neighbours, struct reply *reply);

struct neighbours *neighbours_create(void)
{
    struct neighbours *neighbours = calloc(1, sizeof *neighbours);
    if (neighbours != NULL)
        neighbours->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    return neighbours;
}

void neighbours_free(struct neighbours *neighbours)
{
    if (neighbours == NULL)
        return;
    if (neighbours->fd >= 0)
        close(neighbours->fd);
    free(neighbours);
}

bool neighbours_admit(struct neighbours *neighbours, int fd, const struct endpoint *peer, unsigned interface)
{
    return !udp_socket_is_congested(fd) || neighbours_know(neighbours, peer, interface);
}

bool neighbours_know(struct neighbours *neighbours, const struct endpoint *peer, unsigned interface)
{
    struct hop hop = hop_of(peer, interface);
    if (neighbours->fd < 0 || (!is_link_local(&hop) && !find_route(neighbours, &hop)))
        return true;
    return is_known(neighbours, &hop);
}

static struct hop hop_of(const struct endpoint *peer, unsigned interface)
{
    const struct in6_addr *v6 = &peer->address.v6.sin6_addr;
    struct hop hop = {.family = AF_INET, .len = IPV4_OCTETS, .interface = (int)interface};
    if (peer->address.any.sa_family == AF_INET) {
        memcpy(hop.address, &peer->address.v4.sin_addr, IPV4_OCTETS);
    } else if (IN6_IS_ADDR_V4MAPPED(v6)) {
        memcpy(hop.address, v6->s6_addr + IPV6_OCTETS - IPV4_OCTETS, IPV4_OCTETS);
    } else {
        hop.family = AF_INET6;
        hop.len = IPV6_OCTETS;
        memcpy(hop.address, v6, IPV6_OCTETS);
    }
    return hop;
}

static bool is_link_local(const struct hop *hop)
{
    return hop->family == AF_INET6 && hop->address[0] == 0xfe && (hop->address[1] & 0xc0) == 0x80;
}

/* Makes of the peer the neighbour that comes first on the way. False: there is none. */
static bool find_route(struct neighbours *neighbours, struct hop *hop)
{
    struct question question = {
        .head = {.nlmsg_type = RTM_GETROUTE},
        .about.route = {.rtm_family = hop->family, .rtm_dst_len = (unsigned char)(8 * hop->len)},
        .attribute = {.rta_type = RTA_DST},
    };
    struct reply reply;
    return ask(neighbours, &question, hop, &reply) && reply.head.nlmsg_type == RTM_NEWROUTE &&
           read_route(&reply, hop);
}

static bool read_route(const struct reply *reply, struct hop *hop)
{
    struct rtmsg route;
    struct rtattr attribute;
    if (reply->len < sizeof route)
        return false;
    memcpy(&route, reply->octets, sizeof route);
    size_t at = sizeof route;
    while (reply->len - at >= sizeof attribute) {
        memcpy(&attribute, reply->octets + at, sizeof attribute);
        const uint8_t *value = reply->octets + at + sizeof attribute;
        if (attribute.rta_len < sizeof attribute || attribute.rta_len > reply->len - at)
            return false;
        size_t len = attribute.rta_len - sizeof attribute;
        if (attribute.rta_type == RTA_OIF && len == sizeof hop->interface)
            memcpy(&hop->interface, value, len);
        else if (attribute.rta_type == RTA_GATEWAY && len == hop->len)
            memcpy(hop->address, value, len);
        else if (attribute.rta_type == RTA_VIA) /* a router of the other family */
            return false;
        size_t padded = RTA_ALIGN((size_t)attribute.rta_len);
        at += padded < reply->len - at ? padded : reply->len - at;
    }
    return route.rtm_type == RTN_UNICAST;
}

static bool is_known(struct neighbours *neighbours, const struct hop *hop)
{
    struct question question = {
        .head = {.nlmsg_type = RTM_GETNEIGH},
        .about.neighbour = {.ndm_family = hop->family, .ndm_ifindex = hop->interface},
        .attribute = {.rta_type = NDA_DST},
    };
    struct reply reply;
    struct ndmsg neighbour;
    int error;
    if (!ask(neighbours, &question, hop, &reply))
        return true;
    if (reply.head.nlmsg_type == RTM_NEWNEIGH && reply.len >= sizeof neighbour) {
        memcpy(&neighbour, reply.octets, sizeof neighbour);
        return (neighbour.ndm_state & NUD_SENDABLE) != 0;
    }
    if (reply.head.nlmsg_type == NLMSG_ERROR && reply.len >= sizeof error) {
        memcpy(&error, reply.octets, sizeof error);
        return error != -ENOENT || has_no_addresses(neighbours, hop->interface);
    }
    return true;
}

/* A tunnel, say: what leaves by it waits for none. */
static bool has_no_addresses(const struct neighbours *neighbours, int interface)
{
    struct ifreq request = {.ifr_flags = 0};
    return if_indextoname((unsigned)interface, request.ifr_name) != NULL &&
           ioctl(neighbours->fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_NOARP) != 0;
}

/* About this address. The kernel has answered by the time that the question is sent. */
static bool ask(struct neighbours *neighbours, struct question *question, const struct hop *hop,
                struct reply *reply)
{
    const size_t len = offsetof(struct question, address) + hop->len;
    question->head.nlmsg_len = (uint32_t)len;
    question->head.nlmsg_flags = NLM_F_REQUEST;
    question->head.nlmsg_seq = ++neighbours->sequence;
    question->attribute.rta_len = (unsigned short)RTA_LENGTH(hop->len);
    memcpy(question->address, hop->address, hop->len);
    if (send(neighbours->fd, question, len, MSG_DONTWAIT) != (ssize_t)len)
        return false;
    for (int i = 0; i < STALE_REPLIES && hear(neighbours, reply); i++)
        if (reply->head.nlmsg_seq == neighbours->sequence)
            return true;
    return false;
}

/* False: there is none, or none that could be read. */
static bool hear(const struct neighbours *neighbours, struct reply *reply)
{
    struct iovec parts[] = {{&reply->head, sizeof reply->head}, {reply->octets, sizeof reply->octets}};
    struct msghdr header = {.msg_iov = parts, .msg_iovlen = sizeof parts / sizeof parts[0]};
    ssize_t len = recvmsg(neighbours->fd, &header, MSG_DONTWAIT);
    if (len < (ssize_t)sizeof reply->head)
        return false;
    reply->len = (size_t)len - sizeof reply->head;
    return true;
}
