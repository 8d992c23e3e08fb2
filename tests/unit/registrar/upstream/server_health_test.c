/* Whose trouble a failure is: the server's, or a profile's. */
#include "registrar/upstream/server_health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct circuit_settings settings = {.failures = 2, .backoff_ms = 1000, .backoff_max_ms = 8000};

static const struct health_part *break_off(struct server_health *health, const char *profile, bool of_server)
{
    const struct health_event event = {.profile = profile, .of_server = of_server, .now_ms = 7};
    return server_health_failed(health, &settings, &event);
}

static const struct health_part *serve(struct server_health *health, const char *profile)
{
    const struct health_event event = {.profile = profile, .now_ms = 9};
    return server_health_served(health, &event);
}

static void a_profile_fails_by_itself(void **state)
{
    struct server_health *health = server_health_create();
    (void)state;
    assert_null(server_health_part(health, "/a"));
    assert_null(break_off(health, "/a", false));
    assert_null(serve(health, "/b"));
    const struct health_part *opened = break_off(health, "/a", false); /* in a row, as far as /a goes */
    assert_ptr_equal(opened, server_health_part(health, "/a"));
    assert_int_equal(opened->fails_since_ms, 7);
    assert_false(server_health_is_well(health, "/a"));
    assert_true(server_health_is_well(health, "/b"));
    assert_true(server_health_is_well(health, ""));
    assert_ptr_equal(serve(health, "/a"), opened);
    assert_true(server_health_is_well(health, "/a"));
    server_health_free(health);
}

static void a_server_fails_for_all(void **state)
{
    struct server_health *health = server_health_create();
    (void)state;
    assert_null(break_off(health, "/a", true));
    assert_ptr_equal(break_off(health, "/b", true), health->parts);
    assert_null(server_health_part(health, "/a"));
    assert_false(server_health_is_well(health, "/c"));
    assert_ptr_equal(serve(health, "/c"), health->parts);
    assert_true(server_health_is_well(health, "/c"));
    server_health_free(health);
}

/* One after the other is in trouble, and none is answered. */
static void several_profiles_make_a_server(void **state)
{
    struct server_health *health = server_health_create();
    (void)state;
    assert_null(break_off(health, "/a", false));
    assert_null(break_off(health, "/b", false));
    assert_null(serve(health, "/c")); /* breaks the row of the server, not theirs */
    assert_non_null(break_off(health, "/a", false));
    assert_true(server_health_is_well(health, ""));
    assert_null(break_off(health, "/c", false));
    assert_ptr_equal(break_off(health, "/d", false), health->parts);
    assert_ptr_equal(serve(health, "/a"), health->parts);
    assert_false(server_health_is_well(health, "/a")); /* waits for a probe of its own */
    server_health_free(health);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_profile_fails_by_itself),
        cmocka_unit_test(a_server_fails_for_all),
        cmocka_unit_test(several_profiles_make_a_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
