/* JP-2, JPD-6: which registrar is taken of those that answer. */
#include "joinproxy/registrar_offer.h"

#include "common/coap_message.h"
#include "common/join_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static const uint8_t token[REGISTRAR_TOKEN_OCTETS] = "12345678";

static struct coap_message answer(const char *links)
{
    struct coap_message message = {.type = CM_NON,
                                   .code = CM_CONTENT,
                                   .token_len = sizeof token,
                                   .content_format = {true, 40},
                                   .payload = bytes_from_string(links)};
    memcpy(message.token, token, sizeof token);
    return message;
}

static enum status read(const struct coap_message *message, enum proxy_mode wanted,
                        struct registrar_offer *best)
{
    struct buffer datagram;
    buffer_init(&datagram, 2048);
    assert_int_equal(coap_message_write(message, &datagram), STATUS_OK);
    enum status status = registrar_offer_read(buffer_view(&datagram), token, 7, wanted, best);
    buffer_free(&datagram);
    return status;
}

static void assert_best(const struct registrar_offer *best, enum proxy_mode mode, const char *registrar)
{
    char text[ENDPOINT_TEXT_MAX];
    assert_true(best->present);
    assert_int_equal(best->mode, mode);
    assert_string_equal(endpoint_format(&best->registrar, text), registrar);
}

static void asks_for_each_type_once(void **state)
{
    (void)state;
    unsigned asked = 0;
    for (size_t i = 0; i < join_names_registrar_count(); i++) {
        struct buffer datagram;
        struct coap_message request;
        buffer_init(&datagram, 128);
        if (registrar_offer_query(i, 99, token, &datagram)) {
            assert_int_equal(coap_message_parse(buffer_view(&datagram), &request), STATUS_OK);
            assert_int_equal(request.type, CM_NON);
            assert_int_equal(request.code, CM_GET);
            assert_memory_equal(request.token, token, sizeof token);
            assert_true(bytes_equal(request.uri_path[1], BYTES_LITERAL("core")));
            assert_true(bytes_equal(bytes_slice(request.uri_query[0], 3, 100),
                                    bytes_from_string(join_names_registrar(i)->type)));
            asked++;
        }
        buffer_free(&datagram);
    }
    assert_int_equal(asked, 3); /* brski.rjp, brski, ace.est* */
}

static void the_better_way_wins_whatever_the_order(void **state)
{
    (void)state;
    static const char *const links[] = {"<coaps://[2001:db8::3]:5684/est/sen>;rt=ace.est.sen",
                                        "<coaps://[2001:db8::2]:5684/b>;rt=brski",
                                        "<jpy://[2001:db8::1]:5690>;rt=brski.rjp"};
    struct registrar_offer best = {.present = false};
    struct coap_message message;
    for (size_t i = 0; i < 3; i++) {
        message = answer(links[i]);
        assert_int_equal(read(&message, MODE_AUTO, &best), STATUS_OK);
    }
    assert_best(&best, MODE_STATELESS, "[2001:db8::1]:5690");
    for (size_t i = 0; i < 3; i++) {
        message = answer(links[i]);
        assert_int_equal(read(&message, MODE_AUTO, &best), STATUS_OK);
    }
    assert_best(&best, MODE_STATELESS, "[2001:db8::1]:5690");

    best.present = false;
    message = answer("<jpy://[2001:db8::1]:5690>;rt=brski.rjp,<coaps://[2001:db8::2]:5684/b>;rt=brski");
    assert_int_equal(read(&message, MODE_STATEFUL, &best), STATUS_OK);
    assert_best(&best, MODE_STATEFUL, "[2001:db8::2]:5684");
}

static void among_equals_the_first_stays(void **state)
{
    (void)state;
    struct registrar_offer best = {.present = false};
    struct coap_message message =
        answer("<jpy://[2001:db8::1]:1>;rt=brski.rjp,<jpy://[2001:db8::2]:1>;rt=brski.rjp");
    assert_int_equal(read(&message, MODE_AUTO, &best), STATUS_OK);
    assert_best(&best, MODE_STATELESS, "[2001:db8::1]:1");
}

