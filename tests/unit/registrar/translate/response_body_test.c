#include "registrar/translate/response_body.h"

#include "common/base64.h"
#include "common/coap_message.h"
#include "tests/unit/registrar/credentials.h"

#include <strings.h>

#define CERTS_ONLY_TYPE "application/pkcs7-mime; smime-type=certs-only"
#define CSRATTRS_TYPE   "application/csrattrs"

static const struct settings rfc7030 = {.upstream = {.profile = UPSTREAM_RFC7030}};
static const struct settings libest = {.upstream = {.profile = UPSTREAM_LIBEST}};

static struct buffer base64_of(struct bytes octets, enum base64_lines lines)
{
    struct buffer text;
    buffer_init(&text, MADE_LIMIT);
    base64_encode(octets, lines, &text);
    assert_int_equal(text.status, STATUS_OK);
    return text;
}

static struct certificate_request *read_request(const char *vector)
{
    struct buffer der = read_vector(vector);
    struct certificate_request *request = NULL;
    assert_int_equal(certificate_request_parse(buffer_view(&der), &request), STATUS_OK);
    buffer_free(&der);
    return request;
}

static struct response_context context_of(enum est_operation_id id, const struct settings *settings)
{
    return (struct response_context){est_operation(id), settings, NULL};
}

static void assert_decoded(const struct response_context *context, const char *content_type,
                           struct bytes body, struct bytes expected)
{
    struct buffer der;
    buffer_init(&der, MADE_LIMIT);
    assert_int_equal(response_body_decode(context, bytes_from_string(content_type), body, &der, NULL),
                     STATUS_OK);
    assert_true(bytes_equal(buffer_view(&der), expected));
    buffer_free(&der);
}

static void assert_refused(const struct response_context *context, const char *content_type,
                           struct bytes body, enum status status)
{
    struct buffer der;
    buffer_init(&der, MADE_LIMIT);
    assert_int_equal(response_body_decode(context, bytes_from_string(content_type), body, &der, NULL),
                     status);
    assert_int_equal(der.len, 0);
    buffer_free(&der);
}

/* CF-4, PAY-1, PAY-4: the device gets the octets that the EST server encoded. */
static void vectors_come_out_byte_exact(void **state)
{
    (void)state;
    static const struct {
        enum est_operation_id id;
        const char *content_type, *vector, *csr;
    } rows[] = {
        {EST_CRTS, "application/pkcs7-mime", "rfc9148-A1-crts-response.p7.der", NULL},
        {EST_CRTS, CERTS_ONLY_TYPE, "rfc7030-A1-cacerts.p7.der", NULL},
        {EST_SEN, CERTS_ONLY_TYPE, "rfc9148-A2-sen-response.p7.der", "rfc9148-A2-sen-request.csr.der"},
        {EST_SREN, CERTS_ONLY_TYPE, "rfc7030-A3-simpleenroll.p7.der", "rfc7030-A3-simpleenroll.csr.der"},
        {EST_ATT, CSRATTRS_TYPE, "rfc9148-A4-att-response.csrattrs.der", NULL},
        {EST_ATT, CSRATTRS_TYPE, "rfc8951-4-csrattrs.der", NULL}, /* PAY-9 from here on */
        {EST_ATT, CSRATTRS_TYPE, "rfc8951-4-csrattrs-empty.der", NULL},
        {EST_ATT, CSRATTRS_TYPE, "derived-csrattrs-challengePassword-only.der", NULL},
        {EST_ATT, CSRATTRS_TYPE, "rfc9908-5.1-acp.csrattrs.der", NULL},
        {EST_ATT, CSRATTRS_TYPE, "rfc9908-5.2-rfc7030-corrected.csrattrs.der", NULL},
        {EST_ATT, CSRATTRS_TYPE, "rfc9908-5.4-rsa4096.csrattrs.der", NULL},
        {EST_ATT, CSRATTRS_TYPE, "rfc9908-5.5-p384.csrattrs.der", NULL},
        {EST_ATT, CSRATTRS_TYPE, "rfc9908-5.6-p521.csrattrs.der", NULL},
    };
    static const enum base64_lines lines[] = {BASE64_ONE_LINE, BASE64_64_LF, BASE64_64_CRLF};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buffer der = read_vector(rows[i].vector);
        struct certificate_request *csr = rows[i].csr != NULL ? read_request(rows[i].csr) : NULL;
        for (size_t j = 0; j < sizeof(lines) / sizeof(lines[0]); j++) {
            struct buffer body = base64_of(buffer_view(&der), lines[j]);
            const struct response_context contexts[] = {{est_operation(rows[i].id), &rfc7030, csr},
                                                        {est_operation(rows[i].id), &libest, csr}};
            for (size_t k = 0; k < 2; k++)
                assert_decoded(&contexts[k], rows[i].content_type, buffer_view(&body), buffer_view(&der));
            buffer_free(&body);
        }
        certificate_request_free(csr);
        buffer_free(&der);
    }
}

