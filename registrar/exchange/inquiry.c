#include "registrar/exchange/inquiry.h"

#include "common/container_of.h"
#include "common/log.h"
#include "common/monotonic.h"
#include "registrar/exchange/key_workshop.h"
#include "registrar/exchange/local_key.h"
#include "registrar/exchange/pending_enrolments.h"
#include "registrar/exchange/pending_journal.h"
#include "registrar/keygen/key_generation.h"
#include "registrar/translate/key_answer.h"
#include "registrar/translate/request_body.h"
#include "registrar/upstream/est_client.h"
#include "registrar/upstream/response_cache.h"

#include <stdlib.h>
#include <time.h>

/* What has to be given back when it ends. */
enum claim {
    CLAIM_NOTHING,
    CLAIM_ENTRY, /* of the pending table: settle it */
    CLAIM_FETCH, /* of the response cache: report it */
    CLAIM_TURN   /* among those who wait for the response cache: leave */
};

struct inquiry {
    const struct exchange_services *services;
    struct inquiry_subject subject;
    struct inquiry_report report;
    enum claim claim;
    bool orphaned;      /* its exchange is gone, and only a letter is still on its way */
    bool owes_delivery; /* the pending table wants to hear when the device has the outcome */
    struct pending_key key;
    uint64_t server;               /* the EST server that has taken the enrolment on (202); 0: none has */
    struct est_call *call;         /* waits for */
    struct journal_waiter written; /* what is said of it to be on the disk, */
    bool is_being_written;         /* while this is so */
    struct inquiry *attributes;    /* csrattrs are asked for, to know what key to make */
    struct est_outcome csrattrs;
    enum key_type key_type;
    struct key_order *order;     /* a key of that type is being made */
    struct local_key *local_key; /* it is made, and its certificate asked for; held */
    struct cache_waiter waiter;
};

static enum inquiry_verdict ask_for_enrolment(struct inquiry *inquiry, struct bytes body);
static enum inquiry_verdict ask_for_shared(struct inquiry *inquiry);
static enum inquiry_verdict refuse(struct inquiry *inquiry, uint8_t code, uint32_t max_age_s);
static void settle(struct inquiry *inquiry);
static void share(struct inquiry *inquiry);
static void adopt(struct inquiry *inquiry, const struct cached_response *shared);

struct inquiry *inquiry_create(const struct exchange_services *services,
                               const struct inquiry_subject *subject)
{
    struct inquiry *inquiry = calloc(1, sizeof(*inquiry));
    if (inquiry == NULL)
        return NULL;
    inquiry->services = services;
    inquiry->subject = *subject;
    inquiry->report.source = subject->csr != NULL ? "pending" : "cache";
    cached_response_init(&inquiry->waiter.response, services->settings->upstream.max_response_bytes);
    est_outcome_init(&inquiry->csrattrs, services->settings->upstream.max_response_bytes);
    return inquiry;
}

void inquiry_free(struct inquiry *inquiry)
{
    if (inquiry == NULL)
        return;
    if (inquiry->claim == CLAIM_TURN && !response_cache_leave(inquiry->services->cache, &inquiry->waiter)) {
        inquiry->orphaned = true; /* until its letter is opened */
        return;
    }
    inquiry_abandon(inquiry);
    if (inquiry->is_being_written && !pending_journal_leave(inquiry->services->journal, &inquiry->written)) {
        inquiry->orphaned = true;
        return;
    }
    inquiry_free(inquiry->attributes);
    est_outcome_free(&inquiry->csrattrs);
    key_order_cancel(inquiry->order);
    local_key_release(inquiry->local_key);
    cached_response_free(&inquiry->waiter.response);
    free(inquiry);
}

/* Gives back what others count on. */
void inquiry_abandon(struct inquiry *inquiry)
{
    struct est_outcome *outcome = inquiry->subject.outcome;
    if (inquiry->claim != CLAIM_ENTRY && inquiry->claim != CLAIM_FETCH)
        return;
    inquiry->report.source = "stopped";
    est_outcome_refuse(outcome, CM_SERVICE_UNAVAILABLE, "the registrar stops");
    outcome->max_age_s = inquiry->services->settings->est.retry_after_s;
    if (inquiry->claim == CLAIM_FETCH) {
        share(inquiry);
        return;
    }
    if (inquiry->report.reached)
        outcome->kind = OUTCOME_IN_DOUBT;
    settle(inquiry);
}

