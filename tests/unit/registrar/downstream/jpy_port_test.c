/* The JPY sockets over loopback, rows JPR-1 to JPR-7 and JPR-9: real datagrams, join proxies that are sockets
 * of the test, and its own clock. */
#include "registrar/downstream/jpy_port.h"

#include "common/jpy.h"
#include "registrar/downstream/association_table.h"

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "datagrams.h"
#include "one_server.h"

#include <event2/event.h>
#include <openssl/rand.h>

#include <poll.h>

#define WAIT_MS    5000
#define SILENCE_MS 20
#define TAKE_ALL   (JPY_TAKE_FIVE | JPY_TAKE_MULTIPART)

uint64_t monotonic_ms(void)
{
    return clock_ms;
}

struct fixture {
    struct settings settings;
    struct event_base *base;
    struct metrics *metrics;
    struct dtls_cookie_secret secret;
    struct association_table *table;
    struct jpy_port *port;
    struct buffer errors;
};

static int create(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.base = event_base_new(), .metrics = counters_create()};
    fixture.settings.dtls = world_settings(&world);
    fixture.settings.coap = default_coap_settings();
    fixture.settings.jpy =
        (struct jpy_settings){.max_associations = 40, .max_handshakes = 20, .handshakes_per_s = 1000};
    fixture.settings.limits.device_associations = 1000;
    assert_int_equal(dtls_cookie_secret_make(&fixture.secret), STATUS_OK);
    buffer_init(&fixture.errors, 4096);
    clock_ms = 1000000;
    *state = &fixture;
    return 0;
}

static int destroy(void **state)
{
    struct fixture *fixture = *state;
    association_table_free(fixture->table);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_ASSOCIATIONS), 0);
    jpy_port_free(fixture->port);
    metrics_free(fixture->metrics);
    event_base_free(fixture->base);
    buffer_free(&fixture->errors);
    return 0;
}

static bool try_to_open(struct fixture *fixture, const char *text)
{
    struct settings_endpoints endpoints = {.count = 1};
    assert_int_equal(endpoint_parse(text, &endpoints.items[0]), STATUS_OK);
    const struct jpy_port_plan plan = {.endpoints = &endpoints,
                                       .settings = &fixture->settings.jpy,
                                       .base = fixture->base,
                                       .metrics = fixture->metrics,
                                       .table = fixture->table};
    fixture->port = jpy_port_create(&plan, &fixture->errors);
    return fixture->port != NULL;
}

/* After the settings were adjusted. */
static void open_port(struct fixture *fixture)
{
    const struct association_table_context context = {.settings = &fixture->settings,
                                                      .base = fixture->base,
                                                      .metrics = fixture->metrics,
                                                      .credentials = credentials,
                                                      .cookie_secret = &fixture->secret};
    fixture->table = association_table_create(&context);
    assert_non_null(fixture->table);
    assert_true(try_to_open(fixture, "[::]:0"));
}

static uint64_t count(const struct fixture *fixture, enum counter counter)
{
    return metrics_get(fixture->metrics, counter);
}

/* The socket of a join proxy with this address, connected to the port. */
static int open_proxy(const struct fixture *fixture, const char *address)
{
    struct settings_endpoints addresses;
    struct endpoint own, server;
    char text[ENDPOINT_TEXT_MAX];
    jpy_port_addresses(fixture->port, &addresses);
    snprintf(text, sizeof text, "127.0.0.1:%u", endpoint_port(&addresses.items[0]));
    assert_int_equal(endpoint_parse(text, &server), STATUS_OK);
    snprintf(text, sizeof text, "%s:0", address);
    assert_int_equal(endpoint_parse(text, &own), STATUS_OK);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, &own.address.any, own.len), 0);
    assert_int_equal(connect(fd, &server.address.any, server.len), 0);
    return fd;
}

static void send_octets(int fd, struct bytes octets)
{
    assert_int_equal(send(fd, octets.at, octets.len, 0), octets.len);
}

/* Lets the port work until an answer is there. 0: none came in time. */
static size_t receive(const struct fixture *fixture, int fd, uint8_t octets[static UDP_DATAGRAM_MAX],
                      int within_ms)
{
    for (int waited = 0; waited <= within_ms; waited++) {
        event_base_loop(fixture->base, EVLOOP_NONBLOCK);
        if (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 1) == 1) {
            ssize_t len = recv(fd, octets, UDP_DATAGRAM_MAX, 0);
            assert_true(len > 0);
            return (size_t)len;
        }
    }
    return 0;
}

