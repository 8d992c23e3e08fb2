/* Which EST server is asked, what makes it fail and well again, and what the operator hears. */
#include "registrar/upstream/server_group.h"

#include "common/log.h"
#include "common/monotonic.h"
#include "registrar/upstream/server_health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define FAILURES  3
#define BACKOFF   1000
#define PROBES    60000
#define ALL_TRIED 7u
#define PROFILE   "/.well-known/est"
#define LABELLED  "/.well-known/est/label"

static char one[] = "https://one.example", two[] = "https://two.example:8443",
            three[] = "https://three.example";

struct fixture {
    struct upstream_settings settings;
    struct server_group *group;
    FILE *sink;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture.settings = (struct upstream_settings){
        .servers = {.items = {one, two, three}, .count = 3},
        .max_failures = FAILURES,
        .backoff_ms = BACKOFF,
        .backoff_max_ms = 4 * BACKOFF,
    };
    fixture.group = NULL;
    fixture.sink = tmpfile();
    assert_non_null(fixture.sink);
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, fixture.sink);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    server_group_release(fixture->group);
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, stderr);
    fclose(fixture->sink);
    return 0;
}

static struct server_group *load(struct fixture *fixture)
{
    struct buffer errors;
    buffer_init(&errors, 4096);
    fixture->group = server_group_load(&fixture->settings, NULL, &errors);
    if (fixture->group == NULL)
        fail_msg("%s", buffer_string(&errors));
    buffer_free(&errors);
    return fixture->group;
}

static enum server_news report(struct fixture *fixture, size_t server, enum est_result result,
                               uint64_t now_ms)
{
    const struct server_report told = {"simpleenroll", PROFILE, result, result == EST_ANSWERED ? 200 : 0,
                                       "why",          NULL};
    return server_group_report(fixture->group, server, &told, now_ms);
}

static enum server_news answer(struct fixture *fixture, size_t server, unsigned http_status)
{
    const struct server_report told = {"simpleenroll", PROFILE, EST_ANSWERED, http_status, NULL, NULL};
    return server_group_report(fixture->group, server, &told, 1);
}

static enum server_news report_probe(struct fixture *fixture, size_t server, enum est_result result,
                                     uint64_t now_ms)
{
    const struct server_report told = {"cacerts", PROFILE, result, result == EST_ANSWERED ? 200 : 0,
                                       "why",     ""};
    return server_group_report_probe(fixture->group, server, &told, now_ms);
}

static void make_fail(struct fixture *fixture, size_t server, uint64_t now_ms)
{
    for (unsigned i = 1; i < FAILURES; i++)
        assert_int_equal(report(fixture, server, EST_NOT_SENT, now_ms), SERVER_NO_NEWS);
    assert_int_equal(report(fixture, server, EST_NOT_SENT, now_ms), SERVER_FAILS);
}

static void assert_picked(struct fixture *fixture, uint32_t tried, size_t expected)
{
    size_t server;
    assert_true(server_group_pick(fixture->group, PROFILE, tried, &server));
    assert_int_equal(server, expected);
}

static void assert_none(struct fixture *fixture, uint32_t tried)
{
    size_t server;
    assert_false(server_group_pick(fixture->group, PROFILE, tried, &server));
}