enum inquiry_verdict inquiry_ask(struct inquiry *inquiry, struct bytes body)
{
    return inquiry->subject.csr != NULL ? ask_for_enrolment(inquiry, body) : ask_for_shared(inquiry);
}

struct inquiry_report inquiry_report(const struct inquiry *inquiry)
{
    return inquiry->report;
}

bool inquiry_settle_for_stale(struct inquiry *inquiry)
{
    struct cached_response stale;
    cached_response_init(&stale, inquiry->services->settings->upstream.max_response_bytes);
    bool found = inquiry->subject.csr == NULL &&
                 response_cache_stale(inquiry->services->cache, inquiry->subject.operation->id,
                                      inquiry->subject.label, monotonic_ms(), &stale);
    if (found)
        adopt(inquiry, &stale);
    cached_response_free(&stale);
    return found;
}

bool inquiry_leave(struct inquiry *inquiry)
{
    if (inquiry->claim != CLAIM_TURN || !response_cache_leave(inquiry->services->cache, &inquiry->waiter))
        return false;
    inquiry->claim = CLAIM_NOTHING;
    return true;
}

static enum inquiry_verdict refuse(struct inquiry *inquiry, uint8_t code, uint32_t max_age_s)
{
    est_outcome_refuse(inquiry->subject.outcome, code, "");
    inquiry->subject.outcome->max_age_s = max_age_s;
    return INQUIRY_ANSWERED;
}

/* An enrolment. */

static void read_serial(struct inquiry *inquiry);
static enum status make_key(const struct inquiry_subject *subject, struct pending_key *key);
static void remember_passed(const struct inquiry *inquiry);
static enum inquiry_verdict post(struct inquiry *inquiry, struct bytes body);
static enum status ask(struct inquiry *inquiry, const struct est_operation *operation, struct bytes body,
                       void (*done)(void *, const struct est_response *));
static bool makes_key_here(const struct inquiry *inquiry, enum server_keygen mode);
static bool is_without_keys(const struct inquiry *inquiry, const struct est_response *response);
static void keep_local_key(const struct inquiry *inquiry);
static enum inquiry_verdict make_key_here(struct inquiry *inquiry);
static enum inquiry_verdict ask_again_for_local_key(struct inquiry *inquiry);
static bool may_begin(const struct inquiry *inquiry);
static void on_turn(void *user, struct est_call *call);
static void on_written(struct letter *letter);
static void on_sending(void *user);
static void on_enrolled(void *user, const struct est_response *response);
static void judge(struct inquiry *inquiry, const struct est_response *response);
static void settle_refusal(struct inquiry *inquiry, uint64_t now_ms);
static enum status keep_result(struct inquiry *inquiry, uint64_t now_ms);
static void tell_of_doubt(const struct inquiry *inquiry, const char *reason);

static enum inquiry_verdict ask_for_enrolment(struct inquiry *inquiry, struct bytes body)
{
    struct est_outcome *outcome = inquiry->subject.outcome;
    struct pending_outcome found;
    if (make_key(&inquiry->subject, &inquiry->key) != STATUS_OK)
        return refuse(inquiry, CM_INTERNAL_SERVER_ERROR, 0);
    enum pending_verdict verdict = pending_enrolments_ask(inquiry->services->pending, &inquiry->key,
                                                          monotonic_ms(), &found, &outcome->content);
    inquiry->local_key = found.local_key;
    remember_passed(inquiry);
    switch (verdict) {
    case PENDING_ANSWER:
        inquiry->owes_delivery = true;
        if (found.refusal != 0) {
            outcome->kind = OUTCOME_REFUSED;
            outcome->code = found.refusal;
            return INQUIRY_ANSWERED;
        }
        inquiry->report.reached = true;
        outcome->kind = OUTCOME_RESULT;
        outcome->code = CM_CHANGED;
        read_serial(inquiry);
        return INQUIRY_ANSWERED;
    case PENDING_ASK:
        if (!may_begin(inquiry)) {
            pending_enrolments_withdrawn(inquiry->services->pending, &inquiry->key, monotonic_ms());
            return refuse(inquiry, CM_SERVICE_UNAVAILABLE, inquiry->services->settings->est.retry_after_s);
        }
        inquiry->server = found.server;
        inquiry->report.repeats_in_doubt = found.repeats_in_doubt;
        if (found.repeats_in_doubt)
            tell_of_doubt(inquiry, "it is asked again, which may become a second issue");
        return post(inquiry, body);
    case PENDING_CROWDED:
        refuse(inquiry, CM_TOO_MANY_REQUESTS, found.retry_after_s);
        buffer_append_string(&outcome->content, "too many enrolments of this device are under way");
        return INQUIRY_ANSWERED;
    case PENDING_LATER:
    case PENDING_FULL:
        break;
    }
    return refuse(inquiry, CM_SERVICE_UNAVAILABLE, found.retry_after_s);
}