static void assert_silence(const struct fixture *fixture, int fd)
{
    uint8_t octets[UDP_DATAGRAM_MAX];
    assert_int_equal(receive(fixture, fd, octets, SILENCE_MS), 0);
}

/* A device behind a join proxy. */
struct device {
    struct test_client client;
    int proxy; /* the socket */
    enum jpy_form form;
    struct bytes header;
    size_t largest, largest_content; /* that came from the registrar */
};

static void device_create(struct device *device, int proxy, struct bytes header)
{
    const struct test_client_wish wish = {.certificate = &world.device,
                                          .intermediate = &world.manufacturer_sub};
    *device = (struct device){.proxy = proxy, .header = header};
    client_create(&device->client, &wish);
}

static void send_wrapped(const struct device *device, struct bytes content)
{
    struct buffer message;
    buffer_init(&message, UDP_DATAGRAM_MAX);
    assert_int_equal(jpy_encode(&(struct jpy_message){device->form, device->header, content}, &message),
                     STATUS_OK);
    send_octets(device->proxy, buffer_view(&message));
    buffer_free(&message);
}

static void send_all(struct device *device)
{
    while (device->client.sent.count > 0) {
        struct test_datagram *datagram = queue_take(&device->client.sent, 0);
        send_wrapped(device, (struct bytes){datagram->octets, datagram->len});
        free(datagram);
    }
}

/* One answer, whose header and form are those of the device to the octet (JPR-2). False: none came. */
static bool take_answer(const struct fixture *fixture, struct device *device, int within_ms)
{
    uint8_t octets[UDP_DATAGRAM_MAX];
    struct bytes datagram = {octets, receive(fixture, device->proxy, octets, within_ms)};
    struct jpy_message message;
    if (datagram.len == 0)
        return false;
    assert_int_equal(jpy_decode(datagram, TAKE_ALL, &message), STATUS_OK);
    assert_int_equal(message.form, device->form);
    assert_true(bytes_equal(message.header, device->header));
    if (datagram.len > device->largest)
        device->largest = datagram.len;
    if (message.content.len > device->largest_content)
        device->largest_content = message.content.len;
    client_receive(&device->client, message.content);
    return true;
}

static void shake_hands(const struct fixture *fixture, struct device *device)
{
    client_step(&device->client);
    for (unsigned i = 0; i < 100 && !device->client.finished; i++) {
        send_all(device);
        if (!device->client.finished)
            assert_true(take_answer(fixture, device, WAIT_MS));
    }
    assert_true(device->client.finished);
}

/* Says hello, brings the cookie back, and falls silent: a handshake that is half open, or refused. */
static void begin_handshake(const struct fixture *fixture, struct device *device)
{
    client_step(&device->client);
    send_all(device);
    assert_true(take_answer(fixture, device, WAIT_MS));
    send_all(device);
    event_base_loop(fixture->base, EVLOOP_NONBLOCK);
}

/* As many from as many devices with headers of their own. */
static void flood(const struct fixture *fixture, int proxy, size_t devices)
{
    for (size_t i = 0; i < devices; i++) {
        uint8_t header[30];
        struct device device;
        assert_int_equal(RAND_bytes(header, sizeof header), 1);
        device_create(&device, proxy, (struct bytes){header, sizeof header});
        client_step(&device.client);
        send_all(&device);
        /* others' flights come to the same socket */
        uint8_t octets[UDP_DATAGRAM_MAX];
        struct jpy_message message = {.header = {NULL, 0}};
        while (!bytes_equal(message.header, device.header)) {
            struct bytes datagram = {octets, receive(fixture, proxy, octets, WAIT_MS)};
            assert_int_equal(jpy_decode(datagram, 0, &message), STATUS_OK);
        }
        client_receive(&device.client, message.content);
        send_all(&device);
        event_base_loop(fixture->base, EVLOOP_NONBLOCK);
        client_free(&device.client);
    }
}

static struct bytes read_vector(const char *name, uint8_t at[static UDP_DATAGRAM_MAX])
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", VECTORS, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t len = fread(at, 1, UDP_DATAGRAM_MAX, file);
    fclose(file);
    return (struct bytes){at, len};
}

/* --- flows (JPR-2, JPR-4) --- */

