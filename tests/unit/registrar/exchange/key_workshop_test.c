#include "registrar/exchange/key_workshop.h"

#include "common/mailbox.h"
#include "registrar/keygen/key_generation.h"
#include "registrar/keygen/rsa_generation.h"
#include "registrar/protocol/certificate_request.h"
#include "tests/unit/registrar/credentials.h"

#include <event2/event.h>

#include <sched.h>

#define ORDERS (KEY_WORKSHOP_THREADS_MAX + 3)

struct fixture {
    struct event_base *base;
    struct mailbox *mailbox;
    struct key_workshop *workshop;
    struct certificate_request *csr;
    struct key_order *orders[ORDERS];
    struct generated_key *keys[ORDERS];
    unsigned done;
    bool in_order_call;
};

/* One order of a fixture. */
struct customer {
    struct fixture *fixture;
    size_t number;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    struct buffer der = read_vector("rfc9148-A3-skg-request.csr.der");
    fixture = (struct fixture){.base = event_base_new()};
    fixture.mailbox = mailbox_create(fixture.base);
    fixture.workshop = key_workshop_create(fixture.mailbox);
    assert_int_equal(certificate_request_parse_keyless(buffer_view(&der), &fixture.csr), STATUS_OK);
    buffer_free(&der);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    key_workshop_free(fixture->workshop);
    mailbox_free(fixture->mailbox);
    event_base_free(fixture->base);
    certificate_request_free(fixture->csr);
    for (size_t i = 0; i < ORDERS; i++)
        key_generation_free(fixture->keys[i]);
    return 0;
}

static void *make(void *user, const atomic_bool *abandoned)
{
    const struct customer *customer = user;
    struct generated_key *key;
    enum key_type type = 0;
    return key_generation_make(customer->fixture->csr, type, abandoned, &key) == STATUS_OK ? key : NULL;
}

static void drop(void *key)
{
    key_generation_free(key);
}

static void on_done(void *user, void *key)
{
    struct customer *customer = user;
    assert_false(customer->fixture->in_order_call);
    assert_null(customer->fixture->keys[customer->number]);
    customer->fixture->keys[customer->number] = key;
    customer->fixture->orders[customer->number] = NULL;
    customer->fixture->done++;
}

static void place_orders(struct fixture *fixture, struct customer *customers)
{
    for (size_t i = 0; i < ORDERS; i++) {
        customers[i] = (struct customer){fixture, i};
        const struct key_order_settings settings = {
            .make = make, .drop = drop, .done = on_done, .user = &customers[i]};
        fixture->in_order_call = true;
        fixture->orders[i] = key_workshop_order(fixture->workshop, &settings);
        fixture->in_order_call = false;
        assert_non_null(fixture->orders[i]);
    }
}

/* Every order beyond the threads waits for its turn; the keys differ. */
static void every_order_is_filled(void **state)
{
    struct fixture *fixture = *state;
    struct customer customers[ORDERS];
    place_orders(fixture, customers);
    while (fixture->done < ORDERS)
        event_base_loop(fixture->base, EVLOOP_ONCE);
    for (size_t i = 0; i < ORDERS; i++) {
        assert_non_null(fixture->keys[i]);
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(
                EVP_PKEY_eq(key_generation_key(fixture->keys[i]), key_generation_key(fixture->keys[j])), 1);
    }
}

/* Nobody hears of a key that was cancelled, whether it ran or waited; the others are made. */
static void orders_can_be_cancelled(void **state)
{
    struct fixture *fixture = *state;
    struct customer customers[ORDERS];
    place_orders(fixture, customers);
    key_order_cancel(fixture->orders[0]);
    key_order_cancel(fixture->orders[ORDERS - 1]);
    key_order_cancel(NULL);
    while (fixture->done < ORDERS - 2)
        event_base_loop(fixture->base, EVLOOP_ONCE);
    assert_null(fixture->keys[0]);
    assert_null(fixture->keys[ORDERS - 1]);
}

/* As when the registrar stops: letters are still under way when the workshop is freed. */
static void all_can_be_cancelled_at_the_end(void **state)
{
    struct fixture *fixture = *state;
    struct customer customers[ORDERS];
    place_orders(fixture, customers);
    for (size_t i = 0; i < ORDERS; i++)
        key_order_cancel(fixture->orders[i]);
    assert_int_equal(fixture->done, 0);
}

/* RSA as long takes hours; should it not be abandoned, the test runs into its time limit. */
static void *make_for_hours(void *user, const atomic_bool *abandoned)
{
    atomic_store((atomic_bool *)user, true);
    return rsa_generation_make(16384, abandoned);
}

static void drop_rsa(void *key)
{
    EVP_PKEY_free(key);
}

static void is_never_done(void *user, void *key)
{
    (void)user, (void)key;
    fail();
}

/* The registrar stops, and nobody waits for RSA. */
static void a_key_that_takes_hours_is_abandoned(void **state)
{
    struct fixture *fixture = *state;
    atomic_bool begun = false;
    const struct key_order_settings settings = {
        .make = make_for_hours, .drop = drop_rsa, .done = is_never_done, .user = &begun};
    struct key_order *order = key_workshop_order(fixture->workshop, &settings);
    assert_non_null(order);
    while (!atomic_load(&begun))
        sched_yield();
    key_order_cancel(order);
}

static void *make_nothing(void *user, const atomic_bool *abandoned)
{
    (void)user;
    while (!atomic_load(abandoned))
        sched_yield();
    return NULL;
}

/* Beyond what may wait there is no order. */
static void orders_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    struct key_order *orders[KEY_WORKSHOP_THREADS_MAX + KEY_WORKSHOP_WAITING_MAX];
    const size_t count = sizeof(orders) / sizeof(orders[0]);
    const struct key_order_settings settings = {.make = make_nothing, .drop = drop, .done = is_never_done};
    for (size_t i = 0; i < count; i++) {
        orders[i] = key_workshop_order(fixture->workshop, &settings);
        assert_non_null(orders[i]);
    }
    assert_null(key_workshop_order(fixture->workshop, &settings));
    key_order_cancel(orders[count - 1]);
    orders[count - 1] = key_workshop_order(fixture->workshop, &settings);
    assert_non_null(orders[count - 1]);
    for (size_t i = count; i > 0; i--)
        key_order_cancel(orders[i - 1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_order_is_filled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(orders_can_be_cancelled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_can_be_cancelled_at_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_that_takes_hours_is_abandoned, set_up, tear_down),
        cmocka_unit_test_setup_teardown(orders_are_bounded, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