/* SEC-2 */
static void read_serial(struct inquiry *inquiry)
{
    struct est_outcome *outcome = inquiry->subject.outcome;
    struct bytes content = buffer_view(&outcome->content);
    if (est_operation_makes_key(inquiry->subject.operation))
        key_answer_serial(content, &outcome->serial);
    else
        response_body_serial(content, inquiry->subject.csr, &outcome->serial);
}

static enum status make_key(const struct inquiry_subject *subject, struct pending_key *key)
{
    uint8_t digest[32];
    enum status status = certificate_request_digest(subject->csr, digest);
    if (status != STATUS_OK)
        return status;
    return pending_key_make(client_identity_fingerprint(subject->client),
                            bytes_from_string(subject->operation->name), subject->label, digest, key);
}

/* It would not be asked for otherwise. */
static void remember_passed(const struct inquiry *inquiry)
{
    uint8_t csr[32];
    if (certificate_request_fingerprint(inquiry->subject.csr, csr) == STATUS_OK)
        pending_enrolments_passed(inquiry->services->pending, &inquiry->key, csr);
}

bool inquiry_has_passed(const struct exchange_services *services, const struct inquiry_subject *subject)
{
    struct pending_key key;
    uint8_t csr[32];
    return make_key(subject, &key) == STATUS_OK &&
           certificate_request_fingerprint(subject->csr, csr) == STATUS_OK &&
           pending_enrolments_has_passed(services->pending, &key, csr);
}

static enum inquiry_verdict post(struct inquiry *inquiry, struct bytes body)
{
    inquiry->claim = CLAIM_ENTRY;
    if (inquiry->local_key != NULL)
        return ask_again_for_local_key(inquiry);
    if (makes_key_here(inquiry, SERVER_KEYGEN_LOCAL))
        return make_key_here(inquiry);
    if (ask(inquiry, inquiry->subject.operation, body, on_enrolled) == STATUS_OK)
        return INQUIRY_WAITS;
    refuse(inquiry, CM_SERVICE_UNAVAILABLE, inquiry->services->settings->est.retry_after_s);
    settle(inquiry);
    return INQUIRY_ANSWERED;
}

static enum status ask(struct inquiry *inquiry, const struct est_operation *operation, struct bytes body,
                       void (*done)(void *, const struct est_response *))
{
    const struct est_call_settings call = {
        .operation = operation,
        .label = inquiry->subject.label,
        .path = est_label_upstream_path(&inquiry->services->settings->est, inquiry->subject.label),
        .body = body,
        .client = client_identity_certificate(inquiry->subject.client),
        .server = inquiry->server,
        .turn = inquiry->services->journal != NULL && inquiry->claim == CLAIM_ENTRY ? on_turn : NULL,
        .sending = on_sending,
        .done = done,
        .user = inquiry,
    };
    return est_client_ask(inquiry->services->est_client, &call);
}

/* Without the journal there is no knowing after a restart, so nothing is begun. */
static bool may_begin(const struct inquiry *inquiry)
{
    const struct pending_journal *journal = inquiry->services->journal;
    return journal == NULL || pending_journal_works(journal);
}

/* That the request leaves is on the disk before its first octet does. */
static void on_turn(void *user, struct est_call *call)
{
    struct inquiry *inquiry = user;
    const struct inquiry_subject *subject = &inquiry->subject;
    struct buffer name;
    buffer_init(&name, PENDING_NAME_OCTETS_MAX);
    buffer_printf(&name, "client=\"%s\" operation=%s label=\"%.*s\"", client_identity_name(subject->client),
                  subject->operation->name, (int)subject->label.len, (const char *)subject->label.at);
    bool recorded = pending_enrolments_sent(inquiry->services->pending, &inquiry->key, buffer_view(&name));
    buffer_free(&name);
    inquiry->call = call;
    if (!recorded) {
        est_call_withhold(call, "the journal takes no more");
        return;
    }
    inquiry->is_being_written = true;
    inquiry->written.mailbox = inquiry->services->mailbox;
    inquiry->written.letter.open = on_written;
    pending_journal_wait(inquiry->services->journal, &inquiry->written);
}

