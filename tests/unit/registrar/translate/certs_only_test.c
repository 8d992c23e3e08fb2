#include "registrar/translate/certs_only.h"

#include "registrar/protocol/der.h"
#include "registrar/protocol/keyless_library.h"
#include "tests/unit/registrar/credentials.h"

#define SET_MAX 6

struct ca_set {
    EVP_PKEY *root_key, *policy_key, *issuing_key, *device_key;
    X509 *root, *policy, *issuing, *device, *other_root;
};

static struct certs_only *parse(struct bytes der)
{
    struct certs_only *certs = NULL;
    assert_int_equal(certs_only_parse(der, &certs), STATUS_OK);
    return certs;
}

static void assert_malformed(struct bytes der)
{
    struct certs_only *certs = NULL;
    assert_int_equal(certs_only_parse(der, &certs), STATUS_MALFORMED);
    assert_null(certs);
}

/* PAY-8 */
static void vectors_parse(void **state)
{
    (void)state;
    static const char *const files[] = {
        "rfc9148-A1-crts-response.p7.der",    "rfc9148-A2-sen-response.p7.der",
        "rfc9148-A3-skg-cert.p7.der",         "rfc7030-A1-cacerts.p7.der",
        "rfc7030-A3-simpleenroll.p7.der",     "rfc7030-A4-serverkeygen.p7.der",
        "draft08to12-A1-crts-response.p7.der"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct buffer der = read_vector(files[i]);
        certs_only_free(parse(buffer_view(&der)));
        buffer_append_byte(&der, 0);
        assert_malformed(buffer_view(&der));
        buffer_free(&der);
    }
}

/* PAY-8, SEC-1 */
static void other_things_are_malformed(void **state)
{
    (void)state;
    struct buffer der = read_vector("rfc9148-A2-sen-response.p7.der");
    for (size_t len = 0; len < der.len; len++)
        assert_malformed((struct bytes){der.at, len});
    buffer_free(&der);
    static const char *const files[] = {
        "rfc9148-A2-sen-request.csr.der", "rfc9148-A2-sen-response.ee.cert.der",
        "rfc9148-A4-att-response.csrattrs.der", "derived-WRONG-crts-wrapped-in-bstr.bin"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        der = read_vector(files[i]);
        assert_malformed(buffer_view(&der));
        buffer_free(&der);
    }
    struct buffer empty = make_certs_only(NULL, 0);
    assert_malformed(buffer_view(&empty));
    buffer_free(&empty);
}

/* PAY-8: signed content is not a certs-only message. */
static void a_signer_is_refused(void **state)
{
    struct ca_set *set = *state;
    BIO *content = BIO_new_mem_buf("content", -1);
    PKCS7 *message = PKCS7_sign(set->root, set->root_key, NULL, content, PKCS7_BINARY);
    BIO_free(content);
    assert_non_null(message);
    struct buffer der;
    buffer_init(&der, MADE_LIMIT);
    uint8_t *at = buffer_extend(&der, (size_t)i2d_PKCS7(message, NULL));
    i2d_PKCS7(message, &at);
    PKCS7_free(message);
    assert_malformed(buffer_view(&der));
    buffer_free(&der);
}

/* EST servers on other CMS libraries send indefinite lengths; what they send is passed on as it is (CF-4). */
static void ber_is_taken(void **state)
{
    (void)state;
    struct buffer der = read_vector("rfc9148-A2-sen-response.p7.der"), ber;
    struct bytes rest = buffer_view(&der);
    struct der_element whole;
    assert_int_equal(der_read(&rest, &whole), STATUS_OK);
    buffer_init(&ber, MADE_LIMIT);
    buffer_append(&ber, BYTES_LITERAL("\x30\x80"));
    buffer_append(&ber, whole.content);
    buffer_append(&ber, BYTES_LITERAL("\x00\x00"));
    certs_only_free(parse(buffer_view(&ber)));
    buffer_append_byte(&ber, 0);
    assert_malformed(buffer_view(&ber));
    buffer_free(&ber);
    buffer_free(&der);
}

