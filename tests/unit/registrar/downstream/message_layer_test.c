/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/downstream/message_layer.h"

#include "common/monotonic.h"
#include "registrar/counters.h"
#include "tests/unit/registrar/downstream/datagrams.h"

#include <stdlib.h>

#define LIFETIME_MS     247000 /* RFC 7252 section 4.8.2 */
#define NON_LIFETIME_MS 145000

struct fixture {
    struct coap_settings settings;
    struct metrics *metrics;
    struct message_layer *layer;
    struct outbox out;
    uint64_t now_ms;
    uint32_t request; /* the last one that came up */
    uint16_t request_id;
    size_t requests;
    bool answers_at_once, had_effect;
    uint32_t secret_ms; /* of the answers */
};

static void respond(struct fixture *fixture, uint32_t request, bool had_effect);

static void take_request(void *user, uint64_t now_ms, uint32_t request, const struct coap_message *message)
{
    struct fixture *fixture = user;
    assert_int_equal(now_ms, fixture->now_ms);
    fixture->request = request;
    fixture->request_id = message->id;
    fixture->requests++;
    if (fixture->answers_at_once)
        respond(fixture, request, fixture->had_effect);
}

static void send_datagram(void *user, struct bytes datagram)
{
    struct fixture *fixture = user;
    outbox_send(&fixture->out, datagram);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->settings = default_coap_settings();
    fixture->metrics = counters_create();
    fixture->now_ms = 1000000;
    const struct message_layer_events events = {send_datagram, take_request, fixture};
    fixture->layer = message_layer_create(&fixture->settings, fixture->metrics, &events);
    assert_non_null(fixture->layer);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    message_layer_free(fixture->layer);
    metrics_free(fixture->metrics);
    free(fixture);
    return 0;
}

static void receive_octets(struct fixture *fixture, struct bytes octets)
{
    message_layer_receive(fixture->layer, fixture->now_ms, octets);
}

static void receive(struct fixture *fixture, enum coap_message_type type, uint8_t code, uint16_t id)
{
    struct coap_message message = request_message(type, code, id);
    if (code == CM_EMPTY)
        message.token_len = 0;
    const struct datagram datagram = datagram_write(&message);
    receive_octets(fixture, datagram_view(&datagram));
}

/* The payload names the request, so that responses can be told apart. */
static void respond(struct fixture *fixture, uint32_t request, bool had_effect)
{
    char payload[32];
    snprintf(payload, sizeof payload, "answer to %u", request);
    struct coap_message response = {
        .code = CM_CHANGED, .payload = bytes_from_string(payload), .secret_ms = fixture->secret_ms};
    message_layer_respond(fixture->layer, fixture->now_ms, request, &response, had_effect);
}

static void tick(struct fixture *fixture)
{
    message_layer_tick(fixture->layer, fixture->now_ms);
}

/* Lets time pass, and every tick that is due happen on the way. */
static void wait_ms(struct fixture *fixture, uint64_t ms)
{
    uint64_t until_ms = fixture->now_ms + ms;
    while (message_layer_deadline(fixture->layer) <= until_ms) {
        uint64_t deadline = message_layer_deadline(fixture->layer);
        fixture->now_ms = deadline > fixture->now_ms ? deadline : fixture->now_ms;
        tick(fixture);
    }
    fixture->now_ms = until_ms;
}

static uint64_t count(const struct fixture *fixture, enum counter counter)
{
    return metrics_get(fixture->metrics, counter);
}

static void assert_empty(const struct fixture *fixture, enum coap_message_type type, uint16_t id)
{
    const struct coap_message message = outbox_message(&fixture->out);
    assert_int_equal(message.type, type);
    assert_int_equal(message.code, CM_EMPTY);
    assert_int_equal(message.id, id);
}

