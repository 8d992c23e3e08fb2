/* SEC-1: what a client may send over an association, when it likes, while the exchanges answer when they
 * like. The input is a list of steps: datagrams as they are, requests, acknowledgements, answers, time. */
#include "registrar/counters.h"
#include "registrar/downstream/coap_server.h"
#include "registrar/downstream/message_layer.h"

#include <stdlib.h>
#include <string.h>

#define LIFETIME_MS     247000u
#define NON_LIFETIME_MS 145000u
#define BUFFERED_MAX    3000u
#define PAYLOAD_MAX     1300u
#define NOTHING         UINT32_MAX

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is known of the message id that came last of all with the same low octet. */
struct seen {
    uint16_t id;
    uint32_t request; /* started last; NOTHING: none */
    uint64_t at_ms;
    bool non, answered, had_effect;
};

struct client {
    struct settings settings;
    struct metrics *metrics;
    struct coap_server *server;
    struct bytes input;
    uint64_t now_ms, keep_until_ms;
    uint16_t sending_id; /* of the datagram on its way in */
    bool sending_non;
    uint16_t confirmable_id; /* of the last CON that came to us */
    uint32_t open[MESSAGE_OPEN_MAX];
    uint16_t open_id[MESSAGE_OPEN_MAX];
    uint8_t answer_at_once; /* bits that choose; 0: later */
    struct seen seen[UINT8_MAX + 1];
};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static uint8_t take(struct client *client)
{
    if (client->input.len == 0)
        return 0;
    uint8_t octet = client->input.at[0];
    client->input = bytes_slice(client->input, 1, client->input.len);
    return octet;
}

static void send_datagram(void *user, struct bytes datagram)
{
    struct client *client = user;
    struct coap_message message;
    check(datagram.len <= MESSAGE_OCTETS_MAX);
    check(coap_message_parse(datagram, &message) == STATUS_OK);
    check(!coap_code_is_request(message.code) && message.code != CM_CODE(2, 1));
    if (message.type == CM_CON)
        client->confirmable_id = message.id;
}

static void answer(struct client *client, size_t index, uint8_t how)
{
    static const uint8_t codes[] = {CM_CONTENT,     CM_CHANGED,   CM_SERVICE_UNAVAILABLE,
                                    CM_BAD_REQUEST, CM_NOT_FOUND, CM_BAD_GATEWAY};
    static const size_t sizes[] = {0, 10, 300, PAYLOAD_MAX};
    static const uint8_t payload[PAYLOAD_MAX];
    bool error = how % 6 > 1;
    size_t octets = error ? sizes[how >> 4 & 1] : sizes[how >> 4 & 3];
    const struct est_answer est_answer = {.code = codes[how % 6],
                                          .content_format =
                                              error ? CONTENT_FORMAT_NONE : CONTENT_FORMAT_CERTS_ONLY,
                                          .max_age = {(how & 64) != 0, how},
                                          .payload = {payload, octets},
                                          .had_effect = (how & 128) != 0};
    uint32_t request = client->open[index];
    struct seen *seen = &client->seen[client->open_id[index] & UINT8_MAX];
    if (request == NOTHING)
        return;
    client->open[index] = NOTHING;
    if (seen->request == request) {
        seen->answered = true;
        seen->had_effect = est_answer.had_effect;
    }
    coap_server_answer(client->server, client->now_ms, request, &est_answer);
}

static struct exchange_admission admit(void *user)
{
    (void)user;
    return (struct exchange_admission){0, 0};
}

/* DLY-2: a request that is open or had an effect is not started again by the same message id. */
static void start(void *user, uint32_t request, struct est_request *est_request)
{
    struct client *client = user;
    struct seen *seen = &client->seen[client->sending_id & UINT8_MAX];
    uint64_t lifetime_ms = seen->non ? NON_LIFETIME_MS : LIFETIME_MS;
    bool alive = client->now_ms - seen->at_ms < lifetime_ms;
    if (seen->request != NOTHING && seen->id == client->sending_id)
        check(seen->answered && !(seen->had_effect && alive));
    check(est_request->route.operation != NULL &&
          est_request->method == est_request->route.operation->method);
    check(est_request->body.len <= client->settings.coap.max_request_bytes);
    *seen = (struct seen){
        .id = client->sending_id, .request = request, .at_ms = client->now_ms, .non = client->sending_non};

    size_t index = 0;
    while (index < MESSAGE_OPEN_MAX && client->open[index] != NOTHING)
        index++;
    check(index < MESSAGE_OPEN_MAX);
    client->open[index] = request;
    client->open_id[index] = client->sending_id;
    if (client->answer_at_once != 0)
        answer(client, index, client->answer_at_once);
}

static void receive(struct client *client, struct bytes datagram)
{
    client->sending_non = datagram.len > 0 && (datagram.at[0] >> 4 & 3) == CM_NON;
    client->sending_id = datagram.len < 4 ? 0 : (uint16_t)(datagram.at[2] << 8 | datagram.at[3]);
    coap_server_receive(client->server, client->now_ms, datagram);
}

