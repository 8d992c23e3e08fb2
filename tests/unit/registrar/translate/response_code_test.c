/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "common/coap_message.h"
#include "registrar/translate/response_code.h"

#include <string.h>

/* Requirements A8, written down a second time: CoAP codes as decimals, 504 for 5.04. */
static unsigned expected_code(unsigned http, uint8_t method, bool has_retry_after)
{
    switch (http) {
    case 200:
        return method == CM_GET ? 205 : 204;
    case 202:
        return 503;
    case 204:
        return method == CM_GET ? 404 : 502;
    case 400:
    case 401:
    case 403:
    case 404:
    case 405:
    case 406:
    case 409:
    case 412:
    case 413:
    case 415:
    case 422:
        return http;
    case 407:
    case 411:
    case 417:
    case 421:
    case 426:
    case 431:
        return 502;
    case 408:
        return 504;
    case 410:
        return 404;
    case 423:
        return has_retry_after ? 503 : 403;
    case 425:
    case 429:
        return 503;
    case 451:
        return 403;
    case 500:
    case 501:
    case 502:
    case 503:
    case 504:
        return http;
    case 505:
    case 511:
        return 502;
    default:
        return http >= 500 ? 500 : http >= 400 ? 400 : 502;
    }
}

static unsigned decimal(uint8_t code)
{
    return CM_CODE_CLASS(code) * 100U + CM_CODE_DETAIL(code);
}

/* RSP-1: every status, both methods, with and without Retry-After. */
static void every_http_status_is_mapped(void **state)
{
    (void)state;
    static const uint8_t methods[] = {CM_GET, CM_POST};
    for (unsigned http = 100; http <= 599; http++) {
        for (unsigned i = 0; i < 4; i++) {
            uint8_t method = methods[i & 1];
            bool has_retry_after = i >> 1;
            struct http_mapping mapping = response_code_map(http, method, has_retry_after);
            unsigned expected = expected_code(http, method, has_retry_after);
            if (decimal(mapping.code) != expected)
                fail_msg("%u to %s: %u instead of %u", http, method == CM_GET ? "GET" : "POST",
                         decimal(mapping.code), expected);
        }
    }
}

/* RSP-1, DLY-4: who waits, who succeeds, and after which answers the outcome of a POST is not known. */
static void dispositions_are_those_of_the_table(void **state)
{
    (void)state;
    for (unsigned http = 100; http <= 599; http++) {
        for (unsigned i = 0; i < 4; i++) {
            uint8_t method = i & 1 ? CM_POST : CM_GET;
            bool has_retry_after = i >> 1;
            struct http_mapping mapping = response_code_map(http, method, has_retry_after);
            bool retries =
                http == 202 || http == 425 || http == 429 || http == 503 || (http == 423 && has_retry_after);
            bool doubtful = http < 200 || (http > 200 && http < 300 && http != 202) || http == 303 ||
                            http == 502 || http == 504;
            enum http_disposition expected = HTTP_ANSWER;
            if (retries)
                expected = HTTP_RETRY;
            else if (http == 200)
                expected = HTTP_SUCCESS;
            else if (http == 204 && method == CM_GET)
                expected = HTTP_NOTHING;
            assert_int_equal(mapping.disposition, expected);
            assert_int_equal(mapping.may_have_issued, doubtful && method == CM_POST);
        }
    }
}

/* No status at all, or an impossible one, is a bad gateway too. */
static void impossible_statuses_are_bad_gateways(void **state)
{
    (void)state;
    static const unsigned statuses[] = {0, 1, 99, 600, 999, 65535, 0xffffffff};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        assert_int_equal(response_code_map(statuses[i], CM_GET, false).code, CM_BAD_GATEWAY);
        struct http_mapping mapping = response_code_map(statuses[i], CM_POST, true);
        assert_int_equal(mapping.code, CM_BAD_GATEWAY);
        assert_int_equal(mapping.disposition, HTTP_ANSWER);
        assert_true(mapping.may_have_issued);
    }
}

