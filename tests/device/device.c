#include "device.h"

#include <stdlib.h>
#include <string.h>

#include "certificate_request.h"
#include "clock.h"
#include "coap_names.h"

enum { OPERATIONS_LIMIT = 64, DEFAULT_MAX_AGE_S = 60 /* RFC 7252 section 5.10.5 */ };

enum phase { PHASE_BEGIN, PHASE_CONNECT, PHASE_EXCHANGE, PHASE_PAUSE, PHASE_FINISHED };

struct device {
    const struct device_settings *settings;
    enum operation operations[OPERATIONS_LIMIT];
    size_t next, count;
    bool all_succeeded;
    enum phase phase;
    int64_t deadline_ms; /* of everything */
    int64_t begun_ms;    /* this operation */
    int64_t pause_ends_ms;
    int64_t response_due_ms;

    struct session *session;
    int64_t opened_ms;
    int64_t handshake_ms; /* how long it took; 0: not over */
    bool session_is_reported;
    SSL_SESSION *resumable;    /* for OPERATION_RESUME */
    struct identity *obtained; /* by the last enrolment */
    bool uses_obtained;        /* the next session is opened with it */
    struct trust *explicit_ta; /* from /crts (RFC 7030 section 3.1) */
    bool server_is_under_it;

    struct enrolment *enrolment;
    STACK_OF(X509_EXTENSION) * repeated; /* what a re-enrolment asks for again */
    struct exchange *exchange;
    char path[160];
    struct operation_result result;
};

typedef bool step(struct device *device);

static step begin;
static step connect_session;
static step exchange_messages;
static step pause_until_due;
static bool needs_anchors(const struct device *device, enum operation operation);
static void change_session(struct device *device, enum operation operation);
static bool prepare_enrolment(struct device *device);
static const struct identity *present_identity(const struct device *device);
static bool open_session(struct device *device);
static bool on_connected(struct device *device);
static int accept_of(const struct device *device);
static bool start_exchange(struct device *device);
static struct view channel_binding(const struct device *device);
static bool on_silence(struct device *device);
static bool send_message(struct device *device);
static bool on_answer(struct device *device);
static bool asks_for_patience(const struct exchange_answer *answer);
static bool may_try_again(const struct device *device);
static bool try_again_after(struct device *device, int64_t wait_ms);
static bool judge_answer(struct device *device);
static bool adopt_anchors(struct device *device);
static void adopt_certificate(struct device *device);
static bool on_broken_session(struct device *device);
static bool fail_operation(struct device *device, const char *why);
static bool finish_operation(struct device *device, bool succeeded);
static void report(struct device *device);
static void give_up_the_rest(struct device *device);
static void take_response(void *receiver, const coap_pdu_t *response, const coap_address_t *from);
static void drop_session(struct device *device, bool silently);
static bool enter(struct device *device, enum phase phase);

/* What a device does in each phase; true when it entered another one. */
static step *const phases[] = {
    [PHASE_BEGIN] = begin,
    [PHASE_CONNECT] = connect_session,
    [PHASE_EXCHANGE] = exchange_messages,
    [PHASE_PAUSE] = pause_until_due,
};

struct device *device_create(const struct device_settings *settings, const enum operation *operations,
                             size_t count)
{
    if (count > OPERATIONS_LIMIT)
        return NULL;
    struct device *device = calloc(1, sizeof(*device));
    if (device == NULL)
        return NULL;
    device->settings = settings;
    device->count = count;
    memcpy(device->operations, operations, count * sizeof(operations[0]));
    device->all_succeeded = true;
    device->deadline_ms = monotonic_ms() + settings->timeout_ms;
    return device;
}

void device_free(struct device *device)
{
    if (device == NULL)
        return;
    drop_session(device, false);
    SSL_SESSION_free(device->resumable);
    identity_free(device->obtained);
    trust_free(device->explicit_ta);
    enrolment_free(device->enrolment);
    sk_X509_EXTENSION_pop_free(device->repeated, X509_EXTENSION_free);
    exchange_free(device->exchange);
    operation_result_clear(&device->result);
    free(device);
}

