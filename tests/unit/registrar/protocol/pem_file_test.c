/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/protocol/pem_file.h"
#include "tests/unit/registrar/test_pki.h"

#include <stdlib.h>
#include <unistd.h>

static char name[] = "/tmp/estuary-pem-XXXXXX";
static const struct pem_file file = {"some.setting", name};
static struct buffer lines;

static int create(void **state)
{
    (void)state;
    buffer_init(&lines, 10000);
    int fd = mkstemp(name);
    return fd < 0 ? -1 : close(fd);
}

static int destroy(void **state)
{
    (void)state;
    buffer_free(&lines);
    return unlink(name);
}

static void write_text(const char *text)
{
    FILE *out = fopen(name, "w");
    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

/* One line that names setting, file, and then says what. */
static void assert_says(const char *what)
{
    char begin[100];
    snprintf(begin, sizeof begin, "some.setting: \"%s\" ", name);
    const char *text = buffer_string(&lines);
    assert_int_equal(strncmp(text, begin, strlen(begin)), 0);
    assert_non_null(strstr(text, what));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    buffer_reset(&lines);
}

static void reads_every_certificate(void **state)
{
    (void)state;
    struct test_certificate a = test_certificate(&(struct test_certificate_wish){.common_name = "a"});
    struct test_certificate b = test_certificate(&(struct test_certificate_wish){.common_name = "b"});
    test_write_certificates(name, (X509 *[]){a.certificate, b.certificate}, 2);
    STACK_OF(X509) *read = pem_file_certificates(&file, &lines);
    assert_int_equal(lines.len, 0);
    assert_int_equal(sk_X509_num(read), 2);
    assert_int_equal(X509_cmp(sk_X509_value(read, 0), a.certificate), 0);
    assert_int_equal(X509_cmp(sk_X509_value(read, 1), b.certificate), 0);
    sk_X509_pop_free(read, X509_free);
    test_certificate_free(&a);
    test_certificate_free(&b);
}

static void names_what_is_wrong_with_certificates(void **state)
{
    (void)state;
    const struct pem_file missing = {"some.setting", "/nowhere/at/all.pem"};
    assert_null(pem_file_certificates(&missing, &lines));
    assert_string_equal(buffer_string(&lines),
                        "some.setting: \"/nowhere/at/all.pem\" cannot be read: No such file or directory; "
                        "name a file that the user of est-registrar may read\n");
    buffer_reset(&lines);

    write_text("");
    assert_null(pem_file_certificates(&file, &lines));
    assert_says("holds no PEM certificate: name a file with at least one");

    struct test_certificate a = test_certificate(&(struct test_certificate_wish){.common_name = "a"});
    test_write_certificates(name, &a.certificate, 1);
    FILE *out = fopen(name, "a");
    fputs("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", out);
    assert_int_equal(fclose(out), 0);
    assert_null(pem_file_certificates(&file, &lines));
    assert_says("damaged certificate");
    test_certificate_free(&a);
}

static void reads_a_key(void **state)
{
    (void)state;
    EVP_PKEY *key = test_key(NULL);
    test_write_key(name, key);
    EVP_PKEY *read = pem_file_private_key(&file, &lines);
    assert_int_equal(lines.len, 0);
    assert_int_equal(EVP_PKEY_eq(read, key), 1);
    EVP_PKEY_free(read);
    EVP_PKEY_free(key);
}

/* The passphrase is never asked for: the program has no terminal. */
static void refuses_a_key_with_a_passphrase(void **state)
{
    (void)state;
    EVP_PKEY *key = test_key(NULL);
    FILE *out = fopen(name, "w");
    assert_int_equal(PEM_write_PKCS8PrivateKey(out, key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL), 1);
    assert_int_equal(fclose(out), 0);
    assert_null(pem_file_private_key(&file, &lines));
    assert_says("must be decrypted first");
    write_text("no key");
    assert_null(pem_file_private_key(&file, &lines));
    assert_says("holds no usable PEM private key");
    EVP_PKEY_free(key);
}

static void warns_of_validity(void **state)
{
    (void)state;
    static const struct {
        long from_s, to_s;
        const char *says;
    } rows[] = {
        {-86400, 31 * 86400, NULL},
        {-86400, 29 * 86400, "in less than 30 days: renew it"},
        {-86400, -3600, "expired on 20"},
        {3600, 40 * 86400, "is not valid before 20"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct test_certificate made = test_certificate(&(struct test_certificate_wish){
            .common_name = "x", .from_s = rows[i].from_s, .to_s = rows[i].to_s});
        pem_file_warn_of_validity(&file, made.certificate, &lines);
        if (rows[i].says == NULL)
            assert_int_equal(lines.len, 0);
        else
            assert_says(rows[i].says);
        test_certificate_free(&made);
    }
}

static void finds_purposes(void **state)
{
    (void)state;
    struct test_certificate with = test_certificate(&(struct test_certificate_wish){
        .common_name = "x", .extended_key_usage = "serverAuth,1.3.6.1.5.5.7.3.28"});
    struct test_certificate without = test_certificate(&(struct test_certificate_wish){.common_name = "x"});
    assert_true(pem_certificate_names_purpose(with.certificate, NID_cmcRA));
    assert_true(pem_certificate_names_purpose(with.certificate, NID_server_auth));
    assert_false(pem_certificate_names_purpose(with.certificate, NID_client_auth));
    assert_false(pem_certificate_names_purpose(without.certificate, NID_server_auth));
    test_certificate_free(&with);
    test_certificate_free(&without);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_certificate),
        cmocka_unit_test(names_what_is_wrong_with_certificates),
        cmocka_unit_test(reads_a_key),
        cmocka_unit_test(refuses_a_key_with_a_passphrase),
        cmocka_unit_test(warns_of_validity),
        cmocka_unit_test(finds_purposes),
    };
    return cmocka_run_group_tests(tests, create, destroy);
}
