/* SES-3: the application data of a session ticket. What is understood is written as it was. */
#include "registrar/protocol/client_chain.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client_chain chain;
    struct buffer again;
    if (client_chain_decode((struct bytes){data, size}, &chain) != STATUS_OK)
        return 0;
    buffer_init(&again, CLIENT_CHAIN_OCTETS_MAX);
    client_chain_encode(&chain, &again);
    if (again.status != STATUS_OK || !bytes_equal(buffer_view(&again), (struct bytes){data, size}))
        abort();
    buffer_free(&again);
    return 0;
}