/* TX-1: 247 s by default, and never less, however impatient or patient a client is. */
static void lifetime_covers_the_longest_span(void **state)
{
    (void)state;
    struct coap_settings settings = default_coap_settings();
    assert_int_equal(message_layer_exchange_lifetime_ms(&settings), LIFETIME_MS);
    settings.ack_timeout_ms = 1000;
    settings.max_retransmit = 2;
    assert_int_equal(message_layer_exchange_lifetime_ms(&settings), LIFETIME_MS);
    settings.ack_timeout_ms = 4000;
    settings.max_retransmit = 5; /* 4 * 31 * 1.5 = 186 s, 200 s, 4 s */
    assert_int_equal(message_layer_exchange_lifetime_ms(&settings), 390000);
    settings.max_retransmit = UINT32_MAX;
    assert_true(message_layer_exchange_lifetime_ms(&settings) < UINT64_MAX / 1000);
}

/* DLY-1: a quick answer rides on the ACK. */
static void quick_answer_is_piggybacked(void **state)
{
    struct fixture *fixture = *state;
    receive(fixture, CM_CON, CM_POST, 0x1234);
    assert_int_equal(fixture->requests, 1);
    assert_true(message_layer_busy(fixture->layer));
    fixture->now_ms += 999;
    tick(fixture);
    assert_int_equal(fixture->out.count, 0);
    respond(fixture, fixture->request, false);

    assert_int_equal(fixture->out.count, 1);
    const struct coap_message response = outbox_message(&fixture->out);
    assert_int_equal(response.type, CM_ACK);
    assert_int_equal(response.code, CM_CHANGED);
    assert_int_equal(response.id, 0x1234);
    assert_int_equal(response.token_len, 2);
    assert_memory_equal(response.token, "\x12\x34", 2);
    assert_false(message_layer_busy(fixture->layer));
}

/* DLY-1, RFC 7252 section 5.2.2: empty ACK after separate_after_ms, then a CON with an id of our own. */
static void slow_answer_is_separate(void **state)
{
    struct fixture *fixture = *state;
    receive(fixture, CM_CON, CM_POST, 0x1234);
    assert_int_equal(message_layer_deadline(fixture->layer), fixture->now_ms + 1000);
    fixture->now_ms += 1000;
    tick(fixture);
    assert_int_equal(fixture->out.count, 1);
    assert_empty(fixture, CM_ACK, 0x1234);
    assert_int_equal(message_layer_deadline(fixture->layer), MONOTONIC_NEVER);
    assert_true(message_layer_busy(fixture->layer));

    fixture->now_ms += 2000;
    respond(fixture, fixture->request, true);
    assert_int_equal(fixture->out.count, 2);
    const struct coap_message response = outbox_message(&fixture->out);
    assert_int_equal(response.type, CM_CON);
    assert_int_equal(response.code, CM_CHANGED);
    assert_memory_equal(response.token, "\x12\x34", 2);
    assert_true(message_layer_busy(fixture->layer));

    receive(fixture, CM_ACK, CM_EMPTY, response.id);
    assert_false(message_layer_busy(fixture->layer));
    wait_ms(fixture, LIFETIME_MS);
    assert_int_equal(fixture->out.count, 2);
    assert_int_equal(count(fixture, COUNTER_RESPONSES_ABANDONED), 0);
}

/* DLY-2: no duplicate ever comes up a second time, and after an empty ACK there is never a piggybacked
 * answer.
 */
static void duplicates_get_an_empty_ack_again(void **state)
{
    struct fixture *fixture = *state;
    receive(fixture, CM_CON, CM_POST, 7);
    receive(fixture, CM_CON, CM_POST, 7);
    assert_int_equal(fixture->out.count, 0); /* an answer or an ACK is due soon */
    wait_ms(fixture, 1000);
    for (size_t i = 2; i <= 6; i++) {
        receive(fixture, CM_CON, CM_POST, 7);
        assert_int_equal(fixture->out.count, i);
        assert_empty(fixture, CM_ACK, 7);
    }

    respond(fixture, fixture->request, true);
    const struct coap_message response = outbox_message(&fixture->out);
    assert_int_equal(response.type, CM_CON);
    outbox_clear(&fixture->out);
    receive(fixture, CM_CON, CM_POST, 7); /* our separate response is outstanding */
    assert_int_equal(fixture->out.count, 1);
    assert_empty(fixture, CM_ACK, 7);

    receive(fixture, CM_ACK, CM_EMPTY, response.id);
    fixture->now_ms += 200000;
    receive(fixture, CM_CON, CM_POST, 7);
    assert_int_equal(fixture->out.count, 2);
    assert_empty(fixture, CM_ACK, 7);
    assert_int_equal(fixture->requests, 1);
    assert_int_equal(count(fixture, COUNTER_MESSAGES_DUPLICATE), 8);
}