static void on_written(struct letter *letter)
{
    struct journal_waiter *written = CONTAINER_OF(letter, struct journal_waiter, letter);
    struct inquiry *inquiry = CONTAINER_OF(written, struct inquiry, written);
    inquiry->is_being_written = false;
    if (inquiry->orphaned)
        inquiry_free(inquiry);
    else if (written->status == STATUS_OK)
        est_call_go(inquiry->call);
    else
        est_call_withhold(inquiry->call, "the journal cannot be written");
}

/* Right before the first octet leaves. With a journal this stands in it already. */
static void on_sending(void *user)
{
    struct inquiry *inquiry = user;
    if (inquiry->claim != CLAIM_ENTRY)
        return;
    inquiry->report.reached = true;
    if (inquiry->services->journal == NULL)
        pending_enrolments_sent(inquiry->services->pending, &inquiry->key, (struct bytes){NULL, 0});
}

static void on_enrolled(void *user, const struct est_response *response)
{
    struct inquiry *inquiry = user;
    judge(inquiry, response);
    if (is_without_keys(inquiry, response) && make_key_here(inquiry) == INQUIRY_WAITS)
        return;
    if (inquiry->claim == CLAIM_ENTRY)
        settle(inquiry);
    inquiry->subject.done(inquiry->subject.user);
}

static void judge(struct inquiry *inquiry, const struct est_response *response)
{
    static const char *const sources[] = {
        [EST_ANSWERED] = "http",    [EST_NOT_SENT] = "unreachable", [EST_TIMEOUT] = "timeout",
        [EST_BROKEN] = "broken",    [EST_UNTRUSTED] = "untrusted",  [EST_QUEUE_FULL] = "queue",
        [EST_WITHHELD] = "journal",
    };
    const bool local = inquiry->local_key != NULL;
    const struct response_context asked = {
        .operation = local ? est_operation(EST_SEN) : inquiry->subject.operation,
        .settings = inquiry->services->settings,
        .csr = local ? local_key_request(inquiry->local_key) : inquiry->subject.csr,
    };
    inquiry->report.source = sources[response->result];
    inquiry->report.http_status = response->http_status;
    const bool is_put_off = response->result == EST_ANSWERED && response->http_status == 202;
    if (is_put_off)
        inquiry->server = response->server;
    est_outcome_judge(&asked, response, time(NULL), inquiry->subject.outcome);
    if (local && inquiry->subject.outcome->kind == OUTCOME_RESULT)
        local_key_complete(inquiry->local_key, inquiry->subject.operation, inquiry->subject.outcome);
    else if (local && is_put_off)
        keep_local_key(inquiry);
}

/* SKG-9: for no longer than a key may be kept. */
static void keep_local_key(const struct inquiry *inquiry)
{
    struct est_outcome *outcome = inquiry->subject.outcome;
    enum status status = pending_enrolments_keep_key(inquiry->services->pending, &inquiry->key,
                                                     monotonic_ms(), outcome->max_age_s, inquiry->local_key);
    if (status != STATUS_OK)
        local_key_cannot_wait(status, outcome);
}

/* Tells the pending table how it went. */
static void settle(struct inquiry *inquiry)
{
    struct pending_enrolments *pending = inquiry->services->pending;
    struct est_outcome *outcome = inquiry->subject.outcome;
    uint64_t now_ms = monotonic_ms();
    inquiry->claim = CLAIM_NOTHING;
    switch (outcome->kind) {
    case OUTCOME_RESULT:
        inquiry->owes_delivery = true;
        if (keep_result(inquiry, now_ms) != STATUS_OK)
            tell_of_doubt(inquiry, "a repetition would not be recognised: no room for the certificate");
        break;
    case OUTCOME_WAIT:
        pending_enrolments_wait(pending, &inquiry->key, now_ms, outcome->max_age_s, inquiry->server);
        break;
    case OUTCOME_IN_DOUBT:
        tell_of_doubt(inquiry, buffer_string(&outcome->content));
        pending_enrolments_in_doubt(pending, &inquiry->key, now_ms);
        break;
    case OUTCOME_NOTHING:
    case OUTCOME_REFUSED:
        settle_refusal(inquiry, now_ms);
        break;
    }
}

