/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/counters.h"
#include "registrar/exchange/pending_enrolments.h"
#include "registrar/exchange/pending_journal.h"
#include "tests/unit/registrar/exchange/made_local_key.h"
#include "tests/unit/registrar/keygen/keyless_request.h"

#include <pthread.h>
#include <string.h>

#define START_MS  UINT64_C(1000000)
#define MAX_BYTES 8000

struct fixture {
    struct est_settings settings;
    struct metrics *metrics;
    struct pending_enrolments *pending;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture.settings = (struct est_settings){.in_doubt = IN_DOUBT_RETRY,
                                             .grace_s = 300,
                                             .key_grace_s = 60,
                                             .max_pending = 4,
                                             .max_pending_per_client = 1000,
                                             .retry_after_s = 60,
                                             .retry_after_max_s = 3600};
    fixture.metrics = counters_create();
    fixture.pending = pending_enrolments_create(&fixture.settings, MAX_BYTES, fixture.metrics);
    assert_non_null(fixture.pending);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    pending_enrolments_free(fixture->pending);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_PENDING_ENTRIES), 0);
    metrics_free(fixture->metrics);
    return 0;
}

static struct pending_key make_pending_key(uint8_t number)
{
    struct pending_key key = {{number}, {1}};
    return key;
}

static const struct bytes result = {(const uint8_t *)"certificate", 11};

static enum pending_verdict ask(struct fixture *fixture, uint8_t number, uint64_t now_ms,
                                struct pending_outcome *outcome)
{
    struct pending_key key = make_pending_key(number);
    struct buffer got;
    buffer_init(&got, MAX_BYTES);
    enum pending_verdict verdict = pending_enrolments_ask(fixture->pending, &key, now_ms, outcome, &got);
    if (verdict == PENDING_ANSWER)
        assert_true(bytes_equal(buffer_view(&got), result));
    else
        assert_int_equal(got.len, 0);
    buffer_free(&got);
    return verdict;
}

static void assert_asked(struct fixture *fixture, uint8_t number, uint64_t now_ms, bool repeats_in_doubt)
{
    struct pending_outcome outcome;
    assert_int_equal(ask(fixture, number, now_ms, &outcome), PENDING_ASK);
    assert_int_equal(outcome.repeats_in_doubt, repeats_in_doubt);
}

static void assert_later(struct fixture *fixture, uint8_t number, uint64_t now_ms, uint32_t retry_after_s)
{
    struct pending_outcome outcome;
    assert_int_equal(ask(fixture, number, now_ms, &outcome), PENDING_LATER);
    assert_int_equal(outcome.retry_after_s, retry_after_s);
}

static void assert_full(struct fixture *fixture, uint8_t number, uint64_t now_ms)
{
    struct pending_outcome outcome;
    assert_int_equal(ask(fixture, number, now_ms, &outcome), PENDING_FULL);
    assert_int_equal(outcome.retry_after_s, 60);
}

static void assert_answered(struct fixture *fixture, uint8_t number, uint64_t now_ms)
{
    struct pending_outcome outcome;
    assert_int_equal(ask(fixture, number, now_ms, &outcome), PENDING_ANSWER);
}

static void sent(struct fixture *fixture, uint8_t number)
{
    struct pending_key key = make_pending_key(number);
    pending_enrolments_sent(fixture->pending, &key, BYTES_LITERAL("test"));
}

static void ready(struct fixture *fixture, uint8_t number, uint64_t now_ms)
{
    struct pending_key key = make_pending_key(number);
    assert_int_equal(pending_enrolments_ready(fixture->pending, &key, now_ms, result), STATUS_OK);
}

static void delivered(struct fixture *fixture, uint8_t number, uint64_t now_ms)
{
    struct pending_key key = make_pending_key(number);
    pending_enrolments_delivered(fixture->pending, &key, now_ms);
}

static void wait_for(struct fixture *fixture, uint8_t number, uint64_t now_ms, uint32_t retry_after_s)
{
    struct pending_key key = make_pending_key(number);
    pending_enrolments_wait(fixture->pending, &key, now_ms, retry_after_s, 0);
}

static void wait_at(struct fixture *fixture, uint8_t number, uint64_t now_ms, uint64_t server)
{
    struct pending_key key = make_pending_key(number);
    pending_enrolments_wait(fixture->pending, &key, now_ms, 10, server);
}

static void assert_asked_at(struct fixture *fixture, uint8_t number, uint64_t now_ms, uint64_t server)
{
    struct pending_outcome outcome;
    assert_int_equal(ask(fixture, number, now_ms, &outcome), PENDING_ASK);
    assert_int_equal(outcome.server, server);
}

static void refused(struct fixture *fixture, uint8_t number, uint64_t now_ms)
{
    struct pending_key key = make_pending_key(number);
    pending_enrolments_refused(fixture->pending, &key, now_ms, 0x83, BYTES_LITERAL("no"));
}

static void withdrawn(struct fixture *fixture, uint8_t number, uint64_t now_ms)
{
    struct pending_key key = make_pending_key(number);
    pending_enrolments_withdrawn(fixture->pending, &key, now_ms);
}

static void assert_refused(struct fixture *fixture, uint8_t number, uint64_t now_ms)
{
    struct pending_key key = make_pending_key(number);
    struct pending_outcome outcome;
    struct buffer got;
    buffer_init(&got, MAX_BYTES);
    assert_int_equal(pending_enrolments_ask(fixture->pending, &key, now_ms, &outcome, &got), PENDING_ANSWER);
    assert_int_equal(outcome.refusal, 0x83);
    assert_true(bytes_equal(buffer_view(&got), BYTES_LITERAL("no")));
    buffer_free(&got);
}

static void in_doubt(struct fixture *fixture, uint8_t number, uint64_t now_ms)
{
    struct pending_key key = make_pending_key(number);
    pending_enrolments_in_doubt(fixture->pending, &key, now_ms);
}

