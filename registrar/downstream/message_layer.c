#include "registrar/downstream/message_layer.h"

#include "common/metrics.h"
#include "common/monotonic.h"
#include "registrar/counters.h"

#include <openssl/rand.h>

#include <stdlib.h>
#include <string.h>

/* RFC 7252 section 4.8. */
#define MAX_LATENCY_MS            100000u
#define DEFAULT_ACK_TIMEOUT_MS    2000u
#define DEFAULT_ACK_RANDOM_FACTOR 1.5
#define DEFAULT_MAX_RETRANSMIT    4u

#define BACKOFF_SHIFT_MAX 20u /* far beyond any sensible MAX_RETRANSMIT; keeps the sums in 64 bits */

/* Message ids of ours that may be used in one EXCHANGE_LIFETIME: half of them, so that those of two
 * neighbouring lifetimes never meet. */
#define IDS_PER_LIFETIME 32768u

enum memory {
    MEMORY_FREE,
    MEMORY_OPEN,         /* neither an answer nor an ACK is out */
    MEMORY_ANSWERED,     /* piggybacked, or a NON was answered; the octets are perhaps kept */
    MEMORY_ACKNOWLEDGED, /* an empty ACK is out */
    MEMORY_RESET
};

/* One message id of the client. 64 of them are most of what an idle association costs here. */
struct remembered {
    uint32_t expires_s;
    uint16_t id;
    uint8_t memory; /* enum memory */
    bool had_effect;
};

/* The octets of a piggybacked response. */
struct kept {
    uint64_t expires_ms;
    uint16_t id; /* of the request */
    struct buffer octets;
};

enum phase {
    PHASE_OPEN,         /* neither answered nor acknowledged */
    PHASE_ACKNOWLEDGED, /* the empty ACK is out, or it is a NON that never gets one */
    PHASE_RESPONDING    /* the separate response waits for its ACK */
};

/* A request from its arrival until its response is out, and acknowledged if that was confirmable. */
struct transaction {
    uint32_t request;
    enum coap_message_type type; /* of the request */
    uint8_t token[COAP_TOKEN_MAX];
    size_t token_len;
    struct remembered *entry; /* never forgotten before the transaction closes */
    enum phase phase;
    uint64_t due_ms; /* PHASE_OPEN: when the empty ACK leaves; PHASE_RESPONDING: when the timeout ends */

    uint16_t response_id;
    struct buffer response;
    uint64_t timeout_ms;
    uint64_t span_ends_ms; /* nothing is sent after MAX_TRANSMIT_SPAN (RFC 7252 section 4.2) */
    uint32_t retransmissions;
};

struct message_layer {
    const struct coap_settings *settings;
    struct metrics *metrics;
    struct message_layer_events events;
    uint64_t exchange_lifetime_ms, non_lifetime_ms;
    uint32_t last_request;
    uint16_t next_id;
    uint32_t ids_used; /* since ids_since_ms */
    uint64_t ids_since_ms;
    struct transaction *transactions[MESSAGE_OPEN_MAX];
    struct kept *kept[MESSAGE_KEPT_MAX]; /* the oldest first */
    struct remembered ring[MESSAGE_RING];
};

static void reject_malformed(struct message_layer *layer, const struct coap_message *message);
static void receive_request(struct message_layer *layer, uint64_t now_ms, const struct coap_message *message);
static bool answer_duplicate(struct message_layer *layer, const struct remembered *entry,
                             const struct coap_message *message);
static struct transaction *transaction_open(struct message_layer *layer, uint64_t now_ms,
                                            const struct coap_message *message);
static void receive_acknowledgement(struct message_layer *layer, const struct coap_message *message);
static void piggyback(struct message_layer *layer, uint64_t now_ms, struct transaction *transaction,
                      struct coap_message *response);
static void respond_separately(struct message_layer *layer, uint64_t now_ms, struct transaction *transaction,
                               struct coap_message *response);
