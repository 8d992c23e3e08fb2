/* Rows DTLS-1, DTLS-6, SES-2, SES-5, SEC-3 and SEC-4: the associations of a worker, on a clock, a network and
 * with exchanges that are all in this file. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "datagrams.h"
#include "one_server.h"

#include "common/coap_message.h"
#include "common/log.h"
#include "common/neighbours.h"
#include "common/rate_table.h"
#include "common/udp_socket.h"
#include "registrar/downstream/association.h"
#include "registrar/downstream/association_table.h"
#include "registrar/exchange/exchange.h"

#include <event2/event.h>
#include <malloc.h>

/* --- the clock and its timers --- */

#define TIMERS_MAX 200

static struct test_timer {
    struct event *event;
    event_callback_fn callback;
    void *user;
    uint64_t due_ms; /* MONOTONIC_NEVER: not armed */
} timers[TIMERS_MAX];

uint64_t monotonic_ms(void)
{
    return clock_ms;
}

static struct test_timer *find_timer(const struct event *event)
{
    for (size_t i = 0; i < TIMERS_MAX; i++)
        if (timers[i].event == event)
            return &timers[i];
    return NULL;
}

/* NOLINTNEXTLINE(readability-function-size): libevent's signature */
int event_assign(struct event *event, struct event_base *base, evutil_socket_t fd, short what,
                 event_callback_fn callback, void *user)
{
    (void)base, (void)fd, (void)what;
    struct test_timer *timer = find_timer(NULL);
    assert_non_null(timer);
    *timer = (struct test_timer){event, callback, user, MONOTONIC_NEVER};
    return 0;
}

static unsigned timers_set;

int event_add(struct event *event, const struct timeval *wait)
{
    timers_set++;
    find_timer(event)->due_ms = clock_ms + (uint64_t)wait->tv_sec * 1000 + (uint64_t)wait->tv_usec / 1000;
    return 0;
}

/* Our only use of it is before the memory goes. */
int event_del(struct event *event)
{
    find_timer(event)->event = NULL;
    return 0;
}

/* Moves the clock, and whatever is due on the way happens when it is due. Returns how many timers fired. */
static unsigned wait_until(uint64_t then_ms)
{
    unsigned fired = 0;
    for (;;) {
        struct test_timer *next = NULL;
        for (size_t i = 0; i < TIMERS_MAX; i++)
            if (timers[i].event != NULL && timers[i].due_ms <= then_ms &&
                (next == NULL || timers[i].due_ms < next->due_ms))
                next = &timers[i];
        if (next == NULL)
            break;
        assert_true(++fired < 10000);
        if (next->due_ms > clock_ms)
            clock_ms = next->due_ms;
        next->due_ms = MONOTONIC_NEVER;
        next->callback(-1, EV_TIMEOUT, next->user);
    }
    clock_ms = then_ms;
    return fired;
}

static unsigned pass(uint64_t ms)
{
    return wait_until(clock_ms + ms);
}

/* --- the network --- */

#define SOCKET 3

static struct sent {
    struct test_queue queue; /* to the peer with this port, or anybody when it is 0 */
    uint16_t port;
} outbox;

static size_t datagrams_sent;

void udp_socket_send(int fd, const struct udp_datagram *datagram)
{
    char local[ENDPOINT_TEXT_MAX];
    assert_int_equal(fd, SOCKET);
    assert_string_equal(endpoint_format(&datagram->local, local), "192.0.2.1:5684");
    assert_int_equal(datagram->interface, 7);
    assert_false(datagram->multicast);
    datagrams_sent++;
    if (outbox.port == 0 || endpoint_port(&datagram->peer) == outbox.port)
        queue_push(&outbox.queue, datagram->payload);
}

/* While too much waits to leave, all but those with this port are unknown; 0: it does not. */
static uint16_t only_known;

struct neighbours *neighbours_create(void)
{
    return calloc(1, 1);
}

void neighbours_free(struct neighbours *neighbours)
{
    free(neighbours);
}

bool neighbours_admit(struct neighbours *neighbours, int fd, const struct endpoint *peer, unsigned interface)
{
    assert_non_null(neighbours);
    assert_int_equal(fd, SOCKET);
    assert_int_equal(interface, 7);
    return only_known == 0 || endpoint_port(peer) == only_known;
}

/* --- the exchanges --- */

#define STARTED_MAX 100

static struct started {
    struct est_reply reply;
    enum est_operation_id operation;
    char client[64];
} started[STARTED_MAX];

static size_t started_count;
static bool answer_at_once;
static struct bytes answer_payload;

static bool answer(const struct started *exchange, uint8_t code, uint32_t max_age_s)
{
    const struct est_answer given = {.code = code,
                                     .content_format = CONTENT_FORMAT_NONE,
                                     .max_age = {max_age_s > 0, max_age_s},
                                     .payload = answer_payload};
    return exchange->reply.answer(exchange->reply.user, exchange->reply.association, exchange->reply.request,
                                  &given);
}

struct exchange_admission exchanges_admit(struct exchanges *exchanges, const struct client_identity *client)
{
    (void)exchanges, (void)client;
    return (struct exchange_admission){0, 0};
}

void exchange_start(struct exchanges *exchanges, const struct est_request *request,
                    const struct est_reply *reply)
{
    (void)exchanges;
    assert_true(started_count < STARTED_MAX);
    struct started *exchange = &started[started_count++];
    exchange->reply = *reply;
    exchange->operation = request->route.operation->id;
    snprintf(exchange->client, sizeof exchange->client, "%s", client_identity_name(request->client));
    if (answer_at_once)
        assert_true(answer(exchange, CM_CONTENT, 0));
}

/* --- a table --- */

static char root[] = "/est";

