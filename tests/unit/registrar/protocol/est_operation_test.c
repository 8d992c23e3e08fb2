/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "common/coap_message.h"
#include "registrar/protocol/est_operation.h"
#include "registrar/settings.h"

#include <stdio.h>
#include <string.h>

static char root[] = "/est";
static char label_p1[] = "p1", label_odd[] = "Boiler room \xc3\xbc", label_named_sen[] = "sen";

static struct est_settings default_settings(void)
{
    return (struct est_settings){.root = root, .att = true, .skg = true, .skc = true};
}

/* Routes the segments of path, which are separated by "|". */
static enum status route(const struct est_settings *settings, const char *path, struct est_route *route)
{
    struct bytes segments[COAP_SEGMENTS_MAX];
    size_t count = 0;
    for (const char *at = path; count < COAP_SEGMENTS_MAX; at++) {
        const char *end = strchr(at, '|');
        size_t len = end == NULL ? strlen(at) : (size_t)(end - at);
        segments[count++] = (struct bytes){(const uint8_t *)at, len};
        at += len;
        if (end == NULL)
            break;
    }
    return est_route_find(settings, segments, count, route);
}

static void assert_routed(const struct est_settings *settings, const char *path, enum est_operation_id id,
                          const char *label)
{
    struct est_route found = {NULL, {NULL, 0}};
    if (route(settings, path, &found) != STATUS_OK)
        fail_msg("%s was not found", path);
    assert_int_equal(found.operation->id, id);
    assert_true(bytes_equal(found.label, bytes_from_string(label)));
}

static void assert_not_found(const struct est_settings *settings, const char *path)
{
    struct est_route found = {NULL, {NULL, 0}};
    if (route(settings, path, &found) != STATUS_NOT_FOUND)
        fail_msg("%s was found", path);
}

/* URI-1: RFC 9148 Table 1; requirements A5 for the formats. */
static void the_table_is_that_of_the_rfc(void **state)
{
    (void)state;
    static const struct {
        const char *name, *long_name, *resource_type;
        uint8_t method;
        enum content_format by_default;
        size_t response_count;
    } expected[EST_OPERATION_COUNT] = {
        {"crts", "cacerts", "ace.est.crts", CM_GET, 281, 3},
        {"sen", "simpleenroll", "ace.est.sen", CM_POST, 281, 2},
        {"sren", "simplereenroll", "ace.est.sren", CM_POST, 281, 2},
        {"att", "csrattrs", "ace.est.att", CM_GET, 285, 1},
        {"skg", "serverkeygen", "ace.est.skg", CM_POST, 62, 1},
        {"skc", "serverkeygen", "ace.est.skc", CM_POST, 62, 1},
    };
    for (size_t i = 0; i < EST_OPERATION_COUNT; i++) {
        const struct est_operation *operation = est_operation((enum est_operation_id)i);
        assert_int_equal(operation->id, i);
        assert_string_equal(operation->name, expected[i].name);
        assert_string_equal(operation->long_name, expected[i].long_name);
        assert_string_equal(operation->resource_type, expected[i].resource_type);
        assert_int_equal(operation->method, expected[i].method);
        assert_int_equal(operation->response[0], expected[i].by_default);
        assert_int_equal(operation->response_count, expected[i].response_count);
        if (operation->response_count > 1)
            assert_int_equal(operation->response[1], CONTENT_FORMAT_ONE_CERT);
        if (operation->response_count > 2) /* CF-7 */
            assert_int_equal(operation->response[2], CONTENT_FORMAT_MULTIPART_CORE);
    }
}

/* URI-2, URI-3: both roots, identically. */
static void both_roots_are_served(void **state)
{
    (void)state;
    struct est_settings settings = default_settings();
    for (size_t i = 0; i < EST_OPERATION_COUNT; i++) {
        enum est_operation_id id = (enum est_operation_id)i;
        char path[64];
        snprintf(path, sizeof(path), "est|%s", est_operation(id)->name);
        assert_routed(&settings, path, id, "");
        snprintf(path, sizeof(path), ".well-known|est|%s", est_operation(id)->name);
        assert_routed(&settings, path, id, "");
    }
}

/* URI-3: a root of several segments, and the well-known one beside it. */
static void the_short_root_is_configurable(void **state)
{
    (void)state;
    static char long_root[] = "/factory/line 7/est/";
    struct est_settings settings = default_settings();
    settings.root = long_root;
    assert_routed(&settings, "factory|line 7|est|sen", EST_SEN, "");
    assert_routed(&settings, ".well-known|est|sen", EST_SEN, "");
    assert_not_found(&settings, "est|sen");
    assert_not_found(&settings, "factory|line 7|sen");
    assert_not_found(&settings, "factory/line 7/est|sen");
}

