/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/downstream/block_transfer.h"

#include "common/monotonic.h"
#include "registrar/counters.h"
#include "registrar/protocol/content_format.h"
#include "tests/unit/registrar/downstream/datagrams.h"

#include <stdlib.h>

#define LIFETIME_MS  247000
#define BODY_OCTETS  1500
#define LIMIT_OCTETS 4096 /* max_request_bytes of these tests */

struct fixture {
    struct coap_settings settings;
    struct metrics *metrics;
    struct block_transfer *transfer;
    uint64_t now_ms;
    struct block_delivery delivery;
    struct coap_message response;
    uint8_t body[2 * LIMIT_OCTETS]; /* octets that differ from block to block */
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->settings = default_coap_settings();
    fixture->settings.max_request_bytes = LIMIT_OCTETS;
    fixture->metrics = counters_create();
    fixture->transfer = block_transfer_create(&fixture->settings, fixture->metrics);
    assert_non_null(fixture->transfer);
    fixture->now_ms = 1000000;
    for (size_t i = 0; i < sizeof fixture->body; i++)
        fixture->body[i] = (uint8_t)(i * 7 + i / 16);
    *state = fixture;
    return 0;
}

static uint64_t count(const struct fixture *fixture, enum counter counter)
{
    return metrics_get(fixture->metrics, counter);
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    block_transfer_free(fixture->transfer);
    assert_int_equal(count(fixture, COUNTER_BUFFERED_BYTES), 0);
    metrics_free(fixture->metrics);
    free(fixture);
    return 0;
}

/* Another block size needs another transfer: settings do not change under one. */
static void set_block_size(struct fixture *fixture, uint32_t octets)
{
    block_transfer_free(fixture->transfer);
    fixture->settings.block_size = octets;
    fixture->transfer = block_transfer_create(&fixture->settings, fixture->metrics);
    assert_non_null(fixture->transfer);
}

static enum block_verdict ask(struct fixture *fixture, const struct coap_message *request)
{
    return block_transfer_request(fixture->transfer, fixture->now_ms, request, &fixture->delivery,
                                  &fixture->response);
}

static struct coap_message get(const char *path)
{
    struct coap_message request = request_message(CM_CON, CM_GET, 1);
    set_path(&request, path);
    return request;
}

static struct coap_message post(const char *path)
{
    struct coap_message request = request_message(CM_CON, CM_POST, 1);
    set_path(&request, path);
    request.content_format = uint_option(CONTENT_FORMAT_PKCS10);
    return request;
}

/* The block of body that the numbers name; the last one ends the body at len. */
static struct coap_message block_of(const struct fixture *fixture, uint32_t num, uint8_t szx, size_t len)
{
    struct coap_message request = post("est/sen");
    size_t octets = coap_block_octets(szx), offset = num * octets;
    request.block1 = block_option(num, offset + octets < len, szx);
    request.payload = bytes_slice((struct bytes){fixture->body, len}, offset, octets);
    return request;
}

static void assert_response(const struct fixture *fixture, uint8_t code)
{
    assert_int_equal(fixture->response.code, code);
}

static void assert_block(const struct coap_block *block, uint32_t num, bool more, uint8_t szx)
{
    assert_true(block->present);
    assert_int_equal(block->num, num);
    assert_int_equal(block->more, more);
    assert_int_equal(block->szx, szx);
}

/* Sends blocks of len octets from num on, each of which must be acknowledged, and the last one delivered. */
static void upload_from(struct fixture *fixture, uint32_t num, uint8_t szx, size_t len)
{
    for (;; num++) {
        const struct coap_message request = block_of(fixture, num, szx, len);
        enum block_verdict verdict = ask(fixture, &request);
        if (!request.block1.more) {
            assert_int_equal(verdict, BLOCK_DELIVER);
            break;
        }
        assert_int_equal(verdict, BLOCK_RESPOND);
        assert_response(fixture, CM_CONTINUE);
        assert_block(&fixture->response.block1, num, true, szx);
        assert_false(fixture->response.block2.present);
        assert_int_equal(fixture->response.payload.len, 0);
    }
    assert_int_equal(fixture->delivery.body.len, len);
    assert_memory_equal(fixture->delivery.body.at, fixture->body, len);
}

/* Answers what was delivered with len octets of body, which then change: the transfer has its own copy. */
static void answer(struct fixture *fixture, uint8_t code, size_t len)
{
    static uint8_t whole[2 * LIMIT_OCTETS];
    memcpy(whole, fixture->body, len);
    fixture->response = (struct coap_message){
        .code = code, .content_format = uint_option(CONTENT_FORMAT_CERTS_ONLY), .payload = {whole, len}};
    block_transfer_answer(fixture->transfer, fixture->now_ms, &fixture->delivery.context, &fixture->response);
    if (fixture->response.block2.more)
        memset(whole, 0xee, len);
}

static void assert_payload(const struct fixture *fixture, size_t offset, size_t len)
{
    assert_int_equal(fixture->response.payload.len, len);
    assert_memory_equal(fixture->response.payload.at, fixture->body + offset, len);
}

