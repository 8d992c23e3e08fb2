#include "registrar/downstream/udp_listeners.h"

#include <event2/event.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct listener {
    struct udp_listeners *all;
    int fd;
    struct event *readable;
};

struct udp_listeners {
    void (*take)(void *user, int fd, const struct udp_datagram *datagram);
    void *user;
    struct udp_batch *batch;
    struct listener items[SETTINGS_LISTENERS_MAX];
    size_t count;
};

static bool open_all(struct udp_listeners *listeners, const struct udp_listeners_plan *plan,
                     struct buffer *errors);
static bool open_one(struct udp_listeners *listeners, const struct udp_listeners_plan *plan,
                     const struct endpoint *local);
static const char *cure_of(int error);
static void on_readable(evutil_socket_t fd, short what, void *user);
static void on_datagram(void *user, const struct udp_datagram *datagram);

struct udp_listeners *udp_listeners_create(const struct udp_listeners_plan *plan, struct buffer *errors)
{
    struct udp_listeners *listeners = calloc(1, sizeof *listeners);
    if (listeners == NULL || (listeners->batch = udp_batch_create()) == NULL) {
        buffer_printf(errors, "%s: %s\n", plan->setting, status_text(STATUS_NO_MEMORY));
        free(listeners);
        return NULL;
    }
    listeners->take = plan->take;
    listeners->user = plan->user;
    if (open_all(listeners, plan, errors))
        return listeners;
    udp_listeners_free(listeners);
    return NULL;
}

void udp_listeners_free(struct udp_listeners *listeners)
{
    if (listeners == NULL)
        return;
    for (size_t i = 0; i < listeners->count; i++) {
        if (listeners->items[i].readable != NULL)
            event_free(listeners->items[i].readable);
        close(listeners->items[i].fd);
    }
    udp_batch_free(listeners->batch);
    free(listeners);
}

size_t udp_listeners_count(const struct udp_listeners *listeners)
{
    return listeners->count;
}

int udp_listeners_fd(const struct udp_listeners *listeners, size_t index)
{
    return listeners->items[index].fd;
}

void udp_listeners_addresses(const struct udp_listeners *listeners, struct settings_endpoints *addresses)
{
    addresses->count = listeners->count;
    for (size_t i = 0; i < listeners->count; i++)
        if (udp_socket_local(listeners->items[i].fd, &addresses->items[i]) != STATUS_OK)
            addresses->items[i] = (struct endpoint){.len = 0};
}

/* Tries all of them, so that all that is wrong is told at once. */
static bool open_all(struct udp_listeners *listeners, const struct udp_listeners_plan *plan,
                     struct buffer *errors)
{
    for (size_t i = 0; i < plan->endpoints->count; i++) {
        const struct endpoint *local = &plan->endpoints->items[i];
        char text[ENDPOINT_TEXT_MAX];
        if (open_one(listeners, plan, local))
            continue;
        int error = errno;
        buffer_printf(errors, "%s[%zu]: \"%s\" cannot be opened: %s; %s\n", plan->setting, i,
                      endpoint_format(local, text), strerror(error), cure_of(error));
    }
    return listeners->count == plan->endpoints->count;
}

/* False with errno. */
static bool open_one(struct udp_listeners *listeners, const struct udp_listeners_plan *plan,
                     const struct endpoint *local)
{
    struct listener *listener = &listeners->items[listeners->count];
    if (udp_socket_open(local, plan->sharing, &listener->fd) != STATUS_OK)
        return false;
    listener->all = listeners;
    listener->readable = event_new(plan->base, listener->fd, EV_READ | EV_PERSIST, on_readable, listener);
    if (listener->readable != NULL && event_add(listener->readable, NULL) == 0) {
        listeners->count++;
        return true;
    }
    if (listener->readable != NULL)
        event_free(listener->readable);
    close(listener->fd);
    errno = ENOMEM;
    return false;
}

static const char *cure_of(int error)
{
    switch (error) {
    case EADDRINUSE:
        return "use another port, or stop the program that has it (\"ss -ulpn\" shows it)";
    case EADDRNOTAVAIL:
        return "use an address that this host has (\"ip address\" shows them), or \"[::]\"";
    case EACCES:
        return "use a port above 1023, or grant CAP_NET_BIND_SERVICE";
    case EAFNOSUPPORT:
        return "use an IPv4 address such as \"0.0.0.0\": IPv6 is switched off here";
    default:
        return "remove the entry if the system cannot provide it";
    }
}

/* One batch at a time, so that a flooded socket starves no other. */
static void on_readable(evutil_socket_t fd, short what, void *user)
{
    (void)what;
    struct listener *listener = user;
    udp_socket_receive(fd, listener->all->batch, on_datagram, listener);
}

static void on_datagram(void *user, const struct udp_datagram *datagram)
{
    struct listener *listener = user;
    listener->all->take(listener->all->user, listener->fd, datagram);
}