static void respond_non_confirmable(struct message_layer *layer, uint64_t now_ms,
                                    struct transaction *transaction, struct coap_message *response);
static bool encode(const struct transaction *transaction, struct coap_message *response,
                   struct buffer *datagram);
static void transaction_tick(struct message_layer *layer, struct transaction *transaction, uint64_t now_ms);
static void retransmit(struct message_layer *layer, struct transaction *transaction, uint64_t now_ms);
static void abandon(struct message_layer *layer, struct transaction *transaction);
static void transaction_close(struct message_layer *layer, struct transaction *transaction);
static struct transaction *find_unanswered(const struct message_layer *layer, uint32_t request);
static struct transaction *find_responding(const struct message_layer *layer, uint16_t response_id);
static bool is_open(const struct message_layer *layer, const struct remembered *entry);
static struct remembered *recall(struct message_layer *layer, uint64_t now_ms, uint16_t id);
static struct remembered *remember(struct message_layer *layer, uint64_t now_ms,
                                   const struct coap_message *message);
static bool is_evicted_before(const struct remembered *entry, const struct remembered *other);
static void forget(struct message_layer *layer, struct remembered *entry);
static bool has_expired(const struct remembered *entry, uint64_t now_ms);
static void keep(struct message_layer *layer, uint64_t now_ms, const struct coap_message *response,
                 struct bytes octets);
static const struct kept *find_kept(const struct message_layer *layer, uint16_t id);
static void drop_kept(struct message_layer *layer, size_t index);
static void send_empty(struct message_layer *layer, enum coap_message_type type, uint16_t id);
static bool ids_left(struct message_layer *layer, uint64_t now_ms);
static uint16_t take_id(struct message_layer *layer, uint64_t now_ms);
static void start_id_window(struct message_layer *layer, uint64_t now_ms);
static uint64_t configured_span_ms(const struct coap_settings *settings);
static uint64_t longest_span_ms(const struct coap_settings *settings);
static uint64_t span_ms(uint64_t ack_timeout_ms, double random_factor, uint32_t max_retransmit);
static uint64_t first_timeout_ms(const struct coap_settings *settings);
static uint16_t random_number(void);

struct message_layer *message_layer_create(const struct coap_settings *settings, struct metrics *metrics,
                                           const struct message_layer_events *events)
{
    struct message_layer *layer = calloc(1, sizeof *layer);
    if (layer == NULL)
        return NULL;
    layer->settings = settings;
    layer->metrics = metrics;
    layer->events = *events;
    layer->exchange_lifetime_ms = message_layer_exchange_lifetime_ms(settings);
    layer->non_lifetime_ms = longest_span_ms(settings) + MAX_LATENCY_MS;
    layer->next_id = random_number();
    return layer;
}

void message_layer_free(struct message_layer *layer)
{
    if (layer == NULL)
        return;
    for (size_t i = 0; i < MESSAGE_OPEN_MAX; i++) {
        if (layer->transactions[i] != NULL)
            transaction_close(layer, layer->transactions[i]);
    }
    for (size_t i = 0; i < MESSAGE_KEPT_MAX; i++)
        drop_kept(layer, 0);
    free(layer);
}

void message_layer_receive(struct message_layer *layer, uint64_t now_ms, struct bytes datagram)
{
    metrics_add(layer->metrics, COUNTER_MESSAGES_RECEIVED, 1);
    struct coap_message message = {0};
    if (coap_message_parse(datagram, &message) != STATUS_OK)
        reject_malformed(layer, &message);
    else if (message.type == CM_ACK || message.type == CM_RST)
        receive_acknowledgement(layer, &message);
    else if (coap_code_is_request(message.code))
        receive_request(layer, now_ms, &message);
    else if (message.type == CM_CON) /* a ping, or a response that nobody waits for */
        send_empty(layer, CM_RST, message.id);
}

