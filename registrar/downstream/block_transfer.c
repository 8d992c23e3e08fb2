#include "registrar/downstream/block_transfer.h"

#include "common/metrics.h"
#include "common/monotonic.h"
#include "registrar/counters.h"
#include "registrar/downstream/message_layer.h"

#include <openssl/sha.h>

#include <stdlib.h>
#include <string.h>

#define SZX_RESERVED   7     /* RFC 7959 section 2.2 */
#define URI_OCTETS_MAX 65536 /* more than a datagram holds */

/* Every buffer below is charged to the process-wide account with its limit, before it may grow that far. */

/* A request body in assembly. */
struct upload {
    struct block_context first; /* what the blocks so far said: resource, early negotiation of Block2 */
    struct coap_uint_option content_format;
    struct buffer body;
    uint64_t expires_ms;
};

/* The whole of a response of which the client fetches blocks. */
struct representation {
    struct block_context context;
    uint8_t code;
    struct coap_uint_option content_format, max_age;
    struct coap_etag etag;
    struct buffer payload;
    uint32_t secret_ms;
    uint64_t stored_ms, expires_ms;
};

struct block_transfer {
    const struct coap_settings *settings;
    struct metrics *metrics;
    uint64_t lifetime_ms;
    uint8_t szx; /* of the largest block that we offer */
    struct upload *uploads[BLOCK_UPLOADS_MAX];
    struct representation *representations[BLOCK_REPRESENTATIONS_MAX];
    struct buffer delivered;
};

/* The arguments of block_transfer_request. */
struct arrival {
    uint64_t now_ms;
    const struct coap_message *request;
    struct block_delivery *delivery;
    struct coap_message *response;
};

static bool describe(const struct coap_message *request, struct block_context *context);
static enum block_verdict serve_follow_up(struct block_transfer *transfer, const struct arrival *arrival);
static enum block_verdict take_block(struct block_transfer *transfer, const struct arrival *arrival);
static bool is_too_large(const struct block_transfer *transfer, const struct coap_message *request);
static bool is_of_wrong_size(const struct coap_message *request);
static enum block_verdict begin_body(struct block_transfer *transfer, const struct arrival *arrival);
static enum block_verdict continue_body(struct block_transfer *transfer, const struct arrival *arrival);
static enum block_verdict append_block(struct block_transfer *transfer, const struct arrival *arrival,
                                       struct upload *upload);
static enum block_verdict deliver_assembled(struct block_transfer *transfer, const struct arrival *arrival,
                                            struct upload *upload);
static enum block_verdict acknowledge(const struct block_transfer *transfer, const struct arrival *arrival);
static enum block_verdict refuse(const struct arrival *arrival, uint8_t code, const char *diagnostic);
static enum block_verdict refuse_too_large(const struct block_transfer *transfer,
                                           const struct arrival *arrival);
static enum block_verdict refuse_no_room(struct block_transfer *transfer, const struct arrival *arrival);
static void make_unavailable(struct block_transfer *transfer, struct coap_message *response);
static struct representation *store(struct block_transfer *transfer, uint64_t now_ms,
                                    const struct block_context *context, const struct coap_message *response);
static uint64_t lifetime_of(const struct block_transfer *transfer,
                            const struct representation *representation);
static void cut_block(const struct block_transfer *transfer, const struct block_context *context,
                      struct coap_message *response);
static uint8_t response_szx(const struct block_transfer *transfer, const struct block_context *context);
static uint32_t remaining_age(const struct representation *representation, uint64_t now_ms);
static size_t block_offset(const struct coap_block *block);
static bool same_option(const struct coap_uint_option *a, const struct coap_uint_option *b);
static bool same_resource(const struct block_context *a, const struct block_context *b);
static struct upload **find_upload(struct block_transfer *transfer, const struct block_context *context);
static struct upload **upload_place(struct block_transfer *transfer);
static void drop_upload(struct block_transfer *transfer, struct upload **place);
static struct representation **find_representation(struct block_transfer *transfer,
                                                   const struct block_context *context);