/* DLY-2: the same message id within EXCHANGE_LIFETIME is a duplicate, after it a request. */
static void message_id_is_remembered_for_exchange_lifetime(void **state)
{
    struct fixture *fixture = *state;
    fixture->answers_at_once = fixture->had_effect = true;
    receive(fixture, CM_CON, CM_POST, 7);
    const struct datagram first = *outbox_last(&fixture->out);
    wait_ms(fixture, LIFETIME_MS - 1);
    receive(fixture, CM_CON, CM_POST, 7);
    assert_int_equal(fixture->requests, 1);
    assert_int_equal(fixture->out.count, 2);
    const struct datagram *second = outbox_last(&fixture->out);
    assert_true(bytes_equal(datagram_view(&first), datagram_view(second)));

    wait_ms(fixture, 1001);
    receive(fixture, CM_CON, CM_POST, 7);
    assert_int_equal(fixture->requests, 2);
}

/* Response octets are kept for the last MESSAGE_KEPT_MAX only: older duplicates of a request with an effect
 * are ignored and counted, others are processed again. */
static void only_the_last_response_octets_are_kept(void **state)
{
    struct fixture *fixture = *state;
    fixture->answers_at_once = true;
    fixture->had_effect = true;
    receive(fixture, CM_CON, CM_POST, 1);
    fixture->had_effect = false;
    receive(fixture, CM_CON, CM_GET, 2);
    for (uint16_t id = 3; id < 3 + MESSAGE_KEPT_MAX; id++)
        receive(fixture, CM_CON, CM_GET, id);
    const size_t requests = fixture->requests;
    outbox_clear(&fixture->out);

    receive(fixture, CM_CON, CM_GET, 3); /* the oldest that is kept */
    assert_int_equal(fixture->out.count, 1);
    assert_int_equal(outbox_message(&fixture->out).id, 3);
    receive(fixture, CM_CON, CM_POST, 1);
    assert_int_equal(fixture->out.count, 1);
    assert_int_equal(fixture->requests, requests);
    assert_int_equal(count(fixture, COUNTER_MESSAGES_DUPLICATE), 2);
    receive(fixture, CM_CON, CM_GET, 2);
    assert_int_equal(fixture->out.count, 2);
    assert_int_equal(fixture->requests, requests + 1);
}

/* TX-1: five transmissions, the first gap 2 to 3 s, then doubled each time. */
static void separate_response_is_retransmitted(void **state)
{
    struct fixture *fixture = *state;
    receive(fixture, CM_CON, CM_POST, 7);
    wait_ms(fixture, 1000);
    respond(fixture, fixture->request, true);
    const struct datagram first = *outbox_last(&fixture->out);
    outbox_clear(&fixture->out);

    uint64_t previous_ms = fixture->now_ms, first_gap_ms = 0;
    for (size_t i = 0; i < 4; i++) {
        uint64_t gap_ms = message_layer_deadline(fixture->layer) - previous_ms;
        first_gap_ms = i == 0 ? gap_ms : first_gap_ms;
        assert_in_range(first_gap_ms, 2000, 3000);
        assert_int_equal(gap_ms, first_gap_ms << i);
        fixture->now_ms += gap_ms - 1;
        tick(fixture);
        assert_int_equal(fixture->out.count, i);
        fixture->now_ms += 1;
        tick(fixture);
        assert_int_equal(fixture->out.count, i + 1);
        assert_true(bytes_equal(datagram_view(&first), datagram_view(outbox_last(&fixture->out))));
        previous_ms = fixture->now_ms;
    }
    assert_int_equal(count(fixture, COUNTER_RESPONSES_RETRANSMITTED), 4);
    assert_true(message_layer_busy(fixture->layer));
    wait_ms(fixture, first_gap_ms << 4);
    assert_int_equal(fixture->out.count, 4);
    assert_int_equal(count(fixture, COUNTER_RESPONSES_ABANDONED), 1);
    assert_false(message_layer_busy(fixture->layer));
}

