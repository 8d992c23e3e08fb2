/* Rows POP-1, POP-2, POP-5, POP-6, POP-9, DTLS-15. */
#include "registrar/exchange/proof_of_possession.h"

#include "tests/unit/registrar/credentials.h"

#define ABSENT     "PoP linking is required: the CSR has no challengePassword (RFC 7030 section 3.5)"
#define NO_SECRET  "PoP linking needs the extended master secret, which this session is without (RFC 7627)"
#define OTHER      "PoP linking failed: challengePassword is not the tls-unique of this session"
#define NOT_BASE64 "PoP linking failed: challengePassword is not the base64 of a tls-unique"

/* RFC 7030 appendix A.3: "+rrCir/7+EYu50T4" */
static const struct channel_binding rfc7030 = {
    {0xfa, 0xba, 0xc2, 0x8a, 0xbf, 0xfb, 0xf8, 0x46, 0x2e, 0xe7, 0x44, 0xf8}, true, true};

static const enum pop_policy policies[] = {POP_IF_PRESENT, POP_REQUIRED, POP_LENIENT_NONBASE64};

static void assert_fault(const struct proof_terms *terms, struct bytes csr, const char *expected)
{
    struct certificate_request *request = NULL;
    assert_int_equal(certificate_request_parse(csr, &request), STATUS_OK);
    const char *fault = proof_of_possession_fault(terms, request);
    if (expected == NULL)
        assert_null(fault);
    else
        assert_string_equal(fault, expected);
    certificate_request_free(request);
}

/* A CSR with this text as challengePassword, in this type of string. Gives. */
static struct buffer make_linked(struct bytes text, int type)
{
    EVP_PKEY *key = make_key();
    X509_REQ *request =
        make_unsigned_request(&(struct made_request){.key = key, .subject = "serialNumber=42"});
    X509_ATTRIBUTE *attribute =
        X509_ATTRIBUTE_create_by_NID(NULL, NID_pkcs9_challengePassword, type, text.at, (int)text.len);
    assert_non_null(attribute);
    assert_int_equal(X509_REQ_add1_attr(request, attribute), 1);
    X509_ATTRIBUTE_free(attribute);
    struct buffer csr = sign_request(request, key);
    EVP_PKEY_free(key);
    return csr;
}

static void assert_text_fault(const struct proof_terms *terms, struct bytes text, int type,
                              const char *expected)
{
    struct buffer csr = make_linked(text, type);
    assert_fault(terms, buffer_view(&csr), expected);
    buffer_free(&csr);
}

