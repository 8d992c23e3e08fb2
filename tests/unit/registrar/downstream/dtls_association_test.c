/* Rows DTLS-7, SES-1, SEC-4 and TX-3, and the flights of RFC 6347 section 4.2; who is let in is the matter of
 * dtls_credentials_test.c. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "one_server.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>

#include <malloc.h>

#define CCM_8_OVERHEAD 16 /* octets of an encrypted record: explicit nonce and tag (RFC 6655) */

static void assert_established(struct test_client *client, struct test_server *server)
{
    assert_true(client->finished);
    assert_int_equal(server_state(server), DTLS_ESTABLISHED);
    assert_int_equal(server->established, 1);
    assert_int_equal(dtls_association_deadline(server->association), MONOTONIC_NEVER);
    assert_non_null(dtls_association_client(server->association));
}

static void assert_echoes(struct test_client *client, struct test_server *server, const char *text)
{
    size_t before = client->received.len;
    server->echo = true;
    client_send(client, text);
    run(client, server, NULL);
    assert_int_equal(client->received.len, before + strlen(text));
    assert_memory_equal(client->received.at + before, text, strlen(text));
}

/* Brings a handshake to where the client's next datagram is the ClientHello with its cookie. */
static void start_handshake(struct test_client *client, struct test_server *server, uint32_t handshake_mtu)
{
    struct test_network perfect = {.seed = 1};
    struct test_client_wish wish = a_device();
    client_create(client, &wish);
    server_create(server, credentials, handshake_mtu);
    client_step(client);
    exchange_one(client, server, &perfect);
    exchange_one(client, server, &perfect);
    assert_null(server->association);
    assert_int_equal(client->sent.count, 1);
}

/* ... and on to where the server's first flight waits in its queue. Gives the ClientHello. */
static struct test_datagram *send_hello(struct test_client *client, struct test_server *server)
{
    struct test_datagram *hello = queue_take(&client->sent, 0);
    server_receive(server, (struct bytes){hello->octets, hello->len});
    assert_int_equal(server_state(server), DTLS_HANDSHAKING);
    assert_true(server->sent.count > 0);
    return hello;
}

/* DTLS-7: the limit counts for every datagram of the handshake. */
static void handshake_stays_within_its_mtu(void **state)
{
    (void)state;
    static const uint32_t limits[] = {256, 512, 1024, 1200};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct test_client client;
        struct test_server server;
        struct test_client_wish wish = a_device();
        client_create(&client, &wish);
        server_create(&server, credentials, limits[i]);
        run(&client, &server, NULL);
        assert_established(&client, &server);
        assert_true(server.largest_datagram <= limits[i]);
        assert_true(server.largest_datagram > limits[i] / 2); /* and it is made use of */
        assert_echoes(&client, &server, "hello");
        free_peers(&client, &server);
    }
}

/* DTLS-7, and POP-4: the Finished messages, which cover all that was fragmented, agree. */
static void reassembles_what_the_client_fragments(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    struct test_client_wish wish = a_device();
    wish.mtu = 256;
    connect_peers(&client, &wish, &server, credentials);
    assert_established(&client, &server);
    assert_echoes(&client, &server, "hello");
    free_peers(&client, &server);
}

/* POP-2: the client's Finished, as the client has it; POP-4: however the handshake was cut into fragments. */
static void binding_is_the_clients_finished(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct test_client client;
        struct test_server server;
        struct test_client_wish wish = a_device();
        uint8_t finished[64];
        wish.mtu = i == 0 ? 1200 : 256;
        wish.no_extended_master_secret = i == 1;
        client_create(&client, &wish);
        server_create(&server, credentials, 256);
        run(&client, &server, NULL);
        assert_established(&client, &server);
        struct channel_binding binding = dtls_association_binding(server.association);
        assert_true(binding.is_known);
        assert_int_equal(binding.is_unique, i == 0);
        assert_int_equal(SSL_get_finished(client.ssl, finished, sizeof finished), TLS_UNIQUE_OCTETS);
        assert_memory_equal(binding.tls_unique, finished, TLS_UNIQUE_OCTETS);
        free_peers(&client, &server);
    }
}

/* A ClientHello of more than one datagram, whose cookie is in the first of them. */
static void reassembles_a_fragmented_client_hello(void **state)
{
    (void)state;
    char name[201];
    memset(name, 'x', 200);
    name[60] = name[120] = name[180] = '.';
    name[200] = '\0';
    struct test_client_wish wish = a_device();
    wish.mtu = 256;
    wish.server_name = name;
    struct test_client client;
    struct test_server server;
    client_create(&client, &wish);
    server_create(&server, credentials, 1024);
    client_step(&client);
    assert_true(client.sent.count > 1);
    run(&client, &server, NULL);
    assert_established(&client, &server);
    free_peers(&client, &server);
}

