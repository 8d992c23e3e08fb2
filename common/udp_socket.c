#include "common/udp_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Room for packet information of either family and its alignment. */
union control {
    size_t aligned; /* as struct cmsghdr is */
    uint8_t octets[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

struct udp_batch {
    struct mmsghdr messages[UDP_BATCH_MAX];
    struct iovec parts[UDP_BATCH_MAX];
    struct sockaddr_storage peers[UDP_BATCH_MAX];
    union control controls[UDP_BATCH_MAX];
    uint8_t payloads[UDP_BATCH_MAX][UDP_DATAGRAM_MAX];
};

#define WAITING_SHARE 4 /* of the send buffer: a quarter may wait */

#define PENDING_ERRORS_MAX 8 /* reports of ICMP errors skipped in one call */

static enum status prepare(int fd, const struct endpoint *local, enum udp_sharing sharing);
static bool prepare_v4(int fd);
static bool prepare_v6(int fd, const struct in6_addr *address);
static bool set_option(int fd, int level, int option, int value);
static enum status close_failed(int fd);
static void rewind_batch(struct udp_batch *batch);
static int receive_batch(int fd, struct udp_batch *batch);
static bool read_datagram(const struct mmsghdr *message, in_port_t port, struct udp_datagram *datagram);
static bool read_local(struct msghdr *header, in_port_t port, struct udp_datagram *datagram);
static void read_local_v4(const struct in_pktinfo *info, in_port_t port, struct udp_datagram *datagram);
static void read_local_v6(const struct in6_pktinfo *info, in_port_t port, struct udp_datagram *datagram);
static bool is_group_v6(const struct in6_addr *address);
static in_port_t wire_port(int fd);
static void name_source(struct msghdr *header, union control *control, const struct udp_datagram *datagram);
static void put_control(struct msghdr *header, int level, int type, const void *info, size_t len);

struct udp_batch *udp_batch_create(void)
{
    return calloc(1, sizeof(struct udp_batch));
}

void udp_batch_free(struct udp_batch *batch)
{
    free(batch);
}

enum status udp_socket_open(const struct endpoint *local, enum udp_sharing sharing, int *fd)
{
    int opened = socket(local->address.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (opened < 0)
        return STATUS_SYSTEM;
    if (prepare(opened, local, sharing) != STATUS_OK)
        return close_failed(opened);
    if (bind(opened, &local->address.any, local->len) != 0)
        return close_failed(opened);
    *fd = opened;
    return STATUS_OK;
}

enum status udp_socket_local(int fd, struct endpoint *local)
{
    struct endpoint bound = {.len = sizeof bound.address};
    if (getsockname(fd, &bound.address.any, &bound.len) != 0)
        return STATUS_SYSTEM;
    *local = bound;
    return STATUS_OK;
}

enum status udp_socket_join(int fd, const char *group, const char *interface)
{
    struct group_req request = {.gr_interface = if_nametoindex(interface)};
    if (request.gr_interface == 0)
        return STATUS_SYSTEM;
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    int level = IPPROTO_IP;
    if (inet_pton(AF_INET, group, &v4.sin_addr) == 1) {
        memcpy(&request.gr_group, &v4, sizeof v4);
    } else if (inet_pton(AF_INET6, group, &v6.sin6_addr) == 1) {
        memcpy(&request.gr_group, &v6, sizeof v6);
        level = IPPROTO_IPV6;
    } else {
        errno = EINVAL;
        return STATUS_SYSTEM;
    }
    return setsockopt(fd, level, MCAST_JOIN_GROUP, &request, sizeof request) == 0 ? STATUS_OK : STATUS_SYSTEM;
}

enum status udp_source_for(const struct endpoint *peer, struct endpoint *source)
{
    int probe = socket(peer->address.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return STATUS_SYSTEM;
    /* Connecting a UDP socket sends nothing: it only looks up the route. */
    if (connect(probe, &peer->address.any, peer->len) != 0 || udp_socket_local(probe, source) != STATUS_OK)
        return close_failed(probe);
    close(probe);
    return STATUS_OK;
}

size_t udp_socket_receive(int fd, struct udp_batch *batch,
                          void (*take)(void *user, const struct udp_datagram *datagram), void *user)
{
    size_t taken = 0;
    rewind_batch(batch);
    int count = receive_batch(fd, batch);
    in_port_t port = count > 0 ? wire_port(fd) : 0;
    for (int i = 0; i < count; i++) {
        struct udp_datagram datagram;
        if (!read_datagram(&batch->messages[i], port, &datagram))
            continue;
        take(user, &datagram);
        taken++;
    }
    return taken;
}

void udp_socket_send(int fd, const struct udp_datagram *datagram)
{
    union control control = {.octets = {0}};
    struct endpoint peer = datagram->peer;
    struct iovec part = {.iov_len = datagram->payload.len};
    /* sendmsg only reads, but its iovec is not const. */
    memcpy(&part.iov_base, &datagram->payload.at, sizeof part.iov_base);
    struct msghdr header = {
        .msg_name = &peer.address,
        .msg_namelen = peer.len,
        .msg_iov = &part,
        .msg_iovlen = 1,
    };
    if (datagram->local.len > 0 && !datagram->multicast)
        name_source(&header, &control, datagram);
    ssize_t sent;
    do
        sent = sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
}

bool udp_socket_is_congested(int fd)
{
    int waiting = 0, room = 0;
    socklen_t len = sizeof room;
    return ioctl(fd, SIOCOUTQ, &waiting) == 0 && getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, &len) == 0 &&
           waiting > room / WAITING_SHARE;
}

static enum status prepare(int fd, const struct endpoint *local, enum udp_sharing sharing)
{
    (void)set_option(fd, SOL_SOCKET, SO_RCVBUF, UDP_RECEIVE_OCTETS); /* the default serves as well */
    bool done = local->address.any.sa_family == AF_INET6 ? prepare_v6(fd, &local->address.v6.sin6_addr)
                                                         : prepare_v4(fd);
    /* Never SO_REUSEADDR: on UDP it would let a second instance take over the port without a word. */
    if (done && sharing == UDP_REUSEPORT)
        done = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (done && sharing == UDP_TRANSPARENT)
        done = local->address.any.sa_family == AF_INET6 ? set_option(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
                                                        : set_option(fd, IPPROTO_IP, IP_TRANSPARENT, 1);
    return done ? STATUS_OK : STATUS_SYSTEM;
}

/* Only groups that this very socket has joined reach it. */
static bool prepare_v4(int fd)
{
    return set_option(fd, IPPROTO_IP, IP_PKTINFO, 1) && set_option(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
}

/* An IPv4 packet on an IPv6 socket comes with IPv6 packet information that holds mapped addresses. */
static bool prepare_v6(int fd, const struct in6_addr *address)
{
    bool is_wildcard = IN6_IS_ADDR_UNSPECIFIED(address);
    return set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !is_wildcard && !IN6_IS_ADDR_V4MAPPED(address)) &&
           set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) &&
           set_option(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0) &&
           set_option(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
}

static bool set_option(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

static enum status close_failed(int fd)
{
    int saved = errno;
    close(fd);
    errno = saved;
    return STATUS_SYSTEM;
}

/* recvmmsg overwrites lengths and flags. */
static void rewind_batch(struct udp_batch *batch)
{
    for (size_t i = 0; i < UDP_BATCH_MAX; i++) {
        batch->parts[i] = (struct iovec){batch->payloads[i], UDP_DATAGRAM_MAX};
        batch->messages[i].msg_hdr = (struct msghdr){
            .msg_name = &batch->peers[i],
            .msg_namelen = sizeof batch->peers[i],
            .msg_iov = &batch->parts[i],
            .msg_iovlen = 1,
            .msg_control = &batch->controls[i],
            .msg_controllen = sizeof batch->controls[i],
        };
    }
}

/* An error that is not "nothing there" is the report of an ICMP message about an earlier answer; reading it
 * clears it. */
static int receive_batch(int fd, struct udp_batch *batch)
{
    for (int errors = 0; errors < PENDING_ERRORS_MAX; errors++) {
        int count = recvmmsg(fd, batch->messages, UDP_BATCH_MAX, MSG_DONTWAIT, NULL);
        if (count >= 0)
            return count;
        if (errno == EAGAIN)
            break;
    }
    return 0;
}

static bool read_datagram(const struct mmsghdr *message, in_port_t port, struct udp_datagram *datagram)
{
    struct msghdr header = message->msg_hdr;
    *datagram = (struct udp_datagram){.peer.len = header.msg_namelen};
    if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
        header.msg_namelen > sizeof datagram->peer.address)
        return false;
    memcpy(&datagram->peer.address, header.msg_name, header.msg_namelen);
    datagram->payload = (struct bytes){header.msg_iov->iov_base, message->msg_len};
    return read_local(&header, port, datagram);
}

static bool read_local(struct msghdr *header, in_port_t port, struct udp_datagram *datagram)
{
    for (struct cmsghdr *item = CMSG_FIRSTHDR(header); item != NULL; item = CMSG_NXTHDR(header, item)) {
        if (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(item), sizeof info);
            read_local_v4(&info, port, datagram);
            return true;
        }
        if (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(item), sizeof info);
            read_local_v6(&info, port, datagram);
            return true;
        }
    }
    return false;
}

/* ipi_spec_dst differs from the destination for groups and for broadcast; neither can be a source. */
static void read_local_v4(const struct in_pktinfo *info, in_port_t port, struct udp_datagram *datagram)
{
    datagram->local.len = sizeof(struct sockaddr_in);
    datagram->local.address.v4 =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port, .sin_addr = info->ipi_addr};
    datagram->interface = (unsigned)info->ipi_ifindex;
    datagram->multicast =
        IN_MULTICAST(ntohl(info->ipi_addr.s_addr)) || info->ipi_addr.s_addr != info->ipi_spec_dst.s_addr;
}

static void read_local_v6(const struct in6_pktinfo *info, in_port_t port, struct udp_datagram *datagram)
{
    struct sockaddr_in6 *local = &datagram->local.address.v6;
    datagram->local.len = sizeof *local;
    *local = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port, .sin6_addr = info->ipi6_addr};
    if (IN6_IS_ADDR_LINKLOCAL(&local->sin6_addr) || IN6_IS_ADDR_MC_LINKLOCAL(&local->sin6_addr))
        local->sin6_scope_id = info->ipi6_ifindex;
    datagram->interface = info->ipi6_ifindex;
    datagram->multicast = is_group_v6(&local->sin6_addr);
}

