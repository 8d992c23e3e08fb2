#include "registrar/exchange/est_outcome.h"

#include "common/base64.h"
#include "common/coap_message.h"
#include "registrar/translate/response_code.h"
#include "tests/unit/registrar/credentials.h"

#define CERTS_ONLY "application/pkcs7-mime; smime-type=certs-only"

static const struct settings settings = {
    .est = {.retry_after_s = 60, .retry_after_max_s = 3600},
    .upstream = {.cacerts_max_age_s = 300, .max_response_bytes = MADE_LIMIT},
};

static struct certificate_request *csr;
static struct buffer issued, issued_base64;

static struct est_outcome judge(enum est_operation_id id, const struct est_response *response)
{
    struct response_context asked = {.operation = est_operation(id),
                                     .settings = &settings,
                                     .csr = est_operation(id)->method == CM_POST ? csr : NULL};
    struct est_outcome outcome;
    est_outcome_init(&outcome, MADE_LIMIT);
    buffer_append_string(&outcome.content, "left over from before");
    est_outcome_judge(&asked, response, 784111777, &outcome);
    return outcome;
}

static struct est_outcome judge_status(enum est_operation_id id, unsigned http_status)
{
    return judge(id, &(struct est_response){.result = EST_ANSWERED, .http_status = http_status});
}

static void assert_refused(struct est_outcome *outcome, enum est_outcome_kind kind, uint8_t code,
                           const char *diagnostic)
{
    assert_int_equal(outcome->kind, kind);
    assert_int_equal(outcome->code, code);
    assert_string_equal(buffer_string(&outcome->content), diagnostic);
    est_outcome_free(outcome);
}

/* Requirements A8, last rows: who was not reached issued nothing, who fell silent may have. */
static void silences_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        enum est_result result;
        uint8_t code;
        uint32_t max_age_s;
        bool in_doubt;
    } rows[] = {
        {EST_NOT_SENT, CM_GATEWAY_TIMEOUT, 0, false},
        {EST_TIMEOUT, CM_GATEWAY_TIMEOUT, 0, true},
        {EST_BROKEN, CM_BAD_GATEWAY, 0, true},
        {EST_UNTRUSTED, CM_BAD_GATEWAY, 0, false},
        {EST_QUEUE_FULL, CM_SERVICE_UNAVAILABLE, 60, false},
        {EST_WITHHELD, CM_SERVICE_UNAVAILABLE, 60, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct est_response response = {.result = rows[i].result, .reason = "gone"};
        for (int id = 0; id < EST_OPERATION_COUNT; id++) {
            bool is_post = est_operation((enum est_operation_id)id)->method == CM_POST;
            struct est_outcome outcome = judge((enum est_operation_id)id, &response);
            assert_int_equal(outcome.kind, rows[i].in_doubt && is_post ? OUTCOME_IN_DOUBT : OUTCOME_REFUSED);
            assert_int_equal(outcome.code, rows[i].code);
            assert_int_equal(outcome.max_age_s, rows[i].max_age_s);
            est_outcome_free(&outcome);
        }
    }
}

/* RSP-1: every status; a 200 without body is no success. */
static void statuses_follow_the_table(void **state)
{
    (void)state;
    for (unsigned http = 100; http <= 599; http++) {
        for (int id = 0; id < EST_OPERATION_COUNT; id++) {
            uint8_t method = est_operation((enum est_operation_id)id)->method;
            struct http_mapping mapping = response_code_map(http, method, false);
            struct est_outcome outcome = judge_status((enum est_operation_id)id, http);
            enum est_outcome_kind kind = OUTCOME_REFUSED;
            if (mapping.disposition == HTTP_RETRY)
                kind = OUTCOME_WAIT;
            else if (mapping.disposition == HTTP_NOTHING)
                kind = OUTCOME_NOTHING;
            else if (method == CM_POST && (mapping.may_have_issued || http == 200))
                kind = OUTCOME_IN_DOUBT;
            assert_int_equal(outcome.kind, kind);
            assert_int_equal(outcome.code, http == 200 ? CM_BAD_GATEWAY : mapping.code);
            assert_int_equal(outcome.max_age_s, kind == OUTCOME_WAIT      ? 60
                                                : kind == OUTCOME_NOTHING ? 300
                                                                          : 0);
            if (http != 200)
                assert_int_equal(outcome.content.len, 0);
            est_outcome_free(&outcome);
        }
    }
}

/* RSP-2 */
static void retry_after_is_passed_on(void **state)
{
    (void)state;
    static const struct {
        const char *retry_after;
        uint32_t seconds;
    } rows[] = {{"120", 120}, {"Sun, 06 Nov 1994 08:51:07 GMT", 90}, {"0", 1}, {"", 60}, {"99999", 3600},
                {"soon", 60}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct est_response response = {.result = EST_ANSWERED,
                                        .http_status = 202,
                                        .retry_after = bytes_from_string(rows[i].retry_after)};
        struct est_outcome outcome = judge(EST_SEN, &response);
        assert_int_equal(outcome.max_age_s, rows[i].seconds);
        assert_refused(&outcome, OUTCOME_WAIT, CM_SERVICE_UNAVAILABLE, "");
    }
}

