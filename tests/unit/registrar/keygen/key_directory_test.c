#include "registrar/keygen/key_directory.h"

#include "tests/unit/registrar/credentials.h"
#include "tests/unit/registrar/keygen/key_folder.h"
#include "tests/unit/registrar/keygen/rsa_public_key.h"

static void load(struct key_folder *folder, struct key_directory **directory, struct buffer *errors)
{
    buffer_init(errors, MADE_LIMIT);
    *directory = key_directory_load(folder->path, errors);
}

static void assert_loads(struct key_folder *folder, struct key_directory **directory)
{
    struct buffer errors;
    load(folder, directory, &errors);
    if (*directory == NULL)
        fail_msg("%s", buffer_string(&errors));
    assert_int_equal(errors.len, 0);
    buffer_free(&errors);
}

static void assert_refused(struct key_folder *folder, const char *text)
{
    struct key_directory *directory;
    struct buffer errors;
    load(folder, &directory, &errors);
    assert_null(directory);
    if (strstr(buffer_string(&errors), text) == NULL ||
        strncmp(buffer_string(&errors), "est.key_directory: \"", 20) != 0)
        fail_msg("not \"%s\" but \"%s\"", text, buffer_string(&errors));
    buffer_free(&errors);
}

static void keys_are_found_by_identifier(void **state)
{
    (void)state;
    struct key_folder folder = key_folder_create();
    EVP_PKEY *ec = make_key(), *rsa = EVP_RSA_gen(2048);
    key_folder_write(&folder, "00ff.key", "000102030405060708090a0b0c0d0e0f\n", 0600);
    key_folder_write(&folder, "AB.key", "000102030405060708090A0B0C0D0E0F1011121314151617", 0640);
    key_folder_write(&folder, "ab00.key",
                     "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\r\n", 0400);
    key_folder_write_public_key(&folder, "00ff.pem", ec);
    key_folder_write_certificate(&folder, "AB.pem",
                                 &(struct made_certificate){.key = rsa,
                                                            .subject = "CN=a",
                                                            .extensions = {{"keyUsage", "keyEncipherment"}}});
    key_folder_write(&folder, "README", "passed over", 0666);
    struct key_directory *directory;
    assert_loads(&folder, &directory);

    struct bytes kek;
    assert_true(key_directory_symmetric(directory, BYTES_LITERAL("\x00\xff"), &kek));
    assert_true(
        bytes_equal(kek, BYTES_LITERAL("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f")));
    assert_true(key_directory_symmetric(directory, BYTES_LITERAL("\xab"), &kek));
    assert_int_equal(kek.len, 24);
    assert_true(key_directory_symmetric(directory, BYTES_LITERAL("\xab\x00"), &kek));
    assert_int_equal(kek.len, 32);
    assert_int_equal(EVP_PKEY_eq(key_directory_asymmetric(directory, BYTES_LITERAL("\x00\xff")), ec), 1);
    assert_int_equal(EVP_PKEY_eq(key_directory_asymmetric(directory, BYTES_LITERAL("\xab")), rsa), 1);

    assert_false(key_directory_symmetric(directory, BYTES_LITERAL("\x00"), &kek));
    assert_false(key_directory_symmetric(directory, BYTES_LITERAL(""), &kek));
    assert_null(key_directory_asymmetric(directory, BYTES_LITERAL("\xab\x00")));
    uint8_t long_identifier[KEY_IDENTIFIER_MAX + 1] = {0};
    assert_null(
        key_directory_asymmetric(directory, (struct bytes){long_identifier, sizeof(long_identifier)}));
    key_directory_release(directory);
    EVP_PKEY_free(ec);
    EVP_PKEY_free(rsa);
    key_folder_remove(&folder);
}

static void an_empty_folder_holds_no_key(void **state)
{
    (void)state;
    struct key_folder folder = key_folder_create();
    struct key_directory *directory;
    assert_loads(&folder, &directory);
    struct bytes kek;
    assert_false(key_directory_symmetric(directory, BYTES_LITERAL("\x01"), &kek));
    assert_null(key_directory_asymmetric(directory, BYTES_LITERAL("\x01")));
    key_directory_release(directory);
    key_folder_remove(&folder);
    assert_refused(&folder, "cannot be read: No such file or directory");
}

#define KEK "000102030405060708090a0b0c0d0e0f\n"

static void bad_files_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *name, *content;
        mode_t mode;
        const char *error;
    } rows[] = {
        {"01.key", KEK, 0604, "/01.key\" may be read by others (mode 0604): chmod it to 0600"},
        {"01.key", KEK, 0602, "may be written by others"},
        {"01.key", KEK, 0660, "may be written by others (mode 0660): chmod it to 0640"},
        {"01.pem", KEK, 0602, "may be written by others"},
        {"01.key", "", 0600, "holds no key-encryption key"},
        {"01.key", "00", 0600, "holds no key-encryption key"},
        {"01.key", "000102030405060708090a0b0c0d0e0x\n", 0600, "holds no key-encryption key"},
        {"01.key", "000102030405060708090a0b0c0d0e0f0\n", 0600, "holds no key-encryption key"},
        {"01.key", "-----BEGIN PRIVATE KEY-----\n", 0600, "holds no key-encryption key"},
        {".key", KEK, 0600, "is not named after an identifier"},
        {"1.key", KEK, 0600, "is not named after an identifier"},
        {"device.key", KEK, 0600, "is not named after an identifier"},
        {"01.pem", "", 0600, "holds neither a certificate nor a public key"},
        {"01.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", 0600,
         "holds neither a certificate nor a public key"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct key_folder folder = key_folder_create();
        key_folder_write(&folder, rows[i].name, rows[i].content, rows[i].mode);
        assert_refused(&folder, rows[i].error);
        key_folder_remove(&folder);
    }
}

