/* Drives whole exchanges; the EST server is this file: est_client_ask stands below. */
#include "registrar/exchange/exchange.h"

#include "common/base64.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "common/monotonic.h"
#include "common/rate_table.h"
#include "registrar/counters.h"
#include "registrar/exchange/journal_file.h"
#include "registrar/exchange/key_workshop.h"
#include "registrar/exchange/pending_enrolments.h"
#include "registrar/exchange/pending_journal.h"
#include "registrar/protocol/certificate_request.h"
#include "registrar/settings.h"
#include "registrar/translate/multipart_core.h"
#include "registrar/upstream/est_client.h"
#include "registrar/upstream/response_cache.h"
#include "registrar/upstream/webhook.h"
#include "tests/unit/registrar/credentials.h"
#include "tests/unit/registrar/keygen/capabilities.h"
#include "tests/unit/registrar/made_rules.h"
#include "tests/unit/registrar/test_chain.h"

#include <event2/event.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define CALLS_MAX      8
#define ANSWERS_MAX    8
#define PENDING_OCTETS 1000000 /* of the table */
#define CERTS_ONLY     "application/pkcs7-mime; smime-type=certs-only"
#define CSRATTRS       "application/csrattrs"
#define MIXED          "multipart/mixed; boundary=estServerBoundary"

struct est_call {
    bool went, withheld;
};

/* What the exchange asked the EST server. */
struct call {
    struct est_call turn; /* with a journal */
    struct est_call_settings settings;
    struct buffer body;
    char label[32];
    bool open;
};

struct est_client {
    struct call calls[CALLS_MAX];
    size_t count;
    enum status refusal; /* STATUS_OK: none */
};

/* What the exchange asked the webhook, which is this file, too. */
struct webhook {
    struct buffer question;
    webhook_done *done; /* NULL: nothing is asked now */
    void *user;
    size_t asked;
    bool is_full, fails_open;
};

/* What a device got. */
struct got {
    uint32_t request;
    struct est_answer answer;
    struct buffer payload;
};

struct fixture {
    struct settings settings;
    char label_name[8], label_path[32];
    struct label_settings label;
    struct metrics *metrics;
    struct event_base *base;
    struct mailbox *mailbox;
    struct pending_enrolments *pending;
    struct pending_journal *journal; /* NULL: none */
    char folder[64];                 /* of the journal */
    struct response_cache *cache;
    struct rate_table *rates;
    struct key_workshop *workshop;
    struct access_rules *rules;
    struct exchanges *exchanges;
    struct est_client est_client;
    struct webhook webhook;
    struct got got[ANSWERS_MAX];
    size_t got_count;
    bool device_is_gone;

    EVP_PKEY *key;
    X509 *certificate;
    struct client_identity *client;
    struct buffer csr, issued; /* DER */
};

static uint64_t skipped_ms;

/* In the place of the one of common/: a test skips what it would have to wait for. */
uint64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 + skipped_ms;
}

enum status est_client_ask(struct est_client *client, const struct est_call_settings *settings)
{
    if (client->refusal != STATUS_OK)
        return client->refusal;
    assert_true(client->count < CALLS_MAX);
    struct call *call = &client->calls[client->count++];
    call->settings = *settings;
    call->open = true;
    buffer_init(&call->body, MADE_LIMIT);
    buffer_append(&call->body, settings->body);
    snprintf(call->label, sizeof(call->label), "%.*s", (int)settings->label.len,
             (const char *)settings->label.at);
    if (settings->turn != NULL)
        settings->turn(settings->user, &call->turn);
    return STATUS_OK;
}

void est_call_go(struct est_call *call)
{
    call->went = true;
}

void est_call_withhold(struct est_call *call, const char *reason)
{
    (void)reason;
    call->withheld = true;
}

static void create_exchanges(struct fixture *fixture);

struct webhook_call *webhook_ask(struct webhook *webhook, struct bytes question, webhook_done *done,
                                 void *user)
{
    if (webhook->is_full)
        return NULL;
    assert_null(webhook->done);
    buffer_free(&webhook->question);
    buffer_init(&webhook->question, MADE_LIMIT);
    buffer_append(&webhook->question, question);
    webhook->done = done;
    webhook->user = user;
    webhook->asked++;
    return (struct webhook_call *)(void *)webhook;
}

bool webhook_fails_open(const struct webhook *webhook)
{
    return webhook->fails_open;
}

void webhook_cancel(struct webhook_call *call)
{
    struct webhook *webhook = (struct webhook *)(void *)call;
    if (webhook == NULL)
        return;
    assert_non_null(webhook->done);
    webhook->done = NULL;
}

/* The webhook's answer; status 0: none. */
static void decide(struct fixture *fixture, unsigned status, const char *body)
{
    webhook_done *done = fixture->webhook.done;
    assert_non_null(done);
    fixture->webhook.done = NULL;
    done(fixture->webhook.user,
         &(struct webhook_answer){status, bytes_from_string(body), status == 0 ? "test" : NULL});
}

/* The EST server answers call number index (or falls silent for good). */
static void respond(struct fixture *fixture, size_t index, const struct est_response *response)
{
    assert_true(index < fixture->est_client.count);
    struct call *call = &fixture->est_client.calls[index];
    assert_true(call->open);
    call->open = false;
    bool sent =
        response->result == EST_ANSWERED || response->result == EST_TIMEOUT || response->result == EST_BROKEN;
    if (sent)
        call->settings.sending(call->settings.user);
    call->settings.done(call->settings.user, response);
}

static void respond_with_status(struct fixture *fixture, size_t index, unsigned http_status)
{
    respond(fixture, index, &(struct est_response){.result = EST_ANSWERED, .http_status = http_status});
}

static void respond_with_silence(struct fixture *fixture, size_t index, enum est_result result)
{
    respond(fixture, index, &(struct est_response){.result = result, .reason = "test"});
}

static void respond_with_body(struct fixture *fixture, size_t index, const char *content_type,
                              struct bytes der)
{
    struct buffer body;
    buffer_init(&body, MADE_LIMIT);
    base64_encode(der, BASE64_64_LF, &body);
    struct est_response response = {.result = EST_ANSWERED,
                                    .http_status = 200,
                                    .content_type = bytes_from_string(content_type),
                                    .body = buffer_view(&body)};
    respond(fixture, index, &response);
    buffer_free(&body);
}

static void respond_with_certificate(struct fixture *fixture, size_t index)
{
    respond_with_body(fixture, index, CERTS_ONLY, buffer_view(&fixture->issued));
}

static bool take_answer(void *user, uint64_t association, uint32_t request, const struct est_answer *answer)
{
    struct fixture *fixture = user;
    assert_int_equal(association, 7);
    assert_true(fixture->got_count < ANSWERS_MAX);
    struct got *got = &fixture->got[fixture->got_count++];
    *got = (struct got){.request = request, .answer = *answer};
    buffer_init(&got->payload, MADE_LIMIT);
    buffer_append(&got->payload, answer->payload);
    return !fixture->device_is_gone;
}

/* One request, as downstream would start it. */
struct ask {
    enum est_operation_id id;
    const char *label;
    struct coap_etag etag;
    int accept, content_format; /* 0: absent; for POSTs content_format is 286 unless given */
    uint8_t method;             /* 0: the right one */
    struct bytes body;
    struct client_identity *client; /* NULL: the fixture's */
    bool anonymous;
    enum client_standing standing;
    struct channel_binding binding;
};

/* tls-unique "+rrCir/7+EYu50T4" and "dFsAXmJnjokBtDvr" */
static const struct channel_binding rfc7030_binding = {
    {0xfa, 0xba, 0xc2, 0x8a, 0xbf, 0xfb, 0xf8, 0x46, 0x2e, 0xe7, 0x44, 0xf8}, true, true};
static const struct channel_binding other_binding = {
    {0x74, 0x5b, 0x00, 0x5e, 0x62, 0x67, 0x8e, 0x89, 0x01, 0xb4, 0x3b, 0xeb}, true, true};

/* Returns the number of the request. */
static uint32_t start(struct fixture *fixture, const struct ask *ask)
{
    static uint32_t requests;
    const struct est_operation *operation = est_operation(ask->id);
    uint8_t method = ask->method != 0 ? ask->method : operation->method;
    int content_format = ask->content_format;
    if (content_format == 0 && method == CM_POST)
        content_format = CONTENT_FORMAT_PKCS10;
    uint8_t body[512 * 1024];
    assert_true(ask->body.len <= sizeof(body));
    if (ask->body.len > 0)
        memcpy(body, ask->body.at, ask->body.len);
    struct est_request request = {
        .route = {operation,
                  ask->label != NULL ? bytes_from_string(fixture->label_name) : bytes_from_string("")},
        .method = method,
        .accept = {ask->accept != 0, (uint32_t)ask->accept},
        .content_format = {content_format != 0, (uint32_t)content_format},
        .body = {body, ask->body.len},
        .etags = &ask->etag,
        .etag_count = ask->etag.len > 0 ? 1 : 0,
        .client = ask->client != NULL ? ask->client : fixture->client,
        .standing = ask->standing,
        .binding = ask->binding,
    };
    if (ask->anonymous)
        request.client = NULL;
    struct est_reply reply = {take_answer, fixture, 7, ++requests};
    exchange_start(fixture->exchanges, &request, &reply);
    memset(body, 0xee, sizeof(body)); /* what was borrowed is gone */
    return requests;
}

static uint32_t enrol(struct fixture *fixture)
{
    return start(fixture, &(struct ask){.id = EST_SEN, .body = buffer_view(&fixture->csr)});
}

/* Lets the loop run for at most so long, or until there are count answers. */
static void run_loop(struct fixture *fixture, size_t count, unsigned ms)
{
    for (unsigned i = 0; i < ms / 5 + 1 && fixture->got_count < count; i++) {
        struct timeval slice = {0, 5000};
        event_base_loopexit(fixture->base, &slice);
        event_base_dispatch(fixture->base);
    }
}

/* The latest answer. */
static const struct got *last(struct fixture *fixture, size_t count)
{
    assert_int_equal(fixture->got_count, count);
    return &fixture->got[count - 1];
}

static void assert_code(const struct got *got, uint8_t code)
{
    char expected[5], actual[5];
    assert_string_equal(coap_code_text(got->answer.code, actual), coap_code_text(code, expected));
}

static void assert_error(const struct got *got, uint8_t code, const char *diagnostic)
{
    assert_code(got, code);
    assert_int_equal(got->answer.content_format, CONTENT_FORMAT_NONE);
    assert_int_equal(got->answer.max_age.present, code == CM_SERVICE_UNAVAILABLE);
    assert_true(bytes_equal(buffer_view(&got->payload), bytes_from_string(diagnostic)));
}

static void assert_later(const struct got *got, uint32_t max_age_s)
{
    assert_error(got, CM_SERVICE_UNAVAILABLE, "");
    assert_int_equal(got->answer.max_age.value, max_age_s);
}

