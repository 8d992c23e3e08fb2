/* Whatever a disk has made of the journal: it is read without harm, and every record that counts is one. */
#include "registrar/exchange/journal_format.h"
#include "registrar/exchange/pending_record.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* A record that is understood is written as it was. */
static void check_record(struct bytes octets)
{
    struct pending_record record;
    struct buffer again;
    if (pending_record_decode(octets, 0, &record) != STATUS_OK)
        return;
    buffer_init(&again, octets.len);
    pending_record_encode(&record, 0, &again);
    check(bytes_equal(buffer_view(&again), octets));
    buffer_free(&again);
}

/* Nobody finds a SipHash by chance: the input is split into records, and an octet or two of the journal made
 * of them is changed. What was whole before that place is read, and nothing after it that was not written. */
static void check_damage(struct bytes input)
{
    const struct siphash_key key = {{1}};
    struct buffer file;
    buffer_init(&file, 4 * input.len + 4096);
    journal_format_begin(&key, &file);
    size_t change = bytes_slice(input, 0, 1).len > 0 ? input.at[0] * 7u : 0, whole = 0, read = 0;
    for (size_t at = 1; at < input.len; at += 32) {
        const struct journal_place place = {file.len, file.len};
        journal_format_frame(&key, &place, bytes_slice(input, at, 32), &file);
        whole += file.len <= change ? 1 : 0;
    }
    check(file.status == STATUS_OK);
    bool changed = change < file.len;
    if (changed)
        file.at[change] ^= 0x55;
    struct journal_reader reader;
    struct bytes record;
    if (journal_reader_begin(&reader, buffer_view(&file)) != STATUS_OK) {
        check(changed && change < JOURNAL_HEADER_OCTETS);
    } else {
        while (journal_reader_next(&reader, &record) == JOURNAL_RECORD)
            read++;
        check(!changed || read == whole);
    }
    buffer_free(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = {data, size}, record;
    struct journal_reader reader;
    check_record(input);
    check_damage(input);
    if (journal_reader_begin(&reader, input) == STATUS_OK)
        while (journal_reader_next(&reader, &record) == JOURNAL_RECORD)
            check_record(record);
    return 0;
}
