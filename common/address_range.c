#include "common/address_range.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define MAPPED_BITS 96 /* before the IPv4 address in an IPv4-mapped one (RFC 4291 section 2.5.5.2) */

static enum status parse_address(const char *text, struct in6_addr *address, unsigned *bits);
static struct in6_addr mapped(struct in_addr v4);
static enum status parse_length(const char *text, unsigned most, unsigned *length);
static bool share_bits(const struct in6_addr *a, const struct in6_addr *b, unsigned bits);

enum status address_range_parse(const char *text, struct address_range *range)
{
    char address[INET6_ADDRSTRLEN];
    size_t len = strcspn(text, "/");
    if (len >= sizeof address)
        return STATUS_MALFORMED;
    memcpy(address, text, len);
    address[len] = '\0';

    unsigned bits, length;
    enum status status = parse_address(address, &range->first, &bits);
    if (status != STATUS_OK)
        return status;
    length = bits;
    if (text[len] == '/' && parse_length(text + len + 1, bits, &length) != STATUS_OK)
        return STATUS_MALFORMED;
    range->prefix = 128 - bits + length;

    struct in6_addr rest = range->first;
    for (unsigned bit = 0; bit < range->prefix; bit++)
        rest.s6_addr[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
    return IN6_IS_ADDR_UNSPECIFIED(&rest) ? STATUS_OK : STATUS_MALFORMED;
}

bool address_range_contains(const struct address_range *range, const struct endpoint *endpoint)
{
    if (endpoint->len == 0)
        return false;
    struct in6_addr address = endpoint->address.any.sa_family == AF_INET
                                  ? mapped(endpoint->address.v4.sin_addr)
                                  : endpoint->address.v6.sin6_addr;
    return share_bits(&range->first, &address, range->prefix);
}

/* bits: how many of its own it has. */
static enum status parse_address(const char *text, struct in6_addr *address, unsigned *bits)
{
    struct in_addr v4;
    *bits = 32;
    if (inet_pton(AF_INET, text, &v4) == 1) {
        *address = mapped(v4);
        return STATUS_OK;
    }
    *bits = 128;
    return inet_pton(AF_INET6, text, address) == 1 ? STATUS_OK : STATUS_MALFORMED;
}

static struct in6_addr mapped(struct in_addr v4)
{
    struct in6_addr address = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
    memcpy(&address.s6_addr[MAPPED_BITS / 8], &v4, sizeof v4);
    return address;
}

static enum status parse_length(const char *text, unsigned most, unsigned *length)
{
    char *end;
    if (!isdigit((unsigned char)text[0]) || strlen(text) > 3)
        return STATUS_MALFORMED;
    *length = (unsigned)strtoul(text, &end, 10);
    return *end == '\0' && *length <= most ? STATUS_OK : STATUS_MALFORMED;
}

static bool share_bits(const struct in6_addr *a, const struct in6_addr *b, unsigned bits)
{
    if (memcmp(a, b, bits / 8) != 0)
        return false;
    if (bits % 8 == 0)
        return true;
    unsigned difference = a->s6_addr[bits / 8] ^ b->s6_addr[bits / 8];
    return difference >> (8 - bits % 8) == 0;
}