static struct representation **representation_place(struct block_transfer *transfer);
static void drop_representation(struct block_transfer *transfer, struct representation **place);
static size_t next_room(const struct block_transfer *transfer, const struct upload *upload, size_t more);
static bool hold(struct block_transfer *transfer, struct buffer *buffer, struct bytes octets, size_t limit);
static void let_go(struct block_transfer *transfer, struct buffer *buffer);

struct block_transfer *block_transfer_create(const struct coap_settings *settings, struct metrics *metrics)
{
    struct block_transfer *transfer = calloc(1, sizeof *transfer);
    if (transfer == NULL)
        return NULL;
    transfer->settings = settings;
    transfer->metrics = metrics;
    transfer->lifetime_ms = message_layer_exchange_lifetime_ms(settings);
    block_transfer_limit_block(transfer, SIZE_MAX);
    return transfer;
}

void block_transfer_free(struct block_transfer *transfer)
{
    if (transfer == NULL)
        return;
    for (size_t i = 0; i < BLOCK_UPLOADS_MAX; i++)
        drop_upload(transfer, &transfer->uploads[i]);
    for (size_t i = 0; i < BLOCK_REPRESENTATIONS_MAX; i++)
        drop_representation(transfer, &transfer->representations[i]);
    block_transfer_release(transfer);
    free(transfer);
}

void block_transfer_limit_block(struct block_transfer *transfer, size_t octets)
{
    size_t limit = octets < transfer->settings->block_size ? octets : transfer->settings->block_size;
    transfer->szx = SZX_RESERVED - 1;
    while (transfer->szx > 0 && coap_block_octets(transfer->szx) > limit)
        transfer->szx--;
}

enum block_verdict block_transfer_request(struct block_transfer *transfer, uint64_t now_ms,
                                          const struct coap_message *request, struct block_delivery *delivery,
                                          struct coap_message *response)
{
    const struct arrival arrival = {now_ms, request, delivery, response};
    block_transfer_release(transfer);
    *delivery = (struct block_delivery){0};
    *response = (struct coap_message){0};
    if (!describe(request, &delivery->context))
        return refuse(&arrival, CM_INTERNAL_SERVER_ERROR, "");
    if (request->block1.szx == SZX_RESERVED || request->block2.szx == SZX_RESERVED)
        return refuse(&arrival, CM_BAD_REQUEST, "SZX 7 is reserved");
    if (request->block2.num > 0)
        return serve_follow_up(transfer, &arrival);
    return take_block(transfer, &arrival);
}

static bool describe(const struct coap_message *request, struct block_context *context)
{
    struct buffer uri;
    buffer_init(&uri, URI_OCTETS_MAX);
    buffer_append_byte(&uri, request->code);
    buffer_append_byte(&uri, (uint8_t)request->uri_path_count);
    for (size_t i = 0; i < request->uri_path_count + request->uri_query_count; i++) {
        struct bytes segment = i < request->uri_path_count ? request->uri_path[i]
                                                           : request->uri_query[i - request->uri_path_count];
        buffer_append(&uri, (struct bytes){(const uint8_t *)&segment.len, sizeof segment.len});
        buffer_append(&uri, segment);
    }
    uint8_t digest[SHA256_DIGEST_LENGTH] = {0};
    bool done = uri.status == STATUS_OK && SHA256(uri.at, uri.len, digest) != NULL;
    buffer_free(&uri);

    memcpy(context->resource, digest, sizeof context->resource);
    context->accept = request->accept;
    context->block1 = request->block1;
    context->block2 = request->block2;
    context->wants_size2 = request->size2.present;
    return done;
}

/* RFC 7959 section 2.7. A Block1 option, which a follow-up must not have, changes nothing about it. */
static enum block_verdict serve_follow_up(struct block_transfer *transfer, const struct arrival *arrival)
{
    const struct block_context *context = &arrival->delivery->context;
    struct representation **place = find_representation(transfer, context);
    if (place == NULL && arrival->request->code == CM_GET)
        return BLOCK_DELIVER;
    if (place == NULL)
        return refuse(arrival, CM_REQUEST_ENTITY_INCOMPLETE, "no response is kept: send the request again");