/* RFC 7252 sections 4.2 and 4.3. */
static void reject_malformed(struct message_layer *layer, const struct coap_message *message)
{
    metrics_add(layer->metrics, COUNTER_MESSAGES_MALFORMED, 1);
    if (message->type == CM_CON)
        send_empty(layer, CM_RST, message->id);
}

static void receive_request(struct message_layer *layer, uint64_t now_ms, const struct coap_message *message)
{
    struct remembered *known = recall(layer, now_ms, message->id);
    if (known != NULL) {
        metrics_add(layer->metrics, COUNTER_MESSAGES_DUPLICATE, 1);
        if (answer_duplicate(layer, known, message))
            return;
        forget(layer, known);
    }
    const struct transaction *transaction = transaction_open(layer, now_ms, message);
    if (transaction == NULL)
        metrics_add(layer->metrics, COUNTER_MESSAGES_DROPPED, 1);
    else
        layer->events.request(layer->events.user, now_ms, transaction->request, message);
}

/* Gives false where the request may be processed once more. A block of a body may not: the first one, coming
 * late, would begin the body anew. */
static bool answer_duplicate(struct message_layer *layer, const struct remembered *entry,
                             const struct coap_message *message)
{
    if (message->type == CM_NON || entry->memory == MEMORY_OPEN)
        return true;
    if (entry->memory == MEMORY_ACKNOWLEDGED || entry->memory == MEMORY_RESET) {
        send_empty(layer, entry->memory == MEMORY_RESET ? CM_RST : CM_ACK, entry->id);
        return true;
    }
    const struct kept *kept = find_kept(layer, entry->id);
    if (kept == NULL)
        return entry->had_effect || message->block1.present;
    layer->events.send(layer->events.user, buffer_view(&kept->octets));
    return true;
}

static struct transaction *transaction_open(struct message_layer *layer, uint64_t now_ms,
                                            const struct coap_message *message)
{
    size_t slot = 0;
    while (slot < MESSAGE_OPEN_MAX && layer->transactions[slot] != NULL)
        slot++;
    if (slot == MESSAGE_OPEN_MAX || !ids_left(layer, now_ms))
        return NULL;
    struct remembered *entry = remember(layer, now_ms, message);
    if (entry == NULL)
        return NULL;
    struct transaction *transaction = calloc(1, sizeof *transaction);
    if (transaction == NULL) {
        forget(layer, entry);
        return NULL;
    }
    transaction->request = ++layer->last_request;
    transaction->type = message->type;
    memcpy(transaction->token, message->token, message->token_len);
    transaction->token_len = message->token_len;
    transaction->entry = entry;
    transaction->phase = message->type == CM_CON ? PHASE_OPEN : PHASE_ACKNOWLEDGED;
    transaction->due_ms = now_ms + layer->settings->separate_after_ms;
    layer->transactions[slot] = transaction;
    return transaction;
}

/* Ends the retransmission of a response. An ACK with a response in it counts as well (RFC 7252 section
 * 5.2.2); what carries a request, and a RST that is not empty, is ignored (section 4.2). */
static void receive_acknowledgement(struct message_layer *layer, const struct coap_message *message)
{
    bool reset = message->type == CM_RST;
    if (coap_code_is_request(message->code) || (reset && message->code != CM_EMPTY))
        return;
    struct transaction *transaction = find_responding(layer, message->id);
    if (transaction == NULL)
        return;
    if (reset)
        metrics_add(layer->metrics, COUNTER_RESPONSES_ABANDONED, 1);
    transaction_close(layer, transaction);
}

void message_layer_respond(struct message_layer *layer, uint64_t now_ms, uint32_t request,
                           struct coap_message *response, bool had_effect)
{
    struct transaction *transaction = find_unanswered(layer, request);
    if (transaction == NULL)
        return;
    transaction->entry->had_effect = had_effect;
    if (transaction->type == CM_NON)
        respond_non_confirmable(layer, now_ms, transaction, response);
    else if (transaction->phase == PHASE_OPEN)
        piggyback(layer, now_ms, transaction, response);
    else
        respond_separately(layer, now_ms, transaction, response);
}