static void receive_message(struct client *client, const struct coap_message *message)
{
    struct buffer datagram;
    buffer_init(&datagram, 4096);
    if (coap_message_write(message, &datagram) == STATUS_OK)
        receive(client, buffer_view(&datagram));
    buffer_free(&datagram);
}

static void receive_raw(struct client *client)
{
    size_t len = take(client);
    struct bytes datagram = bytes_slice(client->input, 0, len);
    client->input = bytes_slice(client->input, len, client->input.len);
    receive(client, datagram);
}

static struct coap_block take_block(struct client *client)
{
    uint8_t bits = take(client);
    return (struct coap_block){(bits & 1) != 0, bits >> 5, (bits & 2) != 0, bits >> 2 & 7};
}

static void receive_request(struct client *client)
{
    static const char *const names[] = {"crts", "sen", "sren", "att"};
    static const uint8_t payload[2048];
    uint8_t what = take(client);
    struct coap_message message = {.type = (what & 1) != 0 ? CM_CON : CM_NON,
                                   .code = (what & 2) != 0 ? CM_POST : CM_GET,
                                   .id = take(client),
                                   .token_len = what & 4};
    message.uri_path[0] = bytes_from_string((what & 16) != 0 ? "est" : ".well-known");
    message.uri_path[1] = bytes_from_string((what & 16) != 0 ? names[what >> 6] : "core");
    message.uri_path_count = 2;
    message.content_format = (struct coap_uint_option){(what & 2) != 0, 286 - (what & 8)};
    message.block1 = take_block(client);
    message.block2 = take_block(client);
    message.size2.present = (what & 32) != 0;
    size_t octets = message.block1.present ? coap_block_octets(message.block1.szx) : take(client);
    if ((what & 2) != 0)
        message.payload = (struct bytes){payload, octets};
    receive_message(client, &message);
}

/* Up to 64 requests in a row, enough to push older message ids out of the ring. */
static void receive_burst(struct client *client)
{
    uint8_t how = take(client);
    struct coap_message message = {.type = CM_CON, .code = CM_GET, .id = take(client)};
    message.uri_path[0] = bytes_from_string("est");
    message.uri_path[1] = bytes_from_string("crts");
    message.uri_path_count = 2;
    for (uint8_t i = 0; i < how % 64; i++, message.id++)
        receive_message(client, &message);
}

static void pass_time(struct client *client)
{
    uint8_t how = take(client);
    uint64_t deadline = coap_server_deadline(client->server);
    uint64_t step_ms = (uint64_t)(how & 0x7f) << (how >> 7) * 5;
    client->now_ms += step_ms * 64;
    if ((how & 1) != 0 && deadline < client->now_ms)
        client->now_ms = deadline; /* exactly when it is due */
    coap_server_tick(client->server, client->now_ms);
    check(coap_server_deadline(client->server) > client->now_ms);
}

static void step(struct client *client)
{
    uint8_t kind = take(client);
    switch (kind & 7) {
    case 0:
        receive_raw(client);
        break;
    case 1:
        pass_time(client);
        break;
    case 2:
        answer(client, kind >> 3 & (MESSAGE_OPEN_MAX - 1), take(client));
        break;
    case 3: {
        const struct coap_message ack = {.type = (kind & 8) != 0 ? CM_ACK : CM_RST,
                                         .id = client->confirmable_id};
        receive_message(client, &ack);
        break;
    }
    case 4:
        client->answer_at_once = take(client);
        break;
    case 5:
        coap_server_limit_record(client->server, (size_t)take(client) * 8);
        break;
    case 6:
        receive_burst(client);
        break;
    default:
        receive_request(client);
    }
    check(metrics_get(client->metrics, COUNTER_BUFFERED_BYTES) <= BUFFERED_MAX);
    check(coap_server_keep_until(client->server) >= client->keep_until_ms);
    client->keep_until_ms = coap_server_keep_until(client->server);
}

static void set_up(struct client *client)
{
    static char root[] = "/est";
    client->settings.est = (struct est_settings){.root = root, .att = true};
    client->settings.coap = (struct coap_settings){.ack_timeout_ms = 2000,
                                                   .ack_random_factor = 1.5,
                                                   .max_retransmit = 4,
                                                   .block_size = 512,
                                                   .separate_after_ms = 1000,
                                                   .max_request_bytes = 2048,
                                                   .max_buffered_bytes = BUFFERED_MAX};
    client->now_ms = 1000;
    for (size_t i = 0; i < MESSAGE_OPEN_MAX; i++)
        client->open[i] = NOTHING;
    for (size_t i = 0; i <= UINT8_MAX; i++)
        client->seen[i].request = NOTHING;
    client->metrics = counters_create();
    const struct coap_server_context context = {.settings = &client->settings,
                                                .metrics = client->metrics,
                                                .send = send_datagram,
                                                .admit = admit,
                                                .start = start,
                                                .user = client};
    client->server = coap_server_create(&context);
    check(client->server != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client *client = calloc(1, sizeof *client);
    check(client != NULL);
    set_up(client);
    client->input = (struct bytes){data, size};
    while (client->input.len > 0)
        step(client);

    coap_server_free(client->server);
    check(metrics_get(client->metrics, COUNTER_BUFFERED_BYTES) == 0);
    metrics_free(client->metrics);
    free(client);
    return 0;
}
