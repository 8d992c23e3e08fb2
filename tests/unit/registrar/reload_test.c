/* One reload after the other, in full or not at all, whatever is asked for while one is under way. */
#include "registrar/reload.h"

#include "common/log.h"
#include "common/mailbox.h"

/* clang-format off */
#include "credentials.h"
#include "test_pki.h"
/* clang-format on */

#include <event2/event.h>

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define LINES_LIMIT 65536

static bool has_no_threads;

/* The C library's, but where the process may have no more threads. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *user)
{
    typedef int create_function(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    create_function *real;
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return has_no_threads ? EAGAIN : real(thread, attributes, run, user);
}

struct fixture {
    char folder[64], both[96], config[96];
    struct buffer lines;
    struct settings *settings;
    struct event_base *base;
    struct mailbox *mailbox;
    struct snapshot *first;
    struct reload *reload;
    FILE *log;
    unsigned offers;
};

static void write_text(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* One certificate is everything here. */
static void write_both(const struct fixture *fixture)
{
    struct test_certificate all = test_certificate(&(struct test_certificate_wish){
        .ca = true, .extended_key_usage = "clientAuth,serverAuth,1.3.6.1.5.5.7.3.28"});
    FILE *out = fopen(fixture->both, "w");
    assert_non_null(out);
    assert_int_equal(PEM_write_X509(out, all.certificate), 1);
    assert_int_equal(PEM_write_PKCS8PrivateKey(out, all.key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(out), 0);
    test_certificate_free(&all);
}

static void write_config(const struct fixture *fixture, const char *level)
{
    char text[1024];
    snprintf(text, sizeof text,
             "{\"dtls\": {\"certificate\": \"both.pem\", \"private_key\": \"both.pem\","
             "\"domain_trust\": [\"both.pem\"]}, \"upstream\": {\"servers\": [\"https://127.0.0.1:1\"],"
             "\"trust\": [\"both.pem\"], \"certificate\": \"both.pem\", \"private_key\": \"both.pem\"},"
             "\"log\": {\"level\": \"%s\"}}",
             level);
    write_text(fixture->config, text);
}

static void on_offer(void *user, const struct snapshot *before, struct snapshot *snapshot)
{
    struct fixture *fixture = user;
    assert_ptr_not_equal(before, snapshot);
    assert_ptr_equal(reload_snapshot(fixture->reload), snapshot);
    fixture->offers++;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    strcpy(fixture->folder, "/tmp/estuary-reload-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    snprintf(fixture->both, sizeof fixture->both, "%s/both.pem", fixture->folder);
    snprintf(fixture->config, sizeof fixture->config, "%s/registrar.json", fixture->folder);
    write_both(fixture);
    write_config(fixture, "info");
    fixture->log = tmpfile();
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, fixture->log);
    buffer_init(&fixture->lines, LINES_LIMIT);
    fixture->settings = settings_read(fixture->config, &fixture->lines, &fixture->lines);
    if (fixture->settings == NULL)
        fail_msg("%s", buffer_string(&fixture->lines));
    const struct snapshot_source source = {fixture->config, fixture->settings, &fixture->lines,
                                           &fixture->lines};
    fixture->first = snapshot_load(&source, SNAPSHOT_ALL, NULL);
    if (fixture->first == NULL)
        fail_msg("%s", buffer_string(&fixture->lines));
    fixture->base = event_base_new();
    fixture->mailbox = mailbox_create(fixture->base);
    const struct reload_context context = {.file = fixture->config,
                                           .settings = fixture->settings,
                                           .snapshot = fixture->first,
                                           .base = fixture->base,
                                           .mailbox = fixture->mailbox,
                                           .retry_ms = 1,
                                           .offer = on_offer,
                                           .user = fixture};
    fixture->reload = reload_create(&context);
    assert_non_null(fixture->reload);
    *state = fixture;
    return 0;
}

/* As the registrar ends. */
static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    reload_stop(fixture->reload);
    mailbox_free(fixture->mailbox);
    reload_free(fixture->reload);
    snapshot_release(fixture->first);
    settings_free(fixture->settings);
    event_base_free(fixture->base);
    buffer_free(&fixture->lines);
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, stderr);
    fclose(fixture->log);
    unlink(fixture->both);
    unlink(fixture->config);
    rmdir(fixture->folder);
    free(fixture);
    return 0;
}

static void await_offers(struct fixture *fixture, unsigned count)
{
    while (fixture->offers < count)
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    assert_int_equal(fixture->offers, count);
}

