#include "registrar/renewal/renewal_by_hand.h"

#include "common/mailbox.h"
#include "registrar/counters.h"
#include "registrar/renewal/renewal.h"
#include "registrar/upstream/permit_pool.h"
#include "registrar/upstream/ra_credentials.h"
#include "registrar/upstream/server_group.h"

#include <event2/event.h>

#define CONNECTIONS      2 /* the least that a pool has; one is for GETs */
#define LINES_OCTETS_MAX 4096

/* What a client needs, and the result. */
struct by_hand {
    struct est_client_services services;
    bool well;
};

static bool set_up(struct by_hand *by_hand, const struct settings *settings, struct buffer *errors);
static bool run(struct by_hand *by_hand, const struct settings *settings, struct buffer *errors);
static void on_ended(void *user, bool well);
static void tear_down(struct by_hand *by_hand);

enum status renewal_by_hand(const struct settings *settings, struct buffer *output, struct buffer *errors)
{
    struct by_hand by_hand = {.well = false};
    bool ran = set_up(&by_hand, settings, errors) && run(&by_hand, settings, errors);
    tear_down(&by_hand);
    if (!ran || !by_hand.well) {
        if (errors->len == 0)
            buffer_append_string(errors, "not renewed; the log says why\n");
        return STATUS_UNSUPPORTED;
    }
    buffer_append_string(
        output, "renewed; a registrar that runs goes on with the old certificate until it is told to "
                "reload (SIGHUP)\n");
    return STATUS_OK;
}

static bool set_up(struct by_hand *by_hand, const struct settings *settings, struct buffer *errors)
{
    struct est_client_services *services = &by_hand->services;
    struct buffer warnings;
    buffer_init(&warnings, LINES_OCTETS_MAX);
    services->credentials = ra_credentials_load(&settings->upstream, errors, &warnings);
    buffer_free(&warnings);
    services->servers = server_group_load(&settings->upstream, NULL, errors);
    services->base = event_base_new();
    services->metrics = counters_create();
    if (services->credentials == NULL || services->servers == NULL || services->base == NULL ||
        services->metrics == NULL)
        return false;
    services->mailbox = mailbox_create(services->base);
    services->permits = permit_pool_create(CONNECTIONS, settings->upstream.queue + 1, services->metrics);
    return services->mailbox != NULL && services->permits != NULL;
}

static bool run(struct by_hand *by_hand, const struct settings *settings, struct buffer *errors)
{
    const struct renewal_context context = {
        .settings = settings,
        .services = by_hand->services,
        .by_hand = true,
        .ended = on_ended,
        .user = by_hand,
    };
    struct renewal *renewal = renewal_create(&context, errors);
    if (renewal != NULL)
        event_base_loop(by_hand->services.base, EVLOOP_NO_EXIT_ON_EMPTY);
    renewal_free(renewal);
    return renewal != NULL;
}

static void on_ended(void *user, bool well)
{
    struct by_hand *by_hand = user;
    by_hand->well = well;
    event_base_loopbreak(by_hand->services.base);
}

static void tear_down(struct by_hand *by_hand)
{
    const struct est_client_services *services = &by_hand->services;
    permit_pool_free(services->permits);
    mailbox_free(services->mailbox);
    metrics_free(services->metrics);
    ra_credentials_release(services->credentials);
    server_group_release(services->servers);
    if (services->base != NULL)
        event_base_free(services->base);
}
