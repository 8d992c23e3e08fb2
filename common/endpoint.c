#include "common/endpoint.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#define HOST_MAX (INET6_ADDRSTRLEN + IF_NAMESIZE + 1) /* octets of "address%scope" with the NUL */

static enum status split(const char *text, char host[static HOST_MAX], const char **port, bool *is_v6);
static enum status parse_number(const char *text, uint32_t most, uint32_t *number);
static enum status parse_v4(const char *host, in_port_t port, struct endpoint *endpoint);
static enum status parse_v6(char *host, in_port_t port, struct endpoint *endpoint);
static enum status parse_scope(const char *text, uint32_t *scope);
static void format_v6(const struct sockaddr_in6 *address, char text[static ENDPOINT_TEXT_MAX]);
static bool includes(const struct endpoint *wildcard, const struct endpoint *other);

enum status endpoint_parse(const char *text, struct endpoint *endpoint)
{
    char host[HOST_MAX];
    const char *port_text;
    bool is_v6;
    uint32_t port;
    if (split(text, host, &port_text, &is_v6) != STATUS_OK)
        return STATUS_MALFORMED;
    if (parse_number(port_text, UINT16_MAX, &port) != STATUS_OK)
        return STATUS_MALFORMED;
    in_port_t wire_port = htons((uint16_t)port);
    return is_v6 ? parse_v6(host, wire_port, endpoint) : parse_v4(host, wire_port, endpoint);
}

const char *endpoint_format(const struct endpoint *endpoint, char text[static ENDPOINT_TEXT_MAX])
{
    char host[INET_ADDRSTRLEN];
    if (endpoint->len > 0 && endpoint->address.any.sa_family == AF_INET6) {
        format_v6(&endpoint->address.v6, text);
    } else if (endpoint->len > 0 && endpoint->address.any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &endpoint->address.v4.sin_addr, host, sizeof host);
        snprintf(text, ENDPOINT_TEXT_MAX, "%s:%u", host, endpoint_port(endpoint));
    } else {
        snprintf(text, ENDPOINT_TEXT_MAX, "-");
    }
    return text;
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
    if (a->len == 0 || b->len == 0)
        return a->len == b->len;
    if (a->address.any.sa_family != b->address.any.sa_family || endpoint_port(a) != endpoint_port(b))
        return false;
    if (a->address.any.sa_family == AF_INET)
        return a->address.v4.sin_addr.s_addr == b->address.v4.sin_addr.s_addr;
    return memcmp(&a->address.v6.sin6_addr, &b->address.v6.sin6_addr, sizeof(struct in6_addr)) == 0 &&
           a->address.v6.sin6_scope_id == b->address.v6.sin6_scope_id;
}

uint16_t endpoint_port(const struct endpoint *endpoint)
{
    if (endpoint->len == 0)
        return 0;
    bool is_v4 = endpoint->address.any.sa_family == AF_INET;
    return ntohs(is_v4 ? endpoint->address.v4.sin_port : endpoint->address.v6.sin6_port);
}

bool endpoint_is_wildcard(const struct endpoint *endpoint)
{
    if (endpoint->len == 0)
        return false;
    if (endpoint->address.any.sa_family == AF_INET)
        return endpoint->address.v4.sin_addr.s_addr == INADDR_ANY;
    return IN6_IS_ADDR_UNSPECIFIED(&endpoint->address.v6.sin6_addr);
}

bool endpoint_overlaps(const struct endpoint *a, const struct endpoint *b)
{
    return endpoint_port(a) == endpoint_port(b) && (endpoint_equal(a, b) || includes(a, b) || includes(b, a));
}

static bool includes(const struct endpoint *wildcard, const struct endpoint *other)
{
    if (!endpoint_is_wildcard(wildcard) || other->len == 0)
        return false;
    return wildcard->address.any.sa_family == AF_INET6 || other->address.any.sa_family == AF_INET ||
           IN6_IS_ADDR_V4MAPPED(&other->address.v6.sin6_addr);
}

void endpoint_serialise(const struct endpoint *endpoint, struct buffer *out)
{
    if (endpoint->len == 0) {
        buffer_append_byte(out, 0);
        return;
    }
    if (endpoint->address.any.sa_family == AF_INET) {
        const struct sockaddr_in *v4 = &endpoint->address.v4;
        buffer_append_byte(out, 4);
        buffer_append(out, (struct bytes){(const uint8_t *)&v4->sin_addr, sizeof v4->sin_addr});
        buffer_append(out, (struct bytes){(const uint8_t *)&v4->sin_port, sizeof v4->sin_port});
        return;
    }
    const struct sockaddr_in6 *v6 = &endpoint->address.v6;
    uint32_t scope = htonl(v6->sin6_scope_id);
    buffer_append_byte(out, 6);
    buffer_append(out, (struct bytes){v6->sin6_addr.s6_addr, sizeof v6->sin6_addr});
    buffer_append(out, (struct bytes){(const uint8_t *)&v6->sin6_port, sizeof v6->sin6_port});
    buffer_append(out, (struct bytes){(const uint8_t *)&scope, sizeof scope});
}