/* RFC 7252 section 4.2: a sender that is late keeps ACK_TIMEOUT between its transmissions and sends nothing
 * after MAX_TRANSMIT_SPAN. */
static void late_ticks_keep_the_spacing_and_the_span(void **state)
{
    struct fixture *fixture = *state;
    receive(fixture, CM_CON, CM_POST, 7);
    wait_ms(fixture, 1000);
    respond(fixture, fixture->request, true);
    outbox_clear(&fixture->out);
    fixture->now_ms += 44000;
    tick(fixture);
    assert_int_equal(fixture->out.count, 1);
    tick(fixture);
    assert_int_equal(fixture->out.count, 1);
    assert_true(message_layer_deadline(fixture->layer) >= fixture->now_ms + 2000);
    wait_ms(fixture, 100000);
    assert_int_equal(fixture->out.count, 1);
    assert_false(message_layer_busy(fixture->layer));
}

/* Without a random factor the last transmission is due when the span by that factor ends; a timer is never
 * early. */
static void a_late_tick_costs_no_retransmission(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.ack_random_factor = 1;
    receive(fixture, CM_CON, CM_POST, 7);
    wait_ms(fixture, 1000);
    respond(fixture, fixture->request, true);
    outbox_clear(&fixture->out);
    for (size_t i = 1; i <= 4; i++) {
        fixture->now_ms = message_layer_deadline(fixture->layer) + 10;
        tick(fixture);
        assert_int_equal(fixture->out.count, i);
    }
}

/* Gives the message id of an outstanding separate response to request 7. */
static uint16_t outstanding(struct fixture *fixture)
{
    receive(fixture, CM_CON, CM_POST, 7);
    wait_ms(fixture, 1000);
    respond(fixture, fixture->request, true);
    return outbox_message(&fixture->out).id;
}

/* RFC 7252 section 4.2. */
static void rst_ends_retransmission(void **state)
{
    struct fixture *fixture = *state;
    uint16_t id = outstanding(fixture);
    receive(fixture, CM_RST, CM_EMPTY, id);
    assert_false(message_layer_busy(fixture->layer));
    assert_int_equal(count(fixture, COUNTER_RESPONSES_ABANDONED), 1);
}

/* RFC 7252 section 5.2.2: the code and payload of an ACK are ignored. */
static void ack_with_a_response_ends_retransmission(void **state)
{
    struct fixture *fixture = *state;
    uint16_t id = outstanding(fixture);
    receive(fixture, CM_ACK, CM_CONTENT, id);
    assert_false(message_layer_busy(fixture->layer));
}

/* RFC 7252 section 4.2: none of these acknowledges, and none is answered. */
static void strange_acknowledgements_are_ignored(void **state)
{
    struct fixture *fixture = *state;
    uint16_t id = outstanding(fixture);
    outbox_clear(&fixture->out);
    receive(fixture, CM_ACK, CM_EMPTY, (uint16_t)(id + 1));
    receive(fixture, CM_RST, CM_EMPTY, (uint16_t)(id - 1));
    receive(fixture, CM_ACK, CM_POST, id);
    receive(fixture, CM_RST, CM_CONTENT, id);
    receive(fixture, CM_RST, CM_GET, id);
    const uint8_t reserved_class[] = {0x60, 0x20, (uint8_t)(id >> 8), (uint8_t)id};
    receive_octets(fixture, (struct bytes){reserved_class, sizeof reserved_class});
    const uint8_t not_empty[] = {0x60, 0x00, (uint8_t)(id >> 8), (uint8_t)id, 0xff, 0x00};
    receive_octets(fixture, (struct bytes){not_empty, sizeof not_empty});
    assert_true(message_layer_busy(fixture->layer));
    assert_int_equal(fixture->out.count, 0);
    receive(fixture, CM_ACK, CM_EMPTY, id);
    assert_false(message_layer_busy(fixture->layer));
}