static unsigned lines_with(struct fixture *fixture, const char *text)
{
    unsigned count = 0;
    char log[16384];
    ssize_t len = pread(fileno(fixture->sink), log, sizeof log - 1, 0);
    assert_true(len >= 0);
    log[len] = '\0';
    for (const char *at = log; (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

static void the_first_that_is_well_is_asked(void **state)
{
    struct fixture *fixture = *state;
    load(fixture);
    assert_picked(fixture, 0, 0);
    assert_picked(fixture, 0, 0);
    assert_picked(fixture, 1, 1);
    assert_picked(fixture, 3, 2);
    assert_none(fixture, ALL_TRIED);
    make_fail(fixture, 0, 5);
    assert_picked(fixture, 0, 1);
    assert_none(fixture, 6);
    assert_int_equal(report_probe(fixture, 0, EST_ANSWERED, 900), SERVER_IS_WELL);
    assert_picked(fixture, 0, 0);
}

static void round_robin_takes_turns(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.selection = UPSTREAM_ROUND_ROBIN;
    load(fixture);
    for (size_t i = 0; i < 7; i++)
        assert_picked(fixture, 0, i % 3);
    make_fail(fixture, 2, 5);
    assert_picked(fixture, 0, 1);
    assert_picked(fixture, 0, 0);
    assert_picked(fixture, 0, 1);
    assert_picked(fixture, 2, 0);
}

static void answers_break_a_row_of_failures(void **state)
{
    struct fixture *fixture = *state;
    load(fixture);
    for (unsigned i = 0; i < 20; i++) {
        report(fixture, 0, EST_TIMEOUT, i);
        report(fixture, 0, EST_BROKEN, i);
        assert_int_equal(report(fixture, 0, EST_ANSWERED, i), SERVER_NO_NEWS);
    }
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(report(fixture, 0, EST_QUEUE_FULL, i), SERVER_NO_NEWS); /* says nothing of it */
    assert_picked(fixture, 0, 0);
}

/* 400 and 500 are about one CSR; 502 to 504 about the server, which is left only for a better one. */
static void who_cannot_serve_is_left_for_one_that_can(void **state)
{
    static const unsigned no_failures[] = {400, 401, 404, 429, 500, 501};
    struct fixture *fixture = *state;
    load(fixture);
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(answer(fixture, 0, no_failures[i % 6]), SERVER_NO_NEWS);
    answer(fixture, 0, 502);
    answer(fixture, 0, 503);
    assert_int_equal(answer(fixture, 0, 504), SERVER_FAILS);
    assert_picked(fixture, 0, 1);
    make_fail(fixture, 1, 5);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(answer(fixture, 2, 503), SERVER_NO_NEWS);
    assert_picked(fixture, 0, 2);
}

static void a_failing_server_is_probed_by_one(void **state)
{
    struct fixture *fixture = *state;
    struct server_group *group = load(fixture);
    struct server_probe probe;
    assert_true(server_group_probe_due_ms(group, 0) == MONOTONIC_NEVER);
    make_fail(fixture, 1, 100);
    uint64_t due_ms = server_group_probe_due_ms(group, 100);
    assert_in_range(due_ms, 100 + BACKOFF / 2, 100 + BACKOFF);
    assert_false(server_group_claim_probe(group, due_ms - 1, &probe));
    assert_true(server_group_claim_probe(group, due_ms, &probe));
    assert_int_equal(probe.server, 1);
    assert_string_equal(probe.profile, "");
    assert_false(server_group_claim_probe(group, due_ms, &probe)); /* half open: one at a time */
    assert_true(server_group_probe_due_ms(group, due_ms) == MONOTONIC_NEVER);

    assert_int_equal(report_probe(fixture, 1, EST_NOT_SENT, 2000), SERVER_NO_NEWS);
    due_ms = server_group_probe_due_ms(group, 2000);
    assert_in_range(due_ms, 2000 + BACKOFF, 2000 + 2 * BACKOFF);
    assert_true(server_group_claim_probe(group, due_ms, &probe));
    server_group_return_probe(group, &probe, due_ms); /* no connection was free */
    assert_int_equal(server_group_probe_due_ms(group, due_ms), due_ms + BACKOFF);
    assert_true(server_group_claim_probe(group, due_ms + BACKOFF, &probe));
    assert_int_equal(report_probe(fixture, 1, EST_ANSWERED, 9000), SERVER_IS_WELL);
    assert_true(server_group_probe_due_ms(group, 9000) == MONOTONIC_NEVER);
}

static void a_silent_server_is_probed_where_there_are_several(void **state)
{
    struct fixture *fixture = *state;
    struct server_probe probe;
    fixture->settings.probe_interval_ms = PROBES;
    struct server_group *group = load(fixture);
    for (size_t i = 0; i < 3; i++) { /* at start */
        assert_int_equal(server_group_probe_due_ms(group, 10), 10);
        assert_true(server_group_claim_probe(group, 10, &probe));
        assert_int_equal(probe.server, i);
        assert_int_equal(report_probe(fixture, probe.server, i == 2 ? EST_UNTRUSTED : EST_ANSWERED, 20),
                         i == 2 ? SERVER_FAILS : SERVER_NO_NEWS);
    }
    report_probe(fixture, 2, EST_ANSWERED, 30);
    assert_int_equal(server_group_probe_due_ms(group, 30), 20 + PROBES);
    report(fixture, 0, EST_ANSWERED, 40000); /* traffic is as good */
    assert_true(server_group_claim_probe(group, 20 + PROBES, &probe));
    assert_int_equal(probe.server, 1);
    report_probe(fixture, 1, EST_ANSWERED, 20 + PROBES);
    assert_int_equal(server_group_probe_due_ms(group, 30), 30 + PROBES);
}

static void a_single_server_is_not_probed_while_it_is_well(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.probe_interval_ms = PROBES;
    fixture->settings.servers.count = 1;
    struct server_group *group = load(fixture);
    assert_true(server_group_probe_due_ms(group, 1) == MONOTONIC_NEVER);
    make_fail(fixture, 0, 5);
    assert_none(fixture, 0);
    assert_true(server_group_probe_due_ms(group, 5) != MONOTONIC_NEVER);
}

/* RA-2: 5.02 for what is not trusted, also while it is not asked. */
static void the_refusal_is_that_of_the_first_server(void **state)
{
    struct fixture *fixture = *state;
    struct server_group *group = load(fixture);
    for (size_t i = 0; i < 3; i++)
        make_fail(fixture, i, 5);
    assert_int_equal(server_group_refusal(group), EST_NOT_SENT);
    report_probe(fixture, 0, EST_UNTRUSTED, 2000);
    assert_int_equal(server_group_refusal(group), EST_UNTRUSTED);
    report_probe(fixture, 0, EST_TIMEOUT, 9000);
    assert_int_equal(server_group_refusal(group), EST_NOT_SENT);
}

static void changes_are_said_once_and_failures_seldom(void **state)
{
    struct fixture *fixture = *state;
    load(fixture);
    for (unsigned i = 0; i < 50; i++) {
        report(fixture, 1, EST_TIMEOUT, 1000 + i);
        report(fixture, 1, EST_ANSWERED, 1000 + i);
    }
    assert_int_equal(lines_with(fixture, "warn"), 1);
    assert_int_equal(lines_with(fixture,
                                "EST server https://two.example:8443: simpleenroll: the EST server did not "
                                "answer in time: why\n"),
                     1);
    report(fixture, 1, EST_TIMEOUT, 11000);
    assert_int_equal(lines_with(fixture, "(and 49 failures more since this was said last)"), 1);

    for (unsigned i = 0; i < 50; i++)
        report(fixture, 0, EST_NOT_SENT, 20000);
    assert_int_equal(lines_with(fixture, "EST server https://one.example is not asked until a probe finds it "
                                         "well: simpleenroll: the EST server was not reached: why; "
                                         "https://two.example:8443 serves\n"),
                     1);
    assert_int_equal(lines_with(fixture, "\n"), 4); /* the first failure, and that it fails */
    for (unsigned i = 0; i < 50; i++)
        report_probe(fixture, 0, EST_NOT_SENT, 20000);
    assert_int_equal(lines_with(fixture, "\n"), 4);
    report_probe(fixture, 0, EST_ANSWERED, 27000);
    assert_int_equal(
        lines_with(fixture,
                   "EST server https://one.example is well again after 7 s; https://one.example serves\n"),
        1);
    for (size_t i = 0; i < 3; i++)
        report_probe(fixture, i, EST_NOT_SENT, 30000);
    assert_int_equal(lines_with(fixture, "; no EST server serves\n"), 1);
}

static void refusals_are_said_seldom(void **state)
{
    struct fixture *fixture = *state;
    const struct server_report told = {
        "cacerts", PROFILE, EST_QUEUE_FULL, 0, "upstream.queue requests wait already", NULL};
    struct server_group *group = load(fixture);
    for (unsigned i = 0; i < 1000; i++)
        server_group_report_refusal(group, &told, 1000 + i);
    assert_int_equal(lines_with(fixture, "\n"), 1);
    server_group_report_refusal(group, &told, 11000);
    assert_int_equal(lines_with(fixture, "(and 999 requests more since this was said last)"), 1);
}

static void it_is_counted_who_serves(void **state)
{
    struct fixture *fixture = *state;
    struct server_view view;
    struct server_group *group = load(fixture);
    make_fail(fixture, 1, 5);
    report_probe(fixture, 1, EST_NOT_SENT, 2000);
    report(fixture, 0, EST_ANSWERED, 2000);
    server_group_view(group, 1, &view);
    assert_string_equal(view.url, two);
    assert_false(view.well);
    assert_int_equal(view.requests, FAILURES);
    assert_int_equal(view.failures, FAILURES);
    assert_int_equal(view.openings, 1);
    server_group_view(group, 0, &view);
    assert_true(view.well);
    assert_int_equal(view.requests, 1);
    assert_int_equal(view.failures, 0);
}

static enum server_news report_of(struct fixture *fixture, const char *profile, enum est_result result)
{
    const struct server_report told = {"simpleenroll", profile, result, result == EST_ANSWERED ? 200 : 0,
                                       "why",          NULL};
    return server_group_report(fixture->group, 0, &told, 1000);
}

static bool is_asked_for(struct fixture *fixture, const char *profile)
{
    return server_group_is_well(fixture->group, 0, profile);
}

/* One label's CA hangs: that label goes elsewhere, with a probe of its own, and no other does. */
static void trouble_of_a_profile_is_its_own(void **state)
{
    struct fixture *fixture = *state;
    struct server_group *group = load(fixture);
    struct server_probe probe;
    struct server_view view;
    size_t server;
    for (unsigned i = 1; i < FAILURES; i++)
        assert_int_equal(report_of(fixture, LABELLED, i % 2 ? EST_TIMEOUT : EST_BROKEN), SERVER_NO_NEWS);
    assert_int_equal(report_of(fixture, LABELLED, EST_TIMEOUT), SERVER_FAILS);
    assert_int_equal(lines_with(fixture, "EST server https://one.example/.well-known/est/label is not asked "
                                         "until a probe finds it well: simpleenroll: the EST server did not "
                                         "answer in time: why; https://two.example:8443 serves it\n"),
                     1);
    assert_true(is_asked_for(fixture, PROFILE));
    assert_false(is_asked_for(fixture, LABELLED));
    assert_picked(fixture, 0, 0);
    assert_true(server_group_pick(group, LABELLED, 0, &server));
    assert_int_equal(server, 1);
    assert_int_equal(report_of(fixture, PROFILE, EST_ANSWERED), SERVER_NO_NEWS); /* which changes nothing */
    assert_false(is_asked_for(fixture, LABELLED));
    server_group_view(group, 0, &view);
    assert_true(view.well);
    assert_int_equal(view.failing_profiles, 1);
    assert_int_equal(view.openings, 1);

    assert_true(server_group_claim_probe(group, 1000 + BACKOFF, &probe));
    assert_int_equal(probe.server, 0);
    assert_string_equal(probe.profile, LABELLED);
    const struct server_report well = {"cacerts", probe.profile, EST_ANSWERED, 200, NULL, probe.profile};
    assert_int_equal(server_group_report_probe(group, 0, &well, 4000), SERVER_IS_WELL);
    assert_true(is_asked_for(fixture, LABELLED));
    assert_int_equal(
        lines_with(fixture, "EST server https://one.example/.well-known/est/label is well again after 3 s"),
        1);
}

/* Several labels fail and nothing is answered in between: then it is not theirs. */
static void trouble_of_several_profiles_is_the_servers(void **state)
{
    struct fixture *fixture = *state;
    load(fixture);
    report_of(fixture, LABELLED, EST_TIMEOUT);
    for (unsigned i = 1; i < FAILURES; i++)
        assert_int_equal(report_of(fixture, i % 2 ? "/a" : "/b", EST_TIMEOUT), SERVER_NO_NEWS);
    assert_int_equal(report_of(fixture, "/c", EST_TIMEOUT), SERVER_FAILS);
    assert_false(is_asked_for(fixture, PROFILE));
    assert_int_equal(lines_with(fixture, "EST server https://one.example is not asked"), 1);
    report_probe(fixture, 0, EST_ANSWERED, 2000);
    for (unsigned i = 0; i < 10; i++) {
        report_of(fixture, "/a", EST_TIMEOUT);
        report_of(fixture, "/b", EST_TIMEOUT);
        report_of(fixture, PROFILE, EST_ANSWERED);
    }
    assert_true(is_asked_for(fixture, PROFILE));
    assert_false(is_asked_for(fixture, "/a"));
}

/* A probe of the server as a whole asks for one profile, whose CA may hang while those of others do not. */
static void a_probe_that_reaches_a_server_speaks_for_one_profile(void **state)
{
    struct fixture *fixture = *state;
    struct server_group *group = load(fixture);
    struct server_view view;
    assert_int_equal(report_probe(fixture, 0, EST_TIMEOUT, 1000), SERVER_FAILS); /* that looked after it */
    assert_false(is_asked_for(fixture, PROFILE));
    assert_true(is_asked_for(fixture, LABELLED));
    assert_int_equal(
        lines_with(fixture, "EST server https://one.example" PROFILE " is not asked until a probe "), 1);

    make_fail(fixture, 1, 1000); /* refused; then it listens again */
    assert_int_equal(report_probe(fixture, 1, EST_TIMEOUT, 3000), SERVER_IS_WELL_IN_PART);
    assert_false(server_group_is_well(group, 1, PROFILE));
    assert_true(server_group_is_well(group, 1, LABELLED));
    assert_int_equal(lines_with(fixture,
                                "EST server https://two.example:8443 is well again after 2 s; "
                                "https://one.example serves, but EST server https://two.example:8443" PROFILE
                                " is not asked until a probe finds it well: cacerts: the EST server did not "
                                "answer in time: why; https://three.example serves it\n"),
                     1);
    server_group_view(group, 1, &view);
    assert_true(view.well);
    assert_int_equal(view.failing_profiles, 1);
    assert_int_equal(view.openings, 2);
}

/* The server's answer to a probe lies in between. */
static void one_profile_does_not_inherit_the_trouble_of_several(void **state)
{
    struct fixture *fixture = *state;
    load(fixture);
    report_of(fixture, "/a", EST_TIMEOUT);
    for (unsigned i = 0; i < FAILURES; i++)
        report_of(fixture, LABELLED, EST_TIMEOUT);
    assert_false(is_asked_for(fixture, PROFILE));
    assert_int_equal(report_probe(fixture, 0, EST_ANSWERED, 2000), SERVER_IS_WELL);
    for (unsigned i = 0; i < FAILURES; i++)
        report_of(fixture, LABELLED, EST_TIMEOUT);
    assert_false(is_asked_for(fixture, LABELLED));
    assert_true(is_asked_for(fixture, PROFILE));
}

/* Refused, unreachable, no trust: the server has not even seen which label is meant. */
static void what_does_not_reach_the_server_is_its_trouble(void **state)
{
    static const char *const profiles[] = {LABELLED, PROFILE};
    struct fixture *fixture = *state;
    load(fixture);
    for (unsigned i = 1; i < FAILURES; i++)
        report_of(fixture, LABELLED, i % 2 ? EST_NOT_SENT : EST_UNTRUSTED);
    assert_int_equal(report_of(fixture, LABELLED, EST_NOT_SENT), SERVER_FAILS);
    for (size_t i = 0; i < 2; i++)
        assert_false(is_asked_for(fixture, profiles[i]));
}

static void profiles_in_trouble_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    char profile[32];
    load(fixture);
    for (unsigned i = 0; i < 10 * SERVER_PROFILES_MAX; i++) {
        snprintf(profile, sizeof profile, "/%u", i);
        report_of(fixture, profile, EST_TIMEOUT);
        report_of(fixture, PROFILE, EST_ANSWERED);
    }
    assert_true(is_asked_for(fixture, PROFILE));
    for (unsigned i = 0; i < FAILURES; i++)
        report_of(fixture, profile, EST_TIMEOUT); /* no room for one of its own */
    assert_false(is_asked_for(fixture, PROFILE));
}

/* What was learnt of a server outlives a reload, both ways: requests under way report to the group before. */
static void a_reload_forgets_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct buffer errors;
    struct server_view view;
    struct server_group *before = load(fixture);
    buffer_init(&errors, 4096);
    make_fail(fixture, 1, 5);
    report_of(fixture, LABELLED, EST_TIMEOUT);
    fixture->settings.servers.items[0] = two;
    fixture->settings.servers.items[1] = one;
    fixture->settings.servers.count = 2;
    struct server_group *after = server_group_load(&fixture->settings, before, &errors);
    assert_non_null(after);
    server_group_view(after, 0, &view);
    assert_string_equal(view.url, two);
    assert_false(view.well);
    assert_int_equal(view.requests, FAILURES);
    assert_int_equal(view.failures, FAILURES);
    assert_int_equal(view.openings, 1);
    for (unsigned i = 1; i < FAILURES; i++)
        report_of(fixture, LABELLED, EST_TIMEOUT);
    assert_false(server_group_is_well(after, 1, LABELLED));
    assert_true(server_group_is_well(after, 1, PROFILE));
    fixture->settings.servers.count = 17;
    assert_null(server_group_load(&fixture->settings, before, &errors)); /* one that is refused harms none */
    assert_true(server_group_covers(before, after));
    assert_false(server_group_covers(after, before)); /* which has three */
    server_group_release(before);
    fixture->group = after;
    server_group_view(after, 1, &view);
    assert_int_equal(view.requests, FAILURES);
    buffer_free(&errors);
}

/* A probe that is under way when a reload happens stays the only one. */
static void a_reload_lets_probes_come_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct buffer errors;
    struct server_probe probe;
    struct server_group *before = load(fixture);
    buffer_init(&errors, 4096);
    make_fail(fixture, 0, 1000);
    assert_true(server_group_claim_probe(before, 1000 + BACKOFF, &probe));
    struct server_group *after = server_group_load(&fixture->settings, before, &errors);
    server_group_probe_now(after);
    assert_false(server_group_claim_probe(after, 1000, &probe));
    report_probe(fixture, 0, EST_NOT_SENT, 1000);
    assert_true(server_group_probe_due_ms(after, 1000) > 1000);
    server_group_probe_now(after);
    assert_int_equal(server_group_probe_due_ms(after, 1000), 1000);
    assert_true(server_group_claim_probe(after, 1000, &probe));
    assert_false(server_group_claim_probe(before, 9000, &probe));
    server_group_release(after);
    buffer_free(&errors);
}

