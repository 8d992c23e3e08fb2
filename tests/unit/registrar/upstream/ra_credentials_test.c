/* RA-1, RA-2: what is wrong with the RA's files is found out before the first request, and named. */
#include "registrar/protocol/credential_file.h"
#include "registrar/upstream/ra_credentials.h"

#include "upstream_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct verdict {
    bool loaded;
    struct buffer errors, warnings;
};

static void check(const struct upstream_fixture *fixture, struct verdict *verdict)
{
    buffer_init(&verdict->errors, 8192);
    buffer_init(&verdict->warnings, 8192);
    struct ra_credentials *credentials =
        ra_credentials_load(&fixture->settings, &verdict->errors, &verdict->warnings);
    verdict->loaded = credentials != NULL;
    if (verdict->loaded)
        assert_string_equal(buffer_string(&verdict->errors), "");
    ra_credentials_release(credentials);
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

static void assert_one_error(const struct upstream_fixture *fixture, const char *setting, const char *file,
                             const char *what)
{
    struct verdict verdict;
    check(fixture, &verdict);
    const char *errors = buffer_string(&verdict.errors);
    if (strncmp(errors, setting, strlen(setting)) != 0 || strstr(errors, file) == NULL ||
        strstr(errors, what) == NULL || count_lines(&verdict.errors) != 1)
        fail_msg("instead of one line with %s, %s and %s:\n%s", setting, file, what, errors);
    assert_false(verdict.loaded);
    verdict_free(&verdict);
}

static void assert_one_warning(const struct upstream_fixture *fixture, const char *setting, const char *what)
{
    struct verdict verdict;
    check(fixture, &verdict);
    const char *warnings = buffer_string(&verdict.warnings);
    assert_true(verdict.loaded);
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
    assert_true(verdict.loaded);
    assert_string_equal(buffer_string(&verdict.warnings), "");
    verdict_free(&verdict);
}

static void several_trust_files_count_together(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct buffer lines;
    char other[128];
    snprintf(other, sizeof other, "%s/other-ca.pem", fixture->dir);
    fixture->settings.trust.items[1] = other;
    fixture->settings.trust.count = 2;
    buffer_init(&lines, 8192);
    struct ra_credentials *credentials = ra_credentials_load(&fixture->settings, &lines, &lines);
    assert_non_null(credentials);
    assert_int_equal(sk_X509_num(server_trust_anchors(ra_credentials_trust(credentials))), 2);
    ra_credentials_release(credentials);
    buffer_free(&lines);
}

static void missing_files_are_named(void **state)
{
    struct upstream_fixture *fixture = *state;
    static char nowhere[] = "/nowhere/at.all";

    fixture->settings.certificate = nowhere;
    assert_one_error(fixture, "upstream.certificate: ", nowhere, "No such file");
    fixture->settings.certificate = fixture->certificate;
    fixture->settings.private_key = nowhere;
    assert_one_error(fixture, "upstream.private_key: ", nowhere, "No such file");
    fixture->settings.private_key = fixture->private_key;
    fixture->settings.trust.items[0] = nowhere;
    assert_one_error(fixture, "upstream.trust[0]: ", nowhere, "No such file");
    fixture->settings.trust.items[0] = fixture->dir;
    assert_one_error(fixture, "upstream.trust[0]: ", fixture->dir, "directory");
    fixture->settings.trust.count = 0;
    assert_one_error(fixture, "upstream.trust: ", "names no file", "PEM");
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
    assert_one_error(fixture, "upstream.private_key: ", other, fixture->certificate);
}

static void files_must_hold_what_they_should(void **state)
{
    struct upstream_fixture *fixture = *state;
    char junk[128];
    snprintf(junk, sizeof junk, "%s/junk", fixture->dir);
    write_text(junk, "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n");

    fixture->settings.certificate = junk;
    assert_one_error(fixture, "upstream.certificate: ", junk, "PEM certificate");
    fixture->settings.certificate = fixture->certificate;
    fixture->settings.private_key = fixture->certificate;
    assert_one_error(fixture, "upstream.private_key: ", fixture->certificate, "private key");
    fixture->settings.private_key = fixture->private_key;
    fixture->settings.trust.items[0] = junk;
    assert_one_error(fixture, "upstream.trust[0]: ", junk, "damaged certificate");
    write_text(junk, "");
    assert_one_error(fixture, "upstream.trust[0]: ", junk, "PEM certificate");
}

static void file_without_end_is_bounded(void **state)
{
    struct upstream_fixture *fixture = *state;
    static char endless[] = "/dev/zero";
    char large[128];
    snprintf(large, sizeof large, "%s/large", fixture->dir);
    write_text(large, "");
    assert_int_equal(truncate(large, CREDENTIAL_FILE_OCTETS_MAX + 1), 0);
    fixture->settings.trust.items[0] = large;
    assert_one_error(fixture, "upstream.trust[0]: ", large, "larger than 1 MiB");
    fixture->settings.trust.items[0] = endless;
    assert_one_error(fixture, "upstream.trust[0]: ", endless, "no regular file");
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
    assert_one_error(fixture, "upstream.private_key: ", locked, "upstream.passphrase_file");
}

static void write_secret(const struct upstream_fixture *fixture, const char *text, char path[128])
{
    snprintf(path, 128, "%s/secret", fixture->dir);
    write_text(path, text);
    assert_int_equal(chmod(path, 0600), 0);
}

/* The first line counts, whatever ends it. */
static void passphrase_opens_the_key(void **state)
{
    struct upstream_fixture *fixture = *state;
    char command[1024], locked[128], secret[128];
    snprintf(locked, sizeof locked, "%s/locked.key", fixture->dir);
    snprintf(command, sizeof command, "openssl pkey -in %s -aes128 -passout pass:secret -out %s",
             fixture->private_key, locked);
    assert_int_equal(system(command), 0);
    fixture->settings.private_key = locked;
    fixture->settings.passphrase_file = secret;
    const char *const right[] = {"secret", "secret\n", "secret\r\nmore\n"};
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        write_secret(fixture, right[i], secret);
        good_credentials_pass(state);
    }
    write_secret(fixture, "wrong\n", secret);
    assert_one_error(fixture, "upstream.private_key: ", locked, "the pass-phrase");
    write_secret(fixture, "\nsecret\n", secret);
    struct verdict verdict;
    check(fixture, &verdict);
    assert_non_null(strstr(buffer_string(&verdict.errors), "upstream.passphrase_file: "));
    assert_false(verdict.loaded);
    verdict_free(&verdict);
}

