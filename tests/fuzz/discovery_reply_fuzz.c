/* SEC-1: any datagram at the unsecured port. Whatever it says, the reply is a message of one block at most,
 * and a group hears links or nothing (DISC-5). */
#include "registrar/downstream/discovery_reply.h"

#include "common/coap_message.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_reply(struct bytes reply, const struct discovery_query *query, uint32_t block_size)
{
    struct coap_message message;
    if (reply.len == 0)
        return;
    check(coap_message_parse(reply, &message) == STATUS_OK);
    check(message.type != CM_CON && message.payload.len <= block_size);
    check(message.payload.len == 0 || message.code == CM_CONTENT);
    if (query->multicast)
        check(message.type == CM_NON && message.code == CM_CONTENT && message.payload.len > 0);
    if (message.type == CM_NON)
        check(message.id == query->id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char root[] = "/est", jpy[] = "jpy", coaps[] = "coaps";
    struct settings settings = {
        .coap.block_size = 64, .est = {.root = root, .att = true}, .jpy.schemes = {{jpy, coaps}, 2}};
    for (int multicast = 0; multicast < 2; multicast++) {
        struct discovery_query query = {.datagram = {data, size},
                                        .multicast = multicast == 1,
                                        .authority = "[2001:db8::1]:61617",
                                        .ways = {"[2001:db8::1]:5690", &settings.jpy.schemes, 61617},
                                        .id = 0x7777};
        struct buffer reply;
        buffer_init(&reply, DISCOVERY_REPLY_MAX);
        (void)discovery_reply(&settings, &query, &reply);
        check(reply.status == STATUS_OK);
        check_reply(buffer_view(&reply), &query, settings.coap.block_size);
        buffer_free(&reply);
    }
    return 0;
}
