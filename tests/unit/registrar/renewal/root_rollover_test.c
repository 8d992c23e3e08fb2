/* RA-2, RFC 7030 section 4.1.3 and RFC 4210 section 4.4: which new roots are believed. */
#include "registrar/renewal/root_rollover.h"

/* clang-format off */
#include "../credentials.h"
#include "../test_pki.h"
/* clang-format on */

#define DAY (24L * 3600)

/* Two generations of one CA, and what they say of each other. */
struct generations {
    struct test_certificate old, new;
    struct test_certificate new_with_old;
    STACK_OF(X509) * anchors;
};

/* A certificate of the subject and key of one, signed by another. */
static X509 *cross_sign(const struct test_certificate *subject, const struct test_certificate *issuer,
                        bool ca)
{
    X509 *certificate = X509_dup(subject->certificate);
    assert_non_null(certificate);
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer->certificate));
    if (!ca)
        X509_EXTENSION_free(
            X509_delete_ext(certificate, X509_get_ext_by_NID(certificate, NID_basic_constraints, -1)));
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 77);
    assert_true(X509_sign(certificate, issuer->key, EVP_sha256()) > 0);
    return certificate;
}

static struct test_certificate make_root(const char *name, long until_s)
{
    return test_certificate(
        &(struct test_certificate_wish){.common_name = name, .ca = true, .from_s = -DAY, .to_s = until_s});
}

static int set_up(void **state)
{
    static struct generations generations;
    generations.old = make_root("EST CA", 30 * DAY);
    generations.new = make_root("EST CA", 300 * DAY);
    generations.new_with_old = (struct test_certificate){.key = NULL};
    generations.new_with_old.certificate = cross_sign(&generations.new, &generations.old, true);
    generations.anchors = sk_X509_new_null();
    sk_X509_push(generations.anchors, generations.old.certificate);
    *state = &generations;
    return 0;
}

static int tear_down(void **state)
{
    struct generations *generations = *state;
    sk_X509_free(generations->anchors);
    test_certificate_free(&generations->old);
    test_certificate_free(&generations->new);
    X509_free(generations->new_with_old.certificate);
    return 0;
}

/* Gives what is found. */
static STACK_OF(X509) * find(const STACK_OF(X509) * anchors, X509 *const *certificates, size_t count)
{
    struct buffer der = make_certs_only(certificates, count);
    struct certs_only *certs;
    STACK_OF(X509) *found = sk_X509_new_null();
    assert_int_equal(certs_only_parse(buffer_view(&der), &certs), STATUS_OK);
    assert_true(root_rollover_find(anchors, certs, found));
    certs_only_free(certs);
    buffer_free(&der);
    return found;
}

static void assert_finds(const STACK_OF(X509) * anchors, X509 *const *certificates, size_t count,
                         X509 *wanted)
{
    STACK_OF(X509) *found = find(anchors, certificates, count);
    assert_int_equal(sk_X509_num(found), wanted != NULL ? 1 : 0);
    if (wanted != NULL)
        assert_int_equal(X509_cmp(sk_X509_value(found, 0), wanted), 0);
    sk_X509_pop_free(found, X509_free);
}

static void root_with_a_voucher_is_found(void **state)
{
    const struct generations *made = *state;
    X509 *old_with_new = cross_sign(&made->old, &made->new, true);
    X509 *const certificates[] = {made->old.certificate, old_with_new, made->new_with_old.certificate,
                                  made->new.certificate};
    assert_finds(made->anchors, certificates, 4, made->new.certificate);
    X509_free(old_with_new);
}

static void known_roots_are_no_news(void **state)
{
    const struct generations *made = *state;
    X509 *const certificates[] = {made->old.certificate, made->new_with_old.certificate,
                                  made->new.certificate};
    sk_X509_push(made->anchors, made->new.certificate);
    assert_finds(made->anchors, certificates, 3, NULL);
}

static void root_without_a_voucher_is_not(void **state)
{
    const struct generations *made = *state;
    X509 *const certificates[] = {made->old.certificate, made->new.certificate};
    assert_finds(made->anchors, certificates, 2, NULL);
}

/* OldWithNew says nothing about New. */
static void new_root_does_not_vouch_for_itself(void **state)
{
    const struct generations *made = *state;
    X509 *old_with_new = cross_sign(&made->old, &made->new, true);
    X509 *const certificates[] = {old_with_new, made->new.certificate};
    assert_finds(made->anchors, certificates, 2, NULL);
    X509_free(old_with_new);
}

