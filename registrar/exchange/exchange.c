#include "registrar/exchange/exchange.h"

#include "common/log.h"
#include "common/monotonic.h"
#include "common/quiet.h"
#include "common/rate_table.h"
#include "registrar/counters.h"
#include "registrar/exchange/access_policy.h"
#include "registrar/exchange/access_question.h"
#include "registrar/exchange/access_rules.h"
#include "registrar/exchange/exchange_record.h"
#include "registrar/exchange/inquiry.h"
#include "registrar/exchange/pending_enrolments.h"
#include "registrar/exchange/proof_of_possession.h"
#include "registrar/exchange/renewal_policy.h"
#include "registrar/keygen/key_directory.h"
#include "registrar/settings.h"
#include "registrar/translate/entity_tag.h"
#include "registrar/translate/request_body.h"
#include "registrar/translate/response_body.h"
#include "registrar/upstream/webhook.h"

#include <event2/event.h>

#include <stdlib.h>

/* Whoever has waited for /crts or /att for answer_within_ms comes back soon: the answer is shared. */
#define GET_RETRY_S 5

#define DIAGNOSTIC_OCTETS_MAX 128
#define QUESTION_OCTETS_MAX   ((size_t)1024 * 1024)
#define RECORD_OCTETS_MAX     1500

enum verdict {
    NEXT,  /* on to the next stage */
    WAIT,  /* the exchange will be resumed, at the next stage */
    ANSWER /* the outcome is settled */
};

struct exchange {
    struct exchange *next, *previous;
    struct exchanges *owner;
    const struct est_request *request; /* borrowed; NULL once exchange_start has returned */
    const struct est_operation *operation;
    struct bytes label; /* borrowed from the settings */
    struct client_identity *client;
    struct est_reply reply;
    size_t stage;
    uint64_t started_ms;
    struct event *deadline; /* DLY-3 */

    enum content_format format; /* of the answer */
    struct coap_etag etags[COAP_ETAGS_MAX];
    size_t etag_count;          /* that the device has of it */
    struct access_rules *rules; /* held */
    struct access_decision decision;
    struct certificate_request *csr;
    struct buffer body;            /* for the EST server */
    struct webhook_call *question; /* while the webhook decides */
    bool passes_undecided;         /* should it not decide */
    struct inquiry *inquiry;
    struct est_outcome outcome;
    struct buffer representation; /* of a result, in the format asked for */
    uint8_t answered;             /* the code that the device got; 0: none yet */
    bool ends_association;        /* the client has lost its rights */
};

struct exchanges {
    struct exchange_services services;
    struct exchange *first;
    size_t count;
    struct quiet undecided; /* about the webhook */
};

static enum verdict authenticate(struct exchange *exchange);
static enum verdict apply_rules(struct exchange *exchange);
static enum verdict decode_request(struct exchange *exchange);
static enum verdict prove_possession(struct exchange *exchange);
static enum verdict authorise(struct exchange *exchange);
static enum verdict translate_request(struct exchange *exchange);
static enum verdict ask_webhook(struct exchange *exchange);
static enum verdict ask_est_server(struct exchange *exchange);
static enum verdict translate_response(struct exchange *exchange);

/* The way of every request, one way only. */
static enum verdict (*const path[])(struct exchange *) = {
    authenticate,       /* RFC 9148 section 5        */
    apply_rules,        /* of the operator           */
    decode_request,     /* section 4.3               */
    prove_possession,   /* RFC 7030 section 3.5      */
    authorise,          /* RFC 7030 section 3.7      */
    translate_request,  /* section 5                 */
    ask_webhook,        /* WAITs where a rule says so */
    ask_est_server,     /* WAITs for HTTPS           */
    translate_response, /* sections 4.3, 4.5 and 5   */
};

#define PATH_LENGTH (sizeof(path) / sizeof(path[0]))

static void walk(struct exchange *exchange);
static void finish(struct exchange *exchange);
static struct exchange *create(struct exchanges *owner, const struct est_request *request,
                               const struct est_reply *reply);
static void drop(struct exchange *exchange);
static void destroy(struct exchange *exchange);
static void answer_overload(struct exchanges *exchanges, const struct est_reply *reply);
static void answer(struct exchange *exchange);
static void validate(const struct exchange *exchange, struct est_answer *answer);
static uint32_t secret_ms(const struct exchange *exchange, bool success);
static bool reply_with(struct exchange *exchange, const struct est_answer *answer);
static void log_exchange(const struct exchange *exchange);
static const char *rule_for_log(const struct exchange *exchange);