static void one_pem_file_will_do(void **state)
{
    struct upstream_fixture *fixture = *state;
    char command[1024], both[128];
    snprintf(both, sizeof both, "%s/both.pem", fixture->dir);
    snprintf(command, sizeof command, "umask 077 && cat %s %s > %s", fixture->private_key,
             fixture->certificate, both);
    assert_int_equal(system(command), 0);
    fixture->settings.certificate = fixture->settings.private_key = both;
    good_credentials_pass(state);
}

static void pkcs12_will_do(void **state)
{
    struct upstream_fixture *fixture = *state;
    char command[1024], file[128], secret[128];
    snprintf(file, sizeof file, "%s/ra.p12", fixture->dir);
    snprintf(command, sizeof command,
             "umask 077 && openssl pkcs12 -export -in %s -inkey %s -certfile %s -passout pass:secret -out %s",
             fixture->certificate, fixture->private_key, fixture->trust, file);
    assert_int_equal(system(command), 0);
    fixture->settings.certificate = file;
    assert_one_error(fixture, "upstream.certificate: ", file, "upstream.private_key as well");
    fixture->settings.private_key = file;
    assert_one_error(fixture, "upstream.certificate: ", file, "needs a pass-phrase");
    fixture->settings.passphrase_file = secret;
    write_secret(fixture, "wrong", secret);
    assert_one_error(fixture, "upstream.certificate: ", file, "is not opened");
    write_secret(fixture, "secret", secret);
    good_credentials_pass(state);
}

/* RA-8: with a password there is HTTP authentication, and a secret that all may read is told of. */
static void password_comes_from_a_file(void **state)
{
    struct upstream_fixture *fixture = *state;
    static char name[] = "registrar";
    char secret[128];
    struct buffer lines;
    buffer_init(&lines, 8192);
    write_secret(fixture, "hunter2\n", secret);
    fixture->settings.username = name;
    fixture->settings.password_file = secret;
    struct ra_credentials *credentials = ra_credentials_load(&fixture->settings, &lines, &lines);
    assert_non_null(credentials);
    assert_string_equal(ra_credentials_username(credentials), "registrar");
    assert_string_equal(ra_credentials_password(credentials), "hunter2");
    ra_credentials_release(credentials);
    buffer_free(&lines);

    assert_int_equal(chmod(secret, 0644), 0);
    assert_one_warning(fixture, "upstream.password_file: ", "may be read by everybody");
    fixture->settings.password_file = fixture->dir;
    assert_one_error(fixture, "upstream.password_file: ", fixture->dir, "directory");
}

/* RA-2: what was learnt comes into being by itself, but is not forgotten because it cannot be reached. */
static void learnt_trust_is_not_passed_over(void **state)
{
    struct upstream_fixture *fixture = *state;
    char file[256];
    struct buffer lines;
    buffer_init(&lines, 8192);
    snprintf(file, sizeof file, "%s/learnt.pem", fixture->dir);
    fixture->settings.learnt_trust = file;
    struct ra_credentials *credentials = ra_credentials_load(&fixture->settings, &lines, &lines);
    assert_non_null(credentials);
    ra_credentials_release(credentials);
    buffer_free(&lines);
    snprintf(file, sizeof file, "%s/in-a-file", fixture->private_key);
    assert_one_error(fixture, "upstream.learnt_trust: ", file, "Not a directory");
}