/* All fragments of the ClientHello in one datagram, one record behind the other. */
static void takes_several_records_of_one_datagram(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    char name[] =
        "some.name.that.makes.the.client.hello.longer.than.the.mtu.of.the.client.so.that.it.has.to.be.cut."
        "into.parts.of.which.the.first.holds.the.cookie.and.the.second.the.rest";
    struct test_client_wish wish = a_device();
    wish.mtu = 228; /* the least that OpenSSL takes */
    wish.server_name = name;
    client_create(&client, &wish);
    server_create(&server, credentials, 1024);
    client_step(&client);
    while (server.sent.count == 0)
        exchange_one(&client, &server, &(struct test_network){.seed = 1});
    queue_clear(&client.sent);
    exchange_one(&client, &server, &(struct test_network){.seed = 1});
    assert_true(client.sent.count > 1);

    uint8_t whole[2048];
    size_t len = 0;
    while (client.sent.count > 0) {
        struct test_datagram *part = queue_take(&client.sent, 0);
        memcpy(whole + len, part->octets, part->len);
        len += part->len;
        free(part);
    }
    server_receive(&server, (struct bytes){whole, len});
    assert_true(server.sent.count > 0);
    run(&client, &server, NULL);
    assert_established(&client, &server);
    free_peers(&client, &server);
}

/* OpenSSL stops for a record that it drops, such as a ChangeCipherSpec out of order. What stands behind it
 * counts. */
static void a_dropped_record_hides_no_other(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    struct test_network perfect = {.seed = 1};
    start_handshake(&client, &server, 1024);
    free(send_hello(&client, &server));
    while (server.sent.count > 0)
        exchange_one(&client, &server, &perfect);
    while (client.sent.count > 0) {
        uint8_t octets[2048] = {20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, (uint8_t)(20 + client.sent.count),
                                0,  1,    1};
        struct test_datagram *datagram = queue_take(&client.sent, 0);
        memcpy(octets + 14, datagram->octets, datagram->len);
        server_receive(&server, (struct bytes){octets, 14 + datagram->len});
        free(datagram);
    }
    assert_int_equal(server_state(&server), DTLS_ESTABLISHED);
    free_peers(&client, &server);
}

/* DTLS-7: 2^9 and 2^10 octets of plaintext a record, in the handshake as well, and no datagram is longer than
 * such a record: the client may have no other buffer. */
static void honours_max_fragment_length(void **state)
{
    (void)state;
    for (uint8_t code = 1; code <= 2; code++) {
        size_t limit = (size_t)256 << code;
        struct test_client client;
        struct test_server server;
        struct test_client_wish wish = a_device();
        wish.max_fragment_length = code;
        client_create(&client, &wish);
        server_create(&server, credentials, 1200);
        run(&client, &server, NULL);
        assert_established(&client, &server);
        assert_int_equal(dtls_association_record_limit(server.association), limit);
        assert_true(server.largest_fragment <= limit);
        assert_true(server.largest_datagram <= DTLS_RECORD_HEADER + limit + CCM_8_OVERHEAD);

        uint8_t record[1025] = {0};
        assert_int_equal(dtls_association_send(server.association, (struct bytes){record, limit}), STATUS_OK);
        assert_int_equal(dtls_association_send(server.association, (struct bytes){record, limit + 1}),
                         STATUS_TOO_LARGE);
        run(&client, &server, NULL);
        assert_int_equal(client.received.len, limit);
        assert_true(server.largest_fragment <= limit + CCM_8_OVERHEAD);
        assert_echoes(&client, &server, "still there");
        free_peers(&client, &server);
    }
}

static void without_max_fragment_length_the_limit_is_the_protocols(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    struct test_client_wish wish = a_device();
    connect_peers(&client, &wish, &server, credentials);
    assert_int_equal(dtls_association_record_limit(server.association), 16384);
    assert_int_equal(dtls_association_send(server.association, (struct bytes){NULL, 0}), STATUS_TOO_LARGE);
    free_peers(&client, &server);
}

