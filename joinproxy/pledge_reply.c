#include "joinproxy/pledge_reply.h"

#include "common/coap_message.h"
#include "common/join_names.h"
#include "common/link_format.h"

#include <stdio.h>
#include <string.h>

#define LINK_FORMAT 40   /* application/link-format (RFC 7252 section 12.3) */
#define LINKS_MAX   1100 /* octets: of three links for each join-port */
#define PORT_TEXT   6
#define TARGET_MAX  (ENDPOINT_TEXT_MAX + 8)

static enum status reset(const struct pledge_query *query, const struct coap_message *message,
                         struct buffer *reply);
static bool is_to_be_ignored(const struct pledge_query *query, const struct coap_message *request);
static enum status respond(const struct pledge_query *query, const struct coap_message *request,
                           struct buffer *reply);
static uint8_t code_of(const struct coap_message *request);
static void append_links(const struct pledge_query *query, const struct coap_message *request,
                         struct buffer *links);
static void append_link(const struct pledge_query *query, const struct coap_message *request, size_t index,
                        struct buffer *links);
static bool is_selected(const struct link_parameter *parameter, const struct coap_message *request);
static const char *authority(const struct endpoint *local, uint16_t port,
                             char text[static ENDPOINT_TEXT_MAX]);

enum status pledge_reply(const struct pledge_query *query, struct buffer *reply)
{
    struct coap_message message;
    enum status status = coap_message_parse(query->datagram, &message);
    bool is_request = status == STATUS_OK && coap_code_is_request(message.code) &&
                      (message.type == CM_CON || message.type == CM_NON);
    if (!is_request) {
        reset(query, &message, reply);
        return status;
    }
    return is_to_be_ignored(query, &message) ? STATUS_OK : respond(query, &message, reply);
}

/* RFC 7252 section 4.2: what is confirmable and not understood, a ping among it, is reset. */
static enum status reset(const struct pledge_query *query, const struct coap_message *message,
                         struct buffer *reply)
{
    if (query->multicast || message->type != CM_CON)
        return STATUS_OK;
    const struct coap_message rst = {.type = CM_RST, .code = CM_EMPTY, .id = message->id};
    return coap_message_write(&rst, reply);
}

/* RFC 7252 sections 8.1 and 5.4.1. */
static bool is_to_be_ignored(const struct pledge_query *query, const struct coap_message *request)
{
    return request->type == CM_CON ? query->multicast : request->unrecognised_critical != 0;
}

static enum status respond(const struct pledge_query *query, const struct coap_message *request,
                           struct buffer *reply)
{
    struct buffer links;
    bool piggybacked = request->type == CM_CON;
    struct coap_message response = {.type = piggybacked ? CM_ACK : CM_NON,
                                    .code = code_of(request),
                                    .id = piggybacked ? request->id : query->id,
                                    .token_len = request->token_len};
    memcpy(response.token, request->token, sizeof response.token);
    buffer_init(&links, LINKS_MAX);
    if (response.code == CM_CONTENT) {
        append_links(query, request, &links);
        response.payload = buffer_view(&links);
        response.content_format = (struct coap_uint_option){true, LINK_FORMAT};
    }
    enum status status = links.status;
    bool is_worth_a_group = response.code == CM_CONTENT && links.len > 0;
    if (status == STATUS_OK && (is_worth_a_group || !query->multicast))
        status = coap_message_write(&response, reply);
    buffer_free(&links);
    return status;
}

static uint8_t code_of(const struct coap_message *request)
{
    if (request->proxy)
        return CM_PROXYING_NOT_SUPPORTED;
    if (request->unrecognised_critical != 0 || request->block1.present)
        return CM_BAD_OPTION;
    if (request->uri_path_count != 2 || !bytes_equal(request->uri_path[0], BYTES_LITERAL(".well-known")) ||
        !bytes_equal(request->uri_path[1], BYTES_LITERAL("core")))
        return CM_NOT_FOUND;
    if (request->code != CM_GET)
        return CM_METHOD_NOT_ALLOWED;
    if (request->too_many_segments || (request->block2.present && request->block2.num > 0))
        return CM_BAD_REQUEST; /* there is one block */
    if (request->accept.present && request->accept.value != LINK_FORMAT)
        return CM_NOT_ACCEPTABLE;
    return CM_CONTENT;
}

static void append_links(const struct pledge_query *query, const struct coap_message *request,
                         struct buffer *links)
{
    for (size_t i = 0; i < join_names_proxy_count(); i++)
        if (query->legacy_names || !join_names_proxy(i)->legacy)
            append_link(query, request, i, links);
}

/* One for each join-port (JP-11). */
static void append_link(const struct pledge_query *query, const struct coap_message *request, size_t index,
                        struct buffer *links)
{
    const struct join_proxy_name *name = join_names_proxy(index);
    for (size_t i = 0; i < query->port_count; i++) {
        char port[PORT_TEXT], text[ENDPOINT_TEXT_MAX], target[TARGET_MAX] = "";
        snprintf(port, sizeof port, "%u", query->ports[i]);
        if (name->scheme != NULL)
            snprintf(target, sizeof target, "%s://%s", name->scheme,
                     authority(query->local, query->ports[i], text));
        const char *value = name->value != NULL ? name->value : port;
        const char *quote = name->quoted ? "\"" : "";
        if (!is_selected(&(struct link_parameter){target, name->attribute, value}, request))
            continue;
        buffer_printf(links, "%s<%s>;%s=%s%s%s", links->len > 0 ? "," : "", target, name->attribute, quote,
                      value, quote);
    }
}

static bool is_selected(const struct link_parameter *parameter, const struct coap_message *request)
{
    for (size_t i = 0; i < request->uri_query_count; i++)
        if (!link_parameter_matches(parameter, request->uri_query[i]))
            return false;
    return true;
}

/* Without the scope, which means nothing to anybody else (RFC 6874 section 1). */
static const char *authority(const struct endpoint *local, uint16_t port, char text[static ENDPOINT_TEXT_MAX])
{
    struct endpoint address = *local;
    if (address.address.any.sa_family == AF_INET6) {
        address.address.v6.sin6_scope_id = 0;
        address.address.v6.sin6_port = htons(port);
    } else {
        address.address.v4.sin_port = htons(port);
    }
    return endpoint_format(&address, text);
}
