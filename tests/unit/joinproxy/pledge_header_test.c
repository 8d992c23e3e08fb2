/* JPY-2, JPY-3: the header is small, ours alone, and the same for the same pledge. */
#include "joinproxy/pledge_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

static const struct pledge_header_key key = {{1, 2, 3}}, other_key = {{1, 2, 4}};

static int set_up(void **state)
{
    *state = pledge_header_cipher_create(BYTES_LITERAL("0 mesh0"));
    return *state == NULL;
}

static int tear_down(void **state)
{
    pledge_header_cipher_free(*state);
    return 0;
}

static struct pledge_origin origin(const char *pledge, uint8_t link, uint16_t check)
{
    struct pledge_origin made = {.link = link, .local_check = check};
    assert_int_equal(endpoint_parse(pledge, &made.pledge), STATUS_OK);
    return made;
}

static void seal(void *cipher, const struct pledge_origin *from, uint8_t header[static PLEDGE_HEADER_OCTETS])
{
    assert_int_equal(pledge_header_seal(cipher, &key, from, header), STATUS_OK);
}

static void opens_what_it_sealed(void **state)
{
    static const char *const pledges[] = {"[fe80::1]:1", "[fe80::aabb:ccff:fedd:eeff]:65535",
                                          "[::ffff:192.0.2.1]:5684"};
    for (size_t i = 0; i < sizeof pledges / sizeof pledges[0]; i++) {
        struct pledge_origin sent = origin(pledges[i], 15, 0xabcd), back;
        uint8_t header[PLEDGE_HEADER_OCTETS];
        seal(*state, &sent, header);
        assert_int_equal(pledge_header_open(*state, &key, (struct bytes){header, sizeof header}, &back),
                         STATUS_OK);
        assert_true(endpoint_equal(&sent.pledge, &back.pledge));
        assert_int_equal(back.link, 15);
        assert_int_equal(back.local_check, 0xabcd);
    }
    assert_true(PLEDGE_HEADER_OCTETS <= 32);
}

static void is_the_same_for_the_same_endpoint_and_no_other(void **state)
{
    struct pledge_origin one = origin("[fe80::1]:40000", 0, 1);
    const struct pledge_origin others[] = {origin("[fe80::2]:40000", 0, 1), origin("[fe80::1]:40001", 0, 1),
                                           origin("[fe80::1]:40000", 1, 1), origin("[fe80::1]:40000", 0, 2),
                                           origin("0.0.0.1:40000", 0, 1)};
    uint8_t first[PLEDGE_HEADER_OCTETS], again[PLEDGE_HEADER_OCTETS];
    seal(*state, &one, first);
    for (int i = 0; i < 20; i++) {
        seal(*state, &one, again);
        assert_memory_equal(first, again, sizeof first);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        seal(*state, &others[i], again);
        assert_memory_not_equal(first, again, sizeof first);
    }
    one.pledge.address.v6.sin6_scope_id = 7; /* the link says it */
    seal(*state, &one, again);
    assert_memory_equal(first, again, sizeof first);
}

static void shows_nothing_of_the_pledge(void **state)
{
    struct pledge_origin sent = origin("[fe80::1122:3344:5566:7788]:40000", 0, 1);
    uint8_t header[PLEDGE_HEADER_OCTETS];
    seal(*state, &sent, header);
    for (size_t at = 0; at + 3 <= sizeof header; at++)
        assert_false(memcmp(header + at, "\x33\x44\x55", 3) == 0 ||
                     memcmp(header + at, "\x66\x77\x88", 3) == 0);
}

static void opens_nothing_that_was_tampered_with(void **state)
{
    struct pledge_origin sent = origin("[fe80::1]:40000", 0, 1), back;
    uint8_t header[PLEDGE_HEADER_OCTETS + 1] = {0};
    seal(*state, &sent, header);
    for (size_t bit = 0; bit < PLEDGE_HEADER_OCTETS * 8; bit++) {
        header[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(
            pledge_header_open(*state, &key, (struct bytes){header, PLEDGE_HEADER_OCTETS}, &back),
            STATUS_UNTRUSTED);
        header[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t len = 0; len <= sizeof header; len++)
        assert_int_equal(pledge_header_open(*state, &key, (struct bytes){header, len}, &back),
                         len == PLEDGE_HEADER_OCTETS ? STATUS_OK : STATUS_UNTRUSTED);
    assert_int_equal(
        pledge_header_open(*state, &other_key, (struct bytes){header, PLEDGE_HEADER_OCTETS}, &back),
        STATUS_UNTRUSTED);
}

/* Another registrar, or other interfaces behind the numbers. */
static void is_bound(void **state)
{
    struct pledge_origin sent = origin("[fe80::1]:40000", 0, 1), back;
    uint8_t header[PLEDGE_HEADER_OCTETS];
    seal(*state, &sent, header);
    struct pledge_header_cipher *other = pledge_header_cipher_create(BYTES_LITERAL("1 mesh0"));
    assert_non_null(other);
    assert_int_equal(pledge_header_open(other, &key, (struct bytes){header, sizeof header}, &back),
                     STATUS_UNTRUSTED);
    pledge_header_cipher_free(other);
    assert_null(pledge_header_cipher_create((struct bytes){NULL, 0}));
}

static void has_no_room_for_routable_addresses(void **state)
{
    uint8_t header[PLEDGE_HEADER_OCTETS];
    static const char *const pledges[] = {"[2001:db8::1]:1", "[fe80:1::1]:1", "[::1]:1"};
    for (size_t i = 0; i < sizeof pledges / sizeof pledges[0]; i++) {
        struct pledge_origin sent = origin(pledges[i], 0, 1);
        assert_int_equal(pledge_header_seal(*state, &key, &sent, header), STATUS_UNSUPPORTED);
    }
}

static void opens_no_pledge_without_a_port(void **state)
{
    struct pledge_origin sent = origin("[fe80::1]:0", 0, 1), back;
    uint8_t header[PLEDGE_HEADER_OCTETS];
    seal(*state, &sent, header);
    assert_int_equal(pledge_header_open(*state, &key, (struct bytes){header, sizeof header}, &back),
                     STATUS_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(opens_what_it_sealed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(is_the_same_for_the_same_endpoint_and_no_other, set_up, tear_down),
        cmocka_unit_test_setup_teardown(shows_nothing_of_the_pledge, set_up, tear_down),
        cmocka_unit_test_setup_teardown(opens_nothing_that_was_tampered_with, set_up, tear_down),
        cmocka_unit_test_setup_teardown(is_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(has_no_room_for_routable_addresses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(opens_no_pledge_without_a_port, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
