#include "registrar/downstream/dtls_association.h"

#include "common/monotonic.h"
#include "registrar/counters.h"
#include "registrar/downstream/dtls_flight.h"
#include "registrar/downstream/dtls_record.h"

#include <openssl/err.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_OCTETS_MAX 16384  /* RFC 6347 section 4.1 */
#define READ_OCTETS_MAX   2048   /* of one datagram, and so of one record; what udp_socket hands out */
#define CCM_8_CIPHER      0xc0ae /* TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8, RFC 7251 */
#define RECORD_OVERHEAD                                                                                      \
    (DTLS_RECORD_HEADER + 16) /* octets; 16: CCM_8's explicit nonce and tag (RFC 6655)                       \
                               */
#define IP_UDP_OVERHEAD 28    /* octets; OpenSSL wants it to be less than its least MTU, and no more */

/* What ends with the handshake. */
struct handshake {
    struct dtls_client_proof proof;
    struct dtls_flight flight;
    bool listening; /* DTLSv1_listen comes before SSL_accept */
    unsigned early_records;
};

struct dtls_association {
    const struct dtls_association_context *context; /* borrowed */
    struct dtls_events events;
    SSL *ssl;                       /* owned */
    struct handshake *handshake;    /* owned; NULL once established */
    struct client_identity *client; /* a reference */
    enum dtls_state state;
    bool receiving; /* within dtls_association_receive: OpenSSL has its buffers */
    bool failed, timed_out;
    bool too_large;         /* a message was, and is ignored */
    unsigned long error;    /* why it failed, of OpenSSL's queue; 0: unknown */
    uint64_t next_sequence; /* of our records in epoch 0 */
    struct bytes input;     /* what OpenSSL has not yet read of the datagram being received */
};

static bool prepare(struct dtls_association *association, uint64_t now_ms);
static unsigned choose_timeout(SSL *ssl, unsigned timer_us);
static void shake_hands(struct dtls_association *association, uint64_t now_ms);
static bool listen_for_hello(struct dtls_association *association);
static void answer_repetition(struct dtls_association *association, uint64_t now_ms);
static void repeat_flight(struct dtls_association *association);
static void send_flight(struct dtls_association *association);
static void send_datagram(struct dtls_association *association, struct bytes datagram);
static void establish(struct dtls_association *association);
static void forget_handshake(struct dtls_association *association);
static void end_flight(struct dtls_association *association);
static void drop_intermediates(SSL *ssl);
static void read_records(struct dtls_association *association);
static void end_reading(struct dtls_association *association);
static void fail(struct dtls_association *association);
static int bio_create(BIO *bio);
static long bio_control(BIO *bio, int command, long number, void *pointer);
static int bio_write(BIO *bio, const char *data, int len);
static struct bytes take_datagram(const struct dtls_association *association, struct bytes *rest);
static int bio_read(BIO *bio, char *data, int size);
static bool is_repeating(const struct dtls_association *association);
static bool admit(struct dtls_association *association, const struct dtls_record *record);
static size_t least_encrypted(const SSL *ssl);
static bool admit_messages(struct dtls_association *association, struct bytes fragment);

BIO_METHOD *dtls_association_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "datagrams");
    if (method == NULL)
        return NULL;
    BIO_meth_set_create(method, bio_create);
    BIO_meth_set_ctrl(method, bio_control);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_read(method, bio_read);
    return method;
}

struct dtls_association *dtls_association_create(const struct dtls_association_context *context,
                                                 const struct dtls_events *events, uint64_t now_ms)
{
    struct dtls_association *association = calloc(1, sizeof *association);
    if (association == NULL)
        return NULL;
    association->context = context;
    association->events = *events;
    if (!prepare(association, now_ms)) {
        dtls_association_free(association);
        return NULL;
    }
    return association;
}

