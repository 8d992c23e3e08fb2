#include "registrar/worker.h"

#include "common/container_of.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "common/monotonic.h"
#include "common/thread.h"
#include "registrar/downstream/association_table.h"
#include "registrar/downstream/datagram_port.h"
#include "registrar/downstream/dtls_credentials.h"
#include "registrar/downstream/jpy_port.h"
#include "registrar/exchange/exchange.h"
#include "registrar/exchange/key_workshop.h"
#include "registrar/exchange/pending_enrolments.h"
#include "registrar/protocol/keyless_library.h"
#include "registrar/snapshot.h"
#include "registrar/upstream/est_client.h"
#include "registrar/upstream/webhook.h"

#include <event2/event.h>
#include <stdlib.h>

#define DRAIN_LOOK_MS 50

struct worker {
    struct worker_context context;
    struct event_base *base;
    struct mailbox *mailbox;
    struct est_client *est_client;
    struct webhook *webhook;
    struct key_workshop *workshop;
    struct keyless_library *library;
    struct exchanges *exchanges;
    struct association_table *associations;
    struct datagram_port *port;
    struct jpy_port *jpy_port;

    struct event *drain;      /* looks whether all is done */
    struct snapshot *offered; /* a reference; NULL: none, or adopted */
    struct letter offer, adoption;
    struct letter drain_asked;
    uint64_t drain_deadline_ms;

    pthread_t thread;
    bool running;
};

static bool build_loop(struct worker *worker);
static struct key_package_signer signer_of(const struct snapshot *snapshot);
static bool build_upstream(struct worker *worker, struct buffer *errors);
static bool build_downstream(struct worker *worker, struct buffer *errors);
static bool build_ports(struct worker *worker, struct buffer *errors);
static void *run(void *user);
static void adopt(struct letter *letter);
static void tell_of_adoption(struct letter *letter);
static void begin_drain(struct letter *letter);
static void look_whether_done(int fd, short what, void *user);
static void give_up(struct worker *worker);

struct worker *worker_create(const struct worker_context *context, struct buffer *errors)
{
    struct worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL) {
        buffer_append_string(errors, "out of memory\n");
        return NULL;
    }
    worker->context = *context;
    worker->offer.open = adopt;
    worker->adoption.open = tell_of_adoption;
    if (!build_loop(worker)) {
        buffer_append_string(errors, "an event loop could not be made: out of memory or file descriptors\n");
        goto fail;
    }
    if (!build_upstream(worker, errors) || !build_downstream(worker, errors))
        goto fail;
    return worker;
fail:
    worker_free(worker);
    return NULL;
}

static bool build_loop(struct worker *worker)
{
    worker->base = event_base_new();
    if (worker->base == NULL)
        return false;
    worker->mailbox = mailbox_create(worker->base);
    worker->drain = event_new(worker->base, -1, EV_PERSIST, look_whether_done, worker);
    return worker->mailbox != NULL && worker->drain != NULL;
}

/* From the EST server's side down to the devices': who is asked stands before who asks. */
static bool build_upstream(struct worker *worker, struct buffer *errors)
{
    const struct worker_context *context = &worker->context;

    const struct est_client_services services = {
        .base = worker->base,
        .mailbox = worker->mailbox,
        .permits = context->permits,
        .metrics = context->metrics,
        .servers = context->snapshot->servers,
        .credentials = context->snapshot->ra_credentials,
    };

    worker->est_client = est_client_create(&context->settings->upstream, &services, errors);
    worker->webhook = webhook_create(context->snapshot->webhook_service, worker->base);
    return worker->est_client != NULL && worker->webhook != NULL;
}

static bool build_downstream(struct worker *worker, struct buffer *errors)
{
    const struct worker_context *context = &worker->context;
    worker->workshop = key_workshop_create(worker->mailbox);
    worker->library = keyless_library_create();
    if (worker->workshop == NULL || worker->library == NULL)
        return false;
    const struct exchange_services services = {
        .settings = context->settings,
        .base = worker->base,
        .metrics = context->metrics,
        .mailbox = worker->mailbox,
        .est_client = worker->est_client,
        .pending = context->pending,
        .journal = context->journal,
        .cache = context->cache,
        .request_rates = context->request_rates,
        .workshop = worker->workshop,
        .library = keyless_library_context(worker->library),
        .webhook = worker->webhook,
        .access_rules = context->snapshot->access_rules,
        .key_directory = context->snapshot->key_directory,
        .signer = signer_of(context->snapshot),
    };
    worker->exchanges = exchanges_create(&services);
    if (worker->exchanges == NULL)
        return false;

    const struct association_table_context table = {
        .settings = context->settings,
        .base = worker->base,
        .metrics = context->metrics,
        .credentials = context->snapshot->dtls_credentials,
        .revocations = context->snapshot->revocations,
        .cookie_secret = context->cookie_secret,
        .handshake_rates = context->handshake_rates,
        .ticket_secret = context->ticket_secret,
        .exchanges = worker->exchanges,
    };
    worker->associations = association_table_create(&table);
    if (worker->associations == NULL)
        return false;
    return build_ports(worker, errors);
}

