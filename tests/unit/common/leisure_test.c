/* Answers to groups: RFC 7252 section 8.2, JPD-1, DISC-3. Over real sockets and a real loop. */
#include "common/leisure.h"

#include <event2/event.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <string.h>
#include <unistd.h>

struct fixture {
    struct event_base *base;
    int fd; /* sends to itself */
    struct udp_datagram datagram;
    size_t received;
};

static struct fixture fixture;

static int set_up(void **state)
{
    (void)state;
    struct endpoint any;
    fixture = (struct fixture){.base = event_base_new()};
    if (fixture.base == NULL || endpoint_parse("127.0.0.1:0", &any) != STATUS_OK ||
        udp_socket_open(&any, UDP_EXCLUSIVE, &fixture.fd) != STATUS_OK)
        return -1;
    udp_socket_local(fixture.fd, &fixture.datagram.peer);
    fixture.datagram.local = fixture.datagram.peer;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(fixture.fd);
    event_base_free(fixture.base);
    return 0;
}

static enum status send_text(struct leisure *leisure, const char *text)
{
    struct buffer octets;
    buffer_init(&octets, 64);
    buffer_append_string(&octets, text);
    enum status status = leisure_send(leisure, fixture.fd, &fixture.datagram, &octets);
    assert_int_equal(octets.len, status == STATUS_OK ? 0 : strlen(text)); /* taken, or not */
    buffer_free(&octets);
    return status;
}

static void count(void *user, const struct udp_datagram *datagram)
{
    struct fixture *to = user;
    assert_true(bytes_equal(datagram->payload, BYTES_LITERAL("answer")));
    to->received++;
}

static size_t receive(void)
{
    struct udp_batch *batch = udp_batch_create();
    struct pollfd readable = {.fd = fixture.fd, .events = POLLIN};
    while (poll(&readable, 1, 0) == 1)
        udp_socket_receive(fixture.fd, batch, count, &fixture);
    udp_batch_free(batch);
    return fixture.received;
}

static void every_answer_leaves_when_it_is_due(void **state)
{
    (void)state;
    struct leisure *leisure = leisure_create(fixture.base, 30);
    for (int i = 0; i < 20; i++)
        assert_int_equal(send_text(leisure, "answer"), STATUS_OK);
    assert_int_equal(receive(), 0); /* none before the loop has had its turn */
    event_base_dispatch(fixture.base);
    assert_int_equal(receive(), 20);
    leisure_free(leisure);
}

static void no_more_wait_than_there_are_places(void **state)
{
    (void)state;
    struct leisure *leisure = leisure_create(fixture.base, 0);
    for (int i = 0; i < LEISURE_ANSWERS_MAX; i++)
        assert_int_equal(send_text(leisure, "answer"), STATUS_OK);
    assert_int_equal(send_text(leisure, "answer"), STATUS_NO_MEMORY);
    event_base_dispatch(fixture.base);
    assert_int_equal(receive(), LEISURE_ANSWERS_MAX);
    assert_int_equal(send_text(leisure, "answer"), STATUS_OK); /* places are free again */
    leisure_free(leisure);
}

static void what_waits_at_the_end_is_not_sent(void **state)
{
    (void)state;
    struct leisure *leisure = leisure_create(fixture.base, UINT32_MAX);
    assert_int_equal(send_text(leisure, "answer"), STATUS_OK);
    leisure_free(leisure);
    assert_int_equal(event_base_get_num_events(fixture.base, EVENT_BASE_COUNT_ADDED), 0);
    assert_int_equal(receive(), 0);
    leisure_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_answer_leaves_when_it_is_due, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_more_wait_than_there_are_places, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_waits_at_the_end_is_not_sent, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
