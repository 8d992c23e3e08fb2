/* DISC-1 to DISC-3, JPD-3 to JPD-5: the links of the registrar. */
#include "registrar/downstream/discovery.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static char root[] = "/est";

#define CRTS "</est/crts>;rt=\"ace.est.crts\";ct=\"281 287 62\""
#define SEN  "</est/sen>;rt=\"ace.est.sen\";ct=\"281 287\""
#define SREN "</est/sren>;rt=\"ace.est.sren\";ct=\"281 287\""
#define ATT  "</est/att>;rt=\"ace.est.att\";ct=285"
#define SKG  "</est/skg>;rt=\"ace.est.skg\";ct=62"
#define SKC  "</est/skc>;rt=\"ace.est.skc\";ct=62"

static void assert_links(const struct est_settings *settings, const char *query, const char *authority,
                         const char *expected)
{
    struct coap_message request = {.code = CM_GET};
    struct buffer payload;
    buffer_init(&payload, 2048);
    if (query != NULL)
        request.uri_query[request.uri_query_count++] = bytes_from_string(query);
    assert_int_equal(discovery_links(settings, &request, authority, &payload), STATUS_OK);
    assert_string_equal(buffer_string(&payload), expected);
    buffer_free(&payload);
}

static void disc_2_all_that_is_switched_on_is_listed(void **state)
{
    (void)state;
    struct est_settings settings = {.root = root, .att = true};
    assert_links(&settings, NULL, "", CRTS "," SEN "," SREN "," ATT);
    settings.att = false;
    assert_links(&settings, NULL, "", CRTS "," SEN "," SREN);
    settings.skc = true;
    assert_links(&settings, NULL, "", CRTS "," SEN "," SREN "," SKC);
    settings.att = settings.skg = true;
    assert_links(&settings, "rt=ace.est*", "", CRTS "," SEN "," SREN "," ATT "," SKG "," SKC);
}

static void disc_1_links_are_filtered(void **state)
{
    (void)state;
    struct est_settings settings = {.root = root, .att = true};
    assert_links(&settings, "rt=ace.est*", "", CRTS "," SEN "," SREN "," ATT);
    assert_links(&settings, "rt=ace.est.sen", "", SEN);
    assert_links(&settings, "ct=285", "", ATT);
    assert_links(&settings, "href=/est/s*", "", SEN "," SREN);
    assert_links(&settings, "rt=nosuch", "", "");
    settings.att = false;
    assert_links(&settings, "rt=ace.est.att", "", "");
}

static void several_queries_must_all_match(void **state)
{
    (void)state;
    struct est_settings settings = {.root = root, .att = true};
    struct coap_message request = {
        .uri_query = {BYTES_LITERAL("ct=281"), BYTES_LITERAL("href=*sen"), BYTES_LITERAL("rt=ace.est.s*")},
        .uri_query_count = 3,
    };
    struct buffer payload;
    buffer_init(&payload, 2048);
    assert_int_equal(discovery_links(&settings, &request, "", &payload), STATUS_OK);
    assert_int_equal(payload.len, 0);
    request.uri_query[1] = BYTES_LITERAL("href=/est*");
    assert_int_equal(discovery_links(&settings, &request, "", &payload), STATUS_OK);
    assert_string_equal(buffer_string(&payload), SEN "," SREN);
    buffer_free(&payload);
}

/* RFC 9148 section 4.1, second example. */
static void disc_3_links_are_absolute_with_an_authority(void **state)
{
    (void)state;
    struct est_settings settings = {.root = root, .att = true};
    assert_links(&settings, "rt=ace.est.sen", "[2001:db8:3::123]:61617",
                 "<coaps://[2001:db8:3::123]:61617/est/sen>;rt=\"ace.est.sen\";ct=\"281 287\"");
    assert_links(&settings, "href=/est/sen", "[2001:db8:3::123]:61617", "");
    assert_links(&settings, "href=coaps://192.0.2.1:5684/est/a*", "192.0.2.1:5684",
                 "<coaps://192.0.2.1:5684/est/att>;rt=\"ace.est.att\";ct=285");
}

static void the_short_root_is_the_configured_one(void **state)
{
    (void)state;
    char other[] = "/a/b";
    struct est_settings settings = {.root = other};
    assert_links(&settings, "rt=ace.est.crts", "", "</a/b/crts>;rt=\"ace.est.crts\";ct=\"281 287 62\"");
}

/* The longest root that settings accept, and the longest authority. */
static void the_longest_links_fit(void **state)
{
    (void)state;
    char longest[65] = "/";
    memset(longest + 1, 'r', 63);
    struct est_settings settings = {.root = longest, .att = true};
    struct coap_message request = {.code = CM_GET};
    struct buffer payload;
    buffer_init(&payload, 2048);
    assert_int_equal(discovery_links(&settings, &request,
                                     "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535", &payload),
                     STATUS_OK);
    assert_null(memchr(payload.at, '\n', payload.len));
    buffer_free(&payload);
}

static void a_payload_without_room_fails(void **state)
{
    (void)state;
    struct est_settings settings = {.root = root};
    struct coap_message request = {.code = CM_GET};
    struct buffer payload;
    buffer_init(&payload, 60);
    assert_int_equal(discovery_links(&settings, &request, "", &payload), STATUS_TOO_LARGE);
    buffer_free(&payload);
}