/* Only the EST server's own word is kept for the device. */
static void settle_refusal(struct inquiry *inquiry, uint64_t now_ms)
{
    struct pending_enrolments *pending = inquiry->services->pending;
    const struct est_outcome *outcome = inquiry->subject.outcome;
    inquiry->owes_delivery = inquiry->report.http_status != 0;
    if (inquiry->owes_delivery)
        pending_enrolments_refused(pending, &inquiry->key, now_ms, outcome->code,
                                   buffer_view(&outcome->content));
    else
        pending_enrolments_withdrawn(pending, &inquiry->key, now_ms);
}

static enum status keep_result(struct inquiry *inquiry, uint64_t now_ms)
{
    struct pending_enrolments *pending = inquiry->services->pending;
    struct bytes result = buffer_view(&inquiry->subject.outcome->content);
    return est_operation_makes_key(inquiry->subject.operation)
               ? pending_enrolments_ready_secret(pending, &inquiry->key, now_ms, result)
               : pending_enrolments_ready(pending, &inquiry->key, now_ms, result);
}

static void tell_of_doubt(const struct inquiry *inquiry, const char *reason)
{
    const struct inquiry_subject *subject = &inquiry->subject;
    log_warning("exchange", "enrolment in doubt: client=\"%s\" operation=%s label=\"%.*s\": %s",
                client_identity_name(subject->client), subject->operation->name, (int)subject->label.len,
                (const char *)subject->label.at, reason);
}

void inquiry_delivered(struct inquiry *inquiry)
{
    if (inquiry->owes_delivery)
        pending_enrolments_delivered(inquiry->services->pending, &inquiry->key, monotonic_ms());
}

/* A key that is made here (SKG-5, SKG-6). */

static enum inquiry_verdict ask_for_csrattrs(struct inquiry *inquiry);
static void on_csrattrs(void *user);
static enum inquiry_verdict take_csrattrs(struct inquiry *inquiry);
static enum inquiry_verdict order_key(struct inquiry *inquiry, enum key_type type);
static void *generate_key(void *user, const atomic_bool *abandoned);
static void drop_key(void *key);
static void on_key_made(void *user, void *key);
static enum status ask_for_local_key(struct inquiry *inquiry);
static enum inquiry_verdict refuse_key(struct inquiry *inquiry, const struct local_key_refusal *refusal);

static bool makes_key_here(const struct inquiry *inquiry, enum server_keygen mode)
{
    return est_operation_makes_key(inquiry->subject.operation) &&
           inquiry->services->settings->est.server_keygen == mode;
}

/* SKG-6: what an EST server without serverkeygen answers. */
static bool is_without_keys(const struct inquiry *inquiry, const struct est_response *response)
{
    return makes_key_here(inquiry, SERVER_KEYGEN_RELAY_THEN_LOCAL) && inquiry->local_key == NULL &&
           response->result == EST_ANSWERED && (response->http_status == 404 || response->http_status == 501);
}

static enum inquiry_verdict make_key_here(struct inquiry *inquiry)
{
    const struct est_settings *settings = &inquiry->services->settings->est;
    const struct local_key_refusal crowd = {CM_SERVICE_UNAVAILABLE, ""};
    struct local_key_refusal refusal;
    enum key_type type;
    if (!local_key_may_be_made(inquiry->services, inquiry->subject.csr, &refusal))
        return refuse_key(inquiry, &refusal);
    if (!pending_enrolments_has_room_for_key(inquiry->services->pending))
        return refuse_key(inquiry, &crowd);
    return local_key_type(settings, inquiry->subject.csr, NULL, &type) ? order_key(inquiry, type)
                                                                       : ask_for_csrattrs(inquiry);
}

