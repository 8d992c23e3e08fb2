/* Row DTLS-9: what a revocation list has to be. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/protocol/certificate_list.h"

#include "tests/unit/registrar/test_crl.h"

#include <time.h>

static struct test_certificate ca;

static int create(void **state)
{
    (void)state;
    ca = test_certificate(&(struct test_certificate_wish){.common_name = "CA", .ca = true});
    return 0;
}

static int destroy(void **state)
{
    (void)state;
    test_certificate_free(&ca);
    return 0;
}

static void reads_what_openssl_writes(void **state)
{
    (void)state;
    static const long serials[] = {5, 0x8001, 1, 0};
    struct buffer der = test_crl_der(&(struct test_crl_wish){.issuer = &ca, .serials = serials});
    struct certificate_list list;
    const char *complaint;
    assert_int_equal(certificate_list_read(buffer_view(&der), &list, &complaint), STATUS_OK);
    int64_t now = (int64_t)time(NULL);
    assert_in_range(list.this_update_unix, now - 3700, now - 3500);
    assert_in_range(list.next_update_unix, now + 2 * 86400 - 60, now + 2 * 86400 + 60);
    assert_int_equal(certificate_list_verify(&list, ca.certificate), STATUS_OK);

    static const uint8_t wanted[3][3] = {{1}, {5}, {0, 0x80, 1}};
    static const size_t lengths[] = {1, 1, 3};
    struct bytes entries = list.entries, serial;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(certificate_list_next(&entries, &serial, &complaint), STATUS_OK);
        assert_true(bytes_equal(serial, (struct bytes){wanted[i], lengths[i]}));
    }
    assert_int_equal(certificate_list_next(&entries, &serial, &complaint), STATUS_NOT_FOUND);
    buffer_free(&der);
}

static void reads_an_empty_list(void **state)
{
    (void)state;
    struct buffer der = test_crl_der(
        &(struct test_crl_wish){.issuer = &ca, .extension = NID_crl_number, .extension_value = "DER:020111"});
    struct certificate_list list;
    struct bytes serial;
    const char *complaint;
    assert_int_equal(certificate_list_read(buffer_view(&der), &list, &complaint), STATUS_OK);
    assert_int_equal(certificate_list_next(&list.entries, &serial, &complaint), STATUS_NOT_FOUND);
    assert_int_equal(certificate_list_verify(&list, ca.certificate), STATUS_OK);
    buffer_free(&der);
}

static void refuses_lists_that_do_not_tell(void **state)
{
    (void)state;
    static const struct {
        struct test_crl_wish wish;
        const char *complaint;
    } rows[] = {
        {{.endless = true}, "without nextUpdate"},
        {{.extension = NID_delta_crl, .extension_value = "critical,DER:020103"}, "delta CRL"},
        {{.extension = NID_issuing_distribution_point, .extension_value = "critical,indirectCRL:TRUE"},
         "indirect CRL"},
        {{.extension = NID_issuing_distribution_point, .extension_value = "critical,onlyuser:TRUE"},
         "kinds of certificate"},
        {{.extension = NID_issuing_distribution_point, .extension_value = "critical,onlyCA:TRUE"},
         "kinds of certificate"},
        {{.extension = NID_issuing_distribution_point,
          .extension_value = "critical,onlysomereasons:keyCompromise"},
         "some reasons"},
        {{.extension = NID_netscape_comment, .extension_value = "critical,what is this"},
         "critical extension"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct test_crl_wish wish = rows[i].wish;
        wish.issuer = &ca;
        struct buffer der = test_crl_der(&wish);
        struct certificate_list list;
        const char *complaint;
        assert_int_equal(certificate_list_read(buffer_view(&der), &list, &complaint), STATUS_UNSUPPORTED);
        if (strstr(complaint, rows[i].complaint) == NULL)
            fail_msg("row %zu: %s", i, complaint);
        buffer_free(&der);
    }
}

/* A list for all certificates under the name of one distribution point is whole. */
static void takes_the_name_of_a_distribution_point(void **state)
{
    (void)state;
    struct buffer der =
        test_crl_der(&(struct test_crl_wish){.issuer = &ca,
                                             .extension = NID_issuing_distribution_point,
                                             .extension_value = "critical,fullname:URI:http://ca/crl"});
    struct certificate_list list;
    const char *complaint;
    assert_int_equal(certificate_list_read(buffer_view(&der), &list, &complaint), STATUS_OK);
    buffer_free(&der);
}

static void refuses_what_is_not_der(void **state)
{
    (void)state;
    static const long serials[] = {1, 2, 0};
    struct buffer der = test_crl_der(&(struct test_crl_wish){.issuer = &ca, .serials = serials});
    struct certificate_list list;
    const char *complaint;
    for (size_t len = 0; len < der.len; len++)
        assert_int_equal(certificate_list_read((struct bytes){der.at, len}, &list, &complaint),
                         STATUS_MALFORMED);
    buffer_append_byte(&der, 0);
    assert_int_equal(certificate_list_read(buffer_view(&der), &list, &complaint), STATUS_MALFORMED);
    buffer_free(&der);
}

