/* RFC 7252 section 5.6: kept while fresh, and fetched once for all who wait. */
#include "registrar/upstream/response_cache.h"

#include "common/coap_message.h"
#include "registrar/counters.h"

#include <event2/event.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define NONE ((struct bytes){NULL, 0})

static char label[] = "p1";

struct fixture {
    struct settings settings;
    struct label_settings label;
    struct metrics *metrics;
    struct event_base *base;
    struct mailbox *mailbox;
    struct response_cache *cache;
    struct cache_waiter waiters[3];
};

static unsigned opened;

static void on_letter(struct letter *letter)
{
    (void)letter;
    opened++;
}

static int set_up(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof fixture);
    opened = 0;
    fixture.settings.upstream.max_response_bytes = 100;
    fixture.settings.upstream.serve_stale_s = 60;
    fixture.label.name = label;
    fixture.settings.est.labels = (struct settings_objects){&fixture.label, 1};
    fixture.metrics = counters_create();
    fixture.base = event_base_new();
    fixture.mailbox = mailbox_create(fixture.base);
    fixture.cache = response_cache_create(&fixture.settings, fixture.metrics);
    for (size_t i = 0; i < 3; i++) {
        cached_response_init(&fixture.waiters[i].response, 100);
        fixture.waiters[i].mailbox = fixture.mailbox;
        fixture.waiters[i].letter.open = on_letter;
    }
    *state = &fixture;
    return fixture.cache == NULL;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < 3; i++)
        cached_response_free(&fixture->waiters[i].response);
    response_cache_free(fixture->cache);
    mailbox_free(fixture->mailbox);
    event_base_free(fixture->base);
    metrics_free(fixture->metrics);
    return 0;
}

static void turn(struct fixture *fixture)
{
    event_base_loop(fixture->base, EVLOOP_NONBLOCK);
}

/* The EST server's answer to operation and label, as the fetching exchange would hand it in. */
static void fetched(struct fixture *fixture, struct bytes where, uint64_t now_ms, uint8_t code,
                    const char *content)
{
    struct cached_response response;
    cached_response_init(&response, 1000);
    response.code = code;
    response.max_age_s = 10;
    response.may_be_stale = true;
    buffer_append_string(&response.der, content);
    response_cache_fetched(fixture->cache, EST_CRTS, where, now_ms, &response);
    cached_response_free(&response);
}

static void assert_content(const struct cache_waiter *waiter, const char *content)
{
    assert_true(bytes_equal(buffer_view(&waiter->response.der), bytes_from_string(content)));
}

/* The fetch of a cache that holds something stale failed. Whether that took its place. */
static bool failed(struct fixture *fixture, uint64_t now_ms, uint8_t code, struct cached_response *response)
{
    cached_response_init(response, 1000);
    response->code = code;
    return response_cache_fetched(fixture->cache, EST_CRTS, NONE, now_ms, response);
}

static void assert_stale(const struct cached_response *response)
{
    assert_int_equal(response->code, 0);
    assert_int_equal(response->max_age_s, 0);
    assert_true(response->stale);
    assert_true(bytes_equal(buffer_view(&response->der), BYTES_LITERAL("certificates")));
}

/* RFC 9111 section 4.2.4: while the EST server is down. Fresh until 10 s, stale until 70 s. */
static void stale_while_the_est_server_is_down(void **state)
{
    struct fixture *f = *state;
    static const uint8_t codes[] = {CM_INTERNAL_SERVER_ERROR, CM_BAD_GATEWAY, CM_SERVICE_UNAVAILABLE,
                                    CM_GATEWAY_TIMEOUT};
    struct cached_response response;
    response_cache_ask(f->cache, EST_CRTS, NONE, 0, &f->waiters[0]);
    fetched(f, NONE, 0, 0, "certificates");
    for (size_t i = 0; i < sizeof codes; i++) {
        uint64_t now_ms = 10000 + i * CACHE_RETRY_MS;
        assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, now_ms, &f->waiters[0]), CACHE_FETCH);
        assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, now_ms, &f->waiters[1]), CACHE_WAIT);
        assert_true(failed(f, now_ms, codes[i], &response));
        assert_stale(&response);
        cached_response_free(&response);
        turn(f);
        assert_stale(&f->waiters[1].response);

        now_ms += CACHE_RETRY_MS - 1; /* the EST server is left alone */
        assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, now_ms, &f->waiters[2]), CACHE_HIT);
        assert_stale(&f->waiters[2].response);
    }
    assert_int_equal(metrics_get(f->metrics, COUNTER_CACHE_STALE), 4 + 4);
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 69999, &f->waiters[0]), CACHE_FETCH);
    assert_true(failed(f, 69999, CM_GATEWAY_TIMEOUT, &response));
    cached_response_free(&response);
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 70000, &f->waiters[0]), CACHE_FETCH);
    assert_false(failed(f, 70000, CM_GATEWAY_TIMEOUT, &response));
    assert_int_equal(response.code, CM_GATEWAY_TIMEOUT);
    cached_response_free(&response);
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 70001, &f->waiters[0]), CACHE_FETCH);
    fetched(f, NONE, 70001, 0, "new");
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 70002, &f->waiters[0]), CACHE_HIT);
    assert_false(f->waiters[0].response.stale);
    assert_content(&f->waiters[0], "new");
}