static void follow_up(struct fixture *fixture, struct coap_message request, uint32_t num, uint8_t szx)
{
    request.block2 = block_option(num, false, szx);
    assert_int_equal(ask(fixture, &request), BLOCK_RESPOND);
}

/* BLK-1: what fits one datagram needs no block option. */
static void small_bodies_need_no_blocks(void **state)
{
    struct fixture *fixture = *state;
    struct coap_message request = post("est/sen");
    request.payload = (struct bytes){fixture->body, 400};
    assert_int_equal(ask(fixture, &request), BLOCK_DELIVER);
    assert_ptr_equal(fixture->delivery.body.at, fixture->body);
    assert_int_equal(fixture->delivery.body.len, 400);
    answer(fixture, CM_CHANGED, 512);
    assert_response(fixture, CM_CHANGED);
    assert_payload(fixture, 0, 512);
    assert_false(fixture->response.block1.present || fixture->response.block2.present);
    assert_int_equal(count(fixture, COUNTER_BUFFERED_BYTES), 0);
}

/* BLK-1, BLK-2, BLK-3: every block size; the whole body is delivered once. */
static void body_is_assembled_at_any_size(void **state)
{
    struct fixture *fixture = *state;
    set_block_size(fixture, 1024);
    for (uint8_t szx = 0; szx <= 6; szx++) {
        upload_from(fixture, 0, szx, BODY_OCTETS);
        assert_true(count(fixture, COUNTER_BUFFERED_BYTES) >= BODY_OCTETS);
        block_transfer_release(fixture->transfer);
        assert_int_equal(count(fixture, COUNTER_BUFFERED_BYTES), 0);

        answer(fixture, CM_CHANGED, 10);
        uint32_t last = (uint32_t)((BODY_OCTETS - 1) / coap_block_octets(szx));
        assert_block(&fixture->response.block1, last, false, szx);
        assert_false(fixture->response.block2.present);
    }
}

/* A body that ends with a full block. */
static void last_block_may_be_full(void **state)
{
    struct fixture *fixture = *state;
    upload_from(fixture, 0, 2, 256);
    upload_from(fixture, 0, 2, 64);
}

/* BLK-6, RFC 7959 Figure 9: the answer to block 0 asks for a smaller size, the next number counts in it. */
static void smaller_block1_size_is_asked_for(void **state)
{
    struct fixture *fixture = *state;
    set_block_size(fixture, 64);
    const struct coap_message first = block_of(fixture, 0, 4, BODY_OCTETS);
    assert_int_equal(ask(fixture, &first), BLOCK_RESPOND);
    assert_response(fixture, CM_CONTINUE);
    assert_block(&fixture->response.block1, 0, true, 2);
    upload_from(fixture, 4, 2, BODY_OCTETS);
}

/* RFC 7959 section 2.5: the client SHOULD heed the preference; one that does not is served as well. */
static void larger_blocks_than_asked_for_are_taken(void **state)
{
    struct fixture *fixture = *state;
    set_block_size(fixture, 64);
    const struct coap_message first = block_of(fixture, 0, 4, BODY_OCTETS);
    ask(fixture, &first);
    upload_from(fixture, 1, 4, BODY_OCTETS);
}

/* RFC 7959 section 2.5: the size may also change later, where the offset fits. */
static void block1_size_may_change_where_the_offset_fits(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t num = 0; num < 3; num++) {
        const struct coap_message request = block_of(fixture, num, 3, BODY_OCTETS);
        ask(fixture, &request);
        assert_response(fixture, CM_CONTINUE);
    }
    const struct coap_message wrong = block_of(fixture, 1, 4, BODY_OCTETS); /* octet 256, 384 are there */
    ask(fixture, &wrong);
    assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);
    upload_from(fixture, 12, 1, BODY_OCTETS);
}

/* BLK-7: 4.08. The transfer goes on when the missing block comes after all. */
static void gap_is_incomplete(void **state)
{
    struct fixture *fixture = *state;
    const struct coap_message first = block_of(fixture, 0, 2, BODY_OCTETS);
    ask(fixture, &first);
    const struct coap_message third = block_of(fixture, 2, 2, BODY_OCTETS);
    assert_int_equal(ask(fixture, &third), BLOCK_RESPOND);
    assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);
    assert_block(&fixture->response.block1, 2, false, 2);
    const struct coap_message last = block_of(fixture, 23, 2, BODY_OCTETS);
    assert_int_equal(ask(fixture, &last), BLOCK_RESPOND);
    assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);
    upload_from(fixture, 1, 2, BODY_OCTETS);
}