/* The same octets but for the numbers of the records, which dtls_peers.h checks to be new ones. */
static void assert_same_flight(const struct test_queue *repeated, const struct test_queue *flight)
{
    assert_int_equal(repeated->count, flight->count);
    for (size_t i = 0; i < flight->count; i++) {
        struct bytes a = queue_view(repeated, i), b = queue_view(flight, i);
        struct dtls_record record, other;
        while (dtls_record_take(&a, &record)) {
            assert_true(dtls_record_take(&b, &other));
            assert_int_equal(record.type, other.type);
            assert_int_equal(record.version, other.version);
            assert_int_equal(record.epoch, 0);
            assert_int_equal(other.epoch, 0);
            assert_true(record.sequence > other.sequence);
            assert_true(bytes_equal(record.fragment, other.fragment));
        }
        assert_int_equal(a.len + b.len, 0);
    }
}

/* RFC 6347 section 4.2.4, TX-3: at 1, 3, 7, 15, 31 and 63 s, the same fragments in the same datagrams, and
 * then no more. */
static void repeats_its_flight_in_the_same_fragments(void **state)
{
    (void)state;
    static const uint64_t seconds[] = {1, 3, 7, 15, 31, 63};
    struct test_client client;
    struct test_server server;
    start_handshake(&client, &server, 256);
    uint64_t began = clock_ms;
    free(send_hello(&client, &server));
    struct test_queue flight = server.sent;
    server.sent.count = 0;
    assert_true(flight.count >= 4);

    for (size_t i = 0; i < sizeof seconds / sizeof seconds[0]; i++) {
        assert_int_equal(dtls_association_deadline(server.association), began + seconds[i] * 1000);
        clock_ms = began + seconds[i] * 1000 - 1;
        dtls_association_tick(server.association, clock_ms);
        assert_int_equal(server.sent.count, 0);
        dtls_association_tick(server.association, ++clock_ms);
        assert_same_flight(&server.sent, &flight);
        queue_clear(&server.sent);
        assert_int_equal(metrics_get(server.metrics, COUNTER_FLIGHTS_RETRANSMITTED), i + 1);
    }
    assert_int_equal(dtls_association_deadline(server.association), began + (63 + 60) * 1000);
    clock_ms = began + (63 + 60) * 1000;
    dtls_association_tick(server.association, clock_ms);
    assert_int_equal(server.sent.count, 0);
    assert_int_equal(server_state(&server), DTLS_CLOSED);
    struct buffer reason;
    buffer_init(&reason, 100);
    assert_true(dtls_association_failed(server.association, &reason));
    assert_string_equal(buffer_string(&reason), "timed out");
    buffer_free(&reason);
    queue_clear(&flight);
    free_peers(&client, &server);
}

/* A client may see a record and have no use for it yet, as Mbed TLS has none for messages far ahead: the same
 * number again would be a replay to it. */
static void a_repeated_record_has_a_number_of_its_own(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    start_handshake(&client, &server, 256);
    struct test_datagram *hello = send_hello(&client, &server);
    struct bytes first = queue_view(&server.sent, 0), octets = {hello->octets, hello->len};
    struct dtls_record record, hello_record;
    assert_true(dtls_record_take(&first, &record));
    assert_true(dtls_record_take(&octets, &hello_record));
    assert_int_equal(record.sequence, hello_record.sequence); /* RFC 6347 section 4.2.1 */
    uint64_t next = server.next_sequence;
    queue_clear(&server.sent);
    clock_ms += 1000;
    dtls_association_tick(server.association, clock_ms);
    first = queue_view(&server.sent, 0);
    assert_true(dtls_record_take(&first, &record));
    assert_int_equal(record.sequence, next);
    free(hello);
    run(&client, &server, NULL);
    assert_established(&client, &server); /* the ChangeCipherSpec is of epoch 0 as well, and no replay */
    free_peers(&client, &server);
}

static void first_timeout_is_configured(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    start_handshake(&client, &server, 1024);
    server.context.retransmit_timeout_ms = 9000; /* RFC 7925 section 11 */
    free(send_hello(&client, &server));
    assert_int_equal(dtls_association_deadline(server.association), clock_ms + 9000);
    free_peers(&client, &server);
}

/* However long it takes: OpenSSL's own timer never cuts in with other fragments. */
static void openssl_repeats_nothing_by_itself(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    start_handshake(&client, &server, 256);
    free(send_hello(&client, &server));
    queue_clear(&server.sent);
    clock_ms += 1000000;
    const uint8_t nothing_new[] = {22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 99, 0, 12,
                                   11, 0,    0,    0, 0, 1, 0, 0, 0, 0, 0,  0};
    server_receive(&server, (struct bytes){nothing_new, sizeof nothing_new});
    assert_int_equal(server_state(&server), DTLS_HANDSHAKING);
    assert_int_equal(server.sent.count, 0);
    free_peers(&client, &server);
}