static void assert_enrolled(struct fixture *fixture, const struct got *got)
{
    assert_code(got, CM_CHANGED);
    assert_int_equal(got->answer.content_format, CONTENT_FORMAT_CERTS_ONLY);
    assert_true(bytes_equal(buffer_view(&got->payload), buffer_view(&fixture->issued)));
    assert_true(got->answer.had_effect);
    assert_false(got->answer.max_age.present); /* RSP-4 */
    assert_false(got->answer.size1.present);
}

static void assert_calls(struct fixture *fixture, size_t count)
{
    assert_int_equal(fixture->est_client.count, count);
}

/* Of the fixture's CSR on /sen. */
static void assert_pending(struct fixture *fixture, enum pending_state expected)
{
    struct certificate_request *request = NULL;
    struct pending_key key;
    uint8_t digest[32];
    enum pending_state state;
    assert_int_equal(certificate_request_parse(buffer_view(&fixture->csr), &request), STATUS_OK);
    assert_int_equal(certificate_request_digest(request, digest), STATUS_OK);
    assert_int_equal(pending_key_make(client_identity_fingerprint(fixture->client), BYTES_LITERAL("sen"),
                                      BYTES_LITERAL(""), digest, &key),
                     STATUS_OK);
    assert_true(pending_enrolments_state(fixture->pending, &key, &state));
    assert_int_equal(state, expected);
    certificate_request_free(request);
}

/* CF-1, CF-4, RSP-4, Q2: /crts in the default format, with what is left of its freshness. */
static void crts_are_fetched_once(void **state)
{
    struct fixture *fixture = *state;
    struct buffer crts = read_vector("rfc9148-A1-crts-response.p7.der");
    struct buffer root = read_vector("rfc9148-A1-crts-response.ee.cert.der");
    uint32_t request = start(fixture, &(struct ask){.id = EST_CRTS});
    assert_calls(fixture, 1);
    assert_int_equal(fixture->est_client.calls[0].settings.operation->id, EST_CRTS);
    assert_int_equal(fixture->est_client.calls[0].body.len, 0);
    assert_int_equal(exchanges_running(fixture->exchanges), 1);
    respond_with_body(fixture, 0, CERTS_ONLY, buffer_view(&crts));
    const struct got *got = last(fixture, 1);
    assert_code(got, CM_CONTENT);
    assert_int_equal(got->request, request);
    assert_int_equal(got->answer.content_format, CONTENT_FORMAT_CERTS_ONLY);
    assert_true(bytes_equal(buffer_view(&got->payload), buffer_view(&crts)));
    assert_true(got->answer.max_age.present);
    assert_int_equal(got->answer.max_age.value, 300);
    assert_false(got->answer.had_effect);

    start(fixture, &(struct ask){.id = EST_CRTS, .accept = CONTENT_FORMAT_ONE_CERT, .content_format = 285});
    got = last(fixture, 2); /* from memory; the Content-Format of a GET is ignored (CF-3) */
    assert_code(got, CM_CONTENT);
    assert_int_equal(got->answer.content_format, CONTENT_FORMAT_ONE_CERT);
    assert_true(bytes_equal(buffer_view(&got->payload), buffer_view(&root)));
    assert_in_range(got->answer.max_age.value, 298, 300);
    assert_calls(fixture, 1);
    start(fixture, &(struct ask){.id = EST_CRTS, .label = "p1"}); /* another label is another resource */
    assert_calls(fixture, 2);
    assert_string_equal(fixture->est_client.calls[1].label, "p1");
    respond_with_status(fixture, 1, 404);
    assert_error(last(fixture, 3), CM_NOT_FOUND, "");
    assert_int_equal(exchanges_running(fixture->exchanges), 0);
    buffer_free(&crts);
    buffer_free(&root);
}

/* DTLS-9, RE-6: nothing goes upstream, and an association without rights ends. */
static void standing_decides_who_is_heard(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        enum client_standing standing;
        uint8_t code; /* 0: it goes upstream */
        bool ends;
    } rows[] = {
        {STANDING_GOOD, 0, false},
        {STANDING_UNCHECKED, 0, false},
        {STANDING_RENEWAL, CM_FORBIDDEN, false},
        {STANDING_EXPIRED, CM_UNAUTHORIZED, true},
        {STANDING_UNTRUSTED, CM_UNAUTHORIZED, true},
        {STANDING_UNKNOWN, CM_UNAUTHORIZED, true},
        {STANDING_REVOKED, CM_UNAUTHORIZED, true},
    };
    size_t count = 0, calls = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        start(fixture, &(struct ask){.id = EST_CRTS, .standing = rows[i].standing});
        if (rows[i].code == 0) {
            respond_with_status(fixture, calls++, 404);
            assert_error(last(fixture, ++count), CM_NOT_FOUND, "");
        } else {
            assert_error(last(fixture, ++count), rows[i].code, client_standing_text(rows[i].standing));
        }
        assert_int_equal(last(fixture, count)->answer.ends_association, rows[i].ends);
        assert_calls(fixture, calls);
    }
}

/* RE-1, RE-3: and nothing goes upstream, whatever access.csr_identity says. */
static void renewal_takes_the_certificate_renewed(void **state)
{
    struct fixture *fixture = *state;
    struct client_identity *idevid =
        client_identity_create(fixture->certificate, test_chain(TRUST_MANUFACTURER));
    fixture->settings.access.csr_identity = CSR_IDENTITY_ANY;
    struct ask ask = {.id = EST_SREN, .body = buffer_view(&fixture->csr), .client = idevid};
    start(fixture, &ask);
    assert_error(last(fixture, 1), CM_FORBIDDEN,
                 "only a certificate of this domain can be renewed; use /sen");
    struct buffer other = make_request(&(struct made_request){.key = fixture->key, .subject = "CN=other"});
    start(fixture, &(struct ask){.id = EST_SREN, .body = buffer_view(&other)});
    assert_error(last(fixture, 2), CM_FORBIDDEN,
                 "the CSR's subject is not that of the certificate to be renewed");
    assert_calls(fixture, 0);
    start(fixture, &(struct ask){.id = EST_SREN, .body = buffer_view(&fixture->csr)});
    assert_calls(fixture, 1);
    respond_with_certificate(fixture, 0);
    assert_enrolled(fixture, last(fixture, 3));
    buffer_free(&other);
    client_identity_release(idevid);
}

/* CF-6 */
static void an_ambiguous_bag_is_not_acceptable_as_287(void **state)
{
    struct fixture *fixture = *state;
    struct buffer crts = read_vector("rfc7030-A1-cacerts.p7.der");
    start(fixture, &(struct ask){.id = EST_CRTS, .accept = CONTENT_FORMAT_ONE_CERT});
    respond_with_body(fixture, 0, "application/pkcs7-mime", buffer_view(&crts));
    assert_error(last(fixture, 1), CM_NOT_ACCEPTABLE, "");
    start(fixture, &(struct ask){.id = EST_CRTS});
    assert_code(last(fixture, 2), CM_CONTENT);
    assert_calls(fixture, 1);
    buffer_free(&crts);
}

/* RFC 7252 section 5.6: whoever comes while a fetch runs waits for it, also for its failure. */
static void fetches_are_shared(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 3; i++)
        start(fixture, &(struct ask){.id = EST_CRTS});
    assert_calls(fixture, 1);
    assert_int_equal(fixture->got_count, 0);
    respond_with_silence(fixture, 0, EST_TIMEOUT);
    run_loop(fixture, 3, 20000);
    for (size_t i = 0; i < 3; i++)
        assert_error(&fixture->got[i], CM_GATEWAY_TIMEOUT, "the EST server did not answer in time");
    assert_int_equal(exchanges_running(fixture->exchanges), 0);
    start(fixture, &(struct ask){.id = EST_CRTS}); /* failures are not kept */
    assert_calls(fixture, 2);
}

/* Q6: what /att says when there are none, from the EST server and from memory. */
static void missing_attributes_follow_the_policy(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        enum est_att_empty policy;
        uint8_t code;
        size_t len;
    } rows[] = {{ATT_EMPTY_NOT_FOUND, CM_NOT_FOUND, 0},
                {ATT_EMPTY_SEQUENCE, CM_CONTENT, 2},
                {ATT_EMPTY_CONTENT, CM_CONTENT, 0}};
    for (size_t i = 0; i < 3; i++) {
        fixture->settings.est.att_empty = rows[i].policy;
        start(fixture, &(struct ask){.id = EST_ATT});
        if (i == 0)
            respond_with_status(fixture, 0, 204);
        const struct got *got = last(fixture, i + 1);
        assert_code(got, rows[i].code);
        assert_int_equal(got->payload.len, rows[i].len);
        assert_int_equal(got->answer.content_format,
                         rows[i].len > 0 ? CONTENT_FORMAT_CSRATTRS : CONTENT_FORMAT_NONE);
    }
    assert_calls(fixture, 1);
}

/* PAY-9: attributes pass unchanged. */
static void attributes_pass_unchanged(void **state)
{
    struct fixture *fixture = *state;
    struct buffer att = read_vector("rfc9148-A4-att-response.csrattrs.der");
    start(fixture, &(struct ask){.id = EST_ATT, .accept = CONTENT_FORMAT_CSRATTRS});
    respond_with_body(fixture, 0, CSRATTRS, buffer_view(&att));
    const struct got *got = last(fixture, 1);
    assert_code(got, CM_CONTENT);
    assert_int_equal(got->answer.content_format, CONTENT_FORMAT_CSRATTRS);
    assert_true(bytes_equal(buffer_view(&got->payload), buffer_view(&att)));
    buffer_free(&att);
}

/* Requirements A8, the registrar's own answers: none of them asks the EST server. */
static void bad_requests_go_nowhere(void **state)
{
    struct fixture *fixture = *state;
    struct bytes csr = buffer_view(&fixture->csr);
    struct buffer flipped;
    buffer_init(&flipped, MADE_LIMIT);
    buffer_append(&flipped, csr);
    flipped.at[flipped.len - 1] ^= 1;
    const struct {
        struct ask ask;
        uint8_t code;
        const char *diagnostic;
    } rows[] = {
        {{.id = EST_SEN, .body = csr, .method = CM_GET}, CM_METHOD_NOT_ALLOWED, ""}, /* URI-8 */
        {{.id = EST_CRTS, .method = CM_POST}, CM_METHOD_NOT_ALLOWED, ""},
        {{.id = EST_CRTS, .accept = 60}, CM_NOT_ACCEPTABLE, ""}, /* CF-1 */
        {{.id = EST_SEN, .body = csr, .accept = 285}, CM_NOT_ACCEPTABLE, ""},
        {{.id = EST_SEN, .body = csr, .content_format = 281}, CM_UNSUPPORTED_CONTENT_FORMAT, ""}, /* CF-2 */
        {{.id = EST_SEN}, CM_BAD_REQUEST, "there is no CSR in the request"},
        {{.id = EST_SREN, .body = BYTES_LITERAL("MIIB")}, CM_BAD_REQUEST, "this is no CSR in DER"},
        {{.id = EST_SEN, .body = buffer_view(&flipped)},
         CM_BAD_REQUEST,
         "the CSR's signature does not verify"}, /* PAY-10 */
        {{.id = EST_CRTS, .anonymous = true}, CM_UNAUTHORIZED, ""},
    };
    size_t count = sizeof(rows) / sizeof(rows[0]);
    for (size_t i = 0; i < count; i++) {
        start(fixture, &rows[i].ask);
        const struct got *got = last(fixture, 1);
        assert_error(got, rows[i].code, rows[i].diagnostic);
        assert_false(got->answer.had_effect);
        buffer_free(&fixture->got[0].payload);
        fixture->got_count = 0;
    }
    assert_calls(fixture, 0);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_EXCHANGES_STARTED), count);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_EXCHANGES_ANSWERED), count);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_EXCHANGES_REFUSED), count);
    assert_int_equal(exchanges_running(fixture->exchanges), 0);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_PENDING_ENTRIES), 0);
    buffer_free(&flipped);
}

