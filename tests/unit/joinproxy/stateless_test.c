/* JPY-1 to JPY-5: JPY messages there and back, over loopback. */
#include "tests/unit/joinproxy/relaying.h"

#include "common/jpy.h"

static uint8_t octets[UDP_DATAGRAM_MAX];
static struct stateless *stateless;

static int set_up(void **state)
{
    struct buffer errors;
    relaying_set_up(state);
    struct relaying *relaying = *state;
    buffer_init(&errors, 4096);
    const struct stateless_plan plan = {.services = &relaying->services,
                                        .keys = relaying->keys,
                                        .registrar = relaying->registrar,
                                        .pledge_fd = join_port_fd(relaying->port)};
    stateless = stateless_create(&plan, &errors);
    assert_non_null(stateless);
    join_port_set_route(relaying->port,
                        &(struct route){.registrar = relaying->registrar, .stateless = stateless});
    buffer_free(&errors);
    return 0;
}

static int tear_down(void **state)
{
    stateless_free(stateless);
    return relaying_tear_down(state);
}

/* What reaches the registrar; its views borrow from octets. */
static struct jpy_message forwarded(struct relaying *relaying, const void *payload, size_t len,
                                    struct endpoint *from)
{
    struct jpy_message message;
    send_to(relaying->pledge_fd, &relaying->join_address, payload, len);
    ssize_t got = receive(relaying, relaying->registrar_fd, octets, from, WAIT_MS);
    assert_true(got > 0);
    assert_int_equal(jpy_decode((struct bytes){octets, (size_t)got}, 0, &message), STATUS_OK);
    assert_true(bytes_equal(message.content, (struct bytes){payload, len}));
    return message;
}

static void answer(struct relaying *relaying, const struct endpoint *to, struct bytes header,
                   const char *text)
{
    struct buffer datagram;
    const struct jpy_message message = {JPY_PAIR, header, bytes_from_string(text)};
    buffer_init(&datagram, 2048);
    assert_int_equal(jpy_encode(&message, &datagram), STATUS_OK);
    send_to(relaying->registrar_fd, to, datagram.at, datagram.len);
    buffer_free(&datagram);
}

static bool delivered(struct relaying *relaying, const char *text)
{
    struct endpoint from;
    static uint8_t got[UDP_DATAGRAM_MAX];
    ssize_t len = receive(relaying, relaying->pledge_fd, got, &from, text == NULL ? SILENCE_MS : WAIT_MS);
    if (text == NULL)
        return len < 0;
    return len == (ssize_t)strlen(text) && memcmp(got, text, (size_t)len) == 0 &&
           endpoint_equal(&from, &relaying->join_address);
}

static void there_and_back_without_state(void **state)
{
    struct relaying *relaying = *state;
    struct endpoint from;
    struct jpy_message message = forwarded(relaying, "up", 2, &from);
    assert_int_equal(endpoint_port(&from), stateless_port(stateless));
    assert_true(message.header.len <= 32);
    answer(relaying, &from, message.header, "down");
    assert_true(delivered(relaying, "down"));
    assert_int_equal(count_of(relaying, COUNTER_MAPPINGS_CREATED), 0);
}

static void jpy_3_one_header_for_twenty(void **state)
{
    struct relaying *relaying = *state;
    struct endpoint from;
    uint8_t first[32];
    struct jpy_message message = forwarded(relaying, "0", 1, &from);
    memcpy(first, message.header.at, message.header.len);
    for (int i = 0; i < 20; i++) {
        message = forwarded(relaying, &i, sizeof i, &from);
        assert_memory_equal(message.header.at, first, message.header.len);
    }
}

/* JPY-2: a new key, and the header of the key before still opens; that of two keys before does not. */
static void keys_change(void **state)
{
    struct relaying *relaying = *state;
    struct endpoint from;
    uint8_t first[32];
    struct jpy_message message = forwarded(relaying, "0", 1, &from);
    const struct bytes old = {first, message.header.len};
    memcpy(first, message.header.at, message.header.len);
    assert_true(header_keys_renew(relaying->keys, 1060));
    message = forwarded(relaying, "1", 1, &from);
    assert_memory_not_equal(message.header.at, first, message.header.len);
    answer(relaying, &from, old, "late");
    assert_true(delivered(relaying, "late"));
    assert_true(header_keys_renew(relaying->keys, 1120));
    answer(relaying, &from, old, "too late");
    assert_true(delivered(relaying, NULL));
    assert_int_equal(count_of(relaying, COUNTER_JPY_FORGED), 1);
}

static void jpy_4_what_is_not_ours_is_dropped(void **state)
{
    struct relaying *relaying = *state;
    struct endpoint from, local;
    struct jpy_message message = forwarded(relaying, "up", 2, &from);
    uint8_t header[32];
    memcpy(header, message.header.at, message.header.len);
    header[0] ^= 1;
    answer(relaying, &from, (struct bytes){header, message.header.len}, "tampered");
    answer(relaying, &from, (struct bytes){NULL, 0}, "none");
    send_to(relaying->registrar_fd, &from, "junk", 4);
    send_to(relaying->registrar_fd, &from, "\x82\x41h", 3);
    header[0] ^= 1;
    int other_fd = open_local(&local), registrar_fd = relaying->registrar_fd;
    relaying->registrar_fd = other_fd;
    answer(relaying, &from, (struct bytes){header, message.header.len}, "of a stranger");
    relaying->registrar_fd = registrar_fd;
    close(other_fd);
    assert_true(delivered(relaying, NULL));
    assert_int_equal(count_of(relaying, COUNTER_JPY_FORGED), 2);
    assert_int_equal(count_of(relaying, COUNTER_JPY_MALFORMED), 2);
}

/* JPY-5: IPv4 here, so 28 octets of headers, and 36 of ours at this length. */
static void jpy_5_what_does_not_fit_is_dropped_and_counted(void **state)
{
    struct relaying *relaying = *state;
    static uint8_t payload[1400];
    struct endpoint from;
    const size_t most = 1280 - 28 - 36;
    forwarded(relaying, payload, most, &from);
    send_to(relaying->pledge_fd, &relaying->join_address, payload, most + 1);
    assert_int_equal(receive(relaying, relaying->registrar_fd, octets, &from, SILENCE_MS), -1);
    assert_int_equal(count_of(relaying, COUNTER_JPY_TOO_LARGE), 1);
}

/* JPY-5: by itself it knows what fits: on the loopback interface all that a socket takes. */
static void jpy_5_the_path_says_what_fits(void **state)
{
    struct relaying *relaying = *state;
    static uint8_t payload[UDP_DATAGRAM_MAX];
    struct endpoint from;
    relaying->settings.stateless.mtu = 0;
    forwarded(relaying, payload, UDP_DATAGRAM_MAX - 36, &from);
    send_to(relaying->pledge_fd, &relaying->join_address, payload, UDP_DATAGRAM_MAX - 35);
    assert_int_equal(receive(relaying, relaying->registrar_fd, octets, &from, SILENCE_MS), -1);
    assert_int_equal(count_of(relaying, COUNTER_JPY_TOO_LARGE), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(there_and_back_without_state, set_up, tear_down),
        cmocka_unit_test_setup_teardown(jpy_3_one_header_for_twenty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_change, set_up, tear_down),
        cmocka_unit_test_setup_teardown(jpy_4_what_is_not_ours_is_dropped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(jpy_5_what_does_not_fit_is_dropped_and_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(jpy_5_the_path_says_what_fits, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
