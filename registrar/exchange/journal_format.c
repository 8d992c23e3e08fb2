#include "registrar/exchange/journal_format.h"

#include <string.h>

#define VERSION         1
#define MAGIC           "ESTUARY"
#define KEY_AT          8
#define HEADER_CHECK_AT 24
#define LENGTH_AT       8
#define SAFE_AT         12

static void append_number(struct buffer *file, uint64_t value, unsigned octets);
static uint64_t number_at(struct bytes octets, size_t at, unsigned len);
static uint64_t checksum(const struct siphash_key *key, uint64_t at, struct bytes octets);
static bool frame_at(const struct journal_reader *reader, size_t at, struct bytes *record);
static bool is_followed(const struct journal_reader *reader);

void journal_format_begin(const struct siphash_key *key, struct buffer *file)
{
    size_t begin = file->len;
    buffer_append_string(file, MAGIC);
    buffer_append_byte(file, VERSION);
    buffer_append(file, (struct bytes){key->octets, sizeof(key->octets)});
    if (file->status == STATUS_OK)
        append_number(file, checksum(key, 0, (struct bytes){file->at + begin, HEADER_CHECK_AT}), 8);
}

void journal_format_frame(const struct siphash_key *key, const struct journal_place *place,
                          struct bytes record, struct buffer *file)
{
    size_t begin = file->len;
    append_number(file, 0, 8);
    append_number(file, record.len, 4);
    append_number(file, place->safe, 8);
    buffer_append(file, record);
    if (file->status != STATUS_OK)
        return;
    struct bytes checked = bytes_slice(buffer_view(file), begin + LENGTH_AT, file->len);
    uint64_t sum = checksum(key, place->at, checked);
    for (unsigned i = 0; i < 8; i++)
        file->at[begin + i] = (uint8_t)(sum >> (56 - 8 * i));
}

static void append_number(struct buffer *file, uint64_t value, unsigned octets)
{
    while (octets-- > 0)
        buffer_append_byte(file, (uint8_t)(value >> (8 * octets)));
}

static uint64_t checksum(const struct siphash_key *key, uint64_t at, struct bytes octets)
{
    struct siphash_key here = *key;
    for (unsigned i = 0; i < 8; i++)
        here.octets[i] ^= (uint8_t)(at >> (8 * i));
    return siphash(&here, octets);
}

enum status journal_format_read(const struct siphash_key *key, uint64_t at, struct bytes frame,
                                struct bytes *record)
{
    if (frame.len < JOURNAL_FRAME_OCTETS ||
        number_at(frame, LENGTH_AT, 4) != frame.len - JOURNAL_FRAME_OCTETS ||
        number_at(frame, 0, 8) != checksum(key, at, bytes_slice(frame, LENGTH_AT, frame.len)))
        return STATUS_MALFORMED;
    *record = bytes_slice(frame, JOURNAL_FRAME_OCTETS, frame.len);
    return STATUS_OK;
}

enum status journal_reader_begin(struct journal_reader *reader, struct bytes file)
{
    *reader = (struct journal_reader){.file = file, .at = JOURNAL_HEADER_OCTETS};
    if (file.len < JOURNAL_HEADER_OCTETS || memcmp(file.at, MAGIC, sizeof(MAGIC) - 1) != 0)
        return STATUS_MALFORMED;
    if (file.at[sizeof(MAGIC) - 1] != VERSION)
        return STATUS_UNSUPPORTED;
    memcpy(reader->key.octets, file.at + KEY_AT, sizeof(reader->key.octets));
    bool sound = number_at(file, HEADER_CHECK_AT, 8) ==
                 checksum(&reader->key, 0, bytes_slice(file, 0, HEADER_CHECK_AT));
    return sound ? STATUS_OK : STATUS_MALFORMED;
}

enum journal_verdict journal_reader_next(struct journal_reader *reader, struct bytes *record)
{
    if (reader->at == reader->file.len)
        return JOURNAL_END;
    if (!frame_at(reader, reader->at, record))
        return is_followed(reader) ? JOURNAL_DAMAGED : JOURNAL_TORN;
    reader->at += JOURNAL_FRAME_OCTETS + record->len;
    return JOURNAL_RECORD;
}

static bool frame_at(const struct journal_reader *reader, size_t at, struct bytes *record)
{
    struct bytes rest = bytes_slice(reader->file, at, reader->file.len);
    if (rest.len < JOURNAL_FRAME_OCTETS)
        return false;
    uint64_t len = number_at(rest, LENGTH_AT, 4);
    if (len > JOURNAL_RECORD_MAX || len > rest.len - JOURNAL_FRAME_OCTETS)
        return false;
    struct bytes frame = bytes_slice(rest, 0, JOURNAL_FRAME_OCTETS + (size_t)len);
    return journal_format_read(&reader->key, at, frame, record) == STATUS_OK;
}

/* Whether a frame further on was written when this place was known to be on the disk. */
static bool is_followed(const struct journal_reader *reader)
{
    struct bytes record;
    for (size_t at = reader->at + 1; at + JOURNAL_FRAME_OCTETS <= reader->file.len; at++) {
        uint64_t safe = number_at(reader->file, at + SAFE_AT, 8);
        if (safe > reader->at && safe <= at && frame_at(reader, at, &record))
            return true;
    }
    return false;
}

static uint64_t number_at(struct bytes octets, size_t at, unsigned len)
{
    uint64_t value = 0;
    for (size_t i = at; i < at + len; i++)
        value = value << 8 | octets.at[i];
    return value;
}