void exchange_start(struct exchanges *exchanges, const struct est_request *request,
                    const struct est_reply *reply)
{
    struct exchange *exchange = create(exchanges, request, reply);
    metrics_add(exchanges->services.metrics, COUNTER_EXCHANGES_STARTED, 1);
    if (exchange == NULL)
        answer_overload(exchanges, reply);
    else
        walk(exchange);
}

static void walk(struct exchange *exchange)
{
    enum verdict verdict = NEXT;
    while (verdict == NEXT && exchange->stage < PATH_LENGTH)
        verdict = path[exchange->stage++](exchange);
    exchange->request = NULL;
    if (verdict != WAIT)
        finish(exchange);
}

static void finish(struct exchange *exchange)
{
    if (exchange->answered == 0)
        answer(exchange);
    log_exchange(exchange);
    destroy(exchange);
}

/* The stages. */

static enum verdict refuse(struct exchange *exchange, uint8_t code, const char *diagnostic);
static enum verdict read_csr(struct exchange *exchange);
static struct inquiry_subject subject_of(struct exchange *exchange);
static void on_outcome(void *user);
static void on_decided(void *user, const struct webhook_answer *answer);
static enum verdict heed(struct exchange *exchange, const struct webhook_answer *answer);
static enum verdict do_without(struct exchange *exchange, const char *why);
static enum verdict refuse_undecided(struct exchange *exchange, const char *why);

/* DTLS has proved who the client is; nobody gets here without (RFC 9148 section 3). What it proved may count
 * no more (DTLS-9). */
static enum verdict authenticate(struct exchange *exchange)
{
    if (exchange->client == NULL)
        return refuse(exchange, CM_UNAUTHORIZED, "");
    enum client_standing standing = exchange->request->standing;
    switch (standing) {
    case STANDING_GOOD:
    case STANDING_UNCHECKED:
        return NEXT;
    case STANDING_RENEWAL: /* RE-6 */
        return exchange->operation->id == EST_SREN
                   ? NEXT
                   : refuse(exchange, CM_FORBIDDEN, client_standing_text(standing));
    default:
        exchange->ends_association = true;
        return refuse(exchange, CM_UNAUTHORIZED, client_standing_text(standing));
    }
}

/* Before anything is spent on the request (DTLS-10). */
static enum verdict apply_rules(struct exchange *exchange)
{
    const struct access_request request = {exchange->client, exchange->operation, exchange->label};
    if (access_rules_decide(exchange->rules, &request, &exchange->decision) != STATUS_OK)
        return refuse(exchange, CM_SERVICE_UNAVAILABLE, "");
    if (exchange->decision.action != ACCESS_DENY)
        return NEXT;
    metrics_add(exchange->owner->services.metrics, COUNTER_ACCESS_DENIED, 1);
    return refuse(exchange, CM_FORBIDDEN, "the access rules refuse this");
}

static enum verdict decode_request(struct exchange *exchange)
{
    const struct est_request *request = exchange->request;
    if (request->method != exchange->operation->method)
        return refuse(exchange, CM_METHOD_NOT_ALLOWED, "");
    uint8_t code = est_operation_check_formats(exchange->operation, request->accept, request->content_format);
    if (code != 0)
        return refuse(exchange, code, "");
    exchange->format = request->accept.present ? (enum content_format)request->accept.value
                                               : exchange->operation->response[0];
    return request->method == CM_POST ? read_csr(exchange) : NEXT;
}

/* PAY-10 */
static enum verdict read_csr(struct exchange *exchange)
{
    struct bytes body = exchange->request->body;
    if (body.len == 0)
        return refuse(exchange, CM_BAD_REQUEST, "there is no CSR in the request");
    bool makes_key = est_operation_makes_key(
        exchange->operation); /* SKG-2: then the CSR's key and signature say nothing */
    switch (
        certificate_request_parse_in(exchange->owner->services.library, makes_key, body, &exchange->csr)) {
    case STATUS_OK:
        break;
    case STATUS_NO_MEMORY:
        return refuse(exchange, CM_SERVICE_UNAVAILABLE, "");
    default:
        return refuse(exchange, CM_BAD_REQUEST, "this is no CSR in DER");
    }
    if (!makes_key && certificate_request_verify(exchange->csr) != STATUS_OK)
        return refuse(exchange, CM_BAD_REQUEST, "the CSR's signature does not verify");
    return NEXT;
}

