/* The webhook is asked so many questions at a time, so many wait, each for so long (SEC-3); it can be
 * replaced by another one with questions under way (DTLS-10). */
#include "registrar/upstream/webhook.h"

#include "registrar/upstream/webhook_service.h"
#include "upstream_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ALLOW     "{\"decision\":\"allow\"}"
#define CALLS_MAX 16

static atomic_bool is_held; /* whether slow servers answer */

/* What became of questions. */
struct answers {
    size_t count;
    struct got {
        unsigned http_status;
        char body[128], failure[256];
    } got[CALLS_MAX];
};

struct world {
    struct upstream_fixture *fixture;
    struct webhook *webhook;
    struct answers answers;
};

static enum server_verdict say_allow(const struct server_request *request)
{
    server_respond(request, "200 OK", "application/json", ALLOW);
    return SERVER_KEEP;
}

static enum server_verdict say_deny(const struct server_request *request)
{
    server_respond(request, "200 OK", "application/json", "{\"decision\":\"deny\"}");
    return SERVER_KEEP;
}

static enum server_verdict wait_and_say_allow(const struct server_request *request)
{
    while (atomic_load(&is_held))
        server_pause(request, 5);
    return say_allow(request);
}

static enum server_verdict say_nothing(const struct server_request *request)
{
    server_pause(request, 60000);
    return SERVER_DROP;
}

static enum server_verdict hang_up(const struct server_request *request)
{
    (void)request;
    return SERVER_RESET;
}

static enum server_verdict babble(const struct server_request *request)
{
    server_send(request, "SSH-2.0-nonsense\r\n\r\n");
    return SERVER_CLOSE;
}

/* Ten MB, in an answer that says so, and in one that does not. */
static enum server_verdict say_too_much(const struct server_request *request)
{
    static const char chunk[] = "                                                                \r\n";
    server_send(request, "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" ALLOW);
    for (size_t i = 0; i < 10000000 / (sizeof chunk - 1); i++)
        server_send(request, chunk);
    return SERVER_CLOSE;
}

static enum server_verdict say_too_much_before(const struct server_request *request)
{
    server_send(request, "HTTP/1.1 200 OK\r\n");
    for (size_t i = 0; i < 1000; i++)
        server_send(request, "X-Filler: ................................................\r\n");
    server_send(request, "Content-Length: 0\r\n\r\n");
    return SERVER_CLOSE;
}

static void on_answer(void *user, const struct webhook_answer *answer)
{
    struct answers *answers = user;
    struct got *got = &answers->got[answers->count++];
    got->http_status = answer->http_status;
    snprintf(got->body, sizeof got->body, "%.*s", (int)answer->body.len,
             answer->body.at != NULL ? (const char *)answer->body.at : "");
    snprintf(got->failure, sizeof got->failure, "%s", answer->failure != NULL ? answer->failure : "");
}

static struct webhook_call *ask(struct world *world)
{
    return webhook_ask(world->webhook, BYTES_LITERAL("{\"request\":\"access\"}"), on_answer, &world->answers);
}

static void await(struct world *world, size_t count)
{
    for (unsigned i = 0; i < 6000 && world->answers.count < count; i++)
        turn_for(world->fixture->base, 5);
    assert_int_equal(world->answers.count, count);
}

/* Turns the loop until the server has seen so many questions. */
static void await_questions(struct world *world, struct scripted_server *server, unsigned count)
{
    struct server_counts counts;
    for (unsigned i = 0; i < 3000; i++) {
        scripted_server_count(server, &counts);
        if (counts.posts >= count)
            return;
        turn_for(world->fixture->base, 10);
    }
    fail_msg("%u questions instead of %u", counts.posts, count);
}

static struct scripted_server *serve(struct world *world,
                                     enum server_verdict (*answer)(const struct server_request *))
{
    return scripted_server_start(
        &(struct server_settings){.identity = &world->fixture->server, .answer = answer});
}

struct terms {
    struct scripted_server *server;
    const char *trust;
    uint32_t timeout_ms, max_connections, queue;
    enum webhook_failure fail;
};