/* CF-5: in either order. */
static void the_certificate_of_a_key_is_found(void **state)
{
    struct ca_set *set = *state;
    X509 *const orders[2][2] = {{set->device, set->issuing}, {set->issuing, set->device}};
    for (size_t i = 0; i < 2; i++) {
        struct buffer der = make_certs_only(orders[i], 2);
        struct certs_only *certs = parse(buffer_view(&der));
        X509 *found = NULL;
        assert_int_equal(certs_only_find(certs, set->device_key, &found), STATUS_OK);
        assert_int_equal(X509_cmp(found, set->device), 0);
        assert_int_equal(certs_only_find(certs, set->root_key, &found), STATUS_MISMATCH);
        certs_only_free(certs);
        buffer_free(&der);
    }
}

/* Gives a CSR for the key, in a library without keys. */
static struct certificate_request *request_for(struct keyless_library *library, EVP_PKEY *key)
{
    struct certificate_request *request = NULL;
    struct buffer der = make_request(&(struct made_request){.key = key, .subject = "CN=Device"});
    assert_int_equal(
        certificate_request_parse_in(keyless_library_context(library), false, buffer_view(&der), &request),
        STATUS_OK);
    buffer_free(&der);
    return request;
}

static void assert_found(const struct certificate_request *csr, X509 *const *pair, X509 *expected)
{
    struct buffer der = make_certs_only(pair, 2), serial;
    struct certs_only *certs = NULL;
    X509 *found = NULL;
    assert_int_equal(certs_only_parse_for(csr, buffer_view(&der), &certs), STATUS_OK);
    enum status status = certs_only_find_for(certs, csr, &found);
    assert_int_equal(status, expected == NULL ? STATUS_MISMATCH : STATUS_OK);
    if (expected != NULL) {
        assert_int_equal(X509_NAME_cmp(X509_get_subject_name(found), X509_get_subject_name(expected)), 0);
        buffer_init(&serial, MADE_LIMIT);
        certs_only_append_serial(found, &serial);
        assert_string_equal(buffer_string(&serial), "1234");
        buffer_free(&serial);
    }
    certs_only_free(certs);
    buffer_free(&der);
}

/* CF-5, PAY-8: by the octets of the key, or, where the point is written otherwise, by the key itself. */
static void the_certificate_of_a_csr_is_found(void **state)
{
    struct ca_set *set = *state;
    struct keyless_library *library = keyless_library_create();
    EVP_PKEY *compressed = EVP_PKEY_dup(set->device_key);
    assert_int_equal(EVP_PKEY_set_utf8_string_param(compressed, "point-format", "compressed"), 1);
    X509 *const orders[2][2] = {{set->device, set->issuing}, {set->issuing, set->device}};
    EVP_PKEY *const keys[] = {set->device_key, compressed, set->root_key};
    for (size_t i = 0; i < 3; i++) {
        struct certificate_request *csr = request_for(library, keys[i]);
        for (size_t j = 0; j < 2; j++)
            assert_found(csr, orders[j], keys[i] == set->root_key ? NULL : set->device);
        certificate_request_free(csr);
    }
    EVP_PKEY_free(compressed);
    keyless_library_free(library);
}

static void assert_chosen(X509 *const *certificates, size_t count, enum est_crts_287 policy, X509 *expected)
{
    struct buffer der = make_certs_only(certificates, count);
    struct certs_only *certs = parse(buffer_view(&der));
    X509 *chosen = NULL;
    enum status status = certs_only_choose_ca(certs, policy, &chosen);
    if (expected == NULL) {
        assert_int_equal(status, STATUS_UNSUPPORTED);
    } else {
        assert_int_equal(status, STATUS_OK);
        assert_int_equal(X509_cmp(chosen, expected), 0);
    }
    certs_only_free(certs);
    buffer_free(&der);
}