/* A CSR that has passed before may be repeated over another association, to the octet, until its outcome is
 * forgotten: a device that waited for its certificate need not make another CSR (DLY-7). */
static enum verdict prove_possession(struct exchange *exchange)
{
    const struct exchange_services *services = &exchange->owner->services;
    if (exchange->csr == NULL)
        return NEXT;
    const struct proof_terms terms = {
        .policy = services->settings->est.pop,
        .may_be_absent = est_operation_makes_key(exchange->operation),
        .binding = &exchange->request->binding,
    };
    const struct inquiry_subject subject = subject_of(exchange);
    const char *fault = proof_of_possession_fault(&terms, exchange->csr);
    if (fault == NULL || inquiry_has_passed(services, &subject))
        return NEXT;
    metrics_add(services->metrics, COUNTER_PROOFS_REFUSED, 1);
    return refuse(exchange, CM_UNAUTHORIZED, fault);
}

static enum verdict authorise(struct exchange *exchange)
{
    if (exchange->csr == NULL)
        return NEXT;
    struct buffer reason;
    buffer_init(&reason, DIAGNOSTIC_OCTETS_MAX);
    enum status status = STATUS_OK;
    if (exchange->operation->id == EST_SREN)
        status = renewal_policy_check(exchange->client, exchange->csr, &reason);
    if (status == STATUS_OK)
        status = access_policy_check(&exchange->decision, exchange->client, exchange->csr, &reason);
    enum verdict verdict =
        status == STATUS_OK ? NEXT : refuse(exchange, CM_FORBIDDEN, buffer_string(&reason));
    buffer_free(&reason);
    return verdict;
}

static enum verdict translate_request(struct exchange *exchange)
{
    if (exchange->csr == NULL)
        return NEXT;
    switch (request_body_encode(&exchange->owner->services.settings->upstream, exchange->request->body,
                                &exchange->body)) {
    case STATUS_OK:
        return NEXT;
    case STATUS_TOO_LARGE:
        return refuse(exchange, CM_REQUEST_ENTITY_TOO_LARGE, "");
    default:
        return refuse(exchange, CM_SERVICE_UNAVAILABLE, "");
    }
}

/* Only what may go to the EST server otherwise is worth a question (DTLS-10). */
static enum verdict ask_webhook(struct exchange *exchange)
{
    const struct exchange_services *services = &exchange->owner->services;
    const struct access_question question = {exchange->client, exchange->operation, exchange->label,
                                             exchange->decision.by, exchange->csr};
    if (exchange->decision.action != ACCESS_ASK)
        return NEXT;
    struct buffer json;
    buffer_init(&json, QUESTION_OCTETS_MAX);
    enum status status = access_question_write(&question, &json);
    metrics_add(services->metrics, COUNTER_WEBHOOK_ASKED, 1);
    exchange->passes_undecided = webhook_fails_open(services->webhook);
    if (status == STATUS_OK)
        exchange->question = webhook_ask(services->webhook, buffer_view(&json), on_decided, exchange);
    buffer_free(&json);
    if (status != STATUS_OK) /* what its device may have brought about opens nothing */
        return refuse_undecided(exchange, "the question cannot be written");
    return exchange->question != NULL ? WAIT : do_without(exchange, "it takes no more questions");
}

static void on_decided(void *user, const struct webhook_answer *answer)
{
    struct exchange *exchange = user;
    exchange->question = NULL;
    if (heed(exchange, answer) == NEXT)
        walk(exchange);
    else
        finish(exchange);
}

static enum verdict heed(struct exchange *exchange, const struct webhook_answer *answer)
{
    struct buffer reason;
    enum verdict verdict = NEXT;
    buffer_init(&reason, DIAGNOSTIC_OCTETS_MAX);
    switch (answer->http_status == 200 ? access_answer_read(answer->body, &reason) : ANSWER_UNUSABLE) {
    case ANSWER_ALLOW:
        break;
    case ANSWER_DENY:
        metrics_add(exchange->owner->services.metrics, COUNTER_ACCESS_DENIED, 1);
        verdict = refuse(exchange, CM_FORBIDDEN,
                         reason.len > 0 ? buffer_string(&reason) : "the webhook refuses this");
        break;
    default:
        verdict = do_without(exchange, answer->failure != NULL ? answer->failure : "its answer is of no use");
    }
    buffer_free(&reason);
    return verdict;
}

