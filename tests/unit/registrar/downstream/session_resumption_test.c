/* Rows SES-3 and POP-2. Two workers are two sets of credentials with one secret. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "dtls_peers.h"

#include "registrar/downstream/dtls_flight.h"
#include "registrar/downstream/session_tickets.h"
#include "registrar/protocol/client_identity.h"
#include "tests/unit/registrar/test_crl.h"
#include "tests/unit/registrar/wall_clock.h"

static struct test_world world;
static struct dtls_credentials *credentials[2];
static struct session_ticket_secret secret;

static int create(void **state)
{
    (void)state;
    world_create(&world);
    struct dtls_settings settings = world_settings(&world);
    for (size_t i = 0; i < 2; i++)
        credentials[i] = load_credentials(&settings);
    return session_ticket_secret_make(&secret) == STATUS_OK ? 0 : -1;
}

static int destroy(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++)
        dtls_credentials_release(credentials[i]);
    world_free(&world);
    return 0;
}

struct pair {
    struct test_client client;
    struct test_server server;
};

static void open_pair(struct pair *pair, const struct test_client_wish *wish, struct dtls_credentials *by,
                      const struct session_ticket_secret *tickets)
{
    client_create(&pair->client, wish);
    server_create(&pair->server, by, 1024);
    pair->server.context.tickets = tickets;
}

static void connect_pair(struct pair *pair, const struct test_client_wish *wish, struct dtls_credentials *by,
                         const struct session_ticket_secret *tickets)
{
    open_pair(pair, wish, by, tickets);
    run(&pair->client, &pair->server, NULL);
}

static void free_pair(struct pair *pair)
{
    free_peers(&pair->client, &pair->server);
}

static struct test_client_wish a_device(SSL_SESSION *session)
{
    return (struct test_client_wish){
        .certificate = &world.device, .intermediate = &world.manufacturer_sub, .session = session};
}

static void assert_works(struct pair *pair, bool resumed)
{
    assert_true(pair->client.finished);
    assert_int_equal(server_state(&pair->server), DTLS_ESTABLISHED);
    assert_int_equal(SSL_session_reused(pair->client.ssl), resumed);
    assert_int_equal(dtls_association_is_resumed(pair->server.association), resumed);
    pair->server.echo = true;
    client_send(&pair->client, "hello");
    run(&pair->client, &pair->server, NULL);
    assert_int_equal(pair->client.received.len, 5);
}

/* A full handshake. Gives the session, whose ticket is there if expected. */
static SSL_SESSION *obtain(const struct test_client_wish *wish, const struct session_ticket_secret *tickets,
                           bool ticket_expected)
{
    struct pair pair;
    connect_pair(&pair, wish, credentials[0], tickets);
    assert_works(&pair, false);
    SSL_SESSION *session = SSL_get1_session(pair.client.ssl);
    assert_int_equal(SSL_SESSION_has_ticket(session), ticket_expected);
    free_pair(&pair);
    return session;
}

static void assert_outcome(SSL_SESSION *session, struct dtls_credentials *by,
                           const struct session_ticket_secret *tickets, bool resumed)
{
    struct test_client_wish wish = a_device(session);
    struct pair pair;
    connect_pair(&pair, &wish, by, tickets);
    assert_works(&pair, resumed);
    assert_true(resumed || tickets == NULL || SSL_SESSION_has_ticket(SSL_get_session(pair.client.ssl)));
    free_pair(&pair);
}

/* SES-3: another worker knows who the client is without having seen its certificate. */
static void another_worker_resumes(void **state)
{
    (void)state;
    struct test_client_wish wish = a_device(NULL);
    struct pair full, resumed;
    connect_pair(&full, &wish, credentials[0], &secret);
    assert_works(&full, false);
    wish.session = SSL_get1_session(full.client.ssl);
    assert_int_equal(SSL_SESSION_get_ticket_lifetime_hint(wish.session), SESSION_LIFETIME_S);
    connect_pair(&resumed, &wish, credentials[1], &secret);
    assert_works(&resumed, true);
    struct client_identity *before = dtls_association_client(full.server.association),
                           *after = dtls_association_client(resumed.server.association);
    assert_true(bytes_equal(client_identity_fingerprint(before), client_identity_fingerprint(after)));
    assert_string_equal(client_identity_name(before), client_identity_name(after));
    assert_int_equal(client_identity_trust(after), TRUST_MANUFACTURER);
    struct buffer chains[2];
    for (size_t i = 0; i < 2; i++) {
        buffer_init(&chains[i], CLIENT_CHAIN_OCTETS_MAX);
        client_chain_encode(client_identity_chain(i == 0 ? before : after), &chains[i]);
    }
    assert_true(bytes_equal(buffer_view(&chains[0]), buffer_view(&chains[1])));
    buffer_free(&chains[0]);
    buffer_free(&chains[1]);
    assert_true(resumed.server.datagrams < full.server.datagrams);
    SSL_SESSION_free(wish.session);
    free_pair(&full);
    free_pair(&resumed);
}

