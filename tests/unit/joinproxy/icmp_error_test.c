/* JP-7, JP-8: what pledges are told. */
#include "joinproxy/icmp_error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

static struct endpoint endpoint(const char *text)
{
    struct endpoint parsed;
    assert_int_equal(endpoint_parse(text, &parsed), STATUS_OK);
    return parsed;
}

static void v6_passes_as_it_is_and_v4_is_translated(void **state)
{
    (void)state;
    static const struct {
        uint8_t origin, type, code;
        uint32_t info;
        bool passed;
        struct icmp_error error;
    } cases[] = {
        {SO_EE_ORIGIN_ICMP6, 1, 4, 0, true, {1, 4, 0}},       /* port unreachable */
        {SO_EE_ORIGIN_ICMP6, 1, 1, 0, true, {1, 1, 0}},       /* prohibited */
        {SO_EE_ORIGIN_ICMP6, 2, 0, 1400, true, {2, 0, 1400}}, /* packet too big */
        {SO_EE_ORIGIN_ICMP6, 2, 0, 100, true, {2, 0, 1280}},  /* never below the least */
        {SO_EE_ORIGIN_ICMP6, 3, 0, 0, true, {3, 0, 0}},       /* time exceeded */
        {SO_EE_ORIGIN_ICMP6, 4, 0, 0, false, {0, 0, 0}}, /* parameter problem: of our packet, not the pledge's
                                                          */
        {SO_EE_ORIGIN_ICMP, 3, 3, 0, true, {1, 4, 0}},        {SO_EE_ORIGIN_ICMP, 3, 2, 0, true, {1, 4, 0}},
        {SO_EE_ORIGIN_ICMP, 3, 0, 0, true, {1, 0, 0}},        {SO_EE_ORIGIN_ICMP, 3, 1, 0, true, {1, 0, 0}},
        {SO_EE_ORIGIN_ICMP, 3, 4, 1400, true, {2, 0, 1420}},  {SO_EE_ORIGIN_ICMP, 3, 13, 0, true, {1, 1, 0}},
        {SO_EE_ORIGIN_ICMP, 3, 10, 0, true, {1, 1, 0}},       {SO_EE_ORIGIN_ICMP, 11, 0, 0, true, {3, 0, 0}},
        {SO_EE_ORIGIN_ICMP, 12, 0, 0, false, {0, 0, 0}},      {SO_EE_ORIGIN_LOCAL, 1, 4, 0, false, {0, 0, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct sock_extended_err reported = {.ee_origin = cases[i].origin,
                                                   .ee_type = cases[i].type,
                                                   .ee_code = cases[i].code,
                                                   .ee_info = cases[i].info};
        struct icmp_error error = {0, 0, 0};
        assert_int_equal(icmp_error_translate(&reported, &error), cases[i].passed);
        assert_int_equal(error.type, cases[i].error.type);
        assert_int_equal(error.code, cases[i].error.code);
        assert_int_equal(error.mtu, cases[i].error.mtu);
    }
}

/* A packet of which each octet is known: checksum by hand (RFC 8200 section 8.1). */
static void holds_the_packet_that_met_the_error(void **state)
{
    (void)state;
    static const uint8_t expected[] = {
        1,    1,    0,    0,    0, 0,  0,    0,                                    /* ICMPv6 */
        0x60, 0,    0,    0,    0, 11, 17,   64,                                   /* IPv6 */
        0xfe, 0x80, 0,    0,    0, 0,  0,    0,    0,   0,   0,  0, 0, 0, 0, 0x0d, /* from */
        0xfe, 0x80, 0,    0,    0, 0,  0,    0,    0,   0,   0,  0, 0, 0, 0, 1,    /* to */
        0x9c, 0x40, 0x16, 0x35, 0, 11, 0xed, 0x7b, 'a', 'b', 'c'};                 /* UDP */
    const struct endpoint pledge = endpoint("[fe80::d]:40000"), local = endpoint("[fe80::1]:5685");
    struct buffer message;
    buffer_init(&message, ICMP_ERROR_OCTETS_MAX);
    const struct icmp_error error = ICMP_ERROR_PROHIBITED;
    assert_int_equal(icmp_error_write(&error, &pledge, &local, BYTES_LITERAL("abc"), &message), STATUS_OK);
    assert_int_equal(message.len, sizeof expected);
    uint32_t sum = 17 + 11 + 0xfe80 + 0x0d + 0xfe80 + 1 + 0x9c40 + 0x1635 + 11 + 0x6162 + 0x6300;
    sum = (sum & 0xffff) + (sum >> 16);
    uint16_t checksum = (uint16_t)~sum;
    assert_int_equal(message.at[54] << 8 | message.at[55], checksum);
    memcpy(message.at + 54, expected + 54, 2);
    assert_memory_equal(message.at, expected, sizeof expected);
    buffer_free(&message);
}

static void is_no_longer_than_the_minimum_mtu(void **state)
{
    (void)state;
    static const uint8_t payload[2048];
    const struct endpoint pledge = endpoint("[fe80::d]:40000"), local = endpoint("[fe80::1]:5685");
    const struct icmp_error error = {2, 0, 1400};
    struct buffer message;
    buffer_init(&message, ICMP_ERROR_OCTETS_MAX);
    assert_int_equal(
        icmp_error_write(&error, &pledge, &local, (struct bytes){payload, sizeof payload}, &message),
        STATUS_OK);
    assert_int_equal(message.len, 1280 - 40);
    assert_memory_equal(message.at + 4, "\0\0\x05\x78", 4);
    buffer_free(&message);
}

static void ipv4_pledges_get_none(void **state)
{
    (void)state;
    const struct endpoint v4 = endpoint("192.0.2.1:1"), mapped = endpoint("[::ffff:192.0.2.1]:1");
    const struct icmp_error error = ICMP_ERROR_PROHIBITED;
    struct buffer message;
    buffer_init(&message, ICMP_ERROR_OCTETS_MAX);
    assert_int_equal(icmp_error_write(&error, &v4, &v4, BYTES_LITERAL("x"), &message), STATUS_UNSUPPORTED);
    assert_int_equal(icmp_error_write(&error, &mapped, &mapped, BYTES_LITERAL("x"), &message),
                     STATUS_UNSUPPORTED);
    assert_int_equal(message.len, 0);
    buffer_free(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v6_passes_as_it_is_and_v4_is_translated),
        cmocka_unit_test(holds_the_packet_that_met_the_error),
        cmocka_unit_test(is_no_longer_than_the_minimum_mtu),
        cmocka_unit_test(ipv4_pledges_get_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