/* The webhook gives no answer. */
static enum verdict do_without(struct exchange *exchange, const char *why)
{
    const struct exchange_services *services = &exchange->owner->services;
    if (!exchange->passes_undecided)
        return refuse_undecided(exchange, why);
    metrics_add(services->metrics, COUNTER_WEBHOOK_FAILED, 1);
    log_warning("exchange",
                "the webhook did not decide about client=\"%s\" operation=%s, which is allowed: %s",
                client_identity_name(exchange->client), exchange->operation->name, why);
    return NEXT;
}

static enum verdict refuse_undecided(struct exchange *exchange, const char *why)
{
    unsigned unsaid;
    char more[64] = "";
    metrics_add(exchange->owner->services.metrics, COUNTER_WEBHOOK_FAILED, 1);
    if (!quiet_may_speak(&exchange->owner->undecided, monotonic_ms(), &unsaid))
        return refuse(exchange, CM_SERVICE_UNAVAILABLE, "");
    if (unsaid > 0)
        snprintf(more, sizeof more, " (and %u requests more since this was said last)", unsaid);
    log_warning(
        "exchange",
        "the webhook did not decide about client=\"%s\" operation=%s, which is told to come back: %s%s",
        client_identity_name(exchange->client), exchange->operation->name, why, more);
    return refuse(exchange, CM_SERVICE_UNAVAILABLE, "");
}

static enum verdict ask_est_server(struct exchange *exchange)
{
    const struct inquiry_subject subject = subject_of(exchange);
    exchange->inquiry = inquiry_create(&exchange->owner->services, &subject);
    if (exchange->inquiry == NULL)
        return refuse(exchange, CM_SERVICE_UNAVAILABLE, "");
    enum inquiry_verdict verdict = inquiry_ask(exchange->inquiry, buffer_view(&exchange->body));
    buffer_free(&exchange->body);
    return verdict == INQUIRY_WAITS ? WAIT : NEXT;
}

static struct inquiry_subject subject_of(struct exchange *exchange)
{
    return (struct inquiry_subject){
        .operation = exchange->operation,
        .label = exchange->label,
        .client = exchange->client,
        .csr = exchange->csr,
        .outcome = &exchange->outcome,
        .done = on_outcome,
        .user = exchange,
    };
}

static void on_outcome(void *user)
{
    walk(user);
}

static enum verdict translate_response(struct exchange *exchange)
{
    const struct settings *settings = exchange->owner->services.settings;
    const struct response_context asked = {exchange->operation, settings, exchange->csr};
    struct est_outcome *outcome = &exchange->outcome;
    buffer_reset(&exchange->representation);
    if (outcome->kind == OUTCOME_NOTHING)
        outcome->code = response_body_none(exchange->operation, &settings->est, &exchange->representation);
    if (outcome->kind != OUTCOME_RESULT)
        return ANSWER;
    switch (response_body_present(&asked, exchange->format, buffer_view(&outcome->content),
                                  &exchange->representation)) {
    case STATUS_OK:
        return ANSWER;
    case STATUS_UNSUPPORTED:
        return refuse(exchange, CM_NOT_ACCEPTABLE, ""); /* CF-6 */
    default:
        return refuse(exchange, CM_BAD_GATEWAY, "the EST server's answer is of no use");
    }
}

static enum verdict refuse(struct exchange *exchange, uint8_t code, const char *diagnostic)
{
    const struct exchange_services *services = &exchange->owner->services;
    est_outcome_refuse(&exchange->outcome, code, diagnostic);
    if (code == CM_SERVICE_UNAVAILABLE)
        exchange->outcome.max_age_s = services->settings->est.retry_after_s;
    if (CM_CODE_CLASS(code) == 4)
        metrics_add(services->metrics, COUNTER_EXCHANGES_REFUSED, 1);
    return ANSWER;
}

/* Answers. */

