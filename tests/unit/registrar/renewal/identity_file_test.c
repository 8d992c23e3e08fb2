/* RA-7: key and certificate are replaced at once, the old ones are kept, and a key outlives its request. */
#include "registrar/renewal/identity_file.h"

/* clang-format off */
#include "../credentials.h"
#include "../test_pki.h"
/* clang-format on */

#include <openssl/pkcs12.h>

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINES_LIMIT 4096
#define REQUEST     BYTES_LITERAL("a request")

static bool has_no_links;

/* The C library's, but where the file system has none, or the file is somebody else's. */
int link(const char *from, const char *to)
{
    typedef int link_function(const char *, const char *);
    link_function *real;
    *(void **)&real = dlsym(RTLD_NEXT, "link");
    if (!has_no_links)
        return real(from, to);
    errno = EPERM;
    return -1;
}

struct fixture {
    char folder[64], file[96], old[104], kept[128], secret[96];
    struct test_certificate present, next;
    struct ra_identity_source source;
    struct buffer lines;
};

static void write_text(const char *file, const char *text)
{
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
    assert_int_equal(chmod(file, 0600), 0);
}

/* A PEM file with both, the key enciphered if there is a pass-phrase. */
static void write_pem(const struct fixture *fixture, const char *passphrase)
{
    FILE *out = fopen(fixture->file, "w");
    assert_non_null(out);
    assert_int_equal(PEM_write_X509(out, fixture->present.certificate), 1);
    assert_int_equal(PEM_write_PKCS8PrivateKey(out, fixture->present.key,
                                               passphrase != NULL ? EVP_aes_128_cbc() : NULL, passphrase,
                                               passphrase != NULL ? (int)strlen(passphrase) : 0, NULL, NULL),
                     1);
    fclose(out);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    snprintf(fixture->folder, sizeof fixture->folder, "/tmp/estuary-identity-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    snprintf(fixture->file, sizeof fixture->file, "%s/ra.pem", fixture->folder);
    snprintf(fixture->old, sizeof fixture->old, "%s.old", fixture->file);
    snprintf(fixture->kept, sizeof fixture->kept, "%s.renewal-key", fixture->file);
    snprintf(fixture->secret, sizeof fixture->secret, "%s/secret", fixture->folder);
    fixture->present = test_certificate(&(struct test_certificate_wish){.common_name = "present"});
    fixture->next = test_certificate(&(struct test_certificate_wish){.common_name = "next"});
    fixture->source = (struct ra_identity_source){.certificate = fixture->file,
                                                  .certificate_setting = "upstream.certificate",
                                                  .private_key = fixture->file,
                                                  .private_key_setting = "upstream.private_key",
                                                  .passphrase_file = "",
                                                  .pkcs11_module = ""};
    buffer_init(&fixture->lines, LINES_LIMIT);
    write_pem(fixture, NULL);
    assert_int_equal(chmod(fixture->file, 0640), 0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", fixture->folder);
    int status = system(command);
    test_certificate_free(&fixture->present);
    test_certificate_free(&fixture->next);
    buffer_free(&fixture->lines);
    free(fixture);
    return status;
}

static struct identity_file *open_file(struct fixture *fixture)
{
    struct identity_file *file = identity_file_open(&fixture->source, &fixture->lines);
    if (file == NULL)
        fail_msg("%s", buffer_string(&fixture->lines));
    return file;
}

/* The file as the registrar would load it. */
static void assert_holds(struct fixture *fixture, const char *name, const struct test_certificate *wanted)
{
    struct ra_identity_source source = fixture->source;
    struct ra_identity found;
    source.certificate = source.private_key = name;
    if (ra_identity_load(&source, &found, &fixture->lines, &fixture->lines) != STATUS_OK)
        fail_msg("%s", buffer_string(&fixture->lines));
    assert_int_equal(X509_cmp(found.certificate, wanted->certificate), 0);
    assert_int_equal(EVP_PKEY_eq(found.key, wanted->key), 1);
    ra_identity_free(&found);
}

static void replace(struct fixture *fixture)
{
    struct identity_file *file = open_file(fixture);
    const struct ra_identity next = {.certificate = fixture->next.certificate, .key = fixture->next.key};
    assert_int_equal(identity_file_keep(file, next.key, REQUEST, &fixture->lines), STATUS_OK);
    assert_int_equal(identity_file_replace(file, &next, &fixture->lines), STATUS_OK);
    identity_file_close(file);
    assert_holds(fixture, fixture->file, &fixture->next);
    assert_holds(fixture, fixture->old, &fixture->present);
    assert_int_equal(access(fixture->kept, F_OK), -1);
}

static void pem_is_replaced_and_kept(void **state)
{
    struct fixture *fixture = *state;
    struct stat found;
    replace(fixture);
    assert_int_equal(stat(fixture->file, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0640);
}

static void old_is_copied_where_there_are_no_links(void **state)
{
    struct fixture *fixture = *state;
    struct stat found;
    has_no_links = true;
    replace(fixture);
    has_no_links = false;
    assert_int_equal(stat(fixture->old, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0640);
}

static void others_never_read_what_is_new(void **state)
{
    struct fixture *fixture = *state;
    struct stat found;
    assert_int_equal(chmod(fixture->file, 0666), 0);
    replace(fixture);
    assert_int_equal(stat(fixture->file, &found), 0);
    assert_int_equal(found.st_mode & 0007, 0);
}

static bool file_has(const char *name, const char *text)
{
    char content[16384] = "";
    FILE *in = fopen(name, "r");
    assert_non_null(in);
    size_t len = fread(content, 1, sizeof content - 1, in);
    content[len] = '\0';
    fclose(in);
    return strstr(content, text) != NULL;
}

static void enciphered_key_stays_enciphered(void **state)
{
    struct fixture *fixture = *state;
    write_pem(fixture, "secret");
    write_text(fixture->secret, "secret\n");
    fixture->source.passphrase_file = fixture->secret;
    struct identity_file *file = open_file(fixture);
    assert_int_equal(identity_file_keep(file, fixture->next.key, REQUEST, &fixture->lines), STATUS_OK);
    assert_true(file_has(fixture->kept, "ENCRYPTED PRIVATE KEY"));
    identity_file_close(file);
    replace(fixture);
    assert_true(file_has(fixture->file, "ENCRYPTED PRIVATE KEY"));
}

static void pkcs12_stays_pkcs12(void **state)
{
    struct fixture *fixture = *state;
    PKCS12 *pkcs12 = PKCS12_create("secret", NULL, fixture->present.key, fixture->present.certificate, NULL,
                                   0, 0, 0, 0, 0);
    FILE *out = fopen(fixture->file, "w");
    assert_non_null(out);
    assert_int_equal(i2d_PKCS12_fp(out, pkcs12), 1);
    fclose(out);
    PKCS12_free(pkcs12);
    write_text(fixture->secret, "secret\n");
    fixture->source.passphrase_file = fixture->secret;
    replace(fixture);
    assert_false(file_has(fixture->file, "BEGIN"));
}

/* A request may wait for days, and the registrar be started anew. */
static void key_is_kept_across_restarts(void **state)
{
    struct fixture *fixture = *state;
    struct identity_file *file = open_file(fixture);
    struct stat found;
    assert_null(identity_file_kept_key(file));
    assert_int_equal(identity_file_keep(file, fixture->next.key, REQUEST, &fixture->lines), STATUS_OK);
    identity_file_close(file);
    file = open_file(fixture);
    EVP_PKEY *kept = identity_file_kept_key(file);
    assert_non_null(kept);
    assert_int_equal(EVP_PKEY_eq(kept, fixture->next.key), 1);
    EVP_PKEY_free(kept);
    struct buffer request;
    buffer_init(&request, LINES_LIMIT);
    assert_true(identity_file_kept_request(file, &request));
    assert_true(bytes_equal(buffer_view(&request), REQUEST));
    buffer_free(&request);
    assert_int_equal(stat(fixture->kept, &found), 0);
    assert_int_equal(found.st_mode & 0007, 0);
    identity_file_close(file);
    assert_holds(fixture, fixture->file, &fixture->present);
}

/* Whatever a crash left behind: a half file beside the good one harms nobody. */
static void leftovers_do_no_harm(void **state)
{
    struct fixture *fixture = *state;
    static const char *const suffixes[] = {".new", ".old-new", ".renewal-key", ".renewal-key.new"};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", fixture->file, suffixes[i]);
        write_text(name, "-----BEGIN PRIVATE KEY-----\nhalf");
    }
    struct identity_file *file = open_file(fixture);
    struct buffer request;
    buffer_init(&request, LINES_LIMIT);
    assert_null(identity_file_kept_key(file));
    assert_false(identity_file_kept_request(file, &request));
    buffer_free(&request);
    identity_file_close(file);
    assert_holds(fixture, fixture->file, &fixture->present);
    replace(fixture);
}

/* The one step that changes what is loaded is a rename: before it the old pair, after it the new one. */
static void link_is_followed(void **state)
{
    struct fixture *fixture = *state;
    char name[96];
    struct stat found;
    snprintf(name, sizeof name, "%s/link", fixture->folder);
    assert_int_equal(symlink(fixture->file, name), 0);
    fixture->source.certificate = fixture->source.private_key = name;
    replace(fixture);
    assert_int_equal(lstat(name, &found), 0);
    assert_true(S_ISLNK(found.st_mode));
}

static void failure_leaves_all_as_it_was(void **state)
{
    struct fixture *fixture = *state;
    struct identity_file *file = open_file(fixture);
    const struct ra_identity next = {.certificate = fixture->next.certificate, .key = fixture->next.key};
    char blocked[128];
    snprintf(blocked, sizeof blocked, "%s/ra.pem.new", fixture->folder);
    assert_int_equal(mkdir(blocked, 0700), 0); /* which is not unlinked */
    assert_int_equal(identity_file_replace(file, &next, &fixture->lines), STATUS_SYSTEM);
    assert_non_null(strstr(buffer_string(&fixture->lines), "upstream.certificate: "));
    identity_file_close(file);
    assert_holds(fixture, fixture->file, &fixture->present);
    assert_int_equal(access(fixture->old, F_OK), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pem_is_replaced_and_kept),      TEST(old_is_copied_where_there_are_no_links),
        TEST(others_never_read_what_is_new), TEST(enciphered_key_stays_enciphered),
        TEST(pkcs12_stays_pkcs12),           TEST(key_is_kept_across_restarts),
        TEST(leftovers_do_no_harm),          TEST(link_is_followed),
        TEST(failure_leaves_all_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