static void nobody_waits_long_for_a_slow_fetch(void **state)
{
    struct fixture *f = *state;
    struct cached_response response;
    response_cache_ask(f->cache, EST_CRTS, NONE, 0, &f->waiters[0]);
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, CACHE_PATIENCE_MS, &f->waiters[1]),
                     CACHE_WAIT);
    fetched(f, NONE, 0, 0, "certificates");
    turn(f);
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 20000, &f->waiters[0]), CACHE_FETCH);
    assert_int_equal(
        response_cache_ask(f->cache, EST_CRTS, NONE, 20000 + CACHE_PATIENCE_MS - 1, &f->waiters[1]),
        CACHE_WAIT);
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 20000 + CACHE_PATIENCE_MS, &f->waiters[2]),
                     CACHE_HIT);
    assert_stale(&f->waiters[2].response);

    cached_response_init(&response, 1000); /* and for those who began to wait before */
    assert_true(response_cache_stale(f->cache, EST_CRTS, NONE, 30000, &response));
    assert_stale(&response);
    assert_false(response_cache_stale(f->cache, EST_CRTS, NONE, 70000, &response));
    assert_false(response_cache_stale(f->cache, EST_ATT, NONE, 30000, &response));
    cached_response_free(&response);
    assert_true(response_cache_leave(f->cache, &f->waiters[1]));
}

/* An EST server that says 404 is there; and one that forbids it. */
static void what_is_not_served_stale(void **state)
{
    struct fixture *f = *state;
    struct cached_response response;
    response_cache_ask(f->cache, EST_CRTS, NONE, 0, &f->waiters[0]);
    fetched(f, NONE, 0, 0, "certificates");
    response_cache_ask(f->cache, EST_CRTS, NONE, 10000, &f->waiters[0]);
    assert_false(failed(f, 10000, CM_NOT_FOUND, &response));
    cached_response_free(&response);
    response_cache_ask(f->cache, EST_CRTS, NONE, 10000, &f->waiters[0]);
    assert_false(failed(f, 10000, CM_BAD_GATEWAY, &response));
    cached_response_free(&response);

    response_cache_ask(f->cache, EST_CRTS, NONE, 20000, &f->waiters[0]);
    cached_response_init(&response, 1000);
    response.max_age_s = 10;
    response_cache_fetched(f->cache, EST_CRTS, NONE, 20000, &response);
    cached_response_free(&response);
    response_cache_ask(f->cache, EST_CRTS, NONE, 30000, &f->waiters[0]);
    assert_false(failed(f, 30000, CM_BAD_GATEWAY, &response));
    cached_response_free(&response);
}

static void fresh_answer_is_kept(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 1000, &f->waiters[0]), CACHE_FETCH);
    fetched(f, NONE, 2000, 0, "certificates");

    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 5000, &f->waiters[0]), CACHE_HIT);
    assert_int_equal(f->waiters[0].response.code, 0);
    assert_int_equal(f->waiters[0].response.max_age_s, 7);
    assert_content(&f->waiters[0], "certificates");
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 11999, &f->waiters[0]), CACHE_HIT);
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 12000, &f->waiters[0]), CACHE_FETCH);
    assert_int_equal(metrics_get(f->metrics, COUNTER_CACHE_HITS), 2);
    assert_int_equal(metrics_get(f->metrics, COUNTER_CACHE_FETCHES), 2);
}

static void operation_and_label_are_the_key(void **state)
{
    struct fixture *f = *state;
    struct bytes p1 = BYTES_LITERAL("p1");
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 0, &f->waiters[0]), CACHE_FETCH);
    assert_int_equal(response_cache_ask(f->cache, EST_ATT, NONE, 0, &f->waiters[0]), CACHE_FETCH);
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, p1, 0, &f->waiters[0]), CACHE_FETCH);
    fetched(f, p1, 0, 0, "of p1");
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, p1, 1, &f->waiters[0]), CACHE_HIT);
    assert_content(&f->waiters[0], "of p1");
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 1, &f->waiters[1]), CACHE_WAIT);
    assert_true(response_cache_leave(f->cache, &f->waiters[1]));
}

/* Bounded: what is not in the configuration is never kept, and nobody waits for it. */
static void unknown_key_is_not_kept(void **state)
{
    struct fixture *f = *state;
    struct bytes other = BYTES_LITERAL("p2");
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, other, 0, &f->waiters[0]), CACHE_FETCH);
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, other, 0, &f->waiters[1]), CACHE_FETCH);
    fetched(f, other, 0, 0, "of p2");
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, other, 1, &f->waiters[0]), CACHE_FETCH);
    assert_int_equal(response_cache_ask(f->cache, EST_SEN, NONE, 0, &f->waiters[0]), CACHE_FETCH);
}

