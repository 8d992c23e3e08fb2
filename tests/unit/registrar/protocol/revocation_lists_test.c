/* Row DTLS-9: lists are loaded, verified, and asked. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/protocol/revocation_lists.h"

#include "tests/unit/registrar/test_crl.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static struct test_certificate root, sub, domain, stranger;
static char folder[64], manufacturer_file[96], domain_file[96], first[96], second[96];
static struct dtls_settings settings;

static int create(void **state)
{
    (void)state;
    root = test_certificate(&(struct test_certificate_wish){.common_name = "Root", .ca = true});
    sub = test_certificate(
        &(struct test_certificate_wish){.common_name = "Sub", .ca = true, .issuer = &root, .serial = 7});
    domain = test_certificate(&(struct test_certificate_wish){.common_name = "Domain", .ca = true});
    stranger = test_certificate(&(struct test_certificate_wish){.common_name = "Stranger", .ca = true});
    snprintf(folder, sizeof folder, "/tmp/estuary-crl-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(manufacturer_file, sizeof manufacturer_file, "%s/manufacturer.pem", folder);
    snprintf(domain_file, sizeof domain_file, "%s/domain.pem", folder);
    snprintf(first, sizeof first, "%s/first.crl", folder);
    snprintf(second, sizeof second, "%s/second.crl", folder);
    X509 *manufacturer[] = {root.certificate, sub.certificate};
    test_write_certificates(manufacturer_file, manufacturer, 2);
    test_write_certificates(domain_file, &domain.certificate, 1);
    return 0;
}

static int destroy(void **state)
{
    (void)state;
    unlink(manufacturer_file);
    unlink(domain_file);
    assert_int_equal(rmdir(folder), 0);
    test_certificate_free(&root);
    test_certificate_free(&sub);
    test_certificate_free(&domain);
    test_certificate_free(&stranger);
    return 0;
}

static int choose_files(void **state)
{
    (void)state;
    settings = (struct dtls_settings){.crl_policy = CRL_POLICY_LISTED};
    settings.manufacturer_trust.items[0] = manufacturer_file;
    settings.manufacturer_trust.count = 1;
    settings.domain_trust.items[0] = domain_file;
    settings.domain_trust.count = 1;
    settings.crls.items[0] = first;
    settings.crls.items[1] = second;
    settings.crls.count = 1;
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    unlink(first);
    unlink(second);
    return 0;
}

/* Asserts that it loads with this in its warnings ("": with none). Gives. */
static struct revocation_lists *load_warned(const char *warning)
{
    struct buffer errors, warnings;
    buffer_init(&errors, 4000);
    buffer_init(&warnings, 4000);
    struct revocation_lists *lists = revocation_lists_load(&settings, &errors, &warnings);
    assert_string_equal(buffer_string(&errors), "");
    assert_non_null(lists);
    if (warning[0] == '\0')
        assert_string_equal(buffer_string(&warnings), "");
    else if (strstr(buffer_string(&warnings), warning) == NULL)
        fail_msg("%s", buffer_string(&warnings));
    buffer_free(&errors);
    buffer_free(&warnings);
    return lists;
}

static struct revocation_lists *load(void)
{
    return load_warned("");
}

static void assert_refused(const char *error)
{
    struct buffer errors, warnings;
    buffer_init(&errors, 4000);
    buffer_init(&warnings, 4000);
    assert_null(revocation_lists_load(&settings, &errors, &warnings));
    if (strstr(buffer_string(&errors), error) == NULL)
        fail_msg("not \"%s\": %s", error, buffer_string(&errors));
    buffer_free(&errors);
    buffer_free(&warnings);
}

static struct chain_link make_link(const struct test_certificate *issuer, uint8_t serial)
{
    struct chain_link link;
    assert_int_equal(chain_digest_name(X509_get_subject_name(issuer->certificate), &link.issuer), STATUS_OK);
    assert_int_equal(chain_digest_certificate(&link.issuer, (struct bytes){&serial, 1}, &link.certificate),
                     STATUS_OK);
    return link;
}