/* RE-7, RE-8 on both enrolments: 4.03, nothing upstream. */
static void an_ra_does_not_ask_for_everything(void **state)
{
    struct fixture *fixture = *state;
    const struct made_request rows[] = {
        {.key = fixture->key, .subject = "serialNumber=42", .extensions = {{"basicConstraints", "CA:TRUE"}}},
        {.key = fixture->key, .subject = "serialNumber=43"},
        {.key = fixture->key, .subject = "serialNumber=42", .extensions = {{"subjectAltName", "DNS:x"}}},
    };
    for (size_t i = 0; i < 6; i++) {
        struct buffer csr = make_request(&rows[i / 2]);
        start(fixture, &(struct ask){.id = i % 2 ? EST_SREN : EST_SEN, .body = buffer_view(&csr)});
        const struct got *got = last(fixture, i + 1);
        assert_code(got, CM_FORBIDDEN);
        assert_in_range(got->payload.len, 1, 128);
        buffer_free(&csr);
    }
    assert_calls(fixture, 0);
}

static void use_rules(struct fixture *fixture, const char *access)
{
    struct access_rules *rules = make_rules(access);
    exchanges_use_access_rules(fixture->exchanges, rules);
    access_rules_release(rules); /* whoever works by them holds them */
}

#define ASK_ABOUT_ALL "{\"default\":\"ask\",\"webhook\":{\"url\":\"unix:/decide\"}}"

/* DTLS-10: before the CSR is looked at, and whatever is under way goes on as it was decided. */
static void whom_the_rules_refuse_goes_nowhere(void **state)
{
    struct fixture *fixture = *state;
    enrol(fixture);
    use_rules(fixture, "{\"rules\":[{\"name\":\"out\",\"action\":\"deny\"}]}");
    start(fixture, &(struct ask){.id = EST_SEN, .body = BYTES_LITERAL("no CSR")});
    assert_code(last(fixture, 1), CM_FORBIDDEN);
    assert_in_range(fixture->got[0].payload.len, 1, 128);
    start(fixture, &(struct ask){.id = EST_SEN, .label = "p1", .body = buffer_view(&fixture->csr)});
    assert_code(last(fixture, 2), CM_FORBIDDEN);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_ACCESS_DENIED), 2);
    respond_with_certificate(fixture, 0);
    assert_enrolled(fixture, last(fixture, 3));
    assert_calls(fixture, 1);
}

static void the_webhook_is_asked_before_the_est_server(void **state)
{
    struct fixture *fixture = *state;
    use_rules(fixture, ASK_ABOUT_ALL);
    enrol(fixture);
    assert_calls(fixture, 0);
    assert_non_null(strstr(buffer_string(&fixture->webhook.question), "\"operation\":\"sen\""));
    decide(fixture, 200, "{\"decision\":\"deny\",\"reason\":\"stolen\"}");
    assert_code(last(fixture, 1), CM_FORBIDDEN);
    assert_string_equal(buffer_string(&fixture->got[0].payload), "stolen");
    assert_calls(fixture, 0);
    enrol(fixture);
    decide(fixture, 200, "{\"decision\":\"allow\"}");
    assert_calls(fixture, 1);
    respond_with_certificate(fixture, 0);
    assert_enrolled(fixture, last(fixture, 2));
    start(fixture, &(struct ask){.id = EST_SEN, .body = BYTES_LITERAL("no CSR")});
    assert_code(last(fixture, 3), CM_BAD_REQUEST);
    assert_int_equal(fixture->webhook.asked, 2);
}

static void without_a_decision_the_device_comes_back(void **state)
{
    struct fixture *fixture = *state;
    use_rules(fixture, ASK_ABOUT_ALL);
    enrol(fixture);
    decide(fixture, 0, "");
    assert_later(last(fixture, 1), 60);
    enrol(fixture);
    decide(fixture, 500, "{\"decision\":\"allow\"}");
    assert_later(last(fixture, 2), 60);
    fixture->webhook.is_full = true;
    enrol(fixture);
    assert_later(last(fixture, 3), 60);
    assert_calls(fixture, 0);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_WEBHOOK_FAILED), 3);
    fixture->webhook.fails_open = true;
    enrol(fixture);
    assert_calls(fixture, 1);
    respond_with_certificate(fixture, 0);
    assert_enrolled(fixture, last(fixture, 4));
}

/* What an operator says meanwhile is for those who ask after it. */
static void a_question_ends_by_the_terms_it_was_put_under(void **state)
{
    struct fixture *fixture = *state;
    use_rules(fixture, ASK_ABOUT_ALL);
    enrol(fixture);
    fixture->webhook.fails_open = true;
    decide(fixture, 0, "");
    assert_later(last(fixture, 1), 60);
    assert_calls(fixture, 0);
}

/* The webhook is not silent, it was not asked: no device opens the door by what cannot be asked about. */
static void what_cannot_be_asked_is_not_allowed(void **state)
{
    enum { NAME_OCTETS = 300000 };
    struct fixture *fixture = *state;
    char *name = malloc(NAME_OCTETS + 1);
    assert_non_null(name);
    memset(name, 'a', NAME_OCTETS);
    memcpy(name, "URI:", 4);
    name[NAME_OCTETS] = '\0';
    struct buffer csr = make_request(&(struct made_request){
        .key = fixture->key, .subject = "serialNumber=42", .extensions = {{"subjectAltName", name}}});
    use_rules(fixture,
              "{\"default\":\"ask\",\"csr_identity\":\"any\",\"webhook\":{\"url\":\"unix:/decide\"}}");
    fixture->webhook.fails_open = true;
    start(fixture, &(struct ask){.id = EST_SEN, .body = buffer_view(&csr)});
    assert_later(last(fixture, 1), 60);
    assert_int_equal(fixture->webhook.asked, 0);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_WEBHOOK_FAILED), 1);
    assert_calls(fixture, 0);
    buffer_free(&csr);
    free(name);
}

/* DLY-3 holds while the webhook decides, and nothing has had an effect then. */
static void a_slow_webhook_is_not_outwaited(void **state)
{
    struct fixture *fixture = *state;
    use_rules(fixture, ASK_ABOUT_ALL);
    enrol(fixture);
    run_loop(fixture, 1, 20000);
    assert_later(last(fixture, 1), 60);
    assert_false(fixture->got[0].answer.had_effect);
    assert_null(fixture->webhook.done);
    assert_int_equal(exchanges_running(fixture->exchanges), 0);
    assert_calls(fixture, 0);
    enrol(fixture); /* the registrar stops meanwhile */
    exchanges_free(fixture->exchanges);
    assert_null(fixture->webhook.done);
    create_exchanges(fixture);
}

/* The way of an enrolment: PAY-2, POP-7, CF-4, CF-5. */
static void a_device_enrols(void **state)
{
    struct fixture *fixture = *state;
    uint32_t request = start(fixture, &(struct ask){.id = EST_SREN,
                                                    .label = "p1",
                                                    .accept = CONTENT_FORMAT_CERTS_ONLY,
                                                    .body = buffer_view(&fixture->csr)});
    assert_calls(fixture, 1);
    const struct call *call = &fixture->est_client.calls[0];
    assert_int_equal(call->settings.operation->id, EST_SREN);
    assert_string_equal(call->label, "p1");
    struct buffer der;
    buffer_init(&der, MADE_LIMIT);
    assert_int_equal(base64_decode(buffer_view(&call->body), &der), STATUS_OK);
    assert_true(bytes_equal(buffer_view(&der), buffer_view(&fixture->csr)));
    buffer_free(&der);
    respond_with_certificate(fixture, 0);
    assert_enrolled(fixture, last(fixture, 1));
    assert_int_equal(fixture->got[0].request, request);

    struct buffer certificate = encode_certificate(fixture->certificate); /* for the same key */
    X509 *both[] = {fixture->certificate};
    struct buffer bag = make_certs_only(both, 1);
    start(fixture, &(struct ask){
                       .id = EST_SEN, .accept = CONTENT_FORMAT_ONE_CERT, .body = buffer_view(&fixture->csr)});
    respond_with_body(fixture, 1, CERTS_ONLY, buffer_view(&bag));
    const struct got *got = last(fixture, 2);
    assert_code(got, CM_CHANGED);
    assert_int_equal(got->answer.content_format, CONTENT_FORMAT_ONE_CERT);
    assert_true(bytes_equal(buffer_view(&got->payload), buffer_view(&certificate)));
    buffer_free(&bag);
    buffer_free(&certificate);
}

/* DLY-4: a repetition gets the same certificate, in the format that it asks for, and nobody is asked. */
static void a_repetition_is_answered_from_the_table(void **state)
{
    struct fixture *fixture = *state;
    enrol(fixture);
    enrol(fixture); /* too early */
    assert_later(last(fixture, 1), 1);
    assert_false(fixture->got[0].answer.had_effect);
    respond_with_certificate(fixture, 0);
    assert_enrolled(fixture, last(fixture, 2));
    enrol(fixture);
    assert_enrolled(fixture, last(fixture, 3));
    start(fixture, &(struct ask){
                       .id = EST_SEN, .accept = CONTENT_FORMAT_ONE_CERT, .body = buffer_view(&fixture->csr)});
    assert_code(last(fixture, 4), CM_CHANGED);
    assert_calls(fixture, 1);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_PENDING_REPEATED), 2);
}

/* Design: a CSR rebuilt after a new handshake (new challengePassword) finds its transaction. */
static void a_rebuilt_csr_finds_its_transaction(void **state)
{
    struct fixture *fixture = *state;
    struct made_request made = {
        .key = fixture->key, .subject = "serialNumber=42", .challenge_password = "+rrCir/7+EYu50T4"};
    struct buffer first = make_request(&made);
    made.challenge_password = "dFsAXmJnjokBtDvr";
    struct buffer second = make_request(&made);
    struct ask ask = {.id = EST_SEN, .body = buffer_view(&first), .binding = rfc7030_binding};
    start(fixture, &ask);
    respond_with_certificate(fixture, 0);
    ask = (struct ask){.id = EST_SEN, .body = buffer_view(&second), .binding = other_binding};
    start(fixture, &ask);
    assert_enrolled(fixture, last(fixture, 2));
    assert_calls(fixture, 1);
    buffer_free(&first);
    buffer_free(&second);
}