/* A last block must follow what is there, even where it repeats octets of it; it may be empty. */
static void last_block_ends_the_body(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t num = 0; num < 3; num++) {
        const struct coap_message request = block_of(fixture, num, 2, BODY_OCTETS);
        ask(fixture, &request);
    }
    const struct coap_message early = block_of(fixture, 1, 2, 128);
    assert_int_equal(ask(fixture, &early), BLOCK_RESPOND);
    assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);

    struct coap_message empty = block_of(fixture, 3, 2, BODY_OCTETS);
    empty.block1.more = false;
    empty.payload = (struct bytes){NULL, 0};
    assert_int_equal(ask(fixture, &empty), BLOCK_DELIVER);
    assert_int_equal(fixture->delivery.body.len, 192);
}

/* BLK-7: nothing is known of this transfer, of this path, of this query. */
static void unknown_transfer_is_incomplete(void **state)
{
    struct fixture *fixture = *state;
    struct coap_message request = block_of(fixture, 1, 2, BODY_OCTETS);
    ask(fixture, &request);
    assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);

    struct coap_message first = block_of(fixture, 0, 2, BODY_OCTETS);
    ask(fixture, &first);
    request.uri_path[1] = BYTES_LITERAL("sren");
    ask(fixture, &request);
    assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);
    request = block_of(fixture, 1, 2, BODY_OCTETS);
    request.uri_query[request.uri_query_count++] = BYTES_LITERAL("a=b");
    ask(fixture, &request);
    assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);
    request = block_of(fixture, 1, 2, BODY_OCTETS);
    request.uri_path[0] = BYTES_LITERAL("ests");
    request.uri_path[1] = BYTES_LITERAL("en");
    ask(fixture, &request);
    assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);
    request = block_of(fixture, 1, 2, BODY_OCTETS);
    request.uri_path_count = request.uri_query_count = 1;
    request.uri_query[0] = BYTES_LITERAL("sen");
    ask(fixture, &request);
    assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);
    upload_from(fixture, 1, 2, BODY_OCTETS);
    upload_from(fixture, 0, 2, BODY_OCTETS); /* a finished one is unknown */
    request = block_of(fixture, 23, 2, BODY_OCTETS);
    ask(fixture, &request);
    assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);
}

/* CF-9: all blocks have one Content-Format, or the transfer is over. */
static void changed_content_format_is_incomplete(void **state)
{
    const struct coap_uint_option others[] = {uint_option(CONTENT_FORMAT_CERTS_ONLY), {false, 0}};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < 2; i++) {
        const struct coap_message first = block_of(fixture, 0, 2, BODY_OCTETS);
        ask(fixture, &first);
        assert_response(fixture, CM_CONTINUE);
        struct coap_message second = block_of(fixture, 1, 2, BODY_OCTETS);
        second.content_format = others[i];
        assert_int_equal(ask(fixture, &second), BLOCK_RESPOND);
        assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);
        second.content_format = first.content_format;
        ask(fixture, &second);
        assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);
    }
    assert_int_equal(count(fixture, COUNTER_BUFFERED_BYTES), 0);
}

/* A block that is there already (its message id is forgotten, or it was a NON) is acknowledged, not appended.
 */
static void repeated_block_is_acknowledged_again(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t num = 0; num < 3; num++) {
        const struct coap_message request = block_of(fixture, num, 2, BODY_OCTETS);
        for (size_t copy = 0; copy < 2; copy++) {
            assert_int_equal(ask(fixture, &request), BLOCK_RESPOND);
            assert_response(fixture, CM_CONTINUE);
            assert_block(&fixture->response.block1, num, true, 2);
        }
    }
    const struct coap_message second = block_of(fixture, 1, 2, BODY_OCTETS);
    ask(fixture, &second);
    assert_response(fixture, CM_CONTINUE);
    struct coap_message other = block_of(fixture, 2, 2, BODY_OCTETS);
    other.payload.at++;
    ask(fixture, &other);
    assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);
    upload_from(fixture, 3, 2, BODY_OCTETS);
}

/* BLK-7: NUM 0 begins again, as does a request without Block1. */
static void restart_replaces_the_old_body(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t num = 0; num < 3; num++) {
        struct coap_message request = block_of(fixture, num, 2, BODY_OCTETS);
        request.payload.at += 5;
        ask(fixture, &request);
        assert_response(fixture, CM_CONTINUE);
    }
    upload_from(fixture, 0, 2, BODY_OCTETS);

    struct coap_message request = block_of(fixture, 0, 2, BODY_OCTETS);
    ask(fixture, &request);
    struct coap_message whole = post("est/sen");
    whole.payload = (struct bytes){fixture->body, 100};
    assert_int_equal(ask(fixture, &whole), BLOCK_DELIVER);
    assert_int_equal(count(fixture, COUNTER_BUFFERED_BYTES), 0);
    request = block_of(fixture, 1, 2, BODY_OCTETS);
    ask(fixture, &request);
    assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);
}

static void assert_too_large(struct fixture *fixture, const struct coap_message *request)
{
    assert_int_equal(ask(fixture, request), BLOCK_RESPOND);
    assert_response(fixture, CM_REQUEST_ENTITY_TOO_LARGE);
    assert_true(fixture->response.size1.present);
    assert_int_equal(fixture->response.size1.value, LIMIT_OCTETS);
    assert_int_equal(count(fixture, COUNTER_BUFFERED_BYTES), 0);
}

