#include "registrar/downstream/flow.h"

#include "common/udp_socket.h"

static void send_octets(const struct flow *flow, struct bytes octets);

bool flow_equal(const struct flow *a, const struct flow *b)
{
    return a->fd == b->fd && endpoint_equal(&a->peer, &b->peer) && endpoint_equal(&a->local, &b->local) &&
           a->wrapped == b->wrapped && a->form == b->form && bytes_equal(a->header, b->header);
}

/* Only the header, which comes last, has a length of its own. */
void flow_serialise(const struct flow *flow, struct buffer *out)
{
    buffer_append(out, (struct bytes){(const uint8_t *)&flow->fd, sizeof flow->fd});
    endpoint_serialise(&flow->local, out);
    endpoint_serialise(&flow->peer, out);
    if (!flow->wrapped)
        return;
    buffer_append_byte(out, (uint8_t)flow->form);
    buffer_append(out, flow->header);
}

size_t flow_overhead(const struct flow *flow)
{
    return flow->wrapped ? jpy_overhead(flow->form, flow->header.len, UINT16_MAX) : 0;
}

void flow_send(const struct flow *flow, struct bytes payload)
{
    if (!flow->wrapped) {
        send_octets(flow, payload);
        return;
    }
    struct buffer message;
    buffer_init(&message, payload.len + flow_overhead(flow));
    if (jpy_encode(&(struct jpy_message){flow->form, flow->header, payload}, &message) == STATUS_OK)
        send_octets(flow, buffer_view(&message));
    buffer_free(&message);
}

static void send_octets(const struct flow *flow, struct bytes octets)
{
    udp_socket_send(flow->fd, &(struct udp_datagram){.peer = flow->peer,
                                                     .local = flow->local,
                                                     .interface = flow->interface,
                                                     .payload = octets});
}
