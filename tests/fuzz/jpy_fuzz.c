/* JPR-3: any datagram on the JPY port, and any answer to a join proxy. */
#include "common/jpy.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool lies_within(struct bytes part, const uint8_t *data, size_t size)
{
    return part.len == 0 || (part.at >= data && part.at + part.len <= data + size);
}

/* What was read can be written, is read as the same, and costs what jpy_overhead says. */
static void check_round_trip(const struct jpy_message *message, unsigned take)
{
    struct jpy_message again;
    struct buffer datagram;
    buffer_init(&datagram, message->header.len + message->content.len + 32);
    check(jpy_encode(message, &datagram) == STATUS_OK);
    check(datagram.len ==
          message->content.len + jpy_overhead(message->form, message->header.len, message->content.len));
    check(jpy_decode(buffer_view(&datagram), take, &again) == STATUS_OK);
    check(again.form == message->form && bytes_equal(again.header, message->header) &&
          bytes_equal(again.content, message->content));
    buffer_free(&datagram);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (unsigned take = 0; take <= (JPY_TAKE_FIVE | JPY_TAKE_MULTIPART); take++) {
        struct jpy_message message;
        if (jpy_decode((struct bytes){data, size}, take, &message) != STATUS_OK)
            continue;
        check(message.header.len <= JPY_HEADER_MAX);
        check(lies_within(message.header, data, size) && lies_within(message.content, data, size));
        check(message.form == JPY_PAIR || (message.form == JPY_FIVE && (take & JPY_TAKE_FIVE) != 0) ||
              (message.form == JPY_MULTIPART && (take & JPY_TAKE_MULTIPART) != 0));
        check_round_trip(&message, take);
    }
    return 0;
}
