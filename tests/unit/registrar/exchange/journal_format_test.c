/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/exchange/journal_format.h"

#include <stdio.h>
#include <string.h>

#define RECORDS 5

/* A journal whose records were written one by one, but for the last two, which were written together. */
struct fixture {
    struct siphash_key key;
    struct buffer file;
    size_t begins[RECORDS + 1]; /* of the frames; and the end */
};

static struct bytes record_number(size_t number)
{
    static char texts[RECORDS][40];
    snprintf(texts[number], sizeof(texts[number]), "record number %zu %.*s", number, (int)number * 3,
             "..............");
    return bytes_from_string(texts[number]);
}

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture.key = (struct siphash_key){{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
    buffer_init(&fixture.file, 4096);
    journal_format_begin(&fixture.key, &fixture.file);
    assert_int_equal(fixture.file.len, JOURNAL_HEADER_OCTETS);
    for (size_t i = 0; i < RECORDS; i++) {
        fixture.begins[i] = fixture.file.len;
        size_t safe = i == RECORDS - 1 ? fixture.begins[i - 1] : fixture.file.len;
        const struct journal_place place = {fixture.file.len, safe};
        journal_format_frame(&fixture.key, &place, record_number(i), &fixture.file);
    }
    fixture.begins[RECORDS] = fixture.file.len;
    assert_int_equal(fixture.file.status, STATUS_OK);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    buffer_free(&fixture->file);
    return 0;
}

/* Reads count good records, and says what comes then. */
static enum journal_verdict read_records(struct bytes file, size_t count)
{
    struct journal_reader reader;
    struct bytes record;
    assert_int_equal(journal_reader_begin(&reader, file), STATUS_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(journal_reader_next(&reader, &record), JOURNAL_RECORD);
        assert_true(bytes_equal(record, record_number(i)));
    }
    size_t at = reader.at;
    enum journal_verdict verdict = journal_reader_next(&reader, &record);
    assert_int_equal(reader.at, at);
    return verdict;
}

static void what_is_written_is_read(void **state)
{
    struct fixture *fixture = *state;
    struct bytes record;
    assert_int_equal(read_records(buffer_view(&fixture->file), RECORDS), JOURNAL_END);
    struct bytes frame =
        bytes_slice(buffer_view(&fixture->file), fixture->begins[1], fixture->begins[2] - fixture->begins[1]);
    assert_int_equal(journal_format_read(&fixture->key, fixture->begins[1], frame, &record), STATUS_OK);
    assert_true(bytes_equal(record, record_number(1)));
    assert_int_equal(journal_format_read(&fixture->key, fixture->begins[2], frame, &record),
                     STATUS_MALFORMED);
}

/* Wherever the machine stopped: what is whole counts. */
static void a_torn_end_is_told_from_damage(void **state)
{
    struct fixture *fixture = *state;
    for (size_t len = JOURNAL_HEADER_OCTETS; len < fixture->file.len; len++) {
        size_t whole = 0;
        while (whole < RECORDS && fixture->begins[whole + 1] <= len)
            whole++;
        enum journal_verdict verdict = read_records((struct bytes){fixture->file.at, len}, whole);
        assert_int_equal(verdict, len == fixture->begins[whole] ? JOURNAL_END : JOURNAL_TORN);
    }
}

/* After a power failure the file may be as long as it was to be, and hold anything there. */
static void garbage_at_the_end_is_torn(void **state)
{
    struct fixture *fixture = *state;
    for (int filling = 0; filling < 256; filling += 85) {
        for (size_t from = fixture->begins[3] + 1; from < fixture->file.len; from++) {
            uint8_t file[512];
            memcpy(file, fixture->file.at, fixture->file.len);
            memset(file + from, filling, sizeof(file) - from);
            size_t whole = from >= fixture->begins[4] ? 4 : 3;
            assert_int_equal(read_records((struct bytes){file, sizeof(file)}, whole), JOURNAL_TORN);
        }
    }
}

/* Of two frames that were written together, the second may be on the disk without the first. */
static void frames_written_together_may_arrive_in_any_order(void **state)
{
    struct fixture *fixture = *state;
    for (size_t at = fixture->begins[3]; at < fixture->begins[4]; at++) {
        fixture->file.at[at] ^= 0x10;
        assert_int_equal(read_records(buffer_view(&fixture->file), 3), JOURNAL_TORN);
        fixture->file.at[at] ^= 0x10;
    }
}

/* Any octet of a frame that was on the disk before the next was written. */
static void damage_is_found(void **state)
{
    struct fixture *fixture = *state;
    for (size_t number = 0; number < 3; number++) {
        for (size_t at = fixture->begins[number]; at < fixture->begins[number + 1]; at++) {
            fixture->file.at[at] ^= 0x10;
            assert_int_equal(read_records(buffer_view(&fixture->file), number), JOURNAL_DAMAGED);
            fixture->file.at[at] ^= 0x10;
        }
    }
}

static void a_header_must_be_whole(void **state)
{
    struct fixture *fixture = *state;
    struct journal_reader reader;
    for (size_t at = 0; at < JOURNAL_HEADER_OCTETS; at++) {
        fixture->file.at[at] ^= 0x01;
        assert_int_equal(journal_reader_begin(&reader, buffer_view(&fixture->file)),
                         at == 7 ? STATUS_UNSUPPORTED : STATUS_MALFORMED);
        fixture->file.at[at] ^= 0x01;
    }
    for (size_t len = 0; len < JOURNAL_HEADER_OCTETS; len++)
        assert_int_equal(journal_reader_begin(&reader, (struct bytes){fixture->file.at, len}),
                         STATUS_MALFORMED);
}

/* What an older journal has left on the disk is no part of this one. */
static void frames_of_another_file_do_not_count(void **state)
{
    struct fixture *fixture = *state;
    struct buffer other;
    const struct siphash_key key = {{99}};
    buffer_init(&other, 4096);
    journal_format_begin(&key, &other);
    buffer_append(&other, bytes_slice(buffer_view(&fixture->file), JOURNAL_HEADER_OCTETS, fixture->file.len));
    assert_int_equal(read_records(buffer_view(&other), 0), JOURNAL_TORN);
    buffer_free(&other);
}

/* Nobody writes one that is longer, whatever its checksum says. */
static void records_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    static uint8_t octets[JOURNAL_RECORD_MAX + 1];
    for (size_t more = 0; more < 2; more++) {
        struct buffer file;
        struct journal_reader reader;
        struct bytes record;
        buffer_init(&file, sizeof octets + 1000);
        journal_format_begin(&fixture->key, &file);
        const struct journal_place place = {file.len, file.len};
        journal_format_frame(&fixture->key, &place, (struct bytes){octets, JOURNAL_RECORD_MAX + more}, &file);
        assert_int_equal(file.status, STATUS_OK);
        assert_int_equal(journal_reader_begin(&reader, buffer_view(&file)), STATUS_OK);
        assert_int_equal(journal_reader_next(&reader, &record), more == 0 ? JOURNAL_RECORD : JOURNAL_TORN);
        buffer_free(&file);
    }
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_read),
        TEST(a_torn_end_is_told_from_damage),
        TEST(garbage_at_the_end_is_torn),
        TEST(frames_written_together_may_arrive_in_any_order),
        TEST(damage_is_found),
        TEST(a_header_must_be_whole),
        TEST(frames_of_another_file_do_not_count),
        TEST(records_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
