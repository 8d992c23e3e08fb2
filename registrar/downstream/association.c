#include "registrar/downstream/association.h"

#include "common/log.h"
#include "common/monotonic.h"
#include "registrar/counters.h"
#include "registrar/downstream/coap_server.h"

#include <event2/event.h>
#include <event2/event_struct.h>

#include <stdlib.h>
#include <time.h>

/* What reaches a join proxy and comes back from it, whatever lies between: the MTU of IPv6 less its header
 * and UDP's (RFC 8200 section 5), and what AES-CCM or -GCM adds to the content of a record. */
#define WRAPPED_OCTETS_MAX (1280 - 40 - 8)
#define RECORD_OVERHEAD    (13 + 8 + 16)

struct association {
    const struct association_context *context; /* borrowed */
    const struct flow *flow;                   /* borrowed */
    uint64_t handle;
    struct association_events events;
    struct dtls_association *dtls;
    struct coap_server *coap; /* NULL until the first record */
    unsigned depth;       /* of our functions in each other: an exchange may answer before it has started */
    uint64_t active_ms;   /* when the client last proved to be there */
    uint64_t farewell_ms; /* when it is closed, having lost its rights; 0: it has them */
    struct event timer;
    uint64_t armed_ms; /* when the timer fires; MONOTONIC_NEVER: not armed */
};

static void enter(struct association *association);
static void leave(struct association *association, uint64_t now_ms);
static void on_send(void *user, struct bytes datagram);
static void on_established(void *user);
static void on_record(void *user, struct bytes record);
static bool start_coap(struct association *association);
static size_t record_limit(const struct association *association);
static void on_message(void *user, struct bytes message);
static struct exchange_admission admit_request(void *user);
static void on_request(void *user, uint32_t request, struct est_request *est_request);
static void on_timer(evutil_socket_t fd, short what, void *user);
static void expire_when_idle(struct association *association, uint64_t now_ms);
static void expel(struct association *association, uint64_t now_ms);
static uint64_t idle_deadline(const struct association *association);
static uint64_t kept_until(const struct association *association);
static bool is_established(const struct association *association);
static uint64_t next_deadline(const struct association *association);
static void arm_timer(struct association *association, uint64_t now_ms);
static uint64_t least(uint64_t a, uint64_t b);

struct association *association_create(const struct association_context *context, const struct flow *flow,
                                       uint64_t handle, const struct association_events *events)
{
    struct association *association = calloc(1, sizeof *association);
    if (association == NULL)
        return NULL;
    association->context = context;
    association->flow = flow;
    association->handle = handle;
    association->events = *events;
    association->armed_ms = MONOTONIC_NEVER;
    association->active_ms = monotonic_ms();
    const struct dtls_events dtls_events = {on_send, on_established, on_record, association};
    association->dtls = dtls_association_create(&context->dtls, &dtls_events, association->active_ms);
    if (association->dtls == NULL ||
        evtimer_assign(&association->timer, context->base, on_timer, association) != 0) {
        dtls_association_free(association->dtls);
        free(association);
        return NULL;
    }
    dtls_association_reserve(association->dtls, flow_overhead(flow));
    return association;
}

void association_free(struct association *association)
{
    if (association == NULL)
        return;
    evtimer_del(&association->timer);
    coap_server_free(association->coap);
    dtls_association_free(association->dtls);
    free(association);
}

void association_receive(struct association *association, uint64_t now_ms, struct bytes datagram)
{
    enter(association);
    dtls_association_receive(association->dtls, now_ms, datagram);
    leave(association, now_ms);
}

void association_answer(struct association *association, uint64_t now_ms, uint32_t request,
                        const struct est_answer *answer)
{
    enter(association);
    if (association->coap != NULL)
        coap_server_answer(association->coap, now_ms, request, answer);
    if (answer->ends_association)
        expel(association, now_ms);
    leave(association, now_ms);
}

void association_close(struct association *association)
{
    dtls_association_close(association->dtls);
}

bool association_is_busy(const struct association *association)
{
    return association->coap != NULL && coap_server_busy(association->coap);
}

bool association_is_idle(const struct association *association, uint64_t now_ms)
{
    return is_established(association) && !association_is_busy(association) &&
           kept_until(association) <= now_ms;
}

bool association_failed(const struct association *association, struct buffer *reason)
{
    return dtls_association_failed(association->dtls, reason);
}

enum client_standing association_standing(const struct association *association)
{
    return dtls_association_standing(association->dtls, (int64_t)time(NULL));
}

bool association_is_resumed(const struct association *association)
{
    return dtls_association_is_resumed(association->dtls);
}

const struct client_identity *association_client(const struct association *association)
{
    return dtls_association_client(association->dtls);
}

static void enter(struct association *association)
{
    association->depth++;
}

/* Whatever was called from the loop is through: the association may go, or its timer is set anew. */
static void leave(struct association *association, uint64_t now_ms)
{
    if (--association->depth > 0)
        return;
    if (dtls_association_state(association->dtls) == DTLS_CLOSED)
        association->events.ended(association->events.user);
    else
        arm_timer(association, now_ms);
}

static void on_send(void *user, struct bytes datagram)
{
    flow_send(((struct association *)user)->flow, datagram);
}