/* RFC 6347 section 4.2.4: the client repeats its flight, so ours was lost. Bounded, for whoever recorded it
 * may repeat it as well. */
static void repeated_hello_is_answered_by_the_same_flight(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    start_handshake(&client, &server, 1024);
    struct test_datagram *hello = send_hello(&client, &server);
    struct bytes again = {hello->octets, hello->len};
    struct test_queue flight = server.sent;
    server.sent.count = 0;
    uint64_t deadline = dtls_association_deadline(server.association);

    clock_ms += 249;
    server_receive(&server, again);
    assert_int_equal(server.sent.count, 0);
    clock_ms += 1;
    server_receive(&server, again);
    assert_same_flight(&server.sent, &flight);
    assert_int_equal(dtls_association_deadline(server.association), deadline);

    size_t times = 2;
    for (unsigned i = 0; i < 100; i++) {
        queue_clear(&server.sent);
        clock_ms += 300;
        server_receive(&server, again);
        times += server.sent.count > 0;
    }
    assert_int_equal(times, 1 + 7);
    assert_int_equal(dtls_association_deadline(server.association), deadline);
    free(hello);
    queue_clear(&flight);
    free_peers(&client, &server);
}

/* The client's last flight comes again because ours was lost: OpenSSL answers with its one datagram. */
static void lost_last_flight_is_repeated(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    struct test_network perfect = {.seed = 1};
    start_handshake(&client, &server, 1024);
    while (server.established == 0)
        exchange_one(&client, &server, &perfect);
    queue_clear(&server.sent);
    assert_false(client.finished);
    run(&client, &server, NULL);
    assert_established(&client, &server);
    assert_echoes(&client, &server, "hello");
    free_peers(&client, &server);
}

/* Seeded, so that a failure repeats itself; at 30 % with the least MTU the first flight alone is five
 * datagrams. */
static void gets_through_a_lossy_network(void **state)
{
    (void)state;
    static const unsigned losses[] = {0, 10, 20, 30};
    static const uint32_t limits[] = {256, 1200};
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++)
        for (size_t j = 0; j < sizeof limits / sizeof limits[0]; j++)
            for (uint64_t seed = 1; seed <= 12; seed++) {
                struct test_network network = {
                    .loss = losses[i], .duplication = 20, .reordering = 30, .seed = seed * 7919};
                struct test_client client;
                struct test_server server;
                struct test_client_wish wish = a_device();
                wish.mtu = (long)limits[j];
                client_create(&client, &wish);
                server_create(&server, credentials, limits[j]);
                run(&client, &server, &network);
                assert_established(&client, &server);
                assert_true(server.largest_datagram <= limits[j]);
                assert_echoes(&client, &server, "through");
                free_peers(&client, &server);
            }
}

/* SES-1: one record is one message, and one association carries many. */
static void carries_many_records(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    struct test_client_wish wish = a_device();
    connect_peers(&client, &wish, &server, credentials);
    for (size_t i = 1; i <= 100; i++) {
        assert_echoes(&client, &server, "one request");
        assert_int_equal(server.records, i);
        assert_int_equal(client.records, i);
    }
    free_peers(&client, &server);
}

