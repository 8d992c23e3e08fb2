#include "server_address.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool split_host_and_port(struct server_address *address, const char *text, struct explanation *why);
static bool read_port(struct server_address *address, const char *text, struct explanation *why);
static bool resolve(struct server_address *address, struct explanation *why);

bool server_address_read(struct server_address *address, const char *text, struct explanation *why)
{
    *address = (struct server_address){.secure = true};
    if (strncmp(text, "coaps://", 8) == 0) {
        text += 8;
    } else if (strncmp(text, "coap://", 7) == 0) {
        text += 7;
        address->secure = false;
    } else if (strstr(text, "://") != NULL) {
        return explain(why, "%s: only coap:// and coaps:// are understood", text);
    }
    address->port = address->secure ? COAPS_DEFAULT_PORT : COAP_DEFAULT_PORT;
    return split_host_and_port(address, text, why) && resolve(address, why);
}

static bool split_host_and_port(struct server_address *address, const char *text, struct explanation *why)
{
    const char *host = text;
    size_t length = strcspn(text, "/");
    const char *end = text + length;
    const char *after = end;
    if (*text == '[') {
        host = text + 1;
        after = memchr(text, ']', length);
        if (after == NULL)
            return explain(why, "%s: the closing ] is missing", text);
        length = (size_t)(after - host);
        after++;
    } else {
        const char *colon = memchr(text, ':', length);
        if (colon != NULL && memchr(colon + 1, ':', (size_t)(end - colon - 1)) != NULL)
            return explain(why, "%s: write an IPv6 address in brackets, [::1]:5684", text);
        if (colon != NULL)
            after = colon;
        length = (size_t)(after - host);
    }
    if (length == 0 || length >= sizeof(address->host))
        return explain(why, "%s: the host is missing or too long", text);
    memcpy(address->host, host, length);
    address->host[length] = '\0';
    if (strcmp(end, "") != 0 && strcmp(end, "/") != 0)
        return explain(why, "%s: a path does not belong here, see --root and --label", end);
    return after == end || read_port(address, after, why);
}

static bool read_port(struct server_address *address, const char *text, struct explanation *why)
{
    char *end = NULL;
    if (*text != ':')
        return explain(why, "%s: expected :PORT after the host", text);
    unsigned long port = strtoul(text + 1, &end, 10);
    if (end == text + 1 || (*end != '\0' && *end != '/') || port == 0 || port > UINT16_MAX)
        return explain(why, "%s: a port is a number from 1 to 65535", text + 1);
    address->port = (uint16_t)port;
    return true;
}

static bool resolve(struct server_address *address, struct explanation *why)
{
    struct addrinfo *found = NULL;
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM};
    int problem = getaddrinfo(address->host, NULL, &hints, &found);
    if (problem != 0)
        return explain(why, "%s: %s", address->host, gai_strerror(problem));
    coap_address_init(&address->socket);
    bool fits = found->ai_addrlen <= sizeof(address->socket.addr);
    if (fits) {
        memcpy(&address->socket.addr, found->ai_addr, found->ai_addrlen);
        address->socket.size = (socklen_t)found->ai_addrlen;
        coap_address_set_port(&address->socket, address->port);
    }
    freeaddrinfo(found);
    return fits || explain(why, "%s: not an IP address", address->host);
}

bool server_address_is_multicast(const struct server_address *address)
{
    return coap_is_mcast(&address->socket) != 0;
}

struct address_text address_in_words(const coap_address_t *address)
{
    struct address_text words = {"?"};
    char host[80];
    char port[8];
    bool six = address->addr.sa.sa_family == AF_INET6;
    if (getnameinfo(&address->addr.sa, address->size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(words.text, sizeof(words.text), six ? "[%s]:%s" : "%s:%s", host, port);
    return words;
}
