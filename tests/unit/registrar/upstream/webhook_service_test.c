/* What is read of access.webhook, once, for all workers (DTLS-10). */
#include "registrar/upstream/webhook_service.h"

#include "upstream_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct verdict {
    struct webhook_service *service;
    struct buffer errors, warnings;
};

static void load(struct verdict *verdict, char *url, char *const trust[], size_t count)
{
    struct webhook_settings settings = {.url = url,
                                        .timeout_ms = 7,
                                        .max_connections = 2,
                                        .queue = 3,
                                        .fail = WEBHOOK_FAIL_OPEN,
                                        .trust.count = count};
    for (size_t i = 0; i < count; i++)
        settings.trust.items[i] = trust[i];
    buffer_init(&verdict->errors, 8192);
    buffer_init(&verdict->warnings, 8192);
    verdict->service = webhook_service_load(&settings, &verdict->errors, &verdict->warnings);
}

static void verdict_free(struct verdict *verdict)
{
    webhook_service_release(verdict->service);
    buffer_free(&verdict->errors);
    buffer_free(&verdict->warnings);
}

static void keeps_nothing_of_the_settings(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct verdict verdict;
    char url[] = "https://inventory.example:8443/decide?for=estuary";
    load(&verdict, url, (char *[]){fixture->trust}, 1);
    memset(url, 'x', sizeof url - 1);
    assert_non_null(verdict.service);
    assert_string_equal(buffer_string(&verdict.warnings), "");
    assert_string_equal(webhook_service_url(verdict.service),
                        "https://inventory.example:8443/decide?for=estuary");
    assert_null(webhook_service_socket(verdict.service));
    const struct webhook_terms *terms = webhook_service_terms(verdict.service);
    assert_int_equal(terms->timeout_ms, 7);
    assert_int_equal(terms->max_connections, 2);
    assert_int_equal(terms->queue, 3);
    assert_true(terms->fails_open);
    verdict_free(&verdict);
}

static void a_socket_is_asked_for_the_root(void **state)
{
    struct verdict verdict;
    char url[] = "unix:/run/inventory/decide";
    (void)state;
    load(&verdict, url, NULL, 0);
    assert_non_null(verdict.service);
    assert_string_equal(webhook_service_url(verdict.service), "http://localhost/");
    assert_string_equal(webhook_service_socket(verdict.service), "/run/inventory/decide");
    verdict_free(&verdict);
}

static void each_file_that_is_wrong_is_named(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct verdict verdict;
    char url[] = "https://inventory.example", missing[128];
    snprintf(missing, sizeof missing, "%s/missing.pem", fixture->dir);
    load(&verdict, url, (char *[]){missing, fixture->trust, fixture->private_key}, 3);
    assert_null(verdict.service);
    const char *errors = buffer_string(&verdict.errors);
    assert_non_null(strstr(errors, "access.webhook.trust[0]: "));
    assert_non_null(strstr(errors, "missing.pem"));
    assert_null(strstr(errors, "access.webhook.trust[1]: "));
    assert_non_null(strstr(errors, "access.webhook.trust[2]: "));
    verdict_free(&verdict);
}

static void warns_of_what_expires(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct verdict verdict;
    char url[] = "https://inventory.example", old[128];
    struct identity ca =
        identity_make(&(struct identity_settings){.name = "Old CA", .from_s = -2 * DAY, .until_s = -DAY});
    identity_write(&ca, fixture->dir, "old-ca");
    snprintf(old, sizeof old, "%s/old-ca.pem", fixture->dir);
    load(&verdict, url, (char *[]){old}, 1);
    assert_non_null(verdict.service);
    assert_non_null(strstr(buffer_string(&verdict.warnings), "access.webhook.trust[0]: "));
    assert_non_null(strstr(buffer_string(&verdict.warnings), "expired"));
    verdict_free(&verdict);
    identity_free(&ca);
}

/* The host, and nothing else, is looked for in the certificate. */
static void a_connection_is_secured_for_its_host(void **state)
{
    static const struct {
        const char *url, *host, *address;
    } cases[] = {{"https://inventory.example/decide", "inventory.example", NULL},
                 {"https://127.0.0.1:8443", NULL, "127.0.0.1"},
                 {"https://[2001:db8::1]:8443/", NULL, "2001:db8::1"}};
    struct upstream_fixture *fixture = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct verdict verdict;
        char url[64];
        snprintf(url, sizeof url, "%s", cases[i].url);
        SSL_CTX *context = SSL_CTX_new(TLS_client_method());
        load(&verdict, url, (char *[]){fixture->trust}, 1);
        assert_true(webhook_service_secure(verdict.service, context));
        X509_VERIFY_PARAM *wanted = SSL_CTX_get0_param(context);
        const char *host = X509_VERIFY_PARAM_get0_host(wanted, 0);
        char *address = X509_VERIFY_PARAM_get1_ip_asc(wanted);
        assert_int_equal(host == NULL, cases[i].host == NULL);
        assert_int_equal(address == NULL, cases[i].address == NULL);
        if (host != NULL)
            assert_string_equal(host, cases[i].host);
        if (cases[i].address != NULL && strchr(cases[i].address, ':') == NULL)
            assert_string_equal(address, cases[i].address);
        OPENSSL_free(address);
        verdict_free(&verdict);
        SSL_CTX_free(context);
    }
}

#define TEST(function)                                                                                       \
    cmocka_unit_test_setup_teardown(function, upstream_fixture_set_up, upstream_fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keeps_nothing_of_the_settings),        TEST(a_socket_is_asked_for_the_root),
        TEST(each_file_that_is_wrong_is_named),     TEST(warns_of_what_expires),
        TEST(a_connection_is_secured_for_its_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
