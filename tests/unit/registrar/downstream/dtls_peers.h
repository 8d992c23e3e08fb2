/* A DTLS client on OpenSSL, our association as its server, and a network between them, all in memory and on a
 * clock that only the test moves. Every function fails the test that calls it. */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_DOWNSTREAM_DTLS_PEERS_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_DOWNSTREAM_DTLS_PEERS_H

#include "common/monotonic.h"
#include "registrar/counters.h"
#include "registrar/downstream/dtls_association.h"
#include "registrar/downstream/dtls_cookie.h"
#include "tests/unit/registrar/test_pki.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

static uint64_t clock_ms = 1000;
static time_t set_forward_s; /* by which the time of day was set, and clock_ms was not */

/* OpenSSL's client asks this one for its DTLS timer, and since 3.2 it dates sessions. */
int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    *now = (struct timeval){1700000000 + set_forward_s + (time_t)(clock_ms / 1000),
                            (suseconds_t)(clock_ms % 1000 * 1000)};
    return 0;
}

/* --- what devices and the registrar hold --- */

struct test_world {
    struct test_certificate manufacturer_root, manufacturer_sub, domain_ca, other_ca;
    struct test_certificate registrar, device, domain_device;
    char folder[64];
    char certificate_file[96], key_file[96], manufacturer_file[96], domain_file[96];
};

