/* RA-7: what takes the place of a certificate is of its kind, has its names and purposes, and lasts. */
#include "registrar/renewal/successor.h"

/* clang-format off */
#include "../credentials.h"
#include "../test_pki.h"
/* clang-format on */

#include <stdlib.h>

#define DAY       (24L * 3600)
#define RA        "clientAuth,1.3.6.1.5.5.7.3.28"
#define NAMES     "DNS:registrar.example.com,IP:192.0.2.1"
#define DER_LIMIT 65536

static void add_names(struct test_certificate *made, const struct test_certificate *issuer)
{
    test_add_extension(made->certificate, issuer->certificate, NID_subject_alt_name, NAMES);
    assert_true(X509_sign(made->certificate, issuer->key, EVP_sha256()) > 0);
}

static struct test_certificate make_ca(void)
{
    return test_certificate(&(struct test_certificate_wish){.common_name = "EST CA", .ca = true});
}

static void times_are_those_of_the_certificate(void **state)
{
    (void)state;
    struct test_certificate ca = make_ca();
    struct test_certificate made = test_certificate(&(struct test_certificate_wish){
        .common_name = "ra", .issuer = &ca, .from_s = -100 * DAY, .to_s = 200 * DAY});
    struct successor_times times;
    time_t now = time(NULL);
    assert_int_equal(successor_times(made.certificate, &times), STATUS_OK);
    assert_in_range(times.end, now + 200 * DAY - 60, now + 200 * DAY + 60);
    assert_in_range(times.due, now + 100 * DAY - 60, now + 100 * DAY + 60);
    test_certificate_free(&made);
    test_certificate_free(&ca);
}

static void key_is_new_and_of_the_same_kind(void **state)
{
    (void)state;
    static const char *const kinds[] = {"P-256", "P-384", "RSA"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        EVP_PKEY *like = test_key(kinds[i]), *other = test_key(kinds[(i + 1) % 3]);
        EVP_PKEY *key = successor_make_key(like, NULL);
        assert_non_null(key);
        assert_true(successor_key_suits(key, like));
        assert_false(successor_key_suits(like, like));
        assert_false(successor_key_suits(key, other));
        EVP_PKEY_free(key);
        EVP_PKEY_free(like);
        EVP_PKEY_free(other);
    }
    EVP_PKEY *edwards = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), *key = successor_make_key(edwards, NULL);
    assert_true(successor_key_suits(key, edwards));
    EVP_PKEY_free(key);
    EVP_PKEY_free(edwards);
    EVP_PKEY *agreement = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    assert_null(successor_make_key(agreement, NULL));
    EVP_PKEY_free(agreement);
}

/* RFC 7030 section 4.2.2: subject and subjectAltName are those of the certificate. */
static void request_repeats_the_certificate(void **state)
{
    (void)state;
    struct test_certificate ca = make_ca();
    struct test_certificate made = test_certificate(
        &(struct test_certificate_wish){.common_name = "ra", .issuer = &ca, .extended_key_usage = RA});
    add_names(&made, &ca);
    EVP_PKEY *key = successor_make_key(made.key, NULL);
    struct buffer der;
    buffer_init(&der, DER_LIMIT);
    assert_int_equal(successor_request(made.certificate, key, &der), STATUS_OK);

    const unsigned char *at = der.at;
    X509_REQ *request = d2i_X509_REQ(NULL, &at, (long)der.len);
    assert_non_null(request);
    assert_int_equal(X509_REQ_verify(request, key), 1);
    assert_int_equal(
        X509_NAME_cmp(X509_REQ_get_subject_name(request), X509_get_subject_name(made.certificate)), 0);
    STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
    assert_true(X509v3_get_ext_by_NID(extensions, NID_subject_alt_name, -1) >= 0);
    assert_true(X509v3_get_ext_by_NID(extensions, NID_ext_key_usage, -1) >= 0);
    assert_true(X509v3_get_ext_by_NID(extensions, NID_key_usage, -1) >= 0);
    assert_int_equal(X509v3_get_ext_by_NID(extensions, NID_authority_key_identifier, -1), -1);
    assert_int_equal(X509v3_get_ext_by_NID(extensions, NID_subject_key_identifier, -1), -1);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_REQ_free(request);
    buffer_free(&der);
    EVP_PKEY_free(key);
    test_certificate_free(&made);
    test_certificate_free(&ca);
}

/* RFC 7030 section 4.2.3: the initial request is repeated, octet by octet; but only while it is the one that
 * is wanted. */
static void request_that_waits_is_known_again(void **state)
{
    (void)state;
    struct test_certificate ca = make_ca();
    struct test_certificate made[2];
    EVP_PKEY *keys[2];
    struct buffer kept, other;
    static const char *const names[] = {"ra", "another"};
    for (size_t i = 0; i < 2; i++) {
        made[i] = test_certificate(&(struct test_certificate_wish){.common_name = names[i], .issuer = &ca});
        keys[i] = successor_make_key(made[i].key, NULL);
    }
    buffer_init(&kept, DER_LIMIT);
    buffer_init(&other, DER_LIMIT);
    assert_int_equal(successor_request(made[0].certificate, keys[0], &kept), STATUS_OK);
    for (size_t i = 0; i < 4; i++) {
        buffer_reset(&other);
        assert_int_equal(successor_request(made[i % 2].certificate, keys[i / 2], &other), STATUS_OK);
        assert_false(bytes_equal(buffer_view(&kept), buffer_view(&other)));
        assert_int_equal(successor_request_repeats(buffer_view(&kept), buffer_view(&other)), i == 0);
    }
    assert_true(successor_request_repeats(buffer_view(&kept), buffer_view(&kept)));
    buffer_reset(&other);
    buffer_append(&other, buffer_view(&kept));
    other.at[other.len - 1] ^= 1; /* of the signature */
    assert_false(successor_request_repeats(buffer_view(&other), buffer_view(&kept)));
    assert_false(successor_request_repeats(BYTES_LITERAL("half"), buffer_view(&kept)));
    for (size_t i = 0; i < 2; i++) {
        EVP_PKEY_free(keys[i]);
        test_certificate_free(&made[i]);
    }
    test_certificate_free(&ca);
    buffer_free(&kept);
    buffer_free(&other);
}