static bool covers(const struct upstream_settings *settings, const struct upstream_settings *other)
{
    struct ra_credentials *one = upstream_fixture_credentials(settings),
                          *two = upstream_fixture_credentials(other);
    bool covered = server_trust_covers(ra_credentials_trust(one), ra_credentials_trust(two));
    ra_credentials_release(one);
    ra_credentials_release(two);
    return covered;
}

/* What was said under the one trust counts under the other. */
static void trust_is_compared_by_its_anchors(void **state)
{
    const struct upstream_fixture *fixture = *state;
    char other_ca[128];
    struct upstream_settings less = fixture->settings, more = fixture->settings, web = fixture->settings;
    snprintf(other_ca, sizeof other_ca, "%s/other-ca.pem", fixture->dir);
    more.trust.items[more.trust.count++] = other_ca;
    web.implicit_trust = (struct settings_strings){.items = {other_ca}, .count = 1};
    assert_true(covers(&less, &less));
    assert_true(covers(&more, &less));
    assert_false(covers(&less, &more));
    assert_true(covers(&web, &less));
    assert_false(covers(&web, &more));
    assert_false(covers(&more, &web));
}

/* RA-2: who takes a CA out of upstream.trust hears that what it vouched for is still in use. */
static void learnt_trust_without_its_voucher_is_told_of(void **state)
{
    struct upstream_fixture *fixture = *state;
    char learnt[128];
    snprintf(learnt, sizeof learnt, "%s/ca.pem", fixture->dir);
    fixture->settings.learnt_trust = learnt;
    good_credentials_pass(state); /* the voucher is there */
    snprintf(learnt, sizeof learnt, "%s/other-ca.pem", fixture->dir);
    assert_one_warning(fixture, "upstream.learnt_trust: ", "stays trusted, though no CA of that name");
}

static void readable_key_is_told_of(void **state)
{
    struct upstream_fixture *fixture = *state;
    assert_int_equal(chmod(fixture->private_key, 0604), 0);
    assert_one_warning(fixture, "upstream.private_key: ", "chmod 600");
}

static void ciphers_are_looked_at(void **state)
{
    struct upstream_fixture *fixture = *state;
    static char none[] = "NO-SUCH-CIPHER", one[] = "ECDHE-ECDSA-AES128-GCM-SHA256",
                suite[] = "TLS_AES_128_GCM_SHA256";
    struct verdict verdict;
    fixture->settings.tls_ciphers = none;
    assert_one_error(fixture, "upstream.tls_ciphers: ", "no cipher match", "openssl ciphers");
    fixture->settings.tls_ciphers = one;
    fixture->settings.tls_ciphersuites = none;
    assert_one_error(fixture, "upstream.tls_ciphersuites: ", "cannot be used", "openssl ciphers");
    fixture->settings.tls_ciphersuites = suite;
    fixture->settings.tls_ciphers = none;
    fixture->settings.certificate = none; /* both are told */
    check(fixture, &verdict);
    assert_int_equal(count_lines(&verdict.errors), 2);
    assert_non_null(strstr(buffer_string(&verdict.errors), "upstream.tls_ciphers: cannot be used"));
    verdict_free(&verdict);
    fixture->settings.certificate = fixture->certificate;
    fixture->settings.tls_ciphers = one;
    good_credentials_pass(state);
}

/* What the DTLS side needs, or a list says, lowers nothing here. */
static void security_level_stays(void **state)
{
    struct upstream_fixture *fixture = *state;
    static char low[] = "ALL:@SECLEVEL=0";
    struct buffer lines;
    buffer_init(&lines, 8192);
    fixture->settings.tls_ciphers = low; /* which settings refuse */
    struct ra_credentials *credentials = ra_credentials_load(&fixture->settings, &lines, &lines);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(context, 0);
    assert_true(ra_credentials_use(credentials, context));
    assert_int_equal(SSL_CTX_get_security_level(context), 2);
    assert_int_equal(SSL_CTX_get_min_proto_version(context), TLS1_2_VERSION);
    SSL_CTX_free(context);
    ra_credentials_release(credentials);
    buffer_free(&lines);
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
        TEST(passphrase_opens_the_key),
        TEST(one_pem_file_will_do),
        TEST(pkcs12_will_do),
        TEST(password_comes_from_a_file),
        TEST(learnt_trust_is_not_passed_over),
        TEST(trust_is_compared_by_its_anchors),
        TEST(learnt_trust_without_its_voucher_is_told_of),
        TEST(readable_key_is_told_of),
        TEST(ciphers_are_looked_at),
        TEST(security_level_stays),
        TEST(purposes_are_looked_at),
        TEST(validity_is_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