    struct representation *representation = *place;
    representation->expires_ms = arrival->now_ms + lifetime_of(transfer, representation);
    struct coap_message *response = arrival->response;
    response->secret_ms = representation->secret_ms;
    response->code = representation->code;
    response->content_format = representation->content_format;
    response->max_age = representation->max_age;
    response->max_age.value = remaining_age(representation, arrival->now_ms);
    response->etags[0] = representation->etag;
    response->etag_count = representation->etag.len > 0 ? 1 : 0;
    response->payload = buffer_view(&representation->payload);
    cut_block(transfer, context, response);
    return BLOCK_RESPOND;
}

static enum block_verdict take_block(struct block_transfer *transfer, const struct arrival *arrival)
{
    const struct coap_message *request = arrival->request;
    bool too_large = is_too_large(transfer, request), wrong_size = is_of_wrong_size(request);
    if (request->block1.num == 0 || too_large || wrong_size)
        drop_upload(transfer, find_upload(transfer, &arrival->delivery->context));
    if (too_large)
        return refuse_too_large(transfer, arrival);
    if (wrong_size)
        return refuse(arrival, CM_BAD_REQUEST, "a block is of another size than it says");
    return request->block1.num == 0 ? begin_body(transfer, arrival) : continue_body(transfer, arrival);
}

static bool is_too_large(const struct block_transfer *transfer, const struct coap_message *request)
{
    size_t limit = transfer->settings->max_request_bytes;
    return block_offset(&request->block1) + request->payload.len > limit ||
           (request->block1.present && request->size1.present && request->size1.value > limit);
}

/* RFC 7959 section 2.3. */
static bool is_of_wrong_size(const struct coap_message *request)
{
    size_t octets = coap_block_octets(request->block1.szx);
    return request->block1.more ? request->payload.len != octets
                                : request->block1.present && request->payload.len > octets;
}

static enum block_verdict begin_body(struct block_transfer *transfer, const struct arrival *arrival)
{
    const struct coap_message *request = arrival->request;
    if (!request->block1.more) {
        arrival->delivery->body = request->payload;
        return BLOCK_DELIVER;
    }
    struct upload **place = upload_place(transfer);
    *place = calloc(1, sizeof **place);
    if (*place == NULL)
        return refuse_no_room(transfer, arrival);
    (*place)->first = arrival->delivery->context;
    (*place)->content_format = request->content_format;
    return append_block(transfer, arrival, *place);
}

static enum block_verdict continue_body(struct block_transfer *transfer, const struct arrival *arrival)
{
    const struct coap_message *request = arrival->request;
    struct upload **place = find_upload(transfer, &arrival->delivery->context);
    if (place == NULL)
        return refuse(arrival, CM_REQUEST_ENTITY_INCOMPLETE, "unknown transfer: start again at block 0");
    struct upload *upload = *place;
    if (!same_option(&upload->content_format, &request->content_format)) { /* CF-9 */
        drop_upload(transfer, place);
        return refuse(arrival, CM_REQUEST_ENTITY_INCOMPLETE, "Content-Format changed between blocks");
    }
    size_t offset = block_offset(&request->block1);
    struct bytes there = bytes_slice(buffer_view(&upload->body), offset, request->payload.len);
    if (request->block1.more && bytes_equal(there, request->payload))
        return acknowledge(transfer, arrival);
    if (offset != upload->body.len)
        return refuse(arrival, CM_REQUEST_ENTITY_INCOMPLETE, "a block is missing");
    return append_block(transfer, arrival, upload);
}

static enum block_verdict append_block(struct block_transfer *transfer, const struct arrival *arrival,
                                       struct upload *upload)
{
    const struct coap_message *request = arrival->request;
    if (!hold(transfer, &upload->body, request->payload, next_room(transfer, upload, request->payload.len))) {
        drop_upload(transfer, find_upload(transfer, &upload->first));
        return refuse_no_room(transfer, arrival);
    }
    upload->expires_ms = arrival->now_ms + transfer->lifetime_ms;
    if (request->block2.present)
        upload->first.block2 = request->block2;
    upload->first.wants_size2 |= request->size2.present;
    return request->block1.more ? acknowledge(transfer, arrival)
                                : deliver_assembled(transfer, arrival, upload);
}

