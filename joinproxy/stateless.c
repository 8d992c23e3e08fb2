#include "joinproxy/stateless.h"

#include "common/jpy.h"
#include "common/log.h"
#include "joinproxy/pledge_answer.h"
#include "joinproxy/registrar_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODULE              "stateless"
#define REPORTS_MAX         8
#define BINDING_OCTETS_MAX  (PLEDGE_LINKS_MAX * 17 + 16)
#define IPV4_AND_UDP_OCTETS 28
#define IPV6_AND_UDP_OCTETS 48

struct stateless {
    struct stateless_plan plan;
    struct pledge_header_cipher *cipher;
    int fd; /* -1: there is no route to the registrar */
    struct event *readable;
};

static struct pledge_header_cipher *create_cipher(const struct stateless_plan *plan);
static enum status open_socket(struct stateless *stateless);
static void close_socket(struct stateless *stateless);
static size_t room_for_message(const struct stateless *stateless);
static void on_readable(evutil_socket_t fd, short what, void *user);
static void forget_errors(int fd);
static void on_registrar(void *user, const struct udp_datagram *datagram);
static enum status open_header(const struct stateless *stateless, struct bytes header,
                               struct pledge_origin *origin);
static void deliver(const struct stateless *stateless, const struct pledge_origin *origin,
                    struct bytes content);
static void count(const struct stateless *stateless, enum counter counter);

struct stateless *stateless_create(const struct stateless_plan *plan, struct buffer *errors)
{
    char text[ENDPOINT_TEXT_MAX];
    enum status status;
    struct stateless *stateless = calloc(1, sizeof *stateless);
    if (stateless == NULL) {
        buffer_printf(errors, "stateless: %s\n", status_text(STATUS_NO_MEMORY));
        return NULL;
    }
    stateless->plan = *plan;
    stateless->fd = -1;
    stateless->cipher = create_cipher(plan);
    if (stateless->cipher == NULL) {
        buffer_append_string(errors, "stateless: OpenSSL offers no AES-SIV; use mode \"stateful\"\n");
        goto failed;
    }
    status = open_socket(stateless);
    if (status == STATUS_OK || status == STATUS_NOT_FOUND)
        return stateless;
    if (status == STATUS_SYSTEM)
        buffer_printf(errors,
                      "stateless.source_port: %u cannot be used towards %s: %s; use another port, or 0\n",
                      plan->source_port, endpoint_format(&plan->registrar, text), strerror(errno));
    else
        buffer_printf(errors, "stateless: %s\n", status_text(status));
failed:
    stateless_free(stateless);
    return NULL;
}

void stateless_free(struct stateless *stateless)
{
    if (stateless == NULL)
        return;
    close_socket(stateless);
    pledge_header_cipher_free(stateless->cipher);
    free(stateless);
}

/* In between nothing is open: a socket that is not connected would hear anybody (JP-9). */
void stateless_refresh(struct stateless *stateless)
{
    if (stateless->fd >= 0 && registrar_socket_has_address(stateless->fd))
        return;
    if (stateless->fd >= 0)
        log_warning(MODULE, "the address towards the registrar is gone");
    close_socket(stateless);
    if (open_socket(stateless) == STATUS_OK)
        log_info(MODULE, "there is a route to the registrar, from port %u", stateless_port(stateless));
}

bool stateless_has_route(const struct stateless *stateless)
{
    return stateless->fd >= 0;
}

uint16_t stateless_port(const struct stateless *stateless)
{
    struct endpoint local = {.len = 0};
    return udp_socket_local(stateless->fd, &local) == STATUS_OK ? endpoint_port(&local) : 0;
}

void stateless_forward(struct stateless *stateless, const struct pledge_datagram *from)
{
    uint8_t header[PLEDGE_HEADER_OCTETS];
    if (stateless->fd < 0) {
        count(stateless, COUNTER_NO_ROUTE);
        return;
    }
    const struct pledge_origin origin = {.pledge = from->datagram->peer,
                                         .link = (uint8_t)from->link,
                                         .local_check = pledge_links_check(&from->datagram->local)};
    if (pledge_header_seal(stateless->cipher, header_keys_current(stateless->plan.keys), &origin, header) !=
        STATUS_OK) {
        count(stateless, COUNTER_JPY_UNSEALABLE);
        return;
    }
    struct buffer datagram;
    buffer_init(&datagram, room_for_message(stateless));
    const struct jpy_message message = {JPY_PAIR, {header, sizeof header}, from->datagram->payload};
    if (jpy_encode(&message, &datagram) == STATUS_OK) {
        forget_errors(stateless->fd);
        registrar_socket_send(stateless->fd, buffer_view(&datagram));
        count(stateless, COUNTER_JPY_SENT);
    } else {
        count(stateless, COUNTER_JPY_TOO_LARGE);
    }
    buffer_free(&datagram);
}