/* What was not yet logged to stderr, which a new configuration is. */
static unsigned lines_with(const struct fixture *fixture, const char *text)
{
    char log[16384];
    unsigned count = 0;
    ssize_t len = pread(fileno(fixture->log), log, sizeof log - 1, 0);
    assert_true(len >= 0);
    log[len] = '\0';
    for (const char *at = log; (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

static void await_line(struct fixture *fixture, const char *text)
{
    while (lines_with(fixture, text) == 0)
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
}

static void a_hundred_wishes_are_two_reloads(void **state)
{
    struct fixture *fixture = *state;
    reload_begin(fixture->reload);
    for (unsigned i = 0; i < 100; i++) {
        reload_begin_parts(fixture->reload, SNAPSHOT_WATCHED);
        reload_begin(fixture->reload);
    }
    await_offers(fixture, 1);
    event_base_loop(fixture->base, EVLOOP_NONBLOCK);
    assert_int_equal(fixture->offers, 1); /* until everybody has adopted it */
    reload_adopted(fixture->reload);
    await_offers(fixture, 2);
    reload_adopted(fixture->reload);
    has_no_threads = true; /* none is wanted */
    event_base_loop(fixture->base, EVLOOP_NONBLOCK);
    has_no_threads = false;
    assert_int_equal(fixture->offers, 2);
    assert_ptr_not_equal(reload_snapshot(fixture->reload), fixture->first);
}

/* All or nothing; the next one finds it mended. */
static void a_mistake_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    write_text(fixture->config, "{\"log\": {\"level\": \"debug\"},");
    reload_begin(fixture->reload);
    await_line(fixture, "reload refused: nothing has changed");
    assert_int_equal(fixture->offers, 0);
    assert_ptr_equal(reload_snapshot(fixture->reload), fixture->first);
    assert_int_equal(reload_settings(fixture->reload)->log.level, LOG_LEVEL_INFO);
    write_config(fixture, "warning");
    reload_begin(fixture->reload);
    await_offers(fixture, 1);
    assert_int_equal(reload_settings(fixture->reload)->log.level, LOG_LEVEL_WARNING);
    reload_adopted(fixture->reload);
}

/* What is renewed or learnt is loaded with the configuration in use, whatever lies in its file by then. */
static void parts_are_loaded_alone(void **state)
{
    struct fixture *fixture = *state;
    write_text(fixture->config, "an editor was here");
    write_both(fixture);
    reload_begin_parts(fixture->reload, SNAPSHOT_RA_CREDENTIALS);
    await_offers(fixture, 1);
    const struct snapshot *now = reload_snapshot(fixture->reload);
    assert_ptr_not_equal(now->ra_credentials, fixture->first->ra_credentials);
    assert_ptr_equal(now->dtls_credentials, fixture->first->dtls_credentials);
    assert_ptr_equal(now->servers, fixture->first->servers);
    assert_ptr_equal(now->access_rules, fixture->first->access_rules);
    reload_adopted(fixture->reload);
    assert_int_equal(lines_with(fixture, "reloaded: what has changed is in use"), 1);
}

/* A renewed certificate comes into use when the mistake beside it is mended, without a word of anybody's;
 * also where a SIGHUP came in between and was refused. */
static void what_was_renewed_is_not_forgotten(void **state)
{
    struct fixture *fixture = *state;
    write_text(fixture->both, "somebody writes here");
    reload_begin(fixture->reload);
    reload_begin_parts(fixture->reload, SNAPSHOT_RA_CREDENTIALS);
    reload_begin(fixture->reload);
    while (lines_with(fixture, "reload refused: nothing has changed") < 4)
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    write_both(fixture);
    await_offers(fixture, 1);
    reload_adopted(fixture->reload);
    const struct timeval while_ms = {0, 20000}; /* twenty times as long as a retry takes to come */
    event_base_loopexit(fixture->base, &while_ms);
    event_base_dispatch(fixture->base);
    assert_int_equal(fixture->offers, 1);
}

/* Nobody else's wish is repeated: an operator sees that it was refused. */
static void what_was_refused_is_not_tried_again(void **state)
{
    struct fixture *fixture = *state;
    const struct timeval while_ms = {0, 20000};
    write_text(fixture->config, "{");
    reload_begin(fixture->reload);
    await_line(fixture, "reload refused");
    event_base_loopexit(fixture->base, &while_ms);
    event_base_dispatch(fixture->base);
    assert_int_equal(lines_with(fixture, "reload refused"), 1);
}

static void without_a_thread_nothing_changes(void **state)
{
    struct fixture *fixture = *state;
    has_no_threads = true;
    reload_begin(fixture->reload);
    has_no_threads = false;
    assert_int_equal(lines_with(fixture, "reload failed: no thread could be started"), 1);
    assert_ptr_equal(reload_snapshot(fixture->reload), fixture->first);
    reload_begin(fixture->reload);
    await_offers(fixture, 1);
    reload_adopted(fixture->reload);
}

/* Nothing is offered once it is stopped, though it was read. */
static void it_may_end_in_the_middle(void **state)
{
    struct fixture *fixture = *state;
    reload_begin(fixture->reload);
    reload_begin(fixture->reload);
    reload_stop(fixture->reload);
    event_base_loop(fixture->base, EVLOOP_NONBLOCK);
    assert_int_equal(fixture->offers, 0);
    reload_begin(fixture->reload);
    event_base_loop(fixture->base, EVLOOP_NONBLOCK);
    assert_int_equal(fixture->offers, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
        TEST(a_hundred_wishes_are_two_reloads),
        TEST(a_mistake_changes_nothing),
        TEST(parts_are_loaded_alone),
        TEST(without_a_thread_nothing_changes),
        TEST(it_may_end_in_the_middle),
        TEST(what_was_renewed_is_not_forgotten),
        TEST(what_was_refused_is_not_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