/* DLY-4, DLY-6: every part counts, and parts do not run into each other. */
static void every_part_of_the_key_counts(void **state)
{
    (void)state;
    const uint8_t digest_a[32] = {1}, digest_b[32] = {2};
    const struct {
        const char *fingerprint, *operation, *label;
        const uint8_t *digest;
    } parts[] = {
        {"client1", "sen", "", digest_a},  {"client2", "sen", "", digest_a},
        {"client1", "sren", "", digest_a}, {"client1", "sen", "p1", digest_a},
        {"client1", "sen", "", digest_b},  {"client1", "senp1", "", digest_a},
        {"client1s", "en", "", digest_a},  {"client1", "s", "en", digest_a},
    };
    enum { COUNT = sizeof(parts) / sizeof(parts[0]) };
    struct pending_key keys[COUNT], again;
    for (size_t i = 0; i < COUNT; i++) {
        struct bytes fingerprint = bytes_from_string(parts[i].fingerprint);
        struct bytes operation = bytes_from_string(parts[i].operation);
        struct bytes label = bytes_from_string(parts[i].label);
        assert_int_equal(pending_key_make(fingerprint, operation, label, parts[i].digest, &keys[i]),
                         STATUS_OK);
        assert_int_equal(pending_key_make(fingerprint, operation, label, parts[i].digest, &again), STATUS_OK);
        assert_memory_equal(&keys[i], &again, sizeof(again));
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(&keys[i], &keys[j], sizeof(again));
    }
}

/* DLY-3: as long again, at least 1 s, at most what the settings say. */
static void the_wait_is_as_long_again(void **state)
{
    (void)state;
    assert_int_equal(pending_retry_after_s(0, 3600), 1);
    assert_int_equal(pending_retry_after_s(1, 3600), 1);
    assert_int_equal(pending_retry_after_s(1000, 3600), 1);
    assert_int_equal(pending_retry_after_s(1001, 3600), 2);
    assert_int_equal(pending_retry_after_s(20000, 3600), 20);
    assert_int_equal(pending_retry_after_s(UINT64_MAX, 3600), 3600);
}

/* DLY-4: whoever comes while the EST server works waits; the result is given again and again. */
static void a_result_is_given_to_whoever_repeats(void **state)
{
    struct fixture *fixture = *state;
    assert_asked(fixture, 1, START_MS, false);
    assert_later(fixture, 1, START_MS, 1);
    assert_later(fixture, 1, START_MS + 4500, 5);
    sent(fixture, 1);
    assert_later(fixture, 1, START_MS + 20000, 20);
    assert_later(fixture, 1, START_MS + 5000000, 3600);
    ready(fixture, 1, START_MS + 30000);
    assert_answered(fixture, 1, START_MS + 40000);
    assert_answered(fixture, 1, START_MS + 41000);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_PENDING_REPEATED), 2);
    assert_asked(fixture, 2, START_MS, false); /* another key is another transaction */
}

/* DLY-4: the grace for lost answers runs from the last delivery. */
static void a_delivered_result_is_kept_for_the_time_of_grace(void **state)
{
    struct fixture *fixture = *state;
    assert_asked(fixture, 1, START_MS, false);
    ready(fixture, 1, START_MS);
    delivered(fixture, 1, START_MS + 1000);
    assert_answered(fixture, 1, START_MS + 300999);
    delivered(fixture, 1, START_MS + 300999);
    assert_answered(fixture, 1, START_MS + 600998);
    assert_asked(fixture, 1, START_MS + 600999, false);
}

/* "at most a day", however often it is fetched */
static void no_result_is_older_than_a_day(void **state)
{
    struct fixture *fixture = *state;
    assert_asked(fixture, 1, START_MS, false);
    ready(fixture, 1, START_MS);
    assert_answered(fixture, 1, START_MS + PENDING_KEPT_MS - 1);
    delivered(fixture, 1, START_MS + PENDING_KEPT_MS - 1);
    assert_answered(fixture, 1, START_MS + PENDING_KEPT_MS - 1);
    assert_asked(fixture, 1, START_MS + PENDING_KEPT_MS, false);
}

/* Life of an exchange: the device was gone, so its result waits for it. */
static void an_undelivered_result_outlives_the_time_of_grace(void **state)
{
    struct fixture *fixture = *state;
    assert_asked(fixture, 1, START_MS, false);
    sent(fixture, 1);
    ready(fixture, 1, START_MS);
    assert_int_equal(pending_enrolments_expire(fixture->pending, START_MS + 4000000), 1);
    assert_answered(fixture, 1, START_MS + 4000000);
}

/* DLY-4: upstream 202 with Retry-After: 120; at 10 s the device hears 110, after 120 it asks again. */
static void retry_after_is_held(void **state)
{
    struct fixture *fixture = *state;
    assert_asked(fixture, 1, START_MS, false);
    sent(fixture, 1);
    wait_for(fixture, 1, START_MS, 120);
    assert_later(fixture, 1, START_MS + 10000, 110);
    assert_later(fixture, 1, START_MS + 10001, 110);
    assert_later(fixture, 1, START_MS + 119999, 1);
    assert_asked(fixture, 1, START_MS + 120000, false);
    assert_later(fixture, 1, START_MS + 120000, 1); /* one asks, not two */
    sent(fixture, 1);
    ready(fixture, 1, START_MS + 121000);
    assert_answered(fixture, 1, START_MS + 122000);
}

/* What the EST server was not asked frees the key. */
static void what_is_withdrawn_is_forgotten(void **state)
{
    struct fixture *fixture = *state;
    assert_asked(fixture, 1, START_MS, false);
    withdrawn(fixture, 1, START_MS);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_PENDING_ENTRIES), 0);
    assert_asked(fixture, 1, START_MS, false);
    sent(fixture, 1); /* and whose connection then broke before the body left: the same */
    withdrawn(fixture, 1, START_MS);
    assert_asked(fixture, 1, START_MS, false);
}

/* DLY-3, DLY-4: a refusal waits for its device, which hears it once, as a certificate would. */
static void a_refusal_is_kept_until_it_is_heard(void **state)
{
    struct fixture *fixture = *state;
    assert_asked(fixture, 1, START_MS, false);
    sent(fixture, 1);
    refused(fixture, 1, START_MS);
    assert_refused(fixture, 1, START_MS + 1);
    assert_refused(fixture, 1, START_MS + 299999);
    delivered(fixture, 1, START_MS + 299999);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_PENDING_ENTRIES), 0);
    assert_asked(fixture, 1, START_MS + 299999, false);
    refused(fixture, 1, START_MS + 300000);
    assert_asked(fixture, 1, START_MS + 600000, false); /* nobody came within grace_s */
}

/* A full table has no room for refusals, and one without octets to spare keeps none. */
static void refusals_make_room(void **state)
{
    struct fixture *fixture = *state;
    for (uint8_t number = 1; number <= 4; number++) {
        assert_asked(fixture, number, START_MS, false);
        refused(fixture, number, START_MS);
    }
    assert_asked(fixture, 5, START_MS, false);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_PENDING_ENTRIES), 1);
}