/* RFC 7252 section 4.3: CoAP ping. */
static void ping_is_answered_with_rst(void **state)
{
    struct fixture *fixture = *state;
    receive(fixture, CM_CON, CM_EMPTY, 99);
    receive(fixture, CM_CON, CM_EMPTY, 99);
    assert_int_equal(fixture->out.count, 2);
    assert_empty(fixture, CM_RST, 99);
    assert_int_equal(fixture->requests, 0);
}

/* RFC 7252 sections 4.2 and 4.3: only a CON is rejected with RST. */
static void what_is_no_request_is_rejected(void **state)
{
    const struct {
        struct bytes octets;
        bool reset;
    } cases[] = {
        {BYTES_LITERAL("\x49\x01\x00\x07\x01\x02\x03\x04\x05\x06\x07\x08\x09"), true}, /* token length 9 */
        {BYTES_LITERAL("\x40\x01\x00\x07\xff"), true},                                 /* empty payload */
        {BYTES_LITERAL("\x40\x01\x00\x07\xb3os"), true},                               /* cut-off option */
        {BYTES_LITERAL("\x41\x00\x00\x07\x01"), true}, /* empty with a token */
        {BYTES_LITERAL("\x40\x20\x00\x07"), true},     /* class 1 */
        {BYTES_LITERAL("\x40\xc0\x00\x07"), true},     /* class 6 */
        {BYTES_LITERAL("\x40\xe4\x00\x07"), true},     /* 7.04, signalling */
        {BYTES_LITERAL("\x40\x45\x00\x07"), true},     /* a response nobody waits for */
        {BYTES_LITERAL("\x50\x45\x00\x07"), false},
        {BYTES_LITERAL("\x50\x00\x00\x07"), false}, /* an empty NON */
        {BYTES_LITERAL("\x50\x01\x00\x07\xff"), false},
        {BYTES_LITERAL("\x50\xe4\x00\x07"), false},
        {BYTES_LITERAL("\x60\x01\x00\x07\xff"), false},
        {BYTES_LITERAL("\x80\x01\x00\x07"), false}, /* version 2 */
        {BYTES_LITERAL("\x40\x01\x00"), false},
        {BYTES_LITERAL(""), false},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        outbox_clear(&fixture->out);
        receive_octets(fixture, cases[i].octets);
        assert_int_equal(fixture->out.count, cases[i].reset);
        if (cases[i].reset)
            assert_empty(fixture, CM_RST, 7);
    }
    assert_int_equal(fixture->requests, 0);
    assert_int_equal(count(fixture, COUNTER_MESSAGES_RECEIVED), sizeof cases / sizeof cases[0]);
    assert_int_equal(count(fixture, COUNTER_MESSAGES_MALFORMED), 13);
}

