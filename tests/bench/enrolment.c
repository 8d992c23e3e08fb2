#include "enrolment.h"

#include "common/coap_message.h"

#include <openssl/ec.h>
#include <openssl/rand.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PKCS10       286 /* Content-Format of a CSR, RFC 9148 section 4.3 */
#define TOKEN_OCTETS 2
#define DATAGRAM_MAX 1280
#define CSR_MAX      4096
#define ANSWER_MAX   8192

struct enrolment {
    struct enrolment_events events;
    struct buffer csr, answer;
    struct buffer request; /* the last one, as sent */
    size_t taken;          /* octets of the CSR that have been taken */
    uint8_t szx;
    uint16_t message_id; /* of the last request */
    bool acknowledged;   /* that request, by an empty ACK: its response comes by itself */
};

static void make_csr(const X509_NAME *subject, struct buffer *csr);
static void send_block(struct enrolment *enrolment);
static void send_request(struct enrolment *enrolment, const struct coap_message *parts);
static enum enrolment_verdict take_response(struct enrolment *enrolment, const struct coap_message *response);
static void acknowledge(struct enrolment *enrolment, uint16_t message_id);
static enum enrolment_verdict go_on_sending(struct enrolment *enrolment, const struct coap_message *response);
static enum enrolment_verdict collect(struct enrolment *enrolment, const struct coap_message *response);
static enum enrolment_verdict fail(const char *what, const struct coap_message *message);

struct enrolment *enrolment_start(const X509_NAME *subject, uint8_t szx,
                                  const struct enrolment_events *events)
{
    struct enrolment *enrolment = calloc(1, sizeof *enrolment);
    if (enrolment == NULL)
        return NULL;
    enrolment->events = *events;
    enrolment->szx = szx;
    buffer_init(&enrolment->csr, CSR_MAX);
    buffer_init(&enrolment->answer, ANSWER_MAX);
    buffer_init(&enrolment->request, DATAGRAM_MAX);
    make_csr(subject, &enrolment->csr);
    if (enrolment->csr.status != STATUS_OK ||
        RAND_bytes((unsigned char *)&enrolment->message_id, sizeof enrolment->message_id) != 1) {
        enrolment_free(enrolment);
        return NULL;
    }
    send_block(enrolment);
    return enrolment;
}

void enrolment_free(struct enrolment *enrolment)
{
    if (enrolment == NULL)
        return;
    buffer_free(&enrolment->csr);
    buffer_free(&enrolment->answer);
    buffer_free(&enrolment->request);
    free(enrolment);
}

/* The key is thrown away: nobody is going to use the certificate. */
static void make_csr(const X509_NAME *subject, struct buffer *csr)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_REQ *built = X509_REQ_new();
    unsigned char *der = NULL;
    int length = -1;

    if (key != NULL && built != NULL && X509_REQ_set_version(built, X509_REQ_VERSION_1) == 1 &&
        X509_REQ_set_subject_name(built, subject) == 1 && X509_REQ_set_pubkey(built, key) == 1 &&
        X509_REQ_sign(built, key, EVP_sha256()) > 0)
        length = i2d_X509_REQ(built, &der);
    if (length > 0)
        buffer_append(csr, (struct bytes){der, (size_t)length});
    else
        csr->status = STATUS_CRYPTO;
    OPENSSL_free(der);
    X509_REQ_free(built);
    EVP_PKEY_free(key);
}

/* The last one says how large the blocks of the answer may be (RFC 7959 section 2.4). */
static void send_block(struct enrolment *enrolment)
{
    size_t octets = coap_block_octets(enrolment->szx);
    struct bytes csr = buffer_view(&enrolment->csr);
    bool last = enrolment->taken + octets >= csr.len;
    struct coap_message block = {
        .content_format = {true, PKCS10},
        .block1 = {true, (uint32_t)(enrolment->taken / octets), !last, enrolment->szx},
        .block2 = {last, 0, false, enrolment->szx},
        .payload = bytes_slice(csr, enrolment->taken, octets),
    };
    send_request(enrolment, &block);
}