static enum block_verdict deliver_assembled(struct block_transfer *transfer, const struct arrival *arrival,
                                            struct upload *upload)
{
    arrival->delivery->context.block2 = upload->first.block2;
    arrival->delivery->context.wants_size2 = upload->first.wants_size2;
    transfer->delivered = upload->body;
    arrival->delivery->body = buffer_view(&transfer->delivered);
    buffer_init(&upload->body, 0);
    drop_upload(transfer, find_upload(transfer, &upload->first));
    return BLOCK_DELIVER;
}

/* A smaller size is asked for in the answer to block 0, where its number means the same in every size. */
static enum block_verdict acknowledge(const struct block_transfer *transfer, const struct arrival *arrival)
{
    struct coap_block block1 = arrival->request->block1;
    if (block1.num == 0 && transfer->szx < block1.szx)
        block1.szx = transfer->szx;
    arrival->response->code = CM_CONTINUE;
    arrival->response->block1 = block1;
    return BLOCK_RESPOND;
}

static enum block_verdict refuse(const struct arrival *arrival, uint8_t code, const char *diagnostic)
{
    arrival->response->code = code;
    arrival->response->payload = bytes_from_string(diagnostic);
    arrival->response->block1 = block_transfer_final_block1(&arrival->request->block1);
    return BLOCK_RESPOND;
}

static enum block_verdict refuse_too_large(const struct block_transfer *transfer,
                                           const struct arrival *arrival)
{
    arrival->response->size1 = (struct coap_uint_option){true, transfer->settings->max_request_bytes};
    return refuse(arrival, CM_REQUEST_ENTITY_TOO_LARGE, "");
}

static enum block_verdict refuse_no_room(struct block_transfer *transfer, const struct arrival *arrival)
{
    arrival->response->block1 = block_transfer_final_block1(&arrival->request->block1);
    make_unavailable(transfer, arrival->response);
    return BLOCK_RESPOND;
}

/* A 5.03 carries no Block2, but the Block1 of its request (BLK-3). */
static void make_unavailable(struct block_transfer *transfer, struct coap_message *response)
{
    metrics_add(transfer->metrics, COUNTER_TRANSFERS_REFUSED, 1);
    *response = (struct coap_message){
        .code = CM_SERVICE_UNAVAILABLE, .max_age = {true, BLOCK_RETRY_AFTER_S}, .block1 = response->block1};
}

struct coap_block block_transfer_final_block1(const struct coap_block *block1)
{
    struct coap_block block = *block1;
    block.more = false;
    block.present = block1->present && block1->szx != SZX_RESERVED;
    return block;
}

void block_transfer_release(struct block_transfer *transfer)
{
    let_go(transfer, &transfer->delivered);
}

void block_transfer_answer(struct block_transfer *transfer, uint64_t now_ms,
                           const struct block_context *context, struct coap_message *response)
{
    drop_representation(transfer, find_representation(transfer, context));
    response->block1 = block_transfer_final_block1(&context->block1);
    if (CM_CODE_CLASS(response->code) != 2 || response->payload.len == 0)
        return;
    bool large = response->payload.len > coap_block_octets(response_szx(transfer, context));
    if (large) {
        const struct representation *stored = store(transfer, now_ms, context, response);
        if (stored == NULL) {
            make_unavailable(transfer, response);
            return;
        }
        response->payload = buffer_view(&stored->payload);
    }
    if (large || context->block2.present)
        cut_block(transfer, context, response);
}

/* SKG-9: a private key does not wait as long as everything else for a client that has gone. */
static uint64_t lifetime_of(const struct block_transfer *transfer,
                            const struct representation *representation)
{
    bool is_short = representation->secret_ms > 0 && representation->secret_ms < transfer->lifetime_ms;
    return is_short ? representation->secret_ms : transfer->lifetime_ms;
}