static bool prepare(struct dtls_association *association, uint64_t now_ms)
{
    const struct dtls_association_context *context = association->context;
    BIO *bio = BIO_new(context->bio_method);
    struct handshake *handshake = association->handshake = calloc(1, sizeof *handshake);
    if (handshake != NULL) {
        handshake->listening = true;
        handshake->proof.tickets = context->tickets;
        dtls_flight_init(&handshake->flight, context->retransmit_timeout_ms, now_ms);
        association->ssl = dtls_credentials_open(context->credentials, &handshake->proof);
    }
    if (bio == NULL || association->ssl == NULL) {
        BIO_free(bio);
        return false;
    }
    BIO_set_data(bio, association);
    SSL_set_bio(association->ssl, bio, bio);
    SSL_set_mtu(association->ssl, (long)context->handshake_mtu);
    DTLS_set_timer_cb(association->ssl, choose_timeout);
    return true;
}

/* In microseconds. Flights are repeated by dtls_association_tick, as they were; OpenSSL's own timer must not
 * cut in: over an hour is longer than any handshake lasts. Where a session is resumed OpenSSL repeats the
 * flight, when dtls_association_tick says: by then its timer has run out. */
static unsigned choose_timeout(SSL *ssl, unsigned timer_us)
{
    (void)timer_us;
    const struct dtls_association *association = BIO_get_data(SSL_get_rbio(ssl));
    const struct handshake *handshake = association->handshake;
    bool repeats = handshake != NULL && SSL_session_reused(ssl) == 1;
    return repeats ? handshake->flight.timeout_ms * 1000 / 4 * 3 : UINT_MAX;
}

void dtls_association_free(struct dtls_association *association)
{
    if (association == NULL)
        return;
    dtls_credentials_close(association->ssl);
    forget_handshake(association);
    client_identity_release(association->client);
    free(association);
}

void dtls_association_reserve(struct dtls_association *association, size_t overhead)
{
    size_t mtu = association->context->handshake_mtu;
    bool fits = mtu >= DTLS_FLIGHT_OCTETS_MIN + overhead;
    SSL_set_mtu(association->ssl, (long)(fits ? mtu - overhead : DTLS_FLIGHT_OCTETS_MIN));
}

/* libcurl shares OpenSSL's queue of errors, so that it is cleared before each call that may look at it. */
void dtls_association_receive(struct dtls_association *association, uint64_t now_ms, struct bytes datagram)
{
    if (datagram.len > READ_OCTETS_MAX)
        return;
    association->receiving = true;
    association->input = datagram;
    if (association->state == DTLS_HANDSHAKING)
        shake_hands(association, now_ms);
    if (association->state == DTLS_ESTABLISHED)
        read_records(association);
    association->input = (struct bytes){NULL, 0};
    association->receiving = false;
    if (association->state == DTLS_ESTABLISHED)
        (void)SSL_free_buffers(association->ssl); /* 33 kB that an idle association does without */
}

/* OpenSSL may stop for a record that it drops, although there are more. */
static void shake_hands(struct dtls_association *association, uint64_t now_ms)
{
    answer_repetition(association, now_ms);
    struct handshake *handshake = association->handshake;
    handshake->proof.now_ms = now_ms;
    handshake->proof.revocations = association->context->revocations;
    if (handshake->listening && !listen_for_hello(association)) {
        fail(association);
        return;
    }
    size_t unread;
    do {
        unread = association->input.len;
        ERR_clear_error();
        int result = SSL_accept(association->ssl);
        if (result == 1)
            establish(association);
        else if (SSL_get_error(association->ssl, result) != SSL_ERROR_WANT_READ)
            fail(association);
    } while (association->state == DTLS_HANDSHAKING && association->input.len > 0 &&
             association->input.len < unread);
    if (association->state == DTLS_HANDSHAKING)
        dtls_flight_end(&handshake->flight, association->context->retransmit_timeout_ms, now_ms);
}

/* Sets the state that follows a HelloVerifyRequest: a fresh SSL would take message_seq 1 for out of order. */
static bool listen_for_hello(struct dtls_association *association)
{
    BIO_ADDR *peer = BIO_ADDR_new(); /* OpenSSL wants to fill it in, with nothing */
    struct dtls_client_hello hello;
    if (peer == NULL || !dtls_client_hello_read(association->input, &hello)) {
        BIO_ADDR_free(peer);
        return false;
    }
    association->next_sequence = hello.record_sequence; /* RFC 6347 section 4.2.1 */
    ERR_clear_error();
    bool heard = DTLSv1_listen(association->ssl, peer) == 1;
    BIO_ADDR_free(peer);
    association->handshake->listening = false;
    return heard;
}