void message_layer_reject(struct message_layer *layer, uint32_t request)
{
    struct transaction *transaction = find_unanswered(layer, request);
    if (transaction == NULL)
        return;
    if (transaction->phase == PHASE_OPEN) {
        transaction->entry->memory = MEMORY_RESET;
        send_empty(layer, CM_RST, transaction->entry->id);
    }
    transaction_close(layer, transaction);
}

/* RFC 7252 section 5.2.1. */
static void piggyback(struct message_layer *layer, uint64_t now_ms, struct transaction *transaction,
                      struct coap_message *response)
{
    struct remembered *entry = transaction->entry;
    response->type = CM_ACK;
    response->id = entry->id;
    struct buffer datagram;
    if (encode(transaction, response, &datagram)) {
        entry->memory = MEMORY_ANSWERED;
        keep(layer, now_ms, response, buffer_view(&datagram));
        transaction_close(layer, transaction);
        layer->events.send(layer->events.user, buffer_view(&datagram));
    } else {
        abandon(layer, transaction);
    }
    buffer_wipe(&datagram);
}

/* RFC 7252 sections 4.2 and 5.2.2. */
static void respond_separately(struct message_layer *layer, uint64_t now_ms, struct transaction *transaction,
                               struct coap_message *response)
{
    response->type = CM_CON;
    response->id = take_id(layer, now_ms);
    if (!encode(transaction, response, &transaction->response)) {
        abandon(layer, transaction);
        return;
    }
    transaction->phase = PHASE_RESPONDING;
    transaction->response_id = response->id;
    transaction->timeout_ms = first_timeout_ms(layer->settings);
    transaction->due_ms = now_ms + transaction->timeout_ms;
    transaction->span_ends_ms = now_ms + configured_span_ms(layer->settings);
    layer->events.send(layer->events.user, buffer_view(&transaction->response));
}

/* RFC 7252 section 5.2.3. */
static void respond_non_confirmable(struct message_layer *layer, uint64_t now_ms,
                                    struct transaction *transaction, struct coap_message *response)
{
    response->type = CM_NON;
    response->id = take_id(layer, now_ms);
    struct buffer datagram;
    if (encode(transaction, response, &datagram)) {
        transaction->entry->memory = MEMORY_ANSWERED;
        transaction_close(layer, transaction);
        layer->events.send(layer->events.user, buffer_view(&datagram));
    } else {
        abandon(layer, transaction);
    }
    buffer_wipe(&datagram);
}

static bool encode(const struct transaction *transaction, struct coap_message *response,
                   struct buffer *datagram)
{
    memcpy(response->token, transaction->token, transaction->token_len);
    response->token_len = transaction->token_len;
    buffer_init(datagram, MESSAGE_OCTETS_MAX);
    datagram->locked = response->secret_ms > 0;
    return coap_message_write(response, datagram) == STATUS_OK;
}

void message_layer_tick(struct message_layer *layer, uint64_t now_ms)
{
    for (size_t i = 0; i < MESSAGE_OPEN_MAX; i++) {
        if (layer->transactions[i] != NULL)
            transaction_tick(layer, layer->transactions[i], now_ms);
    }
    for (size_t i = MESSAGE_KEPT_MAX; i > 0; i--) {
        if (layer->kept[i - 1] != NULL && layer->kept[i - 1]->expires_ms <= now_ms)
            drop_kept(layer, i - 1);
    }
}