/* JPR-2: of 0 to 64 octets, and the longest. The HelloVerifyRequest costs no state (JPR-4). */
static void jpr_2_headers_come_back_octet_by_octet(void **state)
{
    struct fixture *fixture = *state;
    uint8_t octets[JPY_HEADER_MAX];
    open_port(fixture);
    int proxy = open_proxy(fixture, "127.0.0.1");
    for (size_t len = 0; len <= sizeof octets; len = len == 64 ? sizeof octets : len + 1) {
        struct device device;
        assert_int_equal(RAND_bytes(octets, (int)sizeof octets), 1);
        device_create(&device, proxy, (struct bytes){octets, len});
        client_step(&device.client);
        send_all(&device);
        assert_true(take_answer(fixture, &device, WAIT_MS));
        client_free(&device.client);
    }
    assert_int_equal(count(fixture, COUNTER_COOKIES_SENT), 66);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 0);
    close(proxy);
}

static void jpr_2_each_header_is_a_flow(void **state)
{
    struct fixture *fixture = *state;
    const struct bytes headers[] = {BYTES_LITERAL(""), BYTES_LITERAL("one"), BYTES_LITERAL("onf"),
                                    BYTES_LITERAL("one\0")};
    enum { COUNT = sizeof headers / sizeof headers[0] };
    struct device devices[COUNT];
    open_port(fixture);
    int proxy = open_proxy(fixture, "127.0.0.1");
    for (size_t i = 0; i < COUNT; i++) {
        device_create(&devices[i], proxy, headers[i]);
        shake_hands(fixture, &devices[i]);
    }
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_COMPLETED), COUNT);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), COUNT);
    /* each of them lives on: a ping of CoAP is answered */
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(SSL_write(devices[i].client.ssl, "\x40\x00\x12\x34", 4), 4);
        send_all(&devices[i]);
        assert_true(take_answer(fixture, &devices[i], WAIT_MS));
        assert_true(bytes_equal(buffer_view(&devices[i].client.received), BYTES_LITERAL("\x70\x00\x12\x34")));
        client_free(&devices[i].client);
    }
    close(proxy);
}

/* JPR-2: the same header from another port or address, or in another form, is another flow. */
static void jpr_2_so_are_address_port_and_form(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *address;
        enum jpy_form form;
    } ways[] = {
        {"127.0.0.1", JPY_PAIR}, {"127.0.0.1", JPY_PAIR}, {"127.0.0.2", JPY_PAIR}, {"127.0.0.1", JPY_FIVE}};
    open_port(fixture);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct device device;
        int proxy = open_proxy(fixture, ways[i].address);
        device_create(&device, proxy, BYTES_LITERAL("\x41\x01\x02\x03\x04"));
        device.form = ways[i].form;
        shake_hands(fixture, &device);
        assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), i + 1);
        client_free(&device.client);
        close(proxy);
    }
}

/* JPR-4: with another header it is wrong, and answered as a first ClientHello is; with its own it is good. */
static void jpr_4_a_cookie_is_bound_to_the_header(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    open_port(fixture);
    int proxy = open_proxy(fixture, "127.0.0.1");
    device_create(&device, proxy, BYTES_LITERAL("mine"));
    client_step(&device.client);
    send_all(&device);
    assert_true(take_answer(fixture, &device, WAIT_MS));
    struct device thief = device;
    thief.header = BYTES_LITERAL("stolen");
    send_wrapped(&thief, queue_view(&device.client.sent, 0));
    uint8_t octets[UDP_DATAGRAM_MAX];
    struct jpy_message message;
    struct bytes answer = {octets, receive(fixture, proxy, octets, WAIT_MS)};
    assert_int_equal(jpy_decode(answer, 0, &message), STATUS_OK);
    assert_true(bytes_equal(message.header, thief.header));
    assert_int_equal(message.content.len, DTLS_HELLO_VERIFY_REQUEST_OCTETS);
    assert_int_equal(count(fixture, COUNTER_COOKIES_REFUSED), 1);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 0);

    shake_hands(fixture, &device);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 1);
    client_free(&device.client);
    close(proxy);
}

/* --- forms (JPR-3, JPR-9, B0) --- */