/* POP-1, POP-2: a real CSR and the binding that it was made for; any other bit is another session. */
static void only_the_right_value_passes(void **state)
{
    (void)state;
    struct buffer csr = read_vector("rfc7030-A3-simpleenroll.csr.der");
    for (size_t i = 0; i < 3; i++) {
        struct channel_binding binding = rfc7030;
        const struct proof_terms terms = {.policy = policies[i], .binding = &binding};
        assert_fault(&terms, buffer_view(&csr), NULL);
        for (size_t bit = 0; bit < 8 * sizeof(binding.tls_unique); bit++) {
            binding = rfc7030;
            binding.tls_unique[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_fault(&terms, buffer_view(&csr), OTHER);
        }
        binding = rfc7030;
        binding.is_known = false;
        assert_fault(&terms, buffer_view(&csr), OTHER);
    }
    buffer_free(&csr);
}

/* POP-5, POP-9 */
static void absence_is_judged_by_policy(void **state)
{
    (void)state;
    EVP_PKEY *key = make_key();
    struct buffer csr = make_request(&(struct made_request){.key = key, .subject = "serialNumber=42"});
    static const char *const faults[] = {NULL, ABSENT, NULL};
    for (size_t i = 0; i < 3; i++) {
        struct proof_terms terms = {.policy = policies[i], .binding = &rfc7030};
        assert_fault(&terms, buffer_view(&csr), faults[i]);
        terms.may_be_absent = true;
        assert_fault(&terms, buffer_view(&csr), NULL);
    }
    buffer_free(&csr);
    EVP_PKEY_free(key);
}

/* DTLS-15: no value proves anything then; where none would do as well, a right one is no worse. */
static void without_the_extended_master_secret(void **state)
{
    (void)state;
    struct buffer csr = read_vector("rfc7030-A3-simpleenroll.csr.der");
    struct channel_binding binding = rfc7030;
    binding.is_unique = false;
    struct proof_terms terms = {.policy = POP_REQUIRED, .binding = &binding};
    assert_fault(&terms, buffer_view(&csr), NO_SECRET);
    terms.may_be_absent = true;
    assert_fault(&terms, buffer_view(&csr), NO_SECRET);
    terms.policy = POP_IF_PRESENT;
    assert_fault(&terms, buffer_view(&csr), NULL);
    binding.tls_unique[0] ^= 1;
    assert_fault(&terms, buffer_view(&csr), OTHER);
    buffer_free(&csr);
}

/* POP-6: the appendix of RFC 9148 has a value that is not base64. */
static void the_vector_of_rfc_9148_needs_leniency(void **state)
{
    (void)state;
    struct buffer csr = read_vector("rfc9148-A2-sen-request.csr.der");
    static const char *const faults[] = {NOT_BASE64, NOT_BASE64, NULL};
    for (size_t i = 0; i < 3; i++)
        assert_fault(&(struct proof_terms){.policy = policies[i], .binding = &rfc7030}, buffer_view(&csr),
                     faults[i]);
    buffer_free(&csr);
}

/* POP-6: the types, and what is in them. */
static void strings_of_every_kind(void **state)
{
    (void)state;
    const struct bytes right = BYTES_LITERAL("+rrCir/7+EYu50T4");
    const struct proof_terms terms = {.policy = POP_IF_PRESENT, .binding = &rfc7030};
    assert_text_fault(&terms, right, V_ASN1_PRINTABLESTRING, NULL);
    assert_text_fault(&terms, right, V_ASN1_UTF8STRING, NULL);
    assert_text_fault(&terms, BYTES_LITERAL(""), V_ASN1_UTF8STRING, OTHER);
    assert_text_fault(&terms, BYTES_LITERAL("+rrCir/7+EYu50Q="), V_ASN1_UTF8STRING, OTHER);       /* short */
    assert_text_fault(&terms, BYTES_LITERAL("+rrCir/7+EYu50T4AA=="), V_ASN1_UTF8STRING, OTHER);   /* long */
    assert_text_fault(&terms, BYTES_LITERAL("+rrCir/7+EYu50T4="), V_ASN1_UTF8STRING, NOT_BASE64); /* odd */
    assert_text_fault(&terms, BYTES_LITERAL("+rrCir/7+EYu50T\xc3\xa4"), V_ASN1_UTF8STRING, NOT_BASE64);
    assert_text_fault(&terms,
                      BYTES_LITERAL("+rrCir/7+EYu\0"
                                    "50T4"),
                      V_ASN1_UTF8STRING, NOT_BASE64);
}

/* POP-6: more than 255 octets are a mismatch, also for the lenient, even where the rest is blank. */
static void an_overlong_string_is_a_mismatch(void **state)
{
    (void)state;
    char text[256];
    memset(text, ' ', sizeof(text));
    memcpy(text, "+rrCir/7+EYu50T4", 16);
    for (size_t i = 0; i < 3; i++) {
        const struct proof_terms terms = {.policy = policies[i], .binding = &rfc7030};
        assert_text_fault(&terms, (struct bytes){(const uint8_t *)text, 255}, V_ASN1_UTF8STRING, NULL);
        assert_text_fault(&terms, (struct bytes){(const uint8_t *)text, 256}, V_ASN1_UTF8STRING, NOT_BASE64);
    }
}

/* What the device is told fits (RSP-3). */
static void diagnostics_are_short(void **state)
{
    (void)state;
    static const char *const all[] = {ABSENT, NO_SECRET, OTHER, NOT_BASE64};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        assert_in_range(strlen(all[i]), 1, 128);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_right_value_passes),
        cmocka_unit_test(absence_is_judged_by_policy),
        cmocka_unit_test(without_the_extended_master_secret),
        cmocka_unit_test(the_vector_of_rfc_9148_needs_leniency),
        cmocka_unit_test(strings_of_every_kind),
        cmocka_unit_test(an_overlong_string_is_a_mismatch),
        cmocka_unit_test(diagnostics_are_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
