/* RA-1, RA-2: what is wrong with the RA's files is found out before the first request, and named. */
#include "registrar/upstream/ra_credentials.h"

#include "upstream_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct verdict {
    enum status status;
    struct buffer errors, warnings;
    size_t trust_len;
};

static void check(const struct upstream_fixture *fixture, struct verdict *verdict)
{
    struct ra_credentials credentials;
    buffer_init(&verdict->errors, 8192);
    buffer_init(&verdict->warnings, 8192);
    verdict->trust_len = 0;
    verdict->status = ra_credentials_load(&fixture->settings, &credentials, &verdict->errors);
    if (verdict->status != STATUS_OK)
        return;
    assert_string_equal(buffer_string(&verdict->errors), "");
    verdict->trust_len = credentials.trust.len;
    ra_credentials_warn(&fixture->settings, &credentials, &verdict->warnings);
    ra_credentials_free(&credentials);
}

static void verdict_free(struct verdict *verdict)
{
    buffer_free(&verdict->errors);
    buffer_free(&verdict->warnings);
}

static size_t count_lines(struct buffer *text)
{
    size_t count = 0;
    for (const char *at = buffer_string(text); (at = strchr(at, '\n')) != NULL; at++)
        count++;
    return count;
}

static void assert_one_error(const struct upstream_fixture *fixture, enum status status, const char *setting,
                             const char *file, const char *what)
{
    struct verdict verdict;
    check(fixture, &verdict);
    const char *errors = buffer_string(&verdict.errors);
    if (strncmp(errors, setting, strlen(setting)) != 0 || strstr(errors, file) == NULL ||
        strstr(errors, what) == NULL || count_lines(&verdict.errors) != 1)
        fail_msg("instead of one line with %s, %s and %s:\n%s", setting, file, what, errors);
    assert_int_equal(verdict.status, status);
    verdict_free(&verdict);
}

static void assert_one_warning(const struct upstream_fixture *fixture, const char *setting, const char *what)
{
    struct verdict verdict;
    check(fixture, &verdict);
    const char *warnings = buffer_string(&verdict.warnings);
    assert_int_equal(verdict.status, STATUS_OK);
    if (strncmp(warnings, setting, strlen(setting)) != 0 || strstr(warnings, what) == NULL ||
        count_lines(&verdict.warnings) != 1)
        fail_msg("instead of one line with %s and %s:\n%s", setting, what, warnings);
    verdict_free(&verdict);
}