/* in_doubt: retry: the next one asks again, and is told that it may be the second issue. */
static void a_doubt_is_retried(void **state)
{
    struct fixture *fixture = *state;
    assert_asked(fixture, 1, START_MS, false);
    sent(fixture, 1);
    in_doubt(fixture, 1, START_MS);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 1);
    assert_asked(fixture, 1, START_MS + 1, true);
    assert_later(fixture, 1, START_MS + 1, 1);
    in_doubt(fixture, 1, START_MS + 2);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 2);
    assert_asked(fixture, 1, START_MS + 3, true);
    withdrawn(fixture, 1, START_MS + 4); /* says nothing about the first two */
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 2);
    assert_asked(fixture, 1, START_MS + 5, true);
    refused(fixture, 1, START_MS + 5); /* nor does this */
    assert_asked(fixture, 1, START_MS + 5, true);
    wait_for(fixture, 1, START_MS + 5, 1);
    assert_asked(fixture, 1, START_MS + 1005, true);
    ready(fixture, 1, START_MS + 1006);
    assert_answered(fixture, 1, START_MS + 1007);
}

/* in_doubt: hold: nobody asks again until the entry expires. */
static void a_doubt_is_held(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.in_doubt = IN_DOUBT_HOLD;
    assert_asked(fixture, 1, START_MS, false);
    sent(fixture, 1);
    in_doubt(fixture, 1, START_MS);
    assert_later(fixture, 1, START_MS + 1, 3600);
    assert_later(fixture, 1, START_MS + PENDING_KEPT_MS - 5000, 5);
    assert_int_equal(pending_enrolments_expire(fixture->pending, START_MS + PENDING_KEPT_MS - 1), 1);
    assert_asked(fixture, 1, START_MS + PENDING_KEPT_MS, false);
}

/* SEC-3: the table is bounded, and what would break the promise is not evicted. */
static void a_full_table_forgets_nothing_that_matters(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.in_doubt = IN_DOUBT_HOLD;
    for (uint8_t i = 1; i <= 4; i++)
        assert_asked(fixture, i, START_MS, false);
    sent(fixture, 1);
    wait_for(fixture, 2, START_MS, 10);
    ready(fixture, 3, START_MS);
    in_doubt(fixture, 4, START_MS);
    assert_full(fixture, 5, START_MS);
    assert_full(fixture, 5, START_MS + 10000);
    assert_later(fixture, 1, START_MS, 1);
    assert_later(fixture, 2, START_MS, 10);
    assert_answered(fixture, 3, START_MS);
    assert_later(fixture, 4, START_MS, 3600);
    withdrawn(fixture, 1, START_MS);
    assert_asked(fixture, 5, START_MS, false);
    assert_full(fixture, 1, START_MS);
}

/* Decision: MAX_TRANSMIT_WAIT after delivery a result may make room, before that it may not. */
static void a_full_table_forgets_what_was_delivered_long_ago(void **state)
{
    struct fixture *fixture = *state;
    for (uint8_t i = 1; i <= 4; i++) {
        assert_asked(fixture, i, START_MS, false);
        ready(fixture, i, START_MS);
    }
    delivered(fixture, 1, START_MS);
    delivered(fixture, 2, START_MS + 1);
    assert_full(fixture, 5, START_MS + PENDING_LOST_ANSWER_MS - 1001);
    assert_asked(fixture, 5, START_MS + PENDING_LOST_ANSWER_MS, false);
    assert_answered(fixture, 2, START_MS + PENDING_LOST_ANSWER_MS);
    assert_answered(fixture, 3, START_MS + PENDING_LOST_ANSWER_MS);
    assert_full(fixture, 6, START_MS + PENDING_LOST_ANSWER_MS);
}

/* Doubts that would be retried anyway do not keep others out. */
static void a_full_table_forgets_doubts_to_be_retried(void **state)
{
    struct fixture *fixture = *state;
    for (uint8_t i = 1; i <= 4; i++) {
        assert_asked(fixture, i, START_MS, false);
        sent(fixture, i);
        in_doubt(fixture, i, START_MS);
    }
    assert_asked(fixture, 5, START_MS, false);
}

/* SEC-3: results are bounded in octets; near the bound nobody new is let in. */
static void the_results_are_bounded_in_octets(void **state)
{
    struct fixture *fixture = *state;
    static const uint8_t large[MAX_BYTES / 2];
    struct pending_key keys[] = {make_pending_key(1), make_pending_key(2), make_pending_key(3)};
    for (uint8_t i = 1; i <= 3; i++)
        assert_asked(fixture, i, START_MS, false);
    const struct bytes half = {large, sizeof(large)}, less = {large, sizeof(large) - 10}, more = {large, 11};
    assert_int_equal(pending_enrolments_ready(fixture->pending, &keys[0], START_MS, half), STATUS_OK);
    assert_int_equal(pending_enrolments_ready(fixture->pending, &keys[1], START_MS, less), STATUS_OK);
    assert_full(fixture, 4, START_MS);
    assert_int_equal(pending_enrolments_ready(fixture->pending, &keys[2], START_MS, more), STATUS_BUSY);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 1);
    assert_asked(fixture, 3, START_MS, true);

    delivered(fixture, 1, START_MS); /* makes room once it is old enough */
    uint64_t later_ms = START_MS + PENDING_LOST_ANSWER_MS;
    assert_int_equal(pending_enrolments_ready(fixture->pending, &keys[2], later_ms, more), STATUS_OK);
    assert_asked(fixture, 4, later_ms, false);
}

/* Requests that run are never dropped by time: their exchange settles them. */
static void running_requests_do_not_expire(void **state)
{
    struct fixture *fixture = *state;
    assert_asked(fixture, 1, START_MS, false);
    assert_asked(fixture, 2, START_MS, false);
    sent(fixture, 2);
    assert_int_equal(pending_enrolments_expire(fixture->pending, START_MS + 10 * PENDING_KEPT_MS), 2);
    assert_asked(fixture, 3, START_MS, false);
    wait_for(fixture, 3, START_MS, 10);
    assert_int_equal(pending_enrolments_expire(fixture->pending, START_MS + 9999 + PENDING_KEPT_MS), 3);
    assert_int_equal(pending_enrolments_expire(fixture->pending, START_MS + 10000 + PENDING_KEPT_MS), 2);
}