/* Takes the place of the one that was idle for the longest time. NULL: out of room. */
static struct representation *store(struct block_transfer *transfer, uint64_t now_ms,
                                    const struct block_context *context, const struct coap_message *response)
{
    struct representation **place = representation_place(transfer);
    struct representation *representation = calloc(1, sizeof *representation);
    *place = representation;
    if (representation == NULL)
        return NULL;
    representation->context = *context;
    representation->code = response->code;
    representation->content_format = response->content_format;
    representation->max_age = response->max_age;
    if (response->etag_count > 0)
        representation->etag = response->etags[0];
    representation->stored_ms = now_ms;
    representation->secret_ms = response->secret_ms;
    representation->expires_ms = now_ms + lifetime_of(transfer, representation);
    representation->payload.locked = response->secret_ms > 0;
    if (hold(transfer, &representation->payload, response->payload, response->payload.len))
        return representation;
    drop_representation(transfer, place);
    return NULL;
}

/* Leaves of the whole payload the block that the client asked for, or else the first. Every size that we may
 * choose divides the one that was asked for, so that the offset is one of our blocks' as well. */
static void cut_block(const struct block_transfer *transfer, const struct block_context *context,
                      struct coap_message *response)
{
    struct bytes whole = response->payload;
    size_t offset = block_offset(&context->block2);
    if (offset >= whole.len) {
        *response = (struct coap_message){.code = CM_BAD_REQUEST,
                                          .payload = bytes_from_string("block past the end"),
                                          .block1 = response->block1};
        return;
    }
    uint8_t szx = response_szx(transfer, context);
    size_t octets = coap_block_octets(szx);
    response->block2 =
        (struct coap_block){true, (uint32_t)(offset / octets), whole.len - offset > octets, szx};
    response->payload = bytes_slice(whole, offset, octets);
    if (context->wants_size2)
        response->size2 = (struct coap_uint_option){true, (uint32_t)whole.len};
}

static uint8_t response_szx(const struct block_transfer *transfer, const struct block_context *context)
{
    bool smaller = context->block2.present && context->block2.szx < transfer->szx;
    return smaller ? context->block2.szx : transfer->szx;
}

/* Max-Age is meant to be current when it is sent (RFC 7252 section 5.10.5). */
static uint32_t remaining_age(const struct representation *representation, uint64_t now_ms)
{
    uint64_t age_s = (now_ms - representation->stored_ms) / 1000;
    uint32_t max_age = representation->max_age.value;
    return age_s < max_age ? max_age - (uint32_t)age_s : 0;
}

static size_t block_offset(const struct coap_block *block)
{
    return (size_t)block->num << (block->szx + 4);
}

void block_transfer_tick(struct block_transfer *transfer, uint64_t now_ms)
{
    for (size_t i = 0; i < BLOCK_UPLOADS_MAX; i++) {
        if (transfer->uploads[i] != NULL && transfer->uploads[i]->expires_ms <= now_ms) {
            metrics_add(transfer->metrics, COUNTER_TRANSFERS_EXPIRED, 1);
            drop_upload(transfer, &transfer->uploads[i]);
        }
    }
    for (size_t i = 0; i < BLOCK_REPRESENTATIONS_MAX; i++) {
        if (transfer->representations[i] != NULL && transfer->representations[i]->expires_ms <= now_ms)
            drop_representation(transfer, &transfer->representations[i]);
    }
}

uint64_t block_transfer_deadline(const struct block_transfer *transfer)
{
    uint64_t deadline = MONOTONIC_NEVER;
    for (size_t i = 0; i < BLOCK_UPLOADS_MAX; i++) {
        if (transfer->uploads[i] != NULL && transfer->uploads[i]->expires_ms < deadline)
            deadline = transfer->uploads[i]->expires_ms;
    }
    for (size_t i = 0; i < BLOCK_REPRESENTATIONS_MAX; i++) {
        if (transfer->representations[i] != NULL && transfer->representations[i]->expires_ms < deadline)
            deadline = transfer->representations[i]->expires_ms;
    }
    return deadline;
}