struct fixture {
    struct settings settings;
    struct dtls_cookie_secret secret;
    struct metrics *metrics;
    struct rate_table *rates;
    struct association_table *table;
};

static int create(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.metrics = counters_create()};
    fixture.settings.dtls = world_settings(&world);
    fixture.settings.coap = default_coap_settings();
    fixture.settings.limits = (struct limit_settings){.device_associations = 100000};
    fixture.settings.est = (struct est_settings){.root = root, .att = true};
    assert_int_equal(dtls_cookie_secret_make(&fixture.secret), STATUS_OK);
    *state = &fixture;
    started_count = datagrams_sent = 0;
    only_known = 0;
    answer_at_once = false;
    answer_payload = BYTES_LITERAL("payload");
    outbox.port = 0;
    clock_ms = 1000000;
    return 0;
}

/* After the settings were adjusted. */
static void create_table(struct fixture *fixture)
{
    const struct limit_settings *limits = &fixture->settings.limits;
    if (fixture->rates == NULL) /* all workers have it together */
        fixture->rates = rate_table_create((struct rate){limits->address_handshakes_per_minute, 2});
    assert_non_null(fixture->rates);
    const struct association_table_context context = {.settings = &fixture->settings,
                                                      .metrics = fixture->metrics,
                                                      .credentials = credentials,
                                                      .cookie_secret = &fixture->secret,
                                                      .handshake_rates = fixture->rates};
    fixture->table = association_table_create(&context);
    assert_non_null(fixture->table);
}

static int destroy(void **state)
{
    struct fixture *fixture = *state;
    association_table_free(fixture->table);
    rate_table_free(fixture->rates);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_ASSOCIATIONS), 0);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_HANDSHAKES), 0);
    for (size_t i = 0; i < TIMERS_MAX; i++)
        assert_null(timers[i].event);
    metrics_free(fixture->metrics);
    queue_clear(&outbox.queue);
    return 0;
}

static uint64_t count(const struct fixture *fixture, enum counter counter)
{
    return metrics_get(fixture->metrics, counter);
}

#define OTHER_ADDRESS 5000 /* ports from here on are another peer's */

static struct udp_datagram from_port(uint16_t port, struct bytes payload)
{
    struct udp_datagram datagram = {.interface = 7, .payload = payload};
    char peer[32];
    snprintf(peer, sizeof peer, "192.0.2.%u:%u", port < OTHER_ADDRESS ? 99 : 98, port);
    assert_int_equal(endpoint_parse("192.0.2.1:5684", &datagram.local), STATUS_OK);
    assert_int_equal(endpoint_parse(peer, &datagram.peer), STATUS_OK);
    return datagram;
}

static void arrive(struct fixture *fixture, uint16_t port, struct bytes payload)
{
    struct udp_datagram datagram = from_port(port, payload);
    association_table_receive(fixture->table, SOCKET, &datagram);
}

/* A device and its port. */
struct device {
    struct test_client client;
    uint16_t port;
};

static void device_create(struct device *device, uint16_t port)
{
    const struct test_client_wish wish = {.certificate = &world.device,
                                          .intermediate = &world.manufacturer_sub};
    device->port = port;
    client_create(&device->client, &wish);
}

static void device_free(struct device *device)
{
    client_free(&device->client);
}

/* Carries what is under way between the device and the table, until nothing is. */
static void carry(struct fixture *fixture, struct device *device)
{
    outbox.port = device->port;
    for (unsigned steps = 0; device->client.sent.count + outbox.queue.count > 0; steps++) {
        assert_true(steps < 1000);
        bool up = device->client.sent.count > 0;
        struct test_datagram *datagram = queue_take(up ? &device->client.sent : &outbox.queue, 0);
        struct bytes octets = {datagram->octets, datagram->len};
        if (up)
            arrive(fixture, device->port, octets);
        else
            client_receive(&device->client, octets);
        free(datagram);
    }
}

static void try_to_connect(struct fixture *fixture, struct device *device)
{
    client_step(&device->client);
    carry(fixture, device);
}

static void connect_device(struct fixture *fixture, struct device *device, uint16_t port)
{
    device_create(device, port);
    try_to_connect(fixture, device);
    assert_true(device->client.finished);
}

/* Once more: what was left of the association before it would show. */
static void assert_flow_is_free(struct fixture *fixture, uint16_t port)
{
    struct device device;
    uint64_t before = count(fixture, COUNTER_ASSOCIATIONS);
    connect_device(fixture, &device, port);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), before + 1);
    ERR_clear_error();
    SSL_shutdown(device.client.ssl);
    carry(fixture, &device);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), before);
    device_free(&device);
}

/* Asks for /est/crts. */
static void ask_as(struct fixture *fixture, struct device *device, enum coap_message_type type, uint16_t id)
{
    const struct coap_message request = {.type = type,
                                         .code = CM_GET,
                                         .id = id,
                                         .uri_path = {BYTES_LITERAL("est"), BYTES_LITERAL("crts")},
                                         .uri_path_count = 2};
    struct buffer datagram;
    buffer_init(&datagram, 1000);
    assert_int_equal(coap_message_write(&request, &datagram), STATUS_OK);
    ERR_clear_error();
    assert_int_equal(SSL_write(device->client.ssl, datagram.at, (int)datagram.len), (int)datagram.len);
    buffer_free(&datagram);
    carry(fixture, device);
}

static void ask(struct fixture *fixture, struct device *device, uint16_t id)
{
    ask_as(fixture, device, CM_CON, id);
}

/* The last message that the device has, which takes it away. */
static struct coap_message take_message(struct device *device)
{
    struct coap_message message = {.code = 0};
    assert_int_equal(coap_message_parse(buffer_view(&device->client.received), &message), STATUS_OK);
    buffer_reset(&device->client.received);
    return message;
}