static void assert_unlinked(struct fixture *fixture, size_t count)
{
    assert_error(last(fixture, count), CM_UNAUTHORIZED,
                 "PoP linking failed: challengePassword is not the tls-unique of this session");
}

/* POP-1, POP-5, POP-9: 4.01 and nothing upstream; a key of the server's needs no proof, but a wrong one is
 * wrong. */
static void only_linked_csrs_go_upstream(void **state)
{
    struct fixture *fixture = *state;
    struct buffer linked = make_request(&(struct made_request){
        .key = fixture->key, .subject = "serialNumber=42", .challenge_password = "+rrCir/7+EYu50T4"});
    static const enum est_operation_id ids[] = {EST_SEN, EST_SREN, EST_SKG, EST_SKC};
    for (size_t i = 0; i < 4; i++) {
        start(fixture, &(struct ask){.id = ids[i], .body = buffer_view(&linked), .binding = other_binding});
        assert_unlinked(fixture, i + 1);
    }
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_PROOFS_REFUSED), 4);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_PENDING_ENTRIES), 0);
    fixture->settings.est.pop = POP_REQUIRED;
    enrol(fixture);
    assert_error(last(fixture, 5), CM_UNAUTHORIZED,
                 "PoP linking is required: the CSR has no challengePassword (RFC 7030 section 3.5)");
    assert_calls(fixture, 0);
    start(fixture, &(struct ask){.id = EST_SKG, .body = buffer_view(&fixture->csr)});
    start(fixture, &(struct ask){.id = EST_SEN, .body = buffer_view(&linked), .binding = rfc7030_binding});
    assert_calls(fixture, 2);
    struct buffer sent; /* POP-7 */
    buffer_init(&sent, MADE_LIMIT);
    assert_int_equal(base64_decode(buffer_view(&fixture->est_client.calls[1].body), &sent), STATUS_OK);
    assert_true(bytes_equal(buffer_view(&sent), buffer_view(&linked)));
    buffer_free(&sent);
    buffer_free(&linked);
}

/* DLY-7: what passed once passes again to the octet, over whatever association, for as long as its enrolment
 * is known; for the same client and operation only, and not when rebuilt with a wrong value. */
static void an_identical_csr_need_not_be_linked_again(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.est.pop = POP_REQUIRED;
    const struct made_request made = {
        .key = fixture->key, .subject = "serialNumber=42", .challenge_password = "+rrCir/7+EYu50T4"};
    struct buffer linked = make_request(&made), rebuilt = make_request(&made); /* signed anew */
    struct ask ask = {.id = EST_SEN, .body = buffer_view(&linked), .binding = other_binding};
    start(fixture, &ask);
    assert_unlinked(fixture, 1);
    ask.binding = rfc7030_binding;
    start(fixture, &ask);
    ask.binding = other_binding;
    start(fixture, &ask);
    assert_later(last(fixture, 2), 1);
    respond_with_certificate(fixture, 0);
    assert_enrolled(fixture, last(fixture, 3));
    start(fixture, &ask);
    assert_enrolled(fixture, last(fixture, 4));
    ask.body = buffer_view(&rebuilt);
    start(fixture, &ask);
    assert_unlinked(fixture, 5);
    ask = (struct ask){.id = EST_SREN, .body = buffer_view(&linked), .binding = other_binding};
    start(fixture, &ask);
    assert_unlinked(fixture, 6);
    assert_calls(fixture, 1);
    buffer_free(&linked);
    buffer_free(&rebuilt);
}

/* POP-8: where PoP is required /att says so, whatever the EST server says, and from memory too. */
static void attributes_announce_that_pop_is_required(void **state)
{
    struct fixture *fixture = *state;
    struct buffer announcement = read_vector("derived-csrattrs-challengePassword-only.der");
    fixture->settings.est.pop = POP_REQUIRED;
    start(fixture, &(struct ask){.id = EST_ATT});
    respond_with_status(fixture, 0, 404);
    start(fixture, &(struct ask){.id = EST_ATT, .label = "p1"});
    respond_with_status(fixture, 1, 204);
    start(fixture, &(struct ask){.id = EST_ATT});
    for (size_t i = 0; i < 3; i++) {
        const struct got *got = &fixture->got[i];
        assert_code(got, CM_CONTENT);
        assert_int_equal(got->answer.content_format, CONTENT_FORMAT_CSRATTRS);
        assert_in_range(got->answer.max_age.value, 1, 300);
        assert_true(bytes_equal(buffer_view(&got->payload), buffer_view(&announcement)));
    }
    assert_calls(fixture, 2);
    buffer_free(&announcement);
}

static void attributes_with_an_announcement_of_pop(void **state)
{
    struct fixture *fixture = *state;
    struct buffer template = read_vector("rfc9908-5.1-acp.csrattrs.der");
    fixture->settings.est.pop = POP_REQUIRED;
    start(fixture, &(struct ask){.id = EST_ATT});
    respond_with_body(fixture, 0, CSRATTRS, buffer_view(&template));
    assert_code(last(fixture, 1), CM_CONTENT);
    assert_int_equal(fixture->got[0].payload.len, template.len + 11);
    fixture->settings.est.pop = POP_IF_PRESENT;
    start(fixture, &(struct ask){.id = EST_ATT}); /* what is kept is what came */
    assert_true(bytes_equal(buffer_view(&last(fixture, 2)->payload), buffer_view(&template)));
    assert_calls(fixture, 1);
    buffer_free(&template);
}

/* DLY-6: another client, another operation, another label: another transaction. */
static void others_do_not_collect_the_result(void **state)
{
    struct fixture *fixture = *state;
    EVP_PKEY *key = make_key();
    X509 *certificate =
        make_certificate(&(struct made_certificate){.key = key, .subject = "serialNumber=42"});
    struct client_identity *other = client_identity_create(certificate, test_chain(TRUST_DOMAIN));
    struct bytes csr = buffer_view(&fixture->csr);
    enrol(fixture);
    respond_with_certificate(fixture, 0);
    start(fixture, &(struct ask){.id = EST_SEN, .body = csr, .client = other});
    assert_calls(fixture, 2);
    start(fixture, &(struct ask){.id = EST_SREN, .body = csr});
    assert_calls(fixture, 3);
    start(fixture, &(struct ask){.id = EST_SEN, .body = csr, .label = "p1"});
    assert_calls(fixture, 4);
    client_identity_release(other); /* its exchange holds on to it */
    respond_with_certificate(fixture, 1);
    assert_enrolled(fixture, last(fixture, 2));
    X509_free(certificate);
    EVP_PKEY_free(key);
}

/* DLY-3: 5.03 in time, the request runs on, and the next POST gets what came of it. */
static void a_slow_est_server_is_outwaited(void **state)
{
    struct fixture *fixture = *state;
    enrol(fixture);
    assert_pending(fixture, PENDING_QUEUED);
    fixture->est_client.calls[0].settings.sending(fixture->est_client.calls[0].settings.user);
    assert_pending(fixture, PENDING_SENT); /* before the first octet leaves */
    run_loop(fixture, 1, 20000);
    assert_later(last(fixture, 1), 1);
    assert_true(fixture->got[0].answer.had_effect);
    assert_int_equal(exchanges_running(fixture->exchanges), 1);
    enrol(fixture);
    assert_later(last(fixture, 2), 1);
    respond_with_certificate(fixture, 0);
    assert_int_equal(fixture->got_count, 2); /* every exchange answers exactly once */
    assert_int_equal(exchanges_running(fixture->exchanges), 0);
    enrol(fixture);
    assert_enrolled(fixture, last(fixture, 3));
    assert_calls(fixture, 1);
}

/* DLY-3: a refusal that comes late is heard by the next POST, which would otherwise be told to come back for
 * ever; the one after it asks again. */
static void a_slow_refusal_is_heard(void **state)
{
    struct fixture *fixture = *state;
    struct est_response no = {.result = EST_ANSWERED,
                              .http_status = 403,
                              .content_type = BYTES_LITERAL("text/plain"),
                              .body = BYTES_LITERAL("unknown device")};
    enrol(fixture);
    run_loop(fixture, 1, 20000);
    assert_later(last(fixture, 1), 1);
    respond(fixture, 0, &no);
    assert_int_equal(fixture->got_count, 1);
    fixture->device_is_gone = true;
    enrol(fixture);
    fixture->device_is_gone = false;
    enrol(fixture);
    assert_error(last(fixture, 3), CM_FORBIDDEN, "unknown device");
    assert_calls(fixture, 1);
    enrol(fixture);
    assert_calls(fixture, 2);
}

/* CF-8: who names the ETag of what it has gets no payload. Another format is another representation. */
static void what_the_device_has_is_not_sent_again(void **state)
{
    struct fixture *fixture = *state;
    struct buffer crts = read_vector("rfc9148-A1-crts-response.p7.der");
    start(fixture, &(struct ask){.id = EST_CRTS});
    respond_with_body(fixture, 0, CERTS_ONLY, buffer_view(&crts));
    struct coap_etag etag = last(fixture, 1)->answer.etag;
    assert_int_equal(etag.len, 8);

    start(fixture, &(struct ask){.id = EST_CRTS, .etag = etag});
    const struct got *got = last(fixture, 2);
    assert_code(got, CM_VALID);
    assert_int_equal(got->payload.len, 0);
    assert_int_equal(got->answer.content_format, CONTENT_FORMAT_NONE);
    assert_true(got->answer.max_age.present);
    assert_memory_equal(got->answer.etag.octets, etag.octets, sizeof etag.octets);

    start(fixture, &(struct ask){.id = EST_CRTS, .etag = etag, .accept = CONTENT_FORMAT_ONE_CERT});
    assert_code(last(fixture, 3), CM_CONTENT);
    etag.octets[7] ^= 1;
    start(fixture, &(struct ask){.id = EST_CRTS, .etag = etag});
    assert_code(last(fixture, 4), CM_CONTENT);
    etag.octets[7] ^= 1;
    etag.len = 7;
    start(fixture, &(struct ask){.id = EST_CRTS, .etag = etag});
    assert_code(last(fixture, 5), CM_CONTENT);
    enrol(fixture);
    respond_with_certificate(fixture, 1);
    assert_int_equal(last(fixture, 6)->answer.etag.len, 0);
    buffer_free(&crts);
}