void device_step(struct device *device)
{
    if (device->session != NULL)
        session_process(device->session);
    while (device->phase != PHASE_FINISHED && phases[device->phase](device))
        ;
    if (device->phase == PHASE_FINISHED || monotonic_ms() < device->deadline_ms)
        return;
    fail_operation(device, "the time for all operations (--timeout) is over");
    give_up_the_rest(device);
}

int device_descriptor(const struct device *device)
{
    return device->session == NULL ? -1 : session_descriptor(device->session);
}

int device_due_ms(const struct device *device)
{
    int64_t now = monotonic_ms();
    int64_t due = device->deadline_ms;
    int session_due = device->session == NULL ? -1 : session_due_ms(device->session);
    if (device->phase == PHASE_PAUSE && device->pause_ends_ms < due)
        due = device->pause_ends_ms;
    if (device->phase == PHASE_EXCHANGE && device->response_due_ms < due)
        due = device->response_due_ms;
    if (session_due >= 0 && now + session_due < due)
        due = now + session_due;
    return due <= now ? 0 : (int)(due - now);
}

bool device_is_finished(const struct device *device)
{
    return device->phase == PHASE_FINISHED;
}

bool device_succeeded(const struct device *device)
{
    return device->phase == PHASE_FINISHED && device->all_succeeded;
}

static bool begin(struct device *device)
{
    if (device->next == device->count)
        return enter(device, PHASE_FINISHED);
    enum operation operation = device->operations[device->next];
    operation_result_clear(&device->result);
    device->begun_ms = monotonic_ms();
    device->result.implicit = needs_anchors(device, operation);
    device->result.operation = device->result.implicit ? OPERATION_CRTS : operation;
    device->result.attempts = 1;
    if (!device->result.implicit)
        device->next++;
    change_session(device, device->result.operation);
    if (operation_enrols(device->result.operation) && !prepare_enrolment(device))
        return finish_operation(device, false);
    return enter(device, PHASE_CONNECT);
}

static bool needs_anchors(const struct device *device, enum operation operation)
{
    return operation_enrols(operation) && device->settings->verify == VERIFY_CRTS &&
           device->explicit_ta == NULL;
}

/* A re-enrolment authenticates with the certificate that it renews (RFC 7030 section 4.2.2). */
static void change_session(struct device *device, enum operation operation)
{
    if (operation == OPERATION_RESUME && device->session != NULL && device->handshake_ms > 0) {
        SSL_SESSION_free(device->resumable);
        device->resumable = dtls_client_session(session_dtls(device->session));
    }
    if (operation_only_connects(operation))
        drop_session(device, operation == OPERATION_REBOOT);
    if (operation == OPERATION_SREN && device->obtained != NULL) {
        drop_session(device, false);
        device->uses_obtained = true;
    }
}

static bool prepare_enrolment(struct device *device)
{
    struct enrolment_plan plan = device->settings->plan;
    const struct identity *identity = present_identity(device);
    if (device->settings->repeat_identical && device->enrolment != NULL)
        return true;
    plan.identical = device->settings->repeat_identical;
    bool renews = device->result.operation == OPERATION_SREN && identity != NULL;
    enrolment_free(device->enrolment);
    device->enrolment = NULL;
    if (plan.subject == NULL || (renews && device->uses_obtained))
        plan.subject = identity == NULL ? NULL : X509_get_subject_name(identity->certificate);
    if (renews && (plan.asks == NULL || device->uses_obtained)) {
        sk_X509_EXTENSION_pop_free(device->repeated, X509_EXTENSION_free);
        plan.asks = device->repeated = extensions_to_repeat(identity->certificate);
    }
    if (renews && device->settings->keep_key)
        plan.key = identity->key;
    if (renews && device->uses_obtained)
        plan.ready_made = (struct view){0};
    if (operation_generates_key(device->result.operation))
        plan.attributes = device->settings->wish.attributes;
    if (plan.subject == NULL && plan.ready_made.len == 0)
        return explain(&device->result.trouble, "no subject: give --subject or --certificate");
    device->enrolment = enrolment_create(&plan, &device->result.trouble);
    return device->enrolment != NULL;
}