/* From memory, as a rule. */
static enum inquiry_verdict ask_for_csrattrs(struct inquiry *inquiry)
{
    const struct inquiry_subject subject = {
        .operation = est_operation(EST_ATT),
        .label = inquiry->subject.label,
        .client = inquiry->subject.client,
        .outcome = &inquiry->csrattrs,
        .done = on_csrattrs,
        .user = inquiry,
    };
    const struct local_key_refusal refusal = {CM_SERVICE_UNAVAILABLE, ""};
    inquiry->attributes = inquiry_create(inquiry->services, &subject);
    if (inquiry->attributes == NULL)
        return refuse_key(inquiry, &refusal);
    bool waits = inquiry_ask(inquiry->attributes, (struct bytes){NULL, 0}) == INQUIRY_WAITS;
    return waits ? INQUIRY_WAITS : take_csrattrs(inquiry);
}

static void on_csrattrs(void *user)
{
    struct inquiry *inquiry = user;
    if (take_csrattrs(inquiry) == INQUIRY_ANSWERED)
        inquiry->subject.done(inquiry->subject.user);
}

/* An EST server that has none (4.04) asks for nothing. */
static enum inquiry_verdict take_csrattrs(struct inquiry *inquiry)
{
    const struct est_outcome *outcome = &inquiry->csrattrs;
    bool are_there = outcome->kind == OUTCOME_RESULT;
    struct bytes csrattrs = are_there ? buffer_view(&outcome->content) : (struct bytes){NULL, 0};
    enum key_type type;
    if (!are_there && outcome->code != CM_NOT_FOUND) {
        const struct local_key_refusal refusal = {outcome->code,
                                                  "the EST server does not say what key it wants"};
        return refuse_key(inquiry, &refusal);
    }
    local_key_type(&inquiry->services->settings->est, inquiry->subject.csr, &csrattrs, &type);
    return order_key(inquiry, type);
}

static enum inquiry_verdict order_key(struct inquiry *inquiry, enum key_type type)
{
    const struct key_order_settings settings = {
        .make = generate_key, .drop = drop_key, .done = on_key_made, .user = inquiry};
    const struct local_key_refusal refusal = {CM_SERVICE_UNAVAILABLE, ""};
    inquiry->key_type = type;
    inquiry->order = key_workshop_order(inquiry->services->workshop, &settings);
    return inquiry->order != NULL ? INQUIRY_WAITS : refuse_key(inquiry, &refusal);
}

static void *generate_key(void *user, const atomic_bool *abandoned)
{
    const struct inquiry *inquiry = user;
    const struct certificate_request *csr = inquiry->subject.csr;
    struct generated_key *made;
    return key_generation_make(csr, inquiry->key_type, abandoned, &made) == STATUS_OK ? made : NULL;
}

static void drop_key(void *key)
{
    key_generation_free(key);
}

static void on_key_made(void *user, void *key)
{
    struct inquiry *inquiry = user;
    struct generated_key *made = key;
    struct local_key_refusal refusal = {CM_INTERNAL_SERVER_ERROR, "no key could be made"};
    inquiry->order = NULL;
    if (made != NULL)
        inquiry->local_key = local_key_create(inquiry->services, inquiry->subject.csr, made, &refusal);
    if (inquiry->local_key != NULL) {
        if (ask_for_local_key(inquiry) == STATUS_OK)
            return;
        refusal = (struct local_key_refusal){CM_SERVICE_UNAVAILABLE, ""};
    }
    refuse_key(inquiry, &refusal);
    inquiry->subject.done(inquiry->subject.user);
}

static enum status ask_for_local_key(struct inquiry *inquiry)
{
    struct bytes csr = local_key_csr(inquiry->local_key);
    struct buffer body;
    buffer_init(&body, 2 * csr.len + 64); /* base64 with its line ends */
    enum status status = request_body_encode(&inquiry->services->settings->upstream, csr, &body);
    if (status == STATUS_OK)
        status = ask(inquiry, est_operation(EST_SEN), buffer_view(&body), on_enrolled);
    buffer_free(&body);
    return status;
}

bool inquiry_give_up_key(struct inquiry *inquiry)
{
    const struct local_key_refusal refusal = {CM_SERVICE_UNAVAILABLE, ""};
    if (inquiry->order == NULL)
        return false;
    key_order_cancel(inquiry->order);
    inquiry->order = NULL;
    refuse_key(inquiry, &refusal);
    return true;
}

/* What the EST server has put off (202), in the same words. */
static enum inquiry_verdict ask_again_for_local_key(struct inquiry *inquiry)
{
    const struct local_key_refusal refusal = {CM_SERVICE_UNAVAILABLE, ""};
    return ask_for_local_key(inquiry) == STATUS_OK ? INQUIRY_WAITS : refuse_key(inquiry, &refusal);
}