static void transaction_tick(struct message_layer *layer, struct transaction *transaction, uint64_t now_ms)
{
    if (transaction->phase == PHASE_ACKNOWLEDGED || now_ms < transaction->due_ms)
        return;
    if (transaction->phase == PHASE_RESPONDING) {
        retransmit(layer, transaction, now_ms);
        return;
    }
    transaction->phase = PHASE_ACKNOWLEDGED;
    transaction->entry->memory = MEMORY_ACKNOWLEDGED;
    send_empty(layer, CM_ACK, transaction->entry->id);
}

static void retransmit(struct message_layer *layer, struct transaction *transaction, uint64_t now_ms)
{
    if (transaction->retransmissions >= layer->settings->max_retransmit) {
        abandon(layer, transaction);
        return;
    }
    transaction->retransmissions++;
    transaction->timeout_ms *= 2;
    transaction->due_ms += transaction->timeout_ms;
    if (transaction->due_ms < now_ms + layer->settings->ack_timeout_ms) /* we were late */
        transaction->due_ms = now_ms + layer->settings->ack_timeout_ms;
    if (now_ms > transaction->span_ends_ms)
        return;
    metrics_add(layer->metrics, COUNTER_RESPONSES_RETRANSMITTED, 1);
    layer->events.send(layer->events.user, buffer_view(&transaction->response));
}

/* No response: it could not be written, or its acknowledgement never came. */
static void abandon(struct message_layer *layer, struct transaction *transaction)
{
    struct remembered *entry = transaction->entry;
    metrics_add(layer->metrics, COUNTER_RESPONSES_ABANDONED, 1);
    transaction_close(layer, transaction);
    if (entry->memory == MEMORY_OPEN && !entry->had_effect)
        forget(layer, entry);
}

uint64_t message_layer_deadline(const struct message_layer *layer)
{
    uint64_t deadline = MONOTONIC_NEVER;
    for (size_t i = 0; i < MESSAGE_KEPT_MAX; i++) {
        if (layer->kept[i] != NULL && layer->kept[i]->expires_ms < deadline)
            deadline = layer->kept[i]->expires_ms;
    }
    for (size_t i = 0; i < MESSAGE_OPEN_MAX; i++) {
        const struct transaction *transaction = layer->transactions[i];
        if (transaction != NULL && transaction->phase != PHASE_ACKNOWLEDGED && transaction->due_ms < deadline)
            deadline = transaction->due_ms;
    }
    return deadline;
}

bool message_layer_busy(const struct message_layer *layer)
{
    for (size_t i = 0; i < MESSAGE_OPEN_MAX; i++) {
        if (layer->transactions[i] != NULL)
            return true;
    }
    return false;
}

static void transaction_close(struct message_layer *layer, struct transaction *transaction)
{
    for (size_t i = 0; i < MESSAGE_OPEN_MAX; i++) {
        if (layer->transactions[i] == transaction)
            layer->transactions[i] = NULL;
    }
    buffer_wipe(&transaction->response);
    free(transaction);
}

static struct transaction *find_unanswered(const struct message_layer *layer, uint32_t request)
{
    for (size_t i = 0; i < MESSAGE_OPEN_MAX; i++) {
        struct transaction *transaction = layer->transactions[i];
        if (transaction != NULL && transaction->request == request && transaction->phase != PHASE_RESPONDING)
            return transaction;
    }
    return NULL;
}

static struct transaction *find_responding(const struct message_layer *layer, uint16_t response_id)
{
    for (size_t i = 0; i < MESSAGE_OPEN_MAX; i++) {
        struct transaction *transaction = layer->transactions[i];
        if (transaction != NULL && transaction->phase == PHASE_RESPONDING &&
            transaction->response_id == response_id)
            return transaction;
    }
    return NULL;
}

static bool is_open(const struct message_layer *layer, const struct remembered *entry)
{
    for (size_t i = 0; i < MESSAGE_OPEN_MAX; i++) {
        if (layer->transactions[i] != NULL && layer->transactions[i]->entry == entry)
            return true;
    }
    return false;
}