/* RSP-4: while the EST server is down, at once or when it does not answer in time. */
static void stale_is_better_than_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct buffer crts = read_vector("rfc9148-A1-crts-response.p7.der");
    fixture->settings.upstream.cacerts_max_age_s = 0;
    start(fixture, &(struct ask){.id = EST_CRTS});
    respond_with_body(fixture, 0, CERTS_ONLY, buffer_view(&crts));

    start(fixture, &(struct ask){.id = EST_CRTS}); /* it fetches, for too long */
    start(fixture, &(struct ask){.id = EST_CRTS}); /* it waits */
    assert_calls(fixture, 2);
    run_loop(fixture, 3, 20000);
    for (size_t i = 1; i < 3; i++) {
        assert_code(&fixture->got[i], CM_CONTENT);
        assert_int_equal(fixture->got[i].answer.max_age.value, 0);
        assert_true(bytes_equal(buffer_view(&fixture->got[i].payload), buffer_view(&crts)));
    }
    assert_int_equal(exchanges_running(fixture->exchanges), 1);
    respond_with_silence(fixture, 1, EST_NOT_SENT);
    assert_int_equal(exchanges_running(fixture->exchanges), 0);

    start(fixture, &(struct ask){.id = EST_CRTS}); /* the EST server is left alone for a while */
    assert_code(last(fixture, 4), CM_CONTENT);
    assert_calls(fixture, 2);
    buffer_free(&crts);
}

/* SEC-3, RFC 8516: of one device too many in a minute; and of all too many at a time. */
static void not_all_requests_are_let_in(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(exchanges_admit(fixture->exchanges, fixture->client).code, 0);
    assert_int_equal(exchanges_admit(fixture->exchanges, fixture->client).code, 0);
    struct exchange_admission refusal = exchanges_admit(fixture->exchanges, fixture->client);
    assert_int_equal(refusal.code, CM_TOO_MANY_REQUESTS);
    assert_int_equal(refusal.max_age_s, 1);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_REQUESTS_LIMITED), 1);

    X509 *certificate =
        make_certificate(&(struct made_certificate){.key = fixture->key, .subject = "serialNumber=43"});
    struct client_identity *other = client_identity_create(certificate, test_chain(TRUST_MANUFACTURER));
    for (unsigned i = 0; i < 3; i++)
        start(fixture, &(struct ask){.id = EST_CRTS});
    refusal = exchanges_admit(fixture->exchanges, other);
    assert_int_equal(refusal.code, CM_SERVICE_UNAVAILABLE);
    assert_int_equal(refusal.max_age_s, 60);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_REQUESTS_SHED), 1);
    respond_with_status(fixture, 0, 404);
    run_loop(fixture, 3, 20000);
    assert_int_equal(exchanges_admit(fixture->exchanges, other).code, 0);
    client_identity_release(other);
    X509_free(certificate);
}

/* DLY-3 for GETs: who fetches runs on, who merely waits is forgotten. */
static void a_slow_fetch_is_outwaited(void **state)
{
    struct fixture *fixture = *state;
    struct buffer crts = read_vector("rfc9148-A1-crts-response.p7.der");
    start(fixture, &(struct ask){.id = EST_CRTS});
    start(fixture, &(struct ask){.id = EST_CRTS});
    run_loop(fixture, 2, 20000);
    assert_int_equal(fixture->got_count, 2);
    assert_later(&fixture->got[0], 5);
    assert_later(&fixture->got[1], 5);
    assert_int_equal(exchanges_running(fixture->exchanges), 1);
    respond_with_body(fixture, 0, CERTS_ONLY, buffer_view(&crts));
    assert_int_equal(exchanges_running(fixture->exchanges), 0);
    start(fixture, &(struct ask){.id = EST_CRTS});
    assert_code(last(fixture, 3), CM_CONTENT);
    assert_calls(fixture, 1);
    buffer_free(&crts);
}

/* Life of an exchange: the device is gone when the answer comes; its result outlives the time of grace. */
static void a_result_waits_for_a_device_that_is_gone(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.est.grace_s = 0; /* what counts as delivered is gone at once */
    fixture->device_is_gone = true;
    enrol(fixture);
    respond_with_certificate(fixture, 0);
    fixture->device_is_gone = false;
    enrol(fixture);
    assert_enrolled(fixture, last(fixture, 2));
    assert_calls(fixture, 1);
    enrol(fixture); /* now it was delivered */
    assert_calls(fixture, 2);
}

/* RSP-2, DLY-4: before Retry-After has elapsed nobody is asked, after it the identical body is sent again. */
static void retry_after_is_kept(void **state)
{
    struct fixture *fixture = *state;
    struct est_response wait = {
        .result = EST_ANSWERED, .http_status = 202, .retry_after = BYTES_LITERAL("120")};
    enrol(fixture);
    respond(fixture, 0, &wait);
    assert_later(last(fixture, 1), 120);
    assert_true(fixture->got[0].answer.had_effect);
    enrol(fixture);
    assert_in_range(last(fixture, 2)->answer.max_age.value, 119, 120);
    assert_calls(fixture, 1);
}

static void an_elapsed_retry_after_asks_again(void **state)
{
    struct fixture *fixture = *state;
    struct est_response wait = {
        .result = EST_ANSWERED, .http_status = 503, .retry_after = BYTES_LITERAL("60")};
    enrol(fixture);
    respond(fixture, 0, &wait);
    assert_later(last(fixture, 1), 60);
    enrol(fixture);
    assert_later(last(fixture, 2), 60);
    skipped_ms += 60000;
    enrol(fixture);
    assert_calls(fixture, 2);
    assert_true(bytes_equal(buffer_view(&fixture->est_client.calls[1].body),
                            buffer_view(&fixture->est_client.calls[0].body)));
    respond_with_certificate(fixture, 1);
    assert_enrolled(fixture, last(fixture, 3));
}

/* Only the EST server that has answered 202 knows the enrolment; one that is overloaded does not. */
static void what_waits_asks_the_same_server(void **state)
{
    struct fixture *fixture = *state;
    struct est_response wait = {
        .result = EST_ANSWERED, .http_status = 503, .retry_after = BYTES_LITERAL("60"), .server = 4};
    enrol(fixture);
    assert_int_equal(fixture->est_client.calls[0].settings.server, 0);
    respond(fixture, 0, &wait);
    skipped_ms += 60000;
    enrol(fixture);
    assert_int_equal(fixture->est_client.calls[1].settings.server, 0);
    wait.http_status = 202;
    respond(fixture, 1, &wait);
    skipped_ms += 60000;
    enrol(fixture);
    assert_int_equal(fixture->est_client.calls[2].settings.server, 4);
    respond_with_silence(fixture, 2, EST_NOT_SENT);
    enrol(fixture);
    assert_int_equal(fixture->est_client.calls[3].settings.server, 4);
    respond_with_certificate(fixture, 3);
    assert_enrolled(fixture, last(fixture, 4));
}

/* A known outcome frees the key: the repetition asks again, and nothing is in doubt. */
static void a_refusal_can_be_repeated(void **state)
{
    struct fixture *fixture = *state;
    struct est_response no = {.result = EST_ANSWERED,
                              .http_status = 400,
                              .content_type = BYTES_LITERAL("text/plain"),
                              .body = BYTES_LITERAL("x\r\ny")};
    enrol(fixture);
    respond(fixture, 0, &no);
    assert_error(last(fixture, 1), CM_BAD_REQUEST, "x y"); /* RSP-3 */
    assert_true(fixture->got[0].answer.had_effect);
    enrol(fixture);
    respond_with_silence(fixture, 1, EST_NOT_SENT);
    assert_error(last(fixture, 2), CM_GATEWAY_TIMEOUT, "the EST server was not reached");
    assert_false(fixture->got[1].answer.had_effect);
    enrol(fixture);
    respond_with_silence(fixture, 2, EST_UNTRUSTED);
    assert_error(last(fixture, 3), CM_BAD_GATEWAY, "no TLS connection with the EST server");
    enrol(fixture);
    respond_with_silence(fixture, 3, EST_QUEUE_FULL);
    assert_later(last(fixture, 4), 60);
    enrol(fixture);
    respond_with_certificate(fixture, 4);
    assert_enrolled(fixture, last(fixture, 5));
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 0);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_EXCHANGES_REFUSED), 0);
}

/* in_doubt: retry. Silence after sending, and answers of no use (PAY-8: never a success). */
static void a_doubt_is_counted_and_retried(void **state)
{
    struct fixture *fixture = *state;
    EVP_PKEY *key = make_key();
    X509 *foreign = make_certificate(&(struct made_certificate){.key = key, .subject = "CN=other"});
    struct buffer bag = make_certs_only(&foreign, 1);
    enrol(fixture);
    respond_with_silence(fixture, 0, EST_TIMEOUT);
    assert_error(last(fixture, 1), CM_GATEWAY_TIMEOUT, "the EST server did not answer in time");
    assert_true(fixture->got[0].answer.had_effect);
    enrol(fixture);
    respond_with_silence(fixture, 1, EST_BROKEN);
    assert_error(last(fixture, 2), CM_BAD_GATEWAY, "the EST server did not answer properly");
    enrol(fixture);
    respond_with_body(fixture, 2, CERTS_ONLY, buffer_view(&bag));
    assert_error(last(fixture, 3), CM_BAD_GATEWAY, "the EST server sent no certificate for this key");
    enrol(fixture);
    respond_with_status(fixture, 3, 200);
    assert_error(last(fixture, 4), CM_BAD_GATEWAY, "the EST server's answer is of no use");
    enrol(fixture);
    respond_with_status(fixture, 4, 204);
    assert_error(last(fixture, 5), CM_BAD_GATEWAY, "");
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 5);
    enrol(fixture);
    respond_with_certificate(fixture, 5);
    assert_enrolled(fixture, last(fixture, 6));
    buffer_free(&bag);
    X509_free(foreign);
    EVP_PKEY_free(key);
}

/* in_doubt: hold. */
static void a_doubt_is_held(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.est.in_doubt = IN_DOUBT_HOLD;
    enrol(fixture);
    respond_with_silence(fixture, 0, EST_BROKEN);
    enrol(fixture);
    assert_later(last(fixture, 2), 3600);
    assert_calls(fixture, 1);
}

/* SEC-3 */
static void a_full_table_sends_devices_away(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.est.max_pending = 1;
    enrol(fixture);
    start(fixture, &(struct ask){.id = EST_SREN, .body = buffer_view(&fixture->csr)});
    assert_later(last(fixture, 1), 60);
    assert_calls(fixture, 1);
}

/* Without memory nothing is left half done. */
static void a_call_that_cannot_be_made_is_released(void **state)
{
    struct fixture *fixture = *state;
    fixture->est_client.refusal = STATUS_NO_MEMORY;
    enrol(fixture);
    assert_later(last(fixture, 1), 60);
    start(fixture, &(struct ask){.id = EST_CRTS});
    assert_later(last(fixture, 2), 60);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_PENDING_ENTRIES), 0);
    fixture->est_client.refusal = STATUS_OK;
    enrol(fixture);
    start(fixture, &(struct ask){.id = EST_CRTS});
    assert_calls(fixture, 2);
}

