/* Row SES-3: keys that all workers have alike, and that are rotated by the clock alone. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/downstream/session_tickets.h"

#include <string.h>

#define PERIOD SESSION_TICKET_PERIOD_MS

static struct session_ticket_key key_at(const struct session_ticket_secret *secret, uint64_t now_ms)
{
    struct session_ticket_key key;
    assert_true(session_ticket_key_now(secret, now_ms, &key));
    return key;
}

static void assert_known(const struct session_ticket_secret *secret, uint64_t now_ms,
                         const struct session_ticket_key *expected, bool known)
{
    struct session_ticket_key key;
    assert_int_equal(session_ticket_key_named(secret, now_ms, expected->name, &key), known);
    struct session_ticket_key nothing = {.name = {0}};
    assert_memory_equal(&key, known ? expected : &nothing, sizeof key);
}

/* Whoever has the secret has the same keys; nothing else is shared. */
static void keys_follow_from_the_secret(void **state)
{
    (void)state;
    struct session_ticket_secret secret, copy, other;
    assert_int_equal(session_ticket_secret_make(&secret), STATUS_OK);
    assert_int_equal(session_ticket_secret_make(&other), STATUS_OK);
    copy = secret;
    struct session_ticket_key key = key_at(&secret, 5), same = key_at(&copy, PERIOD - 1),
                              foreign = key_at(&other, 5);
    assert_memory_equal(&key, &same, sizeof key);
    assert_memory_not_equal(key.name, foreign.name, sizeof key.name);
    assert_memory_not_equal(key.cipher, foreign.cipher, sizeof key.cipher);
    assert_memory_not_equal(key.mac, foreign.mac, sizeof key.mac);
    assert_memory_not_equal(key.cipher, key.mac, sizeof key.mac);
    assert_memory_not_equal(key.name, key.mac, sizeof key.name); /* the name is public */
    assert_memory_not_equal(key.name, key.cipher, sizeof key.name);
    assert_known(&copy, 5, &key, true);
    assert_known(&other, 5, &key, false);
}

/* A ticket of a period's last moment is taken for as long as a session lasts, and for no period longer. */
static void the_key_before_is_good_for_a_period(void **state)
{
    (void)state;
    struct session_ticket_secret secret;
    assert_int_equal(session_ticket_secret_make(&secret), STATUS_OK);
    struct session_ticket_key first = key_at(&secret, 3 * PERIOD), next = key_at(&secret, 4 * PERIOD);
    assert_memory_not_equal(&first, &next, sizeof first);
    assert_known(&secret, 4 * PERIOD - 1, &first, true);
    assert_known(&secret, 4 * PERIOD - 1 + SESSION_LIFETIME_S * 1000, &first, true);
    assert_known(&secret, 5 * PERIOD, &first, false);
    assert_known(&secret, 3 * PERIOD - 1, &first, false); /* not yet */
    assert_known(&secret, 0, &first, false);
    struct session_ticket_key earliest = key_at(&secret, 0);
    assert_known(&secret, 0, &earliest, true);
    assert_known(&secret, PERIOD, &earliest, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_follow_from_the_secret),
        cmocka_unit_test(the_key_before_is_good_for_a_period),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
