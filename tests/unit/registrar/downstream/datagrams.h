/* CoAP datagrams of a client, and what was sent back to it, for the unit tests of downstream. */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_DOWNSTREAM_DATAGRAMS_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_DOWNSTREAM_DATAGRAMS_H

#include "common/coap_message.h"
#include "registrar/settings.h"

#include <string.h>

#define DATAGRAM_OCTETS_MAX 2048

struct datagram {
    uint8_t octets[DATAGRAM_OCTETS_MAX];
    size_t len;
};

/* The last datagrams that were sent. */
#define OUTBOX_MAX 64
struct outbox {
    struct datagram datagrams[OUTBOX_MAX];
    size_t count;   /* since the last outbox_clear */
    size_t largest; /* octets, ever */
};

/* The defaults of the configuration. */
static inline struct coap_settings default_coap_settings(void)
{
    return (struct coap_settings){.ack_timeout_ms = 2000,
                                  .ack_random_factor = 1.5,
                                  .max_retransmit = 4,
                                  .block_size = 512,
                                  .separate_after_ms = 1000,
                                  .answer_within_ms = 20000,
                                  .max_request_bytes = 16384,
                                  .max_buffered_bytes = 1 << 20};
}

static inline struct bytes datagram_view(const struct datagram *datagram)
{
    return (struct bytes){datagram->octets, datagram->len};
}

/* The send callback of an outbox. */
static inline void outbox_send(void *user, struct bytes octets)
{
    struct outbox *outbox = user;
    assert_in_range(octets.len, 4, DATAGRAM_OCTETS_MAX);
    struct datagram *datagram = &outbox->datagrams[outbox->count++ % OUTBOX_MAX];
    memcpy(datagram->octets, octets.at, octets.len);
    datagram->len = octets.len;
    if (octets.len > outbox->largest)
        outbox->largest = octets.len;
}

static inline void outbox_clear(struct outbox *outbox)
{
    outbox->count = 0;
}

static inline const struct datagram *outbox_last(const struct outbox *outbox)
{
    assert_true(outbox->count > 0);
    return &outbox->datagrams[(outbox->count - 1) % OUTBOX_MAX];
}

/* Reads the last datagram; its views borrow from the outbox. */
static inline struct coap_message outbox_message(const struct outbox *outbox)
{
    struct coap_message message;
    assert_int_equal(coap_message_parse(datagram_view(outbox_last(outbox)), &message), STATUS_OK);
    return message;
}

static inline struct datagram datagram_write(const struct coap_message *message)
{
    struct datagram datagram;
    struct buffer buffer;
    buffer_init(&buffer, sizeof datagram.octets);
    assert_int_equal(coap_message_write(message, &buffer), STATUS_OK);
    memcpy(datagram.octets, buffer.at, buffer.len);
    datagram.len = buffer.len;
    buffer_free(&buffer);
    return datagram;
}

/* A request with a token that follows from its message id. */
static inline struct coap_message request_message(enum coap_message_type type, uint8_t code, uint16_t id)
{
    return (struct coap_message){
        .type = type, .code = code, .id = id, .token = {(uint8_t)(id >> 8), (uint8_t)id}, .token_len = 2};
}

/* Appends the segments of path, "est/crts". */
static inline void set_path(struct coap_message *message, const char *path)
{
    while (*path != '\0') {
        size_t len = strcspn(path, "/");
        message->uri_path[message->uri_path_count++] = (struct bytes){(const uint8_t *)path, len};
        path += len + (path[len] == '/');
    }
}

static inline struct coap_uint_option uint_option(uint32_t value)
{
    return (struct coap_uint_option){true, value};
}

static inline struct coap_block block_option(uint32_t num, bool more, uint8_t szx)
{
    return (struct coap_block){true, num, more, szx};
}

#endif
