/* Octet strings: a borrowed view, and an owned one that never grows past its limit. */
#ifndef DEVICE_OCTETS_H
#define DEVICE_OCTETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct view {
    const uint8_t *at;
    size_t len;
};

struct octets { /* owns at; zero-initialised is empty */
    uint8_t *at;
    size_t len;
};

/* Appends a copy of part. False, and nothing changed, when more than limit octets would result. */
bool octets_append(struct octets *octets, struct view part, size_t limit);

/* Frees what it holds; the octets are empty afterwards. */
void octets_clear(struct octets *octets);

struct view octets_view(const struct octets *octets);

/* Reads a whole file of at most limit octets. */
bool octets_from_file(struct octets *octets, const char *path, size_t limit);

#endif