static struct remembered *recall(struct message_layer *layer, uint64_t now_ms, uint16_t id)
{
    for (size_t i = 0; i < MESSAGE_RING; i++) {
        struct remembered *entry = &layer->ring[i];
        if (entry->memory == MEMORY_FREE || entry->id != id)
            continue;
        if (is_open(layer, entry) || !has_expired(entry, now_ms))
            return entry;
        forget(layer, entry);
        return NULL;
    }
    return NULL;
}

/* Takes the place of an entry that is free, over, or without effect, in this order; NULL: there is none. */
static struct remembered *remember(struct message_layer *layer, uint64_t now_ms,
                                   const struct coap_message *message)
{
    struct remembered *place = NULL;
    for (size_t i = 0; i < MESSAGE_RING; i++) {
        struct remembered *entry = &layer->ring[i];
        bool disposable = entry->memory == MEMORY_FREE || !entry->had_effect || has_expired(entry, now_ms);
        if (disposable && !is_open(layer, entry) && (place == NULL || is_evicted_before(entry, place)))
            place = entry;
    }
    if (place == NULL)
        return NULL;
    forget(layer, place);
    uint64_t lifetime_ms = message->type == CM_CON ? layer->exchange_lifetime_ms : layer->non_lifetime_ms;
    place->expires_s = (uint32_t)((now_ms + lifetime_ms) / 1000 + 1);
    place->id = message->id;
    place->memory = MEMORY_OPEN;
    return place;
}

/* The one that ends first, a free one before all. */
static bool is_evicted_before(const struct remembered *entry, const struct remembered *other)
{
    if (other->memory == MEMORY_FREE || entry->memory == MEMORY_FREE)
        return other->memory != MEMORY_FREE;
    return entry->expires_s < other->expires_s;
}

static void forget(struct message_layer *layer, struct remembered *entry)
{
    for (size_t i = 0; entry->memory != MEMORY_FREE && i < MESSAGE_KEPT_MAX; i++) {
        if (layer->kept[i] != NULL && layer->kept[i]->id == entry->id) {
            drop_kept(layer, i);
            break;
        }
    }
    *entry = (struct remembered){0};
}

static bool has_expired(const struct remembered *entry, uint64_t now_ms)
{
    return entry->expires_s <= now_ms / 1000;
}

/* Without memory nothing is kept: a duplicate is then treated like one that came too late. */
static void keep(struct message_layer *layer, uint64_t now_ms, const struct coap_message *response,
                 struct bytes octets)
{
    bool is_secret = response->secret_ms > 0 && response->secret_ms < layer->exchange_lifetime_ms;
    struct kept *kept = malloc(sizeof *kept);
    if (kept == NULL)
        return;
    kept->expires_ms = now_ms + (is_secret ? response->secret_ms : layer->exchange_lifetime_ms);
    kept->id = response->id;
    buffer_init(&kept->octets, octets.len);
    kept->octets.locked = response->secret_ms > 0;
    buffer_append(&kept->octets, octets);
    if (kept->octets.status != STATUS_OK) {
        buffer_free(&kept->octets);
        free(kept);
        return;
    }

    size_t place = 0;
    while (place < MESSAGE_KEPT_MAX && layer->kept[place] != NULL)
        place++;
    if (place == MESSAGE_KEPT_MAX) {
        drop_kept(layer, 0);
        place--;
    }
    layer->kept[place] = kept;
}

static const struct kept *find_kept(const struct message_layer *layer, uint16_t id)
{
    for (size_t i = 0; i < MESSAGE_KEPT_MAX; i++) {
        if (layer->kept[i] != NULL && layer->kept[i]->id == id)
            return layer->kept[i];
    }
    return NULL;
}

