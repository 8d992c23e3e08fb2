#include "octets.h"

#include <event2/buffer.h>

struct octets octets_of(struct evbuffer *buffer)
{
    return (struct octets){evbuffer_pullup(buffer, -1), evbuffer_get_length(buffer)};
}