static const struct identity *present_identity(const struct device *device)
{
    return device->uses_obtained ? device->obtained : device->settings->identity;
}

static bool connect_session(struct device *device)
{
    if (device->session == NULL && !open_session(device))
        return finish_operation(device, false);
    switch (session_state(device->session)) {
    case SESSION_CONNECTING:
        return false;
    case SESSION_FAILED:
        return on_broken_session(device);
    case SESSION_CONNECTED:
        return on_connected(device);
    }
    return false;
}

static bool open_session(struct device *device)
{
    const struct device_settings *settings = device->settings;
    struct session_settings wanted = {
        .server = settings->server,
        .offer = settings->offer,
        .local_port = settings->local_port,
        .ack_timeout_ms = settings->ack_timeout_ms,
        .max_retransmit = settings->max_retransmit,
        .handshake_retransmit = settings->handshake_retransmit,
        .on_response = take_response,
        .receiver = device,
    };
    wanted.offer.identity = present_identity(device);
    wanted.offer.trust = device->server_is_under_it ? device->explicit_ta : settings->trust;
    wanted.offer.server_name = settings->server->host;
    wanted.offer.resume = device->result.operation == OPERATION_RESUME ? device->resumable : NULL;
    wanted.offer.timeout_ms = settings->ack_timeout_ms < 1000 ? settings->ack_timeout_ms : 0;
    device->opened_ms = monotonic_ms();
    device->handshake_ms = 0;
    device->session_is_reported = false;
    device->session = session_open(&wanted, &device->result.trouble);
    return device->session != NULL;
}

static bool on_connected(struct device *device)
{
    if (device->handshake_ms == 0)
        device->handshake_ms = monotonic_ms() - device->opened_ms + 1;
    if (!operation_only_connects(device->result.operation))
        return start_exchange(device);
    const struct dtls_client *dtls = session_dtls(device->session);
    if (device->result.operation != OPERATION_RESUME || (dtls != NULL && dtls_client_facts(dtls)->resumed))
        return finish_operation(device, true);
    return fail_operation(device, "the server made a full handshake instead of resuming the session");
}

/* What is asked for only to verify with comes as it was always asked for. */
static int accept_of(const struct device *device)
{
    int accept = operation_accept(device->result.operation, device->settings->accept);
    return device->result.implicit && accept == CONTENT_FORMAT_MULTIPART_CORE ? CONTENT_FORMAT_NONE : accept;
}

static bool start_exchange(struct device *device)
{
    const struct device_settings *settings = device->settings;
    struct operation_result *result = &device->result;
    struct exchange_request request = {
        .block_size = settings->block_size,
        .confirmable = settings->confirmable,
        .accept = accept_of(device),
        .ask_size = settings->ask_size,
        .etag = operation_may_be_valid(result->operation) ? settings->etag : (struct view){0},
        .query = result->operation == OPERATION_DISCOVER ? settings->query : NULL,
    };
    operation_request(result->operation, &settings->path, &request, device->path);
    if (operation_enrols(result->operation)) {
        if (!enrolment_prepare(device->enrolment, channel_binding(device), &result->trouble))
            return finish_operation(device, false);
        request.body = enrolment_csr(device->enrolment);
    }
    memcpy(result->path, device->path, sizeof(result->path));
    result->method = request.method;
    result->request_format = request.content_format;
    result->request_length = request.body.len;
    result->answer = NULL;
    exchange_free(device->exchange);
    device->exchange = exchange_create(&request);
    if (device->exchange == NULL)
        return fail_operation(device, "out of memory");
    return enter(device, PHASE_EXCHANGE);
}