/* The octets of a key are in no message. */
static void errors_hold_no_key(void **state)
{
    (void)state;
    struct key_folder folder = key_folder_create();
    key_folder_write(&folder, "01.key", "5ec2e7000102030405060708090a0b0c0d0e0f\n", 0600);
    struct key_directory *directory;
    struct buffer errors;
    load(&folder, &directory, &errors);
    assert_null(directory);
    assert_null(strstr(buffer_string(&errors), "5ec2e7"));
    buffer_free(&errors);
    key_folder_remove(&folder);
}

static void bad_public_keys_are_named(void **state)
{
    (void)state;
    struct key_folder folder = key_folder_create();
    EVP_PKEY *ec = make_key(), *rsa = EVP_RSA_gen(2048), *weak = make_rsa_public_key(1024);
    EVP_PKEY *other = EVP_EC_gen("brainpoolP256r1"), *edwards = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    EVP_PKEY *const bare[] = {weak, other, edwards};
    for (size_t i = 0; i < 3; i++) {
        key_folder_write_public_key(&folder, "01.pem", bare[i]);
        assert_refused(&folder, "holds neither a certificate nor a public key");
    }
    const struct {
        EVP_PKEY *key;
        const char *usage, *error;
    } rows[] = {
        {ec, "digitalSignature", "is not for encryption: its keyUsage must name keyAgreement"},
        {ec, "keyEncipherment", "must name keyAgreement"},
        {rsa, "keyAgreement", "must name keyEncipherment"},
        {other, "keyAgreement", "has a key that is neither RSA"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        key_folder_write_certificate(&folder, "01.pem",
                                     &(struct made_certificate){.key = rows[i].key,
                                                                .subject = "CN=a",
                                                                .extensions = {{"keyUsage", rows[i].usage}}});
        assert_refused(&folder, rows[i].error);
    }
    key_folder_write_certificate(&folder, "01.pem", &(struct made_certificate){.key = ec, .subject = "CN=a"});
    struct key_directory *directory; /* unrestricted */
    assert_loads(&folder, &directory);
    key_directory_release(directory);
    EVP_PKEY *const all[] = {ec, rsa, weak, other, edwards};
    for (size_t i = 0; i < 5; i++)
        EVP_PKEY_free(all[i]);
    key_folder_remove(&folder);
}

static void all_errors_are_reported_at_once(void **state)
{
    (void)state;
    struct key_folder folder = key_folder_create();
    key_folder_write(&folder, "01.key", "x", 0600);
    key_folder_write(&folder, "02.key", KEK, 0644);
    struct key_directory *directory;
    struct buffer errors;
    load(&folder, &directory, &errors);
    assert_null(directory);
    assert_non_null(strstr(buffer_string(&errors), "/01.key\" holds no"));
    assert_non_null(strstr(buffer_string(&errors), "/02.key\" may be read by others"));
    buffer_free(&errors);
    key_folder_remove(&folder);
}

static void an_identifier_stands_once(void **state)
{
    (void)state;
    struct key_folder folder = key_folder_create();
    key_folder_write(&folder, "ab.key", KEK, 0600);
    key_folder_write(&folder, "AB.key", KEK, 0600);
    assert_refused(&folder, "holds two files for the identifier 0xab");
    key_folder_remove(&folder);
}

static void a_folder_that_others_may_write_is_refused(void **state)
{
    (void)state;
    struct key_folder folder = key_folder_create();
    assert_int_equal(chmod(folder.path, 0777), 0);
    assert_refused(&folder, "may be written by others (mode 0777): chmod it to 0775");
    key_folder_remove(&folder);
}

/* A pipe would be waited for, and a large file read. */
static void files_are_regular_and_small(void **state)
{
    (void)state;
    struct key_folder folder = key_folder_create();
    char path[512];
    snprintf(path, sizeof(path), "%s/01.key", folder.path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused(&folder, "cannot be read: it is no regular file");
    static char large[70000];
    memset(large, '0', sizeof(large) - 1);
    assert_int_equal(unlink(path), 0);
    key_folder_write(&folder, "01.key", large, 0600);
    assert_refused(&folder, "too large for one key");
    key_folder_remove(&folder);
}

static void the_number_of_keys_is_bounded(void **state)
{
    (void)state;
    struct key_folder folder = key_folder_create();
    char path[512], other[512];
    key_folder_write(&folder, "0000.key", KEK, 0600);
    snprintf(path, sizeof(path), "%s/0000.key", folder.path);
    for (unsigned i = 1; i < KEY_DIRECTORY_MAX; i++) {
        snprintf(other, sizeof(other), "%s/%04x.key", folder.path, i);
        assert_int_equal(link(path, other), 0); /* one file serves */
    }
    struct key_directory *directory;
    assert_loads(&folder, &directory);
    struct bytes kek;
    assert_true(key_directory_symmetric(directory, BYTES_LITERAL("\x0f\xff"), &kek));
    key_directory_release(directory);
    key_folder_write(&folder, "ffff.key", KEK, 0600);
    assert_refused(&folder, "holds more than 4096 keys");
    key_folder_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_found_by_identifier),
        cmocka_unit_test(an_empty_folder_holds_no_key),
        cmocka_unit_test(bad_files_are_named),
        cmocka_unit_test(errors_hold_no_key),
        cmocka_unit_test(bad_public_keys_are_named),
        cmocka_unit_test(all_errors_are_reported_at_once),
        cmocka_unit_test(an_identifier_stands_once),
        cmocka_unit_test(a_folder_that_others_may_write_is_refused),
        cmocka_unit_test(files_are_regular_and_small),
        cmocka_unit_test(the_number_of_keys_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