/* CF-6: a single CA is the answer under every policy, whatever else lies beside it. */
static void one_ca_is_clear(void **state)
{
    struct ca_set *set = *state;
    static const enum est_crts_287 policies[] = {CRTS_287_ISSUING_CA, CRTS_287_ROOT, CRTS_287_REFUSE};
    for (size_t i = 0; i < 3; i++) {
        assert_chosen((X509 *[]){set->root}, 1, policies[i], set->root);
        assert_chosen((X509 *[]){set->issuing}, 1, policies[i], set->issuing);
        assert_chosen((X509 *[]){set->device, set->root}, 2, policies[i], set->root);
    }
}

/* CF-6: with a chain the issuing CA is its lower end. */
static void a_chain_has_both_ends(void **state)
{
    struct ca_set *set = *state;
    X509 *const chain[] = {set->policy, set->root, set->issuing};
    X509 *const backwards[] = {set->issuing, set->policy, set->root};
    X509 *const with_device[] = {set->device, set->issuing, set->policy, set->root};
    assert_chosen(chain, 3, CRTS_287_ISSUING_CA, set->issuing);
    assert_chosen(backwards, 3, CRTS_287_ISSUING_CA, set->issuing);
    assert_chosen(with_device, 4, CRTS_287_ISSUING_CA, set->issuing);
    assert_chosen(chain, 3, CRTS_287_ROOT, set->root);
    assert_chosen(backwards, 3, CRTS_287_ROOT, set->root);
    assert_chosen(chain, 3, CRTS_287_REFUSE, NULL);
}

/* CF-6: what is ambiguous is refused. */
static void ambiguous_sets_are_refused(void **state)
{
    struct ca_set *set = *state;
    assert_chosen((X509 *[]){set->root, set->other_root}, 2, CRTS_287_ISSUING_CA, NULL);
    assert_chosen((X509 *[]){set->root, set->other_root}, 2, CRTS_287_ROOT, NULL);
    assert_chosen((X509 *[]){set->policy, set->issuing}, 2, CRTS_287_ROOT, NULL);
    assert_chosen((X509 *[]){set->root, set->issuing, set->other_root}, 3, CRTS_287_ISSUING_CA, NULL);

    /* four certificates of a key rollover */
    struct buffer der = read_vector("rfc7030-A1-cacerts.p7.der");
    struct certs_only *certs = parse(buffer_view(&der));
    X509 *chosen = NULL;
    static const enum est_crts_287 policies[] = {CRTS_287_ISSUING_CA, CRTS_287_ROOT, CRTS_287_REFUSE};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(certs_only_choose_ca(certs, policies[i], &chosen), STATUS_UNSUPPORTED);
    certs_only_free(certs);
    buffer_free(&der);
}

/* SEC-1: a huge set does not cost a signature check for every pair. */
static void huge_sets_are_refused(void **state)
{
    struct ca_set *set = *state;
    X509 *many[17];
    for (size_t i = 0; i < 17; i++)
        many[i] = i == 0 ? set->root : set->device;
    assert_chosen(many, 16, CRTS_287_ISSUING_CA, set->root);
    assert_chosen(many, 17, CRTS_287_ISSUING_CA, NULL);
}

static void assert_ordered(X509 *const *certificates, size_t count, X509 *const *expected,
                           size_t expected_count)
{
    struct buffer der = make_certs_only(certificates, count);
    struct certs_only *certs = parse(buffer_view(&der));
    X509 *ordered[CERTS_ONLY_CAS_MAX];
    size_t given = 0;
    enum status status = certs_only_order_cas(certs, ordered, &given);
    assert_int_equal(status, expected_count > 0 ? STATUS_OK : STATUS_UNSUPPORTED);
    assert_int_equal(given, expected_count);
    for (size_t i = 0; i < given; i++)
        assert_int_equal(X509_cmp(ordered[i], expected[i]), 0);
    certs_only_free(certs);
    buffer_free(&der);
}

/* CF-7: from the issuing CA upwards, however they come; what does not belong to it comes last, devices not at
 * all. */