/* No certificate was asked for. */
static enum inquiry_verdict refuse_key(struct inquiry *inquiry, const struct local_key_refusal *refusal)
{
    est_outcome_refuse(inquiry->subject.outcome, refusal->code, refusal->diagnostic);
    if (refusal->code == CM_SERVICE_UNAVAILABLE)
        inquiry->subject.outcome->max_age_s = inquiry->services->settings->est.retry_after_s;
    inquiry->report.http_status = 0;
    inquiry->report.source = "registrar";
    settle(inquiry);
    return INQUIRY_ANSWERED;
}

/* What everybody gets alike. */

static void on_fetched(void *user, const struct est_response *response);
static void on_letter(struct letter *letter);

static enum inquiry_verdict ask_for_shared(struct inquiry *inquiry)
{
    const struct exchange_services *services = inquiry->services;
    inquiry->waiter.mailbox = services->mailbox;
    inquiry->waiter.letter.open = on_letter;
    switch (response_cache_ask(services->cache, inquiry->subject.operation->id, inquiry->subject.label,
                               monotonic_ms(), &inquiry->waiter)) {
    case CACHE_HIT:
        adopt(inquiry, &inquiry->waiter.response);
        return INQUIRY_ANSWERED;
    case CACHE_WAIT:
        inquiry->claim = CLAIM_TURN;
        return INQUIRY_WAITS;
    case CACHE_FETCH:
        break;
    }
    inquiry->claim = CLAIM_FETCH;
    if (ask(inquiry, inquiry->subject.operation, (struct bytes){NULL, 0}, on_fetched) == STATUS_OK)
        return INQUIRY_WAITS;
    refuse(inquiry, CM_SERVICE_UNAVAILABLE, services->settings->est.retry_after_s);
    share(inquiry);
    return INQUIRY_ANSWERED;
}

static void on_fetched(void *user, const struct est_response *response)
{
    struct inquiry *inquiry = user;
    judge(inquiry, response);
    share(inquiry);
    inquiry->subject.done(inquiry->subject.user);
}

/* Tells all who wait, and takes what is stale where there is nothing better. What is not there counts as a
 * result without octets; it is kept as long as one. */
static void share(struct inquiry *inquiry)
{
    const struct est_outcome *outcome = inquiry->subject.outcome;
    struct cached_response *shared = &inquiry->waiter.response;
    bool is_result = outcome->kind == OUTCOME_RESULT || outcome->kind == OUTCOME_NOTHING;
    shared->code = is_result ? 0 : outcome->code;
    shared->max_age_s = outcome->max_age_s;
    shared->may_be_stale = outcome->may_be_stale;
    buffer_reset(&shared->der);
    buffer_append(&shared->der, buffer_view(&outcome->content));
    inquiry->claim = CLAIM_NOTHING;
    if (response_cache_fetched(inquiry->services->cache, inquiry->subject.operation->id,
                               inquiry->subject.label, monotonic_ms(), shared))
        adopt(inquiry, &inquiry->waiter.response);
}

/* The fetch that this one waited for is done. */
static void on_letter(struct letter *letter)
{
    struct cache_waiter *waiter = CONTAINER_OF(letter, struct cache_waiter, letter);
    struct inquiry *inquiry = CONTAINER_OF(waiter, struct inquiry, waiter);
    inquiry->claim = CLAIM_NOTHING;
    if (inquiry->orphaned) {
        inquiry_free(inquiry);
        return;
    }
    adopt(inquiry, &inquiry->waiter.response);
    inquiry->subject.done(inquiry->subject.user);
}

static void adopt(struct inquiry *inquiry, const struct cached_response *shared)
{
    struct est_outcome *outcome = inquiry->subject.outcome;
    refuse(inquiry, shared->code, shared->max_age_s);
    buffer_append(&outcome->content, buffer_view(&shared->der));
    if (outcome->content.status != STATUS_OK) {
        refuse(inquiry, CM_INTERNAL_SERVER_ERROR, 0);
        return;
    }
    if (shared->stale)
        inquiry->report.source = "stale";
    if (shared->code != 0)
        return;
    outcome->kind = shared->der.len > 0 ? OUTCOME_RESULT : OUTCOME_NOTHING;
    outcome->code = shared->der.len > 0 ? CM_CONTENT : CM_NOT_FOUND;
}
