/* JPD-1, JPD-2: any datagram of somebody who looks for a join proxy. */
#include "joinproxy/pledge_reply.h"

#include "common/coap_message.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t ports[] = {5685, 5686};
    struct endpoint local;
    check(endpoint_parse("[fe80::1%1]:5683", &local) == STATUS_OK);
    for (int multicast = 0; multicast <= 1; multicast++) {
        const struct pledge_query query = {.datagram = {data, size},
                                           .multicast = multicast == 1,
                                           .local = &local,
                                           .ports = ports,
                                           .port_count = 2,
                                           .legacy_names = true};
        struct coap_message reply;
        struct buffer out;
        buffer_init(&out, PLEDGE_REPLY_MAX);
        pledge_reply(&query, &out);
        if (out.len > 0) {
            check(coap_message_parse(buffer_view(&out), &reply) == STATUS_OK);
            check(!multicast || (reply.type == CM_NON && reply.code == CM_CONTENT && reply.payload.len > 0));
        }
        buffer_free(&out);
    }
    return 0;
}