/* Sends a vector, and returns what comes back in front of the HelloVerifyRequest. */
static struct bytes ask_with(const struct fixture *fixture, const char *name,
                             uint8_t octets[static UDP_DATAGRAM_MAX])
{
    int proxy = open_proxy(fixture, "127.0.0.1");
    send_octets(proxy, read_vector(name, octets));
    struct bytes answer = {octets, receive(fixture, proxy, octets, SILENCE_MS)};
    close(proxy);
    if (answer.len == 0)
        return answer;
    assert_true(answer.len > DTLS_HELLO_VERIFY_REQUEST_OCTETS);
    struct bytes content = bytes_slice(answer, answer.len - DTLS_HELLO_VERIFY_REQUEST_OCTETS, SIZE_MAX);
    assert_int_equal(content.at[0], DTLS_HANDSHAKE);
    assert_int_equal(content.at[DTLS_RECORD_HEADER], DTLS_HELLO_VERIFY_REQUEST);
    return bytes_slice(answer, 0, answer.len - content.len);
}

/* B0, JPR-4: what draft -20 prints in its appendix A: 82, the header, and a HelloVerifyRequest; ours has a
 * cookie of 16 octets and theirs one of 32. */
static void b0_the_vector_of_draft_20(void **state)
{
    struct fixture *fixture = *state;
    uint8_t octets[UDP_DATAGRAM_MAX], printed[UDP_DATAGRAM_MAX];
    open_port(fixture);
    struct bytes before = ask_with(fixture, "cjp20-appA-request.jpy.cbor.bin", octets);
    struct bytes expected = read_vector("cjp20-appA-response.jpy.cbor.bin", printed);
    assert_int_equal(before.len, 1 + 17 + 2);
    assert_memory_equal(before.at, expected.at, 1 + 17 + 1);
    assert_int_equal(before.at[19], DTLS_HELLO_VERIFY_REQUEST_OCTETS);
}

static void jpr_9_the_old_form_keeps_its_four_elements(void **state)
{
    struct fixture *fixture = *state;
    uint8_t octets[UDP_DATAGRAM_MAX], request[UDP_DATAGRAM_MAX];
    open_port(fixture);
    struct bytes before = ask_with(fixture, "derived-cjp01to10-5array-request.jpy.cbor.bin", octets);
    read_vector("derived-cjp01to10-5array-request.jpy.cbor.bin", request);
    assert_int_equal(before.len, 1 + 17 + 3 + 1 + 1 + 2);
    assert_memory_equal(before.at, request, before.len - 2);
}

static void b0_the_seed_form_has_a_switch(void **state)
{
    struct fixture *fixture = *state;
    static const char name[] = "derived-seed01-normalised-multipart-request.jpy.cbor.bin";
    uint8_t octets[UDP_DATAGRAM_MAX], request[UDP_DATAGRAM_MAX];
    open_port(fixture);
    assert_int_equal(ask_with(fixture, name, octets).len, 0);
    assert_int_equal(count(fixture, COUNTER_JPY_MALFORMED), 1);
    fixture->settings.jpy.seed_form = true;
    struct bytes before = ask_with(fixture, name, octets);
    read_vector(name, request);
    assert_int_equal(before.len, 3 + 2 + 27 + 2 + 2);
    assert_memory_equal(before.at, request, before.len - 2);
}

static void jpr_3_what_is_malformed_is_dropped_in_silence(void **state)
{
    struct fixture *fixture = *state;
    const struct bytes malformed[] = {
        BYTES_LITERAL("\x80"),
        BYTES_LITERAL("\x81\x41h"),
        BYTES_LITERAL("\x82\x61h\x41x"),
        BYTES_LITERAL("\x82\x41h\x61x"),
        BYTES_LITERAL("\x9f\x41h\x41x\xff"),
        BYTES_LITERAL("\x82\x5f\x41h\xff\x41x"),
        BYTES_LITERAL("\x82\x41h\x42x"),
        BYTES_LITERAL("\x82\x41h\x41x\x00"),
        BYTES_LITERAL("\x16\xfe\xfd\x00\x00"),
        BYTES_LITERAL("\xff"),
    };
    const size_t malformed_count = sizeof malformed / sizeof malformed[0];
    uint8_t octets[UDP_DATAGRAM_MAX], longest[5 + JPY_HEADER_MAX + 1] = {0x82, 0x59, 0x01, 0x00};
    open_port(fixture);
    int proxy = open_proxy(fixture, "127.0.0.1");
    for (size_t i = 0; i < malformed_count; i++)
        send_octets(proxy, malformed[i]);
    longest[4 + JPY_HEADER_MAX + 1] = 0x40;
    send_octets(proxy, (struct bytes){longest, sizeof longest}); /* a header of 256 octets */
    struct bytes vector = read_vector("cjp20-appA-request.jpy.cbor.bin", octets);
    for (size_t len = 1; len < vector.len; len += 7)
        send_octets(proxy, bytes_slice(vector, 0, len));
    assert_silence(fixture, proxy);
    assert_int_equal(count(fixture, COUNTER_JPY_MALFORMED), malformed_count + 1 + vector.len / 7);
    assert_int_equal(count(fixture, COUNTER_DATAGRAMS_RECEIVED), 0);

    /* well formed, and no DTLS in it */
    send_octets(proxy, BYTES_LITERAL("\x82\x41h\x40"));
    send_octets(proxy, BYTES_LITERAL("\x82\x41h\x45hello"));
    assert_silence(fixture, proxy);
    assert_int_equal(count(fixture, COUNTER_DATAGRAMS_DROPPED), 2);

    struct device device;
    device_create(&device, proxy, BYTES_LITERAL("h"));
    shake_hands(fixture, &device);
    client_free(&device.client);
    close(proxy);
}

