/* SEC-1: blocks in any order and of any size. Every octet of a body says where in it it belongs, so that what
 * is delivered, and what is served, can be checked. */
#include "registrar/counters.h"
#include "registrar/downstream/block_transfer.h"

#include <stdlib.h>
#include <string.h>

#define PATTERN_OCTETS 8192u
#define REQUEST_MAX    4096u
#define BUFFERED_MAX   12000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct association {
    struct coap_settings settings;
    struct metrics *metrics;
    struct block_transfer *transfer;
    struct bytes input;
    uint64_t now_ms;
    uint8_t pattern[PATTERN_OCTETS];
};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static uint8_t take(struct association *association)
{
    if (association->input.len == 0)
        return 0;
    uint8_t octet = association->input.at[0];
    association->input = bytes_slice(association->input, 1, association->input.len);
    return octet;
}

static void check_pattern(const struct association *association, size_t offset, struct bytes octets)
{
    check(offset + octets.len <= PATTERN_OCTETS);
    check(octets.len == 0 || memcmp(association->pattern + offset, octets.at, octets.len) == 0);
}

/* A response with Block2 carries the octets that it says it does, and no more than a block of them. */
static void check_response(const struct association *association, const struct coap_message *response)
{
    check(response->block1.szx != 7 || !response->block1.present);
    if (!response->block2.present)
        return;
    check(CM_CODE_CLASS(response->code) == 2 && response->code != CM_CONTINUE && response->block2.szx <= 6);
    size_t octets = coap_block_octets(response->block2.szx);
    check(response->block2.more ? response->payload.len == octets : response->payload.len <= octets);
    check(response->payload.len > 0);
    check_pattern(association, response->block2.num * octets, response->payload);
}

static struct coap_block take_block(struct association *association)
{
    uint8_t how = take(association), num = take(association);
    return (struct coap_block){(how & 1) != 0, (how & 1) != 0 ? num >> (how >> 5 & 3) : 0, (how & 2) != 0,
                               how >> 2 & 7};
}

static void answer(struct association *association, const struct block_context *context)
{
    static const uint8_t codes[] = {CM_CONTENT, CM_CHANGED, CM_SERVICE_UNAVAILABLE, CM_BAD_REQUEST};
    uint8_t how = take(association);
    size_t octets = (size_t)how * 16 + (how & 15);
    struct coap_message response = {.code = codes[how & 3], .max_age = {(how & 4) != 0, how}};
    if (CM_CODE_CLASS(response.code) == 2)
        response.payload = (struct bytes){association->pattern, octets};
    block_transfer_answer(association->transfer, association->now_ms, context, &response);
    check_response(association, &response);
    if (response.code == CM_SERVICE_UNAVAILABLE)
        check(!response.block2.present && response.payload.len == 0);
}

static void request(struct association *association)
{
    static const char *const paths[] = {"a", "b", "c", "d"};
    uint8_t what = take(association);
    struct coap_message message = {.code = (what & 1) != 0 ? CM_POST : CM_GET};
    message.uri_path[message.uri_path_count++] = bytes_from_string(paths[what >> 6]);
    message.accept = (struct coap_uint_option){(what & 2) != 0, 281};
    message.content_format = (struct coap_uint_option){(what & 4) != 0, 286};
    message.size1 = (struct coap_uint_option){(what & 24) == 24, (uint32_t)(what << 8)};
    message.size2.present = (what & 32) != 0;
    message.block1 = take_block(association);
    message.block2 = take_block(association);
    size_t octets = coap_block_octets(message.block1.szx), offset = message.block1.num * octets;
    size_t len = message.block1.more && (what & 8) == 0 ? octets : take(association);
    if (offset + len <= PATTERN_OCTETS)
        message.payload = (struct bytes){association->pattern + offset, len};

    struct block_delivery delivery;
    struct coap_message response;
    if (block_transfer_request(association->transfer, association->now_ms, &message, &delivery, &response) ==
        BLOCK_RESPOND) {
        check_response(association, &response);
        return;
    }
    check(delivery.body.len <= REQUEST_MAX);
    check_pattern(association, 0, delivery.body);
    answer(association, &delivery.context);
}

static void step(struct association *association)
{
    uint8_t kind = take(association);
    if ((kind & 15) == 0) {
        association->now_ms += (uint64_t)take(association) * 2000;
        block_transfer_tick(association->transfer, association->now_ms);
        check(block_transfer_deadline(association->transfer) > association->now_ms);
    } else if ((kind & 15) == 1) {
        block_transfer_limit_block(association->transfer, (size_t)take(association) * 8);
    } else {
        request(association);
    }
    check(metrics_get(association->metrics, COUNTER_BUFFERED_BYTES) <= BUFFERED_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct association association = {.input = {data, size}, .now_ms = 1000};
    association.settings = (struct coap_settings){.ack_timeout_ms = 2000,
                                                  .ack_random_factor = 1.5,
                                                  .max_retransmit = 4,
                                                  .block_size = 1024,
                                                  .max_request_bytes = REQUEST_MAX,
                                                  .max_buffered_bytes = BUFFERED_MAX};
    for (size_t i = 0; i < PATTERN_OCTETS; i++)
        association.pattern[i] = (uint8_t)(i * 7 + i / 251);
    association.metrics = counters_create();
    association.transfer = block_transfer_create(&association.settings, association.metrics);
    check(association.transfer != NULL);
    while (association.input.len > 0)
        step(&association);

    block_transfer_free(association.transfer);
    check(metrics_get(association.metrics, COUNTER_BUFFERED_BYTES) == 0);
    metrics_free(association.metrics);
    return 0;
}