/* BLK-7, BLK-9: 4.13 names the limit, and comes as soon as the size is known. */
static void too_large_body_is_refused(void **state)
{
    struct fixture *fixture = *state;
    upload_from(fixture, 0, 5, LIMIT_OCTETS);
    block_transfer_release(fixture->transfer);
    for (uint32_t num = 0; num < 8; num++) {
        const struct coap_message request = block_of(fixture, num, 5, LIMIT_OCTETS + 1);
        ask(fixture, &request);
        assert_response(fixture, CM_CONTINUE);
    }
    struct coap_message request = block_of(fixture, 8, 5, LIMIT_OCTETS + 1);
    assert_too_large(fixture, &request);
    assert_block(&fixture->response.block1, 8, false, 5);

    request = block_of(fixture, 0, 5, LIMIT_OCTETS);
    request.size1 = uint_option(LIMIT_OCTETS + 1);
    assert_too_large(fixture, &request);
    request = block_of(fixture, 0, 5, LIMIT_OCTETS);
    request.block1.num = 0xfffff;
    assert_too_large(fixture, &request);
    request = post("est/sen");
    request.payload = (struct bytes){fixture->body, LIMIT_OCTETS + 1};
    assert_too_large(fixture, &request);

    request = block_of(fixture, 0, 5, LIMIT_OCTETS);
    request.size1 = uint_option(LIMIT_OCTETS);
    ask(fixture, &request);
    assert_response(fixture, CM_CONTINUE);
}

/* BLK-7: SZX 7 is reserved, and never sent. */
static void reserved_size_is_a_bad_request(void **state)
{
    struct fixture *fixture = *state;
    struct coap_message request = block_of(fixture, 0, 6, BODY_OCTETS);
    request.block1.szx = 7;
    assert_int_equal(ask(fixture, &request), BLOCK_RESPOND);
    assert_response(fixture, CM_BAD_REQUEST);
    assert_false(fixture->response.block1.present);
    request = get("est/crts");
    request.block2 = block_option(0, false, 7);
    ask(fixture, &request);
    assert_response(fixture, CM_BAD_REQUEST);
    assert_false(fixture->response.block2.present);
}

/* RFC 7959 section 2.2: a block with M set is as long as its SZX says, the last one no longer. */
static void block_of_another_size_is_a_bad_request(void **state)
{
    const size_t lengths[] = {0, 63, 65, 128};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < 4; i++) {
        const struct coap_message first = block_of(fixture, 0, 2, BODY_OCTETS);
        ask(fixture, &first);
        struct coap_message second = block_of(fixture, 1, 2, BODY_OCTETS);
        second.payload.len = lengths[i];
        assert_int_equal(ask(fixture, &second), BLOCK_RESPOND);
        assert_response(fixture, CM_BAD_REQUEST);
        assert_int_equal(count(fixture, COUNTER_BUFFERED_BYTES), 0);
    }
    for (uint32_t num = 0; num < 2; num++) {
        const struct coap_message first = block_of(fixture, 0, 2, BODY_OCTETS);
        ask(fixture, &first);
        struct coap_message last = block_of(fixture, num, 2, BODY_OCTETS);
        last.block1.more = false;
        last.payload.len = 65;
        assert_int_equal(ask(fixture, &last), BLOCK_RESPOND);
        assert_response(fixture, CM_BAD_REQUEST);
    }
}

/* BLK-8: a partial body is dropped EXCHANGE_LIFETIME after its last block. */
static void partial_body_expires(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t num = 0; num < 3; num++) {
        const struct coap_message request = block_of(fixture, num, 2, BODY_OCTETS);
        ask(fixture, &request);
        assert_response(fixture, CM_CONTINUE);
        assert_int_equal(block_transfer_deadline(fixture->transfer), fixture->now_ms + LIFETIME_MS);
        fixture->now_ms += LIFETIME_MS - 1;
        block_transfer_tick(fixture->transfer, fixture->now_ms);
    }
    assert_int_not_equal(count(fixture, COUNTER_BUFFERED_BYTES), 0);
    fixture->now_ms += 1;
    block_transfer_tick(fixture->transfer, fixture->now_ms);
    assert_int_equal(count(fixture, COUNTER_BUFFERED_BYTES), 0);
    assert_int_equal(count(fixture, COUNTER_TRANSFERS_EXPIRED), 1);
    assert_int_equal(block_transfer_deadline(fixture->transfer), MONOTONIC_NEVER);
    const struct coap_message request = block_of(fixture, 3, 2, BODY_OCTETS);
    ask(fixture, &request);
    assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);
}

/* Sends one block of a body for path. */
static uint8_t upload_block(struct fixture *fixture, const char *path, uint32_t num)
{
    struct coap_message request = block_of(fixture, num, 2, BODY_OCTETS);
    request.uri_path_count = 0;
    set_path(&request, path);
    fixture->now_ms++;
    ask(fixture, &request);
    return fixture->response.code;
}

