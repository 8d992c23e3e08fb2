#include "registrar/translate/request_body.h"

#include "common/base64.h"
#include "tests/unit/registrar/credentials.h"

#include <stdlib.h>

static const enum base64_lines all_lines[] = {BASE64_ONE_LINE, BASE64_64_LF, BASE64_64_CRLF};

/* PAY-2, PAY-3, POP-7: the EST server gets exactly the device's octets. */
static void the_body_is_base64_of_the_csr(void **state)
{
    (void)state;
    struct buffer der = read_vector("rfc7030-A3-simpleenroll.csr.der");
    for (size_t i = 0; i < sizeof(all_lines) / sizeof(all_lines[0]); i++) {
        struct upstream_settings settings = {.base64_lines = all_lines[i]};
        struct buffer body, back;
        buffer_init(&body, MADE_LIMIT);
        buffer_init(&back, MADE_LIMIT);
        assert_int_equal(request_body_encode(&settings, buffer_view(&der), &body), STATUS_OK);
        assert_int_equal(base64_decode(buffer_view(&body), &back), STATUS_OK);
        assert_true(bytes_equal(buffer_view(&back), buffer_view(&der)));
        bool has_lines = memchr(body.at, '\n', body.len) != NULL;
        assert_int_equal(has_lines, all_lines[i] != BASE64_ONE_LINE);
        buffer_free(&body);
        buffer_free(&back);
    }
    buffer_free(&der);
}

/* Towards libest a body has at most 8192 octets, line ends included. */
static void libest_takes_8192_octets(void **state)
{
    (void)state;
    uint8_t *der = calloc(1, 8192);
    for (size_t i = 0; i < sizeof(all_lines) / sizeof(all_lines[0]); i++) {
        struct upstream_settings settings = {.base64_lines = all_lines[i], .profile = UPSTREAM_LIBEST};
        size_t max = request_body_der_max(&settings);
        struct buffer body;
        buffer_init(&body, MADE_LIMIT);
        assert_int_equal(request_body_encode(&settings, (struct bytes){der, max}, &body), STATUS_OK);
        assert_in_range(body.len, 8180, 8192);
        buffer_reset(&body);
        assert_int_equal(request_body_encode(&settings, (struct bytes){der, max + 1}, &body),
                         STATUS_TOO_LARGE);
        assert_int_equal(body.len, 0);
        base64_encode((struct bytes){der, max + 1}, all_lines[i], &body);
        assert_true(body.len > 8192);
        settings.profile = UPSTREAM_RFC7030;
        buffer_reset(&body);
        assert_int_equal(request_body_encode(&settings, (struct bytes){der, 8192}, &body), STATUS_OK);
        buffer_free(&body);
    }
    free(der);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_body_is_base64_of_the_csr),
        cmocka_unit_test(libest_takes_8192_octets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