static void answers_close_notify(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    struct test_client_wish wish = a_device();
    struct buffer reason;
    buffer_init(&reason, 100);
    connect_peers(&client, &wish, &server, credentials);
    assert_int_equal(SSL_shutdown(client.ssl), 0);
    run(&client, &server, NULL);
    assert_int_equal(server_state(&server), DTLS_CLOSED);
    assert_false(dtls_association_failed(server.association, &reason));
    assert_int_equal(SSL_get_shutdown(client.ssl), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    assert_int_equal(dtls_association_send(server.association, BYTES_LITERAL("x")), STATUS_CLOSED);
    buffer_free(&reason);
    free_peers(&client, &server);
}

static void sends_close_notify(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    struct test_client_wish wish = a_device();
    connect_peers(&client, &wish, &server, credentials);
    dtls_association_close(server.association);
    assert_int_equal(server_state(&server), DTLS_CLOSED);
    assert_int_equal(server.sent.count, 1);
    run(&client, &server, NULL);
    assert_int_equal(SSL_get_shutdown(client.ssl), SSL_RECEIVED_SHUTDOWN);
    dtls_association_close(server.association);
    assert_int_equal(server.sent.count, 0);
    free_peers(&client, &server);
}

static void closes_a_handshake_in_silence(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    start_handshake(&client, &server, 1024);
    free(send_hello(&client, &server));
    queue_clear(&server.sent);
    dtls_association_close(server.association);
    assert_int_equal(server_state(&server), DTLS_CLOSED);
    assert_int_equal(server.sent.count, 0);
    assert_int_equal(dtls_association_deadline(server.association), MONOTONIC_NEVER);
    free_peers(&client, &server);
}

/* DTLS-5: a ClientHello within the association begins no new handshake, and ends nothing. */
static void does_not_renegotiate(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    struct test_client_wish wish = a_device();
    connect_peers(&client, &wish, &server, credentials);
    size_t before = server.datagrams;
    client_send(&client, "behind it");
    struct test_datagram *record = queue_take(&client.sent, 0);
    assert_int_equal(SSL_renegotiate(client.ssl), 1);
    assert_int_equal(SSL_do_handshake(client.ssl), -1);
    assert_int_equal(client.sent.count, 1);
    struct test_datagram *both = queue_take(&client.sent, 0);
    memcpy(both->octets + both->len, record->octets, record->len);
    server_receive(&server, (struct bytes){both->octets, both->len + record->len});
    free(record);
    free(both);
    assert_int_equal(server.records, 1);
    assert_int_equal(server_state(&server), DTLS_ESTABLISHED);
    assert_int_equal(server.established, 1);
    assert_int_equal(server.datagrams, before + 1);
    assert_int_equal(queue_view(&server.sent, server.sent.count - 1).at[0],
                     DTLS_ALERT); /* no_renegotiation */
    assert_int_equal(dtls_association_send(server.association, BYTES_LITERAL("still there")), STATUS_OK);
    free_peers(&client, &server);
}

/* SEC-4 and RFC 6347 section 4.1.2.7: what is not authentic is dropped, in whatever form it comes. */
static void forged_records_break_nothing(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    struct test_client_wish wish = a_device();
    connect_peers(&client, &wish, &server, credentials);
    size_t before = server.datagrams;
    for (uint8_t type = 0; type < 30; type++)
        for (uint8_t epoch = 0; epoch < 4; epoch++)
            for (uint8_t len = 0; len < 60; len += 2) {
                uint8_t forged[13 + 60] = {type, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, type, len, 0, len, 2, 40};
                server_receive(&server, (struct bytes){forged, 13u + len});
            }
    assert_int_equal(server_state(&server), DTLS_ESTABLISHED);
    assert_int_equal(server.datagrams, before);
    assert_int_equal(server.records, 0);
    assert_echoes(&client, &server, "still there");
    free_peers(&client, &server);
}

/* Application data before there can be any: OpenSSL would take it for the end. */
static void early_application_data_is_dropped(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    start_handshake(&client, &server, 1024);
    free(send_hello(&client, &server));
    for (uint8_t epoch = 0; epoch < 3; epoch++) {
        const uint8_t forged[] = {23, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 77, 0, 4, 1, 2, 3, 4};
        server_receive(&server, (struct bytes){forged, sizeof forged});
    }
    run(&client, &server, NULL);
    assert_established(&client, &server);
    free_peers(&client, &server);
}

static void replayed_records_are_dropped(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    struct test_client_wish wish = a_device();
    connect_peers(&client, &wish, &server, credentials);
    client_send(&client, "once");
    struct bytes datagram = queue_view(&client.sent, 0);
    for (unsigned i = 0; i < 5; i++)
        server_receive(&server, datagram);
    assert_int_equal(server.records, 1);
    uint8_t changed[2048];
    memcpy(changed, datagram.at, datagram.len);
    changed[datagram.len - 1] ^= 1;
    server_receive(&server, (struct bytes){changed, datagram.len});
    assert_int_equal(server.records, 1);
    assert_int_equal(server_state(&server), DTLS_ESTABLISHED);
    free_peers(&client, &server);
}

#define GCM_KEY   16
#define GCM_SALT  4
#define GCM_NONCE 8
#define GCM_TAG   16

/* What the client's keys are made of (RFC 5246 section 6.3): its key, the server's, its salt, the server's.
 */
static void derive_keys(SSL *ssl, uint8_t keys[static 2 * (GCM_KEY + GCM_SALT)])
{
    uint8_t master[SSL_MAX_MASTER_KEY_LENGTH], seed[13 + 2 * SSL3_RANDOM_SIZE] = "key expansion";
    char digest[] = "SHA256";
    size_t len = SSL_SESSION_get_master_key(SSL_get_session(ssl), master, sizeof master);
    SSL_get_server_random(ssl, seed + 13, SSL3_RANDOM_SIZE);
    SSL_get_client_random(ssl, seed + 13 + SSL3_RANDOM_SIZE, SSL3_RANDOM_SIZE);
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, master, len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, seed, sizeof seed),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS1-PRF", NULL);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    assert_int_equal(EVP_KDF_derive(context, keys, 2 * (GCM_KEY + GCM_SALT), parameters), 1);
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
}

