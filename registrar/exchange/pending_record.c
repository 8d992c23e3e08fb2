#include "registrar/exchange/pending_record.h"

#include <string.h>

enum { FLAG_DOUBTFUL = 1, FLAG_SECRET = 2, FLAGS = FLAG_DOUBTFUL | FLAG_SECRET };

/* What is left to read; the first failure sticks. */
struct cursor {
    struct bytes rest;
    bool failed;
};

static void write_number(struct buffer *to, uint64_t value, unsigned octets);
static uint64_t read_number(struct cursor *from, unsigned octets);
static struct bytes read_octets(struct cursor *from, size_t len);
static void copy_octets(struct cursor *from, uint8_t *to, size_t len);
static uint64_t read_time(struct cursor *from, uint64_t clock_ms);
static void decode_entry(struct cursor *from, uint64_t clock_ms, struct pending_record *record);
static bool is_sound(const struct pending_record *record);

void pending_record_encode(const struct pending_record *record, uint64_t clock_ms, struct buffer *to)
{
    unsigned flags = (record->doubtful ? FLAG_DOUBTFUL : 0u) | (record->is_secret ? FLAG_SECRET : 0u);
    write_number(to, record->kind, 1);
    buffer_append(to, (struct bytes){record->key.octets, sizeof(record->key.octets)});
    if (record->kind == PENDING_RECORD_FORGOTTEN)
        return;
    write_number(to, record->expires_ms + clock_ms, 8);
    if (record->kind == PENDING_RECORD_DELIVERED)
        return;
    buffer_append(to, (struct bytes){record->key.client, sizeof(record->key.client)});
    write_number(to, record->state, 1);
    write_number(to, flags, 1);
    write_number(to, record->refusal, 1);
    buffer_append(to, (struct bytes){record->passed, sizeof(record->passed)});
    write_number(to, record->server, 8);
    write_number(to, record->due_ms + clock_ms, 8);
    write_number(to, record->name.len, 2);
    buffer_append(to, record->name);
    buffer_append(to, record->result);
}

/* Network byte order. */
static void write_number(struct buffer *to, uint64_t value, unsigned octets)
{
    while (octets-- > 0)
        buffer_append_byte(to, (uint8_t)(value >> (8 * octets)));
}

enum status pending_record_decode(struct bytes octets, uint64_t clock_ms, struct pending_record *record)
{
    struct cursor from = {octets, false};
    *record = (struct pending_record){.kind = (enum pending_record_kind)read_number(&from, 1)};
    copy_octets(&from, record->key.octets, sizeof(record->key.octets));
    switch (record->kind) {
    case PENDING_RECORD_ENTRY:
        decode_entry(&from, clock_ms, record);
        break;
    case PENDING_RECORD_DELIVERED:
        record->expires_ms = read_time(&from, clock_ms);
        break;
    case PENDING_RECORD_FORGOTTEN:
        break;
    default:
        return STATUS_MALFORMED;
    }
    return from.failed || from.rest.len > 0 || !is_sound(record) ? STATUS_MALFORMED : STATUS_OK;
}

static void decode_entry(struct cursor *from, uint64_t clock_ms, struct pending_record *record)
{
    record->expires_ms = read_time(from, clock_ms);
    copy_octets(from, record->key.client, sizeof(record->key.client));
    record->state = (enum pending_state)read_number(from, 1);
    uint64_t flags = read_number(from, 1);
    from->failed |= (flags & ~(uint64_t)FLAGS) != 0;
    record->doubtful = (flags & FLAG_DOUBTFUL) != 0;
    record->is_secret = (flags & FLAG_SECRET) != 0;
    record->refusal = (uint8_t)read_number(from, 1);
    copy_octets(from, record->passed, sizeof(record->passed));
    record->server = read_number(from, 8);
    record->due_ms = read_time(from, clock_ms);
    record->name = read_octets(from, (size_t)read_number(from, 2));
    record->result = read_octets(from, from->rest.len);
}

static bool is_sound(const struct pending_record *record)
{
    if (record->kind != PENDING_RECORD_ENTRY)
        return true;
    if (record->state <= PENDING_QUEUED || record->state > PENDING_IN_DOUBT ||
        record->name.len > PENDING_NAME_OCTETS_MAX)
        return false;
    if (record->is_secret && record->state != PENDING_READY && record->state != PENDING_WAITING)
        return false;
    bool has_result =
        (record->state == PENDING_READY && !record->is_secret) || record->state == PENDING_REFUSED;
    return (has_result || record->result.len == 0) &&
           (record->refusal != 0) == (record->state == PENDING_REFUSED);
}

static uint64_t read_number(struct cursor *from, unsigned octets)
{
    struct bytes field = read_octets(from, octets);
    uint64_t value = 0;
    for (size_t i = 0; i < field.len; i++)
        value = value << 8 | field.at[i];
    return value;
}

static uint64_t read_time(struct cursor *from, uint64_t clock_ms)
{
    uint64_t time_ms = read_number(from, 8);
    return time_ms > clock_ms ? time_ms - clock_ms : 0;
}

static void copy_octets(struct cursor *from, uint8_t *to, size_t len)
{
    struct bytes field = read_octets(from, len);
    if (field.len == len)
        memcpy(to, field.at, len);
}

static struct bytes read_octets(struct cursor *from, size_t len)
{
    if (from->failed || len > from->rest.len) {
        from->failed = true;
        return (struct bytes){NULL, 0};
    }
    struct bytes field = bytes_slice(from->rest, 0, len);
    from->rest = bytes_slice(from->rest, len, from->rest.len - len);
    return field;
}
