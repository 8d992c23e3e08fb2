/* The join proxy's configuration file: what is read, what is refused, and that docs and example say the same.
 */
#include "joinproxy/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/settings_fixture.h"

#define REGISTRAR "\"registrars\":[\"[2001:db8::1]:5684\"]"
#define LINK      "\"pledge\":{\"interfaces\":[\"mesh0\"]}"
#define REFUSED(text, complaint)                                                                             \
    do {                                                                                                     \
        assert_false(read_text(*state, text));                                                               \
        if (strstr(buffer_string(&((struct fixture *)*state)->errors), complaint) == NULL)                   \
            fail_msg("%s", buffer_string(&((struct fixture *)*state)->errors));                              \
    } while (0)

/* JP-6, JP-7: the draft's numbers. */
static void defaults_are_those_of_the_draft(void **state)
{
    struct fixture *fixture = *state;
    assert_true(read_text(fixture, "{" LINK "," REGISTRAR "}"));
    assert_int_equal(fixture->settings->mode, MODE_AUTO);
    assert_int_equal(fixture->settings->stateful.idle_s, 30);
    assert_int_equal(fixture->settings->stateful.max_per_pledge, 2);
    assert_int_equal(fixture->settings->stateful.max_per_interface, 10);
    assert_int_equal(fixture->settings->stateless.key_lifetime_s, 86400);
    assert_false(fixture->settings->pledge.any_source);
    assert_false(fixture->settings->pledge.transparent);
    assert_int_equal(fixture->warnings.len, 0);
}

/* JP-2: somebody must be relayed to. */
static void without_a_registrar_it_does_not_operate(void **state)
{
    REFUSED("{" LINK "}", "registrars: is empty as is discovery.registrar_interfaces");
    assert_true(read_text(*state, "{" LINK ",\"discovery\":{\"registrar_interfaces\":[\"eth0\"]}}"));
}

static void registrars_are_hosts(void **state)
{
    REFUSED("{" LINK ",\"registrars\":[\"[2001:db8::1]:0\"]}", "is not the address of one host and a port");
    REFUSED("{" LINK ",\"registrars\":[\"[::]:5684\"]}", "is not the address of one host and a port");
    REFUSED("{" LINK ",\"registrars\":[\"[ff05::fd]:5684\"]}", "is not the address of one host and a port");
    REFUSED("{" LINK ",\"registrars\":[\"224.0.1.187:5684\"]}", "is not the address of one host and a port");
    REFUSED("{" LINK ",\"registrars\":[\"[2001:db8::1]:1\",\"[2001:db8::1]:1\"]}", "is there twice");
}

/* JP-11: one port for each. */
static void ports_must_have_room(void **state)
{
    static const char two[] = "\"registrars\":[\"[2001:db8::1]:1\",\"[2001:db8::1]:2\"]";
    char text[512];
    snprintf(text, sizeof text, "{\"pledge\":{\"interfaces\":[\"a\"],\"join_port\":65535},%s}", two);
    REFUSED(text, "pledge.join_port: 65535 leaves no room for 2 ports");
    snprintf(text, sizeof text,
             "{\"mode\":\"stateless\",\"pledge\":{\"interfaces\":[\"a\"],\"join_port\":5694},%s}", two);
    REFUSED(text, "stateless.source_port: 5695: overlaps");
    snprintf(text, sizeof text,
             "{\"mode\":\"stateless\",\"pledge\":{\"interfaces\":[\"a\"],\"join_port\":5693},%s}", two);
    assert_true(read_text(*state, text));
}

/* Each is bound at the same wildcard address. */
static void ports_must_be_apart(void **state)
{
    REFUSED("{" REGISTRAR ",\"pledge\":{\"interfaces\":[\"a\"],\"join_port\":5683}}",
            "pledge.join_port: 5683: overlaps with the 1 port from discovery.port on; use others");
    REFUSED("{\"mode\":\"stateless\"," REGISTRAR "," LINK ",\"stateless\":{\"source_port\":5683}}",
            "stateless.source_port: 5683: overlaps with the 1 port from discovery.port on");
    REFUSED("{\"registrars\":[\"[2001:db8::1]:1\",\"[2001:db8::1]:2\"],\"pledge\":{\"interfaces\":[\"a\"],"
            "\"join_port\":5682}}",
            "pledge.join_port: 5682: overlaps");
    assert_true(read_text(*state, "{" REGISTRAR ",\"pledge\":{\"interfaces\":[\"a\"],\"join_port\":5683},"
                                  "\"discovery\":{\"answer\":false}}"));
    assert_true(read_text(*state, "{" REGISTRAR "," LINK ",\"stateless\":{\"source_port\":5683}}"));
    assert_true(read_text(*state, "{" REGISTRAR ",\"pledge\":{\"interfaces\":[\"a\"],\"join_port\":0}}"));
}