/* A record of application data without any, which OpenSSL's client never sends: authentic, in epoch 1. */
static struct bytes seal_nothing(SSL *ssl, uint8_t sequence,
                                 uint8_t record[static DTLS_RECORD_HEADER + GCM_NONCE + GCM_TAG])
{
    uint8_t keys[2 * (GCM_KEY + GCM_SALT)], iv[GCM_SALT + GCM_NONCE], none[1];
    const uint8_t number[GCM_NONCE] = {[1] = 1, [7] = sequence};
    const uint8_t head[] = {DTLS_APPLICATION_DATA, 0xfe, 0xfd},
                  associated[] = {0, 1, 0, 0, 0, 0, 0, sequence, DTLS_APPLICATION_DATA, 0xfe, 0xfd, 0, 0};
    int len;
    derive_keys(ssl, keys);
    memcpy(iv, keys + 2 * GCM_KEY, GCM_SALT);
    memcpy(iv + GCM_SALT, number, GCM_NONCE);
    memcpy(record, head, sizeof head);
    memcpy(record + 3, number, GCM_NONCE);
    record[11] = 0;
    record[12] = GCM_NONCE + GCM_TAG;
    memcpy(record + DTLS_RECORD_HEADER, number, GCM_NONCE);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    assert_int_equal(EVP_EncryptInit_ex2(context, EVP_aes_128_gcm(), keys, iv, NULL), 1);
    assert_int_equal(EVP_EncryptUpdate(context, NULL, &len, associated, sizeof associated), 1);
    assert_int_equal(EVP_EncryptFinal_ex(context, none, &len), 1);
    assert_int_equal(
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, GCM_TAG, record + DTLS_RECORD_HEADER + GCM_NONCE),
        1);
    EVP_CIPHER_CTX_free(context);
    return (struct bytes){record, DTLS_RECORD_HEADER + GCM_NONCE + GCM_TAG};
}

/* RFC 5246 section 6.2.1: it means nothing, and neither ends the association nor hides what stands behind it.
 */
static void empty_records_mean_nothing(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    struct test_client_wish wish = a_device();
    wish.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256";
    connect_peers(&client, &wish, &server, credentials);
    uint8_t octets[512];
    struct bytes empty = seal_nothing(client.ssl, 10, octets);
    server_receive(&server, empty);
    assert_int_equal(server_state(&server), DTLS_ESTABLISHED);
    assert_int_equal(server.records, 0);
    server_receive(&server, empty); /* a replay */
    assert_int_equal(server_state(&server), DTLS_ESTABLISHED);
    assert_echoes(&client, &server, "hello");

    client_send(&client, "behind it");
    empty = seal_nothing(client.ssl, 11, octets);
    struct bytes behind = queue_view(&client.sent, 0);
    memcpy(octets + empty.len, behind.at, behind.len);
    size_t before = server.records;
    server_receive(&server, (struct bytes){octets, empty.len + behind.len});
    assert_int_equal(server.records, before + 1);
    assert_int_equal(server_state(&server), DTLS_ESTABLISHED);
    free_peers(&client, &server);
}

/* 2048 octets are what a socket hands out; a longer datagram would be cut into two records. */
static void overlong_datagram_is_dropped(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    struct test_client_wish wish = a_device();
    connect_peers(&client, &wish, &server, credentials);
    for (size_t len = 2048; len <= 2049; len++) {
        uint8_t padded[2049] = {0};
        client_send(&client, "with padding behind");
        struct test_datagram *datagram = queue_take(&client.sent, 0);
        memcpy(padded, datagram->octets, datagram->len);
        server_receive(&server, (struct bytes){padded, len});
        assert_int_equal(server.records, 1);
        free(datagram);
    }
    free_peers(&client, &server);
}

/* A record of the handshake, epoch 0 or 1, with one fragment of one octet. */
static struct bytes handshake_record(uint8_t out[26], uint8_t epoch, uint8_t sequence, uint8_t message_seq,
                                     uint32_t length)
{
    const uint8_t octets[] = {22,
                              0xfe,
                              0xfd,
                              0,
                              epoch,
                              0,
                              0,
                              0,
                              0,
                              1,
                              sequence,
                              0,
                              13,
                              11,
                              (uint8_t)(length >> 16),
                              (uint8_t)(length >> 8),
                              (uint8_t)length,
                              0,
                              message_seq,
                              0,
                              0,
                              0,
                              0,
                              0,
                              1,
                              0x55};
    memcpy(out, octets, sizeof octets);
    return (struct bytes){out, sizeof octets};
}