static struct view channel_binding(const struct device *device)
{
    const struct dtls_client *dtls = session_dtls(device->session);
    if (dtls == NULL)
        return (struct view){0};
    const struct dtls_facts *facts = dtls_client_facts(dtls);
    return (struct view){facts->binding, facts->binding_length};
}

static bool exchange_messages(struct device *device)
{
    switch (exchange_state(device->exchange)) {
    case EXCHANGE_SEND:
        return send_message(device);
    case EXCHANGE_DONE:
        return on_answer(device);
    case EXCHANGE_BROKEN:
        return fail_operation(device, exchange_fault(device->exchange));
    case EXCHANGE_WAIT:
        break;
    }
    if (session_state(device->session) == SESSION_FAILED)
        return on_broken_session(device);
    if (monotonic_ms() < device->response_due_ms)
        return false;
    return on_silence(device);
}

/* The message may wait unacknowledged for ever: with NSTART 1 (RFC 7252 section 4.7) a new one needs a new
 * session. */
static bool on_silence(struct device *device)
{
    explain(&device->result.trouble, "no response within %u ms", device->settings->response_timeout_ms);
    if (!may_try_again(device))
        return finish_operation(device, false);
    drop_session(device, false);
    return try_again_after(device, 0);
}

/* True so that the state of the exchange is looked at again. */
static bool send_message(struct device *device)
{
    coap_pdu_t *message = exchange_next_message(device->exchange, session_libcoap(device->session));
    if (message == NULL)
        return true;
    device->response_due_ms = monotonic_ms() + device->settings->response_timeout_ms;
    if (!session_send(device->session, message))
        return on_broken_session(device);
    return true;
}

static bool on_answer(struct device *device)
{
    const struct exchange_answer *answer = exchange_answer(device->exchange);
    device->result.answer = answer;
    if (asks_for_patience(answer) && may_try_again(device)) {
        int64_t wait_ms = (answer->max_age < 0 ? DEFAULT_MAX_AGE_S : answer->max_age) * 1000;
        int64_t most = device->settings->max_wait_ms;
        return try_again_after(device, most >= 0 && wait_ms > most ? most : wait_ms);
    }
    return finish_operation(device, judge_answer(device));
}

/* RFC 9148 section 4.7: 5.03 with Max-Age. RFC 8516: 4.29 with Max-Age. */
static bool asks_for_patience(const struct exchange_answer *answer)
{
    return answer->code == COAP_RESPONSE_CODE(503) || answer->code == COAP_RESPONSE_CODE(429);
}

static bool may_try_again(const struct device *device)
{
    return device->result.attempts < device->settings->attempts;
}

static bool try_again_after(struct device *device, int64_t wait_ms)
{
    device->result.attempts++;
    device->pause_ends_ms = monotonic_ms() + wait_ms;
    return enter(device, PHASE_PAUSE);
}

static bool pause_until_due(struct device *device)
{
    if (monotonic_ms() < device->pause_ends_ms)
        return false;
    if (device->session != NULL && session_state(device->session) == SESSION_FAILED)
        drop_session(device, false);
    return enter(device, PHASE_CONNECT);
}

static bool judge_answer(struct device *device)
{
    const struct device_settings *settings = device->settings;
    const struct dtls_client *dtls = session_dtls(device->session);
    struct operation_result *result = &device->result;
    struct operation_check check = {
        .accept = accept_of(device),
        .trust = device->server_is_under_it ? device->explicit_ta : settings->trust,
        .expects = settings->plan.ready_made.len > 0 ? KEY_FORM_ANY : settings->wish.expects,
        .decryption = &settings->decryption,
    };
    if (settings->verify == VERIFY_CRTS)
        check.issuer = device->explicit_ta;
    else if (settings->verify == VERIFY_TRUST)
        check.issuer = settings->trust;
    if (dtls != NULL) {
        check.server = dtls_client_server_certificate(dtls);
        check.server_chain = dtls_client_server_chain(dtls);
    }
    if (operation_enrols(result->operation)) {
        check.key = enrolment_key(device->enrolment);
        result->csr = enrolment_csr(device->enrolment);
        bool is_ours =
            enrolment_has_private_key(device->enrolment) && !operation_generates_key(result->operation);
        result->key = is_ours ? check.key : NULL;
    }
    if (!operation_judge(result, &check))
        return false;
    if (result->answer->code == COAP_RESPONSE_CODE(203))
        return true;
    if (result->operation == OPERATION_CRTS)
        return adopt_anchors(device);
    if (operation_enrols(result->operation))
        adopt_certificate(device);
    return true;
}

