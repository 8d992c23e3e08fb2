/* RA-1: a key that never leaves its token, here SoftHSM's, by pkcs11: URI. */
#include "registrar/upstream/token_key.h"

#include "upstream_fixture.h"

#include <openssl/err.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define MODULE "/usr/lib/softhsm/libsofthsm2.so"
#define URI    "pkcs11:token=est;object=ra;type=private"
#define PIN    "73519"

/* In the fixture's folder. */
static void run(const struct upstream_fixture *fixture, const char *command)
{
    char line[512];
    snprintf(line, sizeof line, "cd '%s' && (%s) >said 2>&1", fixture->dir, command);
    if (system(line) != 0)
        fail_msg("failed: %s", line);
}

/* A token with the RA's key, which is then in no file. One for all tests, for its library stays loaded. */
static int set_up(void **state)
{
    upstream_fixture_set_up(state);
    struct upstream_fixture *fixture = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/softhsm2.conf", fixture->dir);
    setenv("SOFTHSM2_CONF", path, 1);
    run(fixture,
        "mkdir tokens && printf \"directories.tokendir = $PWD/tokens\nlog.level = ERROR\n\" >softhsm2.conf");
    run(fixture, "softhsm2-util --init-token --free --label est --pin " PIN " --so-pin 4711");
    run(fixture, "softhsm2-util --import ra.key --token est --label ra --id 01 --pin " PIN " && rm ra.key");
    return 0;
}

static void write_pin(const struct upstream_fixture *fixture, const char *pin, char path[128])
{
    snprintf(path, 128, "%s/pin", fixture->dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(pin, file);
    fclose(file);
    assert_int_equal(chmod(path, 0600), 0);
}

static EVP_PKEY *load(const char *uri, const char *pin, struct buffer *errors)
{
    const struct token_key_source source = {
        .setting = "upstream.private_key", .uri = uri, .module = MODULE, .pin = bytes_from_string(pin)};
    buffer_init(errors, 4096);
    return token_key_load(&source, errors);
}

static void uri_is_told_from_a_file(void **state)
{
    (void)state;
    assert_true(token_key_is_uri(URI));
    assert_false(token_key_is_uri("/etc/est/ra.key"));
    assert_false(token_key_is_uri("pkcs11.key"));
}

static void token_signs(void **state)
{
    struct upstream_fixture *fixture = *state;
    struct buffer errors;
    EVP_PKEY *key = load(URI, PIN, &errors);
    if (key == NULL)
        fail_msg("%s", buffer_string(&errors));
    EVP_MD_CTX *signing = EVP_MD_CTX_new(), *verifying = EVP_MD_CTX_new();
    unsigned char signature[128];
    size_t len = sizeof signature;
    assert_int_equal(EVP_DigestSignInit(signing, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(signing, signature, &len, (const unsigned char *)"text", 4), 1);
    assert_int_equal(EVP_DigestVerifyInit(verifying, NULL, EVP_sha256(), NULL, fixture->ra.key), 1);
    assert_int_equal(EVP_DigestVerify(verifying, signature, len, (const unsigned char *)"text", 4), 1);
    EVP_MD_CTX_free(signing);
    EVP_MD_CTX_free(verifying);
    EVP_PKEY_free(key);
    buffer_free(&errors);
}

/* It is loaded anew with each reload. */
static void token_can_be_opened_twice(void **state)
{
    struct buffer errors, more;
    (void)state;
    EVP_PKEY *one = load(URI, PIN, &errors), *two = load(URI, PIN, &more);
    assert_non_null(one);
    assert_non_null(two);
    EVP_PKEY_free(one);
    EVP_PKEY_free(two);
    buffer_free(&errors);
    buffer_free(&more);
}

static void failure_is_explained_without_the_pin(void **state)
{
    static const struct {
        const char *uri, *pin;
    } cases[] = {{URI, "98765"},
                 {URI, ""},
                 {"pkcs11:token=est;object=none;type=private", PIN},
                 {"pkcs11:token=none", PIN}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buffer errors;
        assert_null(load(cases[i].uri, cases[i].pin, &errors));
        const char *line = buffer_string(&errors);
        assert_int_equal(strncmp(line, "upstream.private_key: \"pkcs11:", 30), 0);
        assert_non_null(strstr(line, "upstream.passphrase_file"));
        if (cases[i].pin[0] != '\0')
            assert_null(strstr(line, cases[i].pin));
        buffer_free(&errors);
    }
}

static void credentials_take_it(void **state)
{
    struct upstream_fixture *fixture = *state;
    static char uri[] = URI, module[] = MODULE, other[] = "pkcs11:token=est;object=none;type=private";
    char pin[128];
    struct buffer lines;
    buffer_init(&lines, 4096);
    write_pin(fixture, PIN "\n", pin);
    fixture->settings.private_key = uri;
    fixture->settings.pkcs11_module = module;
    fixture->settings.passphrase_file = pin;
    struct ra_credentials *credentials = upstream_fixture_credentials(&fixture->settings);
    assert_int_equal(
        X509_check_private_key(ra_credentials_certificate(credentials), ra_credentials_key(credentials)), 1);
    ra_credentials_release(credentials);
    fixture->settings.private_key = other;
    assert_null(ra_credentials_load(&fixture->settings, &lines, &lines));
    buffer_free(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uri_is_told_from_a_file),
        cmocka_unit_test(failure_is_explained_without_the_pin), /* first: afterwards the token is open */
        cmocka_unit_test(token_signs),
        cmocka_unit_test(token_can_be_opened_twice),
        cmocka_unit_test(credentials_take_it),
    };
    return cmocka_run_group_tests(tests, set_up, upstream_fixture_tear_down);
}