/* Gives the service at a scripted server; what terms do not say is generous. */
static struct webhook_service *load(const struct world *world, const struct terms *terms)
{
    char url[128], trust[128];
    struct buffer lines;
    snprintf(url, sizeof url, "https://localhost:%u/decide", scripted_server_port(terms->server));
    snprintf(trust, sizeof trust, "%s/%s", world->fixture->dir,
             terms->trust != NULL ? terms->trust : "ca.pem");
    const struct webhook_settings settings = {
        .url = url,
        .trust = {.items = {trust}, .count = 1},
        .timeout_ms = terms->timeout_ms != 0 ? terms->timeout_ms : 20000,
        .max_connections = terms->max_connections != 0 ? terms->max_connections : 4,
        .queue = terms->queue,
        .fail = terms->fail,
    };
    buffer_init(&lines, 4096);
    struct webhook_service *service = webhook_service_load(&settings, &lines, &lines);
    assert_string_equal(buffer_string(&lines), "");
    assert_non_null(service);
    buffer_free(&lines);
    return service;
}

static void use(struct world *world, const struct terms *terms)
{
    struct webhook_service *service = load(world, terms);
    webhook_use_service(world->webhook, service);
    webhook_service_release(service);
}

static void assert_allowed(const struct got *got)
{
    assert_string_equal(got->failure, "");
    assert_int_equal(got->http_status, 200);
    assert_string_equal(got->body, ALLOW);
}

static void assert_failed(const struct got *got, const char *why)
{
    assert_int_equal(got->http_status, 0);
    if (strstr(got->failure, why) == NULL)
        fail_msg("\"%s\" instead of %s", got->failure, why);
}

static void a_question_is_posted_and_answered(void **state)
{
    struct world *world = *state;
    struct scripted_server *server = serve(world, say_allow);
    struct server_counts counts;
    use(world, &(struct terms){.server = server});
    for (size_t i = 1; i <= 3; i++) {
        assert_non_null(ask(world));
        assert_int_equal(world->answers.count, i - 1); /* never before it has returned */
        await(world, i);
        assert_allowed(&world->answers.got[i - 1]);
    }
    scripted_server_count(server, &counts);
    assert_int_equal(counts.posts, 3);
    assert_int_equal(counts.connections, 1); /* kept open */
    assert_string_equal(counts.body, "{\"request\":\"access\"}");
    assert_non_null(strstr(counts.head, "POST /decide HTTP/1.1\r\n"));
    assert_non_null(strstr(counts.head, "Content-Type: application/json\r\n"));
    scripted_server_stop(server);
}

static void nobody_is_asked_without_a_service(void **state)
{
    struct world *world = *state;
    assert_false(webhook_fails_open(world->webhook));
    assert_null(ask(world));
}

static void what_is_no_answer_says_why(void **state)
{
    static const struct {
        enum server_verdict (*answer)(const struct server_request *);
        const char *why;
    } cases[] = {{say_too_much, "its answer is too large"},
                 {say_too_much_before, "the header of its answer is too large"},
                 {hang_up, ""},
                 {babble, ""},
                 {say_nothing, "it did not decide in time"}};
    struct world *world = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct scripted_server *server = serve(world, cases[i].answer);
        const bool is_silent = cases[i].answer == say_nothing;
        use(world, &(struct terms){.server = server, .timeout_ms = is_silent ? 300 : 20000});
        assert_non_null(ask(world));
        await(world, i + 1);
        assert_failed(&world->answers.got[i], cases[i].why);
        assert_true(world->answers.got[i].failure[0] != '\0');
        scripted_server_stop(server);
    }
}

/* Of another CA; of the right one, but without the name that is asked for. */
static void only_who_is_trusted_is_asked(void **state)
{
    struct world *world = *state;
    struct scripted_server *server = serve(world, say_allow);
    struct scripted_server *nameless = scripted_server_start(
        &(struct server_settings){.identity = &world->fixture->ra, .answer = say_allow});
    struct server_counts counts;
    const struct terms cases[] = {{.server = server, .trust = "other-ca.pem"}, {.server = nameless}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        use(world, &cases[i]);
        assert_non_null(ask(world));
        await(world, i + 1);
        assert_failed(&world->answers.got[i], "SSL");
        scripted_server_count(cases[i].server, &counts);
        assert_int_equal(counts.posts, 0);
        assert_true(counts.connections > 0);
    }
    scripted_server_stop(server);
    scripted_server_stop(nameless);
}