/* RSP-3, and 4.06 without payload. */
static void the_est_server_may_say_why(void **state)
{
    (void)state;
    struct est_response response = {.result = EST_ANSWERED,
                                    .http_status = 400,
                                    .content_type = BYTES_LITERAL("text/plain"),
                                    .body = BYTES_LITERAL("bad\r\nCSR")};
    struct est_outcome outcome = judge(EST_SEN, &response);
    assert_refused(&outcome, OUTCOME_REFUSED, CM_BAD_REQUEST, "bad CSR");
    response.http_status = 406;
    outcome = judge(EST_SEN, &response);
    assert_refused(&outcome, OUTCOME_REFUSED, CM_NOT_ACCEPTABLE, "");
    response.http_status = 400;
    response.content_type = BYTES_LITERAL("text/html");
    outcome = judge(EST_SEN, &response);
    assert_refused(&outcome, OUTCOME_REFUSED, CM_BAD_REQUEST, "");
}

static struct est_response success(void)
{
    return (struct est_response){.result = EST_ANSWERED,
                                 .http_status = 200,
                                 .content_type = BYTES_LITERAL(CERTS_ONLY),
                                 .body = buffer_view(&issued_base64)};
}

/* SEC-2 */
static void assert_serial_of_issued(struct est_outcome *outcome)
{
    struct buffer serial;
    buffer_init(&serial, MADE_LIMIT);
    response_body_serial(buffer_view(&issued), csr, &serial);
    assert_true(serial.len > 0);
    assert_true(bytes_equal(buffer_view(&outcome->serial), buffer_view(&serial)));
    est_outcome_refuse(outcome, CM_NOT_ACCEPTABLE, "");
    assert_int_equal(outcome->serial.len, 0);
    buffer_free(&serial);
}

/* Q2, RSP-4: 2.05 with freshness, 2.04 without. */
static void a_valid_body_is_a_result(void **state)
{
    (void)state;
    struct est_response response = success();
    response.cache_control = BYTES_LITERAL("max-age=30");
    response.age = BYTES_LITERAL("10");
    struct est_outcome outcome = judge(EST_CRTS, &response);
    assert_int_equal(outcome.kind, OUTCOME_RESULT);
    assert_int_equal(outcome.code, CM_CONTENT);
    assert_int_equal(outcome.max_age_s, 20);
    assert_true(bytes_equal(buffer_view(&outcome.content), buffer_view(&issued)));
    assert_int_equal(outcome.serial.len, 0);
    est_outcome_free(&outcome);

    outcome = judge(EST_SEN, &response);
    assert_int_equal(outcome.kind, OUTCOME_RESULT);
    assert_int_equal(outcome.code, CM_CHANGED);
    assert_int_equal(outcome.max_age_s, 0);
    assert_true(bytes_equal(buffer_view(&outcome.content), buffer_view(&issued)));
    assert_serial_of_issued(&outcome);
    est_outcome_free(&outcome);
}

/* PAY-8: never a success, and for a POST the EST server may have issued all the same. */
static void an_answer_to_another_question_is_a_doubt(void **state)
{
    (void)state;
    EVP_PKEY *key = make_key();
    X509 *other = make_certificate(&(struct made_certificate){.key = key, .subject = "CN=other"});
    struct buffer der = make_certs_only(&other, 1), body;
    buffer_init(&body, MADE_LIMIT);
    base64_encode(buffer_view(&der), BASE64_64_LF, &body);
    struct est_response response = success();
    response.body = buffer_view(&body);
    struct est_outcome outcome = judge(EST_SEN, &response);
    assert_refused(&outcome, OUTCOME_IN_DOUBT, CM_BAD_GATEWAY,
                   "the EST server sent no certificate for this key");
    buffer_free(&body);
    buffer_free(&der);
    X509_free(other);
    EVP_PKEY_free(key);

    const struct bytes bad[] = {BYTES_LITERAL(""), BYTES_LITERAL("!"), BYTES_LITERAL("MAA="),
                                bytes_slice(buffer_view(&issued_base64), 0, 100), buffer_view(&issued)};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        response.body = bad[i];
        outcome = judge(EST_SEN, &response);
        assert_refused(&outcome, OUTCOME_IN_DOUBT, CM_BAD_GATEWAY, "the EST server's answer is of no use");
        outcome = judge(EST_CRTS, &response);
        assert_refused(&outcome, OUTCOME_REFUSED, CM_BAD_GATEWAY, "the EST server's answer is of no use");
    }
    response = success();
    response.content_type = BYTES_LITERAL("text/html");
    outcome = judge(EST_SEN, &response);
    assert_refused(&outcome, OUTCOME_IN_DOUBT, CM_BAD_GATEWAY, "the EST server's answer is of no use");
}

static int set_up(void **state)
{
    (void)state;
    struct buffer der = read_vector("rfc9148-A2-sen-request.csr.der");
    assert_int_equal(certificate_request_parse(buffer_view(&der), &csr), STATUS_OK);
    buffer_free(&der);
    issued = read_vector("rfc9148-A2-sen-response.p7.der");
    buffer_init(&issued_base64, MADE_LIMIT);
    base64_encode(buffer_view(&issued), BASE64_64_LF, &issued_base64);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    certificate_request_free(csr);
    buffer_free(&issued);
    buffer_free(&issued_base64);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silences_are_told_apart),
        cmocka_unit_test(statuses_follow_the_table),
        cmocka_unit_test(retry_after_is_passed_on),
        cmocka_unit_test(the_est_server_may_say_why),
        cmocka_unit_test(a_valid_body_is_a_result),
        cmocka_unit_test(an_answer_to_another_question_is_a_doubt),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
