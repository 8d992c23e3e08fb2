/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/downstream/flow_map.h"

#include <stdlib.h>

static struct flow make_flow(int fd, const char *local, const char *peer)
{
    struct flow flow = {.fd = fd};
    assert_int_equal(endpoint_parse(local, &flow.local), STATUS_OK);
    assert_int_equal(endpoint_parse(peer, &flow.peer), STATUS_OK);
    return flow;
}

/* Socket, both addresses, both ports, and the scope of link-local ones. */
static struct flow different(size_t index)
{
    static const struct {
        int fd;
        const char *local, *peer;
    } flows[] = {
        {3, "192.0.2.1:5684", "192.0.2.9:1000"},     {4, "192.0.2.1:5684", "192.0.2.9:1000"},
        {3, "192.0.2.2:5684", "192.0.2.9:1000"},     {3, "192.0.2.1:5685", "192.0.2.9:1000"},
        {3, "192.0.2.1:5684", "192.0.2.8:1000"},     {3, "192.0.2.1:5684", "192.0.2.9:1001"},
        {3, "[fe80::1%1]:5684", "[fe80::9%1]:1000"}, {3, "[fe80::1%1]:5684", "[fe80::9%2]:1000"},
        {3, "[fe80::1%2]:5684", "[fe80::9%1]:1000"}, {3, "[::]:5684", "[fe80::9%1]:1000"},
    };
    assert_true(index < sizeof flows / sizeof flows[0]);
    return make_flow(flows[index].fd, flows[index].local, flows[index].peer);
}

#define DIFFERENT 10

static void tells_flows_apart(void **state)
{
    (void)state;
    struct flow_map *map = flow_map_create(1); /* so that all share a bucket */
    struct flow_node nodes[DIFFERENT];
    for (size_t i = 0; i < DIFFERENT; i++) {
        nodes[i] = (struct flow_node){.flow = different(i)};
        assert_null(flow_map_find(map, &nodes[i].flow));
        flow_map_insert(map, &nodes[i]);
    }
    for (size_t i = 0; i < DIFFERENT; i++) {
        struct flow flow = different(i);
        assert_ptr_equal(flow_map_find(map, &flow), &nodes[i]);
    }
    for (size_t i = 0; i < DIFFERENT; i += 2)
        flow_map_remove(map, &nodes[i]);
    for (size_t i = 0; i < DIFFERENT; i++)
        assert_ptr_equal(flow_map_find(map, &nodes[i].flow), i % 2 == 0 ? NULL : &nodes[i]);
    flow_map_remove(map, &nodes[0]); /* is not in it */
    flow_map_free(map);
}

static void canonical_forms_differ(void **state)
{
    (void)state;
    struct buffer forms[DIFFERENT];
    for (size_t i = 0; i < DIFFERENT; i++) {
        struct flow flow = different(i);
        buffer_init(&forms[i], FLOW_OCTETS_MAX);
        flow_serialise(&flow, &forms[i]);
        assert_int_equal(forms[i].status, STATUS_OK);
        for (size_t j = 0; j < i; j++)
            assert_false(bytes_equal(buffer_view(&forms[i]), buffer_view(&forms[j])));
    }
    for (size_t i = 0; i < DIFFERENT; i++)
        buffer_free(&forms[i]);
}

/* Peers choose their ports: chains stay short because they cannot choose the bucket. */
static void spreads_flows_evenly(void **state)
{
    (void)state;
    enum { COUNT = 10000 };
    struct flow_map *map = flow_map_create(COUNT);
    struct flow_node *nodes = calloc(COUNT, sizeof *nodes);
    assert_non_null(nodes);
    unsigned longest = 0, *lengths = calloc(16384, sizeof *lengths);
    assert_non_null(lengths);
    for (size_t i = 0; i < COUNT; i++) {
        nodes[i].flow = different(0);
        nodes[i].flow.peer.address.v4.sin_port = (in_port_t)i;
        flow_map_insert(map, &nodes[i]);
        unsigned length = ++lengths[nodes[i].bucket];
        longest = length > longest ? length : longest;
    }
    assert_true(longest <= 12); /* expected: 5 or 6 */
    free(nodes);
    free(lengths);
    flow_map_free(map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_flows_apart),
        cmocka_unit_test(canonical_forms_differ),
        cmocka_unit_test(spreads_flows_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
