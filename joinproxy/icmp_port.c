#include "joinproxy/icmp_port.h"

#include "common/log.h"
#include "common/rate_limit.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MESSAGES_PER_S 10

struct icmp_port {
    int fd; /* -1: silent */
    struct rate_limit limit;
};

/* Room for packet information and its alignment. */
union control {
    size_t aligned; /* as struct cmsghdr is */
    uint8_t octets[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

static void hear_nothing(int fd);
static bool send_message(int fd, const struct icmp_occasion *occasion, struct bytes message);
static void name_source(struct msghdr *header, const struct icmp_occasion *occasion);

struct icmp_port *icmp_port_create(void)
{
    struct icmp_port *port = calloc(1, sizeof *port);
    if (port == NULL)
        return NULL;
    port->fd = socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMPV6);
    if (port->fd >= 0)
        hear_nothing(port->fd);
    else
        log_info("icmp_port", "pledges are not told of errors by ICMPv6: %s (CAP_NET_RAW permits it)",
                 strerror(errno));
    return port;
}

void icmp_port_free(struct icmp_port *port)
{
    if (port == NULL)
        return;
    if (port->fd >= 0)
        close(port->fd);
    free(port);
}

bool icmp_port_send(struct icmp_port *port, const struct icmp_occasion *occasion, uint64_t now_ms)
{
    struct buffer message;
    if (port->fd < 0 || !rate_limit_has(&port->limit, MESSAGES_PER_S, 1, now_ms))
        return false;
    buffer_init(&message, ICMP_ERROR_OCTETS_MAX);
    enum status status =
        icmp_error_write(&occasion->error, occasion->pledge, occasion->local, occasion->payload, &message);
    bool sent = status == STATUS_OK && send_message(port->fd, occasion, buffer_view(&message));
    if (sent)
        rate_limit_take(&port->limit, 1);
    buffer_free(&message);
    return sent;
}

static void hear_nothing(int fd)
{
    struct icmp6_filter filter;
    ICMP6_FILTER_SETBLOCKALL(&filter);
    setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter);
}

static bool send_message(int fd, const struct icmp_occasion *occasion, struct bytes message)
{
    union control control = {.octets = {0}};
    struct sockaddr_in6 to = occasion->pledge->address.v6;
    struct iovec part = {.iov_len = message.len};
    /* sendmsg only reads, but its iovec is not const. */
    memcpy(&part.iov_base, &message.at, sizeof part.iov_base);
    struct msghdr header = {.msg_name = &to,
                            .msg_namelen = sizeof to,
                            .msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof control};
    to.sin6_port = 0; /* of a raw socket it would be a protocol */
    name_source(&header, occasion);
    return sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static void name_source(struct msghdr *header, const struct icmp_occasion *occasion)
{
    struct in6_pktinfo info = {.ipi6_addr = occasion->local->address.v6.sin6_addr,
                               .ipi6_ifindex = occasion->interface};
    struct cmsghdr *item = CMSG_FIRSTHDR(header);
    item->cmsg_level = IPPROTO_IPV6;
    item->cmsg_type = IPV6_PKTINFO;
    item->cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(item), &info, sizeof info);
    header->msg_controllen = CMSG_SPACE(sizeof info);
}