/* libest's limit is told before it is hit. */
static void a_csr_too_large_for_libest_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct buffer value; /* an OCTET STRING of 5900 octets */
    buffer_init(&value, 20000);
    buffer_append_string(&value, "DER:0482170C");
    for (int i = 0; i < 5900; i++)
        buffer_append_string(&value, "aa");
    struct buffer csr =
        make_request(&(struct made_request){.key = fixture->key,
                                            .subject = "serialNumber=42",
                                            .extensions = {{"1.2.3.4", buffer_string(&value)}}});
    buffer_free(&value);
    fixture->settings.upstream.base64_lines = BASE64_64_LF;
    fixture->settings.upstream.profile = UPSTREAM_LIBEST;
    start(fixture, &(struct ask){.id = EST_SEN, .body = buffer_view(&csr)});
    const struct got *got = last(fixture, 1);
    assert_error(got, CM_REQUEST_ENTITY_TOO_LARGE, "");
    assert_true(got->answer.size1.present);
    assert_in_range(got->answer.size1.value, 6000, csr.len - 1);
    assert_calls(fixture, 0);
    fixture->settings.upstream.profile = UPSTREAM_RFC7030;
    start(fixture, &(struct ask){.id = EST_SEN, .body = buffer_view(&csr)});
    assert_calls(fixture, 1);
    buffer_free(&csr);
}

/* SIGTERM after drain_ms: nobody waits for ever, and what was sent is in doubt. */
static void stopping_leaves_nothing_behind(void **state)
{
    struct fixture *fixture = *state;
    enrol(fixture);
    fixture->est_client.calls[0].settings.sending(fixture->est_client.calls[0].settings.user);
    start(fixture, &(struct ask){.id = EST_SREN, .body = buffer_view(&fixture->csr)}); /* not sent yet */
    start(fixture, &(struct ask){.id = EST_CRTS});
    start(fixture, &(struct ask){.id = EST_CRTS});
    assert_int_equal(exchanges_running(fixture->exchanges), 4);
    exchanges_free(fixture->exchanges);
    fixture->exchanges = NULL;
    assert_int_equal(fixture->got_count, 0);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 1);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_PENDING_ENTRIES), 1);
}

/* A letter that is under way when its exchange ends finds nobody. */
static void a_late_letter_finds_nobody(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, &(struct ask){.id = EST_CRTS});
    start(fixture, &(struct ask){.id = EST_CRTS});
    respond_with_status(fixture, 0, 500);
    assert_int_equal(exchanges_running(fixture->exchanges), 1);
    exchanges_free(fixture->exchanges);
    fixture->exchanges = NULL;
    run_loop(fixture, 2, 20);
    assert_error(last(fixture, 1), CM_INTERNAL_SERVER_ERROR, "");
}

/* Server-side key generation. */

/* The EST server's answer with these two. */
static void respond_with_key(struct fixture *fixture, size_t index, EVP_PKEY *key, struct bytes certificates)
{
    unsigned char *octets = NULL;
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    int len = i2d_PKCS8_PRIV_KEY_INFO(info, &octets);
    PKCS8_PRIV_KEY_INFO_free(info);
    struct buffer body;
    buffer_init(&body, MADE_LIMIT);
    buffer_append_string(&body, "--estServerBoundary\nContent-Type: application/pkcs8\n\n");
    base64_encode((struct bytes){octets, (size_t)len}, BASE64_64_LF, &body);
    buffer_append_string(&body, "--estServerBoundary\nContent-Type: " CERTS_ONLY "\n\n");
    base64_encode(certificates, BASE64_64_LF, &body);
    buffer_append_string(&body, "--estServerBoundary--\n");
    respond(fixture, index,
            &(struct est_response){.result = EST_ANSWERED,
                                   .http_status = 200,
                                   .content_type = bytes_from_string(MIXED),
                                   .body = buffer_view(&body)});
    buffer_free(&body);
    OPENSSL_free(octets);
}

static uint32_t ask_for_key(struct fixture *fixture, enum est_operation_id id)
{
    return start(fixture, &(struct ask){.id = id, .body = buffer_view(&fixture->csr)});
}

/* MP-1, SKG-2, SKG-4, SKG-9: the CSR goes on unchanged, whatever its signature; the answer is a secret. */
static void a_key_comes_with_its_certificate(void **state)
{
    struct fixture *fixture = *state;
    fixture->csr.at[fixture->csr.len - 1] ^= 1;
    for (enum est_operation_id id = EST_SKG; id <= EST_SKC; id++) {
        size_t index = id == EST_SKG ? 0 : 1;
        ask_for_key(fixture, id);
        assert_calls(fixture, index + 1);
        const struct call *call = &fixture->est_client.calls[index];
        struct buffer sent;
        buffer_init(&sent, MADE_LIMIT);
        assert_string_equal(call->settings.operation->long_name, "serverkeygen");
        assert_int_equal(base64_decode(buffer_view(&call->body), &sent), STATUS_OK);
        assert_true(bytes_equal(buffer_view(&sent), buffer_view(&fixture->csr)));
        buffer_free(&sent);

        respond_with_key(fixture, index, fixture->key, buffer_view(&fixture->issued));
        const struct got *got = last(fixture, index + 1);
        assert_code(got, CM_CHANGED);
        assert_int_equal(got->answer.content_format, CONTENT_FORMAT_MULTIPART_CORE);
        assert_int_equal(got->answer.secret_ms, 60000);
        assert_true(got->answer.had_effect);
        struct multipart_core core;
        assert_int_equal(multipart_core_read(buffer_view(&got->payload), &core), STATUS_OK);
        assert_int_equal(core.count, 2);
        assert_int_equal(core.parts[0].content_format, CONTENT_FORMAT_PKCS8);
        assert_int_equal(core.parts[1].content_format,
                         id == EST_SKG ? CONTENT_FORMAT_CERTS_ONLY : CONTENT_FORMAT_ONE_CERT);
    }
    ask_for_key(fixture, EST_SKG); /* DLY-4: the same again, and as secret */
    assert_calls(fixture, 2);
    assert_true(bytes_equal(buffer_view(&last(fixture, 3)->payload), buffer_view(&fixture->got[0].payload)));
    assert_int_equal(last(fixture, 3)->answer.secret_ms, 60000);
}

/* MP-6: 5.02, in doubt, and nothing of it is kept. */
static void a_key_of_another_is_not_delivered(void **state)
{
    struct fixture *fixture = *state;
    EVP_PKEY *other = make_key();
    ask_for_key(fixture, EST_SKG);
    respond_with_key(fixture, 0, other, buffer_view(&fixture->issued));
    assert_error(last(fixture, 1), CM_BAD_GATEWAY, "the EST server sent no certificate for this key");
    assert_int_equal(last(fixture, 1)->answer.secret_ms, 0);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 1);
    ask_for_key(fixture, EST_SKG);
    assert_calls(fixture, 2);
    respond_with_key(fixture, 1, fixture->key, buffer_view(&fixture->issued));
    assert_code(last(fixture, 2), CM_CHANGED);
    EVP_PKEY_free(other);
}

/* PAY-10, RE-7, RE-8: all else about a CSR counts as for an enrolment. */
static void a_csr_for_a_key_is_checked_all_the_same(void **state)
{
    struct fixture *fixture = *state;
    struct buffer foreign =
        make_request(&(struct made_request){.key = fixture->key, .subject = "serialNumber=43"});
    start(fixture, &(struct ask){.id = EST_SKG, .body = buffer_view(&foreign)});
    assert_code(last(fixture, 1), CM_FORBIDDEN);
    start(fixture, &(struct ask){.id = EST_SKC, .body = {foreign.at, foreign.len - 1}});
    assert_code(last(fixture, 2), CM_BAD_REQUEST);
    start(fixture, &(struct ask){.id = EST_SKC, .accept = 287, .body = buffer_view(&fixture->csr)});
    assert_error(last(fixture, 3), CM_NOT_ACCEPTABLE, "");
    start(fixture, &(struct ask){.id = EST_SKG});
    assert_code(last(fixture, 4), CM_BAD_REQUEST);
    assert_calls(fixture, 0);
    buffer_free(&foreign);
}

/* Until the EST server has been asked for so many times. */
static void run_until_asked(struct fixture *fixture, size_t count)
{
    for (unsigned i = 0; i < 1000 && fixture->est_client.count < count; i++) {
        struct timeval slice = {0, 5000};
        event_base_loopexit(fixture->base, &slice);
        event_base_dispatch(fixture->base);
    }
    assert_calls(fixture, count);
}

/* Issues a certificate for the CSR that the EST server was sent. */
static void respond_to_csr(struct fixture *fixture, size_t index)
{
    struct buffer der;
    struct certificate_request *request = NULL;
    buffer_init(&der, MADE_LIMIT);
    assert_int_equal(base64_decode(buffer_view(&fixture->est_client.calls[index].body), &der), STATUS_OK);
    assert_int_equal(certificate_request_parse(buffer_view(&der), &request), STATUS_OK);
    assert_int_equal(certificate_request_verify(request), STATUS_OK);
    assert_int_not_equal(EVP_PKEY_eq(certificate_request_key(request), fixture->key), 1);
    X509 *certificate = make_certificate(&(struct made_certificate){.key = certificate_request_key(request),
                                                                    .issuer_key = fixture->key,
                                                                    .issuer = "CN=CA",
                                                                    .subject = "serialNumber=42"});
    struct buffer issued = make_certs_only(&certificate, 1);
    respond_with_body(fixture, index, CERTS_ONLY, buffer_view(&issued));
    X509_free(certificate);
    certificate_request_free(request);
    buffer_free(&issued);
    buffer_free(&der);
}

/* SKG-5: a key of the registrar's own; what comes is as secret as any. */
static void a_key_is_made_here(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.est.server_keygen = SERVER_KEYGEN_LOCAL;
    fixture->settings.coap.answer_within_ms = 60000;
    ask_for_key(fixture, EST_SKG);
    run_until_asked(fixture, 1);
    assert_int_equal(fixture->est_client.calls[0].settings.operation->id, EST_SEN);
    respond_to_csr(fixture, 0);
    assert_code(last(fixture, 1), CM_CHANGED);
    assert_int_equal(last(fixture, 1)->answer.content_format, CONTENT_FORMAT_MULTIPART_CORE);
    assert_int_equal(last(fixture, 1)->answer.secret_ms, 60000);
    ask_for_key(fixture, EST_SKG);
    assert_true(bytes_equal(buffer_view(&last(fixture, 2)->payload), buffer_view(&fixture->got[0].payload)));
    assert_calls(fixture, 1);
}

/* SKG-6 */
static void a_key_is_made_here_where_there_is_no_other(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.est.server_keygen = SERVER_KEYGEN_RELAY_THEN_LOCAL;
    fixture->settings.coap.answer_within_ms = 60000;
    ask_for_key(fixture, EST_SKC);
    assert_int_equal(fixture->est_client.calls[0].settings.operation->id, EST_SKC);
    respond_with_status(fixture, 0, 501);
    run_until_asked(fixture, 2);
    respond_to_csr(fixture, 1);
    assert_code(last(fixture, 1), CM_CHANGED);
    ask_for_key(fixture, EST_SKG);
    respond_with_status(fixture, 2, 403);
    assert_code(last(fixture, 2), CM_FORBIDDEN);
    assert_calls(fixture, 3);
}