/* Whoever settles what is not theirs changes nothing. */
static void only_running_requests_are_settled(void **state)
{
    struct fixture *fixture = *state;
    struct pending_key key = make_pending_key(1);
    assert_int_equal(pending_enrolments_ready(fixture->pending, &key, START_MS, result), STATUS_NOT_FOUND);
    wait_for(fixture, 1, START_MS, 10);
    in_doubt(fixture, 1, START_MS);
    refused(fixture, 1, START_MS);
    withdrawn(fixture, 1, START_MS);
    delivered(fixture, 1, START_MS);
    sent(fixture, 1);
    assert_asked(fixture, 1, START_MS, false);
    ready(fixture, 1, START_MS);
    in_doubt(fixture, 1, START_MS);
    refused(fixture, 1, START_MS);
    withdrawn(fixture, 1, START_MS);
    wait_for(fixture, 1, START_MS, 10);
    sent(fixture, 1);
    assert_answered(fixture, 1, START_MS);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 0);
}

static void assert_state(struct fixture *fixture, uint8_t number, enum pending_state expected)
{
    struct pending_key key = make_pending_key(number);
    enum pending_state state;
    assert_true(pending_enrolments_state(fixture->pending, &key, &state));
    assert_int_equal(state, expected);
}

/* Design: QUEUED, SENT, WAITING, READY, IN_DOUBT. */
static void states_follow_each_other(void **state)
{
    struct fixture *fixture = *state;
    struct pending_key key = make_pending_key(1);
    enum pending_state none;
    assert_false(pending_enrolments_state(fixture->pending, &key, &none));
    assert_asked(fixture, 1, START_MS, false);
    assert_state(fixture, 1, PENDING_QUEUED);
    sent(fixture, 1);
    assert_state(fixture, 1, PENDING_SENT);
    in_doubt(fixture, 1, START_MS);
    assert_state(fixture, 1, PENDING_IN_DOUBT);
    assert_asked(fixture, 1, START_MS, true);
    assert_state(fixture, 1, PENDING_QUEUED);
    sent(fixture, 1);
    wait_for(fixture, 1, START_MS, 1);
    assert_state(fixture, 1, PENDING_WAITING);
    assert_asked(fixture, 1, START_MS + 1000, true);
    ready(fixture, 1, START_MS + 1000);
    assert_state(fixture, 1, PENDING_READY);
}

/* A worker reads the clock, then waits for the mutex while another one writes a later time: nobody is told to
 * come back in an age for that, and no result is forgotten right after its delivery. */
static void a_clock_read_too_early_does_no_harm(void **state)
{
    struct fixture *fixture = *state;
    assert_asked(fixture, 1, START_MS, false);
    assert_later(fixture, 1, START_MS - 1, 1);
    for (uint8_t number = 2; number <= 4; number++)
        assert_asked(fixture, number, START_MS, false);
    sent(fixture, 1);
    ready(fixture, 1, START_MS);
    delivered(fixture, 1, START_MS);
    assert_full(fixture, 5, START_MS - 1);
    assert_answered(fixture, 1, START_MS);
}

/* Two workers: of all who come at once with one key, one asks. */
/* DLY-7: the latest CSR that passed is known again for as long as its enrolment is, and no other. */
static void a_csr_that_passed_is_known_again(void **state)
{
    struct fixture *fixture = *state;
    struct pending_key key = make_pending_key(1), other = make_pending_key(2);
    uint8_t first[32] = {1}, rebuilt[32] = {2};
    pending_enrolments_passed(fixture->pending, &key, first);
    assert_false(
        pending_enrolments_has_passed(fixture->pending, &key, first)); /* nothing to remember it by */
    assert_asked(fixture, 1, START_MS, false);
    assert_asked(fixture, 2, START_MS, false);
    assert_false(pending_enrolments_has_passed(fixture->pending, &key, first));
    pending_enrolments_passed(fixture->pending, &key, first);
    assert_true(pending_enrolments_has_passed(fixture->pending, &key, first));
    assert_false(pending_enrolments_has_passed(fixture->pending, &key, rebuilt));
    assert_false(pending_enrolments_has_passed(fixture->pending, &other, first));
    ready(fixture, 1, START_MS);
    assert_true(pending_enrolments_has_passed(fixture->pending, &key, first));
    pending_enrolments_passed(fixture->pending, &key, rebuilt);
    assert_false(pending_enrolments_has_passed(fixture->pending, &key, first));
    assert_true(pending_enrolments_has_passed(fixture->pending, &key, rebuilt));
    delivered(fixture, 1, START_MS);
    pending_enrolments_expire(fixture->pending, START_MS + 300000);
    assert_false(pending_enrolments_has_passed(fixture->pending, &key, rebuilt));
}

/* SEC-3, RFC 8516: one client cannot fill the table, and what it has not collected is not forgotten for it.
 */
static void a_client_has_its_share(void **state)
{
    struct fixture *fixture = *state;
    struct pending_key mine = make_pending_key(9), other = {{8}, {2}};
    struct pending_outcome outcome;
    struct buffer got;
    buffer_init(&got, MAX_BYTES);
    fixture->settings.max_pending_per_client = 2;
    assert_asked(fixture, 1, START_MS, false);
    assert_asked(fixture, 2, START_MS, false);
    ready(fixture, 2, START_MS);
    assert_int_equal(pending_enrolments_ask(fixture->pending, &mine, START_MS, &outcome, &got),
                     PENDING_CROWDED);
    assert_int_equal(outcome.retry_after_s, 60);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_PENDING_CROWDED), 1);
    assert_int_equal(pending_enrolments_ask(fixture->pending, &other, START_MS, &outcome, &got), PENDING_ASK);
    assert_later(fixture, 1, START_MS, 1); /* those that it has go on */
    delivered(fixture, 2, START_MS);
    assert_int_equal(pending_enrolments_ask(fixture->pending, &mine, START_MS, &outcome, &got), PENDING_ASK);
    assert_int_equal(pending_enrolments_expire(fixture->pending, START_MS),
                     3); /* the delivered one is gone */
    withdrawn(fixture, 1, START_MS);
    assert_asked(fixture, 3, START_MS, false);
    buffer_free(&got);
}