/* POP-2: after resumption it is the server's Finished, and not the client's. */
static void the_binding_is_the_servers_finished(void **state)
{
    (void)state;
    struct test_client_wish wish = a_device(NULL);
    wish.session = obtain(&wish, &secret, true);
    struct pair pair;
    uint8_t servers[64], clients[64];
    connect_pair(&pair, &wish, credentials[0], &secret);
    assert_works(&pair, true);
    struct channel_binding binding = dtls_association_binding(pair.server.association);
    assert_true(binding.is_known);
    assert_true(binding.is_unique);
    assert_int_equal(SSL_get_peer_finished(pair.client.ssl, servers, sizeof servers), TLS_UNIQUE_OCTETS);
    assert_int_equal(SSL_get_finished(pair.client.ssl, clients, sizeof clients), TLS_UNIQUE_OCTETS);
    assert_memory_equal(binding.tls_unique, servers, TLS_UNIQUE_OCTETS);
    assert_memory_not_equal(binding.tls_unique, clients, TLS_UNIQUE_OCTETS);
    SSL_SESSION_free(wish.session);
    free_pair(&pair);
}

/* dtls.session_resumption: false */
static void without_a_secret_nothing_is_resumed(void **state)
{
    (void)state;
    struct test_client_wish wish = a_device(NULL);
    SSL_SESSION_free(obtain(&wish, NULL, false));
    wish.session = obtain(&wish, &secret, true);
    assert_outcome(wish.session, credentials[0], NULL, false);
    SSL_SESSION_free(wish.session);
}

/* Each ticket lives for a session's life under the key of its period or the next one; no longer, and not with
 * another registrar. */
static void keys_are_rotated(void **state)
{
    (void)state;
    struct test_client_wish wish = a_device(NULL);
    struct session_ticket_secret other;
    assert_int_equal(session_ticket_secret_make(&other), STATUS_OK);
    SSL_SESSION *session = obtain(&wish, &secret, true);
    assert_outcome(session, credentials[1], &other, false);
    clock_ms += SESSION_TICKET_PERIOD_MS;
    assert_outcome(session, credentials[1], &secret, true);
    clock_ms += SESSION_TICKET_PERIOD_MS;
    assert_outcome(session, credentials[1], &secret, false);
    SSL_SESSION_free(session);
}

/* Both clocks go on. */
static void pass(long seconds)
{
    wall_clock_s += seconds;
    clock_ms += (uint64_t)seconds * 1000;
}

/* The time of day alone. */
static void set_clock(time_t to_s)
{
    set_forward_s += to_s - wall_clock_s;
    wall_clock_s = to_s;
}

/* Two hours after its full handshake a session has ended, though its ticket's key is still known, and
 * however often it was resumed meanwhile. */
static void a_session_ends_two_hours_after_its_full_handshake(void **state)
{
    (void)state;
    struct test_client_wish wish = a_device(NULL);
    struct pair pair;
    clock_ms = 10 * SESSION_TICKET_PERIOD_MS; /* the beginning of a period */
    wish.session = obtain(&wish, &secret, true);
    pass(SESSION_LIFETIME_S - 60);
    connect_pair(&pair, &wish, credentials[1], &secret);
    assert_works(&pair, true);
    SSL_SESSION_free(wish.session);
    wish.session = SSL_get1_session(pair.client.ssl);
    free_pair(&pair);
    pass(120);
    uint8_t name[SESSION_TICKET_NAME_OCTETS];
    struct session_ticket_key key;
    const unsigned char *ticket;
    size_t len;
    SSL_SESSION_get0_ticket(wish.session, &ticket, &len);
    memcpy(name, ticket, sizeof name);
    assert_true(session_ticket_key_named(&secret, clock_ms, name, &key));
    assert_outcome(wish.session, credentials[1], &secret, false);
    SSL_SESSION_free(wish.session);
}