static void serves_a_request(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    create_table(fixture);
    connect_device(fixture, &device, 1000);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_STARTED), 1);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_COMPLETED), 1);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 1);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES), 0);
    assert_int_equal(count(fixture, COUNTER_COOKIES_SENT), 1);

    ask(fixture, &device, 1);
    assert_int_equal(started_count, 1);
    assert_int_equal(started[0].operation, EST_CRTS);
    assert_string_equal(started[0].client, "CN=device");
    assert_true(association_table_busy(fixture->table));
    assert_true(answer(&started[0], CM_CONTENT, 0));
    carry(fixture, &device);
    struct coap_message response = take_message(&device);
    assert_int_equal(response.type, CM_ACK);
    assert_int_equal(response.code, CM_CONTENT);
    assert_false(association_table_busy(fixture->table));
    device_free(&device);
}

/* Whether the association still carries a request and its answer. */
static void assert_serves(struct fixture *fixture, struct device *device, uint16_t id)
{
    size_t before = started_count;
    ask_as(fixture, device, CM_NON, id);
    assert_int_equal(started_count, before + 1);
    assert_true(answer(&started[before], CM_CONTENT, 0));
    carry(fixture, device);
    assert_int_equal(take_message(device).code, CM_CONTENT);
}

static bool has_close_notify(const struct device *device)
{
    return (SSL_get_shutdown(device->client.ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
}

/* Brings device's handshake to its ClientHello with the cookie, and takes that away. Gives. */
static struct test_datagram *take_second_hello(struct fixture *fixture, struct device *device)
{
    client_step(&device->client);
    outbox.port = device->port;
    struct test_datagram *first = queue_take(&device->client.sent, 0);
    arrive(fixture, device->port, (struct bytes){first->octets, first->len});
    free(first);
    struct test_datagram *request = queue_take(&outbox.queue, 0);
    client_receive(&device->client, (struct bytes){request->octets, request->len});
    free(request);
    assert_int_equal(device->client.sent.count, 1);
    return queue_take(&device->client.sent, 0);
}

/* ... and leaves the handshake half open: the server's flight is lost. */
static void half_open(struct fixture *fixture, struct device *device, uint16_t port)
{
    device_create(device, port);
    struct test_datagram *hello = take_second_hello(fixture, device);
    arrive(fixture, port, (struct bytes){hello->octets, hello->len});
    free(hello);
    queue_clear(&outbox.queue);
}

/* --- cookies (DTLS-6) --- */

/* SEC-3: while too much waits to leave, neighbours who may be invented get no answer to what anybody may
 * send; a handshake that has begun, and neighbours that exist, go on. */
static void cookies_do_not_stop_other_answers(void **state)
{
    struct fixture *fixture = *state;
    struct device device, other, neighbour;
    create_table(fixture);
    device_create(&device, 1000);
    client_step(&device.client);
    struct bytes hello = queue_view(&device.client.sent, 0);
    only_known = 1002;
    arrive(fixture, 1000, hello);
    assert_int_equal(datagrams_sent, 0);
    assert_int_equal(count(fixture, COUNTER_COOKIES_WITHHELD), 1);
    assert_int_equal(count(fixture, COUNTER_COOKIES_SENT), 0);
    assert_int_equal(count(fixture, COUNTER_DATAGRAMS_DROPPED), 1);
    device_free(&device);

    only_known = 0;
    device_create(&other, 1001);
    struct test_datagram *second = take_second_hello(fixture, &other);
    only_known = 1002;
    arrive(fixture, 1001, (struct bytes){second->octets, second->len});
    free(second);
    carry(fixture, &other);
    assert_true(other.client.finished);
    device_free(&other);

    device_create(&neighbour, 1002);
    second = take_second_hello(fixture, &neighbour);
    arrive(fixture, 1002, (struct bytes){second->octets, second->len});
    free(second);
    carry(fixture, &neighbour);
    assert_true(neighbour.client.finished);
    device_free(&neighbour);
    assert_int_equal(count(fixture, COUNTER_COOKIES_WITHHELD), 1);
}

/* The claim of the design, 50,000 ClientHellos from as many ports and addresses: not one octet is left of
 * them, and a device that comes in between gets through. */
static void a_flood_without_cookies_leaves_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    create_table(fixture);
    device_create(&device, 1000);
    client_step(&device.client);
    struct bytes hello = queue_view(&device.client.sent, 0);
    size_t before = 0;
    outbox.port = 1;
    for (unsigned i = 0; i < 50000; i++) {
        struct udp_datagram datagram = from_port(2000, hello);
        datagram.peer.address.v4.sin_port = htons((uint16_t)(i + 2000));
        datagram.peer.address.v4.sin_addr.s_addr = htonl(0xc6336400 + i / 1000);
        association_table_receive(fixture->table, SOCKET, &datagram);
        if (i == 999) /* the allocator has settled */
            before = mallinfo2().uordblks;
    }
    assert_int_equal(mallinfo2().uordblks, before);
    assert_int_equal(datagrams_sent, 50000);
    assert_int_equal(count(fixture, COUNTER_COOKIES_SENT), 50000);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_STARTED), 0);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 0);
    carry(fixture, &device);
    assert_true(device.client.finished);
    device_free(&device);
}

static void a_cookie_is_good_for_its_flow_alone(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    create_table(fixture);
    device_create(&device, 1000);
    struct test_datagram *hello = take_second_hello(fixture, &device);
    arrive(fixture, 1001, (struct bytes){hello->octets, hello->len});
    assert_int_equal(count(fixture, COUNTER_COOKIES_REFUSED), 1);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_STARTED), 0);
    arrive(fixture, 1000, (struct bytes){hello->octets, hello->len});
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_STARTED), 1);
    free(hello);
    device_free(&device);
}