static void old_schemes_are_understood(void **state)
{
    (void)state;
    static const char *const schemes[] = {"coaps+jpy", "coaps"};
    for (size_t i = 0; i < 2; i++) {
        char links[100];
        struct registrar_offer best = {.present = false};
        snprintf(links, sizeof links, "<%s://[2001:db8::1]:5690>;rt=brski.rjp", schemes[i]);
        struct coap_message message = answer(links);
        assert_int_equal(read(&message, MODE_AUTO, &best), STATUS_OK);
        assert_best(&best, MODE_STATELESS, "[2001:db8::1]:5690");
    }
}

/* A link-local registrar is on the link that its answer came by. */
static void link_local_gets_its_scope(void **state)
{
    (void)state;
    struct registrar_offer best = {.present = false};
    struct coap_message message = answer("<jpy://[fe80::1]:5690>;rt=brski.rjp");
    assert_int_equal(read(&message, MODE_AUTO, &best), STATUS_OK);
    assert_int_equal(best.registrar.address.v6.sin6_scope_id, 7);
}

static void what_leads_nowhere_is_not_taken(void **state)
{
    (void)state;
    struct registrar_offer best = {.present = false};
    struct coap_message message = answer(
        "<jpy://[ff02::1]:1>;rt=brski.rjp,<jpy://[::]:1>;rt=brski.rjp,<jpy://[::1]:1>;rt=brski.rjp,"
        "<jpy://127.0.0.1:1>;rt=brski.rjp,<jpy://127.9.9.9:1>;rt=brski.rjp,<jpy://"
        "[::ffff:127.0.0.1]:1>;rt=brski.rjp,"
        "<jpy://[::ffff:224.0.0.1]:1>;rt=brski.rjp,<jpy://[::ffff:0.0.0.0]:1>;rt=brski.rjp,"
        "<jpy://0.0.0.0:1>;rt=brski.rjp,<jpy://255.255.255.255:1>;rt=brski.rjp,"
        "<jpy://224.0.0.1:1>;rt=brski.rjp,</est/sen>;rt=ace.est.sen,<jpy://[2001:db8::1]:1>;rt=nosuch");
    assert_int_equal(read(&message, MODE_AUTO, &best), STATUS_OK);
    assert_false(best.present);
    message = answer("<jpy://[::ffff:192.0.2.1]:1>;rt=brski.rjp");
    assert_int_equal(read(&message, MODE_AUTO, &best), STATUS_OK);
    assert_true(best.present);
}

static void only_answers_to_us_count(void **state)
{
    (void)state;
    struct registrar_offer best = {.present = false};
    struct coap_message message = answer("<jpy://[2001:db8::1]:1>;rt=brski.rjp");
    message.token[0] ^= 1;
    assert_int_equal(read(&message, MODE_AUTO, &best), STATUS_MISMATCH);
    message = answer("<jpy://[2001:db8::1]:1>;rt=brski.rjp");
    message.token_len = 7;
    assert_int_equal(read(&message, MODE_AUTO, &best), STATUS_MISMATCH);
    message = answer("<jpy://[2001:db8::1]:1>;rt=brski.rjp");
    message.code = CM_NOT_FOUND;
    assert_int_equal(read(&message, MODE_AUTO, &best), STATUS_MISMATCH);
    message = answer("<jpy://[2001:db8::1]:1>;rt=brski.rjp");
    message.content_format.value = 0;
    assert_int_equal(read(&message, MODE_AUTO, &best), STATUS_MISMATCH);
    assert_int_equal(registrar_offer_read(BYTES_LITERAL("junk"), token, 7, MODE_AUTO, &best),
                     STATUS_MALFORMED);
    assert_false(best.present);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks_for_each_type_once),
        cmocka_unit_test(the_better_way_wins_whatever_the_order),
        cmocka_unit_test(among_equals_the_first_stays),
        cmocka_unit_test(old_schemes_are_understood),
        cmocka_unit_test(link_local_gets_its_scope),
        cmocka_unit_test(what_leads_nowhere_is_not_taken),
        cmocka_unit_test(only_answers_to_us_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