/* What a CA may answer to one request. */
struct answer {
    struct test_certificate root, issuing, present, next;
    struct ra_identity identity, taken;
    const char *why;
};

static enum status accept(struct answer *answer, const struct test_certificate_wish *wish, bool named)
{
    struct test_certificate_wish issuing = {.common_name = "Issuing CA", .ca = true, .issuer = &answer->root};
    struct test_certificate_wish next = *wish;
    answer->root = make_ca();
    answer->issuing = test_certificate(&issuing);
    answer->present = test_certificate(&(struct test_certificate_wish){
        .common_name = "ra", .issuer = &answer->issuing, .extended_key_usage = RA});
    add_names(&answer->present, &answer->issuing);
    if (next.common_name == NULL)
        next.common_name = "ra";
    next.issuer = &answer->issuing;
    answer->next = test_certificate(&next);
    if (named)
        add_names(&answer->next, &answer->issuing);
    answer->identity =
        (struct ra_identity){.certificate = answer->present.certificate, .key = answer->present.key};

    X509 *const certificates[] = {answer->root.certificate, answer->next.certificate,
                                  answer->issuing.certificate};
    struct buffer der = make_certs_only(certificates, 3);
    enum status status = successor_accept(&answer->identity, answer->next.key, buffer_view(&der),
                                          &answer->taken, &answer->why);
    buffer_free(&der);
    return status;
}

static void answer_free(struct answer *answer)
{
    ra_identity_free(&answer->taken);
    test_certificate_free(&answer->root);
    test_certificate_free(&answer->issuing);
    test_certificate_free(&answer->present);
    test_certificate_free(&answer->next);
}

static void good_answer_is_taken_with_its_chain(void **state)
{
    struct answer answer = {.why = ""};
    (void)state;
    assert_int_equal(accept(&answer, &(struct test_certificate_wish){.extended_key_usage = RA}, true),
                     STATUS_OK);
    assert_int_equal(X509_cmp(answer.taken.certificate, answer.next.certificate), 0);
    assert_int_equal(sk_X509_num(answer.taken.intermediates), 1); /* and not the root */
    assert_int_equal(X509_cmp(sk_X509_value(answer.taken.intermediates, 0), answer.issuing.certificate), 0);
    assert_int_equal(X509_check_private_key(answer.taken.certificate, answer.taken.key), 1);
    answer_free(&answer);
}

static void answer_of_no_use_is_refused(void **state)
{
    static const struct {
        struct test_certificate_wish wish;
        bool unnamed;
        const char *why;
    } cases[] = {
        {{.extended_key_usage = RA}, true, "subjectAltName"},
        {{.extended_key_usage = RA, .common_name = "another"}, false, "another subject"},
        {{.extended_key_usage = "clientAuth"}, false, "extended key usage"},
        {{.extended_key_usage = NULL}, false, "extended key usage"},
        {{.extended_key_usage = RA, .from_s = -3 * DAY, .to_s = DAY / 2}, false, "due for renewal"},
        {{.extended_key_usage = RA, .from_s = DAY, .to_s = 9 * DAY}, false, "not valid yet"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct answer answer = {.why = ""};
        assert_int_equal(accept(&answer, &cases[i].wish, !cases[i].unnamed), STATUS_MISMATCH);
        assert_non_null(answer.why);
        if (strstr(answer.why, cases[i].why) == NULL)
            fail_msg("instead of %s: %s", cases[i].why, answer.why);
        assert_null(answer.taken.certificate);
        answer_free(&answer);
    }
}

static void answer_for_another_key_is_refused(void **state)
{
    struct answer answer = {.why = ""};
    (void)state;
    assert_int_equal(accept(&answer, &(struct test_certificate_wish){.extended_key_usage = RA}, true),
                     STATUS_OK);
    ra_identity_free(&answer.taken);
    EVP_PKEY *other = test_key(NULL);
    X509 *const certificates[] = {answer.next.certificate};
    struct buffer der = make_certs_only(certificates, 1);
    assert_int_equal(successor_accept(&answer.identity, other, buffer_view(&der), &answer.taken, &answer.why),
                     STATUS_MISMATCH);
    assert_int_equal(
        successor_accept(&answer.identity, other, BYTES_LITERAL("no DER"), &answer.taken, &answer.why),
        STATUS_MISMATCH);
    buffer_free(&der);
    EVP_PKEY_free(other);
    answer_free(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_those_of_the_certificate),
        cmocka_unit_test(key_is_new_and_of_the_same_kind),
        cmocka_unit_test(request_repeats_the_certificate),
        cmocka_unit_test(request_that_waits_is_known_again),
        cmocka_unit_test(good_answer_is_taken_with_its_chain),
        cmocka_unit_test(answer_of_no_use_is_refused),
        cmocka_unit_test(answer_for_another_key_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
