/* The coaps sockets over loopback: real datagrams on a real event loop. */
#include "registrar/downstream/datagram_port.h"

#include "common/rate_table.h"
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

#include <poll.h>

#define WAIT_MS 5000

struct fixture {
    struct settings settings;
    struct event_base *base;
    struct metrics *metrics;
    struct dtls_cookie_secret secret;
    struct association_table *table;
    struct rate_table *rates;
    struct datagram_port *port;
    struct buffer errors;
};

static int create(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.base = event_base_new(), .metrics = counters_create()};
    fixture.settings.dtls = world_settings(&world);
    fixture.settings.coap = default_coap_settings();
    fixture.settings.limits = (struct limit_settings){.device_associations = 100};
    assert_int_equal(dtls_cookie_secret_make(&fixture.secret), STATUS_OK);
    fixture.rates = rate_table_create((struct rate){0, 1});
    assert_non_null(fixture.rates);
    buffer_init(&fixture.errors, 4096);
    const struct association_table_context context = {.settings = &fixture.settings,
                                                      .base = fixture.base,
                                                      .metrics = fixture.metrics,
                                                      .credentials = credentials,
                                                      .cookie_secret = &fixture.secret,
                                                      .handshake_rates = fixture.rates};
    fixture.table = association_table_create(&context);
    assert_non_null(fixture.table);
    *state = &fixture;
    return 0;
}

static int destroy(void **state)
{
    struct fixture *fixture = *state;
    datagram_port_free(fixture->port);
    association_table_free(fixture->table);
    rate_table_free(fixture->rates);
    metrics_free(fixture->metrics);
    event_base_free(fixture->base);
    buffer_free(&fixture->errors);
    return 0;
}

static bool open_port(struct fixture *fixture, const char *const *texts, size_t count,
                      enum udp_sharing sharing)
{
    struct settings_endpoints endpoints = {.count = count};
    for (size_t i = 0; i < count; i++)
        assert_int_equal(endpoint_parse(texts[i], &endpoints.items[i]), STATUS_OK);
    fixture->port =
        datagram_port_create(&endpoints, sharing, fixture->base, fixture->table, &fixture->errors);
    return fixture->port != NULL;
}

/* A socket of a device that takes answers from this address alone, on the port of listener number index. */
static int connect_socket(const struct fixture *fixture, size_t index, const char *address)
{
    struct settings_endpoints addresses;
    struct endpoint server;
    char text[ENDPOINT_TEXT_MAX];
    datagram_port_addresses(fixture->port, &addresses);
    snprintf(text, sizeof text, "%s:%u", address, endpoint_port(&addresses.items[index]));
    assert_int_equal(endpoint_parse(text, &server), STATUS_OK);
    int fd = socket(server.address.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(fd, &server.address.any, server.len), 0);
    return fd;
}

/* Until the device's handshake is through, or for as long as the test may take. */
static void shake_hands(struct fixture *fixture, struct test_client *client, int fd)
{
    uint8_t octets[2048];
    client_step(client);
    for (unsigned i = 0; i < 1000 && !client->finished && !client->failed; i++) {
        while (client->sent.count > 0) {
            struct test_datagram *datagram = queue_take(&client->sent, 0);
            assert_int_equal(send(fd, datagram->octets, datagram->len, 0), datagram->len);
            free(datagram);
        }
        event_base_loop(fixture->base, EVLOOP_NONBLOCK);
        if (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, WAIT_MS / 1000) != 1)
            continue;
        ssize_t len = recv(fd, octets, sizeof octets, 0);
        assert_true(len > 0);
        client_receive(client, (struct bytes){octets, (size_t)len});
    }
    assert_true(client->finished);
}

static void connect_from(struct fixture *fixture, size_t index, const char *address)
{
    struct test_client client;
    const struct test_client_wish wish = {.certificate = &world.domain_device};
    int fd = connect_socket(fixture, index, address);
    client_create(&client, &wish);
    shake_hands(fixture, &client, fd);
    client_free(&client);
    close(fd);
}

static void serves_every_address(void **state)
{
    struct fixture *fixture = *state;
    const char *const texts[] = {"127.0.0.1:0", "[::1]:0"};
    assert_true(open_port(fixture, texts, 2, UDP_EXCLUSIVE));
    connect_from(fixture, 0, "127.0.0.1");
    connect_from(fixture, 1, "[::1]");
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_ASSOCIATIONS), 2);
}

/* A device that asked one of the host's addresses takes no answer from another. */
static void a_wildcard_answers_from_the_address_that_was_asked(void **state)
{
    struct fixture *fixture = *state;
    const char *const texts[] = {"[::]:0"};
    assert_true(open_port(fixture, texts, 1, UDP_EXCLUSIVE));
    connect_from(fixture, 0, "127.0.0.1");
    connect_from(fixture, 0, "127.8.8.8");
    connect_from(fixture, 0, "[::1]");
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_ASSOCIATIONS), 3);
}

/* One device, one port of its own, two addresses of ours: two flows. */
static void local_addresses_make_flows_of_their_own(void **state)
{
    struct fixture *fixture = *state;
    const char *const texts[] = {"0.0.0.0:0"};
    const struct test_client_wish wish = {.certificate = &world.domain_device};
    assert_true(open_port(fixture, texts, 1, UDP_EXCLUSIVE));
    struct test_client clients[2];
    int fd = connect_socket(fixture, 0, "127.0.0.1");
    client_create(&clients[0], &wish);
    shake_hands(fixture, &clients[0], fd);

    struct sockaddr_in other;
    socklen_t len = sizeof other;
    assert_int_equal(getpeername(fd, (struct sockaddr *)&other, &len), 0);
    other.sin_addr.s_addr = htonl(0x7f080808);
    assert_int_equal(connect(fd, (struct sockaddr *)&other, len), 0);
    client_create(&clients[1], &wish);
    shake_hands(fixture, &clients[1], fd);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_ASSOCIATIONS), 2);
    client_free(&clients[0]);
    client_free(&clients[1]);
    close(fd);
}

static void all_that_cannot_be_opened_is_told(void **state)
{
    struct fixture *fixture = *state;
    const char *const free_one[] = {"127.0.0.1:0"};
    assert_true(open_port(fixture, free_one, 1, UDP_EXCLUSIVE));
    struct datagram_port *first = fixture->port;
    struct settings_endpoints addresses;
    char taken[ENDPOINT_TEXT_MAX], expected[400];
    datagram_port_addresses(first, &addresses);
    endpoint_format(&addresses.items[0], taken);

    const char *const texts[] = {"127.0.0.1:0", taken, "192.0.2.1:5684"};
    assert_false(open_port(fixture, texts, 3, UDP_EXCLUSIVE));
    fixture->port = first;
    snprintf(
        expected, sizeof expected,
        "listen.coaps[1]: \"%s\" cannot be opened: Address already in use; use another port, or stop the "
        "program that has it (\"ss -ulpn\" shows it)\n"
        "listen.coaps[2]: \"192.0.2.1:5684\" cannot be opened: Cannot assign requested address; use an "
        "address that this host has (\"ip address\" shows them), or \"[::]\"\n",
        taken);
    assert_string_equal(buffer_string(&fixture->errors), expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(serves_every_address, create, destroy),
        cmocka_unit_test_setup_teardown(a_wildcard_answers_from_the_address_that_was_asked, create, destroy),
        cmocka_unit_test_setup_teardown(local_addresses_make_flows_of_their_own, create, destroy),
        cmocka_unit_test_setup_teardown(all_that_cannot_be_opened_is_told, create, destroy),
    };
    return cmocka_run_group_tests(tests, create_world, destroy_world);
}