/* A device of the sub CA with this serial number, or of another issuer directly. */
static struct client_chain make_chain(const struct test_certificate *issuer, uint8_t serial)
{
    struct client_chain chain = {.count = 1, .links = {make_link(issuer, serial)}};
    if (issuer == &sub) {
        chain.count = 2;
        chain.links[1] = make_link(&root, 7);
    }
    return chain;
}

static enum revocation judge_at(const struct revocation_lists *lists, const struct test_certificate *issuer,
                                uint8_t serial, int64_t now_unix)
{
    struct client_chain chain = make_chain(issuer, serial);
    return revocation_lists_judge(lists, &chain, now_unix);
}

static enum revocation judge(const struct revocation_lists *lists, const struct test_certificate *issuer,
                             uint8_t serial)
{
    return judge_at(lists, issuer, serial, (int64_t)time(NULL));
}

static void finds_revoked_certificates(void **state)
{
    (void)state;
    static const long sub_serials[] = {3, 100, 0x7fffffff, 4, 0}, domain_serials[] = {5, 0};
    const struct test_crl_wish wishes[] = {{.issuer = &sub, .serials = sub_serials},
                                           {.issuer = &domain, .serials = domain_serials}};
    test_write_crls(first, wishes, 2);
    struct revocation_lists *lists = load();
    assert_int_equal(revocation_lists_entries(lists), 5);
    assert_int_equal(revocation_lists_issuers(lists), 2);
    for (uint8_t serial = 1; serial < 127; serial++) {
        bool revoked = serial == 3 || serial == 4 || serial == 100;
        assert_int_equal(judge(lists, &sub, serial), revoked ? REVOCATION_REVOKED : REVOCATION_NONE);
        assert_int_equal(judge(lists, &domain, serial), serial == 5 ? REVOCATION_REVOKED : REVOCATION_NONE);
    }
    revocation_lists_release(lists);
}

static void finds_revoked_intermediates(void **state)
{
    (void)state;
    static const long serials[] = {7, 0};
    test_write_crls(first, &(struct test_crl_wish){.issuer = &root, .serials = serials}, 1);
    struct revocation_lists *lists = load();
    assert_int_equal(judge(lists, &sub, 1), REVOCATION_REVOKED);
    assert_int_equal(judge(lists, &root, 1), REVOCATION_NONE);
    assert_int_equal(judge(lists, &root, 7), REVOCATION_REVOKED);
    revocation_lists_release(lists);
}

static void reads_der_too(void **state)
{
    (void)state;
    static const long serials[] = {9, 0};
    struct buffer der = test_crl_der(&(struct test_crl_wish){.issuer = &domain, .serials = serials});
    FILE *out = fopen(first, "w");
    assert_int_equal(fwrite(der.at, 1, der.len, out), der.len);
    fclose(out);
    buffer_free(&der);
    struct revocation_lists *lists = load();
    assert_int_equal(judge(lists, &domain, 9), REVOCATION_REVOKED);
    assert_int_equal(judge(lists, &domain, 8), REVOCATION_NONE);
    revocation_lists_release(lists);
}