static void answer(struct exchange *exchange)
{
    const struct est_outcome *outcome = &exchange->outcome;
    bool success = CM_CODE_CLASS(outcome->code) == 2;
    struct bytes payload = buffer_view(success ? &exchange->representation : &outcome->content);
    size_t der_max = request_body_der_max(&exchange->owner->services.settings->upstream);
    struct est_answer full = {
        .code = outcome->code,
        .content_format = success && payload.len > 0 ? exchange->format : CONTENT_FORMAT_NONE,
        .max_age = {outcome->code == CM_SERVICE_UNAVAILABLE || outcome->code == CM_TOO_MANY_REQUESTS ||
                        outcome->code == CM_CONTENT,
                    outcome->max_age_s}, /* RSP-2, RFC 8516, RSP-4 */
        .size1 = {outcome->code == CM_REQUEST_ENTITY_TOO_LARGE && der_max <= UINT32_MAX, (uint32_t)der_max},
        .payload = payload,
        .secret_ms = secret_ms(exchange, success),
        .had_effect = exchange->inquiry != NULL && inquiry_report(exchange->inquiry).reached,
        .ends_association = exchange->ends_association,
    };
    if (outcome->code == CM_CONTENT)
        validate(exchange, &full);
    if (reply_with(exchange, &full) && exchange->inquiry != NULL)
        inquiry_delivered(exchange->inquiry);
}

/* CF-8: a representation that the device has already is not sent again. */
static void validate(const struct exchange *exchange, struct est_answer *answer)
{
    if (entity_tag_make(answer->content_format, answer->payload, &answer->etag) != STATUS_OK)
        return;
    if (!entity_tag_is_among(&answer->etag, exchange->etags, exchange->etag_count))
        return;
    answer->code = CM_VALID;
    answer->content_format = CONTENT_FORMAT_NONE;
    answer->payload = (struct bytes){NULL, 0};
}

/* SKG-9 */
static uint32_t secret_ms(const struct exchange *exchange, bool success)
{
    const struct est_settings *settings = &exchange->owner->services.settings->est;
    return success && est_operation_makes_key(exchange->operation) ? settings->key_grace_s * 1000 : 0;
}

static void put_off(struct exchange *exchange);
static void answer_early(struct exchange *exchange);
static bool answer_stale(struct exchange *exchange);

/* DLY-3: the EST server is silent for too long. */
static void on_deadline(evutil_socket_t fd, short what, void *user)
{
    (void)fd, (void)what;
    put_off(user);
}

void exchanges_drain(struct exchanges *exchanges)
{
    for (struct exchange *exchange = exchanges->first, *next; exchange != NULL; exchange = next) {
        next = exchange->next;
        if (exchange->inquiry != NULL && inquiry_give_up_key(exchange->inquiry))
            finish(exchange);
    }
}

void exchanges_put_off(struct exchanges *exchanges)
{
    for (struct exchange *exchange = exchanges->first, *next; exchange != NULL; exchange = next) {
        next = exchange->next;
        if (exchange->answered == 0)
            put_off(exchange);
    }
}

/* An enrolment runs on, and so does a fetch that others wait for. */
static void put_off(struct exchange *exchange)
{
    if (exchange->question != NULL) { /* nothing has left yet */
        webhook_cancel(exchange->question);
        exchange->question = NULL;
        refuse(exchange, CM_SERVICE_UNAVAILABLE, "");
        finish(exchange);
        return;
    }
    if (!answer_stale(exchange))
        answer_early(exchange);
    if (inquiry_leave(exchange->inquiry)) {
        est_outcome_refuse(&exchange->outcome, exchange->answered, "");
        finish(exchange);
    }
}

static void answer_early(struct exchange *exchange)
{
    bool is_post = exchange->operation->method == CM_POST;
    uint32_t max_s = exchange->owner->services.settings->est.retry_after_max_s;
    uint64_t running_ms = monotonic_ms() - exchange->started_ms;
    const struct est_answer early = {
        .code = CM_SERVICE_UNAVAILABLE,
        .content_format = CONTENT_FORMAT_NONE,
        .max_age = {true, is_post ? pending_retry_after_s(running_ms, max_s) : GET_RETRY_S},
        .had_effect = is_post,
    };
    reply_with(exchange, &early);
}

static bool answer_stale(struct exchange *exchange)
{
    if (!inquiry_settle_for_stale(exchange->inquiry))
        return false;
    translate_response(exchange);
    answer(exchange);
    return true;
}