/* A header is worth something only where the registrar and the numbers of the links are the same. */
static struct pledge_header_cipher *create_cipher(const struct stateless_plan *plan)
{
    struct buffer binding;
    const struct pledge_links *links = plan->services->links;
    buffer_init(&binding, BINDING_OCTETS_MAX);
    buffer_printf(&binding, "%zu", plan->number);
    for (size_t i = 0; i < pledge_links_count(links); i++)
        buffer_printf(&binding, " %s", pledge_links_name(links, i));
    struct pledge_header_cipher *cipher =
        binding.status == STATUS_OK ? pledge_header_cipher_create(buffer_view(&binding)) : NULL;
    buffer_free(&binding);
    return cipher;
}

/* STATUS_NOT_FOUND: there is no route now. STATUS_SYSTEM with errno. */
static enum status open_socket(struct stateless *stateless)
{
    const struct stateless_plan *plan = &stateless->plan;
    enum status status = registrar_socket_open(&plan->registrar, plan->source_port, &stateless->fd);
    if (status != STATUS_OK) {
        stateless->fd = -1;
        return status;
    }
    stateless->readable =
        event_new(plan->services->base, stateless->fd, EV_READ | EV_PERSIST, on_readable, stateless);
    if (stateless->readable != NULL && event_add(stateless->readable, NULL) == 0)
        return STATUS_OK;
    close_socket(stateless);
    return STATUS_NO_MEMORY;
}

static void close_socket(struct stateless *stateless)
{
    if (stateless->readable != NULL)
        event_free(stateless->readable);
    stateless->readable = NULL;
    if (stateless->fd >= 0)
        close(stateless->fd);
    stateless->fd = -1;
}

/* JPY-5: what the MTU leaves, and what is taken from a socket. */
static size_t room_for_message(const struct stateless *stateless)
{
    bool is_v4 = stateless->plan.registrar.address.any.sa_family == AF_INET;
    uint32_t wanted = stateless->plan.services->settings->stateless.mtu;
    size_t mtu = wanted != 0 ? wanted : registrar_socket_mtu(stateless->fd);
    size_t room = mtu - (is_v4 ? IPV4_AND_UDP_OCTETS : IPV6_AND_UDP_OCTETS);
    return room < UDP_DATAGRAM_MAX ? room : UDP_DATAGRAM_MAX;
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
    (void)what;
    struct stateless *stateless = user;
    forget_errors(fd);
    udp_socket_receive(fd, stateless->plan.services->batch, on_registrar, stateless);
}

/* Whose datagram it was, nobody knows any more (JP-8). */
static void forget_errors(int fd)
{
    struct icmp_error error;
    struct buffer payload;
    buffer_init(&payload, UDP_DATAGRAM_MAX);
    for (int i = 0; i < REPORTS_MAX && registrar_socket_error(fd, &error, &payload); i++)
        buffer_reset(&payload);
    buffer_free(&payload);
}

static void on_registrar(void *user, const struct udp_datagram *datagram)
{
    const struct stateless *stateless = user;
    struct metrics *metrics = stateless->plan.services->metrics;
    struct jpy_message message;
    struct pledge_origin origin;
    metrics_add(metrics, COUNTER_REGISTRAR_DATAGRAMS, 1);
    metrics_add(metrics, COUNTER_REGISTRAR_OCTETS, datagram->payload.len);
    if (jpy_decode(datagram->payload, 0, &message) != STATUS_OK)
        count(stateless, COUNTER_JPY_MALFORMED);
    else if (open_header(stateless, message.header, &origin) != STATUS_OK)
        count(stateless, COUNTER_JPY_FORGED);
    else
        deliver(stateless, &origin, message.content);
}

static enum status open_header(const struct stateless *stateless, struct bytes header,
                               struct pledge_origin *origin)
{
    const struct header_keys *keys = stateless->plan.keys;
    enum status status = pledge_header_open(stateless->cipher, header_keys_current(keys), header, origin);
    const struct pledge_header_key *previous = header_keys_previous(keys);
    if (status == STATUS_UNTRUSTED && previous != NULL)
        status = pledge_header_open(stateless->cipher, previous, header, origin);
    return status;
}

static void deliver(const struct stateless *stateless, const struct pledge_origin *origin,
                    struct bytes content)
{
    const struct services *services = stateless->plan.services;
    unsigned interface = origin->link < pledge_links_count(services->links)
                             ? pledge_links_interface(services->links, origin->link)
                             : 0;
    if (interface == 0) {
        count(stateless, COUNTER_JPY_UNREACHABLE);
        return;
    }
    struct udp_datagram back = {.peer = origin->pledge, .interface = interface, .payload = content};
    if (IN6_IS_ADDR_LINKLOCAL(&back.peer.address.v6.sin6_addr))
        back.peer.address.v6.sin6_scope_id = interface;
    pledge_links_local(services->links, origin->link, origin->local_check, &back.local);
    if (pledge_answer_admit(services, origin->link, stateless->plan.pledge_fd, &back))
        udp_socket_send(stateless->plan.pledge_fd, &back);
}

static void count(const struct stateless *stateless, enum counter counter)
{
    metrics_add(stateless->plan.services->metrics, counter, 1);
}