/* What makes way for the same client's next, and what does not. */
static void only_what_is_settled_makes_way(void **state)
{
    struct fixture *fixture = *state;
    struct pending_outcome outcome;
    fixture->settings.max_pending_per_client = 1;
    assert_asked(fixture, 1, START_MS, false);
    refused(fixture, 1, START_MS);
    assert_asked(fixture, 2, START_MS, false);
    in_doubt(fixture, 2, START_MS);
    assert_asked(fixture, 3, START_MS, false);
    wait_for(fixture, 3, START_MS, 100);
    assert_int_equal(ask(fixture, 4, START_MS, &outcome), PENDING_CROWDED);
    withdrawn(fixture, 3, START_MS); /* it does not run: nothing happens */
    assert_int_equal(ask(fixture, 4, START_MS, &outcome), PENDING_CROWDED);
    assert_asked(fixture, 3, START_MS + 100000, false);
    in_doubt(fixture, 3, START_MS + 100000);
    fixture->settings.in_doubt = IN_DOUBT_HOLD;
    assert_int_equal(ask(fixture, 4, START_MS + 100000, &outcome), PENDING_CROWDED);
    fixture->settings.in_doubt = IN_DOUBT_RETRY;
    assert_asked(fixture, 4, START_MS + 100000, false);
    wait_for(fixture, 4, START_MS + 100000, 100);
    assert_asked(fixture, 5, START_MS + 200000 + PENDING_KEPT_MS, false); /* expired, and not yet swept */
}

static struct pending_record make_known(uint8_t number, enum pending_state state)
{
    struct pending_record known = {.kind = PENDING_RECORD_ENTRY,
                                   .key = make_pending_key(number),
                                   .state = state,
                                   .passed = {number},
                                   .due_ms = START_MS + 50000,
                                   .expires_ms = START_MS + 500000,
                                   .name = BYTES_LITERAL("somebody")};
    if (state == PENDING_READY || state == PENDING_REFUSED)
        known.result = state == PENDING_READY ? result : BYTES_LITERAL("no");
    if (state == PENDING_REFUSED)
        known.refusal = 0x83;
    return known;
}

static void restore(struct fixture *fixture, const struct pending_record *known, enum pending_state expected)
{
    assert_int_equal(pending_enrolments_restore(fixture->pending, known, START_MS), expected);
}

/* After a restart it is as it was; what was at the EST server is in doubt. */
static void what_was_known_is_known_again(void **state)
{
    struct fixture *fixture = *state;
    static const enum pending_state states[] = {PENDING_SENT, PENDING_WAITING, PENDING_READY,
                                                PENDING_REFUSED};
    uint8_t passed[32] = {2};
    fixture->settings.max_pending = 1; /* it is taken back all the same */
    fixture->settings.max_pending_per_client = 1;
    for (uint8_t i = 0; i < 4; i++) {
        struct pending_record known = make_known(i, states[i]);
        restore(fixture, &known, states[i] == PENDING_SENT ? PENDING_IN_DOUBT : states[i]);
    }
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 1);
    assert_later(fixture, 1, START_MS, 50);
    assert_answered(fixture, 2, START_MS);
    assert_refused(fixture, 3, START_MS);
    struct pending_key key = make_pending_key(2);
    assert_true(pending_enrolments_has_passed(fixture->pending, &key, passed));
    assert_asked(fixture, 0, START_MS, true);
    assert_asked(fixture, 1, START_MS + 50000, false);
    ready(fixture, 1, START_MS + 50000);
    assert_answered(fixture, 1, START_MS + 50000);
}

static void a_doubt_outlives_a_restart(void **state)
{
    struct fixture *fixture = *state;
    struct pending_record known = make_known(1, PENDING_WAITING);
    known.doubtful = true;
    restore(fixture, &known, PENDING_WAITING);
    assert_asked(fixture, 1, START_MS + 50000, true);
    known = make_known(2, PENDING_SENT);
    restore(fixture, &known, PENDING_IN_DOUBT);
    fixture->settings.in_doubt = IN_DOUBT_HOLD;
    assert_later(fixture, 2, START_MS, 3600);
}

/* SKG-9: the key is gone with the process. */
static void a_secret_is_in_doubt_after_a_restart(void **state)
{
    struct fixture *fixture = *state;
    struct pending_record known = make_known(1, PENDING_READY);
    known.is_secret = true;
    known.result = (struct bytes){NULL, 0};
    restore(fixture, &known, PENDING_IN_DOUBT);
    known.kind = PENDING_RECORD_DELIVERED;
    restore(fixture, &known, PENDING_IN_DOUBT);
    assert_asked(fixture, 1, START_MS, true);
    known = make_known(2, PENDING_WAITING);
    known.is_secret = true;
    restore(fixture, &known, PENDING_IN_DOUBT);
}

/* A refusal may make way for others, but not for its own diagnostic. */
static void what_does_not_fit_is_in_doubt_after_a_restart(void **state)
{
    struct fixture *fixture = *state;
    static uint8_t octets[MAX_BYTES];
    struct pending_record known = make_known(1, PENDING_READY);
    known.result = (struct bytes){octets, MAX_BYTES};
    restore(fixture, &known, PENDING_READY);
    known = make_known(2, PENDING_REFUSED);
    restore(fixture, &known, PENDING_IN_DOUBT);
    assert_asked(fixture, 2, START_MS, true);
}

/* Delivered before, so its time of grace goes on. */
static void a_delivery_is_known_again(void **state)
{
    struct fixture *fixture = *state;
    struct pending_record known = make_known(1, PENDING_READY);
    known.expires_ms = START_MS + PENDING_KEPT_MS;
    restore(fixture, &known, PENDING_READY);
    known.kind = PENDING_RECORD_DELIVERED;
    known.expires_ms = START_MS + 70000;
    restore(fixture, &known, PENDING_READY);
    assert_answered(fixture, 1, START_MS + 69999);
    assert_asked(fixture, 1, START_MS + 70000, false);
}

/* The wall clock may be anywhere: a router without a battery begins in 1970. */
static void a_clock_that_was_set_does_no_harm(void **state)
{
    struct fixture *fixture = *state;
    struct pending_record known = make_known(1, PENDING_READY);
    known.due_ms = known.expires_ms = 0; /* long ago, it seems */
    restore(fixture, &known, PENDING_READY);
    assert_answered(fixture, 1, START_MS + 299999);
    assert_asked(fixture, 1, START_MS + 300000, false);
    known = make_known(2, PENDING_WAITING);
    known.due_ms = known.expires_ms = UINT64_MAX; /* in a far future */
    restore(fixture, &known, PENDING_WAITING);
    assert_later(fixture, 2, START_MS, 3600);
    known.key = make_pending_key(3);
    known.state = PENDING_IN_DOUBT;
    restore(fixture, &known, PENDING_IN_DOUBT);
    assert_int_equal(pending_enrolments_expire(fixture->pending, START_MS + PENDING_KEPT_MS), 2);
}