/* A CON POST to /est/sen with a new message id, made of the parts given. */
static void send_request(struct enrolment *enrolment, const struct coap_message *parts)
{
    struct coap_message message = *parts;
    enrolment->acknowledged = false;
    enrolment->message_id++;
    message.type = CM_CON;
    message.code = CM_POST;
    message.id = enrolment->message_id;
    message.token_len = TOKEN_OCTETS;
    memcpy(message.token, &enrolment->message_id, TOKEN_OCTETS);
    message.uri_path[0] = BYTES_LITERAL("est");
    message.uri_path[1] = BYTES_LITERAL("sen");
    message.uri_path_count = 2;
    buffer_reset(&enrolment->request);
    if (coap_message_write(&message, &enrolment->request) == STATUS_OK)
        enrolment->events.send(enrolment->events.user, buffer_view(&enrolment->request));
}

void enrolment_repeat(struct enrolment *enrolment)
{
    if (!enrolment->acknowledged)
        enrolment->events.send(enrolment->events.user, buffer_view(&enrolment->request));
}

enum enrolment_verdict enrolment_receive(struct enrolment *enrolment, struct bytes datagram)
{
    struct coap_message message;

    if (coap_message_parse(datagram, &message) != STATUS_OK)
        return fail("not CoAP", &message);
    if (message.type == CM_RST)
        return fail("reset", &message);
    if (message.code == CM_EMPTY) {
        enrolment->acknowledged |= message.type == CM_ACK && message.id == enrolment->message_id;
        return ENROLMENT_WAIT;
    }
    if (message.type == CM_CON) /* a separate response */
        acknowledge(enrolment, message.id);
    if (message.token_len != TOKEN_OCTETS || memcmp(message.token, &enrolment->message_id, TOKEN_OCTETS) != 0)
        return ENROLMENT_WAIT; /* a repetition of an answer that was here before */
    return take_response(enrolment, &message);
}

static void acknowledge(struct enrolment *enrolment, uint16_t message_id)
{
    struct coap_message message = {.type = CM_ACK, .id = message_id};
    struct buffer datagram;
    buffer_init(&datagram, DATAGRAM_MAX);
    if (coap_message_write(&message, &datagram) == STATUS_OK)
        enrolment->events.send(enrolment->events.user, buffer_view(&datagram));
    buffer_free(&datagram);
}

static enum enrolment_verdict take_response(struct enrolment *enrolment, const struct coap_message *response)
{
    switch (response->code) {
    case CM_CONTINUE:
        return go_on_sending(enrolment, response);
    case CM_CHANGED:
        return collect(enrolment, response);
    default:
        return fail("refused", response);
    }
}

static enum enrolment_verdict go_on_sending(struct enrolment *enrolment, const struct coap_message *response)
{
    enrolment->taken += coap_block_octets(enrolment->szx);
    if (enrolment->taken >= enrolment->csr.len || !response->block1.present)
        return fail("asks for more than there is", response);
    if (response->block1.szx < enrolment->szx)
        enrolment->szx = response->block1.szx;
    send_block(enrolment);
    return ENROLMENT_WAIT;
}

static enum enrolment_verdict collect(struct enrolment *enrolment, const struct coap_message *response)
{
    const struct coap_block *block = &response->block2;
    size_t offset = block->present ? (size_t)block->num << (block->szx + 4) : 0;

    if (offset != enrolment->answer.len)
        return fail("not the block that was asked for", response);
    buffer_append(&enrolment->answer, response->payload);
    if (enrolment->answer.status != STATUS_OK)
        return fail("too large an answer", response);
    if (!block->present || !block->more)
        return enrolment->answer.len > 0 ? ENROLMENT_DONE : fail("an empty answer", response);
    struct coap_message next = {.block2 = {true, block->num + 1, false, block->szx}};
    send_request(enrolment, &next);
    return ENROLMENT_WAIT;
}

static enum enrolment_verdict fail(const char *what, const struct coap_message *message)
{
    char code[5];
    fprintf(stderr, "bench: enrolment: %s: %s %.*s\n", what, coap_code_text(message->code, code),
            (int)message->payload.len, message->payload.len > 0 ? (const char *)message->payload.at : "");
    return ENROLMENT_FAILED;
}
