#include "joinproxy/registrar_socket.h"

#include "common/udp_socket.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Room for the report, and for the address of who made it. */
union control {
    size_t aligned; /* as struct cmsghdr is */
    uint8_t octets[CMSG_SPACE(sizeof(struct sock_extended_err) + sizeof(struct sockaddr_in6)) + 64];
};

static bool want_reports(int fd, sa_family_t family);
static bool is_about_routes(int error);
static void read_report(struct msghdr *header, struct icmp_error *error);

enum status registrar_socket_open(const struct endpoint *registrar, uint16_t port, int *fd)
{
    struct endpoint local = {.len = registrar->len};
    sa_family_t family = registrar->address.any.sa_family;
    if (family == AF_INET)
        local.address.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    else
        local.address.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
    int opened;
    if (udp_socket_open(&local, UDP_EXCLUSIVE, &opened) != STATUS_OK)
        return STATUS_SYSTEM;
    if (want_reports(opened, family) && connect(opened, &registrar->address.any, registrar->len) == 0) {
        *fd = opened;
        return STATUS_OK;
    }
    int saved = errno;
    close(opened);
    errno = saved;
    return is_about_routes(saved) ? STATUS_NOT_FOUND : STATUS_SYSTEM;
}

/* An address is ours as long as another socket can have it. */
bool registrar_socket_has_address(int fd)
{
    struct endpoint local;
    int probe;
    if (udp_socket_local(fd, &local) != STATUS_OK)
        return false;
    if (local.address.any.sa_family == AF_INET)
        local.address.v4.sin_port = 0;
    else
        local.address.v6.sin6_port = 0;
    if (udp_socket_open(&local, UDP_EXCLUSIVE, &probe) != STATUS_OK)
        return errno != EADDRNOTAVAIL && errno != ENODEV;
    close(probe);
    return true;
}

size_t registrar_socket_mtu(int fd)
{
    int mtu = 0;
    socklen_t len = sizeof mtu;
    if (getsockopt(fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &len) != 0 &&
        getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &len) != 0)
        mtu = 0;
    return mtu > 0 && mtu < UINT16_MAX ? (size_t)mtu : UINT16_MAX;
}

void registrar_socket_send(int fd, struct bytes payload)
{
    while (send(fd, payload.at, payload.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EINTR)
        continue;
}

bool registrar_socket_error(int fd, struct icmp_error *error, struct buffer *payload)
{
    union control control = {.octets = {0}};
    uint8_t octets[UDP_DATAGRAM_MAX];
    struct iovec part = {octets, sizeof octets};
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    *error = (struct icmp_error){0, 0, 0};
    ssize_t len = recvmsg(fd, &header, MSG_ERRQUEUE | MSG_DONTWAIT);
    if (len < 0)
        return false;
    read_report(&header, error);
    buffer_append(payload, (struct bytes){octets, (size_t)len});
    return true;
}

static bool want_reports(int fd, sa_family_t family)
{
    int on = 1;
    if (family == AF_INET)
        return setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof on) == 0;
    return setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on) == 0 &&
           setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof on) == 0;
}

static bool is_about_routes(int error)
{
    return error == ENETUNREACH || error == EHOSTUNREACH || error == EADDRNOTAVAIL || error == ENODEV;
}

static void read_report(struct msghdr *header, struct icmp_error *error)
{
    for (struct cmsghdr *item = CMSG_FIRSTHDR(header); item != NULL; item = CMSG_NXTHDR(header, item)) {
        bool is_report = (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_RECVERR) ||
                         (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_RECVERR);
        struct sock_extended_err reported;
        if (!is_report || item->cmsg_len < CMSG_LEN(sizeof reported))
            continue;
        memcpy(&reported, CMSG_DATA(item), sizeof reported);
        icmp_error_translate(&reported, error);
    }
}
