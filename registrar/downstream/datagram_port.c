#include "registrar/downstream/datagram_port.h"

#include "registrar/downstream/association_table.h"
#include "registrar/downstream/udp_listeners.h"

#include <stdlib.h>

struct datagram_port {
    struct association_table *table;
    struct udp_listeners *listeners;
};

static void on_datagram(void *user, int fd, const struct udp_datagram *datagram);

struct datagram_port *datagram_port_create(const struct settings_endpoints *endpoints,
                                           enum udp_sharing sharing, struct event_base *base,
                                           struct association_table *table, struct buffer *errors)
{
    struct datagram_port *port = calloc(1, sizeof *port);
    if (port == NULL) {
        buffer_printf(errors, "listen.coaps: %s\n", status_text(STATUS_NO_MEMORY));
        return NULL;
    }
    const struct udp_listeners_plan plan = {.setting = "listen.coaps",
                                            .endpoints = endpoints,
                                            .sharing = sharing,
                                            .base = base,
                                            .take = on_datagram,
                                            .user = port};
    port->table = table;
    port->listeners = udp_listeners_create(&plan, errors);
    if (port->listeners != NULL)
        return port;
    free(port);
    return NULL;
}

void datagram_port_free(struct datagram_port *port)
{
    if (port == NULL)
        return;
    udp_listeners_free(port->listeners);
    free(port);
}

void datagram_port_addresses(const struct datagram_port *port, struct settings_endpoints *addresses)
{
    udp_listeners_addresses(port->listeners, addresses);
}

static void on_datagram(void *user, int fd, const struct udp_datagram *datagram)
{
    struct datagram_port *port = user;
    association_table_receive(port->table, fd, datagram);
}
