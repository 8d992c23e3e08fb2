/* A borrowed view of octets. */
#ifndef EST_SERVER_OCTETS_H
#define EST_SERVER_OCTETS_H

#include <stddef.h>
#include <stdint.h>

struct evbuffer;

struct octets {
    const uint8_t *at;
    size_t len;
};

/* The whole content of buffer, made contiguous; borrows it until buffer changes. */
struct octets octets_of(struct evbuffer *buffer);

#endif
