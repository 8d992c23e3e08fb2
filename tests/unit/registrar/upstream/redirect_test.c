/* RA-9: which redirects are followed. */
#include "registrar/upstream/redirect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define URL "https://one.example/.well-known/est/simpleenroll"

static struct server_group *group;

static int set_up(void **state)
{
    static char one[] = "https://one.example", two[] = "https://two.example:8443",
                elsewhere[] = "https://elsewhere.example";
    const struct upstream_settings settings = {
        .servers = {.items = {one, two}, .count = 2},
        .redirect_origins = {.items = {elsewhere}, .count = 1},
        .max_failures = 5,
    };
    struct buffer errors;
    (void)state;
    buffer_init(&errors, 1024);
    group = server_group_load(&settings, NULL, &errors);
    buffer_free(&errors);
    return group == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    server_group_release(group);
    return 0;
}

static enum redirect_verdict judge(unsigned http_status, bool is_post, unsigned count, const char *location)
{
    const struct redirected asked = {URL, is_post, count};
    const struct est_response response = {
        .result = EST_ANSWERED, .http_status = http_status, .location = bytes_from_string(location)};
    struct buffer url;
    const char *complaint = NULL;
    buffer_init(&url, HTTPS_URL_OCTETS_MAX);
    enum redirect_verdict verdict = redirect_judge(&asked, &response, group, &url, &complaint);
    assert_int_equal(complaint != NULL && verdict == REDIRECT_REFUSED, verdict == REDIRECT_REFUSED);
    if (verdict == REDIRECT_FOLLOW)
        assert_true(url.len > 0);
    buffer_free(&url);
    return verdict;
}

static void a_post_goes_on_with_307_and_308_only(void **state)
{
    (void)state;
    for (unsigned status = 200; status < 600; status++) {
        bool keeps_method = status == 307 || status == 308;
        bool is_known = keeps_method || (status >= 301 && status <= 303);
        assert_int_equal(judge(status, true, 0, "/x"), keeps_method ? REDIRECT_FOLLOW : REDIRECT_NONE);
        assert_int_equal(judge(status, false, 0, "/x"), is_known ? REDIRECT_FOLLOW : REDIRECT_NONE);
    }
}

static void only_to_where_the_configuration_says(void **state)
{
    (void)state;
    for (int is_post = 0; is_post < 2; is_post++) {
        assert_int_equal(judge(307, is_post, 0, "https://one.example:443/x"), REDIRECT_FOLLOW);
        assert_int_equal(judge(307, is_post, 0, "https://ONE.example/x"), REDIRECT_FOLLOW);
        assert_int_equal(judge(307, is_post, 0, "https://two.example:8443/x"), REDIRECT_FOLLOW);
        assert_int_equal(judge(307, is_post, 0, "https://elsewhere.example/x"), REDIRECT_FOLLOW);

        assert_int_equal(judge(307, is_post, 0, "https://two.example/x"), REDIRECT_REFUSED);
        assert_int_equal(judge(307, is_post, 0, "https://three.example/x"), REDIRECT_REFUSED);
        assert_int_equal(judge(307, is_post, 0, "//three.example/x"), REDIRECT_REFUSED);
        assert_int_equal(judge(307, is_post, 0, "http://one.example/x"), REDIRECT_REFUSED);
        assert_int_equal(judge(307, is_post, 0, "https://one.example@three.example/x"), REDIRECT_REFUSED);
        assert_int_equal(judge(307, is_post, 0, "https://user:word@one.example/x"), REDIRECT_REFUSED);
        assert_int_equal(judge(307, is_post, 0, "gopher://one.example/x"), REDIRECT_REFUSED);
        assert_int_equal(judge(307, is_post, 0, ""), REDIRECT_REFUSED);
    }
}

static void loops_end(void **state)
{
    (void)state;
    assert_int_equal(judge(307, true, REDIRECTS_MAX - 1, URL), REDIRECT_FOLLOW);
    assert_int_equal(judge(307, true, REDIRECTS_MAX, URL), REDIRECT_REFUSED);
}

static void silence_is_no_redirect(void **state)
{
    const struct redirected asked = {URL, false, 0};
    const struct est_response response = {
        .result = EST_BROKEN, .http_status = 302, .location = BYTES_LITERAL("/x"), .reason = ""};
    struct buffer url;
    const char *complaint;
    (void)state;
    buffer_init(&url, HTTPS_URL_OCTETS_MAX);
    assert_int_equal(redirect_judge(&asked, &response, group, &url, &complaint), REDIRECT_NONE);
    buffer_free(&url);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_post_goes_on_with_307_and_308_only),
        cmocka_unit_test(only_to_where_the_configuration_says),
        cmocka_unit_test(loops_end),
        cmocka_unit_test(silence_is_no_redirect),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