static void one_fetch_serves_all_who_wait(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 0, &f->waiters[0]), CACHE_FETCH);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 0, &f->waiters[i]), CACHE_WAIT);
    fetched(f, NONE, 0, 0, "for all");
    assert_int_equal(opened, 0); /* on the loop, not at once */
    turn(f);
    assert_int_equal(opened, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_content(&f->waiters[i], "for all");
        assert_int_equal(f->waiters[i].response.max_age_s, 10);
    }
}

static void failures_are_shared_and_not_kept(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 0, &f->waiters[0]), CACHE_FETCH);
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 0, &f->waiters[1]), CACHE_WAIT);
    fetched(f, NONE, 0, CM_GATEWAY_TIMEOUT, "no answer");
    turn(f);
    assert_int_equal(f->waiters[1].response.code, CM_GATEWAY_TIMEOUT);
    assert_content(&f->waiters[1], "no answer");
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 1, &f->waiters[0]), CACHE_FETCH);

    fetched(f, NONE, 0, CM_NOT_FOUND, "none"); /* HTTP 404 */
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 1, &f->waiters[0]), CACHE_FETCH);

    fetched(f, NONE, 0, 0, ""); /* HTTP 204, Q6: kept */
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 1, &f->waiters[0]), CACHE_HIT);
    assert_int_equal(f->waiters[0].response.code, 0);
    assert_content(&f->waiters[0], "");
}

/* A reload may have changed the EST server: nothing of the old one is served to those who ask later. */
static void what_is_forgotten_is_fetched_again(void **state)
{
    struct fixture *fixture = *state;
    struct cache_waiter *one = &fixture->waiters[0], *other = &fixture->waiters[1];
    assert_int_equal(response_cache_ask(fixture->cache, EST_CRTS, NONE, 1000, one), CACHE_FETCH);
    fetched(fixture, NONE, 1000, 0, "old");
    response_cache_forget(fixture->cache);
    assert_int_equal(response_cache_ask(fixture->cache, EST_CRTS, NONE, 1001, one), CACHE_FETCH);
    assert_int_equal(response_cache_ask(fixture->cache, EST_CRTS, NONE, 1001, other), CACHE_WAIT);
    response_cache_forget(fixture->cache); /* while it is fetched */
    fetched(fixture, NONE, 1002, 0, "old");
    turn(fixture);
    assert_content(other, "old");
    assert_int_equal(response_cache_ask(fixture->cache, EST_CRTS, NONE, 1003, one), CACHE_FETCH);
    fetched(fixture, NONE, 1003, 0, "new");
    assert_int_equal(response_cache_ask(fixture->cache, EST_CRTS, NONE, 1004, one), CACHE_HIT);
    assert_content(one, "new");
}

/* The same EST servers as before: asked again, and while they are down that is served as ever. */
static void what_expires_is_fetched_again_and_served_stale(void **state)
{
    struct fixture *f = *state;
    struct cached_response response;
    response_cache_ask(f->cache, EST_CRTS, NONE, 0, &f->waiters[0]);
    fetched(f, NONE, 0, 0, "certificates");
    response_cache_expire(f->cache);
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 1, &f->waiters[0]), CACHE_FETCH);
    assert_true(failed(f, 1, CM_GATEWAY_TIMEOUT, &response));
    assert_stale(&response);
    cached_response_free(&response);
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 2, &f->waiters[0]), CACHE_HIT);
    response_cache_expire(f->cache); /* what failed may be mended */
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 3, &f->waiters[0]), CACHE_FETCH);
}

static void a_waiter_may_leave(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 0, &f->waiters[0]), CACHE_FETCH);
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 0, &f->waiters[1]), CACHE_WAIT);
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 0, &f->waiters[2]), CACHE_WAIT);
    assert_true(response_cache_leave(f->cache, &f->waiters[1]));
    fetched(f, NONE, 0, 0, "late");
    assert_false(response_cache_leave(f->cache, &f->waiters[2])); /* its letter is on the way */
    turn(f);
    assert_int_equal(opened, 1);
    assert_content(&f->waiters[1], "");
    assert_content(&f->waiters[2], "late");
}

/* A fetch that comes to more than can be kept reaches nobody as an empty success. */
static void too_large_is_no_success(void **state)
{
    struct fixture *f = *state;
    char large[201];
    memset(large, 'x', 200);
    large[200] = '\0';
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 0, &f->waiters[0]), CACHE_FETCH);
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 0, &f->waiters[1]), CACHE_WAIT);
    fetched(f, NONE, 0, 0, large);
    turn(f);
    assert_int_equal(f->waiters[1].response.code, CM_INTERNAL_SERVER_ERROR);
    assert_int_equal(response_cache_ask(f->cache, EST_CRTS, NONE, 1, &f->waiters[0]), CACHE_FETCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fresh_answer_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stale_while_the_est_server_is_down, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_waits_long_for_a_slow_fetch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_served_stale, set_up, tear_down),
        cmocka_unit_test_setup_teardown(operation_and_label_are_the_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unknown_key_is_not_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_fetch_serves_all_who_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failures_are_shared_and_not_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_forgotten_is_fetched_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_expires_is_fetched_again_and_served_stale, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_waiter_may_leave, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_large_is_no_success, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