static void answer_overload(struct exchanges *exchanges, const struct est_reply *reply)
{
    const struct est_answer overload = {
        .code = CM_SERVICE_UNAVAILABLE,
        .content_format = CONTENT_FORMAT_NONE,
        .max_age = {true, exchanges->services.settings->est.retry_after_s},
    };
    metrics_add(exchanges->services.metrics, COUNTER_EXCHANGES_ANSWERED, 1);
    reply->answer(reply->user, reply->association, reply->request, &overload);
}

static bool reply_with(struct exchange *exchange, const struct est_answer *answer)
{
    const struct est_reply *reply = &exchange->reply;
    exchange->answered = answer->code;
    metrics_add(exchange->owner->services.metrics, COUNTER_EXCHANGES_ANSWERED, 1);
    return reply->answer(reply->user, reply->association, reply->request, answer);
}

/* Whether the device got the outcome, and not something earlier. */
static bool was_told(const struct exchange *exchange)
{
    return exchange->answered == exchange->outcome.code || exchange->answered == CM_VALID;
}

/* SEC-2 */
static void log_exchange(const struct exchange *exchange)
{
    const struct est_outcome *outcome = &exchange->outcome;
    struct inquiry_report report = {.source = "registrar"};
    struct buffer line;
    buffer_init(&line, RECORD_OCTETS_MAX);
    if (exchange->inquiry != NULL)
        report = inquiry_report(exchange->inquiry);
    const struct exchange_record record = {
        .client = exchange->client,
        .operation = exchange->operation,
        .label = exchange->label,
        .rule = rule_for_log(exchange),
        .source = report.source,
        .http_status = report.http_status,
        .code = exchange->answered,
        .outcome = was_told(exchange) ? 0 : outcome->code,
        .repeats_in_doubt = report.repeats_in_doubt,
        .elapsed_ms = (uint32_t)(monotonic_ms() - exchange->started_ms),
        .serial = buffer_view(&outcome->serial),
        .diagnostic =
            outcome->kind == OUTCOME_RESULT ? (struct bytes){NULL, 0} : buffer_view(&outcome->content),
    };
    exchange_record_write(&record, &line);
    log_info("exchange", "%s", buffer_string(&line));
    buffer_free(&line);
}

/* From beginning to end. */

/* Of those who pass for want of a rule, none is told. */
static const char *rule_for_log(const struct exchange *exchange)
{
    const struct access_decision *decision = &exchange->decision;
    return decision->rule == NULL && decision->action == ACCESS_ALLOW ? NULL : decision->by;
}

static enum status set_deadline(struct exchange *exchange);

struct exchanges *exchanges_create(const struct exchange_services *services)
{
    struct exchanges *exchanges = calloc(1, sizeof(*exchanges));
    if (exchanges == NULL)
        return NULL;
    exchanges->services = *services;
    exchanges->services.key_directory = NULL;
    exchanges->services.signer = (struct key_package_signer){NULL, NULL};
    exchanges->services.access_rules = access_rules_hold(services->access_rules);
    exchanges_use_key_directory(exchanges, services->key_directory);
    exchanges_use_signer(exchanges, &services->signer);
    return exchanges;
}

void exchanges_use_access_rules(struct exchanges *exchanges, struct access_rules *rules)
{
    struct access_rules *used = exchanges->services.access_rules;
    exchanges->services.access_rules = access_rules_hold(rules);
    access_rules_release(used);
}

void exchanges_use_key_directory(struct exchanges *exchanges, struct key_directory *directory)
{
    struct key_directory *used = exchanges->services.key_directory;
    exchanges->services.key_directory = directory == NULL ? NULL : key_directory_hold(directory);
    key_directory_release(used);
}

void exchanges_use_signer(struct exchanges *exchanges, const struct key_package_signer *signer)
{
    struct key_package_signer used = exchanges->services.signer;
    if (signer->certificate != NULL)
        X509_up_ref(signer->certificate);
    if (signer->key != NULL)
        EVP_PKEY_up_ref(signer->key);
    exchanges->services.signer = *signer;
    X509_free(used.certificate);
    EVP_PKEY_free(used.key);
}

void exchanges_free(struct exchanges *exchanges)
{
    if (exchanges == NULL)
        return;
    for (struct exchange *exchange = exchanges->first, *next; exchange != NULL; exchange = next) {
        next = exchange->next;
        drop(exchange);
    }
    access_rules_release(exchanges->services.access_rules);
    key_directory_release(exchanges->services.key_directory);
    X509_free(exchanges->services.signer.certificate);
    EVP_PKEY_free(exchanges->services.signer.key);
    free(exchanges);
}