/* BLK-8: bounded contexts; the one that was idle longest makes room. */
static void uploads_of_an_association_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(upload_block(fixture, "est/a/sen", 0), CM_CONTINUE);
    assert_int_equal(upload_block(fixture, "est/b/sen", 0), CM_CONTINUE);
    assert_int_equal(upload_block(fixture, "est/a/sen", 1), CM_CONTINUE);
    assert_int_equal(upload_block(fixture, "est/c/sen", 0), CM_CONTINUE);
    assert_int_equal(upload_block(fixture, "est/b/sen", 1), CM_REQUEST_ENTITY_INCOMPLETE);
    assert_int_equal(upload_block(fixture, "est/a/sen", 2), CM_CONTINUE);
    assert_int_equal(upload_block(fixture, "est/c/sen", 1), CM_CONTINUE);
    assert_int_equal(count(fixture, COUNTER_TRANSFERS_EXPIRED), 1);
}

/* BLK-4, BLK-5: blocks of every size come from what is stored, the last one more than once. */
static void representation_is_served_at_any_size(void **state)
{
    struct fixture *fixture = *state;
    set_block_size(fixture, 1024);
    for (uint8_t szx = 0; szx <= 6; szx++) {
        struct coap_message request = post("est/sen");
        request.block2 = block_option(0, false, szx);
        assert_int_equal(ask(fixture, &request), BLOCK_DELIVER);
        answer(fixture, CM_CHANGED, BODY_OCTETS);
        size_t octets = coap_block_octets(szx);
        assert_block(&fixture->response.block2, 0, true, szx);
        assert_payload(fixture, 0, octets);

        uint32_t last = (uint32_t)((BODY_OCTETS - 1) / octets);
        for (uint32_t num = 1; num <= last + 1; num++) {
            uint32_t asked = num <= last ? num : last;
            follow_up(fixture, post("est/sen"), asked, szx);
            assert_response(fixture, CM_CHANGED);
            assert_block(&fixture->response.block2, asked, asked < last, szx);
            assert_false(fixture->response.block1.present);
            assert_int_equal(fixture->response.content_format.value, CONTENT_FORMAT_CERTS_ONLY);
            assert_payload(fixture, asked * octets, asked < last ? octets : BODY_OCTETS - last * octets);
        }
    }
    assert_int_equal(count(fixture, COUNTER_BUFFERED_BYTES), BODY_OCTETS);
}

/* BLK-5: 638 octets in blocks of 64 are ten, the last of 62 octets. */
static void block_count_of_rfc_9148_a1(void **state)
{
    struct fixture *fixture = *state;
    struct coap_message request = get("est/crts");
    request.block2 = block_option(0, true, 2); /* M is ignored */
    assert_int_equal(ask(fixture, &request), BLOCK_DELIVER);
    answer(fixture, CM_CONTENT, 638);
    follow_up(fixture, get("est/crts"), 8, 2);
    assert_block(&fixture->response.block2, 8, true, 2);
    follow_up(fixture, get("est/crts"), 9, 2);
    assert_block(&fixture->response.block2, 9, false, 2);
    assert_payload(fixture, 576, 62);
}

/* RFC 7959 section 2.4: min(own, asked); a later request may have a smaller size, one with a larger is served
 * in ours, from the offset that it asks for. */
static void offsets_hold_when_sizes_differ(void **state)
{
    struct fixture *fixture = *state;
    set_block_size(fixture, 256);
    struct coap_message request = post("est/sen");
    request.block2 = block_option(0, false, 6);
    ask(fixture, &request);
    answer(fixture, CM_CHANGED, BODY_OCTETS);
    assert_block(&fixture->response.block2, 0, true, 4);
    follow_up(fixture, post("est/sen"), 1, 6);
    assert_block(&fixture->response.block2, 4, true, 4);
    assert_payload(fixture, 1024, 256);
    follow_up(fixture, post("est/sen"), 8, 1);
    assert_block(&fixture->response.block2, 8, true, 1);
    assert_payload(fixture, 256, 32);
}

static void block_past_the_end_is_a_bad_request(void **state)
{
    struct fixture *fixture = *state;
    struct coap_message request = post("est/sen");
    ask(fixture, &request);
    answer(fixture, CM_CHANGED, 1024);
    follow_up(fixture, post("est/sen"), 2, 5); /* octet 1024 */
    assert_response(fixture, CM_BAD_REQUEST);
    assert_false(fixture->response.block2.present || fixture->response.content_format.present);
    follow_up(fixture, post("est/sen"), 0xfffff, 6);
    assert_response(fixture, CM_BAD_REQUEST);
    follow_up(fixture, post("est/sen"), 1, 5);
    assert_response(fixture, CM_CHANGED);

    request = get("est/crts");
    request.block2 = block_option(3, false, 5);
    assert_int_equal(ask(fixture, &request), BLOCK_DELIVER);
    answer(fixture, CM_CONTENT, 1024);
    assert_response(fixture, CM_BAD_REQUEST);
}