/* SEC-3 */
static void so_many_at_a_time_and_so_many_wait(void **state)
{
    struct world *world = *state;
    struct scripted_server *server = serve(world, wait_and_say_allow);
    struct server_counts counts;
    atomic_store(&is_held, true);
    use(world, &(struct terms){.server = server, .max_connections = 2, .queue = 3});
    for (size_t i = 0; i < 5; i++)
        assert_non_null(ask(world));
    assert_null(ask(world));
    await_questions(world, server, 2);
    scripted_server_count(server, &counts);
    assert_int_equal(counts.connections, 2);
    atomic_store(&is_held, false);
    await(world, 5);
    for (size_t i = 0; i < 5; i++)
        assert_allowed(&world->answers.got[i]);
    scripted_server_count(server, &counts);
    assert_int_equal(counts.posts, 5);
    assert_int_equal(counts.connections, 2);
    scripted_server_stop(server);
}

static void who_gives_up_makes_room(void **state)
{
    struct world *world = *state;
    struct scripted_server *server = serve(world, wait_and_say_allow);
    atomic_store(&is_held, true);
    use(world, &(struct terms){.server = server, .max_connections = 1, .queue = 1});
    struct webhook_call *first = ask(world), *second = ask(world);
    await_questions(world, server, 1);
    assert_null(ask(world));
    webhook_cancel(second); /* it waited */
    second = ask(world);
    assert_non_null(second);
    webhook_cancel(first); /* it was under way */
    await_questions(world, server, 2);
    atomic_store(&is_held, false);
    await(world, 1);
    assert_allowed(&world->answers.got[0]);
    webhook_cancel(NULL);
    scripted_server_stop(server);
}

/* SIGHUP: what was asked is answered by whom it was put to, under the terms of then; those after it ask the
 * new one, and no connection to the old one stays. */
static void a_new_service_is_for_new_questions(void **state)
{
    struct world *world = *state;
    struct scripted_server *old = serve(world, wait_and_say_allow), *new = serve(world, say_deny);
    struct server_counts counts;
    atomic_store(&is_held, true);
    use(world, &(struct terms){.server = old, .max_connections = 1, .queue = 1});
    ask(world); /* under way */
    ask(world); /* waits */
    await_questions(world, old, 1);
    use(world, &(struct terms){.server = new, .max_connections = 2, .queue = 3, .fail = WEBHOOK_FAIL_OPEN});
    assert_true(webhook_fails_open(world->webhook));
    ask(world); /* there is a second connection now */
    await(world, 1);
    assert_string_equal(world->answers.got[0].body, "{\"decision\":\"deny\"}");
    atomic_store(&is_held, false);
    await(world, 3);
    assert_allowed(&world->answers.got[1]);
    assert_allowed(&world->answers.got[2]);
    scripted_server_count(old, &counts);
    assert_int_equal(counts.posts, 2);

    ask(world);
    await(world, 4);
    assert_string_equal(world->answers.got[3].body, "{\"decision\":\"deny\"}");
    webhook_use_service(world->webhook, NULL);
    assert_null(ask(world));
    assert_false(webhook_fails_open(world->webhook));
    scripted_server_stop(old);
    scripted_server_stop(new);
}

/* An open connection would know nothing of trust that was taken away. */
static void a_kept_connection_does_not_outlive_its_trust(void **state)
{
    struct world *world = *state;
    struct scripted_server *server = serve(world, say_allow);
    struct server_counts counts;
    use(world, &(struct terms){.server = server});
    ask(world);
    await(world, 1);
    assert_allowed(&world->answers.got[0]);
    use(world, &(struct terms){.server = server, .trust = "other-ca.pem"});
    ask(world);
    await(world, 2);
    assert_failed(&world->answers.got[1], "certificate");
    use(world, &(struct terms){.server = server});
    ask(world);
    await(world, 3);
    assert_allowed(&world->answers.got[2]);
    scripted_server_count(server, &counts);
    assert_int_equal(counts.posts, 2);
    scripted_server_stop(server);
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    void *fixture;
    assert_non_null(world);
    upstream_fixture_set_up(&fixture);
    world->fixture = fixture;
    world->webhook = webhook_create(NULL, world->fixture->base);
    assert_non_null(world->webhook);
    atomic_store(&is_held, false);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    void *fixture = world->fixture;
    webhook_free(world->webhook);
    upstream_fixture_tear_down(&fixture);
    free(world);
    return 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_question_is_posted_and_answered),  TEST(nobody_is_asked_without_a_service),
        TEST(what_is_no_answer_says_why),         TEST(only_who_is_trusted_is_asked),
        TEST(so_many_at_a_time_and_so_many_wait), TEST(who_gives_up_makes_room),
        TEST(a_new_service_is_for_new_questions), TEST(a_kept_connection_does_not_outlive_its_trust),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