/* A wall clock that is set, as a router's that begins in 1970: at worst a full handshake, and never a longer
 * life than the two periods of the ticket's key. */
static void a_clock_that_is_set_opens_nothing(void **state)
{
    (void)state;
    struct test_client_wish wish = a_device(NULL);
    SSL_SESSION *session = obtain(&wish, &secret, true);
    const time_t began_s = wall_clock_s;
    set_clock(began_s + 3 * SESSION_LIFETIME_S);
    assert_outcome(session, credentials[1], &secret, false);
    set_clock(began_s - SESSION_LIFETIME_S / 2);
    assert_outcome(session, credentials[1], &secret, true);
    clock_ms += 2 * SESSION_TICKET_PERIOD_MS;
    assert_outcome(session, credentials[1], &secret, false);
    SSL_SESSION_free(session);
}

/* Name, initialisation vector, content, the last octet of the MAC; and one that is cut short. */
static void a_forged_ticket_is_none(void **state)
{
    (void)state;
    struct test_client_wish wish = a_device(NULL);
    SSL_SESSION *session = obtain(&wish, &secret, true);
    const unsigned char *ticket;
    size_t len;
    SSL_SESSION_get0_ticket(session, &ticket, &len);
    const size_t places[] = {0, 15, 16, 31, 32, len / 2, len - 33, len - 32, len - 1};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        unsigned char *octet = NULL;
        const unsigned char *at = ticket + places[i];
        memcpy(&octet, &at, sizeof octet); /* ours to spoil, whatever OpenSSL says */
        *octet ^= 1;
        assert_outcome(session, credentials[0], &secret, false);
        *octet ^= 1;
    }
    assert_outcome(session, credentials[0], &secret, true);
    SSL_SESSION_free(session);
}

/* RFC 7627 sections 5.3 and 5.4: without the extended master secret no ticket is given, and none is taken. */
static void the_extended_master_secret_is_needed(void **state)
{
    (void)state;
    struct test_client_wish wish = a_device(NULL);
    wish.no_extended_master_secret = true;
    SSL_SESSION_free(obtain(&wish, &secret, false));
    wish.no_extended_master_secret = false;
    wish.session = obtain(&wish, &secret, true);
    wish.no_extended_master_secret = true;
    struct pair pair;
    connect_pair(&pair, &wish, credentials[0], &secret);
    assert_works(&pair, false);
    assert_false(dtls_association_binding(pair.server.association).is_unique);
    SSL_SESSION_free(wish.session);
    free_pair(&pair);
}

/* Credentials that trust these; the domain's store stays. */
static struct dtls_credentials *load_trusting(X509 *const *manufacturers, size_t count)
{
    struct dtls_settings settings = world_settings(&world);
    test_write_certificates(world.manufacturer_file, manufacturers, count);
    struct dtls_credentials *loaded = load_credentials(&settings);
    test_write_certificates(world.manufacturer_file, &world.manufacturer_root.certificate, 1);
    return loaded;
}

/* Other trust, another generation: whoever it vouched for shows its certificate again. */
static void a_ticket_does_not_outlive_its_trust(void **state)
{
    (void)state;
    struct test_client_wish wish = a_device(NULL);
    X509 *more[] = {world.manufacturer_root.certificate, world.other_ca.certificate};
    struct dtls_credentials *same = load_trusting(more, 1), *wider = load_trusting(more, 2),
                            *others = load_trusting(more + 1, 1);
    wish.session = obtain(&wish, &secret, true);
    assert_outcome(wish.session, same, &secret, true);
    assert_outcome(wish.session, wider, &secret, true);
    struct pair pair;
    connect_pair(&pair, &wish, others, &secret);
    assert_true(pair.client.failed);
    assert_int_equal(client_alert(&pair.client), SSL_AD_UNKNOWN_CA);
    free_pair(&pair);
    SSL_SESSION_free(wish.session);
    dtls_credentials_release(same);
    dtls_credentials_release(wider);
    dtls_credentials_release(others);
}

/* Re-checked when the session is resumed: the full handshake that follows finds it expired as well. The last
 * second counts as valid (RFC 5280 section 4.1.2.5). */