#define EARLY_OCTETS (DTLS_RECORD_HEADER + 40)

/* Of epoch 1, and as long as a Finished. */
static struct bytes early_record(uint8_t out[static EARLY_OCTETS], uint8_t sequence)
{
    const uint8_t octets[EARLY_OCTETS] = {22, 0xfe, 0xfd, 0, 1, [10] = sequence, [12] = 40};
    memcpy(out, octets, sizeof octets);
    return (struct bytes){out, sizeof octets};
}

/* What a stranger with an address of its own can make us set aside: OpenSSL alone would take 1 MB for
 * announced messages, and older releases 1.7 MB for records of epoch 1. */
static void half_open_handshake_holds_little(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    uint8_t octets[26];
    start_handshake(&client, &server, 1024);
    free(send_hello(&client, &server));
    queue_clear(&server.sent);
    size_t before = mallinfo2().uordblks;
    for (uint8_t message_seq = 3; message_seq < 13; message_seq++) {
        const uint8_t sequence = (uint8_t)(10 * message_seq);
        server_receive(&server, handshake_record(octets, 0, sequence, message_seq, 100000));
        server_receive(&server, handshake_record(octets, 0, sequence + 1, message_seq, 8193));
        server_receive(&server, handshake_record(octets, 0, sequence + 2, message_seq, 8192));
    }
    size_t grown = mallinfo2().uordblks - before;
    print_message("half-open handshake grew by %zu octets\n", grown);
    assert_true(grown < 60000);

    uint8_t early[EARLY_OCTETS];
    for (uint8_t i = 0; i < DTLS_EARLY_RECORDS_MAX; i++)
        server_receive(&server, early_record(early, i));
    before = mallinfo2().uordblks;
    for (uint8_t i = 0; i < 200; i++)
        server_receive(&server, early_record(early, DTLS_EARLY_RECORDS_MAX + i));
    assert_int_equal(mallinfo2().uordblks, before);
    assert_int_equal(server_state(&server), DTLS_HANDSHAKING);
    free_peers(&client, &server);
}

/* Some stacks send each record by itself. That the Finished overtakes the ChangeCipherSpec costs no timeout.
 */
static void finished_may_come_early(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    struct test_network perfect = {.seed = 1};
    struct test_client_wish wish = a_device();
    wish.mtu = 256;
    wish.ciphers = "ECDHE-ECDSA-AES128-CCM8"; /* a short ClientHello */
    client_create(&client, &wish);
    server_create(&server, credentials, 1024);
    client_step(&client);
    while (server.association == NULL || server.sent.count > 0)
        exchange_one(&client, &server, &perfect);
    while (client.sent.count > 1)
        exchange_one(&client, &server, &perfect);

    struct bytes last = queue_view(&client.sent, 0);
    struct dtls_record record, change_cipher_spec = {.type = 0};
    while (dtls_record_take(&last, &record))
        if (record.type == DTLS_CHANGE_CIPHER_SPEC)
            change_cipher_spec = record;
        else
            server_receive(&server, record.whole);
    assert_int_equal(record.epoch, 1);
    assert_int_equal(server_state(&server), DTLS_HANDSHAKING);
    server_receive(&server, change_cipher_spec.whole);
    queue_clear(&client.sent);
    assert_int_equal(server_state(&server), DTLS_ESTABLISHED);
    assert_int_equal(metrics_get(server.metrics, COUNTER_FLIGHTS_RETRANSMITTED), 0);
    run(&client, &server, NULL);
    assert_established(&client, &server);
    free_peers(&client, &server);
}

/* RFC 6347 section 4.1.2.7: content types that have no place in a handshake are dropped; anybody may send
 * them. */
static void strange_records_do_not_stop_the_handshake(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    start_handshake(&client, &server, 1024);
    free(send_hello(&client, &server));
    for (unsigned type = 0; type < 256; type++)
        for (uint8_t epoch = 0; epoch < 3; epoch++) {
            uint8_t strange[13 + 20] = {(uint8_t)type, 0xfe,  0xfd, 0, epoch, 0, 0, 0, 1,
                                        (uint8_t)type, epoch, 0,    20};
            if (type < DTLS_CHANGE_CIPHER_SPEC || type > DTLS_HANDSHAKE)
                server_receive(&server, (struct bytes){strange, sizeof strange});
        }
    assert_int_equal(server_state(&server), DTLS_HANDSHAKING);
    run(&client, &server, NULL);
    assert_established(&client, &server);
    free_peers(&client, &server);
}