/* BLK-4: a POST whose response is not kept is never run again; a GET is safe and may start anywhere. */
static void follow_up_of_nothing(void **state)
{
    struct fixture *fixture = *state;
    follow_up(fixture, post("est/sen"), 1, 2);
    assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);

    struct coap_message request = get("est/crts");
    request.block2 = block_option(3, false, 2);
    assert_int_equal(ask(fixture, &request), BLOCK_DELIVER);
    answer(fixture, CM_CONTENT, BODY_OCTETS);
    assert_response(fixture, CM_CONTENT);
    assert_block(&fixture->response.block2, 3, true, 2);
    assert_payload(fixture, 192, 64);
    follow_up(fixture, get("est/crts"), 4, 2);
    assert_payload(fixture, 256, 64);
}

/* BLK-4: method, path, query and Accept name the representation. */
static void representation_is_of_one_request(void **state)
{
    struct fixture *fixture = *state;
    struct coap_message request = post("est/sen");
    request.accept = uint_option(CONTENT_FORMAT_ONE_CERT);
    ask(fixture, &request);
    answer(fixture, CM_CHANGED, BODY_OCTETS);

    struct coap_message others[] = {request, request, request, request};
    others[0].accept = uint_option(CONTENT_FORMAT_CERTS_ONLY);
    others[1].accept.present = false;
    others[2].uri_path[1] = BYTES_LITERAL("sren");
    others[3].uri_query[others[3].uri_query_count++] = BYTES_LITERAL("a");
    for (size_t i = 0; i < 4; i++) {
        follow_up(fixture, others[i], 1, 5);
        assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);
    }
    struct coap_message other_method = request;
    other_method.code = CM_GET;
    other_method.block2 = block_option(1, false, 5);
    assert_int_equal(ask(fixture, &other_method), BLOCK_DELIVER);
    struct coap_message same = request;
    same.content_format.present = false; /* without a payload, some clients leave it out */
    follow_up(fixture, same, 1, 5);
    assert_response(fixture, CM_CHANGED);
}

/* SKG-9: a representation with a private key is kept in locked memory, and not for EXCHANGE_LIFETIME; every
 * block says so to the message layer. */
static void secret_expires_sooner(void **state)
{
    struct fixture *fixture = *state;
    struct coap_message request = post("est/skg");
    ask(fixture, &request);
    fixture->response = (struct coap_message){
        .code = CM_CHANGED, .payload = {fixture->body, BODY_OCTETS}, .secret_ms = 60000};
    block_transfer_answer(fixture->transfer, fixture->now_ms, &fixture->delivery.context, &fixture->response);
    assert_int_equal(fixture->response.secret_ms, 60000);
    assert_true(fixture->response.block2.more);
    assert_int_equal(block_transfer_deadline(fixture->transfer), fixture->now_ms + 60000);
    fixture->now_ms += 59999;
    block_transfer_tick(fixture->transfer, fixture->now_ms);
    follow_up(fixture, request, 1, 5);
    assert_response(fixture, CM_CHANGED);
    assert_int_equal(fixture->response.secret_ms, 60000);
    fixture->now_ms += 60000;
    block_transfer_tick(fixture->transfer, fixture->now_ms);
    assert_int_equal(block_transfer_deadline(fixture->transfer), MONOTONIC_NEVER);
    assert_int_equal(count(fixture, COUNTER_BUFFERED_BYTES), 0);
    follow_up(fixture, request, 2, 5);
    assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);
}

/* BLK-3: errors, 5.03 among them, and answers without payload carry Block1 but no Block2, and end what was
 * stored before. */
static void final_error_has_no_block2(void **state)
{
    struct fixture *fixture = *state;
    upload_from(fixture, 0, 5, BODY_OCTETS);
    answer(fixture, CM_CHANGED, BODY_OCTETS);
    assert_block(&fixture->response.block1, 2, false, 5);
    assert_block(&fixture->response.block2, 0, true, 5);

    upload_from(fixture, 0, 5, BODY_OCTETS);
    fixture->response = (struct coap_message){.code = CM_SERVICE_UNAVAILABLE, .max_age = {true, 60}};
    block_transfer_answer(fixture->transfer, fixture->now_ms, &fixture->delivery.context, &fixture->response);
    assert_response(fixture, CM_SERVICE_UNAVAILABLE);
    assert_int_equal(fixture->response.max_age.value, 60);
    assert_block(&fixture->response.block1, 2, false, 5);
    assert_false(fixture->response.block2.present);
    follow_up(fixture, post("est/sen"), 1, 5);
    assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);
}