static void *ask_in_a_thread(void *user)
{
    struct fixture *fixture = user;
    struct pending_outcome outcome;
    uintptr_t asked = 0;
    for (int i = 0; i < 1000; i++) {
        struct pending_key key = make_pending_key(1);
        struct buffer got;
        buffer_init(&got, MAX_BYTES);
        if (pending_enrolments_ask(fixture->pending, &key, START_MS, &outcome, &got) == PENDING_ASK)
            asked++;
        buffer_free(&got);
    }
    return (void *)asked;
}

static void one_of_many_threads_asks(void **state)
{
    pthread_t threads[4];
    uintptr_t asked = 0;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_in_a_thread, *state), 0);
    for (size_t i = 0; i < 4; i++) {
        void *count;
        assert_int_equal(pthread_join(threads[i], &count), 0);
        asked += (uintptr_t)count;
    }
    assert_int_equal(asked, 1);
}

/* The EST server that has answered 202 knows the enrolment, no other does. */
static void what_waits_goes_back_to_its_server(void **state)
{
    struct fixture *fixture = *state;
    uint64_t now_ms = START_MS;
    assert_asked_at(fixture, 1, now_ms, 0);
    sent(fixture, 1);
    wait_at(fixture, 1, now_ms, 77);
    assert_asked_at(fixture, 1, now_ms += 10000, 77);
    sent(fixture, 1);
    wait_at(fixture, 1, now_ms, 0); /* 503: it still knows */
    assert_asked_at(fixture, 1, now_ms += 10000, 77);
    withdrawn(fixture, 1, now_ms); /* not reached: may be asked at once, and only there */
    assert_asked_at(fixture, 1, now_ms, 77);
    in_doubt(fixture, 1, now_ms);
    assert_asked_at(fixture, 1, now_ms, 77);
    refused(fixture, 1, now_ms);
    assert_asked_at(fixture, 1, now_ms, 77); /* it was in doubt */
    ready(fixture, 1, now_ms);
    assert_answered(fixture, 1, now_ms);
}

static void a_server_that_is_gone_is_waited_for_a_day(void **state)
{
    struct fixture *fixture = *state;
    uint64_t now_ms = START_MS, end_ms = START_MS + 10000 + PENDING_KEPT_MS;
    assert_asked_at(fixture, 1, now_ms, 0);
    sent(fixture, 1);
    wait_at(fixture, 1, now_ms, 77);
    for (now_ms += 10000; now_ms < end_ms; now_ms += 3600000) {
        assert_asked_at(fixture, 1, now_ms, 77);
        withdrawn(fixture, 1, now_ms);
    }
    assert_asked_at(fixture, 1, end_ms, 0);
    withdrawn(fixture, 1, end_ms);
    assert_asked_at(fixture, 1, end_ms, 0);
}

/* Not for longer because it was in doubt once: then it might never come back, and the device with it. */
static void a_server_that_is_gone_in_doubt_is_waited_for_a_day(void **state)
{
    struct fixture *fixture = *state;
    uint64_t now_ms = START_MS + 10000, end_ms = now_ms + PENDING_KEPT_MS;
    assert_asked_at(fixture, 1, START_MS, 0);
    sent(fixture, 1);
    wait_at(fixture, 1, START_MS, 77);
    assert_asked_at(fixture, 1, now_ms, 77);
    sent(fixture, 1);
    in_doubt(fixture, 1, now_ms);
    for (; now_ms < end_ms; now_ms += 3600000) {
        assert_asked_at(fixture, 1, now_ms, 77);
        withdrawn(fixture, 1, now_ms);
    }
    assert_asked_at(fixture, 1, end_ms, 0);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 1);
}

static void a_refusal_ends_the_wait(void **state)
{
    struct fixture *fixture = *state;
    assert_asked_at(fixture, 1, START_MS, 0);
    sent(fixture, 1);
    wait_at(fixture, 1, START_MS, 77);
    assert_asked_at(fixture, 1, START_MS + 10000, 77);
    sent(fixture, 1);
    refused(fixture, 1, START_MS + 10000);
    assert_refused(fixture, 1, START_MS + 10000);
    delivered(fixture, 1, START_MS + 10000);
    assert_asked_at(fixture, 1, START_MS + 10001, 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static void ready_secret(struct fixture *fixture, uint8_t number, uint64_t now_ms)
{
    struct pending_key key = make_pending_key(number);
    assert_int_equal(pending_enrolments_ready_secret(fixture->pending, &key, now_ms, result), STATUS_OK);
}

static size_t expire_secrets(struct fixture *fixture, uint64_t now_ms)
{
    return pending_enrolments_expire_secrets(fixture->pending, now_ms);
}

/* SKG-9: a key that was delivered is given again for key_grace_s, however often, and is then forgotten. */
static void a_key_is_kept_for_a_short_time(void **state)
{
    struct fixture *fixture = *state;
    assert_asked(fixture, 1, START_MS, false);
    sent(fixture, 1);
    ready_secret(fixture, 1, START_MS);
    delivered(fixture, 1, START_MS);
    assert_answered(fixture, 1, START_MS + 59999);
    delivered(fixture, 1, START_MS + 59999);
    assert_int_equal(expire_secrets(fixture, START_MS + 59999), 0);
    assert_answered(fixture, 1, START_MS + 59999);
    assert_int_equal(expire_secrets(fixture, START_MS + 60000), 0);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_PENDING_ENTRIES), 0);
    assert_asked(fixture, 1, START_MS + 60000, false);
    sent(fixture, 1);
    ready_secret(fixture, 1, START_MS + 60000);
    delivered(fixture, 1, START_MS + 60000);
    assert_asked(fixture, 1, START_MS + 120000, false); /* nobody has swept meanwhile */
}

/* SKG-9: one that no device was handed leaves a doubt: its certificate was issued. */
static void a_key_that_nobody_fetched_is_in_doubt(void **state)
{
    struct fixture *fixture = *state;
    for (uint8_t number = 1; number <= 3; number++) {
        assert_asked(fixture, number, START_MS, false);
        sent(fixture, number);
    }
    ready_secret(fixture, 1, START_MS);
    ready(fixture, 2, START_MS); /* a certificate waits longer */
    ready_secret(fixture, 3, START_MS + 1000);
    delivered(fixture, 3, START_MS + 1000);
    assert_int_equal(expire_secrets(fixture, START_MS + 59999), 0);
    assert_int_equal(expire_secrets(fixture, START_MS + 60000), 1);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 1);
    assert_int_equal(expire_secrets(fixture, START_MS + 61000), 0);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_PENDING_ENTRIES), 2);
    assert_answered(fixture, 2, START_MS + 61000);
    assert_asked(fixture, 1, START_MS + 61000, true);
    fixture->settings.in_doubt = IN_DOUBT_HOLD;
    sent(fixture, 1);
    ready_secret(fixture, 1, START_MS + 61000);
    assert_int_equal(pending_enrolments_expire(fixture->pending, START_MS + 121000), 2);
    assert_later(fixture, 1, START_MS + 121000, 3600);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 2);
}

