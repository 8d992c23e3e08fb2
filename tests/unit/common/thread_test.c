/* Threads that are started leave signals to the thread that starts them. */
#include "common/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>

static void *look_at_mask(void *user)
{
    pthread_sigmask(SIG_BLOCK, NULL, user);
    return user;
}

static void signals_are_blocked_in_it_alone(void **state)
{
    (void)state;
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGPIPE};
    sigset_t there, here;
    pthread_t thread;
    sigemptyset(&there);
    assert_int_equal(thread_start(&thread, look_at_mask, &there), STATUS_OK);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_sigmask(SIG_BLOCK, NULL, &here);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        assert_int_equal(sigismember(&there, signals[i]), 1);
        assert_int_equal(sigismember(&here, signals[i]), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(signals_are_blocked_in_it_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