static void a_ticket_does_not_outlive_its_certificate(void **state)
{
    (void)state;
    struct test_certificate brief = test_certificate(&(struct test_certificate_wish){
        .common_name = "brief", .issuer = &world.manufacturer_sub, .from_s = -10, .to_s = 60});
    struct test_client_wish wish = a_device(NULL);
    wish.certificate = &brief;
    wish.session = obtain(&wish, &secret, true);
    struct pair pair;
    set_clock(wall_clock_s + 60);
    connect_pair(&pair, &wish, credentials[0], &secret);
    assert_works(&pair, true);
    free_pair(&pair);
    set_clock(wall_clock_s + 1);
    connect_pair(&pair, &wish, credentials[0], &secret);
    assert_true(pair.client.failed);
    assert_int_equal(client_alert(&pair.client), SSL_AD_CERTIFICATE_EXPIRED);
    free_pair(&pair);
    SSL_SESSION_free(wish.session);
    test_certificate_free(&brief);
}

/* Counted from the full handshake, even while the key that sealed it is still known. */
static void a_ticket_does_not_outlive_the_sessions_lifetime(void **state)
{
    (void)state;
    struct test_client_wish wish = a_device(NULL);
    wish.session = obtain(&wish, &secret, true);
    set_clock(wall_clock_s + SESSION_LIFETIME_S);
    assert_outcome(wish.session, credentials[1], &secret, true);
    set_clock(wall_clock_s + 1);
    assert_outcome(wish.session, credentials[1], &secret, false);
    SSL_SESSION_free(wish.session);
}

/* Nor its revocation, nor that of the CA above it, which is not in the ticket. */
static void a_ticket_does_not_outlive_revocation(void **state)
{
    (void)state;
    static const long one[] = {1, 0}, two[] = {2, 0};
    const struct test_crl_wish lists[] = {
        {.issuer = &world.manufacturer_root, .serials = two}, /* of others */
        {.issuer = &world.manufacturer_root, .serials = one}, /* the intermediate CA */
    };
    char file[128];
    snprintf(file, sizeof file, "%s/crl.pem", world.folder);
    struct dtls_settings settings = world_settings(&world);
    settings.crls = (struct settings_strings){{file}, 1};
    struct test_client_wish wish = a_device(NULL);
    wish.session = obtain(&wish, &secret, true);
    for (size_t i = 0; i < 2; i++) {
        struct pair pair;
        test_write_crls(file, &lists[i], 1);
        struct revocation_lists *revocations = load_revocation_lists(&settings);
        open_pair(&pair, &wish, credentials[0], &secret);
        pair.server.context.revocations = revocations;
        run(&pair.client, &pair.server, NULL);
        if (i == 0) {
            assert_works(&pair, true);
        } else {
            assert_true(pair.client.failed);
            assert_int_equal(client_alert(&pair.client), SSL_AD_CERTIFICATE_REVOKED);
        }
        free_pair(&pair);
        revocation_lists_release(revocations);
    }
    SSL_SESSION_free(wish.session);
    unlink(file);
}

/* RFC 6347 section 4.2.4: the client is through once it has sent its last flight. Only a Finished with a new
 * number tells it that the flight was lost. */
static void the_clients_lost_flight_is_asked_for(void **state)
{
    (void)state;
    struct test_client_wish wish = a_device(NULL);
    struct test_network perfect = {.seed = 1};
    struct pair pair;
    wish.session = obtain(&wish, &secret, true);
    open_pair(&pair, &wish, credentials[0], &secret);
    client_step(&pair.client);
    while (!pair.client.finished)
        exchange_one(&pair.client, &pair.server, &perfect);
    for (int i = 0; i < 2; i++) { /* and what is repeated is lost as well */
        queue_clear(&pair.client.sent);
        assert_int_equal(server_state(&pair.server), DTLS_HANDSHAKING);
        uint64_t due = dtls_association_deadline(pair.server.association);
        assert_true(due > clock_ms);
        clock_ms = due - 1;
        dtls_association_tick(pair.server.association, clock_ms);
        assert_int_equal(pair.server.sent.count, 0);
        clock_ms = due;
        dtls_association_tick(pair.server.association, clock_ms);
        assert_true(pair.server.sent.count > 0);
        while (pair.server.sent.count > 0)
            exchange_one(&pair.client, &pair.server, &perfect);
        assert_true(pair.client.sent.count > 0);
    }
    run(&pair.client, &pair.server, NULL);
    assert_works(&pair, true);
    SSL_SESSION_free(wish.session);
    free_pair(&pair);
}

