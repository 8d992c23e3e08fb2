/* CF-8 */
#include "registrar/translate/entity_tag.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* printf '\001\031octets' | sha256sum: 281 is 0x0119. */
static void tag_is_of_format_and_content(void **state)
{
    (void)state;
    static const uint8_t expected[COAP_ETAG_MAX] = {0x4d, 0x2f, 0x41, 0x90, 0xeb, 0x76, 0x43, 0x66};
    struct coap_etag etag;
    assert_int_equal(entity_tag_make(CONTENT_FORMAT_CERTS_ONLY, BYTES_LITERAL("octets"), &etag), STATUS_OK);
    assert_int_equal(etag.len, COAP_ETAG_MAX);
    assert_memory_equal(etag.octets, expected, sizeof expected);
}

static void tag_is_found_among_others(void **state)
{
    (void)state;
    const struct coap_etag etags[] = {{"short", 5}, {"eight oc", 8}};
    assert_true(entity_tag_is_among(&etags[1], etags, 2));
    assert_true(entity_tag_is_among(&etags[0], etags, 2));
    assert_false(entity_tag_is_among(&etags[1], etags, 1));
    assert_false(entity_tag_is_among(&etags[1], etags, 0));
    assert_false(entity_tag_is_among(&(struct coap_etag){"eight oc", 7}, etags, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tag_is_of_format_and_content),
        cmocka_unit_test(tag_is_found_among_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
