#include "registrar/downstream/discovery_reply.h"

#include "common/coap_message.h"
#include "registrar/protocol/content_format.h"

#include <string.h>

#define LINKS_MAX 4096 /* octets of all links, of which a reply carries one block */
#define NO_CODE   0

static bool is_request(const struct coap_message *message);
static enum status reset(const struct discovery_query *query, const struct coap_message *message,
                         struct buffer *reply);
static bool is_to_be_ignored(const struct discovery_query *query, const struct coap_message *request);
static enum status respond(const struct settings *settings, const struct discovery_query *query,
                           const struct coap_message *request, struct buffer *reply);
static uint8_t refusal(const struct coap_message *request);
static void address_response(const struct discovery_query *query, const struct coap_message *request,
                             struct coap_message *response);
static void fill_in_links(const struct settings *settings, const struct coap_message *request,
                          struct bytes links, struct coap_message *response);
static void cut_block(const struct coap_block *asked, uint32_t block_size, struct bytes whole,
                      struct coap_message *response);

enum status discovery_reply(const struct settings *settings, const struct discovery_query *query,
                            struct buffer *reply)
{
    struct coap_message request;
    enum status status = coap_message_parse(query->datagram, &request);
    if (status != STATUS_OK) {
        reset(query, &request, reply);
        return status;
    }
    if (!is_request(&request))
        return reset(query, &request, reply);
    if (is_to_be_ignored(query, &request))
        return STATUS_OK;
    return respond(settings, query, &request, reply);
}

/* RFC 7252 section 4.2: only CON and NON carry requests. */
static bool is_request(const struct coap_message *message)
{
    return coap_code_is_request(message->code) && (message->type == CM_CON || message->type == CM_NON);
}

/* RFC 7252 section 4.2: what is confirmable and not understood, a ping among it, is reset. */
static enum status reset(const struct discovery_query *query, const struct coap_message *message,
                         struct buffer *reply)
{
    if (query->multicast || message->type != CM_CON)
        return STATUS_OK;
    struct coap_message rst = {.type = CM_RST, .code = CM_EMPTY, .id = message->id};
    return coap_message_write(&rst, reply);
}

/* RFC 7252 section 8.1: requests to a group are NON. Section 5.4.1: a NON request with an unknown critical
 * option is rejected, which section 4.3 lets us do in silence. */
static bool is_to_be_ignored(const struct discovery_query *query, const struct coap_message *request)
{
    if (request->type == CM_CON)
        return query->multicast;
    return request->unrecognised_critical != 0;
}

static enum status respond(const struct settings *settings, const struct discovery_query *query,
                           const struct coap_message *request, struct buffer *reply)
{
    struct buffer links;
    struct coap_message response = {.code = refusal(request)};
    enum status status = STATUS_OK;
    buffer_init(&links, LINKS_MAX);
    address_response(query, request, &response);
    if (response.code == NO_CODE) {
        status = discovery_links(&settings->est, request, query->authority, &links);
        if (status == STATUS_OK)
            status = discovery_way_links(&query->ways, request, &links);
        fill_in_links(settings, request, buffer_view(&links), &response);
    }
    bool is_worth_a_group = response.code == CM_CONTENT && response.payload.len > 0;
    if (status == STATUS_OK && (is_worth_a_group || !query->multicast))
        status = coap_message_write(&response, reply);
    buffer_free(&links);
    return status;
}

/* NO_CODE: it is a query for links. */
static uint8_t refusal(const struct coap_message *request)
{
    if (request->proxy)
        return CM_PROXYING_NOT_SUPPORTED;
    if (request->unrecognised_critical != 0)
        return CM_BAD_OPTION;
    if (!discovery_is_addressed(request)) /* EST is served over DTLS only (DTLS-1) */
        return CM_NOT_FOUND;
    if (request->code != CM_GET)
        return CM_METHOD_NOT_ALLOWED;
    if (request->block1.present) /* critical, and no part of a GET (RFC 7959 section 2.1) */
        return CM_BAD_OPTION;
    if (request->too_many_segments || (request->block2.present && request->block2.szx == 7))
        return CM_BAD_REQUEST;
    if (request->accept.present && request->accept.value != CONTENT_FORMAT_LINK)
        return CM_NOT_ACCEPTABLE;
    return NO_CODE;
}

/* A CON request is answered in its acknowledgement, a NON one by a NON response (RFC 7252 section 5.2). */
static void address_response(const struct discovery_query *query, const struct coap_message *request,
                             struct coap_message *response)
{
    bool piggybacked = request->type == CM_CON;
    response->type = piggybacked ? CM_ACK : CM_NON;
    response->id = piggybacked ? request->id : query->id;
    memcpy(response->token, request->token, sizeof response->token);
    response->token_len = request->token_len;
}

static void fill_in_links(const struct settings *settings, const struct coap_message *request,
                          struct bytes links, struct coap_message *response)
{
    response->code = CM_CONTENT;
    cut_block(&request->block2, settings->coap.block_size, links, response);
    if (response->code != CM_CONTENT)
        return;
    response->content_format = (struct coap_uint_option){true, CONTENT_FORMAT_LINK};
    if (request->size2.present)
        response->size2 = (struct coap_uint_option){true, (uint32_t)links.len};
}

/* The block that starts where the client asks, in its size or in ours if that is smaller (RFC 7959 section
 * 2.4); blocks also bound what a forged query can make this port send (RFC 7252 section 11.3). */
static void cut_block(const struct coap_block *asked, uint32_t block_size, struct bytes whole,
                      struct coap_message *response)
{
    uint8_t szx = 0;
    while (szx < 6 && coap_block_octets(szx) < block_size)
        szx++;
    size_t offset = 0;
    if (asked->present) {
        offset = asked->num * coap_block_octets(asked->szx);
        szx = asked->szx < szx ? asked->szx : szx;
    }
    if (offset > 0 && offset >= whole.len) {
        response->code = CM_BAD_REQUEST;
        return;
    }
    size_t size = coap_block_octets(szx);
    response->payload = bytes_slice(whole, offset, size);
    if (!asked->present && whole.len <= size)
        return;
    response->block2 = (struct coap_block){
        .present = true,
        .num = (uint32_t)(offset / size),
        .more = offset + size < whole.len,
        .szx = szx,
    };
}
