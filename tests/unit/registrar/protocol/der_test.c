/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/protocol/der.h"

#include <stdlib.h>
#include <string.h>

static void elements_are_cut_off_one_by_one(void **state)
{
    (void)state;
    struct bytes rest = BYTES_LITERAL("\x02\x01\x05\x30\x00\x04\x81\x80");
    struct der_element element;
    assert_int_equal(der_read(&rest, &element), STATUS_OK);
    assert_int_equal(element.tag, DER_INTEGER);
    assert_int_equal(element.content.len, 1);
    assert_int_equal(element.whole.len, 3);
    assert_int_equal(der_read_tagged(&rest, DER_SET, &element), STATUS_MALFORMED);
    assert_int_equal(der_read_tagged(&rest, DER_SEQUENCE, &element), STATUS_OK);
    assert_int_equal(element.content.len, 0);
    assert_int_equal(rest.len, 3);
    assert_int_equal(der_read(&rest, &element), STATUS_MALFORMED);
    assert_int_equal(rest.len, 3);
}

struct row {
    struct bytes octets;
    bool strict;
};

/* SEC-1: what BER allows and DER does not. */
static void only_der_is_strict(void **state)
{
    (void)state;
    const struct row rows[] = {
        {BYTES_LITERAL("\x30\x00"), true},
        {BYTES_LITERAL("\x30\x03\x02\x01\x00"), true},
        {BYTES_LITERAL("\x30\x04\xa0\x02\x31\x00"), true},
        {BYTES_LITERAL("\x80\x02\xff\xff"), true}, /* an implicit primitive is opaque */
        {BYTES_LITERAL(""), false},
        {BYTES_LITERAL("\x30"), false},
        {BYTES_LITERAL("\x30\x01"), false},
        {BYTES_LITERAL("\x30\x00\x00"), false},     /* trailing */
        {BYTES_LITERAL("\x30\x80\x00\x00"), false}, /* indefinite */
        {BYTES_LITERAL("\x30\x81\x00"), false},     /* long form of a short length */
        {BYTES_LITERAL("\x30\x81\x03\x02\x01\x00"), false},
        {BYTES_LITERAL("\x30\x82\x00\x03\x02\x01\x00"), false},
        {BYTES_LITERAL("\x30\x85\x00\x00\x00\x00\x00"), false},
        {BYTES_LITERAL("\x30\x84\xff\xff\xff\xff"), false}, /* longer than what is there */
        {BYTES_LITERAL("\x30\x88\xff\xff\xff\xff\xff\xff\xff\xff"), false},
        {BYTES_LITERAL("\x30\xff"), false},
        {BYTES_LITERAL("\x30\x03\x02\x02\x00"), false}, /* an inner length that reaches out */
        {BYTES_LITERAL("\x30\x04\x30\x80\x00\x00"), false},
        {BYTES_LITERAL("\x1f\x81\x01\x00"), false},     /* high tag number */
        {BYTES_LITERAL("\x24\x03\x04\x01\x41"), false}, /* constructed string */
        {BYTES_LITERAL("\x10\x00"), false},             /* primitive sequence */
        {BYTES_LITERAL("\x11\x00"), false},
        {BYTES_LITERAL("\x01\x01\xff"), true},
        {BYTES_LITERAL("\x01\x01\x00"), true},
        {BYTES_LITERAL("\x01\x01\x01"), false}, /* BOOLEAN TRUE is ff */
        {BYTES_LITERAL("\x01\x00"), false},
        {BYTES_LITERAL("\x02\x02\x00\x80"), true},
        {BYTES_LITERAL("\x02\x02\x00\x7f"), false}, /* not minimal */
        {BYTES_LITERAL("\x02\x02\xff\x80"), false},
        {BYTES_LITERAL("\x02\x02\xff\x7f"), true},
        {BYTES_LITERAL("\x02\x00"), false},
        {BYTES_LITERAL("\x0a\x01\x00"), true},
        {BYTES_LITERAL("\x03\x01\x00"), true},
        {BYTES_LITERAL("\x03\x02\x07\x80"), true},
        {BYTES_LITERAL("\x03\x02\x07\xc0"), false}, /* unused bits are zero */
        {BYTES_LITERAL("\x03\x02\x08\x00"), false},
        {BYTES_LITERAL("\x03\x01\x01"), false},
        {BYTES_LITERAL("\x03\x00"), false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (der_is_strict(rows[i].octets) != rows[i].strict)
            fail_msg("row %zu", i);
}

/* SEC-1: nesting cannot exhaust the stack. */
static void nesting_is_bounded(void **state)
{
    (void)state;
    struct buffer nested;
    buffer_init(&nested, 8192);
    for (unsigned depth = 0; depth < 1000; depth++) {
        struct buffer outer;
        buffer_init(&outer, 8192);
        der_append_head(&outer, DER_SEQUENCE, nested.len);
        buffer_append(&outer, buffer_view(&nested));
        buffer_free(&nested);
        nested = outer;
        assert_int_equal(nested.status, STATUS_OK);
        assert_int_equal(der_is_strict(buffer_view(&nested)), depth < 24);
    }
    buffer_free(&nested);
}

static void heads_are_written_as_they_are_read(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 127, 128, 255, 256, 65535, 65536};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct buffer out;
        buffer_init(&out, 70000);
        der_append_head(&out, 0x04, lengths[i]);
        uint8_t *content = buffer_extend(&out, lengths[i]);
        assert_non_null(content);
        memset(content, 0x55, lengths[i]);
        struct bytes rest = buffer_view(&out);
        struct der_element element;
        assert_int_equal(der_read(&rest, &element), STATUS_OK);
        assert_int_equal(element.content.len, lengths[i]);
        assert_int_equal(rest.len, 0);
        buffer_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_are_cut_off_one_by_one),
        cmocka_unit_test(only_der_is_strict),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(heads_are_written_as_they_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