static bool adopt_anchors(struct device *device)
{
    struct operation_result *result = &device->result;
    trust_free(device->explicit_ta);
    device->explicit_ta = trust_from_bag(result->certificates, &result->trouble);
    device->server_is_under_it = result->server_rechecked == CHECK_PASSED;
    if (device->explicit_ta == NULL)
        return false;
    if (result->server_rechecked != CHECK_FAILED || !device->settings->close_when_untrusted)
        return true;
    return explain(&result->trouble, "the server does not chain to the CA certificates that it sent: %s",
                   result->server_trouble.text);
}

static void adopt_certificate(struct device *device)
{
    struct operation_result *result = &device->result;
    if (result->key == NULL)
        return;
    identity_free(device->obtained);
    device->obtained = identity_create(result->issued, NULL, result->key);
}

static bool on_broken_session(struct device *device)
{
    explain(&device->result.trouble, "%s", session_trouble(device->session));
    bool hopeless = session_was_refused(device->session);
    if (!hopeless && may_try_again(device))
        return try_again_after(device, 0);
    finish_operation(device, false);
    give_up_the_rest(device);
    return true;
}

static bool fail_operation(struct device *device, const char *why)
{
    explain(&device->result.trouble, "%s", why);
    return finish_operation(device, false);
}

static bool finish_operation(struct device *device, bool succeeded)
{
    device->result.succeeded = succeeded;
    device->all_succeeded = device->all_succeeded && succeeded;
    report(device);
    bool untrusted =
        device->result.server_rechecked == CHECK_FAILED && device->settings->close_when_untrusted;
    bool blocked = !succeeded && (device->session == NULL || device->result.implicit || untrusted);
    if (untrusted)
        drop_session(device, false);
    enter(device, PHASE_BEGIN);
    if (blocked)
        give_up_the_rest(device);
    return true;
}

static void report(struct device *device)
{
    struct operation_result *result = &device->result;
    result->elapsed_ms = monotonic_ms() - device->begun_ms;
    const struct dtls_client *dtls = device->session == NULL ? NULL : session_dtls(device->session);
    if (dtls != NULL && device->handshake_ms > 0) {
        result->dtls = dtls_client_facts(dtls);
        result->server = dtls_client_server_certificate(dtls);
        result->handshake_ms = device->handshake_ms;
        result->fresh_association = !device->session_is_reported;
        device->session_is_reported = true;
    }
    device->settings->finished(device->settings->observer, result);
}

/* Each operation is answered for, also the ones that cannot be tried any more. */
static void give_up_the_rest(struct device *device)
{
    for (; device->next < device->count; device->next++) {
        operation_result_clear(&device->result);
        device->result.operation = device->operations[device->next];
        explain(&device->result.trouble, "not tried: an operation before it left no way on");
        device->settings->finished(device->settings->observer, &device->result);
        device->all_succeeded = false;
    }
    enter(device, PHASE_FINISHED);
}

static void take_response(void *receiver, const coap_pdu_t *response, const coap_address_t *from)
{
    struct device *device = receiver;
    (void)from;
    if (device->phase == PHASE_EXCHANGE)
        exchange_take_response(device->exchange, response);
}

static void drop_session(struct device *device, bool silently)
{
    session_close(device->session, silently);
    device->session = NULL;
}

static bool enter(struct device *device, enum phase phase)
{
    device->phase = phase;
    return true;
}
