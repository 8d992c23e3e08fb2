#include "registrar/exchange/est_outcome.h"

#include "common/coap_message.h"
#include "registrar/translate/freshness.h"
#include "registrar/translate/response_code.h"

#define SERIAL_DIGITS_MAX 64

/* RFC 7252 section 10.1, and the last two rows of requirements A8. */
static const struct {
    enum est_outcome_kind kind; /* of a POST; a GET leaves no doubt */
    uint8_t code;
    const char *diagnostic;
} silences[] = {
    [EST_NOT_SENT] = {OUTCOME_REFUSED, CM_GATEWAY_TIMEOUT, "the EST server was not reached"},
    [EST_TIMEOUT] = {OUTCOME_IN_DOUBT, CM_GATEWAY_TIMEOUT, "the EST server did not answer in time"},
    [EST_BROKEN] = {OUTCOME_IN_DOUBT, CM_BAD_GATEWAY, "the EST server did not answer properly"},
    [EST_UNTRUSTED] = {OUTCOME_REFUSED, CM_BAD_GATEWAY, "no TLS connection with the EST server"},
    [EST_QUEUE_FULL] = {OUTCOME_REFUSED, CM_SERVICE_UNAVAILABLE, ""},
    [EST_WITHHELD] = {OUTCOME_REFUSED, CM_SERVICE_UNAVAILABLE, ""},
};

static void judge_silence(const struct response_context *asked, enum est_result result,
                          struct est_outcome *outcome);
static void judge_status(const struct response_context *asked, const struct est_response *response,
                         int64_t now_unix, struct est_outcome *outcome);
static bool has_no_attributes(const struct response_context *asked, const struct est_response *response);
static void judge_body(const struct response_context *asked, const struct est_response *response,
                       uint8_t code, struct est_outcome *outcome);
static const char *fault_of(enum status status);
static void take_doubt(const struct response_context *asked, struct est_outcome *outcome);
static void judge_freshness(const struct response_context *asked, const struct est_response *response,
                            int64_t now_unix, struct est_outcome *outcome);
static uint32_t wait_of(const struct response_context *asked, const struct est_response *response,
                        int64_t now_unix);

void est_outcome_init(struct est_outcome *outcome, size_t limit)
{
    *outcome = (struct est_outcome){.kind = OUTCOME_REFUSED, .code = CM_INTERNAL_SERVER_ERROR};
    buffer_init(&outcome->content, limit);
    buffer_init(&outcome->serial, SERIAL_DIGITS_MAX);
}

void est_outcome_free(struct est_outcome *outcome)
{
    buffer_wipe(&outcome->content);
    buffer_free(&outcome->serial);
}

void est_outcome_refuse(struct est_outcome *outcome, uint8_t code, const char *diagnostic)
{
    outcome->kind = OUTCOME_REFUSED;
    outcome->code = code;
    outcome->max_age_s = 0;
    outcome->may_be_stale = false;
    buffer_reset(&outcome->content);
    buffer_reset(&outcome->serial);
    buffer_append_string(&outcome->content, diagnostic);
}

void est_outcome_judge(const struct response_context *asked, const struct est_response *response,
                       int64_t now_unix, struct est_outcome *outcome)
{
    if (response->result == EST_ANSWERED)
        judge_status(asked, response, now_unix, outcome);
    else
        judge_silence(asked, response->result, outcome);
}

static void judge_silence(const struct response_context *asked, enum est_result result,
                          struct est_outcome *outcome)
{
    est_outcome_refuse(outcome, silences[result].code, silences[result].diagnostic);
    if (outcome->code == CM_SERVICE_UNAVAILABLE)
        outcome->max_age_s = asked->settings->est.retry_after_s;
    if (silences[result].kind == OUTCOME_IN_DOUBT)
        take_doubt(asked, outcome);
}

static void judge_status(const struct response_context *asked, const struct est_response *response,
                         int64_t now_unix, struct est_outcome *outcome)
{
    struct http_mapping mapping =
        response_code_map(response->http_status, asked->operation->method, response->retry_after.len > 0);
    est_outcome_refuse(outcome, mapping.code, "");
    if (has_no_attributes(asked, response))
        mapping.disposition = HTTP_NOTHING;
    switch (mapping.disposition) {
    case HTTP_SUCCESS:
        judge_body(asked, response, mapping.code, outcome);
        judge_freshness(asked, response, now_unix, outcome);
        break;
    case HTTP_NOTHING:
        outcome->kind = OUTCOME_NOTHING;
        judge_freshness(asked, response, now_unix, outcome);
        break;
    case HTTP_RETRY:
        outcome->kind = OUTCOME_WAIT;
        outcome->max_age_s = wait_of(asked, response, now_unix);
        break;
    case HTTP_ANSWER:
        if (mapping.code != CM_NOT_ACCEPTABLE) /* RFC 7252 section 5.10.4: without payload */
            response_diagnostic(response->content_type, response->body, &outcome->content);
        if (mapping.may_have_issued)
            take_doubt(asked, outcome);
        break;
    }
}

/* 404 says so as well as 204 does (RFC 7030 section 4.5.2); where PoP is required there is an answer to that
 * (POP-8). */
static bool has_no_attributes(const struct response_context *asked, const struct est_response *response)
{
    return asked->operation->id == EST_ATT && asked->settings->est.pop == POP_REQUIRED &&
           response->http_status == 404;
}

static void judge_body(const struct response_context *asked, const struct est_response *response,
                       uint8_t code, struct est_outcome *outcome)
{
    enum status status = response_body_decode(asked, response->content_type, response->body,
                                              &outcome->content, &outcome->serial);
    if (status != STATUS_OK) {
        est_outcome_refuse(outcome, CM_BAD_GATEWAY, fault_of(status));
        take_doubt(asked, outcome);
        return;
    }
    outcome->kind = OUTCOME_RESULT;
    outcome->code = code;
}

static const char *fault_of(enum status status)
{
    switch (status) {
    case STATUS_MISMATCH:
        return "the EST server sent no certificate for this key";
    case STATUS_FORBIDDEN:
        return "the EST server's key is not protected as the CSR asks";
    default:
        return "the EST server's answer is of no use";
    }
}

static void take_doubt(const struct response_context *asked, struct est_outcome *outcome)
{
    if (asked->operation->method == CM_POST)
        outcome->kind = OUTCOME_IN_DOUBT;
}

/* RSP-4 */
static void judge_freshness(const struct response_context *asked, const struct est_response *response,
                            int64_t now_unix, struct est_outcome *outcome)
{
    const struct freshness_fields fields = {response->cache_control, response->age, response->expires,
                                            response->date};
    bool is_there = outcome->kind == OUTCOME_RESULT || outcome->kind == OUTCOME_NOTHING;
    if (!is_there || asked->operation->method != CM_GET)
        return;
    struct freshness freshness =
        freshness_judge(&fields, now_unix, asked->settings->upstream.cacerts_max_age_s);
    outcome->max_age_s = freshness.seconds;
    outcome->may_be_stale = freshness.may_be_stale;
}

/* RSP-2 */
static uint32_t wait_of(const struct response_context *asked, const struct est_response *response,
                        int64_t now_unix)
{
    const struct est_settings *settings = &asked->settings->est;
    return retry_after_seconds(response->retry_after, response->date, now_unix, settings->retry_after_s,
                               settings->retry_after_max_s);
}
