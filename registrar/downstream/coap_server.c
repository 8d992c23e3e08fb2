#include "registrar/downstream/coap_server.h"

#include "registrar/downstream/block_transfer.h"
#include "registrar/downstream/discovery.h"
#include "registrar/downstream/message_layer.h"

#include <stdio.h>
#include <stdlib.h>

/* Octets of a response beside its payload: header and token 12, Content-Format 3, ETag 9, Max-Age 5, Block2
 * and Block1 8, Size2 5, Size1 6, payload marker 1. */
#define RESPONSE_OVERHEAD 49

#define BLOCK1_NUMBER         27u /* RFC 7959 section 2.1 */
#define LINKS_OCTETS_MAX      4096
#define DIAGNOSTIC_OCTETS_MAX 48

/* A request that an exchange works on. */
struct open_request {
    uint32_t request;
    struct block_context context;
};

struct coap_server {
    struct coap_server_context context;
    struct message_layer *messages;
    struct block_transfer *transfer;
    struct open_request *open[MESSAGE_OPEN_MAX];
    uint64_t keep_until_ms;
};

/* One request on its way through the checks. */
struct arrival {
    struct coap_server *server;
    uint64_t now_ms;
    uint32_t request;
    const struct coap_message *message;
    struct est_route route;
};

static void send_datagram(void *user, struct bytes datagram);
static void take_request(void *user, uint64_t now_ms, uint32_t request, const struct coap_message *message);
static bool is_follow_up(const struct coap_message *message);
static bool admit(const struct arrival *arrival);
static uint8_t check(struct arrival *arrival);
static uint8_t check_discovery(const struct coap_message *message);
static uint8_t check_route(struct arrival *arrival);
static void refuse(const struct arrival *arrival, uint8_t code);
static void serve(const struct arrival *arrival);
static void answer_discovery(const struct arrival *arrival, const struct block_context *context);
static void start_exchange(const struct arrival *arrival, const struct block_delivery *delivery);
static struct open_request *remember(struct coap_server *server, uint32_t request,
                                     const struct block_context *context);
static struct open_request **find_open(struct coap_server *server, uint32_t request);
static void respond(struct coap_server *server, uint64_t now_ms, uint32_t request,
                    struct coap_message *response, bool had_effect);

struct coap_server *coap_server_create(const struct coap_server_context *context)
{
    struct coap_server *server = calloc(1, sizeof *server);
    if (server == NULL)
        return NULL;
    const struct message_layer_events events = {
        .send = send_datagram, .request = take_request, .user = server};
    server->context = *context;
    server->messages = message_layer_create(&context->settings->coap, context->metrics, &events);
    server->transfer = block_transfer_create(&context->settings->coap, context->metrics);
    if (server->messages == NULL || server->transfer == NULL) {
        coap_server_free(server);
        return NULL;
    }
    return server;
}

void coap_server_free(struct coap_server *server)
{
    if (server == NULL)
        return;
    for (size_t i = 0; i < MESSAGE_OPEN_MAX; i++)
        free(server->open[i]);
    block_transfer_free(server->transfer);
    message_layer_free(server->messages);
    free(server);
}

void coap_server_limit_record(struct coap_server *server, size_t octets)
{
    block_transfer_limit_block(server->transfer, octets > RESPONSE_OVERHEAD ? octets - RESPONSE_OVERHEAD : 0);
}

void coap_server_receive(struct coap_server *server, uint64_t now_ms, struct bytes datagram)
{
    message_layer_receive(server->messages, now_ms, datagram);
}

static void send_datagram(void *user, struct bytes datagram)
{
    const struct coap_server *server = user;
    server->context.send(server->context.user, datagram);
}

static void take_request(void *user, uint64_t now_ms, uint32_t request, const struct coap_message *message)
{
    struct arrival arrival = {.server = user, .now_ms = now_ms, .request = request, .message = message};
    if (!is_follow_up(message) && !admit(&arrival))
        return;
    uint8_t refusal = check(&arrival);
    if (refusal == CM_BAD_OPTION && message->type == CM_NON) /* RFC 7252 section 5.4.1 */
        message_layer_reject(arrival.server->messages, request);
    else if (refusal != 0)
        refuse(&arrival, refusal);
    else
        serve(&arrival);
}