static void on_established(void *user)
{
    struct association *association = user;
    association->active_ms = monotonic_ms();
    association->events.established(association->events.user);
}

static void on_record(void *user, struct bytes record)
{
    struct association *association = user;
    association->active_ms = monotonic_ms();
    association->events.active(association->events.user);
    if (association->coap == NULL && !start_coap(association)) {
        dtls_association_close(association->dtls);
        return;
    }
    coap_server_receive(association->coap, association->active_ms, record);
}

/* Not before the client has something to say: an association that is just held takes that much less memory.
 */
static bool start_coap(struct association *association)
{
    const struct coap_server_context context = {
        .settings = association->context->settings,
        .metrics = association->context->metrics,
        .client = dtls_association_client(association->dtls),
        .send = on_message,
        .admit = admit_request,
        .start = on_request,
        .user = association,
    };
    association->coap = coap_server_create(&context);
    if (association->coap == NULL)
        return false;
    coap_server_limit_record(association->coap, record_limit(association));
    return true;
}

/* Through a join proxy, blocks are small enough for it to carry as well (JPR-5). */
static size_t record_limit(const struct association *association)
{
    size_t limit = dtls_association_record_limit(association->dtls);
    if (!association->flow->wrapped)
        return limit;
    size_t fits = WRAPPED_OCTETS_MAX - RECORD_OVERHEAD - flow_overhead(association->flow);
    return fits < limit ? fits : limit;
}

static void on_message(void *user, struct bytes message)
{
    struct association *association = user;
    enum status status = dtls_association_send(association->dtls, message);
    if (status != STATUS_OK)
        log_debug("association", "a message of %zu octets was not sent: %s", message.len,
                  status_text(status));
}

static struct exchange_admission admit_request(void *user)
{
    const struct association *association = user;
    return exchanges_admit(association->context->exchanges, dtls_association_client(association->dtls));
}

static void on_request(void *user, uint32_t request, struct est_request *est_request)
{
    struct association *association = user;
    struct est_reply reply = association->context->reply;
    reply.association = association->handle;
    reply.request = request;
    est_request->binding = dtls_association_binding(association->dtls);
    est_request->standing = association_standing(association);
    exchange_start(association->context->exchanges, est_request, &reply);
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
    (void)fd, (void)what;
    struct association *association = user;
    uint64_t now_ms = monotonic_ms();
    association->armed_ms = MONOTONIC_NEVER;
    enter(association);
    dtls_association_tick(association->dtls, now_ms);
    if (association->coap != NULL)
        coap_server_tick(association->coap, now_ms);
    if (is_established(association))
        expire_when_idle(association, now_ms);
    leave(association, now_ms);
}

/* Work in flight counts as a sign of life: the time begins to run when it is done. */
static void expire_when_idle(struct association *association, uint64_t now_ms)
{
    if (association_is_busy(association))
        association->active_ms = now_ms;
    if (now_ms < idle_deadline(association))
        return;
    metrics_add(association->context->metrics,
                association->farewell_ms > 0 ? COUNTER_ASSOCIATIONS_EXPELLED : COUNTER_ASSOCIATIONS_EXPIRED,
                1);
    dtls_association_close(association->dtls);
}

/* DTLS-9 */
static void expel(struct association *association, uint64_t now_ms)
{
    const struct coap_settings *coap = &association->context->settings->coap;
    double patience_ms = ASSOCIATION_FAREWELL_TIMEOUTS * coap->ack_timeout_ms * coap->ack_random_factor;
    if (association->farewell_ms == 0)
        association->farewell_ms = now_ms + (uint64_t)patience_ms;
}

/* SES-2 */
static uint64_t idle_deadline(const struct association *association)
{
    if (association->farewell_ms > 0)
        return association->farewell_ms;
    uint64_t idle =
        association->active_ms + (uint64_t)association->context->settings->dtls.idle_timeout_s * 1000;
    uint64_t kept = kept_until(association);
    if (kept > 0)
        kept += ASSOCIATION_KEEP_MARGIN_MS;
    return kept > idle ? kept : idle;
}

static uint64_t kept_until(const struct association *association)
{
    return association->coap != NULL ? coap_server_keep_until(association->coap) : 0;
}

static bool is_established(const struct association *association)
{
    return dtls_association_state(association->dtls) == DTLS_ESTABLISHED;
}

static uint64_t next_deadline(const struct association *association)
{
    uint64_t deadline = dtls_association_deadline(association->dtls);
    if (association->coap != NULL)
        deadline = least(deadline, coap_server_deadline(association->coap));
    return is_established(association) ? least(deadline, idle_deadline(association)) : deadline;
}

/* Only ever moved forward: a deadline that was put off lets the timer fire once for nothing, which costs less
 * than setting it anew with each datagram. */
static void arm_timer(struct association *association, uint64_t now_ms)
{
    uint64_t deadline = next_deadline(association);
    if (deadline >= association->armed_ms)
        return;
    uint64_t wait_ms = deadline > now_ms ? deadline - now_ms : 0;
    const struct timeval wait = {(time_t)(wait_ms / 1000), (suseconds_t)(wait_ms % 1000 * 1000)};
    association->armed_ms = deadline;
    evtimer_add(&association->timer, &wait);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}
