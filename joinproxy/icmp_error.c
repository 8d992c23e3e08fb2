#include "joinproxy/icmp_error.h"

#include <netinet/icmp6.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <string.h>

#define HOP_LIMIT        64
#define IPV6_MORE_OCTETS 20 /* than IPv4 has in its header */
#define MTU_LEAST        1280
#define ANY_CODE         255
#define SAME             255

/* What has no row is not passed on. */
static const struct row {
    uint8_t origin, type, code;
    uint8_t to_type, to_code;
} rows[] = {
    {SO_EE_ORIGIN_ICMP6, ICMP6_DST_UNREACH, ANY_CODE, ICMP6_DST_UNREACH, SAME},
    {SO_EE_ORIGIN_ICMP6, ICMP6_PACKET_TOO_BIG, 0, ICMP6_PACKET_TOO_BIG, 0},
    {SO_EE_ORIGIN_ICMP6, ICMP6_TIME_EXCEEDED, ANY_CODE, ICMP6_TIME_EXCEEDED, SAME},
    {SO_EE_ORIGIN_ICMP, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_NOPORT},
    {SO_EE_ORIGIN_ICMP, ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_NOPORT},
    {SO_EE_ORIGIN_ICMP, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, ICMP6_PACKET_TOO_BIG, 0},
    {SO_EE_ORIGIN_ICMP, ICMP_DEST_UNREACH, ICMP_NET_ANO, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADMIN},
    {SO_EE_ORIGIN_ICMP, ICMP_DEST_UNREACH, ICMP_HOST_ANO, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADMIN},
    {SO_EE_ORIGIN_ICMP, ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADMIN},
    {SO_EE_ORIGIN_ICMP, ICMP_DEST_UNREACH, ANY_CODE, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_NOROUTE},
    {SO_EE_ORIGIN_ICMP, ICMP_TIME_EXCEEDED, ANY_CODE, ICMP6_TIME_EXCEEDED, SAME},
};

static uint16_t udp_checksum(const struct ip6_hdr *ip, const struct udphdr *udp, struct bytes payload);
static uint32_t sum_words(uint32_t sum, struct bytes octets);
static void append_struct(struct buffer *message, const void *at, size_t len);

bool icmp_error_translate(const struct sock_extended_err *reported, struct icmp_error *error)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *row = &rows[i];
        if (row->origin != reported->ee_origin || row->type != reported->ee_type ||
            (row->code != ANY_CODE && row->code != reported->ee_code))
            continue;
        uint8_t code = row->to_code == SAME ? reported->ee_code : row->to_code;
        *error = (struct icmp_error){row->to_type, code, 0};
        if (row->to_type == ICMP6_PACKET_TOO_BIG) {
            bool from_v4 = row->origin == SO_EE_ORIGIN_ICMP;
            uint32_t mtu = reported->ee_info + (from_v4 ? IPV6_MORE_OCTETS : 0);
            error->mtu = mtu < MTU_LEAST ? MTU_LEAST : mtu;
        }
        return true;
    }
    return false;
}

enum status icmp_error_write(const struct icmp_error *error, const struct endpoint *pledge,
                             const struct endpoint *local, struct bytes payload, struct buffer *message)
{
    if (pledge->address.any.sa_family != AF_INET6 || local->address.any.sa_family != AF_INET6 ||
        IN6_IS_ADDR_V4MAPPED(&pledge->address.v6.sin6_addr))
        return STATUS_UNSUPPORTED;
    uint16_t udp_len = htons((uint16_t)(sizeof(struct udphdr) + payload.len));
    struct icmp6_hdr icmp = {.icmp6_type = error->type, .icmp6_code = error->code};
    struct ip6_hdr ip = {.ip6_src = pledge->address.v6.sin6_addr, .ip6_dst = local->address.v6.sin6_addr};
    struct udphdr udp = {.source = pledge->address.v6.sin6_port, .dest = local->address.v6.sin6_port};
    icmp.icmp6_mtu = htonl(error->mtu);
    ip.ip6_flow = htonl(6u << 28);
    ip.ip6_plen = udp_len;
    ip.ip6_nxt = IPPROTO_UDP;
    ip.ip6_hlim = HOP_LIMIT;
    udp.len = udp_len;
    udp.check = udp_checksum(&ip, &udp, payload);

    append_struct(message, &icmp, sizeof icmp);
    append_struct(message, &ip, sizeof ip);
    append_struct(message, &udp, sizeof udp);
    buffer_append(message,
                  bytes_slice(payload, 0, ICMP_ERROR_OCTETS_MAX - sizeof icmp - sizeof ip - sizeof udp));
    return message->status;
}

/* RFC 8200 section 8.1. */
static uint16_t udp_checksum(const struct ip6_hdr *ip, const struct udphdr *udp, struct bytes payload)
{
    uint32_t sum = IPPROTO_UDP + ntohs(udp->len);
    sum = sum_words(sum, (struct bytes){ip->ip6_src.s6_addr, sizeof ip->ip6_src});
    sum = sum_words(sum, (struct bytes){ip->ip6_dst.s6_addr, sizeof ip->ip6_dst});
    sum = sum_words(sum, (struct bytes){(const uint8_t *)udp, sizeof *udp});
    sum = sum_words(sum, payload);
    while (sum >> 16 != 0)
        sum = (sum & UINT16_MAX) + (sum >> 16);
    return sum == UINT16_MAX ? UINT16_MAX : htons((uint16_t)~sum);
}

static uint32_t sum_words(uint32_t sum, struct bytes octets)
{
    for (size_t i = 0; i < octets.len; i++)
        sum += (uint32_t)octets.at[i] << (i % 2 == 0 ? 8 : 0);
    return sum;
}

static void append_struct(struct buffer *message, const void *at, size_t len)
{
    buffer_append(message, (struct bytes){at, len});
}