/* --- sizes (JPR-5) --- */

static void connect_with_header(struct fixture *fixture, size_t len, struct device *device)
{
    static const uint8_t zeros[JPY_HEADER_MAX];
    int proxy = open_proxy(fixture, "127.0.0.1");
    device_create(device, proxy, (struct bytes){zeros, len});
    shake_hands(fixture, device);
    client_free(&device->client);
    close(proxy);
}

/* JPR-5: 6 + len(H) octets less for DTLS, so that the message is as large as a datagram at the coaps port. */
static void jpr_5_flights_leave_room_for_the_header(void **state)
{
    struct fixture *fixture = *state;
    static const size_t lengths[] = {0, 30, 64, JPY_HEADER_MAX};
    struct device device;
    fixture->settings.dtls.handshake_mtu = 512;
    open_port(fixture);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        connect_with_header(fixture, lengths[i], &device);
        assert_in_range(device.largest, 490, 512);
        assert_in_range(device.largest_content, 1, 512 - 5 - lengths[i]);
    }
}

/* OpenSSL makes no smaller ones. */
static void jpr_5_down_to_what_openssl_can_do(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    fixture->settings.dtls.handshake_mtu = 256;
    open_port(fixture);
    connect_with_header(fixture, JPY_HEADER_MAX, &device);
    assert_in_range(device.largest_content, 200, DTLS_FLIGHT_OCTETS_MIN);
    connect_with_header(fixture, 16, &device);
    assert_in_range(device.largest, 200, 256);
}

/* --- limits (JPR-6) and the list of join proxies (JPR-7) --- */

static void assert_gets_in(struct fixture *fixture, const char *proxy_address, struct bytes header)
{
    struct device device;
    int proxy = open_proxy(fixture, proxy_address);
    device_create(&device, proxy, header);
    shake_hands(fixture, &device);
    client_free(&device.client);
    close(proxy);
}

/* JPR-6: more handshakes than one join proxy may have are refused, for its other ports as well; those of
 * others go on, and its own once the first have had their time. */
static void jpr_6_half_open_handshakes(void **state)
{
    struct fixture *fixture = *state;
    struct device device;
    fixture->settings.jpy.max_handshakes = 5;
    open_port(fixture);
    int rogue = open_proxy(fixture, "127.0.0.66"), other_port = open_proxy(fixture, "127.0.0.66");
    flood(fixture, rogue, 8);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES), 5);
    assert_int_equal(count(fixture, COUNTER_JPY_LIMITED), 3);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_REFUSED), 3);
    device_create(&device, other_port, BYTES_LITERAL("honest"));
    begin_handshake(fixture, &device);
    assert_int_equal(count(fixture, COUNTER_JPY_LIMITED), 4);
    client_free(&device.client);
    assert_gets_in(fixture, "127.0.0.1", BYTES_LITERAL("h"));
    assert_gets_in(fixture, "127.0.0.2", BYTES_LITERAL("h"));

    clock_ms += HANDSHAKE_PATIENCE_MS + 2 * fixture->settings.dtls.retransmit_timeout_ms;
    device_create(&device, other_port, BYTES_LITERAL("honest"));
    shake_hands(fixture, &device);
    client_free(&device.client);
    close(rogue);
    close(other_port);
}

