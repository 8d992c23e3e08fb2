/* A range of IP addresses: "192.0.2.7", "192.0.2.0/24", "2001:db8::/32". */
#ifndef ESTUARY_COMMON_ADDRESS_RANGE_H
#define ESTUARY_COMMON_ADDRESS_RANGE_H

#include "common/endpoint.h"

struct address_range {
    struct in6_addr first; /* IPv4 addresses as IPv4-mapped ones */
    unsigned prefix;       /* bits that all addresses of the range share with it */
};

/* Numeric only. STATUS_MALFORMED, also where bits beyond the prefix are set. */
enum status address_range_parse(const char *text, struct address_range *range);

/* Whatever the endpoint's port and scope are. */
bool address_range_contains(const struct address_range *range, const struct endpoint *endpoint);

#endif
