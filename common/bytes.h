/* Byte strings: a borrowed view, and an owned buffer that never grows past its limit. */
#ifndef ESTUARY_COMMON_BYTES_H
#define ESTUARY_COMMON_BYTES_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A borrowed view; pointer and length never travel apart. {NULL, 0} is the empty one. */
struct bytes {
    const uint8_t *at;
    size_t len;
};

/* Owned memory. The first failure sticks in status: write freely, check once. */
struct buffer {
    uint8_t *at;
    size_t len, room, limit; /* octets; room is what is allocated, limit what may ever be */
    enum status status;
    bool locked; /* see buffer_init_locked */
};

#define BYTES_LITERAL(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})

/* Borrows text for as long as the view lives; NULL gives the empty view. */
struct bytes bytes_from_string(const char *text);

bool bytes_equal(struct bytes a, struct bytes b);
bool bytes_equal_ignoring_case(struct bytes a, struct bytes b); /* ASCII */

/* The part from offset on, at most len octets long; never reaches past the end. */
struct bytes bytes_slice(struct bytes whole, size_t offset, size_t len);

/* Cuts the next line off text, without its "\n"; false: text is empty. */
bool bytes_take_line(struct bytes *text, struct bytes *line);

/* Nothing is allocated before the first write. */
void buffer_init(struct buffer *buffer, size_t limit);
void buffer_free(struct buffer *buffer);

/* For private keys: memory of its own pages, locked against swapping where the system lets us, left out of
 * core dumps and of child processes, and overwritten whenever it is given up, by buffer_free as well. */
void buffer_init_locked(struct buffer *buffer, size_t limit);

/* Like buffer_free, but overwrites the content first: for keys and passwords. Growing a buffer that is
 * freed like this leaves no copies behind: every reallocation wipes what it abandons. */
void buffer_wipe(struct buffer *buffer);

/* Forgets content and failure, keeps the memory. */
void buffer_reset(struct buffer *buffer);

/* Past the limit: STATUS_TOO_LARGE sticks and nothing more is written. */
void buffer_append(struct buffer *buffer, struct bytes bytes);
void buffer_append_byte(struct buffer *buffer, uint8_t byte);
void buffer_append_string(struct buffer *buffer, const char *text);
/* Each line that is not empty, after "name: ". */
void buffer_append_lines(struct buffer *buffer, const char *name, const char *lines);
void buffer_printf(struct buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Gives len octets of room at the end to be filled by the caller, or NULL with the failure in status. */
uint8_t *buffer_extend(struct buffer *buffer, size_t len);

/* Borrows until the next write. */
struct bytes buffer_view(const struct buffer *buffer);

/* The content as a NUL-terminated string (the NUL is not counted in len); "" after a failure.
 * Borrows until the next write. */
const char *buffer_string(struct buffer *buffer);

#endif