/* RSP-5: no answer of ours is 2.01, 2.02, 2.03 or 4.08, whatever the EST server says. */
static void superseded_codes_are_never_used(void **state)
{
    (void)state;
    for (unsigned http = 0; http <= 1000; http++) {
        for (unsigned i = 0; i < 4; i++) {
            uint8_t code = response_code_map(http, i & 1 ? CM_POST : CM_GET, i >> 1).code;
            assert_int_not_equal(code, CM_CODE(2, 1));
            assert_int_not_equal(code, CM_CODE(2, 2));
            assert_int_not_equal(code, CM_VALID);
            assert_int_not_equal(code, CM_REQUEST_ENTITY_INCOMPLETE);
        }
    }
}

struct retry_row {
    const char *retry_after, *date;
    uint32_t seconds;
};

/* Sun, 06 Nov 1994 08:49:37 GMT */
#define RFC_DATE INT64_C(784111777)

/* RSP-2 */
static void retry_after_becomes_seconds(void **state)
{
    (void)state;
    static const struct retry_row rows[] = {
        {"120", "", 120},
        {"1", "", 1},
        {" 120\t", "", 120},
        {"0", "", 1},
        {"000", "", 1},
        {"007", "", 7},
        {"3600", "", 3600},
        {"3601", "", 3600},
        {"4294967295", "", 3600},
        {"4294967296", "", 3600},
        {"99999999999999999999999999999999", "", 3600},
        /* the response's own clock counts, wrong as it may be */
        {"Sun, 06 Nov 1994 08:51:07 GMT", "Sun, 06 Nov 1994 08:49:37 GMT", 90},
        {"Sun, 06 Nov 2044 08:51:07 GMT", "Sun, 06 Nov 2044 08:49:37 GMT", 90},
        /* without Date, or with a bad one, ours does */
        {"Sun, 06 Nov 1994 08:51:07 GMT", "", 90},
        {"Sun, 06 Nov 1994 08:51:07 GMT", "yesterday", 90},
        {"Sunday, 06-Nov-94 08:51:07 GMT", "", 90},
        {"Sun Nov  6 08:51:07 1994", "", 90},
        {"Sun, 06 Nov 1994 08:49:37 GMT", "", 1},
        {"Sun, 06 Nov 1993 08:49:37 GMT", "", 1},
        {"Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 2044 08:49:37 GMT", 1},
        {"Sun, 06 Nov 2044 08:49:37 GMT", "", 3600},
        /* garbage or nothing */
        {"", "", 60},
        {"  ", "", 60},
        {"-5", "", 60},
        {"+5", "", 60},
        {"12 0", "", 60},
        {"120s", "", 60},
        {"1.5", "", 60},
        {"0x10", "", 60},
        {"soon", "", 60},
        {"Sun, 06 Nov 1994 08:51:07 GMT, 5", "", 60},
        {"Sun, 06 Nov 1994 08:51:07", "", 60},
        {"Sun, 06 Nov 1994 08:51:07 CET", "", 60},
        {"Sun, 99 Nov 1994 08:51:07 GMT", "", 60},
        {"Sun, 06 Nov 1994 08:51:07 GMT and much more than any date that there could ever be", "", 60},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t seconds = retry_after_seconds(bytes_from_string(rows[i].retry_after),
                                               bytes_from_string(rows[i].date), RFC_DATE, 60, 3600);
        if (seconds != rows[i].seconds)
            fail_msg("\"%s\" with \"%s\": %u", rows[i].retry_after, rows[i].date, seconds);
    }
    assert_int_equal(retry_after_seconds((struct bytes){NULL, 0}, (struct bytes){NULL, 0}, 0, 60, 30), 30);
    assert_int_equal(retry_after_seconds((struct bytes){NULL, 0}, (struct bytes){NULL, 0}, 0, 0, 30), 1);
    assert_int_equal(retry_after_seconds(BYTES_LITERAL("12\0"), (struct bytes){NULL, 0}, 0, 60, 3600), 60);
}

struct diagnostic_row {
    const char *content_type;
    struct bytes body;
    const char *diagnostic;
};