/* RFC 6347 section 4.2.4: a repeated flight of the peer is answered by ours. OpenSSL does so for the last
 * flight alone, which fits one datagram; here it is the ClientHello. */
static void answer_repetition(struct dtls_association *association, uint64_t now_ms)
{
    struct handshake *handshake = association->handshake;
    struct dtls_client_hello hello;
    if (!handshake->listening && dtls_client_hello_read(association->input, &hello) &&
        dtls_flight_repeat(&handshake->flight, now_ms))
        send_flight(association);
}

static void repeat_flight(struct dtls_association *association)
{
    if (SSL_session_reused(association->ssl) != 1) {
        send_flight(association);
        return;
    }
    metrics_add(association->context->metrics, COUNTER_FLIGHTS_RETRANSMITTED, 1);
    ERR_clear_error();
    if (DTLSv1_handle_timeout(association->ssl) < 0)
        fail(association);
}

static void send_flight(struct dtls_association *association)
{
    struct bytes rest = buffer_view(&association->handshake->flight.datagrams), datagram;
    if (rest.len > 0)
        metrics_add(association->context->metrics, COUNTER_FLIGHTS_RETRANSMITTED, 1);
    while (dtls_flight_next(&rest, &datagram))
        send_datagram(association, datagram);
}

/* Records of epoch 0 are numbered here and not by OpenSSL, which does not know of repetitions: a repeated
 * message is a new record (RFC 6347 section 4.2.2). A client that saw a record and had no use for it, which
 * Mbed TLS has when messages before it are missing, would drop the same number for a replay. */
static void send_datagram(struct dtls_association *association, struct bytes datagram)
{
    uint8_t renumbered[READ_OCTETS_MAX];
    struct bytes rest = datagram;
    struct dtls_record first;
    if (dtls_record_take(&rest, &first) && first.epoch == 0 && datagram.len <= sizeof renumbered) {
        memcpy(renumbered, datagram.at, datagram.len);
        dtls_record_renumber(renumbered, datagram.len, &association->next_sequence);
        datagram.at = renumbered;
    }
    association->events.send(association->events.user, datagram);
}

static void establish(struct dtls_association *association)
{
    association->client = dtls_credentials_client(association->ssl);
    if (association->client == NULL) {
        fail(association);
        return;
    }
    association->state = DTLS_ESTABLISHED;
    SSL_set_app_data(association->ssl, NULL);
    forget_handshake(association); /* the client has what counts of its proof */
    drop_intermediates(association->ssl);
    association->events.established(association->events.user);
}

static void forget_handshake(struct dtls_association *association)
{
    end_flight(association);
    free(association->handshake);
    association->handshake = NULL;
}

static void end_flight(struct dtls_association *association)
{
    if (association->handshake != NULL)
        dtls_flight_free(&association->handshake->flight);
}

/* They have served: each parsed certificate takes 4 kB for as long as the session lives, which nobody shares.
 */
static void drop_intermediates(SSL *ssl)
{
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    while (sk_X509_num(chain) > 0)
        X509_free(sk_X509_pop(chain));
}

static void read_records(struct dtls_association *association)
{
    uint8_t record[READ_OCTETS_MAX];
    bool is_read = true;
    while (association->state == DTLS_ESTABLISHED && is_read) {
        size_t len = 0;
        ERR_clear_error();
        is_read = SSL_read_ex(association->ssl, record, sizeof record, &len) == 1;
        if (!is_read)
            end_reading(association);
        else if (len > 0) /* RFC 5246 section 6.2.1 allows empty ones */
            association->events.receive(association->events.user, (struct bytes){record, len});
    }
}

static void end_reading(struct dtls_association *association)
{
    switch (SSL_get_error(association->ssl, 0)) {
    case SSL_ERROR_WANT_READ:
        return;
    case SSL_ERROR_ZERO_RETURN: /* the client's close_notify is answered by ours */
        dtls_association_close(association);
        return;
    default:
        fail(association);
    }
}

/* The first error is the cause; OpenSSL has sent an alert. */
static void fail(struct dtls_association *association)
{
    association->failed = true;
    association->error = ERR_peek_error();
    association->state = DTLS_CLOSED;
    end_flight(association);
    ERR_clear_error();
}

