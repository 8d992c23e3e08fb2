/* Datagrams and time against DTLS associations: a new one whose ClientHello is the input's, one that waits
 * for the client's second flight, one that is established, which nothing forged may end, and one whose
 * ClientHello brings a session ticket, of which the input changes an octet. */
#include "common/bytes.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* What the peers of the unit tests say of themselves. */
#define assert_true(value)        check(value)
#define assert_false(value)       check(!(value))
#define assert_null(value)        check((value) == NULL)
#define assert_non_null(value)    check((value) != NULL)
#define assert_int_equal(a, b)    check((a) == (b))
#define assert_string_equal(a, b) check(strcmp(a, b) == 0)
#define fail_msg(...)             abort()

#include "tests/unit/registrar/downstream/dtls_peers.h"

#define HANDSHAKE_MTU 256

static struct test_world world;
static struct dtls_credentials *credentials;
static struct test_client client; /* of the established association */
static struct test_server established;
static struct test_client_wish wish;

/* A ClientHello with some cookie: nobody looks at it any more. */
static struct test_datagram *hello;
static struct test_datagram *resuming; /* the same with a ticket */
static const struct session_ticket_secret tickets = {{1}};

static struct test_datagram *make_hello(SSL_SESSION *session);

static void clean_up(void)
{
    free_peers(&client, &established);
    dtls_credentials_release(credentials);
    world_free(&world);
    free(hello);
    free(resuming);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    world_create(&world);
    atexit(clean_up);
    struct dtls_settings settings = world_settings(&world);
    credentials = load_credentials(&settings);
    wish = (struct test_client_wish){.certificate = &world.domain_device};
    connect_peers(&client, &wish, &established, credentials);
    assert_true(client.finished);

    hello = make_hello(NULL);
    struct test_client another;
    struct test_server server;
    client_create(&another, &wish);
    server_create(&server, credentials, HANDSHAKE_MTU);
    server.context.tickets = &tickets;
    run(&another, &server, NULL);
    SSL_SESSION *session = SSL_get1_session(another.ssl);
    assert_int_equal(SSL_SESSION_has_ticket(session), 1);
    free_peers(&another, &server);
    resuming = make_hello(session);
    SSL_SESSION_free(session);
    return 0;
}

/* Gives the ClientHello with its cookie. */
static struct test_datagram *make_hello(SSL_SESSION *session)
{
    struct test_client_wish wanted = wish;
    struct test_client another;
    struct test_server server;
    struct test_network perfect = {.seed = 1};
    wanted.session = session;
    client_create(&another, &wanted);
    server_create(&server, credentials, HANDSHAKE_MTU);
    client_step(&another);
    exchange_one(&another, &server, &perfect);
    exchange_one(&another, &server, &perfect);
    assert_int_equal(another.sent.count, 1);
    struct test_datagram *made = queue_take(&another.sent, 0);
    client_free(&another);
    server_free(&server);
    return made;
}

/* Each datagram stands behind its length in two octets; the uppermost bits let time pass, up to 112 s. */
static void feed(struct test_server *server, struct bytes input)
{
    while (input.len > 2 && server->association != NULL) {
        size_t len = (size_t)(input.at[0] << 8 | input.at[1]);
        clock_ms += (len >> 13) * 16000;
        struct bytes datagram = bytes_slice(input, 2, len & 0x7ff);
        dtls_association_tick(server->association, clock_ms);
        dtls_association_receive(server->association, clock_ms, datagram);
        input = bytes_slice(input, 2 + datagram.len, input.len);
        if (server->sent.count > QUEUE_MAX / 2)
            queue_clear(&server->sent);
    }
    queue_clear(&server->sent);
}

static void fuzz_handshake(struct bytes first, struct bytes rest)
{
    struct test_server server;
    server_create(&server, credentials, HANDSHAKE_MTU);
    server.context.tickets = &tickets;
    struct dtls_events events = {server_sends, server_established, server_receives, &server};
    server.association = dtls_association_create(&server.context, &events, clock_ms);
    check(server.association != NULL);
    dtls_association_receive(server.association, clock_ms, first);
    feed(&server, rest);
    check(server.established == 0 && server.records == 0);
    check(server.largest_datagram <= HANDSHAKE_MTU);
    struct buffer reason;
    buffer_init(&reason, 200);
    bool failed = dtls_association_failed(server.association, &reason);
    check(failed == (dtls_association_state(server.association) == DTLS_CLOSED) &&
          reason.status == STATUS_OK);
    buffer_free(&reason);
    server_free(&server);
}

static void fuzz_ticket(struct bytes input)
{
    struct test_datagram changed = *resuming;
    changed.octets[(size_t)(input.at[0] << 8 | input.at[1]) % changed.len] ^= input.at[2];
    fuzz_handshake((struct bytes){changed.octets, changed.len}, bytes_slice(input, 3, input.len));
}

/* It still works after whatever came. */
static void fuzz_established(struct bytes input)
{
    size_t received = client.records, records = established.records;
    feed(&established, input);
    check(dtls_association_state(established.association) == DTLS_ESTABLISHED);
    check(established.records == records);
    buffer_reset(&established.received);
    buffer_reset(&client.received);
    established.echo = true;
    client_send(&client, "still there?");
    run(&client, &established, NULL);
    check(client.records == received + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = {data, size};
    if (size < 4)
        return 0;
    struct bytes rest = bytes_slice(input, 1, size);
    switch (data[0] % 4) {
    case 0: {
        struct bytes first = bytes_slice(rest, 2, (size_t)(rest.at[0] << 8 | rest.at[1]) & 0x7ff);
        fuzz_handshake(first, bytes_slice(rest, 2 + first.len, rest.len));
        break;
    }
    case 1:
        fuzz_handshake((struct bytes){hello->octets, hello->len}, rest);
        break;
    case 2:
        fuzz_established(rest);
        break;
    default:
        fuzz_ticket(rest);
    }
    return 0;
}
