/* Row POP-8. */
#include "registrar/translate/csr_attributes.h"

#include "tests/unit/registrar/credentials.h"

#define CHALLENGE_PASSWORD "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07"

static void assert_announced(struct bytes der, struct bytes expected)
{
    struct buffer out;
    buffer_init(&out, MADE_LIMIT);
    assert_int_equal(csr_attributes_announce_pop(der, &out), STATUS_OK);
    assert_int_equal(out.len, expected.len);
    assert_memory_equal(out.at, expected.at, expected.len);
    buffer_free(&out);
}

/* What has it already passes to the octet: the examples of RFC 7030 (also as RFC 9908 corrects it) and 9148.
 */
static void what_announces_it_is_left_alone(void **state)
{
    (void)state;
    static const char *const vectors[] = {"rfc7030-A2-csrattrs.der", "rfc9148-A4-att-response.csrattrs.der",
                                          "rfc9908-5.2-rfc7030-corrected.csrattrs.der",
                                          "rfc9908-5.5-p384.csrattrs.der",
                                          "derived-csrattrs-challengePassword-only.der"};
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        struct buffer der = read_vector(vectors[i]);
        assert_announced(buffer_view(&der), buffer_view(&der));
        buffer_free(&der);
    }
}

static void nothing_becomes_the_announcement(void **state)
{
    (void)state;
    struct buffer expected = read_vector("derived-csrattrs-challengePassword-only.der");
    assert_announced((struct bytes){NULL, 0}, buffer_view(&expected));
    assert_announced(BYTES_LITERAL("\x30\x00"), buffer_view(&expected));
    buffer_free(&expected);
}

/* All else stays in its place and form, a template of RFC 9908 too. */
static void it_is_appended_to_what_is_there(void **state)
{
    (void)state;
    assert_announced(BYTES_LITERAL("\x30\x04\x06\x02\x2a\x03"),
                     BYTES_LITERAL("\x30\x0f\x06\x02\x2a\x03" CHALLENGE_PASSWORD));
    struct buffer der = read_vector("rfc9908-5.1-acp.csrattrs.der"), out;
    buffer_init(&out, MADE_LIMIT);
    assert_int_equal(csr_attributes_announce_pop(buffer_view(&der), &out), STATUS_OK);
    const size_t head = 2;
    assert_true(der.len + 11 < 128);
    assert_int_equal(out.len, der.len + 11);
    assert_int_equal(out.at[1], der.at[1] + 11);
    assert_memory_equal(out.at + head, der.at + head, der.len - head);
    assert_memory_equal(out.at + der.len, CHALLENGE_PASSWORD, 11);
    buffer_free(&out);
    buffer_free(&der);
}

/* An Attribute of that type is an example of a value, no announcement; and the length may need more octets.
 */
static void an_attribute_of_that_type_is_none(void **state)
{
    (void)state;
    assert_announced(BYTES_LITERAL("\x30\x0f\x30\x0d" CHALLENGE_PASSWORD "\x31\x00"),
                     BYTES_LITERAL("\x30\x1a\x30\x0d" CHALLENGE_PASSWORD "\x31\x00" CHALLENGE_PASSWORD));
    uint8_t long_one[2 + 122] = {0x30, 122, 0x04, 120}, expected[3 + 122 + 11] = {0x30, 0x81, 133, 0x04, 120};
    memcpy(expected + 3 + 122, CHALLENGE_PASSWORD, 11);
    assert_announced((struct bytes){long_one, sizeof(long_one)}, (struct bytes){expected, sizeof(expected)});
}

static void what_is_no_sequence_is_refused(void **state)
{
    (void)state;
    const struct bytes wrong[] = {
        BYTES_LITERAL(CHALLENGE_PASSWORD),
        BYTES_LITERAL("\x30\x01"),
        BYTES_LITERAL("\x30\x00\x00"),
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct buffer out;
        buffer_init(&out, MADE_LIMIT);
        assert_int_equal(csr_attributes_announce_pop(wrong[i], &out), STATUS_MALFORMED);
        assert_int_equal(out.len, 0);
        buffer_free(&out);
    }
}

static void what_does_not_fit_is_told(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 12);
    assert_int_equal(csr_attributes_announce_pop((struct bytes){NULL, 0}, &out), STATUS_TOO_LARGE);
    buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_announces_it_is_left_alone),
        cmocka_unit_test(nothing_becomes_the_announcement),
        cmocka_unit_test(it_is_appended_to_what_is_there),
        cmocka_unit_test(an_attribute_of_that_type_is_none),
        cmocka_unit_test(what_is_no_sequence_is_refused),
        cmocka_unit_test(what_does_not_fit_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
