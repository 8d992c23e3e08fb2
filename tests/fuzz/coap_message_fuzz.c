/* SEC-1: any datagram as a CoAP message. What was read can be written, and reads the same again. */
#include "common/coap_message.h"

#include <stdlib.h>

#define DATAGRAM_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_within(struct bytes part, struct bytes whole)
{
    check(part.len == 0 || (part.at >= whole.at && part.at + part.len <= whole.at + whole.len));
}

static void check_views(const struct coap_message *message, struct bytes datagram)
{
    check(message->token_len <= COAP_TOKEN_MAX);
    check(message->uri_path_count <= COAP_SEGMENTS_MAX && message->uri_query_count <= COAP_SEGMENTS_MAX);
    for (size_t i = 0; i < message->uri_path_count; i++)
        check_within(message->uri_path[i], datagram);
    for (size_t i = 0; i < message->uri_query_count; i++)
        check_within(message->uri_query[i], datagram);
    check(message->etag_count <= COAP_ETAGS_MAX);
    for (size_t i = 0; i < message->etag_count; i++)
        check(message->etags[i].len >= 1 && message->etags[i].len <= COAP_ETAG_MAX);
    check_within(message->payload, datagram);
    check((message->unrecognised_critical & 1) == 1 || message->unrecognised_critical == 0);
}

static void write_again(const struct coap_message *message, struct buffer *out)
{
    buffer_init(out, DATAGRAM_MAX);
    check(coap_message_write(message, out) == STATUS_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes datagram = {data, size};
    struct coap_message message, again;
    struct buffer first, second;
    if (size > DATAGRAM_MAX / 2 || coap_message_parse(datagram, &message) != STATUS_OK)
        return 0;
    check_views(&message, datagram);
    write_again(&message, &first);
    check(first.len <= size); /* ours is the shortest form, without what we skip */
    check(coap_message_parse(buffer_view(&first), &again) == STATUS_OK);
    check(again.unrecognised_critical == 0 && !again.proxy && !again.too_many_segments);
    write_again(&again, &second);
    check(bytes_equal(buffer_view(&first), buffer_view(&second)));
    buffer_free(&first);
    buffer_free(&second);
    return 0;
}
