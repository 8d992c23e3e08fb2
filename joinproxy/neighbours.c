#include "joinproxy/neighbours.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REPLY_OCTETS_MAX 1024
#define STALE_REPLIES    8 /* that an earlier question may have left */
#define NUD_SENDABLE     (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY)

struct neighbours {
    int fd; /* -1: there is no netlink */
    uint32_t sequence;
};

/* rtnetlink(7): one neighbour. */
struct question {
    struct nlmsghdr head;
    struct ndmsg neighbour;
    struct rtattr attribute;
    struct in6_addr address;
};

static bool ask(struct neighbours *neighbours, const struct in6_addr *address, unsigned interface);
static bool hear(const struct neighbours *neighbours, bool *known);
static bool read_reply(const uint8_t *octets, size_t len, uint32_t sequence, bool *known);

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

bool neighbours_admit(struct neighbours *neighbours, int fd, const struct udp_datagram *datagram)
{
    return !udp_socket_is_congested(fd) || neighbours_know(neighbours, &datagram->peer, datagram->interface);
}

bool neighbours_know(struct neighbours *neighbours, const struct endpoint *pledge, unsigned interface)
{
    bool known = true;
    if (neighbours->fd < 0 || pledge->address.any.sa_family != AF_INET6 ||
        !IN6_IS_ADDR_LINKLOCAL(&pledge->address.v6.sin6_addr))
        return true;
    if (!ask(neighbours, &pledge->address.v6.sin6_addr, interface))
        return true;
    for (int i = 0; i < STALE_REPLIES; i++)
        if (hear(neighbours, &known))
            break;
    return known;
}

static bool ask(struct neighbours *neighbours, const struct in6_addr *address, unsigned interface)
{
    const struct question question = {
        .head = {.nlmsg_len = sizeof question,
                 .nlmsg_type = RTM_GETNEIGH,
                 .nlmsg_flags = NLM_F_REQUEST,
                 .nlmsg_seq = ++neighbours->sequence},
        .neighbour = {.ndm_family = AF_INET6, .ndm_ifindex = (int)interface},
        .attribute = {.rta_len = RTA_LENGTH(sizeof *address), .rta_type = NDA_DST},
        .address = *address,
    };
    return send(neighbours->fd, &question, sizeof question, MSG_DONTWAIT) == sizeof question;
}

/* The kernel has answered by the time that the question is sent. False: what there was is of an earlier
 * question. */
static bool hear(const struct neighbours *neighbours, bool *known)
{
    uint8_t octets[REPLY_OCTETS_MAX];
    ssize_t len = recv(neighbours->fd, octets, sizeof octets, MSG_DONTWAIT);
    return len < 0 || read_reply(octets, (size_t)len, neighbours->sequence, known);
}

static bool read_reply(const uint8_t *octets, size_t len, uint32_t sequence, bool *known)
{
    struct nlmsghdr head;
    struct ndmsg neighbour;
    int error;
    if (len < sizeof head)
        return false;
    memcpy(&head, octets, sizeof head);
    if (head.nlmsg_seq != sequence)
        return false;
    if (head.nlmsg_type == RTM_NEWNEIGH && len >= NLMSG_HDRLEN + sizeof neighbour) {
        memcpy(&neighbour, octets + NLMSG_HDRLEN, sizeof neighbour);
        *known = (neighbour.ndm_state & NUD_SENDABLE) != 0;
    } else if (head.nlmsg_type == NLMSG_ERROR && len >= NLMSG_HDRLEN + sizeof error) {
        memcpy(&error, octets + NLMSG_HDRLEN, sizeof error);
        *known = error != -ENOENT;
    }
    return true;
}