/* DLY-8, TX-2: no ACK, a NON response with an id of our own, and no retransmission. */
static void non_confirmable_gets_a_non_confirmable(void **state)
{
    struct fixture *fixture = *state;
    receive(fixture, CM_NON, CM_POST, 7);
    wait_ms(fixture, 5000);
    assert_int_equal(fixture->out.count, 0);
    receive(fixture, CM_NON, CM_POST, 7);
    respond(fixture, fixture->request, true);
    assert_int_equal(fixture->out.count, 1);
    const struct coap_message response = outbox_message(&fixture->out);
    assert_int_equal(response.type, CM_NON);
    assert_memory_equal(response.token, "\x00\x07", 2);
    assert_false(message_layer_busy(fixture->layer));

    receive(fixture, CM_NON, CM_POST, 7);
    wait_ms(fixture, NON_LIFETIME_MS - 5001);
    receive(fixture, CM_NON, CM_POST, 7);
    assert_int_equal(fixture->out.count, 1);
    assert_int_equal(fixture->requests, 1);
    wait_ms(fixture, 1001);
    receive(fixture, CM_NON, CM_POST, 7);
    assert_int_equal(fixture->requests, 2);
}

/* Requests in excess are as good as lost: the client retransmits and then gets through. */
static void open_requests_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    for (uint16_t id = 1; id <= MESSAGE_OPEN_MAX; id++)
        receive(fixture, CM_CON, CM_POST, id);
    receive(fixture, CM_CON, CM_POST, 100);
    receive(fixture, CM_NON, CM_POST, 101);
    assert_int_equal(fixture->requests, MESSAGE_OPEN_MAX);
    assert_int_equal(count(fixture, COUNTER_MESSAGES_DROPPED), 2);

    respond(fixture, fixture->request, true);
    receive(fixture, CM_CON, CM_POST, 100);
    assert_int_equal(fixture->requests, MESSAGE_OPEN_MAX + 1);
    assert_int_equal(fixture->request_id, 100);
    assert_int_equal(count(fixture, COUNTER_MESSAGES_DUPLICATE), 0);
}

/* Separate responses that wait for their ACK count as open. */
static void unacknowledged_responses_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    for (uint16_t id = 1; id <= MESSAGE_OPEN_MAX; id++) {
        receive(fixture, CM_CON, CM_POST, id);
        wait_ms(fixture, 1000);
        respond(fixture, fixture->request, true);
    }
    receive(fixture, CM_CON, CM_POST, 100);
    assert_int_equal(fixture->requests, MESSAGE_OPEN_MAX);
    receive(fixture, CM_ACK, CM_EMPTY, outbox_message(&fixture->out).id);
    receive(fixture, CM_CON, CM_POST, 100);
    assert_int_equal(fixture->requests, MESSAGE_OPEN_MAX + 1);
}

/* An entry with an effect is never forgotten before its lifetime: with a ring full of those, new requests are
 * dropped and counted. */
static void ring_full_of_effects_drops_new_requests(void **state)
{
    struct fixture *fixture = *state;
    fixture->answers_at_once = fixture->had_effect = true;
    for (uint16_t id = 1; id <= MESSAGE_RING; id++)
        receive(fixture, CM_CON, CM_POST, id);
    assert_int_equal(fixture->requests, MESSAGE_RING);
    outbox_clear(&fixture->out);
    receive(fixture, CM_CON, CM_GET, 1000);
    assert_int_equal(count(fixture, COUNTER_MESSAGES_DROPPED), 1);
    wait_ms(fixture, LIFETIME_MS - 1);
    for (uint16_t id = 1; id <= MESSAGE_RING; id++)
        receive(fixture, CM_CON, CM_POST, id);
    assert_int_equal(fixture->requests, MESSAGE_RING);
    assert_int_equal(fixture->out.count, MESSAGE_KEPT_MAX);
    assert_int_equal(count(fixture, COUNTER_MESSAGES_DUPLICATE), MESSAGE_RING);

    wait_ms(fixture, 1001);
    receive(fixture, CM_CON, CM_GET, 1000);
    assert_int_equal(fixture->requests, MESSAGE_RING + 1);
}