/* Keys of ours that wait for their certificates (202). */

static struct local_key *make_waiting_key(void)
{
    struct certificate_request *csr = request_with_type("P-256");
    struct local_key *key = make_local_key(csr);
    certificate_request_free(csr);
    return key;
}

static enum status keep_key(struct fixture *fixture, uint8_t number, uint64_t now_ms, uint32_t retry_after_s,
                            struct local_key *local_key)
{
    struct pending_key key = make_pending_key(number);
    return pending_enrolments_keep_key(fixture->pending, &key, now_ms, retry_after_s, local_key);
}

/* It is asked for, put off for ten seconds, and kept meanwhile. */
static void put_off(struct fixture *fixture, uint8_t number, uint64_t now_ms, struct local_key *local_key)
{
    assert_asked(fixture, number, now_ms, false);
    sent(fixture, number);
    assert_int_equal(keep_key(fixture, number, now_ms, 10, local_key), STATUS_OK);
    wait_at(fixture, number, now_ms, 77);
}

static void assert_asked_with(struct fixture *fixture, uint8_t number, uint64_t now_ms, uint64_t server,
                              const struct local_key *local_key)
{
    struct pending_outcome outcome;
    assert_int_equal(ask(fixture, number, now_ms, &outcome), PENDING_ASK);
    assert_int_equal(outcome.server, server);
    assert_ptr_equal(outcome.local_key, local_key);
    local_key_release(outcome.local_key);
}

/* What goes to the journal, which is none: the last record of all. */
static struct pending_record written;

bool pending_journal_put(struct pending_journal *journal, const struct pending_record *record)
{
    assert_ptr_equal(journal, &written);
    written = *record;
    return true;
}

/* SKG-9: whenever the registrar ends, another key is made later, of which the EST server that has taken on
 * the first one (202) knows no more than others. */
static void assert_restart_forgets_the_server(const struct fixture *fixture, enum pending_state state)
{
    struct fixture next = *fixture;
    next.pending = pending_enrolments_create(&next.settings, MAX_BYTES, next.metrics);
    assert_int_equal(written.state, state);
    assert_int_equal(written.result.len, 0);
    restore(&next, &written, PENDING_IN_DOUBT);
    assert_asked_at(&next, 1, START_MS, 0);
    pending_enrolments_free(next.pending);
}

static void a_key_waits_until_a_restart(void **state)
{
    struct fixture *fixture = *state;
    struct local_key *key = make_waiting_key();
    pending_enrolments_record(fixture->pending, (struct pending_journal *)(void *)&written);
    put_off(fixture, 1, START_MS, key);
    assert_restart_forgets_the_server(fixture, PENDING_WAITING);
    assert_asked_with(fixture, 1, START_MS + 10000, 77, key);
    sent(fixture, 1);
    assert_restart_forgets_the_server(fixture, PENDING_SENT);
    local_key_release(key);
}

/* SKG-5, SKG-9: the same key is asked for again at its server, and its answer stays no longer than the key
 * might. */
static void a_key_waits_for_its_certificate(void **state)
{
    struct fixture *fixture = *state;
    struct local_key *key = make_waiting_key();
    put_off(fixture, 1, START_MS, key);
    assert_later(fixture, 1, START_MS + 9000, 1);
    assert_asked_with(fixture, 1, START_MS + 10000, 77, key);
    sent(fixture, 1);
    assert_int_equal(keep_key(fixture, 1, START_MS + 10000, 10, key), STATUS_OK); /* put off once more */
    wait_at(fixture, 1, START_MS + 10000, 77);
    assert_asked_with(fixture, 1, START_MS + 20000, 77, key);
    sent(fixture, 1);
    ready_secret(fixture, 1, START_MS + 20000);
    delivered(fixture, 1, START_MS + 20000);
    local_key_release(key);
    assert_answered(fixture, 1, START_MS + 59999);
    assert_int_equal(expire_secrets(fixture, START_MS + 60000), 0);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_PENDING_ENTRIES), 0);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 0);
}

/* SKG-9: key_grace_s after it came, however often it was put off, it is gone; there may be a certificate some
 * day. */
static void a_key_waits_no_longer_than_it_may(void **state)
{
    struct fixture *fixture = *state;
    struct local_key *key = make_waiting_key();
    assert_asked(fixture, 1, START_MS, false);
    assert_int_equal(keep_key(fixture, 1, START_MS, 60, key), STATUS_TOO_LARGE);
    assert_int_equal(keep_key(fixture, 2, START_MS, 10, key), STATUS_NOT_FOUND);
    assert_int_equal(keep_key(fixture, 1, START_MS, 59, key), STATUS_OK);
    wait_at(fixture, 1, START_MS, 77);
    put_off(fixture, 2, START_MS + 1000, key);
    assert_asked_with(fixture, 1, START_MS + 50000, 77, key);
    assert_int_equal(keep_key(fixture, 1, START_MS + 50000, 10, key), STATUS_TOO_LARGE);
    assert_int_equal(keep_key(fixture, 1, START_MS + 50000, 9, key), STATUS_OK);
    wait_for(fixture, 1, START_MS + 50000, 9);
    assert_int_equal(expire_secrets(fixture, START_MS + 59999), 0);
    assert_int_equal(expire_secrets(fixture, START_MS + 60000), 1);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 1);
    assert_asked_with(fixture, 1, START_MS + 60000, 0, NULL);
    assert_asked_with(fixture, 2, START_MS + 61000, 0, NULL); /* nobody has swept meanwhile */
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 2);
    local_key_release(key);
}

/* The EST server has it in hand, and was not reached, or has no time. */
static void a_key_goes_on_waiting(void **state)
{
    struct fixture *fixture = *state;
    struct local_key *key = make_waiting_key();
    put_off(fixture, 1, START_MS, key);
    assert_asked_with(fixture, 1, START_MS + 10000, 77, key);
    withdrawn(fixture, 1, START_MS + 10000);
    assert_asked_with(fixture, 1, START_MS + 10000, 77, key);
    wait_for(fixture, 1, START_MS + 10000, 20);
    assert_asked_with(fixture, 1, START_MS + 30000, 77, key);
    withdrawn(fixture, 1, START_MS + 30000);
    assert_int_equal(expire_secrets(fixture, START_MS + 60000), 1);
    local_key_release(key);
}