/* Junk of epoch 1 uses up what is kept of early records, but never what comes in order. */
static void early_junk_does_not_stop_the_handshake(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    start_handshake(&client, &server, 1024);
    free(send_hello(&client, &server));
    uint8_t octets[26];
    for (unsigned i = 0; i < 200; i++)
        server_receive(&server, handshake_record(octets, 1, (uint8_t)i, 0, 1));
    uint8_t early[EARLY_OCTETS];
    for (unsigned i = 0; i < 200; i++)
        server_receive(&server, early_record(early, (uint8_t)(1 + i)));
    run(&client, &server, NULL);
    assert_established(&client, &server);
    assert_echoes(&client, &server, "hello");
    free_peers(&client, &server);
}

/* 40 kB resident for an idle association with everything is the number to reach, and this is the lion's
 * share; of what is allocated here OpenSSL never touches 5 kB. It would be 80 kB with OpenSSL's buffers and
 * the client's chain. OpenSSL 3.2 and later keep 52 kB more: buffers of epoch 0, and of the next one. */
static void idle_association_is_small(void **state)
{
    (void)state;
    enum { COUNT = 20 };
    static struct test_server servers[COUNT];
    size_t before = mallinfo2().uordblks;
    for (size_t i = 0; i < COUNT; i++) {
        struct test_client client;
        struct test_client_wish wish = a_device();
        wish.ciphers = "ECDHE-ECDSA-AES128-CCM8";
        wish.groups = "P-256";
        connect_peers(&client, &wish, &servers[i], credentials);
        assert_established(&client, &servers[i]);
        assert_echoes(&client, &servers[i], "hello");
        if (i % 2 == 0) /* some have said something of their own accord */
            assert_int_equal(dtls_association_send(servers[i].association, BYTES_LITERAL("later")),
                             STATUS_OK);
        queue_clear(&servers[i].sent);
        client_free(&client);
    }
    size_t each = (mallinfo2().uordblks - before) / COUNT;
    print_message("idle association: %zu octets\n", each);
    assert_true(each < (OpenSSL_version_num() < 0x30200000UL ? 42000 : 96000));
    for (size_t i = 0; i < COUNT; i++)
        server_free(&servers[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handshake_stays_within_its_mtu),
        cmocka_unit_test(reassembles_what_the_client_fragments),
        cmocka_unit_test(binding_is_the_clients_finished),
        cmocka_unit_test(reassembles_a_fragmented_client_hello),
        cmocka_unit_test(takes_several_records_of_one_datagram),
        cmocka_unit_test(a_dropped_record_hides_no_other),
        cmocka_unit_test(honours_max_fragment_length),
        cmocka_unit_test(without_max_fragment_length_the_limit_is_the_protocols),
        cmocka_unit_test(repeats_its_flight_in_the_same_fragments),
        cmocka_unit_test(a_repeated_record_has_a_number_of_its_own),
        cmocka_unit_test(first_timeout_is_configured),
        cmocka_unit_test(openssl_repeats_nothing_by_itself),
        cmocka_unit_test(repeated_hello_is_answered_by_the_same_flight),
        cmocka_unit_test(lost_last_flight_is_repeated),
        cmocka_unit_test(gets_through_a_lossy_network),
        cmocka_unit_test(carries_many_records),
        cmocka_unit_test(answers_close_notify),
        cmocka_unit_test(sends_close_notify),
        cmocka_unit_test(closes_a_handshake_in_silence),
        cmocka_unit_test(does_not_renegotiate),
        cmocka_unit_test(forged_records_break_nothing),
        cmocka_unit_test(early_application_data_is_dropped),
        cmocka_unit_test(replayed_records_are_dropped),
        cmocka_unit_test(empty_records_mean_nothing),
        cmocka_unit_test(overlong_datagram_is_dropped),
        cmocka_unit_test(half_open_handshake_holds_little),
        cmocka_unit_test(finished_may_come_early),
        cmocka_unit_test(early_junk_does_not_stop_the_handshake),
        cmocka_unit_test(strange_records_do_not_stop_the_handshake),
        cmocka_unit_test(idle_association_is_small),
    };
    return cmocka_run_group_tests(tests, create_world, destroy_world);
}