/* What had no effect makes room, the oldest first, but nothing that is open or had one does. */
static void ring_forgets_what_had_no_effect(void **state)
{
    struct fixture *fixture = *state;
    receive(fixture, CM_CON, CM_POST, 1);
    const uint32_t open = fixture->request;
    wait_ms(fixture, 1000);
    fixture->answers_at_once = fixture->had_effect = true;
    receive(fixture, CM_CON, CM_POST, 2);
    fixture->had_effect = false;
    for (size_t id = 3; id < 3 + 10 * MESSAGE_RING; id++) {
        receive(fixture, CM_CON, CM_GET, (uint16_t)id);
        wait_ms(fixture, 1000);
    }
    const size_t requests = fixture->requests;
    assert_int_equal(requests, 2 + 10 * MESSAGE_RING);
    receive(fixture, CM_CON, CM_POST, 1);
    assert_empty(fixture, CM_ACK, 1);
    assert_int_equal(fixture->requests, requests);
    respond(fixture, open, true);
    assert_int_equal(outbox_message(&fixture->out).type, CM_CON);
}

/* URI-8 uses it for NON requests; a CON gets RST, and RST again. */
static void rejected_request_gets_rst_or_silence(void **state)
{
    struct fixture *fixture = *state;
    receive(fixture, CM_CON, CM_GET, 7);
    message_layer_reject(fixture->layer, fixture->request);
    receive(fixture, CM_CON, CM_GET, 7);
    assert_int_equal(fixture->out.count, 2);
    assert_empty(fixture, CM_RST, 7);
    receive(fixture, CM_NON, CM_GET, 8);
    message_layer_reject(fixture->layer, fixture->request);
    assert_int_equal(fixture->out.count, 2);
    assert_int_equal(fixture->requests, 2);
    assert_false(message_layer_busy(fixture->layer));
}

static void unknown_and_repeated_answers_are_ignored(void **state)
{
    struct fixture *fixture = *state;
    respond(fixture, 4711, true);
    receive(fixture, CM_CON, CM_GET, 7);
    respond(fixture, fixture->request, false);
    respond(fixture, fixture->request, false);
    receive(fixture, CM_CON, CM_GET, 8);
    wait_ms(fixture, 1000);
    respond(fixture, fixture->request, false);
    respond(fixture, fixture->request, false);
    message_layer_reject(fixture->layer, fixture->request);
    assert_int_equal(fixture->out.count, 3);
}

/* A response that cannot be written: a request without effect may come again, one with an effect may not. */
static void answer_that_does_not_fit_is_abandoned(void **state)
{
    static uint8_t long_payload[MESSAGE_OCTETS_MAX];
    struct fixture *fixture = *state;
    for (uint16_t id = 0; id < 2; id++) {
        receive(fixture, CM_CON, CM_GET, id);
        struct coap_message response = {.code = CM_CONTENT, .payload = {long_payload, sizeof long_payload}};
        message_layer_respond(fixture->layer, fixture->now_ms, fixture->request, &response, id == 1);
    }
    assert_int_equal(count(fixture, COUNTER_RESPONSES_ABANDONED), 2);
    assert_int_equal(fixture->out.count, 0);
    receive(fixture, CM_CON, CM_GET, 0);
    assert_int_equal(fixture->requests, 3);
    receive(fixture, CM_CON, CM_GET, 1);
    assert_int_equal(fixture->requests, 3);
}

/* RFC 7252 section 4.4: an id of ours is not used again within EXCHANGE_LIFETIME, whatever a client does. */
static void our_message_ids_do_not_repeat(void **state)
{
    static uint64_t used_ms[UINT16_MAX + 1];
    struct fixture *fixture = *state;
    fixture->answers_at_once = true;
    memset(used_ms, 0, sizeof used_ms);
    for (uint32_t i = 0; i < 200000; i++) {
        outbox_clear(&fixture->out);
        receive(fixture, CM_NON, CM_GET, (uint16_t)i);
        fixture->now_ms += 3;
        if (fixture->out.count == 0)
            continue;
        uint16_t id = outbox_message(&fixture->out).id;
        assert_true(used_ms[id] == 0 || fixture->now_ms - used_ms[id] >= LIFETIME_MS);
        used_ms[id] = fixture->now_ms;
    }
    assert_in_range(fixture->requests, 60000, 100000);
    assert_int_equal(count(fixture, COUNTER_MESSAGES_DROPPED), 200000 - fixture->requests);
}