static void what_belongs_to_nobody_is_dropped(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    create_table(fixture);
    connect_device(fixture, &device, 1000);
    client_send(&device.client, "a record of another flow");
    size_t before = datagrams_sent;
    arrive(fixture, 1001, queue_view(&device.client.sent, 0));
    arrive(fixture, 1001, BYTES_LITERAL("\x40\x01\x00\x01")); /* CoAP without DTLS: DTLS-1 */
    arrive(fixture, 1000, BYTES_LITERAL("\x40\x01\x00\x01"));
    arrive(fixture, 1001, (struct bytes){NULL, 0});
    assert_int_equal(count(fixture, COUNTER_DATAGRAMS_DROPPED), 4);

    struct device other;
    device_create(&other, 1002);
    client_step(&other.client);
    struct udp_datagram to_group = from_port(1002, queue_view(&other.client.sent, 0));
    to_group.multicast = true;
    association_table_receive(fixture->table, SOCKET, &to_group);
    assert_int_equal(count(fixture, COUNTER_DATAGRAMS_DROPPED), 5);
    assert_int_equal(datagrams_sent, before);
    assert_int_equal(started_count, 0);
    device_free(&device);
    device_free(&other);
}

/* --- flights --- */

static void the_timer_repeats_flights(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    create_table(fixture);
    half_open(fixture, &device, 1000);
    size_t before = datagrams_sent;
    pass(999);
    assert_int_equal(datagrams_sent, before);
    pass(1);
    assert_true(datagrams_sent > before);
    assert_int_equal(count(fixture, COUNTER_FLIGHTS_RETRANSMITTED), 1);
    carry(fixture, &device);
    assert_true(device.client.finished);
    assert_serves(fixture, &device, 1);
    device_free(&device);
}

static void an_abandoned_handshake_ends(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    create_table(fixture);
    half_open(fixture, &device, 1000);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES), 1);
    pass(123000 - 1);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES), 1);
    pass(1);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES), 0);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 0);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_FAILED), 1);
    device_free(&device);
}

/* --- a device on the port of an association (SES-5, RFC 6347 section 4.2.8) --- */

static void a_forged_hello_breaks_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct device device, forger;
    create_table(fixture);
    connect_device(fixture, &device, 1000);
    device_create(&forger, 1000);
    client_step(&forger.client);
    struct bytes hello = queue_view(&forger.client.sent, 0);
    for (unsigned i = 0; i < 10; i++)
        arrive(fixture, 1000, hello);
    assert_int_equal(count(fixture, COUNTER_COOKIES_SENT), 1 + 10);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_STARTED), 1);
    assert_serves(fixture, &device, 1); /* although it got ten HelloVerifyRequests */
    device_free(&device);
    device_free(&forger);
}

static void a_device_that_restarts_replaces_its_association(void **state)
{
    struct fixture *fixture = *state;
    struct device before, after;
    create_table(fixture);
    connect_device(fixture, &before, 1000);
    assert_serves(fixture, &before, 1);
    connect_device(fixture, &after, 1000);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 1);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_COMPLETED), 2);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_FAILED), 0);
    assert_serves(fixture, &after, 1);

    ask(fixture, &before, 2);
    assert_int_equal(started_count, 2);
    assert_serves(fixture, &after, 2);
    device_free(&before);
    device_free(&after);
}

/* Until the new handshake is through, the old association works, and when that fails, for good. */
static void the_old_association_outlives_a_handshake_that_fails(void **state)
{
    struct fixture *fixture = *state;
    struct device before, after;
    create_table(fixture);
    connect_device(fixture, &before, 1000);
    half_open(fixture, &after, 1000);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 2);
    assert_serves(fixture, &before, 1);
    assert_serves(fixture, &before, 2);
    pass(123000);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 1);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_FAILED), 1);
    assert_serves(fixture, &before, 3);
    device_free(&before);
    device_free(&after);
}

/* The untrusted newcomer gets its alert; the old association is the newest of its flow again. */
static void a_refused_newcomer_leaves_the_old_association(void **state)
{
    struct fixture *fixture = *state;
    struct device before, newcomer = {.port = 1000};
    create_table(fixture);
    connect_device(fixture, &before, 1000);
    client_create(&newcomer.client, &(struct test_client_wish){.certificate = NULL});
    try_to_connect(fixture, &newcomer);
    assert_true(newcomer.client.failed);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_FAILED), 1);
    assert_serves(fixture, &before, 1);
    ERR_clear_error();
    SSL_shutdown(before.client.ssl);
    carry(fixture, &before);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 0);
    assert_flow_is_free(fixture, 1000);
    device_free(&before);
    device_free(&newcomer);
}

static void a_second_restart_replaces_the_first(void **state)
{
    struct fixture *fixture = *state;
    struct device before, first, second;
    create_table(fixture);
    connect_device(fixture, &before, 1000);
    half_open(fixture, &first, 1000);
    half_open(fixture, &second, 1000);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 2);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES), 1);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_FAILED), 1);
    assert_serves(fixture, &before, 1);
    pass(1000);
    carry(fixture, &second);
    assert_true(second.client.finished);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 1);
    assert_serves(fixture, &second, 1);
    device_free(&before);
    device_free(&first);
    device_free(&second);
}

static void the_old_association_may_end_first(void **state)
{
    struct fixture *fixture = *state;
    struct device before, after;
    create_table(fixture);
    connect_device(fixture, &before, 1000);
    half_open(fixture, &after, 1000);
    ERR_clear_error();
    SSL_shutdown(before.client.ssl);
    carry(fixture, &before);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 1);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES), 1);
    pass(1000);
    carry(fixture, &after);
    assert_true(after.client.finished);
    assert_serves(fixture, &after, 1);
    device_free(&before);
    device_free(&after);
}