/* A certificate for another key, or none: 5.02 and in doubt, and no key goes anywhere. */
static void a_key_made_here_without_its_certificate(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.est.server_keygen = SERVER_KEYGEN_LOCAL;
    fixture->settings.coap.answer_within_ms = 60000;
    ask_for_key(fixture, EST_SKG);
    run_until_asked(fixture, 1);
    respond_with_certificate(fixture, 0);
    assert_error(last(fixture, 1), CM_BAD_GATEWAY, "the EST server sent no certificate for this key");
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 1);
    ask_for_key(fixture, EST_SKG);
    run_until_asked(fixture, 2);
    respond_with_status(fixture, 1, 400);
    assert_code(last(fixture, 2), CM_BAD_REQUEST);
}

static struct buffer csr_of_call(struct fixture *fixture, size_t index)
{
    struct buffer der;
    buffer_init(&der, MADE_LIMIT);
    assert_int_equal(base64_decode(buffer_view(&fixture->est_client.calls[index].body), &der), STATUS_OK);
    return der;
}

/* SKG-5, DLY-3, SKG-9: who approves by hand (202) is asked again with the same CSR, and the device gets its
 * key. */
static void a_key_made_here_waits_for_its_certificate(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.est.server_keygen = SERVER_KEYGEN_LOCAL;
    fixture->settings.coap.answer_within_ms = 60000;
    ask_for_key(fixture, EST_SKG);
    run_until_asked(fixture, 1);
    respond(fixture, 0,
            &(struct est_response){
                .result = EST_ANSWERED, .http_status = 202, .retry_after = BYTES_LITERAL("1"), .server = 77});
    assert_code(last(fixture, 1), CM_SERVICE_UNAVAILABLE);
    assert_int_equal(last(fixture, 1)->answer.max_age.value, 1);
    assert_int_equal(last(fixture, 1)->answer.secret_ms, 0);
    for (;;) { /* at once, without another key's being made */
        ask_for_key(fixture, EST_SKG);
        if (fixture->est_client.count == 2)
            break;
        assert_code(last(fixture, 2), CM_SERVICE_UNAVAILABLE);
        buffer_free(&fixture->got[--fixture->got_count].payload);
        run_loop(fixture, 2, 20);
    }
    assert_int_equal(fixture->est_client.calls[1].settings.server, 77);
    struct buffer first = csr_of_call(fixture, 0), second = csr_of_call(fixture, 1);
    assert_true(bytes_equal(buffer_view(&first), buffer_view(&second)));
    buffer_free(&first);
    buffer_free(&second);
    respond_to_csr(fixture, 1);
    assert_code(last(fixture, 2), CM_CHANGED);
    assert_int_equal(last(fixture, 2)->answer.content_format, CONTENT_FORMAT_MULTIPART_CORE);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 0);
}

/* SKG-9: no key waits for longer than est.key_grace_s. */
static void a_key_made_here_cannot_wait(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.est.server_keygen = SERVER_KEYGEN_LOCAL;
    fixture->settings.coap.answer_within_ms = 60000;
    ask_for_key(fixture, EST_SKG);
    run_until_asked(fixture, 1);
    respond(
        fixture, 0,
        &(struct est_response){
            .result = EST_ANSWERED, .http_status = 202, .retry_after = BYTES_LITERAL("60"), .server = 77});
    assert_error(last(fixture, 1), CM_BAD_GATEWAY,
                 "the EST server lets wait for longer than est.key_grace_s; no key is kept for so long");
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 1);
}

/* Leaves no room in the table. */
static void fill_pending(const struct fixture *fixture)
{
    const struct pending_key other = {{1}, {2}};
    struct pending_outcome outcome;
    struct buffer nothing, result;
    buffer_init(&nothing, 0);
    buffer_init(&result, PENDING_OCTETS);
    assert_int_equal(pending_enrolments_ask(fixture->pending, &other, monotonic_ms(), &outcome, &nothing),
                     PENDING_ASK);
    while (result.len < PENDING_OCTETS)
        buffer_append_byte(&result, 0);
    assert_int_equal(pending_enrolments_ready(fixture->pending, &other, monotonic_ms(), buffer_view(&result)),
                     STATUS_OK);
    buffer_free(&result);
}

/* SKG-9: that a key cannot wait for want of room is not put down to the time of grace. */
static void a_key_made_here_has_no_room_to_wait(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.est.server_keygen = SERVER_KEYGEN_LOCAL;
    fixture->settings.coap.answer_within_ms = 60000;
    ask_for_key(fixture, EST_SKG);
    run_until_asked(fixture, 1);
    fill_pending(fixture);
    respond(fixture, 0,
            &(struct est_response){
                .result = EST_ANSWERED, .http_status = 202, .retry_after = BYTES_LITERAL("1"), .server = 77});
    assert_error(last(fixture, 1), CM_BAD_GATEWAY,
                 "the EST server lets wait, and there is no room for one more key that waits");
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 1);
}

/* SKG-7: who cannot have it protected hears so before a key is made. */
static void a_key_that_could_not_be_protected_is_not_made(void **state)
{
    struct fixture *fixture = *state;
    X509_REQ *request =
        make_unsigned_request(&(struct made_request){.key = fixture->key, .subject = "serialNumber=42"});
    static const uint8_t capabilities[] = "\x30\x0d" WRAP_128;
    X509_REQ_add1_attr_by_txt(request, "1.2.840.113549.1.9.15", V_ASN1_SEQUENCE, capabilities,
                              sizeof(capabilities) - 1);
    X509_REQ_add1_attr_by_txt(request, "1.2.840.113549.1.9.16.2.37", V_ASN1_OCTET_STRING,
                              (const unsigned char *)"unknown", 7);
    struct buffer csr = sign_request(request, fixture->key);
    fixture->settings.est.server_keygen = SERVER_KEYGEN_LOCAL;
    start(fixture, &(struct ask){.id = EST_SKG, .body = buffer_view(&csr)});
    assert_error(last(fixture, 1), CM_FORBIDDEN, "the registrar has no key of that identifier");
    assert_calls(fixture, 0);
    buffer_free(&csr);
}

/* The registrar stops while a key is being made, and while its certificate is asked for. */
static void a_key_that_is_not_finished(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.est.server_keygen = SERVER_KEYGEN_LOCAL;
    ask_for_key(fixture, EST_SKG);
    run_until_asked(fixture, 1);
    ask_for_key(fixture, EST_SKC);
    assert_int_equal(exchanges_running(fixture->exchanges), 2);
}

/* The registrar is about to stop: nobody waits for RSA, nothing was asked, and nothing is kept of it. */
static void a_key_is_given_up(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.est.server_keygen = SERVER_KEYGEN_LOCAL;
    fixture->settings.est.key_type = (enum key_choice)KEY_TYPE_RSA_4096;
    fixture->settings.coap.answer_within_ms = 60000;
    ask_for_key(fixture, EST_SKG);
    enrol(fixture);
    exchanges_drain(fixture->exchanges);
    assert_error(last(fixture, 1), CM_SERVICE_UNAVAILABLE, "");
    assert_int_equal(last(fixture, 1)->answer.max_age.value, 60);
    assert_calls(fixture, 1); /* the enrolment goes on */
    assert_int_equal(exchanges_running(fixture->exchanges), 1);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_PENDING_ENTRIES), 1);
    respond_with_certificate(fixture, 0);
    assert_enrolled(fixture, last(fixture, 2));
    exchanges_drain(fixture->exchanges);
}

/* SEC-3, RFC 8516: no more than its share, and it is told when to come back. */
static void a_client_has_its_share(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.est.max_pending_per_client = 1;
    fixture->settings.coap.answer_within_ms = 60000;
    enrol(fixture);
    start(fixture, &(struct ask){.id = EST_SREN, .body = buffer_view(&fixture->csr)});
    const struct got *got = last(fixture, 1);
    assert_code(got, CM_TOO_MANY_REQUESTS);
    assert_true(got->answer.max_age.present);
    assert_int_equal(got->answer.max_age.value, 60);
    assert_true(bytes_equal(buffer_view(&got->payload),
                            BYTES_LITERAL("too many enrolments of this device are under way")));
    assert_false(got->answer.had_effect);
    assert_calls(fixture, 1);
    respond_with_certificate(fixture, 0);
    assert_enrolled(fixture, last(fixture, 2));
    start(fixture, &(struct ask){.id = EST_SREN, .body = buffer_view(&fixture->csr)});
    assert_calls(fixture, 2);
}

/* With a journal. */

static void open_journal(struct fixture *fixture)
{
    struct buffer errors, warnings;
    buffer_init(&errors, 4096);
    buffer_init(&warnings, 4096);
    fixture->journal = pending_journal_open(fixture->folder, fixture->metrics, &errors, &warnings);
    if (fixture->journal == NULL)
        fail_msg("%s", buffer_string(&errors));
    buffer_free(&errors);
    buffer_free(&warnings);
}

static void use_journal(struct fixture *fixture)
{
    snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/exchange_test.XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    open_journal(fixture);
    pending_enrolments_record(fixture->pending, fixture->journal);
    exchanges_free(fixture->exchanges);
    create_exchanges(fixture);
    fixture->settings.coap.answer_within_ms = 60000;
}

static void close_journal(struct fixture *fixture)
{
    char path[128];
    pending_journal_close(fixture->journal);
    snprintf(path, sizeof(path), "%s/%s", fixture->folder, JOURNAL_FILE_NAME);
    unlink(path);
    assert_int_equal(rmdir(fixture->folder), 0);
}

static void let_files_grow_to(rlim_t octets)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = octets;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void run_until_decided(struct fixture *fixture, size_t index)
{
    const struct est_call *turn = &fixture->est_client.calls[index].turn;
    for (int i = 0; i < 2000 && !turn->went && !turn->withheld; i++)
        run_loop(fixture, ANSWERS_MAX, 1);
    assert_true(turn->went != turn->withheld);
}

static void count_state(void *user, const struct pending_record *record)
{
    unsigned *counts = user;
    counts[record->state]++;
}