/* Two associations do not begin with the same id (RFC 7252 section 4.4). */
static void our_message_ids_begin_at_random(void **state)
{
    struct fixture *fixture = *state;
    uint16_t first = outstanding(fixture);
    size_t same = 0;
    for (size_t i = 0; i < 4; i++) {
        void *other = NULL;
        setup(&other);
        same += outstanding(other) == first;
        teardown(&other);
    }
    assert_true(same < 4);
}

/* What is kept for duplicates goes when its time is over, without any traffic. */
static void kept_octets_are_let_go(void **state)
{
    struct fixture *fixture = *state;
    fixture->answers_at_once = true;
    assert_int_equal(message_layer_deadline(fixture->layer), MONOTONIC_NEVER);
    receive(fixture, CM_CON, CM_GET, 1);
    fixture->now_ms += 1000;
    receive(fixture, CM_CON, CM_GET, 2);
    assert_int_equal(message_layer_deadline(fixture->layer), fixture->now_ms - 1000 + LIFETIME_MS);
    wait_ms(fixture, LIFETIME_MS);
    assert_int_equal(message_layer_deadline(fixture->layer), MONOTONIC_NEVER);
}

/* SKG-9: the octets of a secret go earlier than those of answers before it; its duplicate is then never run
 * again. */
static void kept_secrets_are_let_go_sooner(void **state)
{
    struct fixture *fixture = *state;
    fixture->answers_at_once = fixture->had_effect = true;
    receive(fixture, CM_CON, CM_POST, 1);
    fixture->secret_ms = 60000;
    receive(fixture, CM_CON, CM_POST, 2);
    const size_t requests = fixture->requests;
    assert_int_equal(message_layer_deadline(fixture->layer), fixture->now_ms + 60000);
    wait_ms(fixture, 59999);
    outbox_clear(&fixture->out);
    receive(fixture, CM_CON, CM_POST, 2);
    assert_int_equal(fixture->out.count, 1);
    wait_ms(fixture, 1);
    outbox_clear(&fixture->out);
    receive(fixture, CM_CON, CM_POST, 2);
    assert_int_equal(fixture->out.count, 0);
    receive(fixture, CM_CON, CM_POST, 1);
    assert_int_equal(fixture->out.count, 1);
    assert_int_equal(fixture->requests, requests);
    assert_int_equal(message_layer_deadline(fixture->layer), fixture->now_ms - 60000 + LIFETIME_MS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lifetime_covers_the_longest_span),
        TEST(quick_answer_is_piggybacked),
        TEST(slow_answer_is_separate),
        TEST(duplicates_get_an_empty_ack_again),
        TEST(message_id_is_remembered_for_exchange_lifetime),
        TEST(only_the_last_response_octets_are_kept),
        TEST(separate_response_is_retransmitted),
        TEST(late_ticks_keep_the_spacing_and_the_span),
        TEST(a_late_tick_costs_no_retransmission),
        TEST(rst_ends_retransmission),
        TEST(ack_with_a_response_ends_retransmission),
        TEST(strange_acknowledgements_are_ignored),
        TEST(ping_is_answered_with_rst),
        TEST(what_is_no_request_is_rejected),
        TEST(non_confirmable_gets_a_non_confirmable),
        TEST(open_requests_are_bounded),
        TEST(unacknowledged_responses_are_bounded),
        TEST(ring_full_of_effects_drops_new_requests),
        TEST(ring_forgets_what_had_no_effect),
        TEST(rejected_request_gets_rst_or_silence),
        TEST(unknown_and_repeated_answers_are_ignored),
        TEST(answer_that_does_not_fit_is_abandoned),
        TEST(our_message_ids_do_not_repeat),
        TEST(our_message_ids_begin_at_random),
        TEST(kept_octets_are_let_go),
        TEST(kept_secrets_are_let_go_sooner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