static void cas_are_put_in_order(void **state)
{
    struct ca_set *set = *state;
    X509 *const hierarchy[] = {set->issuing, set->policy, set->root, set->other_root};
    X509 *const without_policy[] = {set->issuing, set->root};
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 3; j++) {
            if (i == j)
                continue;
            X509 *const mixed[] = {hierarchy[i], hierarchy[j], hierarchy[3 - i - j]};
            assert_ordered(mixed, 3, hierarchy, 3);
        }
    }
    assert_ordered((X509 *[]){set->other_root, set->root, set->device, set->policy, set->issuing}, 5,
                   hierarchy, 4);
    assert_ordered((X509 *[]){set->root}, 1, &hierarchy[2], 1);
    assert_ordered((X509 *[]){set->device}, 1, &set->device, 1);
    assert_ordered((X509 *[]){set->root, set->issuing}, 2, without_policy,
                   0); /* the link between is missing */
}

static void cas_without_an_order_are_refused(void **state)
{
    struct ca_set *set = *state;
    X509 *many[CERTS_ONLY_CAS_MAX + 1];
    for (size_t i = 0; i <= CERTS_ONLY_CAS_MAX; i++)
        many[i] = i == 0 ? set->root : set->device;
    assert_ordered(many, CERTS_ONLY_CAS_MAX, &set->root, 1);
    assert_ordered(many, CERTS_ONLY_CAS_MAX + 1, NULL, 0);
    assert_ordered((X509 *[]){set->root, set->other_root}, 2, NULL, 0);
    struct buffer der = read_vector("rfc7030-A1-cacerts.p7.der"); /* a key rollover */
    struct certs_only *certs = parse(buffer_view(&der));
    X509 *ordered[CERTS_ONLY_CAS_MAX];
    size_t count;
    assert_int_equal(certs_only_order_cas(certs, ordered, &count), STATUS_UNSUPPORTED);
    certs_only_free(certs);
    buffer_free(&der);
}

static X509 *make_ca(EVP_PKEY *key, const char *subject, EVP_PKEY *issuer_key, const char *issuer)
{
    return make_certificate(
        &(struct made_certificate){.key = key,
                                   .subject = subject,
                                   .issuer_key = issuer_key,
                                   .issuer = issuer,
                                   .extensions = {{"basicConstraints", "critical,CA:TRUE"}}});
}

static int set_up(void **state)
{
    static struct ca_set set;
    set.root_key = make_key();
    set.policy_key = make_key();
    set.issuing_key = make_key();
    set.device_key = make_key();
    set.root = make_ca(set.root_key, "CN=Root", NULL, NULL);
    set.other_root = make_ca(set.device_key, "CN=Other root", NULL, NULL);
    set.policy = make_ca(set.policy_key, "CN=Policy", set.root_key, "CN=Root");
    set.issuing = make_ca(set.issuing_key, "CN=Issuing", set.policy_key, "CN=Policy");
    set.device = make_certificate(&(struct made_certificate){.key = set.device_key,
                                                             .subject = "CN=Device",
                                                             .issuer_key = set.issuing_key,
                                                             .issuer = "CN=Issuing"});
    *state = &set;
    return 0;
}

static int tear_down(void **state)
{
    struct ca_set *set = *state;
    X509 *const certificates[] = {set->root, set->other_root, set->policy, set->issuing, set->device};
    EVP_PKEY *const keys[] = {set->root_key, set->policy_key, set->issuing_key, set->device_key};
    for (size_t i = 0; i < sizeof(certificates) / sizeof(certificates[0]); i++)
        X509_free(certificates[i]);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        EVP_PKEY_free(keys[i]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_parse),
        cmocka_unit_test(other_things_are_malformed),
        cmocka_unit_test(a_signer_is_refused),
        cmocka_unit_test(ber_is_taken),
        cmocka_unit_test(the_certificate_of_a_key_is_found),
        cmocka_unit_test(the_certificate_of_a_csr_is_found),
        cmocka_unit_test(one_ca_is_clear),
        cmocka_unit_test(a_chain_has_both_ends),
        cmocka_unit_test(ambiguous_sets_are_refused),
        cmocka_unit_test(huge_sets_are_refused),
        cmocka_unit_test(cas_are_put_in_order),
        cmocka_unit_test(cas_without_an_order_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
