/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/exchange/pending_record.h"

#include <string.h>

#define CLOCK_MS UINT64_C(1700000000000)

static struct pending_record make_entry(enum pending_state state)
{
    struct pending_record record = {
        .kind = PENDING_RECORD_ENTRY,
        .key = {{1, 2, 3}, {4, 5, 6}},
        .state = state,
        .doubtful = true,
        .passed = {7, 8},
        .server = UINT64_C(0x0123456789abcdef),
        .due_ms = 123456,
        .expires_ms = 234567,
        .name = BYTES_LITERAL("client=\"CN=pump\" operation=sen label=\"\""),
    };
    if (state == PENDING_READY || state == PENDING_REFUSED)
        record.result = BYTES_LITERAL("certificate");
    if (state == PENDING_REFUSED)
        record.refusal = 0x83;
    return record;
}

static void assert_same(const struct pending_record *one, const struct pending_record *other)
{
    assert_int_equal(one->kind, other->kind);
    assert_memory_equal(one->key.octets, other->key.octets, 32);
    if (one->kind == PENDING_RECORD_FORGOTTEN)
        return;
    assert_int_equal(one->expires_ms, other->expires_ms);
    if (one->kind == PENDING_RECORD_DELIVERED)
        return;
    assert_memory_equal(one->key.client, other->key.client, 32);
    assert_int_equal(one->state, other->state);
    assert_int_equal(one->doubtful, other->doubtful);
    assert_int_equal(one->is_secret, other->is_secret);
    assert_int_equal(one->refusal, other->refusal);
    assert_memory_equal(one->passed, other->passed, 32);
    assert_int_equal(one->server, other->server);
    assert_int_equal(one->due_ms, other->due_ms);
    assert_true(bytes_equal(one->name, other->name));
    assert_true(bytes_equal(one->result, other->result));
}

/* Every octet that is missing or too many is noticed, but within the result, whose length is what is left. */
static void check_round_trip(const struct pending_record *record)
{
    struct buffer octets;
    struct pending_record again;
    buffer_init(&octets, 4096);
    pending_record_encode(record, CLOCK_MS, &octets);
    assert_int_equal(pending_record_decode(buffer_view(&octets), CLOCK_MS, &again), STATUS_OK);
    assert_same(record, &again);
    for (size_t len = 0; len < octets.len - record->result.len; len++)
        assert_int_equal(pending_record_decode((struct bytes){octets.at, len}, CLOCK_MS, &again),
                         STATUS_MALFORMED);
    if (record->result.len == 0) {
        buffer_append_byte(&octets, 0);
        assert_int_equal(pending_record_decode(buffer_view(&octets), CLOCK_MS, &again), STATUS_MALFORMED);
    }
    buffer_free(&octets);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    for (int i = PENDING_SENT; i <= PENDING_IN_DOUBT; i++) {
        struct pending_record record = make_entry((enum pending_state)i);
        check_round_trip(&record);
    }
    struct pending_record secret = make_entry(PENDING_READY);
    secret.is_secret = true;
    secret.doubtful = false;
    secret.result = (struct bytes){NULL, 0};
    check_round_trip(&secret);
    secret = make_entry(PENDING_WAITING);
    secret.is_secret = true;
    check_round_trip(&secret);
    struct pending_record other = make_entry(PENDING_READY);
    other.result = (struct bytes){NULL, 0};
    other.kind = PENDING_RECORD_DELIVERED;
    check_round_trip(&other);
    other.kind = PENDING_RECORD_FORGOTTEN;
    check_round_trip(&other);
}

/* Times are by another clock on the disk; what lies before our clock began is its beginning. */
static void times_are_moved(void **state)
{
    (void)state;
    struct pending_record record = make_entry(PENDING_WAITING), again;
    struct buffer octets;
    buffer_init(&octets, 4096);
    pending_record_encode(&record, CLOCK_MS, &octets);
    assert_int_equal(pending_record_decode(buffer_view(&octets), CLOCK_MS + 100000, &again), STATUS_OK);
    assert_int_equal(again.due_ms, 23456);
    assert_int_equal(again.expires_ms, 134567);
    assert_int_equal(pending_record_decode(buffer_view(&octets), CLOCK_MS + 200000, &again), STATUS_OK);
    assert_int_equal(again.due_ms, 0);
    assert_int_equal(again.expires_ms, 34567);
    buffer_free(&octets);
}

static void assert_malformed(const struct pending_record *record)
{
    struct pending_record again;
    struct buffer octets;
    buffer_init(&octets, 4096);
    pending_record_encode(record, 0, &octets);
    assert_int_equal(octets.status, STATUS_OK);
    assert_int_equal(pending_record_decode(buffer_view(&octets), 0, &again), STATUS_MALFORMED);
    buffer_free(&octets);
}

/* SKG-9 among them: a secret is never written down, so nothing that says so is believed. */
static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    uint8_t name[PENDING_NAME_OCTETS_MAX + 1] = {0};
    struct pending_record record = make_entry(PENDING_READY);
    record.is_secret = true;
    assert_malformed(&record);
    record = make_entry(PENDING_SENT);
    record.is_secret = true;
    assert_malformed(&record);
    record = make_entry(PENDING_SENT);
    record.result = BYTES_LITERAL("x");
    assert_malformed(&record);
    record = make_entry(PENDING_QUEUED);
    assert_malformed(&record);
    record.state = (enum pending_state)(PENDING_IN_DOUBT + 1);
    assert_malformed(&record);
    record = make_entry(PENDING_REFUSED);
    record.refusal = 0;
    assert_malformed(&record);
    record = make_entry(PENDING_WAITING);
    record.refusal = 0x83;
    assert_malformed(&record);
    record = make_entry(PENDING_SENT);
    record.name = (struct bytes){name, sizeof(name)};
    assert_malformed(&record);
    record.kind = (enum pending_record_kind)9;
    assert_malformed(&record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(times_are_moved),
        cmocka_unit_test(what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