enum status dtls_association_send(struct dtls_association *association, struct bytes record)
{
    if (association->state != DTLS_ESTABLISHED)
        return STATUS_CLOSED;
    if (record.len == 0 || record.len > dtls_association_record_limit(association))
        return STATUS_TOO_LARGE;
    ERR_clear_error();
    bool sent = SSL_alloc_buffers(association->ssl) == 1 &&
                SSL_write(association->ssl, record.at, (int)record.len) == (int)record.len;
    if (!sent) {
        fail(association);
        return STATUS_CRYPTO;
    }
    if (!association->receiving)
        (void)SSL_free_buffers(association->ssl);
    return STATUS_OK;
}

void dtls_association_close(struct dtls_association *association)
{
    bool established = association->state == DTLS_ESTABLISHED;
    association->state = DTLS_CLOSED;
    end_flight(association);
    ERR_clear_error();
    if (established && SSL_alloc_buffers(association->ssl) == 1)
        (void)SSL_shutdown(association->ssl);
}

void dtls_association_tick(struct dtls_association *association, uint64_t now_ms)
{
    struct handshake *handshake = association->handshake;
    switch (handshake != NULL ? dtls_flight_tick(&handshake->flight, now_ms) : FLIGHT_NOT_DUE) {
    case FLIGHT_NOT_DUE:
        return;
    case FLIGHT_DUE:
        repeat_flight(association);
        return;
    case FLIGHT_ABANDONED:
        association->failed = association->timed_out = true;
        dtls_association_close(association);
    }
}

uint64_t dtls_association_deadline(const struct dtls_association *association)
{
    const struct handshake *handshake = association->handshake;
    return handshake != NULL ? handshake->flight.deadline_ms : MONOTONIC_NEVER;
}

enum dtls_state dtls_association_state(const struct dtls_association *association)
{
    return association->state;
}

bool dtls_association_failed(const struct dtls_association *association, struct buffer *reason)
{
    if (!association->failed)
        return false;
    const char *text = association->timed_out ? "timed out" : ERR_reason_error_string(association->error);
    buffer_append_string(reason, text != NULL ? text : "no reason given");
    if (ERR_GET_REASON(association->error) == SSL_R_CERTIFICATE_VERIFY_FAILED)
        buffer_printf(reason, ": %s", X509_verify_cert_error_string(SSL_get_verify_result(association->ssl)));
    if (association->timed_out && association->too_large)
        buffer_printf(reason, ": the client's certificates take more than %d octets",
                      DTLS_MESSAGE_OCTETS_MAX);
    return true;
}

bool dtls_association_is_resumed(const struct dtls_association *association)
{
    return SSL_session_reused(association->ssl) == 1;
}

struct client_identity *dtls_association_client(const struct dtls_association *association)
{
    return association->client;
}

/* The first Finished is the client's, and the server's where a session is resumed. */
struct channel_binding dtls_association_binding(const struct dtls_association *association)
{
    struct channel_binding binding = {0};
    SSL *ssl = association->ssl;
    size_t len = SSL_session_reused(ssl) == 1
                     ? SSL_get_finished(ssl, binding.tls_unique, sizeof binding.tls_unique)
                     : SSL_get_peer_finished(ssl, binding.tls_unique, sizeof binding.tls_unique);
    binding.is_known = association->state == DTLS_ESTABLISHED && len == sizeof binding.tls_unique;
    binding.is_unique = SSL_get_extms_support(ssl) == 1;
    return binding;
}

enum client_standing dtls_association_standing(const struct dtls_association *association, int64_t now_unix)
{
    const struct dtls_association_context *context = association->context;
    return dtls_credentials_standing(context->credentials, context->revocations,
                                     client_identity_chain(association->client), now_unix);
}

size_t dtls_association_record_limit(const struct dtls_association *association)
{
    const SSL_SESSION *session = SSL_get_session(association->ssl);
    uint8_t code = session != NULL ? SSL_SESSION_get_max_fragment_length(session) : 0;
    return code == 0 ? RECORD_OCTETS_MAX : (size_t)256 << code; /* 1: 2^9 ... 4: 2^12 */
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    switch (command) {
    case BIO_CTRL_FLUSH:
    case BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT:
        return 1;
    case BIO_CTRL_DGRAM_GET_MTU_OVERHEAD:
        return IP_UDP_OVERHEAD;
    default:
        return 0;
    }
}