static void a_hello_that_comes_late_is_dropped(void **state)
{
    struct fixture *fixture = *state;
    struct device before, after;
    create_table(fixture);
    device_create(&before, 1000);
    struct test_datagram *hello = take_second_hello(fixture, &before);
    struct bytes octets = {hello->octets, hello->len};
    arrive(fixture, 1000, octets);
    carry(fixture, &before);
    assert_true(before.client.finished);

    size_t sent = datagrams_sent;
    arrive(fixture, 1000, octets); /* of the association itself */
    half_open(fixture, &after, 1000);
    size_t sent_by_handshake = datagrams_sent;
    arrive(fixture, 1000, octets); /* of the one that is being replaced */
    assert_int_equal(datagrams_sent, sent_by_handshake);
    assert_true(sent_by_handshake > sent);
    assert_int_equal(count(fixture, COUNTER_DATAGRAMS_DROPPED), 2);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_STARTED), 2);
    assert_serves(fixture, &before, 1);
    free(hello);
    device_free(&before);
    device_free(&after);
}

/* The client's cookie may have expired meanwhile. */
static void a_hello_that_is_repeated_belongs_to_its_handshake(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    fixture->settings.dtls.retransmit_timeout_ms = 60000;
    create_table(fixture);
    device_create(&device, 1000);
    struct test_datagram *hello = take_second_hello(fixture, &device);
    arrive(fixture, 1000, (struct bytes){hello->octets, hello->len});
    queue_clear(&outbox.queue);
    pass(2 * DTLS_COOKIE_PERIOD_MS + 1000);
    queue_clear(&outbox.queue);
    arrive(fixture, 1000, (struct bytes){hello->octets, hello->len});
    assert_int_equal(count(fixture, COUNTER_COOKIES_REFUSED), 0);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_STARTED), 1);
    assert_true(outbox.queue.count > 0);
    carry(fixture, &device);
    assert_true(device.client.finished);
    free(hello);
    device_free(&device);
}

/* --- answers (SEC-4) --- */

static void answers_reach_their_own_association_alone(void **state)
{
    struct fixture *fixture = *state;
    struct device before, after;
    create_table(fixture);
    connect_device(fixture, &before, 1000);
    ask(fixture, &before, 1);
    connect_device(fixture, &after, 1000);
    ask(fixture, &after, 1);
    size_t sent = datagrams_sent;
    assert_false(answer(&started[0], CM_CONTENT, 0));
    assert_int_equal(datagrams_sent, sent);
    assert_true(answer(&started[1], CM_CONTENT, 0));
    carry(fixture, &after);
    assert_int_equal(take_message(&after).code, CM_CONTENT);
    assert_int_equal(after.client.records, 1);
    device_free(&before);
    device_free(&after);
}

static void an_exchange_may_answer_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    create_table(fixture);
    connect_device(fixture, &device, 1000);
    answer_at_once = true;
    ask(fixture, &device, 1);
    assert_int_equal(take_message(&device).code, CM_CONTENT);
    device_free(&device);
}

static void an_answer_may_come_after_close_notify(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    create_table(fixture);
    connect_device(fixture, &device, 1000);
    ask(fixture, &device, 1);
    ERR_clear_error();
    SSL_shutdown(device.client.ssl);
    carry(fixture, &device);
    assert_true(has_close_notify(&device));
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 0);
    assert_false(answer(&started[0], CM_CONTENT, 0));
    device_free(&device);
}

/* DTLS-7: a Block2 of 1024 octets is not sent to who negotiated records of 512. */
static void blocks_fit_the_records_of_the_association(void **state)
{
    struct fixture *fixture = *state;
    static uint8_t payload[1000];
    const struct test_client_wish wish = {.certificate = &world.domain_device, .max_fragment_length = 1};
    struct device device = {.port = 1000};
    fixture->settings.coap.block_size = 1024;
    create_table(fixture);
    client_create(&device.client, &wish);
    try_to_connect(fixture, &device);
    assert_true(device.client.finished);
    ask(fixture, &device, 1);
    answer_payload = (struct bytes){payload, sizeof payload};
    assert_true(answer(&started[0], CM_CONTENT, 0));
    carry(fixture, &device);
    struct coap_message response = take_message(&device);
    assert_true(response.block2.present);
    assert_int_equal(coap_block_octets(response.block2.szx), 256);
    device_free(&device);
}

/* DLY-1: an empty ACK after separate_after_ms. */
static void the_timer_serves_coap_as_well(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    create_table(fixture);
    connect_device(fixture, &device, 1000);
    pass(5000); /* the timer of the handshake has fired, for nothing */
    ask(fixture, &device, 1);
    pass(999);
    carry(fixture, &device);
    assert_int_equal(device.client.records, 0);
    pass(1);
    carry(fixture, &device);
    struct coap_message acknowledgement = take_message(&device);
    assert_int_equal(acknowledgement.type, CM_ACK);
    assert_int_equal(acknowledgement.code, CM_EMPTY);
    device_free(&device);
}

/* However many requests there are, the timer is set for the first moment at which something may be due. */
static void a_request_sets_no_timer_of_its_own(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    create_table(fixture);
    connect_device(fixture, &device, 1000);
    assert_serves(fixture, &device, 1);
    timers_set = 0;
    for (uint16_t id = 2; id < 50; id++)
        assert_serves(fixture, &device, id);
    assert_true(timers_set <= 2);
    device_free(&device);
}

/* --- the end of an association (SES-2) --- */

