/* Mailbox: letters from any thread are opened in order on the thread of the loop. */
#include "common/mailbox.h"

#include <event2/event.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define WRITERS            3
#define LETTERS_PER_WRITER 2000

/* Where opened letters leave their trace. */
struct tray {
    struct event_base *base;
    struct mailbox *mailbox;
    int numbers[16];
    size_t count;
    int last[WRITERS], expected;
    pthread_t reader;
};

struct memo {
    struct letter letter;
    struct tray *tray;
    int writer, number;
};

static struct tray tray;

static int set_up(void **state)
{
    (void)state;
    tray = (struct tray){.base = event_base_new(), .reader = pthread_self()};
    tray.mailbox = mailbox_create(tray.base);
    return tray.mailbox == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    mailbox_free(tray.mailbox);
    event_base_free(tray.base);
    return 0;
}

static void note(struct letter *letter)
{
    struct memo *memo = (struct memo *)letter; /* letter is the first member */
    memo->tray->numbers[memo->tray->count++] = memo->number;
}

static void note_and_repost(struct letter *letter)
{
    struct memo *memo = (struct memo *)letter;
    note(letter);
    if (++memo->number < 5)
        mailbox_post(memo->tray->mailbox, letter);
}

static void run_loop_without_waiting(void)
{
    assert_int_not_equal(event_base_loop(tray.base, EVLOOP_NONBLOCK | EVLOOP_ONCE), -1);
}

static void letters_are_opened_in_order_and_once(void **state)
{
    (void)state;
    struct memo memos[5];
    for (int i = 0; i < 5; i++) {
        memos[i] = (struct memo){{NULL, note}, &tray, 0, i};
        mailbox_post(tray.mailbox, &memos[i].letter);
    }
    assert_int_equal(tray.count, 0);
    run_loop_without_waiting();
    run_loop_without_waiting();
    assert_int_equal(tray.count, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(tray.numbers[i], i);
}

static void a_letter_may_be_posted_again_while_it_is_opened(void **state)
{
    (void)state;
    struct memo memo = {{NULL, note_and_repost}, &tray, 0, 0};
    mailbox_post(tray.mailbox, &memo.letter);
    run_loop_without_waiting();
    assert_int_equal(tray.count, 1); /* the loop gets its turn in between */
    for (int i = 0; i < 10; i++)
        run_loop_without_waiting();
    assert_int_equal(tray.count, 5);
}

static void freeing_opens_what_is_left(void **state)
{
    (void)state;
    struct memo again = {{NULL, note_and_repost}, &tray, 0, 0}, once = {{NULL, note}, &tray, 0, 9};
    mailbox_post(tray.mailbox, &again.letter);
    mailbox_post(tray.mailbox, &once.letter);
    mailbox_free(tray.mailbox);
    tray.mailbox = NULL;
    assert_int_equal(tray.count, 6);
    assert_int_equal(tray.numbers[0], 0);
    assert_int_equal(tray.numbers[1], 9);
    assert_int_equal(tray.numbers[5], 4);
}

static void open_and_free(struct letter *letter)
{
    struct memo *memo = (struct memo *)letter;
    struct tray *to = memo->tray;
    assert_true(pthread_equal(pthread_self(), to->reader));
    assert_int_equal(memo->number, to->last[memo->writer] + 1);
    to->last[memo->writer] = memo->number;
    if (--to->expected == 0)
        event_base_loopbreak(to->base);
    free(memo);
}

static void *write_letters(void *user)
{
    int writer = *(int *)user;
    for (int i = 1; i <= LETTERS_PER_WRITER; i++) {
        struct memo *memo = malloc(sizeof *memo);
        if (memo == NULL)
            abort();
        *memo = (struct memo){{NULL, open_and_free}, &tray, writer, i};
        mailbox_post(tray.mailbox, &memo->letter);
    }
    return NULL;
}

static void on_too_late(evutil_socket_t fd, short what, void *user)
{
    (void)fd;
    (void)what;
    event_base_loopbreak(user);
}

static void threads_may_post_while_the_loop_opens(void **state)
{
    (void)state;
    pthread_t writers[WRITERS];
    int ids[WRITERS];
    struct timeval limit = {20, 0};
    tray.expected = WRITERS * LETTERS_PER_WRITER;
    event_base_once(tray.base, -1, EV_TIMEOUT, on_too_late, tray.base, &limit);
    for (int i = 0; i < WRITERS; i++) {
        ids[i] = i;
        assert_int_equal(pthread_create(&writers[i], NULL, write_letters, &ids[i]), 0);
    }
    event_base_dispatch(tray.base);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    assert_int_equal(tray.expected, 0);
}

static void freeing_nothing_is_allowed(void **state)
{
    (void)state;
    mailbox_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(letters_are_opened_in_order_and_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_letter_may_be_posted_again_while_it_is_opened, set_up, tear_down),
        cmocka_unit_test_setup_teardown(freeing_opens_what_is_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(threads_may_post_while_the_loop_opens, set_up, tear_down),
        cmocka_unit_test(freeing_nothing_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