static void only_well_known_core_is_addressed(void **state)
{
    (void)state;
    struct coap_message request = {
        .uri_path = {BYTES_LITERAL(".well-known"), BYTES_LITERAL("core"), BYTES_LITERAL("")},
        .uri_path_count = 2,
    };
    assert_true(discovery_is_addressed(&request));
    request.uri_path_count = 3;
    assert_false(discovery_is_addressed(&request));
    request.uri_path_count = 1;
    assert_false(discovery_is_addressed(&request));
    request.uri_path_count = 0;
    assert_false(discovery_is_addressed(&request));
    request.uri_path[1] = BYTES_LITERAL("est");
    request.uri_path_count = 2;
    assert_false(discovery_is_addressed(&request));
    request.uri_path[1] = BYTES_LITERAL("core");
    request.uri_path[0] = BYTES_LITERAL(".Well-Known");
    assert_false(discovery_is_addressed(&request));
}

static void assert_ways(const struct discovery_ways *ways, const char *query, const char *expected)
{
    struct coap_message request = {.code = CM_GET};
    struct buffer payload;
    buffer_init(&payload, 2048);
    if (query != NULL)
        request.uri_query[request.uri_query_count++] = bytes_from_string(query);
    assert_int_equal(discovery_way_links(ways, &request, &payload), STATUS_OK);
    assert_string_equal(buffer_string(&payload), expected);
    buffer_free(&payload);
}

#define JPY "<jpy://[2001:db8::1]:5690>;rt=brski.rjp"

/* JPD-3: the port is always there, and no path; the schemes of older drafts as the knob says. */
static void jpd_3_the_jpy_port_is_announced(void **state)
{
    (void)state;
    char jpy[] = "jpy", coaps_jpy[] = "coaps+jpy", coaps[] = "coaps";
    struct settings_strings schemes = {{jpy}, 1};
    struct discovery_ways ways = {"[2001:db8::1]:5690", &schemes, 0};
    assert_ways(&ways, "rt=brski.rjp", JPY);
    assert_ways(&ways, "rt=brski.*", JPY);
    assert_ways(&ways, NULL, JPY);
    assert_ways(&ways, "rt=ace.est*", "");
    ways.jpy = "192.0.2.1:5690";
    assert_ways(&ways, "rt=brski.rjp", "<jpy://192.0.2.1:5690>;rt=brski.rjp");
    ways.jpy = "[2001:db8::1]:5690";
    schemes = (struct settings_strings){{jpy, coaps_jpy, coaps}, 3};
    assert_ways(&ways, "rt=brski.rjp",
                JPY ",<coaps+jpy://[2001:db8::1]:5690>;rt=brski.rjp,"
                    "<coaps://[2001:db8::1]:5690>;rt=brski.rjp");
    ways.jpy = "";
    assert_ways(&ways, "rt=brski.rjp", "");
}

/* JPD-4: what a registrar with EST alone does not have; a stateful join proxy finds it by rt=ace.est*. */
static void jpd_4_no_brski_resources_are_announced(void **state)
{
    (void)state;
    char jpy[] = "jpy";
    struct settings_strings schemes = {{jpy}, 1};
    const struct discovery_ways ways = {"[2001:db8::1]:5690", &schemes, 5684};
    struct est_settings settings = {.root = root, .att = true};
    assert_ways(&ways, "rt=brski", "");
    assert_links(&settings, "rt=brski", "[2001:db8::1]:5684", "");
    assert_links(&settings, "rt=ace.est.sen", "[2001:db8::1]:5684",
                 "<coaps://[2001:db8::1]:5684/est/sen>;rt=\"ace.est.sen\";ct=\"281 287\"");
}

/* JPD-5: only devices that ask for it by name. */
static void jpd_5_we_are_our_own_join_proxy(void **state)
{
    (void)state;
    struct settings_strings schemes = {.count = 0};
    struct discovery_ways ways = {"", &schemes, 5684};
    assert_ways(&ways, "brski-jp=*", "<>;brski-jp=5684");
    assert_ways(&ways, "brski-jp=5684", "<>;brski-jp=5684");
    assert_ways(&ways, "brski-jp=5685", "");
    assert_ways(&ways, "brski-jp", "");
    assert_ways(&ways, "brski-jps=*", "");
    assert_ways(&ways, "rt=brski.jp", "");
    assert_ways(&ways, NULL, "");
    ways.coaps_port = 0;
    assert_ways(&ways, "brski-jp=*", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disc_2_all_that_is_switched_on_is_listed),
        cmocka_unit_test(disc_1_links_are_filtered),
        cmocka_unit_test(several_queries_must_all_match),
        cmocka_unit_test(disc_3_links_are_absolute_with_an_authority),
        cmocka_unit_test(the_short_root_is_the_configured_one),
        cmocka_unit_test(the_longest_links_fit),
        cmocka_unit_test(a_payload_without_room_fails),
        cmocka_unit_test(only_well_known_core_is_addressed),
        cmocka_unit_test(jpd_3_the_jpy_port_is_announced),
        cmocka_unit_test(jpd_4_no_brski_resources_are_announced),
        cmocka_unit_test(jpd_5_we_are_our_own_join_proxy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