/* RSP-3 */
static void diagnostics_are_short_clean_text(void **state)
{
    (void)state;
    const struct diagnostic_row rows[] = {
        {"text/plain", BYTES_LITERAL("x\r\ny"), "x y"},
        {"Text/Plain; charset=utf-8", BYTES_LITERAL("no"), "no"},
        {" text/plain ;charset=\"utf-8\"", BYTES_LITERAL("no"), "no"},
        {"", BYTES_LITERAL("Error 400: bad CSR\n"), "Error 400: bad CSR"},
        {"", BYTES_LITERAL("\r\n\t a \x01\x02 b \x7f c \n"), "a b c"},
        {"", BYTES_LITERAL("a\0b"), "a b"},
        {"", BYTES_LITERAL("Schl\xc3\xbcssel fehlt"), "Schl\xc3\xbcssel fehlt"},
        {"", BYTES_LITERAL("a\xc2\x85z\xe2\x80\xa8!"), "a z !"}, /* NEL and LINE SEPARATOR */
        {"", BYTES_LITERAL(""), ""},
        {"", BYTES_LITERAL(" \r\n"), ""},
        /* dropped: other types, and what is not text whatever it is called */
        {"text/html", BYTES_LITERAL("no"), ""},
        {"text/plainer", BYTES_LITERAL("no"), ""},
        {"text/plai", BYTES_LITERAL("no"), ""},
        {"application/pkcs7-mime", BYTES_LITERAL("MIIB"), ""},
        {"; charset=utf-8", BYTES_LITERAL("<p>no"), ""},
        {"", BYTES_LITERAL("\n <!DOCTYPE html><p>no"), ""},
        {"", BYTES_LITERAL("0\x82\x01\x02\x30"), ""},
        {"text/plain", BYTES_LITERAL("caf\xe9"), ""},
        {"text/plain", BYTES_LITERAL("a\xc3"), ""},
        {"text/plain", BYTES_LITERAL("a\xc0\xaf"), ""},         /* overlong */
        {"text/plain", BYTES_LITERAL("a\xe0\x80\xaf"), ""},     /* overlong */
        {"text/plain", BYTES_LITERAL("a\xed\xa0\x80"), ""},     /* surrogate */
        {"text/plain", BYTES_LITERAL("a\xf4\x90\x80\x80"), ""}, /* above U+10FFFF */
        {"text/plain", BYTES_LITERAL("a\xf0\x9f\x98\x80"), "a\xf0\x9f\x98\x80"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buffer diagnostic;
        buffer_init(&diagnostic, 256);
        response_diagnostic(bytes_from_string(rows[i].content_type), rows[i].body, &diagnostic);
        if (strcmp(buffer_string(&diagnostic), rows[i].diagnostic) != 0)
            fail_msg("row %zu: \"%s\"", i, buffer_string(&diagnostic));
        buffer_free(&diagnostic);
    }
}

/* RSP-3: at most 128 octets, and no half character at the end. */
static void diagnostics_are_cut_at_a_character(void **state)
{
    (void)state;
    char body[1000];
    for (size_t lead = 0; lead < 4; lead++) {
        memset(body, 'x', lead);
        for (size_t i = lead; i + 3 <= sizeof(body); i += 3)
            memcpy(body + i, "\xe2\x82\xac", 3);
        size_t len = lead + (sizeof(body) - lead) / 3 * 3;
        struct buffer diagnostic;
        buffer_init(&diagnostic, 256);
        response_diagnostic(BYTES_LITERAL("text/plain"), (struct bytes){(uint8_t *)body, len}, &diagnostic);
        assert_int_equal(diagnostic.len, lead + (128 - lead) / 3 * 3);
        assert_memory_equal(diagnostic.at, body, diagnostic.len);
        buffer_free(&diagnostic);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_http_status_is_mapped),
        cmocka_unit_test(dispositions_are_those_of_the_table),
        cmocka_unit_test(impossible_statuses_are_bad_gateways),
        cmocka_unit_test(superseded_codes_are_never_used),
        cmocka_unit_test(retry_after_becomes_seconds),
        cmocka_unit_test(diagnostics_are_short_clean_text),
        cmocka_unit_test(diagnostics_are_cut_at_a_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