/* JP-3: a pledge has link-local addresses, and none of IPv4. */
static void transparent_is_for_ipv6(void **state)
{
#define BY_IPV4 "{\"registrars\":[\"192.0.2.1:5684\"],\"pledge\":{\"interfaces\":[\"a\"],\"transparent\":true"
    REFUSED(BY_IPV4 "}}", "which cannot address registrars[0] by IPv4");
    assert_true(read_text(*state, BY_IPV4 ",\"any_source\":true}}"));
}

/* JP-3. */
static void transparent_is_stateful(void **state)
{
    REFUSED("{\"mode\":\"stateless\"," REGISTRAR ",\"pledge\":{\"interfaces\":[\"a\"],\"transparent\":true}}",
            "pledge.transparent: true works in stateful mode");
    REFUSED("{\"discovery\":{\"registrar_interfaces\":[\"b\"]},\"pledge\":{\"interfaces\":[\"a\"],"
            "\"transparent\":"
            "true}}",
            "pledge.transparent: true works in stateful mode");
    assert_true(
        read_text(*state, "{" REGISTRAR ",\"pledge\":{\"interfaces\":[\"a\"],\"transparent\":true}}"));
}

static void names_and_ranges(void **state)
{
    REFUSED("{" REGISTRAR ",\"pledge\":{\"interfaces\":[\"a/b\"]}}",
            "is not the name of a network interface");
    REFUSED("{" REGISTRAR "," LINK ",\"stateless\":{\"key_file\":\"keys\"}}", "is not an absolute name");
    REFUSED("{\"mode\":\"stateless\"," REGISTRAR "," LINK ",\"stateless\":{\"key_file\":\"keys\"}}",
            "is not an absolute name");
    REFUSED("{" REGISTRAR "," LINK ",\"stateless\":{\"mtu\":1501}}", "stateless.mtu");
    REFUSED("{" REGISTRAR "," LINK ",\"discovery\":{\"group\":\"2001:db8::1\"}}",
            "is not an IPv6 multicast address");
    REFUSED("{" REGISTRAR "," LINK ",\"discovery\":{\"retry_s\":10,\"retry_max_s\":5}}", "is not at most");
    REFUSED("{" REGISTRAR "," LINK ",\"nosuch\":1}", "unknown key");
}

static void warns_of_what_will_hurt(void **state)
{
    struct fixture *fixture = *state;
    assert_true(read_text(fixture, "{\"mode\":\"stateless\"," REGISTRAR
                                   ",\"pledge\":{\"interfaces\":[\"a\"],\"any_source\":true},"
                                   "\"discovery\":{\"registrar_interfaces\":[\"b\"]}}"));
    const char *warnings = buffer_string(&fixture->warnings);
    assert_non_null(strstr(warnings, "pledge.any_source: true"));
    assert_non_null(strstr(warnings, "stateless.key_file: is empty"));
    assert_non_null(strstr(warnings, "nothing is looked for"));
    assert_true(read_text(fixture, "{" REGISTRAR "," LINK ",\"stateless\":{\"key_file\":\"/keys\"}}"));
    assert_non_null(strstr(buffer_string(&fixture->warnings), "stateless.key_file: is of no use"));
}

static void the_example_is_complete(void **state)
{
    assert_complete(*state, SOURCE_FOLDER "/config", "join-proxy.json");
}

static void survives_a_wrong_kind_of_any_key(void **state)
{
    assert_wrong_kinds_are_refused(*state, SOURCE_FOLDER "/config/join-proxy.json");
}

static void is_described_as_it_is(void **state)
{
    (void)state;
    assert_described_in(SOURCE_FOLDER "/docs/join-proxy.md");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(defaults_are_those_of_the_draft, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_registrar_it_does_not_operate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(registrars_are_hosts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ports_must_have_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ports_must_be_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(transparent_is_for_ipv6, set_up, tear_down),
        cmocka_unit_test_setup_teardown(transparent_is_stateful, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_and_ranges, set_up, tear_down),
        cmocka_unit_test_setup_teardown(warns_of_what_will_hurt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_example_is_complete, set_up, tear_down),
        cmocka_unit_test_setup_teardown(survives_a_wrong_kind_of_any_key, set_up, tear_down),
        cmocka_unit_test(is_described_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