/* Tries both, so that all that is wrong is told at once. */
static bool build_ports(struct worker *worker, struct buffer *errors)
{
    const struct worker_context *context = &worker->context;
    const struct jpy_port_plan jpy = {
        .endpoints = context->jpy,
        .settings = &context->settings->jpy,
        .sharing = context->sharing,
        .base = worker->base,
        .metrics = context->metrics,
        .table = worker->associations,
    };
    worker->port =
        datagram_port_create(context->coaps, context->sharing, worker->base, worker->associations, errors);
    worker->jpy_port = jpy_port_create(&jpy, errors);
    return worker->port != NULL && worker->jpy_port != NULL;
}

/* Whoever the devices talk to signs what is made for them (SKG-7). */
static struct key_package_signer signer_of(const struct snapshot *snapshot)
{
    return (struct key_package_signer){dtls_credentials_certificate(snapshot->dtls_credentials),
                                       dtls_credentials_key(snapshot->dtls_credentials)};
}

void worker_free(struct worker *worker)
{
    if (worker == NULL)
        return;
    snapshot_release(worker->offered);
    worker->offered = NULL;
    association_table_free(worker->associations); /* says goodbye through the ports' sockets */
    datagram_port_free(worker->port);
    jpy_port_free(worker->jpy_port);
    est_client_free(worker->est_client);
    exchanges_free(worker->exchanges);
    webhook_free(worker->webhook);
    key_workshop_free(worker->workshop);
    mailbox_free(worker->mailbox);
    keyless_library_free(worker->library);
    if (worker->drain != NULL)
        event_free(worker->drain);
    if (worker->base != NULL)
        event_base_free(worker->base);
    free(worker);
}

enum status worker_start(struct worker *worker)
{
    enum status status = thread_start(&worker->thread, run, worker);
    worker->running = status == STATUS_OK;
    return status;
}

static void *run(void *user)
{
    struct worker *worker = user;
    event_base_loop(worker->base, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

void worker_offer(struct worker *worker, struct snapshot *snapshot)
{
    worker->offered = snapshot_hold(snapshot);
    mailbox_post(worker->mailbox, &worker->offer);
}

/* Work in flight goes on with what it holds. */
static void adopt(struct letter *letter)
{
    struct worker *worker = CONTAINER_OF(letter, struct worker, offer);
    struct snapshot *snapshot = worker->offered;
    if (snapshot == NULL)
        return;
    const struct key_package_signer signer = signer_of(snapshot);
    association_table_use_credentials(worker->associations, snapshot->dtls_credentials);
    association_table_use_revocation_lists(worker->associations, snapshot->revocations);
    exchanges_use_access_rules(worker->exchanges, snapshot->access_rules);
    exchanges_use_key_directory(worker->exchanges, snapshot->key_directory);
    exchanges_use_signer(worker->exchanges, &signer);
    webhook_use_service(worker->webhook, snapshot->webhook_service);
    est_client_use_servers(worker->est_client, snapshot->servers);
    est_client_use_credentials(worker->est_client, snapshot->ra_credentials);
    snapshot_release(snapshot);
    worker->offered = NULL;
    mailbox_post(worker->context.mailbox, &worker->adoption);
}

static void tell_of_adoption(struct letter *letter)
{
    const struct worker *worker = CONTAINER_OF(letter, struct worker, adoption);
    worker->context.adopted(worker->context.user);
}

void worker_drain(struct worker *worker, uint32_t drain_ms)
{
    if (!worker->running)
        return;
    worker->drain_deadline_ms = monotonic_ms() + drain_ms;
    worker->drain_asked.open = begin_drain;
    mailbox_post(worker->mailbox, &worker->drain_asked);
}

static void begin_drain(struct letter *letter)
{
    static const struct timeval look = {0, DRAIN_LOOK_MS * 1000};
    struct worker *worker = CONTAINER_OF(letter, struct worker, drain_asked);

    exchanges_drain(worker->exchanges);
    association_table_drain(worker->associations);
    event_add(worker->drain, &look);
    look_whether_done(-1, EV_TIMEOUT, worker);
}

static void look_whether_done(int fd, short what, void *user)
{
    struct worker *worker = user;
    (void)fd;
    (void)what;

    bool busy = association_table_busy(worker->associations) || exchanges_running(worker->exchanges) > 0;
    if (busy && monotonic_ms() < worker->drain_deadline_ms)
        return;
    if (busy)
        give_up(worker);
    event_base_loopbreak(worker->base);
}

/* Whoever waits comes back; goodbye is said to all once the loop has ended. */
static void give_up(struct worker *worker)
{
    size_t unfinished = exchanges_running(worker->exchanges);
    if (unfinished > 0)
        log_warning("worker", "stops with %zu exchanges unfinished", unfinished);
    else
        log_info("worker", "stops before all answers were acknowledged");
    exchanges_put_off(worker->exchanges);
}

void worker_join(struct worker *worker)
{
    if (worker->running)
        pthread_join(worker->thread, NULL);
    worker->running = false;
}

void worker_addresses(const struct worker *worker, struct listen_addresses *addresses)
{
    datagram_port_addresses(worker->port, &addresses->coaps);
    jpy_port_addresses(worker->jpy_port, &addresses->jpy);
}