/* BLK-5: what was asked for in the first block holds, unless the last one asks for something else. */
static void block2_is_negotiated_early(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < 3; i++) {
        struct coap_message first = block_of(fixture, 0, 5, 1000), last = block_of(fixture, 1, 5, 1000);
        if (i != 1)
            first.block2 = block_option(0, false, 2);
        if (i != 0)
            last.block2 = block_option(0, false, 1);
        ask(fixture, &first);
        assert_response(fixture, CM_CONTINUE);
        assert_false(fixture->response.block2.present);
        assert_int_equal(ask(fixture, &last), BLOCK_DELIVER);
        answer(fixture, CM_CHANGED, BODY_OCTETS);
        assert_block(&fixture->response.block2, 0, true, i == 0 ? 2 : 1);
    }
}

/* A client that asked for blocks gets Block2 also where one is enough. */
static void block2_is_echoed_where_one_block_is_enough(void **state)
{
    struct fixture *fixture = *state;
    struct coap_message request = get("est/crts");
    request.block2 = block_option(0, false, 3);
    ask(fixture, &request);
    answer(fixture, CM_CONTENT, 128);
    assert_block(&fixture->response.block2, 0, false, 3);
    assert_payload(fixture, 0, 128);
    assert_int_equal(count(fixture, COUNTER_BUFFERED_BYTES), 0);
}

/* BLK-9: Size2 when it was asked for. */
static void size2_is_given_when_asked(void **state)
{
    struct fixture *fixture = *state;
    struct coap_message request = get("est/crts");
    ask(fixture, &request);
    answer(fixture, CM_CONTENT, BODY_OCTETS);
    assert_false(fixture->response.size2.present);
    request.size2 = uint_option(0);
    ask(fixture, &request);
    answer(fixture, CM_CONTENT, BODY_OCTETS);
    assert_true(fixture->response.size2.present);
    assert_int_equal(fixture->response.size2.value, BODY_OCTETS);
    follow_up(fixture, request, 1, 5);
    assert_int_equal(fixture->response.size2.value, BODY_OCTETS);
}

/* BLK-10: what a record can carry lowers the size that is offered, in both directions. */
static void record_limit_lowers_the_block_size(void **state)
{
    static const struct {
        size_t limit;
        uint8_t szx;
    } cases[] = {{SIZE_MAX, 5}, {512, 5}, {511, 4}, {100, 2}, {16, 0}, {3, 0}};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        block_transfer_limit_block(fixture->transfer, cases[i].limit);
        const struct coap_message block = block_of(fixture, 0, 6, BODY_OCTETS);
        ask(fixture, &block);
        assert_int_equal(fixture->response.block1.szx, cases[i].szx);
        const struct coap_message request = post("est/sren");
        ask(fixture, &request);
        answer(fixture, CM_CHANGED, BODY_OCTETS);
        assert_block(&fixture->response.block2, 0, true, cases[i].szx);
    }
}

/* BLK-4: kept until idle for EXCHANGE_LIFETIME; every block that is fetched counts. */
static void representation_expires_when_idle(void **state)
{
    struct fixture *fixture = *state;
    const struct coap_message request = post("est/sen");
    ask(fixture, &request);
    answer(fixture, CM_CHANGED, BODY_OCTETS);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(block_transfer_deadline(fixture->transfer), fixture->now_ms + LIFETIME_MS);
        fixture->now_ms += LIFETIME_MS - 1;
        block_transfer_tick(fixture->transfer, fixture->now_ms);
        follow_up(fixture, post("est/sen"), 2, 5);
        assert_response(fixture, CM_CHANGED);
    }
    fixture->now_ms += LIFETIME_MS;
    block_transfer_tick(fixture->transfer, fixture->now_ms);
    assert_int_equal(count(fixture, COUNTER_BUFFERED_BYTES), 0);
    assert_int_equal(count(fixture, COUNTER_TRANSFERS_EXPIRED), 0); /* it was fetched in time */
    assert_int_equal(block_transfer_deadline(fixture->transfer), MONOTONIC_NEVER);
    follow_up(fixture, post("est/sen"), 2, 5);
    assert_response(fixture, CM_REQUEST_ENTITY_INCOMPLETE);
}

/* RFC 7252 section 5.10.5: Max-Age is current when it is sent. */
static void max_age_of_later_blocks_is_what_remains(void **state)
{
    struct fixture *fixture = *state;
    struct coap_message request = get("est/crts");
    ask(fixture, &request);
    fixture->response = (struct coap_message){
        .code = CM_CONTENT, .max_age = {true, 30}, .payload = {fixture->body, BODY_OCTETS}};
    block_transfer_answer(fixture->transfer, fixture->now_ms, &fixture->delivery.context, &fixture->response);
    assert_int_equal(fixture->response.max_age.value, 30);
    fixture->now_ms += 12345;
    follow_up(fixture, get("est/crts"), 1, 5);
    assert_int_equal(fixture->response.max_age.value, 18);
    fixture->now_ms += 100000;
    follow_up(fixture, get("est/crts"), 1, 5);
    assert_true(fixture->response.max_age.present);
    assert_int_equal(fixture->response.max_age.value, 0);
}

static void fetch(struct fixture *fixture, const char *path)
{
    const struct coap_message request = get(path);
    fixture->now_ms++;
    assert_int_equal(ask(fixture, &request), BLOCK_DELIVER);
    answer(fixture, CM_CONTENT, BODY_OCTETS);
}