static void an_idle_association_expires(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    create_table(fixture);
    connect_device(fixture, &device, 1000);
    pass(200000);
    assert_serves(fixture, &device, 1);
    pass(299999);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 1);
    pass(1);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 0);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS_EXPIRED), 1);
    carry(fixture, &device);
    client_step(&device.client);
    assert_true(has_close_notify(&device));
    device_free(&device);
}

/* Junk on its flow keeps nobody's association alive. */
static void only_its_client_keeps_an_association_alive(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    uint8_t forged[40] = {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 27};
    create_table(fixture);
    connect_device(fixture, &device, 1000);
    pass(299999);
    arrive(fixture, 1000, (struct bytes){forged, sizeof forged});
    pass(1);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 0);
    device_free(&device);
}

static void work_in_flight_keeps_an_association(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    create_table(fixture);
    connect_device(fixture, &device, 1000);
    ask_as(fixture, &device, CM_NON, 1);
    assert_true(association_table_busy(fixture->table));
    unsigned fired = pass(3000000);
    assert_true(fired < 30); /* the timer is lazy */
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 1);
    assert_true(answer(&started[0], CM_CONTENT, 0));
    assert_false(association_table_busy(fixture->table));
    pass(600000);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 0);
    device_free(&device);
}

/* DLY-3: who is told to come back in ten minutes finds its association, and so its proof of possession is
 * still good. */
static void a_device_told_to_come_back_finds_its_association(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    create_table(fixture);
    connect_device(fixture, &device, 1000);
    ask_as(fixture, &device, CM_NON, 1);
    assert_true(answer(&started[0], CM_SERVICE_UNAVAILABLE, 600));
    pass(600000 + ASSOCIATION_KEEP_MARGIN_MS - 1);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 1);
    pass(1);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 0);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS_EXPIRED), 1);
    device_free(&device);
}

static void says_goodbye_when_the_program_ends(void **state)
{
    struct fixture *fixture = *state;
    struct device device, other;
    create_table(fixture);
    connect_device(fixture, &device, 1000);
    half_open(fixture, &other, 1001);
    association_table_free(fixture->table);
    fixture->table = NULL;
    assert_int_equal(outbox.queue.count, 0); /* nothing to the handshake */
    device_free(&other);
    device_free(&device);
}

static void closes_what_is_established_when_the_program_ends(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    create_table(fixture);
    connect_device(fixture, &device, 1000);
    association_table_free(fixture->table);
    fixture->table = NULL;
    carry(fixture, &device);
    client_step(&device.client);
    assert_true(has_close_notify(&device));
    device_free(&device);
}

/* --- limits (SEC-3) --- */

static void the_longest_idle_association_is_evicted(void **state)
{
    struct fixture *fixture = *state;
    struct device devices[4];
    fixture->settings.dtls.max_associations = 3;
    create_table(fixture);
    for (uint16_t i = 0; i < 3; i++)
        connect_device(fixture, &devices[i], 1000 + i);
    assert_serves(fixture, &devices[0], 1);
    device_create(&devices[3], 1003);
    client_step(&devices[3].client);
    struct test_datagram *hello = take_second_hello(fixture, &devices[3]);
    outbox.port = devices[1].port;
    arrive(fixture, 1003, (struct bytes){hello->octets, hello->len});
    free(hello);
    carry(fixture, &devices[1]);
    assert_true(has_close_notify(&devices[1]));
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 3);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS_EVICTED), 1);
    assert_serves(fixture, &devices[0], 2);
    assert_serves(fixture, &devices[2], 1);
    for (size_t i = 0; i < 4; i++)
        device_free(&devices[i]);
}

/* However many a device opens, the others keep theirs. */
static void one_device_cannot_have_all_associations(void **state)
{
    struct fixture *fixture = *state;
    const struct test_client_wish wish = {.certificate = &world.domain_device};
    struct device other = {.port = 2000}, devices[4];
    fixture->settings.limits.device_associations = 3;
    fixture->settings.dtls.max_associations = 100000; /* so that no two devices have a share together */
    create_table(fixture);
    client_create(&other.client, &wish);
    try_to_connect(fixture, &other);
    for (uint16_t i = 0; i < 3; i++)
        connect_device(fixture, &devices[i], 1000 + i);
    assert_serves(fixture, &devices[0], 1);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 4);
    connect_device(fixture, &devices[3], 1003);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 4);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS_EVICTED), 1);
    assert_serves(fixture, &other, 1);
    assert_serves(fixture, &devices[0], 2);
    assert_serves(fixture, &devices[2], 1);
    assert_serves(fixture, &devices[3], 1);
    for (size_t i = 0; i < 4; i++)
        device_free(&devices[i]);
    device_free(&other);
}

/* Behind the cookie, so that nobody uses up what is another's. */
static void handshakes_of_one_address_are_limited(void **state)
{
    struct fixture *fixture = *state;
    struct device devices[4];
    fixture->settings.limits.address_handshakes_per_minute = 60; /* and bursts of two */
    create_table(fixture);
    connect_device(fixture, &devices[0], 1000);
    connect_device(fixture, &devices[1], 1001);
    device_create(&devices[2], 1002);
    struct test_datagram *hello = take_second_hello(fixture, &devices[2]);
    const struct bytes octets = {hello->octets, hello->len};
    arrive(fixture, 1002, octets);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_LIMITED), 1);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES), 0);
    assert_int_equal(outbox.queue.count, 0);

    connect_device(fixture, &devices[3], OTHER_ADDRESS);
    pass(1000);
    outbox.port = 1002;
    arrive(fixture, 1002, octets); /* the device repeats it */
    carry(fixture, &devices[2]);
    assert_true(devices[2].client.finished);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_LIMITED), 1);
    free(hello);
    for (size_t i = 0; i < 4; i++)
        device_free(&devices[i]);
}