/* Its record tells what it has come to (SEC-2). */
static void drop(struct exchange *exchange)
{
    if (exchange->inquiry != NULL)
        inquiry_abandon(exchange->inquiry);
    log_exchange(exchange);
    destroy(exchange);
}

struct exchange_admission exchanges_admit(struct exchanges *exchanges, const struct client_identity *client)
{
    const struct exchange_services *services = &exchanges->services;
    uint64_t wait_ms =
        rate_table_take(services->request_rates, client_identity_fingerprint(client), monotonic_ms());
    if (wait_ms > 0) {
        metrics_add(services->metrics, COUNTER_REQUESTS_LIMITED, 1);
        return (struct exchange_admission){CM_TOO_MANY_REQUESTS, (uint32_t)((wait_ms + 999) / 1000)};
    }
    if (metrics_get(services->metrics, COUNTER_EXCHANGES) < services->settings->limits.max_exchanges)
        return (struct exchange_admission){0, 0};
    metrics_add(services->metrics, COUNTER_REQUESTS_SHED, 1);
    return (struct exchange_admission){CM_SERVICE_UNAVAILABLE, services->settings->est.retry_after_s};
}

size_t exchanges_running(const struct exchanges *exchanges)
{
    return exchanges->count;
}

static struct exchange *create(struct exchanges *owner, const struct est_request *request,
                               const struct est_reply *reply)
{
    size_t limit = owner->services.settings->upstream.max_response_bytes;
    struct exchange *exchange = calloc(1, sizeof(*exchange));
    if (exchange == NULL)
        return NULL;
    exchange->owner = owner;
    exchange->request = request;
    exchange->operation = request->route.operation;
    exchange->label = request->route.label;
    exchange->client = request->client == NULL ? NULL : client_identity_hold(request->client);
    exchange->rules = access_rules_hold(owner->services.access_rules);
    exchange->reply = *reply;
    exchange->etag_count = request->etag_count;
    for (size_t i = 0; i < request->etag_count; i++)
        exchange->etags[i] = request->etags[i];
    exchange->started_ms = monotonic_ms();
    buffer_init(&exchange->body, 2 * request->body.len + 64); /* base64 with its line ends */
    buffer_init(&exchange->representation, limit);
    est_outcome_init(&exchange->outcome, limit);
    exchange->representation.locked = exchange->outcome.content.locked =
        est_operation_makes_key(exchange->operation);

    exchange->next = owner->first;
    if (exchange->next != NULL)
        exchange->next->previous = exchange;
    owner->first = exchange;
    owner->count++;
    metrics_add(owner->services.metrics, COUNTER_EXCHANGES, 1);
    if (set_deadline(exchange) == STATUS_OK)
        return exchange;
    destroy(exchange);
    return NULL;
}

static enum status set_deadline(struct exchange *exchange)
{
    uint32_t within_ms = exchange->owner->services.settings->coap.answer_within_ms;
    struct timeval within = {within_ms / 1000, within_ms % 1000 * 1000};
    exchange->deadline = evtimer_new(exchange->owner->services.base, on_deadline, exchange);
    return exchange->deadline != NULL && evtimer_add(exchange->deadline, &within) == 0 ? STATUS_OK
                                                                                       : STATUS_NO_MEMORY;
}

static void destroy(struct exchange *exchange)
{
    struct exchanges *owner = exchange->owner;
    if (exchange->previous != NULL)
        exchange->previous->next = exchange->next;
    else
        owner->first = exchange->next;
    if (exchange->next != NULL)
        exchange->next->previous = exchange->previous;
    owner->count--;
    metrics_subtract(owner->services.metrics, COUNTER_EXCHANGES, 1);
    if (exchange->deadline != NULL)
        event_free(exchange->deadline);
    inquiry_free(exchange->inquiry);
    if (exchange->client != NULL)
        client_identity_release(exchange->client);
    webhook_cancel(exchange->question);
    access_rules_release(exchange->rules);
    certificate_request_free(exchange->csr);
    buffer_free(&exchange->body);
    buffer_wipe(&exchange->representation);
    est_outcome_free(&exchange->outcome);
    free(exchange);
}
