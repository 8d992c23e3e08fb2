/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "common/monotonic.h"
#include "registrar/downstream/dtls_flight.h"

#include <stdlib.h>

#define ONE BYTES_LITERAL("one")
#define TWO BYTES_LITERAL("and two")

static void assert_holds(const struct dtls_flight *flight, const struct bytes *expected, size_t count)
{
    struct bytes rest = buffer_view(&flight->datagrams), datagram;
    for (size_t i = 0; i < count; i++) {
        assert_true(dtls_flight_next(&rest, &datagram));
        assert_true(bytes_equal(datagram, expected[i]));
    }
    assert_false(dtls_flight_next(&rest, &datagram));
}

static void keeps_the_last_flight(void **state)
{
    (void)state;
    struct dtls_flight flight;
    dtls_flight_init(&flight, 1000, 5000);
    assert_holds(&flight, NULL, 0);
    dtls_flight_add(&flight, ONE);
    dtls_flight_add(&flight, TWO);
    dtls_flight_end(&flight, 1000, 6000);
    assert_holds(&flight, (struct bytes[]){ONE, TWO}, 2);
    dtls_flight_end(&flight, 1000, 6500); /* nothing was sent since */
    assert_int_equal(flight.deadline_ms, 7000);

    dtls_flight_add(&flight, TWO);
    dtls_flight_end(&flight, 1000, 8000);
    assert_holds(&flight, (struct bytes[]){TWO}, 1);
    assert_int_equal(flight.deadline_ms, 9000);
    dtls_flight_free(&flight);
    assert_int_equal(flight.deadline_ms, MONOTONIC_NEVER);
    assert_int_equal(dtls_flight_tick(&flight, 1000000), FLIGHT_NOT_DUE);
}

/* RFC 6347 section 4.2.4.1: the timeout doubles, up to 60 s. */
static void backs_off(void **state)
{
    (void)state;
    static const uint64_t timeouts[] = {9000, 18000, 36000, 60000, 60000, 60000, 60000};
    struct dtls_flight flight;
    uint64_t now = 100;
    dtls_flight_init(&flight, 9000, 0);
    dtls_flight_add(&flight, ONE);
    dtls_flight_end(&flight, 9000, now);
    for (size_t i = 0; i < sizeof timeouts / sizeof timeouts[0]; i++) {
        assert_int_equal(flight.deadline_ms, now + timeouts[i]);
        now = flight.deadline_ms;
        assert_int_equal(dtls_flight_tick(&flight, now - 1), FLIGHT_NOT_DUE);
        bool last = i + 1 == sizeof timeouts / sizeof timeouts[0];
        assert_int_equal(dtls_flight_tick(&flight, now), last ? FLIGHT_ABANDONED : FLIGHT_DUE);
    }
    dtls_flight_free(&flight);
}

/* A ClientHello of which only a part ever comes must not wait for ever. */
static void clock_runs_before_there_is_a_flight(void **state)
{
    (void)state;
    struct dtls_flight flight;
    dtls_flight_init(&flight, 1000, 0);
    unsigned due = 0;
    while (dtls_flight_tick(&flight, flight.deadline_ms) == FLIGHT_DUE)
        due++;
    assert_int_equal(due, DTLS_FLIGHT_ATTEMPTS_MAX - 1);
    assert_int_equal(flight.deadline_ms, (1 + 2 + 4 + 8 + 16 + 32 + 60) * 1000);
    dtls_flight_free(&flight);
}

static void repetition_is_bounded_and_moves_no_clock(void **state)
{
    (void)state;
    struct dtls_flight flight;
    dtls_flight_init(&flight, 60000, 0);
    assert_false(dtls_flight_repeat(&flight, 1000)); /* there is nothing yet */
    dtls_flight_add(&flight, ONE);
    dtls_flight_end(&flight, 60000, 1000);
    assert_false(dtls_flight_repeat(&flight, 1000 + DTLS_FLIGHT_REPEAT_LEAST_MS - 1));
    unsigned repeated = 0;
    for (uint64_t now = 2000; now < 50000; now += DTLS_FLIGHT_REPEAT_LEAST_MS)
        repeated += dtls_flight_repeat(&flight, now);
    assert_int_equal(repeated, DTLS_FLIGHT_REPEATS_MAX);
    assert_int_equal(flight.deadline_ms, 61000);
    for (unsigned i = 1; i < DTLS_FLIGHT_ATTEMPTS_MAX; i++)
        assert_int_equal(dtls_flight_tick(&flight, flight.deadline_ms), FLIGHT_DUE);
    assert_int_equal(dtls_flight_tick(&flight, flight.deadline_ms), FLIGHT_ABANDONED);
    dtls_flight_free(&flight);
}

static void keeps_no_more_than_its_limit(void **state)
{
    (void)state;
    static uint8_t octets[1200];
    struct dtls_flight flight;
    dtls_flight_init(&flight, 1000, 0);
    for (unsigned i = 0; i < 100; i++)
        dtls_flight_add(&flight, (struct bytes){octets, sizeof octets});
    assert_true(flight.datagrams.len <= DTLS_FLIGHT_OCTETS_MAX);
    struct bytes rest = buffer_view(&flight.datagrams), datagram;
    unsigned count = 0;
    while (dtls_flight_next(&rest, &datagram))
        count += datagram.len == sizeof octets;
    assert_int_equal(count, DTLS_FLIGHT_OCTETS_MAX / (sizeof octets + 2));
    dtls_flight_free(&flight);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_last_flight),
        cmocka_unit_test(backs_off),
        cmocka_unit_test(clock_runs_before_there_is_a_flight),
        cmocka_unit_test(repetition_is_bounded_and_moves_no_clock),
        cmocka_unit_test(keeps_no_more_than_its_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