/* Neither what works nor what a device was told to come back to is evicted; then nobody else gets in. */
static void work_in_flight_is_never_evicted(void **state)
{
    struct fixture *fixture = *state;
    struct device devices[3];
    fixture->settings.dtls.max_associations = 2;
    create_table(fixture);
    connect_device(fixture, &devices[0], 1000);
    connect_device(fixture, &devices[1], 1001);
    ask_as(fixture, &devices[0], CM_NON, 1);
    ask_as(fixture, &devices[1], CM_NON, 1);
    assert_true(answer(&started[1], CM_SERVICE_UNAVAILABLE, 60));
    carry(fixture, &devices[1]);
    take_message(&devices[1]);

    device_create(&devices[2], 1002);
    try_to_connect(fixture, &devices[2]);
    assert_false(devices[2].client.finished);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_REFUSED), 1);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES), 0);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 2);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS_EVICTED), 0);

    clock_ms += 61000;
    assert_int_equal(DTLSv1_handle_timeout(devices[2].client.ssl), 1);
    carry(fixture, &devices[2]);
    assert_true(devices[2].client.finished); /* in place of the one that did not come back */
    assert_serves(fixture, &devices[2], 1);
    assert_true(answer(&started[0], CM_CONTENT, 0));
    for (size_t i = 0; i < 3; i++)
        device_free(&devices[i]);
}

/* EVICTION_LOOKS_MAX: what stands behind that many at work is not found, so that a new handshake costs the
 * same however many there are. */
static void eviction_looks_at_a_few(void **state)
{
    struct fixture *fixture = *state;
    enum { COUNT = EVICTION_LOOKS_MAX + 1 };
    static struct device devices[COUNT];
    struct device newcomer;
    fixture->settings.dtls.max_associations = COUNT;
    create_table(fixture);
    for (size_t i = 0; i < COUNT; i++) {
        connect_device(fixture, &devices[i], (uint16_t)(1000 + i));
        if (i + 1 < COUNT)
            ask_as(fixture, &devices[i], CM_NON, 1);
    }
    device_create(&newcomer, 2000);
    try_to_connect(fixture, &newcomer);
    assert_false(newcomer.client.finished);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS_EVICTED), 0);

    assert_true(answer(&started[EVICTION_LOOKS_MAX - 1], CM_CONTENT, 0)); /* the last one looked at */
    queue_clear(&outbox.queue);
    device_free(&newcomer);
    connect_device(fixture, &newcomer, 2001);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS_EVICTED), 1);
    device_free(&newcomer);
    for (size_t i = 0; i < COUNT; i++)
        device_free(&devices[i]);
}

/* A stranger cannot keep devices out by handshakes that it leaves half open, for longer than their patience.
 */
static void half_open_handshakes_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    struct device first, second, third;
    fixture->settings.dtls.max_handshakes = 2;
    create_table(fixture);
    half_open(fixture, &first, 1000);
    pass(1);
    half_open(fixture, &second, 1001);
    device_create(&third, 1002);
    struct test_datagram *hello = take_second_hello(fixture, &third);
    struct bytes octets = {hello->octets, hello->len};
    arrive(fixture, 1002, octets);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES), 2);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_REFUSED), 1);

    pass(HANDSHAKE_PATIENCE_MS + 2000 - 2); /* twice the timeout of 1 s */
    arrive(fixture, 1002, octets);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_REFUSED), 2);
    pass(1);
    queue_clear(&outbox.queue);
    arrive(fixture, 1002, octets);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_REFUSED), 2);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_FAILED), 1);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES), 2);
    carry(fixture, &third);
    assert_true(third.client.finished);
    free(hello);
    device_free(&first);
    device_free(&second);
    device_free(&third);
}

/* ... and not at all, while they come from one address: the oldest one of the address that has most in flight
 * gives way to a newcomer that has fewer. Never the other way round, however long the newcomer takes. */
static void one_address_cannot_have_all_handshakes(void **state)
{
    enum { COUNT = 8 };
    struct fixture *fixture = *state;
    struct device half[COUNT], honest, slow;
    fixture->settings.dtls.max_handshakes = COUNT;
    create_table(fixture);
    for (int i = 0; i < COUNT; i++)
        half_open(fixture, &half[i], (uint16_t)(1000 + i));
    connect_device(fixture, &honest, OTHER_ADDRESS);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES), COUNT - 1);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_FAILED), 1);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_REFUSED), 0);

    device_create(&slow, OTHER_ADDRESS + 1);
    struct test_datagram *hello = take_second_hello(fixture, &slow);
    arrive(fixture, slow.port, (struct bytes){hello->octets, hello->len});
    queue_clear(&outbox.queue); /* the answer is lost */
    for (int i = 0; i < 3 * COUNT; i++) {
        struct device another;
        half_open(fixture, &another, (uint16_t)(2000 + i));
        device_free(&another);
    }
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_REFUSED), 3 * COUNT);
    pass(HANDSHAKE_PATIENCE_MS + 2000);
    for (int i = 0; i < COUNT; i++) {
        struct device another;
        half_open(fixture, &another, (uint16_t)(3000 + i));
        device_free(&another);
    }
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_FAILED), COUNT); /* all but that of slow */
    pass(500);
    outbox.port = slow.port;
    arrive(fixture, slow.port, (struct bytes){hello->octets, hello->len});
    carry(fixture, &slow);
    assert_true(slow.client.finished);
    free(hello);
    for (size_t i = 0; i < COUNT; i++)
        device_free(&half[i]);
    device_free(&honest);
    device_free(&slow);
}