/* JPR-6: of one that has all it may have, its own idle association makes room, nobody else's. */
static void jpr_6_associations(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.jpy.max_associations = 3;
    fixture->settings.jpy.max_handshakes = 3;
    open_port(fixture);
    assert_gets_in(fixture, "127.0.0.1", BYTES_LITERAL("the oldest of all"));
    for (uint8_t i = 0; i < 5; i++)
        assert_gets_in(fixture, "127.0.0.66", (struct bytes){&i, 1});
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 1 + 3);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS_EVICTED), 2);

    /* with handshakes alone there is nothing to evict */
    int rogue = open_proxy(fixture, "127.0.0.67");
    flood(fixture, rogue, 6);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 1 + 3 + 3);
    assert_int_equal(count(fixture, COUNTER_JPY_LIMITED), 3);
    close(rogue);
}

static void jpr_6_rate(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.jpy.handshakes_per_s = 4;
    open_port(fixture);
    int rogue = open_proxy(fixture, "127.0.0.66");
    flood(fixture, rogue, 6);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_STARTED), 4);
    assert_int_equal(count(fixture, COUNTER_JPY_LIMITED), 2);
    assert_gets_in(fixture, "127.0.0.1", BYTES_LITERAL("h"));
    clock_ms += 500;
    flood(fixture, rogue, 3);
    assert_int_equal(count(fixture, COUNTER_HANDSHAKES_STARTED), 4 + 1 + 2);
    close(rogue);
}

/* JPR-6: whom the rate keeps out costs no device its association. */
static void jpr_6_the_rate_evicts_nobody(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.jpy.max_associations = 2;
    fixture->settings.jpy.max_handshakes = 2;
    fixture->settings.jpy.handshakes_per_s = 2;
    open_port(fixture);
    for (uint8_t i = 0; i < 2; i++)
        assert_gets_in(fixture, "127.0.0.66", (struct bytes){&i, 1});
    int rogue = open_proxy(fixture, "127.0.0.66");
    flood(fixture, rogue, 3);
    assert_int_equal(count(fixture, COUNTER_JPY_LIMITED), 3);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS), 2);
    assert_int_equal(count(fixture, COUNTER_ASSOCIATIONS_EVICTED), 0);
    close(rogue);
}

static void jpr_7_only_join_proxies_of_the_list(void **state)
{
    struct fixture *fixture = *state;
    static char one[] = "2001:db8::1", range[] = "127.0.1.0/24";
    uint8_t octets[UDP_DATAGRAM_MAX];
    fixture->settings.jpy.join_proxies = (struct settings_strings){{one, range}, 2};
    open_port(fixture);
    int stranger = open_proxy(fixture, "127.0.0.1");
    send_octets(stranger, read_vector("cjp20-appA-request.jpy.cbor.bin", octets));
    send_octets(stranger, BYTES_LITERAL("junk"));
    assert_silence(fixture, stranger);
    assert_int_equal(count(fixture, COUNTER_JPY_REFUSED), 2);
    assert_int_equal(count(fixture, COUNTER_JPY_MALFORMED) + count(fixture, COUNTER_DATAGRAMS_RECEIVED), 0);
    assert_gets_in(fixture, "127.0.1.9", BYTES_LITERAL("h"));
    close(stranger);
}

static void what_cannot_be_opened_is_told(void **state)
{
    struct fixture *fixture = *state;
    assert_false(try_to_open(fixture, "192.0.2.1:5690"));
    assert_string_equal(
        buffer_string(&fixture->errors),
        "listen.jpy[0]: \"192.0.2.1:5690\" cannot be opened: Cannot assign requested address; "
        "use an address that this host has (\"ip address\" shows them), or \"[::]\"\n");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, create, destroy)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(jpr_2_headers_come_back_octet_by_octet),
        TEST(jpr_2_each_header_is_a_flow),
        TEST(jpr_2_so_are_address_port_and_form),
        TEST(jpr_4_a_cookie_is_bound_to_the_header),
        TEST(b0_the_vector_of_draft_20),
        TEST(jpr_9_the_old_form_keeps_its_four_elements),
        TEST(b0_the_seed_form_has_a_switch),
        TEST(jpr_3_what_is_malformed_is_dropped_in_silence),
        TEST(jpr_5_flights_leave_room_for_the_header),
        TEST(jpr_5_down_to_what_openssl_can_do),
        TEST(jpr_6_half_open_handshakes),
        TEST(jpr_6_associations),
        TEST(jpr_6_rate),
        TEST(jpr_6_the_rate_evicts_nobody),
        TEST(jpr_7_only_join_proxies_of_the_list),
        TEST(what_cannot_be_opened_is_told),
    };
    return cmocka_run_group_tests(tests, create_world, destroy_world);
}