static bool is_group_v6(const struct in6_addr *address)
{
    if (!IN6_IS_ADDR_V4MAPPED(address))
        return IN6_IS_ADDR_MULTICAST(address);
    struct in_addr v4;
    memcpy(&v4, address->s6_addr + 12, sizeof v4);
    return IN_MULTICAST(ntohl(v4.s_addr)) || v4.s_addr == INADDR_BROADCAST;
}

static in_port_t wire_port(int fd)
{
    struct endpoint local = {.len = 0};
    return udp_socket_local(fd, &local) == STATUS_OK ? htons(endpoint_port(&local)) : 0;
}

/* The interface is given where the address means nothing without it; elsewhere routing decides. */
static void name_source(struct msghdr *header, union control *control, const struct udp_datagram *datagram)
{
    header->msg_control = control;
    header->msg_controllen = sizeof *control;
    if (datagram->local.address.any.sa_family == AF_INET) {
        struct in_pktinfo info = {.ipi_spec_dst = datagram->local.address.v4.sin_addr};
        put_control(header, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    } else {
        struct in6_pktinfo info = {.ipi6_addr = datagram->local.address.v6.sin6_addr};
        if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
            info.ipi6_ifindex = datagram->interface;
        put_control(header, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    }
}

static void put_control(struct msghdr *header, int level, int type, const void *info, size_t len)
{
    struct cmsghdr *item = CMSG_FIRSTHDR(header);
    item->cmsg_level = level;
    item->cmsg_type = type;
    item->cmsg_len = (socklen_t)CMSG_LEN(len); /* a socklen_t or a size_t, by the C library */
    memcpy(CMSG_DATA(item), info, len);
    header->msg_controllen = (socklen_t)CMSG_SPACE(len);
}