/* ... but not where it would then have as many as the other has now: nobody is thrown out in turns. */
static void a_fair_share_of_handshakes_is_kept(void **state)
{
    struct fixture *fixture = *state;
    struct device devices[4];
    fixture->settings.dtls.max_handshakes = 3;
    create_table(fixture);
    for (uint16_t i = 0; i < 2; i++)
        half_open(fixture, &devices[i], (uint16_t)(1000 + i));
    for (uint16_t i = 0; i < 2; i++)
        half_open(fixture, &devices[2 + i], (uint16_t)(OTHER_ADDRESS + i));
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES), 3);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_REFUSED), 1);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_FAILED), 0);
    for (size_t i = 0; i < 4; i++)
        device_free(&devices[i]);
}

/* The limits are the process's: workers hold them together. */
static void limits_are_shared_by_workers(void **state)
{
    struct fixture *fixture = *state;
    struct device here, there, late;
    fixture->settings.dtls.max_associations = 2;
    create_table(fixture);
    struct association_table *worker = fixture->table;
    connect_device(fixture, &here, 1000);
    ask_as(fixture, &here, CM_NON, 1);
    create_table(fixture);
    connect_device(fixture, &there, 1001);
    ask_as(fixture, &there, CM_NON, 1);
    device_create(&late, 1002);
    try_to_connect(fixture, &late);
    assert_false(late.client.finished);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 2);
    association_table_free(worker);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 1);
    device_free(&here);
    device_free(&there);
    device_free(&late);
}

/* --- SIGTERM --- */

static void draining_lets_nobody_new_in(void **state)
{
    struct fixture *fixture = *state;
    struct device established, handshaking, newcomer;
    create_table(fixture);
    connect_device(fixture, &established, 1000);
    half_open(fixture, &handshaking, 1001);
    association_table_drain(fixture->table);
    device_create(&newcomer, 1002);
    size_t sent = datagrams_sent;
    try_to_connect(fixture, &newcomer);
    assert_int_equal(datagrams_sent, sent);
    assert_serves(fixture, &established, 1);
    outbox.port = 1001;
    pass(1000);
    carry(fixture, &handshaking);
    assert_true(handshaking.client.finished);
    device_free(&established);
    device_free(&handshaking);
    device_free(&newcomer);
}

/* --- the log --- */

static unsigned count_lines(FILE *log, const char *text)
{
    char line[4096];
    unsigned lines = 0;
    rewind(log);
    while (fgets(line, sizeof line, log) != NULL)
        lines += strstr(line, text) != NULL;
    return lines;
}

/* Peer and reason, and no more than FAILURES_LOGGED_MAX of them in a second. */
static void failed_handshakes_are_logged_sparingly(void **state)
{
    struct fixture *fixture = *state;
    FILE *log = tmpfile();
    assert_non_null(log);
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, log);
    create_table(fixture);
    for (uint16_t i = 0; i < FAILURES_LOGGED_MAX + 5; i++) {
        struct device stranger = {.port = 1000};
        client_create(&stranger.client, &(struct test_client_wish){.certificate = NULL});
        try_to_connect(fixture, &stranger);
        assert_true(stranger.client.failed);
        device_free(&stranger);
        if (i == 0)
            assert_int_equal(
                count_lines(log, "handshake with 192.0.2.99:1000 failed: peer did not return a certificate"),
                1);
    }
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_FAILED), FAILURES_LOGGED_MAX + 5);
    assert_int_equal(count_lines(log, "handshake"), FAILURES_LOGGED_MAX);
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, stderr);
    fclose(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)
        TEST(serves_a_request),
        TEST(cookies_do_not_stop_other_answers),
        TEST(a_flood_without_cookies_leaves_nothing),
        TEST(a_cookie_is_good_for_its_flow_alone),
        TEST(what_belongs_to_nobody_is_dropped),
        TEST(the_timer_repeats_flights),
        TEST(an_abandoned_handshake_ends),
        TEST(a_forged_hello_breaks_nothing),
        TEST(a_device_that_restarts_replaces_its_association),
        TEST(the_old_association_outlives_a_handshake_that_fails),
        TEST(a_refused_newcomer_leaves_the_old_association),
        TEST(a_second_restart_replaces_the_first),
        TEST(the_old_association_may_end_first),
        TEST(a_hello_that_comes_late_is_dropped),
        TEST(a_hello_that_is_repeated_belongs_to_its_handshake),
        TEST(answers_reach_their_own_association_alone),
        TEST(an_exchange_may_answer_at_once),
        TEST(an_answer_may_come_after_close_notify),
        TEST(blocks_fit_the_records_of_the_association),
        TEST(the_timer_serves_coap_as_well),
        TEST(a_request_sets_no_timer_of_its_own),
        TEST(an_idle_association_expires),
        TEST(only_its_client_keeps_an_association_alive),
        TEST(work_in_flight_keeps_an_association),
        TEST(a_device_told_to_come_back_finds_its_association),
        TEST(says_goodbye_when_the_program_ends),
        TEST(closes_what_is_established_when_the_program_ends),
        TEST(the_longest_idle_association_is_evicted),
        TEST(one_device_cannot_have_all_associations),
        TEST(handshakes_of_one_address_are_limited),
        TEST(work_in_flight_is_never_evicted),
        TEST(eviction_looks_at_a_few),
        TEST(half_open_handshakes_are_bounded),
        TEST(one_address_cannot_have_all_handshakes),
        TEST(a_fair_share_of_handshakes_is_kept),
        TEST(limits_are_shared_by_workers),
        TEST(draining_lets_nobody_new_in),
        TEST(failed_handshakes_are_logged_sparingly),
    };
    return cmocka_run_group_tests(tests, create_world, destroy_world);
}