/* DLY-4: the request waits for the disk, and for nothing else. */
static void a_request_leaves_once_it_is_recorded(void **state)
{
    struct fixture *fixture = *state;
    unsigned counts[PENDING_IN_DOUBT + 1] = {0};
    use_journal(fixture);
    enrol(fixture);
    assert_calls(fixture, 1);
    assert_false(fixture->est_client.calls[0].turn.went);
    assert_pending(fixture, PENDING_SENT);
    run_until_decided(fixture, 0);
    assert_true(fixture->est_client.calls[0].turn.went);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_JOURNAL_SYNCS), 1);
    respond_with_certificate(fixture, 0);
    assert_enrolled(fixture, last(fixture, 1));
    enrol(fixture); /* from the table */
    assert_enrolled(fixture, last(fixture, 2));
    uint64_t records = metrics_get(fixture->metrics, COUNTER_JOURNAL_RECORDS);
    enrol(fixture); /* recorded is that it was fetched once more, and nothing else */
    assert_enrolled(fixture, last(fixture, 3));
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_JOURNAL_RECORDS), records + 1);
    start(fixture, &(struct ask){.id = EST_CRTS}); /* GETs need no record */
    assert_calls(fixture, 2);
    assert_null(fixture->est_client.calls[1].settings.turn);
    pending_journal_close(fixture->journal);
    open_journal(fixture);
    assert_int_equal(pending_journal_restore(fixture->journal, count_state, counts), STATUS_OK);
    assert_int_equal(counts[PENDING_READY], 1);
}

/* A full disk: 5.03, and nothing is asked of the EST server until it takes records again. */
static void without_a_record_nothing_leaves(void **state)
{
    struct fixture *fixture = *state;
    use_journal(fixture);
    let_files_grow_to(50);
    enrol(fixture);
    run_until_decided(fixture, 0);
    assert_true(fixture->est_client.calls[0].turn.withheld);
    respond_with_silence(fixture, 0, EST_WITHHELD);
    assert_later(last(fixture, 1), 60);
    enrol(fixture);
    assert_later(last(fixture, 2), 60);
    assert_calls(fixture, 1);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_PENDING_ENTRIES), 0);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_IN_DOUBT), 0);
    let_files_grow_to(RLIM_INFINITY);
    for (int i = 0; i < 500 && !pending_journal_works(fixture->journal); i++)
        usleep(10000);
    enrol(fixture);
    run_until_decided(fixture, 1);
    assert_true(fixture->est_client.calls[1].turn.went);
    respond_with_certificate(fixture, 1);
    assert_enrolled(fixture, last(fixture, 3));
}

/* The registrar stops: what has left is in doubt, and what has not, though it was written down, is not. */
static void stopping_is_recorded(void **state)
{
    struct fixture *fixture = *state;
    unsigned counts[PENDING_IN_DOUBT + 1] = {0};
    use_journal(fixture);
    enrol(fixture);
    run_until_decided(fixture, 0);
    fixture->est_client.calls[0].settings.sending(fixture->est_client.calls[0].settings.user);
    start(fixture, &(struct ask){.id = EST_SREN, .body = buffer_view(&fixture->csr)});
    exchanges_free(fixture->exchanges);
    fixture->exchanges = NULL;
    pending_journal_close(fixture->journal);
    open_journal(fixture);
    assert_int_equal(pending_journal_restore(fixture->journal, count_state, counts), STATUS_OK);
    assert_int_equal(counts[PENDING_IN_DOUBT], 1);
    assert_int_equal(counts[PENDING_SENT], 0);
}

/* SIGTERM past drain_ms: everybody is told once, and the webhook's answer is waited for no more. */
static void stopping_puts_off_whoever_waits(void **state)
{
    struct fixture *fixture = *state;
    enrol(fixture);
    run_loop(fixture, 1, 20000); /* told to come back already */
    start(fixture, &(struct ask){.id = EST_SREN, .body = buffer_view(&fixture->csr)});
    start(fixture, &(struct ask){.id = EST_CRTS});
    use_rules(fixture, ASK_ABOUT_ALL);
    start(fixture, &(struct ask){.id = EST_SKG, .body = buffer_view(&fixture->csr)});
    exchanges_put_off(fixture->exchanges);
    assert_int_equal(fixture->got_count, 4);
    for (size_t i = 1; i < 4; i++) {
        assert_code(&fixture->got[i], CM_SERVICE_UNAVAILABLE);
        assert_true(fixture->got[i].answer.max_age.present);
        assert_true(fixture->got[i].answer.max_age.value >= 1);
    }
    assert_null(fixture->webhook.done);
    assert_calls(fixture, 3);
    exchanges_put_off(fixture->exchanges);
    exchanges_free(fixture->exchanges);
    assert_int_equal(fixture->got_count, 4);
    create_exchanges(fixture);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    snprintf(fixture->label_name, sizeof(fixture->label_name), "p1");
    fixture->label = (struct label_settings){fixture->label_name, fixture->label_path};
    fixture->settings = (struct settings){
        .coap = {.answer_within_ms = 100},
        .est = {.labels = {&fixture->label, 1},
                .att = true,
                .skg = true,
                .skc = true,
                .key_grace_s = 60,
                .in_doubt = IN_DOUBT_RETRY,
                .grace_s = 300,
                .max_pending = 100,
                .max_pending_per_client = 100,
                .retry_after_s = 60,
                .retry_after_max_s = 3600},
        .limits = {.max_exchanges = 3},
        .upstream = {.max_response_bytes = MADE_LIMIT,
                     .cacerts_max_age_s = 300,
                     .serve_stale_s = 3600,
                     .base64_lines = BASE64_64_CRLF},
    };
    fixture->metrics = counters_create();
    fixture->base = event_base_new();
    fixture->mailbox = mailbox_create(fixture->base);
    fixture->pending = pending_enrolments_create(&fixture->settings.est, PENDING_OCTETS, fixture->metrics);
    fixture->rates = rate_table_create((struct rate){60, 2});
    fixture->cache = response_cache_create(&fixture->settings, fixture->metrics);
    fixture->workshop = key_workshop_create(fixture->mailbox);
    fixture->rules = make_rules("{\"rules\":[{\"match\":{\"label\":\"p1\"},\"action\":\"allow\"}]}");
    create_exchanges(fixture);
    fixture->key = make_key();
    fixture->certificate =
        make_certificate(&(struct made_certificate){.key = fixture->key, .subject = "serialNumber=42"});
    fixture->client = client_identity_create(fixture->certificate, test_chain(TRUST_DOMAIN));
    fixture->csr = make_request(&(struct made_request){.key = fixture->key, .subject = "serialNumber=42"});
    X509 *issued[] = {fixture->certificate};
    fixture->issued = make_certs_only(issued, 1);
    *state = fixture;
    return 0;
}

static void create_exchanges(struct fixture *fixture)
{
    const struct exchange_services services = {.settings = &fixture->settings,
                                               .base = fixture->base,
                                               .metrics = fixture->metrics,
                                               .mailbox = fixture->mailbox,
                                               .est_client = &fixture->est_client,
                                               .pending = fixture->pending,
                                               .journal = fixture->journal,
                                               .cache = fixture->cache,
                                               .request_rates = fixture->rates,
                                               .workshop = fixture->workshop,
                                               .access_rules = fixture->rules,
                                               .webhook = &fixture->webhook};
    fixture->exchanges = exchanges_create(&services);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    exchanges_free(fixture->exchanges);
    access_rules_release(fixture->rules);
    buffer_free(&fixture->webhook.question);
    key_workshop_free(fixture->workshop);
    mailbox_free(fixture->mailbox);
    response_cache_free(fixture->cache);
    rate_table_free(fixture->rates);
    pending_enrolments_free(fixture->pending);
    if (fixture->journal != NULL)
        close_journal(fixture);
    event_base_free(fixture->base);
    metrics_free(fixture->metrics);
    for (size_t i = 0; i < fixture->est_client.count; i++)
        buffer_free(&fixture->est_client.calls[i].body);
    for (size_t i = 0; i < fixture->got_count; i++)
        buffer_free(&fixture->got[i].payload);
    client_identity_release(fixture->client);
    X509_free(fixture->certificate);
    EVP_PKEY_free(fixture->key);
    buffer_free(&fixture->csr);
    buffer_free(&fixture->issued);
    free(fixture);
    return 0;
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static const struct CMUnitTest tests[] = {
    TEST(crts_are_fetched_once),
    TEST(standing_decides_who_is_heard),
    TEST(renewal_takes_the_certificate_renewed),
    TEST(an_ambiguous_bag_is_not_acceptable_as_287),
    TEST(fetches_are_shared),
    TEST(missing_attributes_follow_the_policy),
    TEST(attributes_pass_unchanged),
    TEST(bad_requests_go_nowhere),
    TEST(an_ra_does_not_ask_for_everything),
    TEST(whom_the_rules_refuse_goes_nowhere),
    TEST(the_webhook_is_asked_before_the_est_server),
    TEST(without_a_decision_the_device_comes_back),
    TEST(what_cannot_be_asked_is_not_allowed),
    TEST(a_question_ends_by_the_terms_it_was_put_under),
    TEST(a_slow_webhook_is_not_outwaited),
    TEST(a_device_enrols),
    TEST(a_repetition_is_answered_from_the_table),
    TEST(a_rebuilt_csr_finds_its_transaction),
    TEST(only_linked_csrs_go_upstream),
    TEST(an_identical_csr_need_not_be_linked_again),
    TEST(attributes_announce_that_pop_is_required),
    TEST(attributes_with_an_announcement_of_pop),
    TEST(others_do_not_collect_the_result),
    TEST(a_slow_est_server_is_outwaited),
    TEST(a_slow_refusal_is_heard),
    TEST(a_slow_fetch_is_outwaited),
    TEST(a_result_waits_for_a_device_that_is_gone),
    TEST(what_the_device_has_is_not_sent_again),
    TEST(stale_is_better_than_nothing),
    TEST(not_all_requests_are_let_in),
    TEST(retry_after_is_kept),
    TEST(an_elapsed_retry_after_asks_again),
    TEST(what_waits_asks_the_same_server),
    TEST(a_refusal_can_be_repeated),
    TEST(a_doubt_is_counted_and_retried),
    TEST(a_doubt_is_held),
    TEST(a_full_table_sends_devices_away),
    TEST(a_call_that_cannot_be_made_is_released),
    TEST(a_csr_too_large_for_libest_is_refused),
    TEST(stopping_leaves_nothing_behind),
    TEST(a_late_letter_finds_nobody),
    TEST(a_key_comes_with_its_certificate),
    TEST(a_key_of_another_is_not_delivered),
    TEST(a_csr_for_a_key_is_checked_all_the_same),
    TEST(a_key_is_made_here),
    TEST(a_key_is_made_here_where_there_is_no_other),
    TEST(a_key_made_here_without_its_certificate),
    TEST(a_key_made_here_waits_for_its_certificate),
    TEST(a_key_made_here_cannot_wait),
    TEST(a_key_made_here_has_no_room_to_wait),
    TEST(a_key_that_could_not_be_protected_is_not_made),
    TEST(a_key_that_is_not_finished),
    TEST(a_key_is_given_up),
    TEST(a_client_has_its_share),
    TEST(a_request_leaves_once_it_is_recorded),
    TEST(without_a_record_nothing_leaves),
    TEST(stopping_is_recorded),
    TEST(stopping_puts_off_whoever_waits),
};

int main(void)
{
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, stderr);
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