/* OpenSSL gathers the records of a flight and writes a datagram of them at a time. It is never told of a
 * failure: a network may lose any datagram. */
static int bio_write(BIO *bio, const char *data, int len)
{
    struct dtls_association *association = BIO_get_data(bio);
    struct bytes rest = {(const uint8_t *)data, (size_t)len};
    struct bytes datagram;
    while ((datagram = take_datagram(association, &rest)).len > 0) {
        if (association->state == DTLS_HANDSHAKING && !is_repeating(association))
            dtls_flight_add(&association->handshake->flight, datagram);
        send_datagram(association, datagram);
    }
    return len;
}

/* As many records as have room in one datagram. A client that negotiated max_fragment_length may have no more
 * than the buffer for one such record; GnuTLS 3.7 cuts off what is beyond. */
static struct bytes take_datagram(const struct dtls_association *association, struct bytes *rest)
{
    size_t limit = dtls_association_record_limit(association) + RECORD_OVERHEAD, len = 0;
    struct bytes all = *rest, left = *rest;
    struct dtls_record record;
    while (dtls_record_take(&left, &record) && (len == 0 || len + record.whole.len <= limit))
        len += record.whole.len;
    *rest = bytes_slice(all, len, all.len);
    return bytes_slice(all, 0, len);
}

/* The handshake that resumes a session has one flight of ours, and no more. */
static bool is_repeating(const struct dtls_association *association)
{
    const struct dtls_flight *flight = &association->handshake->flight;
    return SSL_session_reused(association->ssl) == 1 && flight->complete && flight->datagrams.len > 0;
}

/* Hands out record by record: DTLSv1_listen would lose what stands behind the first one. */
static int bio_read(BIO *bio, char *data, int size)
{
    struct dtls_association *association = BIO_get_data(bio);
    struct dtls_record record;
    BIO_clear_retry_flags(bio);
    while (dtls_record_take(&association->input, &record)) {
        if (record.whole.len > (size_t)size || !admit(association, &record))
            continue;
        memcpy(data, record.whole.at, record.whole.len);
        return (int)record.whole.len;
    }
    association->input = (struct bytes){NULL, 0};
    BIO_set_retry_read(bio);
    return -1;
}

/* Nothing for which OpenSSL would end the association although anybody may send it: records too short to be
 * authentic (OpenSSL 3.2 and later), and before the handshake has finished, what has no place in it. In
 * TLS_ST_SR_CHANGE the ChangeCipherSpec has been read, and records of its epoch are worked off at once. */
static bool admit(struct dtls_association *association, const struct dtls_record *record)
{
    if (record->epoch > 0 && record->fragment.len < least_encrypted(association->ssl))
        return false;
    if (association->state != DTLS_HANDSHAKING)
        return true;
    if (record->type < DTLS_CHANGE_CIPHER_SPEC || record->type > DTLS_HANDSHAKE)
        return false;
    if (record->epoch == 0)
        return record->type != DTLS_HANDSHAKE || admit_messages(association, record->fragment);
    if (SSL_get_state(association->ssl) == TLS_ST_SR_CHANGE)
        return true;
    return association->handshake->early_records++ < DTLS_EARLY_RECORDS_MAX;
}

/* Explicit nonce and tag of CCM_8 (RFC 6655), or of the other suites; the cipher is unknown before the
 * ChangeCipherSpec, and all that may come earlier is a Finished. */
static size_t least_encrypted(const SSL *ssl)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
    return cipher != NULL && SSL_CIPHER_get_protocol_id(cipher) == CCM_8_CIPHER ? 8 + 8 : 8 + 16;
}

static bool admit_messages(struct dtls_association *association, struct bytes fragment)
{
    struct dtls_handshake handshake;
    while (fragment.len > 0) {
        if (!dtls_handshake_take(&fragment, &handshake) || handshake.message_seq > DTLS_MESSAGE_SEQ_MAX)
            return false;
        if (handshake.length > DTLS_MESSAGE_OCTETS_MAX) {
            association->too_large = true;
            return false;
        }
    }
    return true;
}