static bool same_option(const struct coap_uint_option *a, const struct coap_uint_option *b)
{
    return a->present == b->present && (!a->present || a->value == b->value);
}

static bool same_resource(const struct block_context *a, const struct block_context *b)
{
    return memcmp(a->resource, b->resource, sizeof a->resource) == 0;
}

static struct upload **find_upload(struct block_transfer *transfer, const struct block_context *context)
{
    for (size_t i = 0; i < BLOCK_UPLOADS_MAX; i++) {
        if (transfer->uploads[i] != NULL && same_resource(&transfer->uploads[i]->first, context))
            return &transfer->uploads[i];
    }
    return NULL;
}

/* An empty place, perhaps emptied just now. */
static struct upload **upload_place(struct block_transfer *transfer)
{
    struct upload **oldest = &transfer->uploads[0];
    for (size_t i = 0; i < BLOCK_UPLOADS_MAX && *oldest != NULL; i++) {
        struct upload **place = &transfer->uploads[i];
        if (*place == NULL || (*place)->expires_ms < (*oldest)->expires_ms)
            oldest = place;
    }
    if (*oldest != NULL)
        metrics_add(transfer->metrics, COUNTER_TRANSFERS_EXPIRED, 1);
    drop_upload(transfer, oldest);
    return oldest;
}

static void drop_upload(struct block_transfer *transfer, struct upload **place)
{
    if (place == NULL || *place == NULL)
        return;
    let_go(transfer, &(*place)->body);
    free(*place);
    *place = NULL;
}

static struct representation **find_representation(struct block_transfer *transfer,
                                                   const struct block_context *context)
{
    for (size_t i = 0; i < BLOCK_REPRESENTATIONS_MAX; i++) {
        const struct representation *kept = transfer->representations[i];
        if (kept != NULL && same_resource(&kept->context, context) &&
            same_option(&kept->context.accept, &context->accept))
            return &transfer->representations[i];
    }
    return NULL;
}

static struct representation **representation_place(struct block_transfer *transfer)
{
    struct representation **oldest = &transfer->representations[0];
    for (size_t i = 0; i < BLOCK_REPRESENTATIONS_MAX && *oldest != NULL; i++) {
        struct representation **place = &transfer->representations[i];
        if (*place == NULL || (*place)->expires_ms < (*oldest)->expires_ms)
            oldest = place;
    }
    drop_representation(transfer, oldest);
    return oldest;
}

static void drop_representation(struct block_transfer *transfer, struct representation **place)
{
    if (place == NULL || *place == NULL)
        return;
    let_go(transfer, &(*place)->payload);
    free(*place);
    *place = NULL;
}

/* What a body may grow to before the next charge: doubled, but never beyond what a body may have. */
static size_t next_room(const struct block_transfer *transfer, const struct upload *upload, size_t more)
{
    size_t needed = upload->body.len + more;
    if (needed <= upload->body.limit)
        return upload->body.limit;
    size_t room = 2 * upload->body.limit;
    if (room > transfer->settings->max_request_bytes)
        room = transfer->settings->max_request_bytes;
    return room > needed ? room : needed;
}

/* Appends to a buffer that may grow up to limit octets, which are charged first. */
static bool hold(struct block_transfer *transfer, struct buffer *buffer, struct bytes octets, size_t limit)
{
    size_t more = limit - buffer->limit;
    metrics_add(transfer->metrics, COUNTER_BUFFERED_BYTES, more);
    if (metrics_get(transfer->metrics, COUNTER_BUFFERED_BYTES) > transfer->settings->max_buffered_bytes) {
        metrics_subtract(transfer->metrics, COUNTER_BUFFERED_BYTES, more);
        return false;
    }
    buffer->limit = limit;
    buffer_append(buffer, octets);
    return buffer->status == STATUS_OK;
}

static void let_go(struct block_transfer *transfer, struct buffer *buffer)
{
    metrics_subtract(transfer->metrics, COUNTER_BUFFERED_BYTES, buffer->limit);
    buffer_wipe(buffer);
    buffer_init(buffer, 0);
}