/* Writes the RA's certificate anew. */
static void make_ra(struct upstream_fixture *fixture, const char *purposes, long from_s, long until_s)
{
    identity_free(&fixture->ra);
    fixture->ra = identity_make(&(struct identity_settings){.name = "The RA",
                                                            .purposes = purposes,
                                                            .from_s = from_s,
                                                            .until_s = until_s,
                                                            .issuer = &fixture->ca});
    identity_write(&fixture->ra, fixture->dir, "ra");
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void good_credentials_pass(void **state)
{
    struct verdict verdict;
    check(*state, &verdict);
    assert_int_equal(verdict.status, STATUS_OK);
    assert_string_equal(buffer_string(&verdict.warnings), "");
    assert_true(verdict.trust_len > 0);
    verdict_free(&verdict);
}

static void several_trust_files_count_together(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct verdict one, two;
    char other[128];
    check(fixture, &one);
    snprintf(other, sizeof other, "%s/other-ca.pem", fixture->dir);
    fixture->settings.trust.items[1] = other;
    fixture->settings.trust.count = 2;
    check(fixture, &two);
    assert_int_equal(two.status, STATUS_OK);
    assert_in_range(two.trust_len, one.trust_len * 3 / 2, one.trust_len * 5 / 2);
    verdict_free(&one);
    verdict_free(&two);
}

static void missing_files_are_named(void **state)
{
    struct upstream_fixture *fixture = *state;
    static char nowhere[] = "/nowhere/at.all";

    fixture->settings.certificate = nowhere;
    assert_one_error(fixture, STATUS_SYSTEM, "upstream.certificate: ", nowhere, "No such file");
    fixture->settings.certificate = fixture->certificate;
    fixture->settings.private_key = nowhere;
    assert_one_error(fixture, STATUS_SYSTEM, "upstream.private_key: ", nowhere, "No such file");
    fixture->settings.private_key = fixture->private_key;
    fixture->settings.trust.items[0] = nowhere;
    assert_one_error(fixture, STATUS_SYSTEM, "upstream.trust[0]: ", nowhere, "No such file");
    fixture->settings.trust.items[0] = fixture->dir;
    assert_one_error(fixture, STATUS_SYSTEM, "upstream.trust[0]: ", fixture->dir, "directory");
    fixture->settings.trust.count = 0;
    assert_one_error(fixture, STATUS_NOT_FOUND, "upstream.trust: ", "names no file", "PEM");
}

static void all_errors_come_at_once(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct verdict verdict;
    static char nowhere[] = "/nowhere/at.all";
    fixture->settings.certificate = nowhere;
    fixture->settings.private_key = nowhere;
    fixture->settings.trust.items[0] = nowhere;
    check(fixture, &verdict);
    assert_int_equal(count_lines(&verdict.errors), 3);
    verdict_free(&verdict);
}

static void key_must_fit(void **state)
{
    struct upstream_fixture *fixture = *state;
    char other[128];
    snprintf(other, sizeof other, "%s/other-ca.key", fixture->dir);
    fixture->settings.private_key = other;
    assert_one_error(fixture, STATUS_MISMATCH, "upstream.private_key: ", other, fixture->certificate);
}

static void files_must_hold_what_they_should(void **state)
{
    struct upstream_fixture *fixture = *state;
    char junk[128];
    snprintf(junk, sizeof junk, "%s/junk", fixture->dir);
    write_text(junk, "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n");

    fixture->settings.certificate = junk;
    assert_one_error(fixture, STATUS_MALFORMED, "upstream.certificate: ", junk, "PEM certificate");
    fixture->settings.certificate = fixture->certificate;
    fixture->settings.private_key = fixture->certificate;
    assert_one_error(fixture, STATUS_MALFORMED, "upstream.private_key: ", fixture->certificate,
                     "private key");
    fixture->settings.private_key = fixture->private_key;
    fixture->settings.trust.items[0] = junk;
    assert_one_error(fixture, STATUS_MALFORMED, "upstream.trust[0]: ", junk, "PEM certificate");
    write_text(junk, "");
    assert_one_error(fixture, STATUS_MALFORMED, "upstream.trust[0]: ", junk, "PEM certificate");
}

static void file_without_end_is_bounded(void **state)
{
    struct upstream_fixture *fixture = *state;
    static char endless[] = "/dev/zero";
    fixture->settings.trust.items[0] = endless;
    assert_one_error(fixture, STATUS_TOO_LARGE, "upstream.trust[0]: ", endless, "larger than 1 MiB");
}

/* OpenSSL would ask for it at the terminal, and wait. */
static void passphrase_is_not_asked_for(void **state)
{
    struct upstream_fixture *fixture = *state;
    char command[512], locked[128];
    snprintf(locked, sizeof locked, "%s/locked.key", fixture->dir);
    snprintf(command, sizeof command, "openssl pkey -in %s -aes128 -passout pass:secret -out %s",
             fixture->private_key, locked);
    assert_int_equal(system(command), 0);
    fixture->settings.private_key = locked;
    assert_one_error(fixture, STATUS_MALFORMED, "upstream.private_key: ", locked, "decrypted first");
}

static void purposes_are_looked_at(void **state)
{
    struct upstream_fixture *fixture = *state;
    make_ra(fixture, "clientAuth", -DAY, 365 * DAY);
    assert_one_warning(fixture, "upstream.certificate: ", "id-kp-cmcRA");
    make_ra(fixture, "1.3.6.1.5.5.7.3.28", -DAY, 365 * DAY); /* libest refuses it in the handshake */
    assert_one_warning(fixture, "upstream.certificate: ", "clientAuth");
    make_ra(fixture, NULL, -DAY, 365 * DAY); /* any purpose, but no RA */
    assert_one_warning(fixture, "upstream.certificate: ", "id-kp-cmcRA");
}

static void validity_is_looked_at(void **state)
{
    static const char both[] = "clientAuth,1.3.6.1.5.5.7.3.28";
    struct upstream_fixture *fixture = *state;
    make_ra(fixture, both, -DAY, 29 * DAY);
    assert_one_warning(fixture, "upstream.certificate: ", "expires on 20");
    make_ra(fixture, both, -2 * DAY, -DAY);
    assert_one_warning(fixture, "upstream.certificate: ", "expired on 20");
    make_ra(fixture, both, DAY, 365 * DAY);
    assert_one_warning(fixture, "upstream.certificate: ", "not valid before 20");
    make_ra(fixture, both, -DAY, 31 * DAY);
    struct verdict verdict;
    check(fixture, &verdict);
    assert_string_equal(buffer_string(&verdict.warnings), "");
    verdict_free(&verdict);

    struct identity old_ca = identity_make(&(struct identity_settings){.name = "Old CA", .until_s = 3 * DAY});
    identity_write(&old_ca, fixture->dir, "ca");
    assert_one_warning(fixture, "upstream.trust: ", "Old CA\" expires");
    identity_free(&old_ca);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, upstream_fixture_set_up, upstream_fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(good_credentials_pass),
        TEST(several_trust_files_count_together),
        TEST(missing_files_are_named),
        TEST(all_errors_come_at_once),
        TEST(key_must_fit),
        TEST(files_must_hold_what_they_should),
        TEST(file_without_end_is_bounded),
        TEST(passphrase_is_not_asked_for),
        TEST(purposes_are_looked_at),
        TEST(validity_is_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