/* Its time ends just while it is asked for: what comes then is handed on, if at all, and stays no longer. */
static void a_key_is_lost_while_it_is_asked_for(void **state)
{
    struct fixture *fixture = *state;
    struct local_key *key = make_waiting_key();
    for (uint8_t number = 1; number <= 4; number++) {
        put_off(fixture, number, START_MS, key);
        assert_asked_with(fixture, number, START_MS + 59999, 77, key);
        sent(fixture, number);
    }
    assert_int_equal(expire_secrets(fixture, START_MS + 60000), 0);
    ready_secret(fixture, 1, START_MS + 60001);
    delivered(fixture, 1, START_MS + 60001);
    assert_int_equal(keep_key(fixture, 2, START_MS + 60001, 1, key), STATUS_TOO_LARGE);
    wait_at(fixture, 2, START_MS + 60001, 77);
    withdrawn(fixture, 3, START_MS + 60001);
    refused(fixture, 4, START_MS + 60001);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 2);
    assert_int_equal(expire_secrets(fixture, START_MS + 60001), 0);
    assert_asked_with(fixture, 1, START_MS + 60001, 0, NULL);
    assert_asked_with(fixture, 2, START_MS + 60001, 0, NULL);
    assert_asked_with(fixture, 3, START_MS + 60001, 0, NULL);
    assert_refused(fixture, 4, START_MS + 60001);
    local_key_release(key);
}

/* However it ends. */
static void a_key_does_not_outlive_its_enrolment(void **state)
{
    struct fixture *fixture = *state;
    struct local_key *key = make_waiting_key();
    put_off(fixture, 1, START_MS, key);
    put_off(fixture, 2, START_MS, key);
    assert_asked_with(fixture, 1, START_MS + 10000, 77, key);
    struct pending_key asked = make_pending_key(1);
    pending_enrolments_in_doubt(fixture->pending, &asked, START_MS + 10000);
    assert_asked_with(fixture, 1, START_MS + 10000, 0, NULL);
    assert_asked_with(fixture, 2, START_MS + 10000, 77, key);
    refused(fixture, 2, START_MS + 10000);
    assert_refused(fixture, 2, START_MS + 10000);
    assert_int_equal(expire_secrets(fixture, START_MS + 60000), 0);
    local_key_release(key);
}

/* In number and in octets. */
static void the_keys_that_wait_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    struct local_key *key = make_waiting_key();
    size_t fit = MAX_BYTES / local_key_octets(key);
    fixture->settings.max_pending = 2 * PENDING_KEYS_MAX;
    for (size_t i = 0; i <= fit; i++)
        assert_asked(fixture, (uint8_t)i, START_MS, false);
    for (size_t i = 0; i <= fit; i++)
        assert_int_equal(keep_key(fixture, (uint8_t)i, START_MS, 10, key), i < fit ? STATUS_OK : STATUS_BUSY);
    pending_enrolments_free(fixture->pending);
    fixture->pending = pending_enrolments_create(
        &fixture->settings, 2 * PENDING_KEYS_MAX * local_key_octets(key), fixture->metrics);
    for (unsigned i = 0; i <= PENDING_KEYS_MAX; i++) {
        struct pending_key wanted = {{(uint8_t)i, (uint8_t)(i >> 8)}, {(uint8_t)i}};
        struct pending_outcome outcome;
        assert_int_equal(pending_enrolments_has_room_for_key(fixture->pending), i < PENDING_KEYS_MAX);
        assert_int_equal(pending_enrolments_ask(fixture->pending, &wanted, START_MS, &outcome, NULL),
                         PENDING_ASK);
        assert_int_equal(pending_enrolments_keep_key(fixture->pending, &wanted, START_MS, 10, key),
                         i < PENDING_KEYS_MAX ? STATUS_OK : STATUS_BUSY);
    }
    local_key_release(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_part_of_the_key_counts),
        cmocka_unit_test(the_wait_is_as_long_again),
        TEST(what_waits_goes_back_to_its_server),
        TEST(a_server_that_is_gone_is_waited_for_a_day),
        TEST(a_server_that_is_gone_in_doubt_is_waited_for_a_day),
        TEST(a_refusal_ends_the_wait),
        TEST(a_result_is_given_to_whoever_repeats),
        TEST(a_delivered_result_is_kept_for_the_time_of_grace),
        TEST(no_result_is_older_than_a_day),
        TEST(an_undelivered_result_outlives_the_time_of_grace),
        TEST(retry_after_is_held),
        TEST(what_is_withdrawn_is_forgotten),
        TEST(a_refusal_is_kept_until_it_is_heard),
        TEST(refusals_make_room),
        TEST(a_doubt_is_retried),
        TEST(a_doubt_is_held),
        TEST(a_full_table_forgets_nothing_that_matters),
        TEST(a_full_table_forgets_what_was_delivered_long_ago),
        TEST(a_full_table_forgets_doubts_to_be_retried),
        TEST(the_results_are_bounded_in_octets),
        TEST(running_requests_do_not_expire),
        TEST(only_running_requests_are_settled),
        TEST(states_follow_each_other),
        TEST(a_clock_read_too_early_does_no_harm),
        TEST(a_csr_that_passed_is_known_again),
        TEST(a_client_has_its_share),
        TEST(only_what_is_settled_makes_way),
        TEST(what_was_known_is_known_again),
        TEST(a_doubt_outlives_a_restart),
        TEST(a_secret_is_in_doubt_after_a_restart),
        TEST(what_does_not_fit_is_in_doubt_after_a_restart),
        TEST(a_delivery_is_known_again),
        TEST(a_clock_that_was_set_does_no_harm),
        TEST(one_of_many_threads_asks),
        TEST(a_key_is_kept_for_a_short_time),
        TEST(a_key_that_nobody_fetched_is_in_doubt),
        TEST(a_key_waits_until_a_restart),
        TEST(a_key_waits_for_its_certificate),
        TEST(a_key_waits_no_longer_than_it_may),
        TEST(a_key_goes_on_waiting),
        TEST(a_key_is_lost_while_it_is_asked_for),
        TEST(a_key_does_not_outlive_its_enrolment),
        TEST(the_keys_that_wait_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