/* PAY-4, PAY-7, PAY-8: what is no base64 of one SEQUENCE is no csrattrs. */
static void bad_csrattrs_are_malformed(void **state)
{
    (void)state;
    const struct response_context att = context_of(EST_ATT, &rfc7030);
    const struct bytes bodies[] = {
        BYTES_LITERAL(""),         BYTES_LITERAL("\r\n"),          BYTES_LITERAL("!AAA"),
        BYTES_LITERAL("MAA"),      BYTES_LITERAL("MAA=x"),         BYTES_LITERAL("MAA=MAA="),
        BYTES_LITERAL("MAAA"),     BYTES_LITERAL("MQA="),          BYTES_LITERAL("MAE="),
        BYTES_LITERAL("MIAAAA=="), BYTES_LITERAL("\x30\0"),        BYTES_LITERAL("MAA=\0"),
        BYTES_LITERAL("MA=="),     BYTES_LITERAL("<html></html>"), BYTES_LITERAL("BgkqhkiG9w0BCQc="),
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
        assert_refused(&att, CSRATTRS_TYPE, bodies[i], STATUS_MALFORMED);
    assert_decoded(&att, CSRATTRS_TYPE, BYTES_LITERAL(" M\tA\r\nA=\n"), BYTES_LITERAL("\x30\x00"));
}

/* libest.md: one NUL is counted behind csrattrs; only that profile, that resource and that place may have it.
 */
static void the_counted_nul_is_tolerated_for_libest_only(void **state)
{
    (void)state;
    const struct response_context att = context_of(EST_ATT, &rfc7030);
    const struct response_context libest_att = context_of(EST_ATT, &libest);
    const struct response_context libest_crts = context_of(EST_CRTS, &libest);
    assert_decoded(&libest_att, CSRATTRS_TYPE, BYTES_LITERAL("MAA=\n\0"), BYTES_LITERAL("\x30\x00"));
    assert_refused(&att, CSRATTRS_TYPE, BYTES_LITERAL("MAA=\n\0"), STATUS_MALFORMED);
    assert_refused(&libest_att, CSRATTRS_TYPE, BYTES_LITERAL("MAA=\0\0"), STATUS_MALFORMED);
    assert_refused(&libest_att, CSRATTRS_TYPE, BYTES_LITERAL("MA\0A="), STATUS_MALFORMED);
    assert_refused(&libest_att, CSRATTRS_TYPE, BYTES_LITERAL("\0"), STATUS_MALFORMED);
    struct buffer der = read_vector("rfc9148-A1-crts-response.p7.der");
    struct buffer body = base64_of(buffer_view(&der), BASE64_64_LF);
    buffer_append_byte(&body, '\0');
    assert_refused(&libest_crts, CERTS_ONLY_TYPE, buffer_view(&body), STATUS_MALFORMED);
    buffer_free(&body);
    buffer_free(&der);
}

/* Requirements A5 and A8: 200 counts only with a valid type and body. */
static void other_types_are_malformed(void **state)
{
    (void)state;
    const struct response_context att = context_of(EST_ATT, &rfc7030);
    const struct response_context crts = context_of(EST_CRTS, &rfc7030);
    struct buffer der = read_vector("rfc9148-A1-crts-response.p7.der");
    struct buffer body = base64_of(buffer_view(&der), BASE64_64_LF);
    static const char *const types[] = {"", "text/html", CSRATTRS_TYPE, "application/pkcs7",
                                        "application/pkcs7-mime; smime-type=server-generated-key"};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        assert_refused(&crts, types[i], buffer_view(&body), STATUS_MALFORMED);
    assert_refused(&att, CERTS_ONLY_TYPE, BYTES_LITERAL("MAA="), STATUS_MALFORMED);
    buffer_free(&body);
    buffer_free(&der);
}

/* PAY-7, PAY-8: bad certs-only bodies. */
static void bad_certs_only_bodies_are_malformed(void **state)
{
    (void)state;
    const struct response_context crts = context_of(EST_CRTS, &rfc7030);
    struct buffer der = read_vector("rfc9148-A1-crts-response.p7.der");
    assert_refused(&crts, CERTS_ONLY_TYPE, buffer_view(&der), STATUS_MALFORMED);
    struct buffer body = base64_of(bytes_slice(buffer_view(&der), 0, der.len - 1), BASE64_64_LF);
    assert_refused(&crts, CERTS_ONLY_TYPE, buffer_view(&body), STATUS_MALFORMED);
    buffer_free(&body);
    buffer_append_byte(&der, 0); /* trailing octet */
    body = base64_of(buffer_view(&der), BASE64_64_LF);
    assert_refused(&crts, CERTS_ONLY_TYPE, buffer_view(&body), STATUS_MALFORMED);
    buffer_free(&body);
    buffer_free(&der);
    struct buffer empty = make_certs_only(NULL, 0);
    body = base64_of(buffer_view(&empty), BASE64_64_LF);
    assert_refused(&crts, CERTS_ONLY_TYPE, buffer_view(&body), STATUS_MALFORMED);
    buffer_free(&body);
    buffer_free(&empty);
}

/* PAY-8: somebody else's certificate is no answer. */
static void another_key_is_a_mismatch(void **state)
{
    (void)state;
    const struct response_context crts = context_of(EST_CRTS, &rfc7030);
    struct certificate_request *csr = read_request("rfc7030-A3-simpleenroll.csr.der");
    const struct response_context sen = {est_operation(EST_SEN), &rfc7030, csr};
    struct buffer der = read_vector("rfc9148-A2-sen-response.p7.der");
    struct buffer body = base64_of(buffer_view(&der), BASE64_64_LF);
    assert_refused(&sen, CERTS_ONLY_TYPE, buffer_view(&body), STATUS_MISMATCH);
    assert_decoded(&crts, CERTS_ONLY_TYPE, buffer_view(&body), buffer_view(&der));
    buffer_free(&body);
    buffer_free(&der);
    certificate_request_free(csr);
}

/* SEC-1: the buffer's limit is the limit. */
static void the_limit_holds(void **state)
{
    (void)state;
    struct buffer vector = read_vector("rfc9148-A1-crts-response.p7.der"), der;
    struct buffer body = base64_of(buffer_view(&vector), BASE64_64_LF);
    buffer_init(&der, vector.len - 1);
    const struct response_context context = {est_operation(EST_CRTS), &rfc7030, NULL};
    assert_int_equal(
        response_body_decode(&context, BYTES_LITERAL(CERTS_ONLY_TYPE), buffer_view(&body), &der, NULL),
        STATUS_TOO_LARGE);
    buffer_free(&der);
    buffer_free(&body);
    buffer_free(&vector);
}

static const struct settings policies[] = {
    [CRTS_287_ISSUING_CA] = {.est = {.crts_287 = CRTS_287_ISSUING_CA}},
    [CRTS_287_REFUSE] = {.est = {.crts_287 = CRTS_287_REFUSE}},
};

static enum status present(const struct response_context *context, enum content_format format,
                           struct bytes der, struct buffer *representation)
{
    buffer_init(representation, MADE_LIMIT);
    return response_body_present(context, format, der, representation);
}

/* CF-1, CF-4, CF-5: 281 is the message itself, 287 the bare certificate of the CSR's key. */
static void enrolments_are_presented_in_either_format(void **state)
{
    (void)state;
    struct certificate_request *csr = read_request("rfc9148-A2-sen-request.csr.der");
    const struct response_context sen = {est_operation(EST_SEN), &policies[CRTS_287_REFUSE], csr};
    struct buffer der = read_vector("rfc9148-A2-sen-response.p7.der"), representation;
    struct buffer certificate = read_vector("rfc9148-A2-sen-response.ee.cert.der");
    assert_int_equal(present(&sen, CONTENT_FORMAT_CERTS_ONLY, buffer_view(&der), &representation), STATUS_OK);
    assert_true(bytes_equal(buffer_view(&representation), buffer_view(&der)));
    buffer_free(&representation);
    assert_int_equal(present(&sen, CONTENT_FORMAT_ONE_CERT, buffer_view(&der), &representation), STATUS_OK);
    assert_true(bytes_equal(buffer_view(&representation), buffer_view(&certificate)));
    buffer_free(&representation);
    assert_int_equal(present(&sen, CONTENT_FORMAT_CSRATTRS, buffer_view(&der), &representation),
                     STATUS_UNSUPPORTED);
    buffer_free(&representation);
    buffer_free(&certificate);
    buffer_free(&der);
    certificate_request_free(csr);
}

/* CF-6: one root as 287; the bag of RFC 7030 A.1 not at all. */
static void crts_as_one_certificate(void **state)
{
    (void)state;
    const struct response_context crts = context_of(EST_CRTS, &policies[CRTS_287_ISSUING_CA]);
    struct buffer der = read_vector("rfc9148-A1-crts-response.p7.der"), representation;
    struct buffer certificate = read_vector("rfc9148-A1-crts-response.ee.cert.der");
    assert_int_equal(present(&crts, CONTENT_FORMAT_ONE_CERT, buffer_view(&der), &representation), STATUS_OK);
    assert_true(bytes_equal(buffer_view(&representation), buffer_view(&certificate)));
    buffer_free(&representation);
    buffer_free(&der);
    der = read_vector("rfc7030-A1-cacerts.p7.der");
    assert_int_equal(present(&crts, CONTENT_FORMAT_ONE_CERT, buffer_view(&der), &representation),
                     STATUS_UNSUPPORTED);
    assert_int_equal(representation.len, 0);
    assert_int_equal(present(&crts, CONTENT_FORMAT_CERTS_ONLY, buffer_view(&der), &representation),
                     STATUS_OK);
    assert_true(bytes_equal(buffer_view(&representation), buffer_view(&der)));
    buffer_free(&representation);
    buffer_free(&der);
    buffer_free(&certificate);
}

/* CF-7, MP-1: an array of two items, 287 and the certificate; the bag of RFC 7030 A.1 has no order. */
static void crts_as_multipart(void **state)
{
    (void)state;
    const struct response_context crts = context_of(EST_CRTS, &policies[CRTS_287_REFUSE]);
    struct buffer der = read_vector("rfc9148-A1-crts-response.p7.der"), representation;
    struct buffer certificate = read_vector("rfc9148-A1-crts-response.ee.cert.der");
    const uint8_t heads[] = {
        0x82, 0x19, 0x01, 0x1f, 0x59, (uint8_t)(certificate.len >> 8), (uint8_t)certificate.len};
    assert_int_equal(present(&crts, CONTENT_FORMAT_MULTIPART_CORE, buffer_view(&der), &representation),
                     STATUS_OK);
    assert_int_equal(representation.len, sizeof(heads) + certificate.len);
    assert_memory_equal(representation.at, heads, sizeof(heads));
    assert_memory_equal(representation.at + sizeof(heads), certificate.at, certificate.len);
    buffer_free(&representation);
    buffer_free(&der);
    der = read_vector("rfc7030-A1-cacerts.p7.der");
    assert_int_equal(present(&crts, CONTENT_FORMAT_MULTIPART_CORE, buffer_view(&der), &representation),
                     STATUS_UNSUPPORTED);
    assert_int_equal(representation.len, 0);
    buffer_free(&representation);
    buffer_free(&der);
    buffer_free(&certificate);
}

/* Q6 */
static void nothing_is_presented_by_policy(void **state)
{
    (void)state;
    static const struct {
        enum est_operation_id id;
        enum est_att_empty policy;
        uint8_t code;
        size_t len;
    } rows[] = {
        {EST_ATT, ATT_EMPTY_NOT_FOUND, CM_NOT_FOUND, 0}, {EST_ATT, ATT_EMPTY_SEQUENCE, CM_CONTENT, 2},
        {EST_ATT, ATT_EMPTY_CONTENT, CM_CONTENT, 0},     {EST_CRTS, ATT_EMPTY_NOT_FOUND, CM_NOT_FOUND, 0},
        {EST_CRTS, ATT_EMPTY_SEQUENCE, CM_NOT_FOUND, 0}, {EST_CRTS, ATT_EMPTY_CONTENT, CM_NOT_FOUND, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct est_settings settings = {.att_empty = rows[i].policy};
        struct buffer representation;
        buffer_init(&representation, 16);
        assert_int_equal(response_body_none(est_operation(rows[i].id), &settings, &representation),
                         rows[i].code);
        assert_true(bytes_equal(buffer_view(&representation),
                                bytes_slice(BYTES_LITERAL("\x30\x00"), 0, rows[i].len)));
        buffer_free(&representation);
    }
}

/* SEC-2 */
static void the_serial_of_what_was_issued_is_told(void **state)
{
    (void)state;
    struct certificate_request *csr = read_request("rfc9148-A2-sen-request.csr.der");
    struct buffer der = read_vector("rfc9148-A2-sen-response.p7.der"), serial;
    struct buffer certificate = read_vector("rfc9148-A2-sen-response.ee.cert.der");
    const unsigned char *at = certificate.at;
    X509 *issued = d2i_X509(NULL, &at, (long)certificate.len);
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(issued), NULL);
    char *expected = BN_bn2hex(number);
    buffer_init(&serial, 64);
    response_body_serial(buffer_view(&der), csr, &serial);
    assert_int_equal(strcasecmp(buffer_string(&serial), expected), 0);
    buffer_reset(&serial);
    response_body_serial(BYTES_LITERAL("\x30\x00"), csr, &serial);
    assert_int_equal(serial.len, 0);
    OPENSSL_free(expected);
    BN_free(number);
    X509_free(issued);
    buffer_free(&serial);
    buffer_free(&certificate);
    buffer_free(&der);
    certificate_request_free(csr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_come_out_byte_exact),
        cmocka_unit_test(bad_csrattrs_are_malformed),
        cmocka_unit_test(the_counted_nul_is_tolerated_for_libest_only),
        cmocka_unit_test(other_types_are_malformed),
        cmocka_unit_test(bad_certs_only_bodies_are_malformed),
        cmocka_unit_test(another_key_is_a_mismatch),
        cmocka_unit_test(the_limit_holds),
        cmocka_unit_test(enrolments_are_presented_in_either_format),
        cmocka_unit_test(crts_as_one_certificate),
        cmocka_unit_test(crts_as_multipart),
        cmocka_unit_test(nothing_is_presented_by_policy),
        cmocka_unit_test(the_serial_of_what_was_issued_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
