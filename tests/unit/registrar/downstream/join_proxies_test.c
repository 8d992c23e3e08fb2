/* Row JPR-6: what is known of each join proxy, and for how long. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/downstream/join_proxies.h"

#include <stdio.h>

static struct endpoint at(const char *text)
{
    struct endpoint endpoint;
    assert_int_equal(endpoint_parse(text, &endpoint), STATUS_OK);
    return endpoint;
}

static struct join_proxy *find(struct join_proxies *proxies, const char *text)
{
    const struct endpoint peer = at(text);
    struct join_proxy *proxy = join_proxies_find(proxies, &peer);
    assert_non_null(proxy);
    return proxy;
}

static void an_address_is_one_join_proxy(void **state)
{
    (void)state;
    struct join_proxies *proxies = join_proxies_create(10);
    const struct join_proxy *one = find(proxies, "192.0.2.1:1");
    assert_ptr_equal(find(proxies, "192.0.2.1:2"), one);
    assert_ptr_not_equal(find(proxies, "192.0.2.2:1"), one);
    const struct join_proxy *six = find(proxies, "[fe80::1%1]:1");
    assert_ptr_equal(find(proxies, "[fe80::1%1]:2"), six);
    assert_ptr_not_equal(find(proxies, "[fe80::1%2]:1"), six);
    join_proxies_free(proxies);
}

static void guests_stand_in_order(void **state)
{
    (void)state;
    struct join_proxies *proxies = join_proxies_create(10);
    struct join_proxy *proxy = find(proxies, "192.0.2.1:1");
    struct join_proxy_guest guests[3], direct = {.proxy = NULL};
    for (size_t i = 0; i < 3; i++)
        join_proxies_enter(proxies, proxy, &guests[i]);
    assert_int_equal(proxy->handshake_count, 3);
    assert_ptr_equal(TAILQ_FIRST(&proxy->handshakes), &guests[0]);
    join_proxies_touch(&guests[0]); /* an old handshake stays one */
    assert_ptr_equal(TAILQ_FIRST(&proxy->handshakes), &guests[0]);
    for (size_t i = 0; i < 3; i++)
        join_proxies_establish(&guests[i]);
    assert_int_equal(proxy->handshake_count, 0);
    assert_int_equal(proxy->established_count, 3);
    join_proxies_touch(&guests[0]);
    assert_ptr_equal(TAILQ_FIRST(&proxy->established), &guests[1]);
    join_proxies_leave(proxies, &guests[1]);
    assert_ptr_equal(TAILQ_FIRST(&proxy->established), &guests[2]);
    assert_int_equal(proxy->established_count, 2);
    join_proxies_establish(&direct);
    join_proxies_touch(&direct);
    join_proxies_leave(proxies, &direct);
    join_proxies_leave(proxies, &guests[1]); /* has left */
    join_proxies_leave(proxies, &guests[0]);
    join_proxies_leave(proxies, &guests[2]);
    assert_int_equal(proxy->established_count, 0);
    join_proxies_free(proxies);
}

static void each_has_a_rate_of_its_own(void **state)
{
    (void)state;
    struct join_proxies *proxies = join_proxies_create(2);
    struct join_proxy *one = find(proxies, "192.0.2.1:1"), *other = find(proxies, "192.0.2.2:1");
    assert_true(join_proxies_admit(proxies, one, 100000));
    assert_true(join_proxies_admit(proxies, one, 100000));
    assert_false(join_proxies_admit(proxies, one, 100000));
    assert_true(join_proxies_admit(proxies, other, 100000));
    assert_false(join_proxies_admit(proxies, one, 100499));
    assert_true(join_proxies_admit(proxies, one, 100500));
    /* it stays known without a guest */
    assert_false(join_proxies_admit(proxies, find(proxies, "192.0.2.1:2"), 100500));
    join_proxies_free(proxies);
}

/* Somebody with many addresses takes no more memory than this; those with guests are not forgotten. */
static void of_the_idle_only_so_many_are_remembered(void **state)
{
    (void)state;
    struct join_proxies *proxies = join_proxies_create(1);
    struct join_proxy *with_guest = find(proxies, "192.0.2.1:1"), *idle = find(proxies, "192.0.2.2:1");
    struct join_proxy_guest guest;
    join_proxies_enter(proxies, with_guest, &guest);
    assert_true(join_proxies_admit(proxies, with_guest, 100000));
    assert_true(join_proxies_admit(proxies, idle, 100000));
    for (unsigned i = 0; i < JOIN_PROXIES_IDLE_MAX - 1; i++) {
        char text[32];
        snprintf(text, sizeof text, "10.0.%u.%u:1", i / 256, i % 256);
        find(proxies, text);
    }
    assert_false(join_proxies_admit(proxies, find(proxies, "192.0.2.2:1"), 100000));
    find(proxies, "10.1.0.0:1");
    assert_true(join_proxies_admit(proxies, find(proxies, "192.0.2.2:1"), 100000)); /* as a new one */
    assert_ptr_equal(find(proxies, "192.0.2.1:1"), with_guest);
    assert_false(join_proxies_admit(proxies, with_guest, 100000));
    join_proxies_leave(proxies, &guest);
    join_proxies_free(proxies);
    join_proxies_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_one_join_proxy),
        cmocka_unit_test(guests_stand_in_order),
        cmocka_unit_test(each_has_a_rate_of_its_own),
        cmocka_unit_test(of_the_idle_only_so_many_are_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
