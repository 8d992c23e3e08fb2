#include "common/bytes.h"

#include <openssl/crypto.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#define BUFFER_FIRST_ROOM 64

static bool reserve(struct buffer *buffer, size_t len);
static bool grow(struct buffer *buffer, size_t room);
static uint8_t *acquire(const struct buffer *buffer, size_t *room);
static void release(struct buffer *buffer);

struct bytes bytes_from_string(const char *text)
{
    if (text == NULL)
        return (struct bytes){NULL, 0};
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

bool bytes_equal_ignoring_case(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp((const char *)a.at, (const char *)b.at, a.len) == 0);
}

struct bytes bytes_slice(struct bytes whole, size_t offset, size_t len)
{
    if (offset >= whole.len)
        return (struct bytes){NULL, 0};
    size_t rest = whole.len - offset;
    return (struct bytes){whole.at + offset, len < rest ? len : rest};
}

bool bytes_take_line(struct bytes *text, struct bytes *line)
{
    if (text->len == 0)
        return false;
    const uint8_t *end = memchr(text->at, '\n', text->len);
    size_t len = end != NULL ? (size_t)(end - text->at) : text->len;
    *line = bytes_slice(*text, 0, len);
    *text = bytes_slice(*text, len + 1, text->len);
    return true;
}

void buffer_init(struct buffer *buffer, size_t limit)
{
    *buffer = (struct buffer){.limit = limit};
}

void buffer_init_locked(struct buffer *buffer, size_t limit)
{
    *buffer = (struct buffer){.limit = limit, .locked = true};
}

void buffer_free(struct buffer *buffer)
{
    if (buffer->locked)
        release(buffer);
    else
        free(buffer->at);
    *buffer = (struct buffer){.limit = buffer->limit, .locked = buffer->locked};
}

void buffer_wipe(struct buffer *buffer)
{
    if (buffer->at != NULL)
        OPENSSL_cleanse(buffer->at, buffer->room);
    buffer_free(buffer);
}

void buffer_reset(struct buffer *buffer)
{
    buffer->len = 0;
    buffer->status = STATUS_OK;
}

void buffer_append(struct buffer *buffer, struct bytes bytes)
{
    uint8_t *to = buffer_extend(buffer, bytes.len);
    if (to != NULL && bytes.len > 0)
        memcpy(to, bytes.at, bytes.len);
}

void buffer_append_byte(struct buffer *buffer, uint8_t byte)
{
    buffer_append(buffer, (struct bytes){&byte, 1});
}

void buffer_append_string(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, bytes_from_string(text));
}

void buffer_append_lines(struct buffer *buffer, const char *name, const char *lines)
{
    struct bytes rest = bytes_from_string(lines), line;
    while (bytes_take_line(&rest, &line))
        if (line.len > 0)
            buffer_printf(buffer, "%s: %.*s\n", name, (int)line.len, (const char *)line.at);
}

void buffer_printf(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    /* One octet more than is counted: vsnprintf ends with a NUL. */
    if (len < 0 || !reserve(buffer, (size_t)len + 1))
        return;

    va_start(arguments, format);
    vsnprintf((char *)buffer->at + buffer->len, (size_t)len + 1, format, arguments);
    va_end(arguments);
    buffer->len += (size_t)len;
}

uint8_t *buffer_extend(struct buffer *buffer, size_t len)
{
    if (buffer->status == STATUS_OK && len > buffer->limit - buffer->len)
        buffer->status = STATUS_TOO_LARGE;
    if (!reserve(buffer, len))
        return NULL;
    uint8_t *at = buffer->at + buffer->len;
    buffer->len += len;
    return at;
}

struct bytes buffer_view(const struct buffer *buffer)
{
    return (struct bytes){buffer->at, buffer->len};
}

const char *buffer_string(struct buffer *buffer)
{
    if (!reserve(buffer, 1))
        return "";
    buffer->at[buffer->len] = '\0';
    return (const char *)buffer->at;
}

/* Makes room for len more octets; the terminating NUL of a string may stand just past the limit. */
static bool reserve(struct buffer *buffer, size_t len)
{
    if (buffer->status != STATUS_OK)
        return false;
    size_t most = buffer->limit < SIZE_MAX ? buffer->limit + 1 : SIZE_MAX;
    if (len > most - buffer->len) {
        buffer->status = STATUS_TOO_LARGE;
        return false;
    }
    if (buffer->at != NULL && buffer->room - buffer->len >= len)
        return true;

    size_t room = buffer->room < BUFFER_FIRST_ROOM ? BUFFER_FIRST_ROOM : buffer->room;
    while (room - buffer->len < len)
        room = room > most / 2 ? most : room * 2;
    return grow(buffer, room);
}

/* Not realloc: the octets that are abandoned may be secret. */
static bool grow(struct buffer *buffer, size_t room)
{
    uint8_t *at = acquire(buffer, &room);
    if (at == NULL) {
        buffer->status = STATUS_NO_MEMORY;
        return false;
    }
    if (buffer->at != NULL) {
        memcpy(at, buffer->at, buffer->len);
        release(buffer);
    }
    buffer->at = at;
    buffer->room = room;
    return true;
}

/* Locked memory comes in whole pages, which no lock or advice of others concerns. */
static uint8_t *acquire(const struct buffer *buffer, size_t *room)
{
    if (!buffer->locked)
        return malloc(*room);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (*room > SIZE_MAX - page)
        return NULL;
    *room = (*room + page - 1) / page * page;
    void *at = mmap(NULL, *room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    mlock(at, *room); /* where RLIMIT_MEMLOCK lets us */
    madvise(at, *room, MADV_DONTDUMP);
    madvise(at, *room, MADV_WIPEONFORK);
    return at;
}

static void release(struct buffer *buffer)
{
    if (buffer->at == NULL)
        return;
    OPENSSL_cleanse(buffer->at, buffer->room);
    if (buffer->locked)
        munmap(buffer->at, buffer->room);
    else
        free(buffer->at);
}
