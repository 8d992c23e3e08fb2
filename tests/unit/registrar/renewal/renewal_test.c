/* RA-7: how often a renewal that fails is tried again, and that nothing waits for its key. */
#include "registrar/renewal/renewal.h"

#include "common/mailbox.h"
#include "registrar/counters.h"
#include "registrar/upstream/permit_pool.h"
#include "registrar/upstream/ra_credentials.h"
#include "registrar/upstream/server_group.h"

/* clang-format off */
#include "../credentials.h"
#include "../test_pki.h"
/* clang-format on */

#include <event2/event.h>

#include <stdlib.h>
#include <unistd.h>

#define DAY         (24 * 3600)
#define LINES_LIMIT 4096

static char nowhere[] = "https://127.0.0.1:1", none[] = "";

static void delay_grows_up_to_a_day(void **state)
{
    (void)state;
    assert_int_equal(renewal_delay_s(1, 300 * DAY), 60);
    assert_int_equal(renewal_delay_s(2, 300 * DAY), 120);
    assert_int_equal(renewal_delay_s(5, 300 * DAY), 960);
    assert_int_equal(renewal_delay_s(12, 300 * DAY), DAY);
    assert_int_equal(renewal_delay_s(1000000, 300 * DAY), DAY);
}

static void near_the_end_it_is_tried_more_often(void **state)
{
    (void)state;
    assert_int_equal(renewal_delay_s(12, DAY), DAY / 8);
    assert_int_equal(renewal_delay_s(12, 100), 60);
    assert_int_equal(renewal_delay_s(12, -DAY), 60);
}

/* A renewal that is due, of an RSA key. */
struct fixture {
    char folder[64], file[96], kept[112];
    struct settings settings;
    struct est_client_services services;
    struct buffer lines;
    struct renewal *renewal;
};

static void write_both(const struct fixture *fixture)
{
    struct test_certificate ra = test_certificate(
        &(struct test_certificate_wish){.curve = "RSA",
                                        .extended_key_usage = "clientAuth,1.3.6.1.5.5.7.3.28",
                                        .from_s = -20 * DAY,
                                        .to_s = 5 * DAY});
    FILE *out = fopen(fixture->file, "w");
    assert_non_null(out);
    assert_int_equal(PEM_write_X509(out, ra.certificate), 1);
    assert_int_equal(PEM_write_PKCS8PrivateKey(out, ra.key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(out);
    test_certificate_free(&ra);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    snprintf(fixture->folder, sizeof fixture->folder, "/tmp/estuary-renewal-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    snprintf(fixture->file, sizeof fixture->file, "%s/ra.pem", fixture->folder);
    snprintf(fixture->kept, sizeof fixture->kept, "%s.renewal-key", fixture->file);
    write_both(fixture);
    fixture->settings.upstream = (struct upstream_settings){
        .servers = {.items = {nowhere}, .count = 1},
        .trust = {.items = {fixture->file}, .count = 1},
        .certificate = fixture->file,
        .private_key = fixture->file,
        .passphrase_file = none,
        .pkcs11_module = none,
        .learnt_trust = none,
        .default_label = none,
        .renew = true,
        .max_failures = 1,
        .backoff_ms = 1000,
        .backoff_max_ms = 1000,
        .max_connections = 2,
        .connect_timeout_ms = 1000,
        .timeout_ms = 1000,
        .max_response_bytes = 1024,
    };
    fixture->settings.dtls = (struct dtls_settings){.certificate = none, .private_key = none};
    buffer_init(&fixture->lines, LINES_LIMIT);
    struct est_client_services *services = &fixture->services;
    services->base = event_base_new();
    services->mailbox = mailbox_create(services->base);
    services->metrics = counters_create();
    services->permits = permit_pool_create(2, 1, services->metrics);
    services->servers = server_group_load(&fixture->settings.upstream, NULL, &fixture->lines);
    services->credentials =
        ra_credentials_load(&fixture->settings.upstream, &fixture->lines, &fixture->lines);
    const struct renewal_context context = {.settings = &fixture->settings, .services = *services};
    fixture->renewal = renewal_create(&context, &fixture->lines);
    if (fixture->renewal == NULL)
        fail_msg("%s", buffer_string(&fixture->lines));
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    struct est_client_services *services = &fixture->services;
    renewal_free(fixture->renewal);
    mailbox_free(services->mailbox);
    permit_pool_free(services->permits);
    metrics_free(services->metrics);
    ra_credentials_release(services->credentials);
    server_group_release(services->servers);
    event_base_free(services->base);
    buffer_free(&fixture->lines);
    unlink(fixture->kept);
    unlink(fixture->file);
    rmdir(fixture->folder);
    free(fixture);
    return 0;
}

/* One turn of the loop begins it, and does not wait for it: signals and discovery live there. */
static void a_key_is_made_beside_the_loop(void **state)
{
    struct fixture *fixture = *state;
    event_base_loop(fixture->services.base, EVLOOP_NONBLOCK);
    assert_int_not_equal(access(fixture->kept, F_OK), 0);
    while (access(fixture->kept, F_OK) != 0)
        assert_int_equal(event_base_loop(fixture->services.base, EVLOOP_ONCE), 0);
}

/* What sanitizers look at. */
static void it_may_end_while_a_key_is_made(void **state)
{
    struct fixture *fixture = *state;
    event_base_loop(fixture->services.base, EVLOOP_NONBLOCK);
}

/* A reload that comes while it is asked for changes nothing of that. */
static void it_may_be_told_of_other_files_at_any_time(void **state)
{
    struct fixture *fixture = *state;
    char *other = strdup("/nowhere"), *before = fixture->settings.upstream.certificate;
    event_base_loop(fixture->services.base, EVLOOP_NONBLOCK);
    fixture->settings.upstream.certificate = fixture->settings.upstream.private_key = other;
    renewal_look(fixture->renewal);
    fixture->settings.upstream.certificate = fixture->settings.upstream.private_key = before;
    free(other);
    while (access(fixture->kept, F_OK) != 0)
        assert_int_equal(event_base_loop(fixture->services.base, EVLOOP_ONCE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delay_grows_up_to_a_day),
        cmocka_unit_test(near_the_end_it_is_tried_more_often),
        cmocka_unit_test_setup_teardown(a_key_is_made_beside_the_loop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_may_end_while_a_key_is_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_may_be_told_of_other_files_at_any_time, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