/* What an issuer without a list, and one whose list is outdated, mean to each policy. */
static void applies_the_policy(void **state)
{
    (void)state;
    static const long serials[] = {9, 0};
    int64_t now = (int64_t)time(NULL);
    test_write_crls(first, &(struct test_crl_wish){.issuer = &domain, .serials = serials}, 1);
    static const struct {
        enum crl_policy policy;
        enum revocation missing, outdated;
    } rows[] = {
        {CRL_POLICY_SOFT, REVOCATION_UNCHECKED, REVOCATION_UNCHECKED},
        {CRL_POLICY_LISTED, REVOCATION_NONE, REVOCATION_UNKNOWN},
        {CRL_POLICY_REQUIRE, REVOCATION_UNKNOWN, REVOCATION_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        settings.crl_policy = rows[i].policy;
        struct revocation_lists *lists = load();
        assert_int_equal(judge_at(lists, &domain, 1, now), REVOCATION_NONE);
        assert_int_equal(judge_at(lists, &domain, 1, now + 2 * 86400 - 60), REVOCATION_NONE);
        assert_int_equal(judge_at(lists, &domain, 1, now + 2 * 86400 + 60), rows[i].outdated);
        assert_int_equal(judge_at(lists, &domain, 1, now - 7200), rows[i].outdated); /* not yet valid */
        assert_int_equal(judge_at(lists, &domain, 9, now + 2 * 86400 + 60), REVOCATION_REVOKED);
        assert_int_equal(judge_at(lists, &sub, 1, now), rows[i].missing);
        assert_int_equal(judge_at(lists, &stranger, 1, now), rows[i].missing);
        revocation_lists_release(lists);
    }
}

/* The issuers of the whole chain count, not just the device's. */
static void requires_a_list_for_each_link(void **state)
{
    (void)state;
    const struct test_crl_wish wishes[] = {{.issuer = &sub}, {.issuer = &root}};
    settings.crl_policy = CRL_POLICY_REQUIRE;
    test_write_crls(first, wishes, 1);
    struct revocation_lists *lists = load();
    assert_int_equal(judge(lists, &sub, 1), REVOCATION_UNKNOWN);
    revocation_lists_release(lists);
    test_write_crls(first, wishes, 2);
    lists = load();
    assert_int_equal(judge(lists, &sub, 1), REVOCATION_NONE);
    revocation_lists_release(lists);
}

/* Parts of a list, or lists by two keys: what any says is revoked, and each must be current. */
static void joins_lists_of_one_issuer(void **state)
{
    (void)state;
    static const long old_serials[] = {1, 0}, new_serials[] = {2, 0};
    int64_t now = (int64_t)time(NULL);
    test_write_crls(
        first,
        &(struct test_crl_wish){.issuer = &domain, .serials = old_serials, .from_s = -50, .to_s = 90000}, 1);
    test_write_crls(second, &(struct test_crl_wish){.issuer = &domain, .serials = new_serials}, 1);
    settings.crls.count = 2;
    struct revocation_lists *lists = load();
    assert_int_equal(revocation_lists_issuers(lists), 1);
    assert_int_equal(judge(lists, &domain, 1), REVOCATION_REVOKED);
    assert_int_equal(judge(lists, &domain, 2), REVOCATION_REVOKED);
    assert_int_equal(judge(lists, &domain, 3), REVOCATION_NONE);
    assert_int_equal(judge_at(lists, &domain, 3, now + 90100), REVOCATION_UNKNOWN);
    revocation_lists_release(lists);
}

static void without_lists_nothing_is_asked(void **state)
{
    (void)state;
    settings.crls.count = 0;
    settings.crl_policy = CRL_POLICY_SOFT;
    struct revocation_lists *lists = load();
    assert_int_equal(judge(lists, &sub, 1), REVOCATION_NONE);
    assert_int_equal(judge(NULL, &sub, 1), REVOCATION_NONE);
    revocation_lists_release(lists);
    revocation_lists_release(NULL);
    settings.crl_policy = CRL_POLICY_REQUIRE;
    assert_refused("dtls.crls: is empty, and dtls.crl_policy is \"require\"");
}

static void warns_of_outdated_lists(void **state)
{
    (void)state;
    test_write_crls(first, &(struct test_crl_wish){.issuer = &domain, .from_s = -500, .to_s = -100}, 1);
    struct revocation_lists *lists = load_warned("/CN=Domain that is outdated from");
    assert_int_equal(judge(lists, &domain, 1), REVOCATION_UNKNOWN);
    revocation_lists_release(lists);
    test_write_crls(first, &(struct test_crl_wish){.issuer = &domain, .from_s = -950, .to_s = 50}, 1);
    lists = load_warned("/CN=Domain that is outdated from");
    assert_int_equal(judge(lists, &domain, 1), REVOCATION_NONE);
    revocation_lists_release(lists);
    test_write_crls(first, &(struct test_crl_wish){.issuer = &domain, .from_s = -500, .to_s = 100}, 1);
    revocation_lists_release(load());
    test_write_crls(first, &(struct test_crl_wish){.issuer = &domain, .from_s = 500, .to_s = 100000}, 1);
    lists = load_warned("does not count yet");
    assert_int_equal(judge(lists, &domain, 1), REVOCATION_UNKNOWN);
    revocation_lists_release(lists);
}

static void write_text(const char *file, const char *text)
{
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

static void refuses_files_that_are_none(void **state)
{
    (void)state;
    assert_refused("cannot be read: No such file or directory");
    write_text(first, "");
    assert_refused("is no file, empty, or larger than 128 MiB");
    settings.crls.items[0] = folder;
    assert_refused("is no file, empty, or larger than 128 MiB");
    settings.crls.items[0] = first;
    assert_int_equal(truncate(first, (off_t)REVOCATION_FILE_OCTETS_MAX + 1), 0);
    assert_refused("is no file, empty, or larger than 128 MiB");
    settings.crls.items[0] = manufacturer_file;
    assert_refused("holds no CRL");
    settings.crls.items[0] = first;
    write_text(first, "this is no CRL");
    assert_refused("RFC 5280 section 5.1): fetch it anew");
    write_text(first, "-----BEGIN X509 CRL-----\nMIIB!!!!\n-----END X509 CRL-----\n");
    assert_refused("is damaged");
}

static void refuses_forged_lists(void **state)
{
    (void)state;
    test_write_crls(first, &(struct test_crl_wish){.issuer = &domain, .signer = &stranger}, 1);
    assert_refused("names /CN=Domain as its issuer but is not signed by it");
    test_write_crls(first, &(struct test_crl_wish){.issuer = &stranger}, 1);
    assert_refused("/CN=Stranger, which is in no file of dtls.manufacturer_trust or dtls.domain_trust");
    /* One bad file spoils all, and all are named. */
    test_write_crls(second, &(struct test_crl_wish){.issuer = &domain, .endless = true}, 1);
    settings.crls.count = 2;
    assert_refused("dtls.crls[0]");
    assert_refused("dtls.crls[1]");
}

static void refuses_too_long_a_serial(void **state)
{
    (void)state;
    X509_CRL *crl = test_crl(&(struct test_crl_wish){.issuer = &domain});
    X509_REVOKED *entry = X509_REVOKED_new();
    uint8_t octets[65];
    memset(octets, 0x11, sizeof octets);
    BIGNUM *number = BN_bin2bn(octets, sizeof octets, NULL);
    ASN1_INTEGER *serial = BN_to_ASN1_INTEGER(number, NULL);
    ASN1_TIME *date = X509_gmtime_adj(NULL, 0);
    X509_REVOKED_set_serialNumber(entry, serial);
    X509_REVOKED_set_revocationDate(entry, date);
    X509_CRL_add0_revoked(crl, entry);
    assert_true(X509_CRL_sign(crl, domain.key, EVP_sha256()) > 0);
    FILE *out = fopen(first, "w");
    assert_int_equal(PEM_write_X509_CRL(out, crl), 1);
    fclose(out);
    assert_refused("serial number of more than 64 octets");
    ASN1_TIME_free(date);
    ASN1_INTEGER_free(serial);
    BN_free(number);
    X509_CRL_free(crl);
}

static void *hold_and_release(void *lists)
{
    for (int i = 0; i < 20000; i++)
        revocation_lists_release(revocation_lists_hold(lists));
    return NULL;
}

static void is_shared_by_threads(void **state)
{
    (void)state;
    test_write_crls(first, &(struct test_crl_wish){.issuer = &domain}, 1);
    struct revocation_lists *lists = load();
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hold_and_release, lists), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(judge(lists, &domain, 1), REVOCATION_NONE);
    revocation_lists_release(lists);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, choose_files, remove_files)
    const struct CMUnitTest tests[] = {
        TEST(finds_revoked_certificates),
        TEST(finds_revoked_intermediates),
        TEST(reads_der_too),
        TEST(applies_the_policy),
        TEST(requires_a_list_for_each_link),
        TEST(joins_lists_of_one_issuer),
        TEST(without_lists_nothing_is_asked),
        TEST(warns_of_outdated_lists),
        TEST(refuses_files_that_are_none),
        TEST(refuses_forged_lists),
        TEST(refuses_too_long_a_serial),
        TEST(is_shared_by_threads),
    };
    return cmocka_run_group_tests(tests, create, destroy);
}