void endpoint_serialise_address(const struct endpoint *endpoint, struct buffer *out)
{
    struct endpoint host = *endpoint;
    if (host.address.any.sa_family == AF_INET)
        host.address.v4.sin_port = 0;
    else
        host.address.v6.sin6_port = 0;
    endpoint_serialise(&host, out);
}

/* "[host]:port" is IPv6, "host:port" IPv4. */
static enum status split(const char *text, char host[static HOST_MAX], const char **port, bool *is_v6)
{
    *is_v6 = text[0] == '[';
    const char *start = *is_v6 ? text + 1 : text;
    const char *end = strchr(start, *is_v6 ? ']' : ':');
    if (end == NULL || (size_t)(end - start) >= HOST_MAX)
        return STATUS_MALFORMED;
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    if (*is_v6 && *++end != ':')
        return STATUS_MALFORMED;
    *port = end + 1;
    return STATUS_OK;
}

/* Decimal digits only: strtoul would take signs and blanks. */
static enum status parse_number(const char *text, uint32_t most, uint32_t *number)
{
    uint64_t value = 0;
    if (*text == '\0')
        return STATUS_MALFORMED;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return STATUS_MALFORMED;
        value = value * 10 + (uint64_t)(*text - '0');
        if (value > most)
            return STATUS_MALFORMED;
    }
    *number = (uint32_t)value;
    return STATUS_OK;
}

static enum status parse_v4(const char *host, in_port_t port, struct endpoint *endpoint)
{
    struct endpoint parsed = {.len = sizeof(struct sockaddr_in)};
    parsed.address.v4.sin_family = AF_INET;
    parsed.address.v4.sin_port = port;
    if (inet_pton(AF_INET, host, &parsed.address.v4.sin_addr) != 1)
        return STATUS_MALFORMED;
    *endpoint = parsed;
    return STATUS_OK;
}

static enum status parse_v6(char *host, in_port_t port, struct endpoint *endpoint)
{
    struct endpoint parsed = {.len = sizeof(struct sockaddr_in6)};
    parsed.address.v6.sin6_family = AF_INET6;
    parsed.address.v6.sin6_port = port;
    char *percent = strchr(host, '%');
    if (percent != NULL) {
        *percent = '\0';
        if (parse_scope(percent + 1, &parsed.address.v6.sin6_scope_id) != STATUS_OK)
            return STATUS_MALFORMED;
    }
    if (inet_pton(AF_INET6, host, &parsed.address.v6.sin6_addr) != 1)
        return STATUS_MALFORMED;
    /* Elsewhere a scope has no meaning (RFC 4007), and the kernel would drop it without a word. */
    if (percent != NULL && !IN6_IS_ADDR_LINKLOCAL(&parsed.address.v6.sin6_addr))
        return STATUS_MALFORMED;
    *endpoint = parsed;
    return STATUS_OK;
}

/* An interface by name, or by the number that endpoint_format writes when the name is gone. */
static enum status parse_scope(const char *text, uint32_t *scope)
{
    *scope = if_nametoindex(text);
    if (*scope != 0)
        return STATUS_OK;
    if (parse_number(text, INT32_MAX, scope) != STATUS_OK || *scope == 0)
        return STATUS_MALFORMED;
    return STATUS_OK;
}

static void format_v6(const struct sockaddr_in6 *address, char text[static ENDPOINT_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN], scope[IF_NAMESIZE + 1] = "", name[IF_NAMESIZE];
    unsigned port = ntohs(address->sin6_port);
    if (IN6_IS_ADDR_V4MAPPED(&address->sin6_addr)) {
        inet_ntop(AF_INET, address->sin6_addr.s6_addr + 12, host, sizeof host);
        snprintf(text, ENDPOINT_TEXT_MAX, "%s:%u", host, port);
        return;
    }
    inet_ntop(AF_INET6, &address->sin6_addr, host, sizeof host);
    if (address->sin6_scope_id != 0 && if_indextoname(address->sin6_scope_id, name) != NULL)
        snprintf(scope, sizeof scope, "%%%s", name);
    else if (address->sin6_scope_id != 0)
        snprintf(scope, sizeof scope, "%%%u", (unsigned)address->sin6_scope_id);
    snprintf(text, ENDPOINT_TEXT_MAX, "[%s%s]:%u", host, scope, port);
}