static void voucher_of_somebody_else_does_not_count(void **state)
{
    const struct generations *made = *state;
    struct test_certificate other = make_root("EST CA", 300 * DAY); /* of the same name */
    X509 *by_other = cross_sign(&made->new, &other, true);
    X509 *const certificates[] = {by_other, made->new.certificate, other.certificate};
    assert_finds(made->anchors, certificates, 3, NULL);
    X509_free(by_other);
    test_certificate_free(&other);
}

static void voucher_for_another_key_does_not_count(void **state)
{
    const struct generations *made = *state;
    struct test_certificate thief = make_root("EST CA", 300 * DAY);
    X509 *const certificates[] = {made->new_with_old.certificate, thief.certificate};
    assert_finds(made->anchors, certificates, 2, NULL);
    test_certificate_free(&thief);
}

static void damaged_voucher_does_not_count(void **state)
{
    const struct generations *made = *state;
    unsigned char *der = NULL;
    int len = i2d_X509(made->new_with_old.certificate, &der);
    assert_true(len > 0);
    der[len - 1] ^= 1; /* of the signature */
    const unsigned char *at = der;
    X509 *damaged = d2i_X509(NULL, &at, len);
    assert_non_null(damaged);
    OPENSSL_free(der);
    X509 *const certificates[] = {damaged, made->new.certificate};
    assert_finds(made->anchors, certificates, 2, NULL);
    X509_free(damaged);
}

/* A CA below a trusted one may not become a root by itself. */
static void subordinate_ca_does_not_become_a_root(void **state)
{
    const struct generations *made = *state;
    struct test_certificate sub = make_root("Sub CA", 300 * DAY);
    X509 *issued = cross_sign(&sub, &made->old, true);
    X509 *const certificates[] = {issued, sub.certificate};
    assert_finds(made->anchors, certificates, 2, NULL);
    X509_free(issued);
    test_certificate_free(&sub);
}

static void voucher_is_for_a_ca(void **state)
{
    const struct generations *made = *state;
    X509 *no_ca = cross_sign(&made->new, &made->old, false);
    X509 *const certificates[] = {no_ca, made->new.certificate};
    assert_finds(made->anchors, certificates, 2, NULL);
    X509_free(no_ca);
}

static void expired_things_do_not_count(void **state)
{
    const struct generations *made = *state;
    struct test_certificate ended = test_certificate(&(struct test_certificate_wish){
        .common_name = "EST CA", .ca = true, .from_s = -9 * DAY, .to_s = -DAY});
    X509 *by_old = cross_sign(&ended, &made->old, true), *by_ended = cross_sign(&made->new, &ended, true);
    X509 *const of_ended[] = {by_old, ended.certificate}, *const of_new[] = {by_ended, made->new.certificate};
    assert_finds(made->anchors, of_ended, 2, NULL); /* an expired root */
    STACK_OF(X509) *anchors = sk_X509_new_null();
    sk_X509_push(anchors, ended.certificate);
    assert_finds(anchors, of_new, 2, NULL); /* an expired anchor vouches for nobody */
    sk_X509_free(anchors);
    X509_free(by_old);
    X509_free(by_ended);
    test_certificate_free(&ended);
}

/* With nothing but the TLS connection to go by: the latest root. */
static void first_root_is_the_latest(void **state)
{
    const struct generations *made = *state;
    STACK_OF(X509) *none = sk_X509_new_null();
    X509 *const certificates[] = {made->new.certificate, made->old.certificate,
                                  made->new_with_old.certificate};
    assert_finds(none, certificates, 3, made->new.certificate);
    sk_X509_free(none);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(root_with_a_voucher_is_found),
        TEST(known_roots_are_no_news),
        TEST(root_without_a_voucher_is_not),
        TEST(new_root_does_not_vouch_for_itself),
        TEST(voucher_of_somebody_else_does_not_count),
        TEST(voucher_for_another_key_does_not_count),
        TEST(damaged_voucher_does_not_count),
        TEST(subordinate_ca_does_not_become_a_root),
        TEST(voucher_is_for_a_ca),
        TEST(expired_things_do_not_count),
        TEST(first_root_is_the_latest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
