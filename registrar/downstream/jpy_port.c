#include "registrar/downstream/jpy_port.h"

#include "common/address_range.h"
#include "common/jpy.h"
#include "common/log.h"
#include "common/monotonic.h"
#include "registrar/counters.h"
#include "registrar/downstream/association_table.h"
#include "registrar/downstream/udp_listeners.h"

#include <stdlib.h>

#define REFUSALS_LOGGED_EVERY_MS 10000

struct jpy_port {
    struct jpy_port_plan plan; /* endpoints: not after the creation */
    struct udp_listeners *listeners;
    struct address_range allowed[SETTINGS_STRINGS_MAX];
    uint64_t log_again_ms;
};

static bool read_allowed(struct jpy_port *port, struct buffer *errors);
static void on_datagram(void *user, int fd, const struct udp_datagram *datagram);
static bool is_allowed(const struct jpy_port *port, const struct endpoint *peer);
static void refuse(struct jpy_port *port, const struct endpoint *peer);

struct jpy_port *jpy_port_create(const struct jpy_port_plan *plan, struct buffer *errors)
{
    struct jpy_port *port = calloc(1, sizeof *port);
    if (port == NULL) {
        buffer_printf(errors, "listen.jpy: %s\n", status_text(STATUS_NO_MEMORY));
        return NULL;
    }
    const struct udp_listeners_plan listeners = {.setting = "listen.jpy",
                                                 .endpoints = plan->endpoints,
                                                 .sharing = plan->sharing,
                                                 .base = plan->base,
                                                 .take = on_datagram,
                                                 .user = port};
    port->plan = *plan;
    port->plan.endpoints = NULL;
    if (read_allowed(port, errors))
        port->listeners = udp_listeners_create(&listeners, errors);
    if (port->listeners != NULL)
        return port;
    free(port);
    return NULL;
}

void jpy_port_free(struct jpy_port *port)
{
    if (port == NULL)
        return;
    udp_listeners_free(port->listeners);
    free(port);
}

void jpy_port_addresses(const struct jpy_port *port, struct settings_endpoints *addresses)
{
    udp_listeners_addresses(port->listeners, addresses);
}

static bool read_allowed(struct jpy_port *port, struct buffer *errors)
{
    const struct settings_strings *texts = &port->plan.settings->join_proxies;
    for (size_t i = 0; i < texts->count; i++) {
        if (address_range_parse(texts->items[i], &port->allowed[i]) == STATUS_OK)
            continue;
        buffer_printf(errors, "jpy.join_proxies[%zu]: \"%s\" is no address or range of addresses\n", i,
                      texts->items[i]);
        return false;
    }
    return true;
}

/* JPR-3: in silence, whatever is wrong. Old array(5) forms are always taken (JPR-9). */
static void on_datagram(void *user, int fd, const struct udp_datagram *datagram)
{
    struct jpy_port *port = user;
    struct jpy_message message;
    unsigned take = JPY_TAKE_FIVE | (port->plan.settings->seed_form ? JPY_TAKE_MULTIPART : 0);
    if (!is_allowed(port, &datagram->peer))
        refuse(port, &datagram->peer);
    else if (jpy_decode(datagram->payload, take, &message) == STATUS_OK)
        association_table_receive_jpy(port->plan.table, fd, datagram, &message);
    else
        metrics_add(port->plan.metrics, COUNTER_JPY_MALFORMED, 1);
}

/* JPR-7 */
static bool is_allowed(const struct jpy_port *port, const struct endpoint *peer)
{
    const size_t count = port->plan.settings->join_proxies.count;
    for (size_t i = 0; i < count; i++)
        if (address_range_contains(&port->allowed[i], peer))
            return true;
    return count == 0;
}

static void refuse(struct jpy_port *port, const struct endpoint *peer)
{
    char text[ENDPOINT_TEXT_MAX];
    uint64_t now_ms = monotonic_ms();
    metrics_add(port->plan.metrics, COUNTER_JPY_REFUSED, 1);
    if (now_ms < port->log_again_ms)
        return;
    port->log_again_ms = now_ms + REFUSALS_LOGGED_EVERY_MS;
    log_warning("jpy_port", "join proxy %s is not in jpy.join_proxies: dropped, as are others like it",
                endpoint_format(peer, text));
}
