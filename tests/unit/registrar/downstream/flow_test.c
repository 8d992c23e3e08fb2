/* Rows JPR-2, JPR-4, JPR-5: what tells flows apart, and what a datagram of one costs on the wire. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "common/udp_socket.h"
#include "registrar/downstream/flow.h"

#include <string.h>

static uint8_t sent_octets[2 * UDP_DATAGRAM_MAX];
static struct udp_datagram sent;
static int sent_through;

void udp_socket_send(int fd, const struct udp_datagram *datagram)
{
    assert_true(datagram->payload.len <= sizeof sent_octets);
    sent = *datagram;
    sent_through = fd;
    if (datagram->payload.len > 0)
        memcpy(sent_octets, datagram->payload.at, datagram->payload.len);
    sent.payload.at = sent_octets;
}

static struct flow plain_flow(void)
{
    struct flow flow = {.fd = 3, .interface = 7};
    assert_int_equal(endpoint_parse("192.0.2.1:5690", &flow.local), STATUS_OK);
    assert_int_equal(endpoint_parse("192.0.2.9:5695", &flow.peer), STATUS_OK);
    return flow;
}

static struct flow wrapped_flow(enum jpy_form form, struct bytes header)
{
    struct flow flow = plain_flow();
    flow.wrapped = true;
    flow.form = form;
    flow.header = header;
    return flow;
}

static void every_header_and_form_is_another_flow(void **state)
{
    (void)state;
    static const uint8_t zeros[JPY_HEADER_MAX];
    const struct flow flows[] = {plain_flow(),
                                 wrapped_flow(JPY_PAIR, BYTES_LITERAL("")),
                                 wrapped_flow(JPY_FIVE, BYTES_LITERAL("")),
                                 wrapped_flow(JPY_PAIR, BYTES_LITERAL("h")),
                                 wrapped_flow(JPY_PAIR, BYTES_LITERAL("i")),
                                 wrapped_flow(JPY_PAIR, BYTES_LITERAL("hh")),
                                 wrapped_flow(JPY_MULTIPART, BYTES_LITERAL("h")),
                                 wrapped_flow(JPY_PAIR, (struct bytes){zeros, JPY_HEADER_MAX}),
                                 wrapped_flow(JPY_PAIR, (struct bytes){zeros, JPY_HEADER_MAX - 1})};
    enum { COUNT = sizeof flows / sizeof flows[0] };
    struct buffer forms[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        buffer_init(&forms[i], FLOW_OCTETS_MAX);
        flow_serialise(&flows[i], &forms[i]);
        assert_int_equal(forms[i].status, STATUS_OK);
        assert_true(flow_equal(&flows[i], &flows[i]));
        for (size_t j = 0; j < i; j++) {
            assert_false(flow_equal(&flows[i], &flows[j]));
            assert_false(bytes_equal(buffer_view(&forms[i]), buffer_view(&forms[j])));
        }
    }
    for (size_t i = 0; i < COUNT; i++)
        buffer_free(&forms[i]);
}

/* The longest flow, of IPv6, has room in its canonical form. */
static void the_longest_form_fits(void **state)
{
    (void)state;
    static const uint8_t zeros[JPY_HEADER_MAX];
    struct flow flow = wrapped_flow(JPY_PAIR, (struct bytes){zeros, sizeof zeros});
    struct buffer form;
    assert_int_equal(endpoint_parse("[fe80::1%1]:5690", &flow.local), STATUS_OK);
    flow.peer = flow.local;
    buffer_init(&form, FLOW_OCTETS_MAX);
    flow_serialise(&flow, &form);
    assert_int_equal(form.status, STATUS_OK);
    assert_int_equal(form.len, FLOW_OCTETS_MAX);
    buffer_free(&form);
}

static void a_plain_datagram_leaves_as_it_is(void **state)
{
    (void)state;
    const struct flow flow = plain_flow();
    flow_send(&flow, BYTES_LITERAL("content"));
    assert_true(bytes_equal(sent.payload, BYTES_LITERAL("content")));
    assert_true(endpoint_equal(&sent.peer, &flow.peer) && endpoint_equal(&sent.local, &flow.local));
    assert_int_equal(sent.interface, 7);
    assert_int_equal(sent_through, 3);
    assert_int_equal(flow_overhead(&flow), 0);
}

static void a_wrapped_one_has_header_and_form(void **state)
{
    (void)state;
    const struct flow pair = wrapped_flow(JPY_PAIR, BYTES_LITERAL("h")),
                      five = wrapped_flow(JPY_FIVE, BYTES_LITERAL("\x41h\x01\x02\x03")),
                      seed = wrapped_flow(JPY_MULTIPART, BYTES_LITERAL("h"));
    flow_send(&pair, BYTES_LITERAL("content"));
    assert_true(bytes_equal(sent.payload, BYTES_LITERAL("\x82\x41h\x47"
                                                        "content")));
    assert_true(endpoint_equal(&sent.peer, &pair.peer) && endpoint_equal(&sent.local, &pair.local));
    flow_send(&five, BYTES_LITERAL("content"));
    assert_true(bytes_equal(sent.payload, BYTES_LITERAL("\x85\x41h\x01\x02\x03\x47"
                                                        "content")));
    flow_send(&seed, BYTES_LITERAL("content"));
    assert_true(bytes_equal(sent.payload, BYTES_LITERAL("\x84\x18\x3c\x41h\x18\x2a\x47"
                                                        "content")));
}

/* JPR-5: at most 6 + len(H), whatever the content. */
static void the_overhead_is_the_most_that_is_added(void **state)
{
    (void)state;
    static const uint8_t zeros[1200];
    for (size_t len = 0; len <= JPY_HEADER_MAX; len++) {
        const struct flow flow = wrapped_flow(JPY_PAIR, (struct bytes){zeros, len});
        assert_in_range(flow_overhead(&flow), 5 + len, 6 + len);
        for (size_t content = 0; content <= sizeof zeros; content += 200) {
            flow_send(&flow, (struct bytes){zeros, content});
            assert_in_range(sent.payload.len, content + len + 3, content + flow_overhead(&flow));
        }
        assert_int_equal(sent.payload.len, sizeof zeros + flow_overhead(&flow));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_header_and_form_is_another_flow),
        cmocka_unit_test(the_longest_form_fits),
        cmocka_unit_test(a_plain_datagram_leaves_as_it_is),
        cmocka_unit_test(a_wrapped_one_has_header_and_form),
        cmocka_unit_test(the_overhead_is_the_most_that_is_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
