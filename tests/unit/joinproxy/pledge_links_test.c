/* JP-9: who is a pledge. */
#include "joinproxy/pledge_links.h"
#include "tests/unit/veth_link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <net/if.h>

static char lo[] = "lo", near[] = "near", far[] = "far";

static struct udp_datagram datagram(const char *peer, unsigned interface)
{
    struct udp_datagram made = {.interface = interface};
    assert_int_equal(endpoint_parse(peer, &made.peer), STATUS_OK);
    return made;
}

static bool admits(const struct pledge_links *links, const char *peer, unsigned interface, size_t *link)
{
    const struct udp_datagram from = datagram(peer, interface);
    return pledge_links_admit(links, &from, link);
}

static void only_link_local_on_the_interfaces(void **state)
{
    (void)state;
    const struct pledge_settings settings = {.interfaces = {{near, lo}, 2}};
    struct pledge_links *links = pledge_links_create(&settings);
    unsigned interface = if_nametoindex("lo");
    size_t link = 99;
    assert_true(admits(links, "[fe80::1%lo]:1", interface, &link));
    assert_int_equal(link, 1);
    assert_false(admits(links, "[fe80::1%lo]:1", interface + 1000, &link));
    assert_false(
        admits(links, "[fe80::1%lo]:1", 0, &link)); /* an interface that is not there has no number */
    assert_false(admits(links, "[fe80::1%lo]:0", interface, &link));
    assert_false(admits(links, "[2001:db8::1]:1", interface, &link));
    assert_false(admits(links, "[fec0::1]:1", interface, &link));
    assert_false(admits(links, "[::1]:1", interface, &link));
    assert_false(admits(links, "[::ffff:169.254.1.1]:1", interface, &link));
    assert_false(admits(links, "169.254.1.1:1", interface, &link));
    pledge_links_free(links);
}

static void any_source_in_a_laboratory(void **state)
{
    (void)state;
    const struct pledge_settings settings = {.interfaces = {{lo}, 1}, .any_source = true};
    struct pledge_links *links = pledge_links_create(&settings);
    unsigned interface = if_nametoindex("lo");
    size_t link;
    assert_true(admits(links, "[2001:db8::1]:1", interface, &link));
    assert_true(admits(links, "192.0.2.1:1", interface, &link));
    assert_false(admits(links, "192.0.2.1:1", interface + 1000, &link));
    pledge_links_free(links);
}

/* Last: this process is in a namespace of its own afterwards. */
static void interfaces_come_and_their_addresses_are_known(void **state)
{
    (void)state;
    const struct pledge_settings settings = {.interfaces = {{near, far}, 2}};
    struct pledge_links *links = pledge_links_create(&settings);
    unsigned before = pledge_links_generation(links);
    struct endpoint asked, found;
    if (!veth_link_make())
        fail_msg("%s", VETH_LINK_NEEDS);
    pledge_links_refresh(links);
    assert_int_not_equal(pledge_links_generation(links), before);
    assert_int_equal(pledge_links_interface(links, 0), if_nametoindex("near"));
    assert_int_equal(endpoint_parse("[fe80::2%far]:5685", &asked), STATUS_OK);
    assert_true(pledge_links_local(links, 1, pledge_links_check(&asked), &found));
    assert_memory_equal(&found.address.v6.sin6_addr, &asked.address.v6.sin6_addr, 16);
    assert_int_equal(found.address.v6.sin6_scope_id, if_nametoindex("far"));
    assert_false(pledge_links_local(links, 0, pledge_links_check(&asked), &found));
    /* our own address is forged, on the link that has it */
    size_t link;
    assert_false(admits(links, "[fe80::2%far]:5685", if_nametoindex("far"), &link));
    assert_true(admits(links, "[fe80::2%near]:5685", if_nametoindex("near"), &link));
    const struct pledge_settings one_host = {.interfaces = {{far}, 1}, .any_source = true};
    struct pledge_links *laboratory = pledge_links_create(&one_host);
    assert_true(admits(laboratory, "[fe80::2%far]:5685", if_nametoindex("far"), &link));
    pledge_links_free(laboratory);
    before = pledge_links_generation(links);
    pledge_links_refresh(links);
    assert_int_equal(pledge_links_generation(links), before);
    pledge_links_free(links);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_link_local_on_the_interfaces),
        cmocka_unit_test(any_source_in_a_laboratory),
        cmocka_unit_test(interfaces_come_and_their_addresses_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