/* Wiped: a response may carry a private key. */
static void drop_kept(struct message_layer *layer, size_t index)
{
    struct kept *kept = layer->kept[index];
    if (kept == NULL)
        return;
    for (size_t i = index; i + 1 < MESSAGE_KEPT_MAX; i++)
        layer->kept[i] = layer->kept[i + 1];
    layer->kept[MESSAGE_KEPT_MAX - 1] = NULL;
    buffer_wipe(&kept->octets);
    free(kept);
}

static void send_empty(struct message_layer *layer, enum coap_message_type type, uint16_t id)
{
    const uint8_t datagram[] = {(uint8_t)(0x40 | type << 4), CM_EMPTY, (uint8_t)(id >> 8), (uint8_t)id};
    layer->events.send(layer->events.user, (struct bytes){datagram, sizeof datagram});
}

/* Whether every request that is open, and one more, may still take an id. */
static bool ids_left(struct message_layer *layer, uint64_t now_ms)
{
    start_id_window(layer, now_ms);
    return layer->ids_used + MESSAGE_OPEN_MAX <= IDS_PER_LIFETIME;
}

static uint16_t take_id(struct message_layer *layer, uint64_t now_ms)
{
    start_id_window(layer, now_ms);
    layer->ids_used++;
    return layer->next_id++;
}

/* Ids are consecutive and no window takes more than half of them, so one returns two windows later at the
 * earliest: never within EXCHANGE_LIFETIME (RFC 7252 section 4.4). */
static void start_id_window(struct message_layer *layer, uint64_t now_ms)
{
    if (now_ms < layer->ids_since_ms + layer->exchange_lifetime_ms)
        return;
    layer->ids_since_ms = now_ms;
    layer->ids_used = 0;
}

uint64_t message_layer_exchange_lifetime_ms(const struct coap_settings *settings)
{
    uint64_t processing_ms =
        settings->ack_timeout_ms > DEFAULT_ACK_TIMEOUT_MS ? settings->ack_timeout_ms : DEFAULT_ACK_TIMEOUT_MS;
    return longest_span_ms(settings) + 2 * (uint64_t)MAX_LATENCY_MS + processing_ms;
}

static uint64_t longest_span_ms(const struct coap_settings *settings)
{
    uint64_t configured = configured_span_ms(settings);
    uint64_t standard = span_ms(DEFAULT_ACK_TIMEOUT_MS, DEFAULT_ACK_RANDOM_FACTOR, DEFAULT_MAX_RETRANSMIT);
    return configured > standard ? configured : standard;
}

/* A smaller factor than the standard's would leave a timer that is late no room for the last retransmission.
 */
static uint64_t configured_span_ms(const struct coap_settings *settings)
{
    double factor = settings->ack_random_factor > DEFAULT_ACK_RANDOM_FACTOR ? settings->ack_random_factor
                                                                            : DEFAULT_ACK_RANDOM_FACTOR;
    return span_ms(settings->ack_timeout_ms, factor, settings->max_retransmit);
}

/* MAX_TRANSMIT_SPAN (RFC 7252 section 4.8.2). */
static uint64_t span_ms(uint64_t ack_timeout_ms, double random_factor, uint32_t max_retransmit)
{
    uint32_t shift = max_retransmit < BACKOFF_SHIFT_MAX ? max_retransmit : BACKOFF_SHIFT_MAX;
    return (uint64_t)((double)(ack_timeout_ms * ((1ull << shift) - 1)) * random_factor);
}

/* Between ACK_TIMEOUT and ACK_TIMEOUT * ACK_RANDOM_FACTOR (RFC 7252 section 4.2). */
static uint64_t first_timeout_ms(const struct coap_settings *settings)
{
    double spread = settings->ack_timeout_ms * (settings->ack_random_factor - 1.0);
    return settings->ack_timeout_ms + (uint64_t)(spread * random_number() / UINT16_MAX);
}

static uint16_t random_number(void)
{
    uint16_t number = 0;
    RAND_bytes((unsigned char *)&number, sizeof number);
    return number;
}