/* BLK-8: at most two representations; a new answer replaces the old one of its request. */
static void representations_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    fetch(fixture, "est/crts");
    fetch(fixture, "est/att");
    fetch(fixture, "est/crts");
    assert_int_equal(count(fixture, COUNTER_BUFFERED_BYTES), 2 * BODY_OCTETS);
    fetch(fixture, "est/p1/crts");
    assert_int_equal(count(fixture, COUNTER_BUFFERED_BYTES), 2 * BODY_OCTETS);
    follow_up(fixture, get("est/crts"), 1, 5);
    assert_response(fixture, CM_CONTENT);
    struct coap_message request = get("est/att");
    request.block2 = block_option(1, false, 5);
    assert_int_equal(ask(fixture, &request), BLOCK_DELIVER);
}

/* The process-wide account: over it 5.03 with Max-Age, and nothing is held for the one that was refused. */
static void buffered_bytes_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.max_buffered_bytes = 1100;
    metrics_add(fixture->metrics, COUNTER_BUFFERED_BYTES, 500); /* somebody else's */

    for (uint32_t num = 0; num < 8; num++)
        assert_int_equal(upload_block(fixture, "est/sen", num), CM_CONTINUE);
    size_t held = count(fixture, COUNTER_BUFFERED_BYTES);
    assert_in_range(held, 500 + 8 * 64, 1100);
    assert_int_equal(upload_block(fixture, "est/sen", 8), CM_SERVICE_UNAVAILABLE);
    assert_int_equal(fixture->response.max_age.value, BLOCK_RETRY_AFTER_S);
    assert_block(&fixture->response.block1, 8, false, 2);
    assert_int_equal(count(fixture, COUNTER_BUFFERED_BYTES), 500);
    assert_int_equal(count(fixture, COUNTER_TRANSFERS_REFUSED), 1);
    assert_int_equal(upload_block(fixture, "est/sen", 9), CM_REQUEST_ENTITY_INCOMPLETE);

    const struct coap_message request = get("est/crts");
    ask(fixture, &request);
    answer(fixture, CM_CONTENT, BODY_OCTETS);
    assert_response(fixture, CM_SERVICE_UNAVAILABLE);
    assert_true(fixture->response.max_age.present);
    assert_false(fixture->response.block2.present || fixture->response.content_format.present);
    assert_int_equal(fixture->response.payload.len, 0);
    assert_int_equal(count(fixture, COUNTER_BUFFERED_BYTES), 500);
    assert_int_equal(count(fixture, COUNTER_TRANSFERS_REFUSED), 2);
    metrics_subtract(fixture->metrics, COUNTER_BUFFERED_BYTES, 500);
}

/* What is charged is what is allocated, or more. */
static void charges_cover_what_grows(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t num = 0; num < 100; num++) {
        const struct coap_message request = block_of(fixture, num, 0, LIMIT_OCTETS);
        ask(fixture, &request);
        uint64_t charged = count(fixture, COUNTER_BUFFERED_BYTES);
        assert_in_range(charged, 16 * (num + 1), 32 * (num + 1));
    }
    upload_from(fixture, 100, 0, LIMIT_OCTETS);
    assert_int_equal(count(fixture, COUNTER_BUFFERED_BYTES), LIMIT_OCTETS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(small_bodies_need_no_blocks),
        TEST(body_is_assembled_at_any_size),
        TEST(last_block_may_be_full),
        TEST(smaller_block1_size_is_asked_for),
        TEST(larger_blocks_than_asked_for_are_taken),
        TEST(block1_size_may_change_where_the_offset_fits),
        TEST(gap_is_incomplete),
        TEST(last_block_ends_the_body),
        TEST(unknown_transfer_is_incomplete),
        TEST(changed_content_format_is_incomplete),
        TEST(repeated_block_is_acknowledged_again),
        TEST(restart_replaces_the_old_body),
        TEST(too_large_body_is_refused),
        TEST(reserved_size_is_a_bad_request),
        TEST(block_of_another_size_is_a_bad_request),
        TEST(partial_body_expires),
        TEST(uploads_of_an_association_are_bounded),
        TEST(representation_is_served_at_any_size),
        TEST(block_count_of_rfc_9148_a1),
        TEST(offsets_hold_when_sizes_differ),
        TEST(block_past_the_end_is_a_bad_request),
        TEST(follow_up_of_nothing),
        TEST(representation_is_of_one_request),
        TEST(final_error_has_no_block2),
        TEST(block2_is_negotiated_early),
        TEST(block2_is_echoed_where_one_block_is_enough),
        TEST(size2_is_given_when_asked),
        TEST(record_limit_lowers_the_block_size),
        TEST(representation_expires_when_idle),
        TEST(secret_expires_sooner),
        TEST(max_age_of_later_blocks_is_what_remains),
        TEST(representations_are_bounded),
        TEST(buffered_bytes_are_bounded),
        TEST(charges_cover_what_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