/* A client that never comes back is given up after as many attempts as any other. */
static void a_silent_client_is_given_up(void **state)
{
    (void)state;
    struct test_client_wish wish = a_device(NULL);
    struct test_network perfect = {.seed = 1};
    struct pair pair;
    wish.session = obtain(&wish, &secret, true);
    open_pair(&pair, &wish, credentials[0], &secret);
    client_step(&pair.client);
    while (!pair.client.finished)
        exchange_one(&pair.client, &pair.server, &perfect);
    unsigned flights = 1;
    for (uint64_t due; (due = dtls_association_deadline(pair.server.association)) != MONOTONIC_NEVER;) {
        queue_clear(&pair.server.sent);
        clock_ms = due;
        dtls_association_tick(pair.server.association, clock_ms);
        flights += pair.server.sent.count > 0 ? 1 : 0;
    }
    assert_int_equal(server_state(&pair.server), DTLS_CLOSED);
    assert_int_equal(flights, DTLS_FLIGHT_ATTEMPTS_MAX);
    SSL_SESSION_free(wish.session);
    free_pair(&pair);
}

/* The ClientHello with the ticket is larger than a datagram, and the cookie holds for it too. */
static void gets_through_a_lossy_network(void **state)
{
    (void)state;
    static const unsigned losses[] = {0, 15, 30};
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++)
        for (uint64_t seed = 1; seed <= 12; seed++) {
            struct test_network network = {
                .loss = losses[i], .duplication = 20, .reordering = 30, .seed = seed * 7919};
            struct test_client_wish wish = a_device(NULL);
            struct pair pair;
            wish.mtu = 256;
            open_pair(&pair, &wish, credentials[0], &secret); /* with a ticket at the end */
            run(&pair.client, &pair.server, &network);
            assert_works(&pair, false);
            wish.session = SSL_get1_session(pair.client.ssl);
            free_pair(&pair);
            open_pair(&pair, &wish, credentials[1], &secret);
            pair.server.context.handshake_mtu = 256;
            run(&pair.client, &pair.server, &network);
            run(&pair.client, &pair.server, NULL);
            assert_works(&pair, true);
            assert_true(pair.server.largest_datagram <= 256);
            SSL_SESSION_free(wish.session);
            free_pair(&pair);
        }
}

/* RFC 6066 section 4: the limit is the session's. */
static void max_fragment_length_is_resumed_too(void **state)
{
    (void)state;
    struct test_client_wish wish = a_device(NULL);
    wish.max_fragment_length = 1;
    wish.session = obtain(&wish, &secret, true);
    struct pair pair;
    connect_pair(&pair, &wish, credentials[1], &secret);
    assert_works(&pair, true);
    assert_int_equal(dtls_association_record_limit(pair.server.association), 512);
    SSL_SESSION_free(wish.session);
    free_pair(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_worker_resumes),
        cmocka_unit_test(the_binding_is_the_servers_finished),
        cmocka_unit_test(without_a_secret_nothing_is_resumed),
        cmocka_unit_test(keys_are_rotated),
        cmocka_unit_test(a_session_ends_two_hours_after_its_full_handshake),
        cmocka_unit_test(a_clock_that_is_set_opens_nothing),
        cmocka_unit_test(a_forged_ticket_is_none),
        cmocka_unit_test(the_extended_master_secret_is_needed),
        cmocka_unit_test(a_ticket_does_not_outlive_its_trust),
        cmocka_unit_test(a_ticket_does_not_outlive_its_certificate),
        cmocka_unit_test(a_ticket_does_not_outlive_the_sessions_lifetime),
        cmocka_unit_test(a_ticket_does_not_outlive_revocation),
        cmocka_unit_test(the_clients_lost_flight_is_asked_for),
        cmocka_unit_test(a_silent_client_is_given_up),
        cmocka_unit_test(gets_through_a_lossy_network),
        cmocka_unit_test(max_fragment_length_is_resumed_too),
    };
    return cmocka_run_group_tests(tests, create, destroy);
}