static void servers_are_found_by_what_they_are(void **state)
{
    struct fixture *fixture = *state;
    struct server_group *group = load(fixture);
    uint64_t id = server_group_id(group, 2);
    size_t server;
    server_group_release(group);
    fixture->settings.servers.items[0] = three; /* another order after a reload */
    fixture->settings.servers.count = 1;
    group = load(fixture);
    assert_true(server_group_find(group, id, &server));
    assert_int_equal(server, 0);
    assert_false(server_group_find(group, id + 1, &server));
}

static void one_holds_it_while_it_is_used(void **state)
{
    struct fixture *fixture = *state;
    struct server_group *group = load(fixture);
    assert_ptr_equal(server_group_hold(group), group);
    server_group_release(group);
    assert_int_equal(server_group_count(group), 3); /* sanitizers would object */
    server_group_release(NULL);
}

static void assert_refused(struct fixture *fixture, const char *error)
{
    struct buffer errors;
    buffer_init(&errors, 4096);
    assert_null(server_group_load(&fixture->settings, NULL, &errors));
    assert_string_equal(buffer_string(&errors), error);
    buffer_free(&errors);
}

static void bad_servers_are_named(void **state)
{
    static char wrong[] = "http://est", again[] = "https://ONE.example:443";
    struct fixture *fixture = *state;
    fixture->settings.servers.items[1] = wrong;
    fixture->settings.servers.items[2] = again;
    fixture->settings.redirect_origins = (struct settings_strings){.items = {two, wrong}, .count = 2};
    assert_refused(
        fixture,
        "upstream.servers[1]: \"http://est\" is not an https URL; use https://host[:port]\n"
        "upstream.servers[2]: \"https://ONE.example:443\" is named twice; remove one\n"
        "upstream.redirect_origins[1]: \"http://est\" is not an https URL; use https://host[:port]\n");
    fixture->settings.servers.count = 0;
    fixture->settings.redirect_origins.count = 0;
    assert_refused(fixture, "upstream.servers: names 0 EST servers: write 1 to 16 https URLs\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
        TEST(the_first_that_is_well_is_asked),
        TEST(round_robin_takes_turns),
        TEST(answers_break_a_row_of_failures),
        TEST(who_cannot_serve_is_left_for_one_that_can),
        TEST(a_failing_server_is_probed_by_one),
        TEST(a_silent_server_is_probed_where_there_are_several),
        TEST(a_single_server_is_not_probed_while_it_is_well),
        TEST(the_refusal_is_that_of_the_first_server),
        TEST(changes_are_said_once_and_failures_seldom),
        TEST(refusals_are_said_seldom),
        TEST(it_is_counted_who_serves),
        TEST(trouble_of_a_profile_is_its_own),
        TEST(trouble_of_several_profiles_is_the_servers),
        TEST(a_probe_that_reaches_a_server_speaks_for_one_profile),
        TEST(one_profile_does_not_inherit_the_trouble_of_several),
        TEST(what_does_not_reach_the_server_is_its_trouble),
        TEST(profiles_in_trouble_are_bounded),
        TEST(a_reload_forgets_nothing),
        TEST(a_reload_lets_probes_come_at_once),
        TEST(servers_are_found_by_what_they_are),
        TEST(one_holds_it_while_it_is_used),
        TEST(bad_servers_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