static inline void world_create(struct test_world *world)
{
    world->manufacturer_root =
        test_certificate(&(struct test_certificate_wish){.common_name = "manufacturer root", .ca = true});
    world->manufacturer_sub = test_certificate(&(struct test_certificate_wish){
        .common_name = "manufacturer sub", .ca = true, .issuer = &world->manufacturer_root});
    world->domain_ca = test_certificate(&(struct test_certificate_wish){.common_name = "EST CA", .ca = true});
    world->other_ca =
        test_certificate(&(struct test_certificate_wish){.common_name = "other CA", .ca = true});
    world->registrar = test_certificate(
        &(struct test_certificate_wish){.common_name = "registrar",
                                        .issuer = &world->domain_ca,
                                        .extended_key_usage = "serverAuth,1.3.6.1.5.5.7.3.28"});
    world->device = test_certificate(
        &(struct test_certificate_wish){.common_name = "device", .issuer = &world->manufacturer_sub});
    world->domain_device = test_certificate(
        &(struct test_certificate_wish){.common_name = "enrolled device", .issuer = &world->domain_ca});

    snprintf(world->folder, sizeof world->folder, "/tmp/estuary-dtls-XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    snprintf(world->certificate_file, sizeof world->certificate_file, "%s/registrar.pem", world->folder);
    snprintf(world->key_file, sizeof world->key_file, "%s/registrar.key", world->folder);
    snprintf(world->manufacturer_file, sizeof world->manufacturer_file, "%s/manufacturer.pem", world->folder);
    snprintf(world->domain_file, sizeof world->domain_file, "%s/domain.pem", world->folder);
    test_write_certificates(world->certificate_file, &world->registrar.certificate, 1);
    test_write_key(world->key_file, world->registrar.key);
    test_write_certificates(world->manufacturer_file, &world->manufacturer_root.certificate, 1);
    test_write_certificates(world->domain_file, &world->domain_ca.certificate, 1);
}

static inline void world_free(struct test_world *world)
{
    struct test_certificate *all[] = {&world->manufacturer_root, &world->manufacturer_sub, &world->domain_ca,
                                      &world->other_ca,          &world->registrar,        &world->device,
                                      &world->domain_device};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        test_certificate_free(all[i]);
    unlink(world->certificate_file);
    unlink(world->key_file);
    unlink(world->manufacturer_file);
    unlink(world->domain_file);
    assert_int_equal(rmdir(world->folder), 0);
}

static inline struct dtls_settings world_settings(struct test_world *world)
{
    struct dtls_settings settings = {.certificate = world->certificate_file,
                                     .private_key = world->key_file,
                                     .handshake_mtu = 1024,
                                     .retransmit_timeout_ms = 1000,
                                     .idle_timeout_s = 300,
                                     .max_associations = 100,
                                     .max_handshakes = 50};
    settings.manufacturer_trust.items[0] = world->manufacturer_file;
    settings.manufacturer_trust.count = 1;
    settings.domain_trust.items[0] = world->domain_file;
    settings.domain_trust.count = 1;
    return settings;
}

static inline struct revocation_lists *load_revocation_lists(const struct dtls_settings *settings)
{
    struct buffer lines;
    buffer_init(&lines, 10000);
    struct revocation_lists *lists = revocation_lists_load(settings, &lines, &lines);
    assert_string_equal(buffer_string(&lines), "");
    assert_non_null(lists);
    buffer_free(&lines);
    return lists;
}

static inline struct dtls_credentials *load_credentials(const struct dtls_settings *settings)
{
    struct buffer errors, warnings;
    buffer_init(&errors, 10000);
    buffer_init(&warnings, 10000);
    struct dtls_credentials *credentials = dtls_credentials_load(settings, &errors, &warnings);
    assert_string_equal(buffer_string(&errors), "");
    assert_string_equal(buffer_string(&warnings), "");
    assert_non_null(credentials);
    buffer_free(&errors);
    buffer_free(&warnings);
    return credentials;
}

/* --- the network --- */

#define QUEUE_MAX 512

struct test_datagram {
    size_t len;
    uint8_t octets[2048];
};

struct test_queue {
    struct test_datagram *items[QUEUE_MAX];
    size_t count;
};

static inline void queue_push(struct test_queue *queue, struct bytes octets)
{
    struct test_datagram *datagram = malloc(sizeof *datagram);
    if (datagram == NULL)
        abort();
    assert_true(octets.len <= sizeof datagram->octets && queue->count < QUEUE_MAX);
    memcpy(datagram->octets, octets.at, octets.len);
    datagram->len = octets.len;
    queue->items[queue->count++] = datagram;
}

/* Gives. */
static inline struct test_datagram *queue_take(struct test_queue *queue, size_t index)
{
    assert_true(index < queue->count);
    struct test_datagram *datagram = queue->items[index];
    queue->count--;
    for (size_t i = index; i < queue->count; i++)
        queue->items[i] = queue->items[i + 1];
    queue->items[queue->count] = NULL;
    return datagram;
}

static inline struct bytes queue_view(const struct test_queue *queue, size_t index)
{
    assert_true(index < queue->count);
    return (struct bytes){queue->items[index]->octets, queue->items[index]->len};
}

static inline void queue_clear(struct test_queue *queue)
{
    while (queue->count > 0)
        free(queue_take(queue, 0));
}

/* --- the client --- */

struct test_client_wish {
    const struct test_certificate *certificate; /* NULL: none */
    const struct test_certificate *intermediate;
    const char *ciphers, *groups, *server_name; /* NULL: OpenSSL's choice */
    long mtu;                                   /* 0: 1200 */
    int version;                                /* 0: DTLS 1.2 */
    uint8_t max_fragment_length;                /* code of RFC 6066; 0: not asked for */
    bool psk, no_extended_master_secret;
    SSL_SESSION *session; /* to resume; NULL: none */
};

struct test_client {
    SSL_CTX *context;
    BIO_METHOD *method;
    SSL *ssl;
    struct bytes input;
    struct test_queue sent;
    bool finished, failed;
    struct buffer received; /* application data */
    size_t records;
};

static inline int client_bio_write(BIO *bio, const char *data, int len)
{
    struct test_client *client = BIO_get_data(bio);
    queue_push(&client->sent, (struct bytes){(const uint8_t *)data, (size_t)len});
    return len;
}

static inline int client_bio_read(BIO *bio, char *data, int size)
{
    struct test_client *client = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (client->input.len == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    assert_true(client->input.len <= (size_t)size);
    int len = (int)client->input.len;
    memcpy(data, client->input.at, client->input.len);
    client->input = (struct bytes){NULL, 0};
    return len;
}

static inline long client_bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    if (command == BIO_CTRL_DGRAM_GET_MTU_OVERHEAD)
        return 28;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT;
}

static inline int client_bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

/* NOLINTNEXTLINE(readability-function-size): OpenSSL's signature */
static inline unsigned client_psk(SSL *ssl, const char *hint, char *identity, unsigned identity_max,
                                  unsigned char *psk, unsigned psk_max)
{
    (void)ssl, (void)hint, (void)psk_max;
    snprintf(identity, identity_max, "device");
    memset(psk, 7, 16);
    return 16;
}

/* A client that trusts everybody: what the server checks is under test. */
static inline SSL_CTX *client_context(const struct test_client_wish *wish)
{
    SSL_CTX *context = SSL_CTX_new(DTLS_client_method());
    int version = wish->version != 0 ? wish->version : DTLS1_2_VERSION;
    SSL_CTX_set_security_level(context, 0);
    assert_int_equal(SSL_CTX_set_min_proto_version(context, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(context, version), 1);
    SSL_CTX_set_options(context, SSL_OP_NO_QUERY_MTU);
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    if (wish->no_extended_master_secret)
        SSL_CTX_set_options(context, SSL_OP_NO_EXTENDED_MASTER_SECRET);
    assert_int_equal(SSL_CTX_set_cipher_list(context, wish->ciphers != NULL ? wish->ciphers : "ALL"), 1);
    char groups[64]; /* OpenSSL casts const away */
    snprintf(groups, sizeof groups, "%s", wish->groups != NULL ? wish->groups : "P-256:P-384:X25519");
    assert_int_equal(SSL_CTX_set1_groups_list(context, groups), 1);
    if (wish->psk)
        SSL_CTX_set_psk_client_callback(context, client_psk);
    if (wish->max_fragment_length != 0)
        assert_int_equal(SSL_CTX_set_tlsext_max_fragment_length(context, wish->max_fragment_length), 1);
    if (wish->certificate != NULL) {
        assert_int_equal(SSL_CTX_use_certificate(context, wish->certificate->certificate), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(context, wish->certificate->key), 1);
    }
    if (wish->intermediate != NULL)
        assert_int_equal(SSL_CTX_add1_chain_cert(context, wish->intermediate->certificate), 1);
    return context;
}

static inline void client_create(struct test_client *client, const struct test_client_wish *wish)
{
    *client = (struct test_client){.context = client_context(wish)};
    buffer_init(&client->received, 100000);
    client->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "test client");
    BIO_meth_set_create(client->method, client_bio_create);
    BIO_meth_set_ctrl(client->method, client_bio_control);
    BIO_meth_set_write(client->method, client_bio_write);
    BIO_meth_set_read(client->method, client_bio_read);
    client->ssl = SSL_new(client->context);
    BIO *bio = BIO_new(client->method);
    assert_non_null(client->ssl);
    assert_non_null(bio);
    BIO_set_data(bio, client);
    SSL_set_bio(client->ssl, bio, bio);
    SSL_set_connect_state(client->ssl);
    if (wish->session != NULL)
        assert_int_equal(SSL_set_session(client->ssl, wish->session), 1);
    assert_true(SSL_set_mtu(client->ssl, wish->mtu != 0 ? wish->mtu : 1200) > 0);
    char server_name[256];
    snprintf(server_name, sizeof server_name, "%s", wish->server_name != NULL ? wish->server_name : "");
    if (wish->server_name != NULL)
        assert_int_equal(SSL_set_tlsext_host_name(client->ssl, server_name), 1);
}

static inline void client_free(struct test_client *client)
{
    SSL_set_shutdown(client->ssl, SSL_SENT_SHUTDOWN); /* else nobody could resume its session */
    SSL_free(client->ssl);
    SSL_CTX_free(client->context);
    BIO_meth_free(client->method);
    queue_clear(&client->sent);
    buffer_free(&client->received);
}

/* Goes on as far as it can: handshake, then reading. */
static inline void client_step(struct test_client *client)
{
    ERR_clear_error();
    if (!client->finished && !client->failed) {
        int result = SSL_do_handshake(client->ssl);
        client->finished = result == 1;
        client->failed = result != 1 && SSL_get_error(client->ssl, result) != SSL_ERROR_WANT_READ;
    }
    uint8_t record[2048];
    int len;
    while (client->finished && !client->failed && (len = SSL_read(client->ssl, record, sizeof record)) > 0) {
        buffer_append(&client->received, (struct bytes){record, (size_t)len});
        client->records++;
    }
}

static inline void client_receive(struct test_client *client, struct bytes datagram)
{
    client->input = datagram;
    client_step(client);
    client->input = (struct bytes){NULL, 0};
}

static inline void client_send(struct test_client *client, const char *text)
{
    ERR_clear_error();
    assert_int_equal(SSL_write(client->ssl, text, (int)strlen(text)), (int)strlen(text));
}

/* The fatal alert that ended the handshake; -1: none. */
static inline int client_alert(struct test_client *client)
{
    int reason = ERR_GET_REASON(ERR_peek_error());
    return client->failed && reason > SSL_AD_REASON_OFFSET ? reason - SSL_AD_REASON_OFFSET : -1;
}

/* When its timer runs out, in ms of the clock. */
static inline uint64_t client_deadline(struct test_client *client)
{
    struct timeval left;
    if (client->finished || client->failed || DTLSv1_get_timeout(client->ssl, &left) != 1)
        return MONOTONIC_NEVER;
    return clock_ms + (uint64_t)left.tv_sec * 1000 + (uint64_t)(left.tv_usec + 999) / 1000;
}

/* --- the server: one association behind the cookie exchange --- */

struct test_server {
    struct dtls_association_context context;
    struct metrics *metrics;
    struct dtls_cookie_secret secret;
    struct dtls_association *association; /* NULL: no good cookie came yet */
    struct test_queue sent;
    struct buffer received;
    size_t records, established;
    bool echo;                                 /* every record goes back */
    size_t largest_datagram, largest_fragment; /* of what it ever sent */
    size_t datagrams;
    uint64_t next_sequence; /* the least that a record of epoch 0 may have */
};

static inline void server_sends(void *user, struct bytes datagram)
{
    struct test_server *server = user;
    struct dtls_record record;
    queue_push(&server->sent, datagram);
    server->datagrams++;
    if (datagram.len > server->largest_datagram)
        server->largest_datagram = datagram.len;
    while (dtls_record_take(&datagram, &record)) {
        if (record.fragment.len > server->largest_fragment)
            server->largest_fragment = record.fragment.len;
        if (record.epoch > 0)
            continue;
        assert_true(record.sequence >= server->next_sequence); /* no number is used twice */
        server->next_sequence = record.sequence + 1;
    }
    assert_int_equal(datagram.len, 0);
}

static inline void server_established(void *user)
{
    struct test_server *server = user;
    server->established++;
}

static inline void server_receives(void *user, struct bytes record)
{
    struct test_server *server = user;
    buffer_append(&server->received, record);
    server->records++;
    if (server->echo)
        assert_int_equal(dtls_association_send(server->association, record), STATUS_OK);
}

static inline void server_create(struct test_server *server, struct dtls_credentials *credentials,
                                 uint32_t handshake_mtu)
{
    *server = (struct test_server){.metrics = counters_create()};
    server->context = (struct dtls_association_context){.credentials = credentials,
                                                        .bio_method = dtls_association_bio_method(),
                                                        .metrics = server->metrics,
                                                        .handshake_mtu = handshake_mtu,
                                                        .retransmit_timeout_ms = 1000};
    assert_non_null(server->context.bio_method);
    assert_int_equal(dtls_cookie_secret_make(&server->secret), STATUS_OK);
    buffer_init(&server->received, 100000);
}

static inline void server_free(struct test_server *server)
{
    dtls_association_free(server->association);
    BIO_meth_free(server->context.bio_method);
    metrics_free(server->metrics);
    queue_clear(&server->sent);
    buffer_free(&server->received);
}

static inline void server_receive(struct test_server *server, struct bytes datagram)
{
    if (server->association == NULL) {
        struct dtls_client_hello hello;
        struct buffer answer;
        buffer_init(&answer, DTLS_HELLO_VERIFY_REQUEST_OCTETS);
        if (!dtls_client_hello_read(datagram, &hello))
            return;
        enum dtls_cookie_verdict verdict =
            dtls_cookie_judge(&server->secret, clock_ms, BYTES_LITERAL("flow"), &hello, &answer);
        if (answer.len > 0)
            queue_push(&server->sent, buffer_view(&answer));
        buffer_free(&answer);
        if (verdict != COOKIE_GOOD)
            return;
        struct dtls_events events = {server_sends, server_established, server_receives, server};
        server->association = dtls_association_create(&server->context, &events, clock_ms);
        assert_non_null(server->association);
    }
    dtls_association_receive(server->association, clock_ms, datagram);
}

static inline uint64_t server_deadline(const struct test_server *server)
{
    return server->association != NULL ? dtls_association_deadline(server->association) : MONOTONIC_NEVER;
}

/* --- both, and what lies between --- */

struct test_network {
    unsigned loss, duplication, reordering; /* per cent, in each direction */
    uint64_t seed;                          /* not 0 */
};

static inline unsigned network_roll(struct test_network *network)
{
    network->seed ^= network->seed << 13, network->seed ^= network->seed >> 7,
        network->seed ^= network->seed << 17;
    return (unsigned)(network->seed % 100);
}

/* Gives the datagram that arrives next, or NULL: lost. */
static inline struct test_datagram *network_take(struct test_network *network, struct test_queue *queue)
{
    size_t index = queue->count > 1 && network_roll(network) < network->reordering ? 1 : 0;
    struct test_datagram *datagram = queue_take(queue, index);
    if (network_roll(network) < network->duplication)
        queue_push(queue, (struct bytes){datagram->octets, datagram->len});
    if (network_roll(network) >= network->loss)
        return datagram;
    free(datagram);
    return NULL;
}

static inline void exchange_one(struct test_client *client, struct test_server *server,
                                struct test_network *network)
{
    bool to_server = client->sent.count > 0;
    struct test_datagram *datagram = network_take(network, to_server ? &client->sent : &server->sent);
    if (datagram == NULL)
        return;
    struct bytes octets = {datagram->octets, datagram->len};
    if (to_server)
        server_receive(server, octets);
    else
        client_receive(client, octets);
    free(datagram);
}

/* Moves the clock to the next timer. False: there is none. */
static inline bool wait_for_timer(struct test_client *client, struct test_server *server)
{
    uint64_t client_due = client_deadline(client), server_due = server_deadline(server);
    uint64_t due = client_due < server_due ? client_due : server_due;
    if (due == MONOTONIC_NEVER)
        return false;
    if (due > clock_ms)
        clock_ms = due;
    if (client_due <= clock_ms && DTLSv1_handle_timeout(client->ssl) < 0)
        client->failed = true;
    if (server->association != NULL)
        dtls_association_tick(server->association, clock_ms);
    return true;
}

/* Until nothing is under way and no timer runs, or the client is through and nothing is under way. */
static inline void run(struct test_client *client, struct test_server *server, struct test_network *network)
{
    struct test_network perfect = {.seed = 1};
    client_step(client);
    for (unsigned steps = 0; steps < 5000; steps++) {
        if (client->sent.count + server->sent.count > 0)
            exchange_one(client, server, network != NULL ? network : &perfect);
        else if (client->failed || !wait_for_timer(client, server))
            return;
    }
    fail_msg("no end to it");
}

/* As a whole, without a network in between that the test cares about. */
static inline void connect_peers(struct test_client *client, const struct test_client_wish *wish,
                                 struct test_server *server, struct dtls_credentials *credentials)
{
    client_create(client, wish);
    server_create(server, credentials, 1024);
    run(client, server, NULL);
}

static inline void free_peers(struct test_client *client, struct test_server *server)
{
    client_free(client);
    server_free(server);
}

static inline enum dtls_state server_state(const struct test_server *server)
{
    assert_non_null(server->association);
    return dtls_association_state(server->association);
}

#endif