/* A block that says that it belongs to a request which was let in. */
static bool is_follow_up(const struct coap_message *message)
{
    return message->block1.num > 0 || message->block2.num > 0;
}

static bool admit(const struct arrival *arrival)
{
    struct coap_server *server = arrival->server;
    struct exchange_admission admission = server->context.admit(server->context.user);
    if (admission.code == 0)
        return true;
    struct coap_message response = {.code = admission.code,
                                    .max_age = {true, admission.max_age_s},
                                    .block1 = block_transfer_final_block1(&arrival->message->block1)};
    respond(server, arrival->now_ms, arrival->request, &response, false);
    return false;
}

/* The first thing that is wrong with a request, in the order of the sections of RFC 7252; 0: nothing is. */
static uint8_t check(struct arrival *arrival)
{
    const struct coap_message *message = arrival->message;
    if (message->proxy) /* section 5.10.2 */
        return CM_PROXYING_NOT_SUPPORTED;
    if (message->unrecognised_critical != 0) /* section 5.4.1 */
        return CM_BAD_OPTION;
    if (message->code != CM_GET && message->code != CM_POST) /* section 5.8 */
        return CM_METHOD_NOT_ALLOWED;
    if (message->code == CM_GET && message->block1.present) /* section 5.4: of no meaning, and critical */
        return CM_BAD_OPTION;
    if (message->too_many_segments)
        return CM_NOT_FOUND;
    return discovery_is_addressed(message) ? check_discovery(message) : check_route(arrival);
}

static uint8_t check_discovery(const struct coap_message *message)
{
    if (message->code != CM_GET)
        return CM_METHOD_NOT_ALLOWED;
    if (message->accept.present && message->accept.value != CONTENT_FORMAT_LINK)
        return CM_NOT_ACCEPTABLE;
    return 0;
}

/* Formats are checked before a body is assembled. Later blocks must agree with the first (CF-9), and those of
 * a response come without Content-Format. */
static uint8_t check_route(struct arrival *arrival)
{
    const struct coap_message *message = arrival->message;
    const struct est_settings *settings = &arrival->server->context.settings->est;
    if (est_route_find(settings, message->uri_path, message->uri_path_count, &arrival->route) != STATUS_OK)
        return CM_NOT_FOUND;
    if (message->code != arrival->route.operation->method)
        return CM_METHOD_NOT_ALLOWED;
    if (is_follow_up(message))
        return 0;
    return est_operation_check_formats(arrival->route.operation, message->accept, message->content_format);
}

static void refuse(const struct arrival *arrival, uint8_t code)
{
    char diagnostic[DIAGNOSTIC_OCTETS_MAX] = "";
    unsigned unrecognised = arrival->message->unrecognised_critical;
    if (code == CM_BAD_OPTION)
        snprintf(diagnostic, sizeof diagnostic, "critical option %u",
                 unrecognised != 0 ? unrecognised : BLOCK1_NUMBER);
    struct coap_message response = {.code = code,
                                    .block1 = block_transfer_final_block1(&arrival->message->block1),
                                    .payload = bytes_from_string(diagnostic)};
    respond(arrival->server, arrival->now_ms, arrival->request, &response, false);
}

/* A later block of what is not kept (any more) is a request of its own. */
static void serve(const struct arrival *arrival)
{
    struct coap_server *server = arrival->server;
    struct block_delivery delivery = {0};
    struct coap_message response = {0};
    enum block_verdict verdict =
        block_transfer_request(server->transfer, arrival->now_ms, arrival->message, &delivery, &response);
    if (verdict == BLOCK_RESPOND)
        respond(server, arrival->now_ms, arrival->request, &response, false);
    else if (arrival->message->block2.num > 0 && !admit(arrival))
        return;
    else if (arrival->route.operation == NULL)
        answer_discovery(arrival, &delivery.context);
    else
        start_exchange(arrival, &delivery);
}

