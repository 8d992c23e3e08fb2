#include "joinproxy/registrar_offer.h"

#include "common/coap_message.h"
#include "common/join_names.h"
#include "joinproxy/link_reader.h"

#include <stdio.h>
#include <string.h>

#define LINK_FORMAT 40 /* RFC 7252 section 12.3 */
#define QUERY_MAX   64

static bool is_answer(const struct coap_message *message, const uint8_t *token);
static void consider(const struct link_read *link, unsigned interface, enum proxy_mode wanted,
                     struct registrar_offer *best);
static bool is_reachable(struct endpoint *registrar, unsigned interface);
static bool is_host_v4(const struct in_addr *address);

bool registrar_offer_query(size_t index, uint16_t id, const uint8_t token[static REGISTRAR_TOKEN_OCTETS],
                           struct buffer *datagram)
{
    char query[QUERY_MAX];
    const struct join_registrar_name *name = join_names_registrar(index);
    for (size_t i = 0; i < index; i++)
        if (strcmp(join_names_registrar(i)->type, name->type) == 0)
            return false;
    snprintf(query, sizeof query, "rt=%s", name->type);
    struct coap_message request = {.type = CM_NON,
                                   .code = CM_GET,
                                   .id = id,
                                   .token_len = REGISTRAR_TOKEN_OCTETS,
                                   .uri_path = {BYTES_LITERAL(".well-known"), BYTES_LITERAL("core")},
                                   .uri_path_count = 2,
                                   .uri_query = {bytes_from_string(query)},
                                   .uri_query_count = 1};
    memcpy(request.token, token, REGISTRAR_TOKEN_OCTETS);
    return coap_message_write(&request, datagram) == STATUS_OK;
}

enum status registrar_offer_read(struct bytes datagram, const uint8_t token[static REGISTRAR_TOKEN_OCTETS],
                                 unsigned interface, enum proxy_mode wanted, struct registrar_offer *best)
{
    struct coap_message message;
    if (coap_message_parse(datagram, &message) != STATUS_OK)
        return STATUS_MALFORMED;
    if (!is_answer(&message, token))
        return STATUS_MISMATCH;
    struct bytes rest = message.payload;
    struct link_read link;
    enum status status;
    while ((status = link_reader_next(&rest, &link)) == STATUS_OK)
        consider(&link, interface, wanted, best);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static bool is_answer(const struct coap_message *message, const uint8_t *token)
{
    return message->code == CM_CONTENT && message->token_len == REGISTRAR_TOKEN_OCTETS &&
           memcmp(message->token, token, REGISTRAR_TOKEN_OCTETS) == 0 && message->content_format.present &&
           message->content_format.value == LINK_FORMAT;
}

static void consider(const struct link_read *link, unsigned interface, enum proxy_mode wanted,
                     struct registrar_offer *best)
{
    size_t count = best->present ? best->rank : join_names_registrar_count();
    for (size_t rank = 0; rank < count; rank++) {
        const struct join_registrar_name *name = join_names_registrar(rank);
        enum proxy_mode mode = name->jpy ? MODE_STATELESS : MODE_STATEFUL;
        struct endpoint registrar;
        if (wanted != MODE_AUTO && wanted != mode)
            continue;
        if (!link_reader_has_type(link, name->type) ||
            link_reader_endpoint(link, name->scheme, &registrar) != STATUS_OK ||
            !is_reachable(&registrar, interface))
            continue;
        *best = (struct registrar_offer){true, rank, mode, registrar};
        return;
    }
}

/* A link-local address means the link that it was told on. None of our own host: whoever answers would open
 * to pledges what listens there for us alone. */
static bool is_reachable(struct endpoint *registrar, unsigned interface)
{
    struct in_addr v4;
    if (registrar->address.any.sa_family == AF_INET)
        return is_host_v4(&registrar->address.v4.sin_addr);
    struct sockaddr_in6 *v6 = &registrar->address.v6;
    if (IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr))
        v6->sin6_scope_id = interface;
    memcpy(&v4, v6->sin6_addr.s6_addr + sizeof v6->sin6_addr - sizeof v4, sizeof v4);
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        return is_host_v4(&v4);
    return !IN6_IS_ADDR_MULTICAST(&v6->sin6_addr) && !IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr) &&
           !IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

/* RFC 6890: neither 0.0.0.0/8, 127.0.0.0/8, a group nor reserved, as broadcast is. */
static bool is_host_v4(const struct in_addr *address)
{
    uint32_t number = ntohl(address->s_addr);
    return number >> 24 != 0 && number >> 24 != IN_LOOPBACKNET && number < INADDR_UNSPEC_GROUP;
}