/* Segments are compared octet for octet. */
static void only_exact_segments_count(void **state)
{
    (void)state;
    struct est_settings settings = default_settings();
    static const char *const paths[] = {
        "",
        "est",
        "sen",
        "est|",
        "est|sen|",
        "|est|sen",
        "est||sen",
        "EST|sen",
        "est|Sen",
        "est|sen|sen",
        "est/sen",
        "est|se",
        "est|senx",
        "es|t|sen",
        "est|se|n",
        "est|%73en",
        "est|..|est|sen",
        "est|.|sen",
        ".well-known",
        ".well-known|est",
        "est|est|sen",
        ".well-known|sen",
        ".well-known|est|est|sen|x|y|z",
        ".well-known|core",
    };
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        assert_not_found(&settings, paths[i]);
    struct est_route found;
    assert_int_equal(est_route_find(&settings, NULL, 0, &found), STATUS_NOT_FOUND);
    struct bytes with_nul[] = {BYTES_LITERAL("est"), BYTES_LITERAL("sen\0")};
    assert_int_equal(est_route_find(&settings, with_nul, 2, &found), STATUS_NOT_FOUND);
}

/* URI-4: an allow-list, empty by default. */
static void labels_are_an_allow_list(void **state)
{
    (void)state;
    struct est_settings settings = default_settings();
    assert_not_found(&settings, "est|p1|sen");
    struct label_settings labels[] = {{label_p1, NULL}, {label_odd, NULL}};
    settings.labels = (struct settings_objects){labels, 2};
    assert_routed(&settings, "est|p1|sen", EST_SEN, "p1");
    assert_routed(&settings, ".well-known|est|p1|crts", EST_CRTS, "p1");
    assert_routed(&settings, "est|Boiler room \xc3\xbc|att", EST_ATT, label_odd);
    assert_routed(&settings, "est|sen", EST_SEN, "");
    static const char *const paths[] = {"est|p2|sen",    "est|P1|sen",  "est|p1|p1|sen",  "est|p1",
                                        "est|..|sen",    "est|a/b|sen", "est|%2e%2e|sen", "est|p1|",
                                        "est|p1%00|sen", "est|sen|p1",  "est|p1|cacerts"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        assert_not_found(&settings, paths[i]);
    struct est_route found;
    struct bytes with_nul[] = {BYTES_LITERAL("est"), BYTES_LITERAL("p1\0"), BYTES_LITERAL("sen")};
    assert_int_equal(est_route_find(&settings, with_nul, 3, &found), STATUS_NOT_FOUND);
}

/* A route's label outlives the request: it is the configured one. */
static void the_label_is_borrowed_from_the_allow_list(void **state)
{
    (void)state;
    struct est_settings settings = default_settings();
    struct label_settings p1 = {label_p1, NULL};
    settings.labels = (struct settings_objects){&p1, 1};
    struct est_route found;
    assert_int_equal(route(&settings, "est|p1|sen", &found), STATUS_OK);
    assert_ptr_equal(found.label.at, label_p1);
}

/* URI-4: even a configured label never equals the name of an operation. */
static void a_label_named_like_an_operation_is_refused(void **state)
{
    (void)state;
    struct est_settings settings = default_settings();
    struct label_settings sen = {label_named_sen, NULL};
    settings.labels = (struct settings_objects){&sen, 1};
    assert_not_found(&settings, "est|sen|sen");
    static const char *const names[] = {"crts",    "sen",          "sren",           "att",
                                        "cacerts", "simpleenroll", "simplereenroll", "csrattrs",
                                        "skg",     "skc",          "serverkeygen",   "fullcmc"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_false(est_label_is_valid(bytes_from_string(names[i])));
}

/* URI-4 */
static void labels_are_one_decent_segment(void **state)
{
    (void)state;
    char longest[EST_LABEL_OCTETS_MAX + 1];
    memset(longest, 'x', sizeof(longest));
    assert_true(est_label_is_valid((struct bytes){(uint8_t *)longest, EST_LABEL_OCTETS_MAX}));
    assert_false(est_label_is_valid((struct bytes){(uint8_t *)longest, EST_LABEL_OCTETS_MAX + 1}));
    static const char *const good[] = {"p1", "Sen", "a b", "...", ".hidden", "a?b#c", "\xc3\xbc", "sen2"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(est_label_is_valid(bytes_from_string(good[i])));
    static const char *const bad[] = {"", ".", "..", "a/b", "/", "a\\b", "%2e%2e", "a\nb", "\x7f", "\t"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(est_label_is_valid(bytes_from_string(bad[i])));
    assert_false(est_label_is_valid(BYTES_LITERAL("a\0b")));
}

/* URI-5: long names only behind their switch. */
static void long_names_are_off_by_default(void **state)
{
    (void)state;
    struct est_settings settings = default_settings();
    for (int on = 0; on < 2; on++) {
        settings.long_names = on;
        for (size_t i = 0; i < EST_OPERATION_COUNT; i++) {
            char path[64];
            snprintf(path, sizeof(path), "est|%s", est_operation((enum est_operation_id)i)->long_name);
            if (on) /* RFC 7030 has one name for two resources: the one with the whole PKCS#7 */
                assert_routed(&settings, path, i == EST_SKC ? EST_SKG : (enum est_operation_id)i, "");
            else
                assert_not_found(&settings, path);
        }
    }
}

/* URI-6, and what this registrar does not offer or has switched off. */
static void unknown_and_disabled_functions_are_not_found(void **state)
{
    (void)state;
    struct est_settings settings = default_settings();
    settings.long_names = true;
    assert_not_found(&settings, "est|fullcmc");
    settings.skg = settings.skc = false; /* SKG-1 */
    assert_not_found(&settings, "est|skg");
    assert_not_found(&settings, "est|skc");
    assert_not_found(&settings, "est|serverkeygen");
    settings.att = false;
    assert_not_found(&settings, "est|att");
    assert_not_found(&settings, "est|csrattrs");
    assert_false(est_operation_is_enabled(&settings, EST_ATT));
    assert_true(est_operation_is_enabled(&settings, EST_CRTS));
    settings.skc = true;
    assert_routed(&settings, "est|skc", EST_SKC, "");
    assert_not_found(&settings, "est|skg");
}

/* CF-1, CF-2, CF-3. */
static void formats_are_checked_before_the_body(void **state)
{
    (void)state;
    static const struct {
        enum est_operation_id id;
        int accept, content_format; /* -1: absent */
        uint8_t code;
    } cases[] = {
        {EST_SEN, -1, 286, 0},
        {EST_SEN, 281, 286, 0},
        {EST_SREN, 287, 286, 0},
        {EST_SEN, 62, 286, CM_NOT_ACCEPTABLE},
        {EST_SEN, 0, 286, CM_NOT_ACCEPTABLE},
        {EST_SEN, 60, 281, CM_NOT_ACCEPTABLE},
        {EST_SEN, 281, 281, CM_UNSUPPORTED_CONTENT_FORMAT},
        {EST_SREN, -1, 0, CM_UNSUPPORTED_CONTENT_FORMAT},
        {EST_SEN, -1, -1, CM_UNSUPPORTED_CONTENT_FORMAT},
        {EST_CRTS, -1, -1, 0},
        {EST_CRTS, 287, -1, 0},
        {EST_CRTS, 62, -1, 0},
        {EST_CRTS, 285, -1, CM_NOT_ACCEPTABLE},
        {EST_ATT, 285, 285, 0},
        {EST_ATT, 281, -1, CM_NOT_ACCEPTABLE},
        {EST_SKG, -1, 286, 0},
        {EST_SKC, 62, 286, 0},
        {EST_SKG, 284, 286, CM_NOT_ACCEPTABLE},
        {EST_SKG, 281, 286, CM_NOT_ACCEPTABLE},
        {EST_SKC, 287, 286, CM_NOT_ACCEPTABLE},
        {EST_SKC, 62, 62, CM_UNSUPPORTED_CONTENT_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct coap_uint_option accept = {cases[i].accept >= 0, (uint32_t)cases[i].accept};
        struct coap_uint_option content_format = {cases[i].content_format >= 0,
                                                  (uint32_t)cases[i].content_format};
        assert_int_equal(est_operation_check_formats(est_operation(cases[i].id), accept, content_format),
                         cases[i].code);
    }
}

/* SKG-9: of whose answers no copy may stay. */
static void keys_come_from_two_of_them(void **state)
{
    (void)state;
    for (int id = 0; id < EST_OPERATION_COUNT; id++)
        assert_int_equal(est_operation_makes_key(est_operation((enum est_operation_id)id)),
                         id == EST_SKG || id == EST_SKC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_that_of_the_rfc),
        cmocka_unit_test(both_roots_are_served),
        cmocka_unit_test(the_short_root_is_configurable),
        cmocka_unit_test(only_exact_segments_count),
        cmocka_unit_test(labels_are_an_allow_list),
        cmocka_unit_test(the_label_is_borrowed_from_the_allow_list),
        cmocka_unit_test(a_label_named_like_an_operation_is_refused),
        cmocka_unit_test(labels_are_one_decent_segment),
        cmocka_unit_test(long_names_are_off_by_default),
        cmocka_unit_test(unknown_and_disabled_functions_are_not_found),
        cmocka_unit_test(formats_are_checked_before_the_body),
        cmocka_unit_test(keys_come_from_two_of_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