/* The query came over coaps to the port of the resources: links are relative (DISC-3). */
static void answer_discovery(const struct arrival *arrival, const struct block_context *context)
{
    struct coap_server *server = arrival->server;
    struct buffer links;
    buffer_init(&links, LINKS_OCTETS_MAX);
    struct coap_message response = {.code = CM_INTERNAL_SERVER_ERROR};
    if (discovery_links(&server->context.settings->est, arrival->message, "", &links) == STATUS_OK)
        response = (struct coap_message){.code = CM_CONTENT,
                                         .content_format = {true, CONTENT_FORMAT_LINK},
                                         .payload = buffer_view(&links)};
    block_transfer_answer(server->transfer, arrival->now_ms, context, &response);
    respond(server, arrival->now_ms, arrival->request, &response, false);
    buffer_free(&links);
}

static void start_exchange(const struct arrival *arrival, const struct block_delivery *delivery)
{
    struct coap_server *server = arrival->server;
    const struct coap_message *message = arrival->message;
    if (remember(server, arrival->request, &delivery->context) == NULL) {
        refuse(arrival, CM_INTERNAL_SERVER_ERROR);
        return;
    }
    struct est_request est_request = {.route = arrival->route,
                                      .method = message->code,
                                      .accept = message->accept,
                                      .content_format = message->content_format,
                                      .body = delivery->body,
                                      .etags = message->etags,
                                      .etag_count = message->block2.num > 0 ? 0 : message->etag_count,
                                      .client = server->context.client};
    server->context.start(server->context.user, arrival->request, &est_request);
    block_transfer_release(server->transfer);
}

void coap_server_answer(struct coap_server *server, uint64_t now_ms, uint32_t request,
                        const struct est_answer *answer)
{
    struct open_request **place = find_open(server, request);
    if (place == NULL)
        return;
    struct coap_message response = {
        .code = answer->code, .max_age = answer->max_age, .size1 = answer->size1, .payload = answer->payload};
    response.secret_ms = answer->secret_ms;
    response.etags[0] = answer->etag;
    response.etag_count = answer->etag.len > 0 ? 1 : 0;
    if (answer->content_format != CONTENT_FORMAT_NONE)
        response.content_format = (struct coap_uint_option){true, answer->content_format};
    block_transfer_answer(server->transfer, now_ms, &(*place)->context, &response);
    free(*place);
    *place = NULL;
    respond(server, now_ms, request, &response, answer->had_effect);
}

/* There is always a place: the message layer lets no more requests in. */
static struct open_request *remember(struct coap_server *server, uint32_t request,
                                     const struct block_context *context)
{
    for (size_t i = 0; i < MESSAGE_OPEN_MAX; i++) {
        if (server->open[i] != NULL)
            continue;
        server->open[i] = malloc(sizeof *server->open[i]);
        if (server->open[i] != NULL)
            *server->open[i] = (struct open_request){request, *context};
        return server->open[i];
    }
    return NULL;
}

static struct open_request **find_open(struct coap_server *server, uint32_t request)
{
    for (size_t i = 0; i < MESSAGE_OPEN_MAX; i++) {
        if (server->open[i] != NULL && server->open[i]->request == request)
            return &server->open[i];
    }
    return NULL;
}

static void respond(struct coap_server *server, uint64_t now_ms, uint32_t request,
                    struct coap_message *response, bool had_effect)
{
    uint64_t back_ms = now_ms + (uint64_t)response->max_age.value * 1000;
    bool later = response->code == CM_SERVICE_UNAVAILABLE && response->max_age.present;
    if (later && back_ms > server->keep_until_ms)
        server->keep_until_ms = back_ms;
    message_layer_respond(server->messages, now_ms, request, response, had_effect);
}

void coap_server_tick(struct coap_server *server, uint64_t now_ms)
{
    message_layer_tick(server->messages, now_ms);
    block_transfer_tick(server->transfer, now_ms);
}

uint64_t coap_server_deadline(const struct coap_server *server)
{
    uint64_t messages = message_layer_deadline(server->messages);
    uint64_t transfer = block_transfer_deadline(server->transfer);
    return messages < transfer ? messages : transfer;
}

bool coap_server_busy(const struct coap_server *server)
{
    return message_layer_busy(server->messages);
}

uint64_t coap_server_keep_until(const struct coap_server *server)
{
    return server->keep_until_ms;
}