static void refuses_bad_entries(void **state)
{
    (void)state;
#define TIME 0x17, 13, '2', '6', '0', '1', '0', '1', '0', '0', '0', '0', '0', '0', 'Z'
    static const struct {
        size_t len;
        enum status status;
        uint8_t octets[64];
    } rows[] = {
        {20, STATUS_OK, {0x30, 18, 2, 1, 5, TIME}},
        {20, STATUS_MALFORMED, {0x31, 18, 2, 1, 5, TIME}},    /* no SEQUENCE */
        {19, STATUS_MALFORMED, {0x30, 18, 2, 1, 5, TIME}},    /* cut */
        {20, STATUS_MALFORMED, {0x30, 18, 4, 1, 5, TIME}},    /* no INTEGER */
        {21, STATUS_MALFORMED, {0x30, 19, 2, 2, 0, 5, TIME}}, /* not the shortest form */
        {21, STATUS_MALFORMED, {0x30, 19, 2, 2, 0xff, 0x85, TIME}},
        {21, STATUS_OK, {0x30, 19, 2, 2, 0, 0x85, TIME}},
        {5, STATUS_MALFORMED, {0x30, 3, 2, 1, 5}}, /* no date */
        {22, STATUS_OK, {0x30, 20, 2, 1, 5, TIME, 0x30, 0}},
        /* reasonCode keyCompromise, then the same critical, then certificateIssuer */
        {34, STATUS_OK, {0x30, 32, 2,    1,    5,    TIME, 0x30, 12, 0x30, 10,
                         6,    3,  0x55, 0x1d, 0x15, 4,    3,    10, 1,    1}},
        {37, STATUS_UNSUPPORTED, {0x30, 35,   2,    1, 5, TIME, 0x30, 15, 0x30, 13, 6, 3,
                                  0x55, 0x1d, 0x15, 1, 1, 0xff, 4,    3,  10,   1,  1}},
        {33,
         STATUS_UNSUPPORTED,
         {0x30, 31, 2, 1, 5, TIME, 0x30, 11, 0x30, 9, 6, 3, 0x55, 0x1d, 0x1d, 4, 2, 0x30, 0}},
        {33,
         STATUS_MALFORMED,
         {0x30, 31, 2, 1, 5, TIME, 0x30, 11, 0x30, 9, 6, 3, 0x55, 0x1d, 0x1d, 4, 3, 0x30, 0}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bytes entries = {rows[i].octets, rows[i].len}, serial;
        const char *complaint = NULL;
        if (certificate_list_next(&entries, &serial, &complaint) != rows[i].status)
            fail_msg("row %zu", i);
    }
}

static void verifies_the_signature(void **state)
{
    (void)state;
    struct test_certificate impostor =
        test_certificate(&(struct test_certificate_wish){.common_name = "CA", .ca = true});
    struct test_certificate not_for_crls = test_certificate(&(struct test_certificate_wish){
        .common_name = "CA", .ca = true, .key_usage = "critical,keyCertSign"});
    struct test_certificate no_ca = test_certificate(
        &(struct test_certificate_wish){.common_name = "CA", .key_usage = "critical,cRLSign"});
    struct test_certificate rsa =
        test_certificate(&(struct test_certificate_wish){.common_name = "CA", .ca = true, .curve = "RSA"});
    const struct {
        const struct test_certificate *signer, *judge;
        enum status status;
    } rows[] = {
        {&ca, &ca, STATUS_OK},
        {&rsa, &rsa, STATUS_OK},
        {&impostor, &ca, STATUS_UNTRUSTED},
        {&not_for_crls, &not_for_crls, STATUS_UNTRUSTED},
        {&no_ca, &no_ca, STATUS_UNTRUSTED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buffer der = test_crl_der(&(struct test_crl_wish){.issuer = &ca, .signer = rows[i].signer});
        struct certificate_list list;
        const char *complaint;
        assert_int_equal(certificate_list_read(buffer_view(&der), &list, &complaint), STATUS_OK);
        if (certificate_list_verify(&list, rows[i].judge->certificate) != rows[i].status)
            fail_msg("row %zu", i);
        der.at[der.len - 1] ^= 1;
        assert_int_equal(certificate_list_verify(&list, rows[i].judge->certificate), STATUS_UNTRUSTED);
        buffer_free(&der);
    }
    test_certificate_free(&impostor);
    test_certificate_free(&not_for_crls);
    test_certificate_free(&no_ca);
    test_certificate_free(&rsa);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_openssl_writes),
        cmocka_unit_test(reads_an_empty_list),
        cmocka_unit_test(refuses_lists_that_do_not_tell),
        cmocka_unit_test(takes_the_name_of_a_distribution_point),
        cmocka_unit_test(refuses_what_is_not_der),
        cmocka_unit_test(refuses_bad_entries),
        cmocka_unit_test(verifies_the_signature),
    };
    return cmocka_run_group_tests(tests, create, destroy);
}
