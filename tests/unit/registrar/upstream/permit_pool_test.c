/* RA-5: the bound on connections holds over all workers, GETs always get through, nobody waits for ever. */
#include "registrar/upstream/permit_pool.h"

#include "registrar/counters.h"

#include <event2/event.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* A worker whose loop the test turns by hand. */
struct worker {
    struct event_base *base;
    struct mailbox *mailbox;
    struct permit_holder *holder;
    size_t kept;     /* connections that it keeps open */
    size_t recalled; /* how many it was asked to close */
    struct permit_request *granted[16];
    size_t granted_count;
};

struct fixture {
    struct metrics *metrics;
    struct permit_pool *pool;
    struct worker workers[2];
};

static void on_granted(void *user, struct permit_request *request)
{
    struct worker *worker = user;
    worker->granted[worker->granted_count++] = request;
}

static void on_recall(void *user, size_t count)
{
    struct worker *worker = user;
    worker->recalled += count;
    worker->kept -= count < worker->kept ? count : worker->kept;
}

static void worker_start(struct worker *worker, struct permit_pool *pool)
{
    static const struct permit_events events = {on_granted, on_recall};
    memset(worker, 0, sizeof *worker);
    worker->base = event_base_new();
    worker->mailbox = mailbox_create(worker->base);
    worker->holder = permit_holder_create(pool, worker->mailbox, &events, worker);
    assert_non_null(worker->holder);
}

static void worker_stop(struct worker *worker)
{
    permit_holder_free(worker->holder);
    mailbox_free(worker->mailbox);
    event_base_free(worker->base);
}

static void turn(struct worker *worker)
{
    event_base_loop(worker->base, EVLOOP_NONBLOCK);
}

static void set_up(struct fixture *fixture, size_t permits, size_t queue)
{
    fixture->metrics = counters_create();
    fixture->pool = permit_pool_create(permits, queue, fixture->metrics);
    assert_non_null(fixture->pool);
    worker_start(&fixture->workers[0], fixture->pool);
    worker_start(&fixture->workers[1], fixture->pool);
}

static void tear_down(struct fixture *fixture)
{
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_UPSTREAM_QUEUED), 0);
    worker_stop(&fixture->workers[0]);
    worker_stop(&fixture->workers[1]);
    permit_pool_free(fixture->pool);
    metrics_free(fixture->metrics);
}

static void one_permit_is_kept_for_gets(void **state)
{
    (void)state;
    struct fixture fixture;
    struct permit_request posts[3] = {0}, get = {.is_get = true};
    set_up(&fixture, 3, 10);
    struct worker *worker = &fixture.workers[0];

    assert_int_equal(permit_ask(worker->holder, &posts[0]), STATUS_OK);
    assert_int_equal(permit_ask(worker->holder, &posts[1]), STATUS_OK);
    assert_int_equal(permit_ask(worker->holder, &posts[2]), STATUS_BUSY);
    assert_int_equal(permit_ask(worker->holder, &get), STATUS_OK);

    permit_end(&posts[0]);
    turn(worker);
    assert_int_equal(worker->granted_count, 1);
    assert_ptr_equal(worker->granted[0], &posts[2]);
    permit_end(&posts[1]);
    permit_end(&posts[2]);
    permit_end(&get);
    tear_down(&fixture);
}

static void first_come_first_served_among_its_kind(void **state)
{
    (void)state;
    struct fixture fixture;
    struct permit_request held[2] = {{.is_get = true}, {.is_get = true}}, waiting[4] = {0};
    set_up(&fixture, 2, 10);
    struct worker *worker = &fixture.workers[0];

    assert_int_equal(permit_ask(worker->holder, &held[0]), STATUS_OK);
    assert_int_equal(permit_ask(worker->holder, &held[1]), STATUS_OK);
    waiting[2].is_get = true; /* order: post, post, get, post */
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(permit_ask(worker->holder, &waiting[i]), STATUS_BUSY);
    assert_int_equal(metrics_get(fixture.metrics, COUNTER_UPSTREAM_QUEUED), 4);

    permit_end(&held[0]);
    permit_end(&held[1]);
    turn(worker);
    assert_int_equal(worker->granted_count, 2);
    assert_ptr_equal(worker->granted[0], &waiting[0]);
    assert_ptr_equal(worker->granted[1], &waiting[2]); /* the second post may not take the last permit */

    permit_end(&waiting[0]);
    turn(worker);
    assert_ptr_equal(worker->granted[2], &waiting[1]);
    permit_end(&waiting[1]);
    turn(worker);
    assert_ptr_equal(worker->granted[3], &waiting[3]);
    permit_end(&waiting[2]);
    permit_end(&waiting[3]);
    tear_down(&fixture);
}

static void queue_is_bounded(void **state)
{
    (void)state;
    struct fixture fixture;
    struct permit_request held[2] = {{.is_get = true}, {.is_get = true}}, waiting[3] = {0};
    set_up(&fixture, 2, 2);
    struct worker *worker = &fixture.workers[0];

    for (size_t i = 0; i < 2; i++)
        assert_int_equal(permit_ask(worker->holder, &held[i]), STATUS_OK);
    assert_int_equal(permit_ask(worker->holder, &waiting[0]), STATUS_BUSY);
    assert_int_equal(permit_ask(fixture.workers[1].holder, &waiting[1]), STATUS_BUSY);
    assert_int_equal(permit_ask(worker->holder, &waiting[2]), STATUS_TOO_LARGE);
    permit_end(&waiting[2]); /* harmless */

    permit_end(&waiting[0]); /* leaves the queue: there is room again */
    assert_int_equal(permit_ask(worker->holder, &waiting[2]), STATUS_BUSY);
    permit_end(&waiting[1]);
    permit_end(&waiting[2]);
    permit_end(&held[0]);
    permit_end(&held[1]);
    turn(worker);
    assert_int_equal(worker->granted_count, 0);
    tear_down(&fixture);
}

static void who_leaves_after_the_grant_gives_the_permit_back(void **state)
{
    (void)state;
    struct fixture fixture;
    struct permit_request held[2] = {{.is_get = true}, {.is_get = true}}, waiting[2] = {0};
    set_up(&fixture, 2, 10);
    struct worker *one = &fixture.workers[0], *other = &fixture.workers[1];

    for (size_t i = 0; i < 2; i++)
        assert_int_equal(permit_ask(one->holder, &held[i]), STATUS_OK);
    assert_int_equal(permit_ask(other->holder, &waiting[0]), STATUS_BUSY);
    assert_int_equal(permit_ask(one->holder, &waiting[1]), STATUS_BUSY);
    permit_end(&held[0]);    /* grants waiting[0], which is not told yet */
    permit_end(&waiting[0]); /* and passes it on */
    turn(other);
    turn(one);
    assert_int_equal(other->granted_count, 0);
    assert_int_equal(one->granted_count, 1);
    assert_ptr_equal(one->granted[0], &waiting[1]);
    permit_end(&waiting[1]);
    permit_end(&held[1]);
    tear_down(&fixture);
}

/* A kept connection counts: it is closed before another worker opens one. */
static void kept_connections_are_recalled_for_another_worker(void **state)
{
    (void)state;
    struct fixture fixture;
    struct permit_request first = {.is_get = true}, second = {.is_get = true}, third = {.is_get = true};
    set_up(&fixture, 2, 10);
    struct worker *one = &fixture.workers[0], *other = &fixture.workers[1];

    assert_int_equal(permit_ask(one->holder, &first), STATUS_OK);
    assert_int_equal(permit_ask(one->holder, &second), STATUS_OK);
    assert_true(permit_park(&first));
    assert_true(permit_park(&second));
    one->kept = 2;

    assert_int_equal(permit_ask(other->holder, &third), STATUS_BUSY);
    turn(other);
    assert_int_equal(other->granted_count, 0); /* not before it is closed */
    turn(one);
    assert_int_equal(one->recalled, 1);
    turn(other);
    assert_int_equal(other->granted_count, 1);

    assert_true(permit_unpark(one->holder)); /* the other one is still parked */
    assert_false(permit_unpark(one->holder));
    permit_release(one->holder);
    permit_end(&third);
    tear_down(&fixture);
}

static void own_kept_connection_is_used_first(void **state)
{
    (void)state;
    struct fixture fixture;
    struct permit_request first = {0}, second = {0}, third = {.is_get = true};
    set_up(&fixture, 2, 10);
    struct worker *one = &fixture.workers[0], *other = &fixture.workers[1];

    assert_int_equal(permit_ask(one->holder, &first), STATUS_OK);
    assert_true(permit_park(&first));
    assert_int_equal(permit_ask(one->holder, &second), STATUS_OK);
    assert_false(permit_unpark(one->holder));                       /* it took the parked one, */
    assert_int_equal(permit_ask(other->holder, &third), STATUS_OK); /* so that one is free */
    permit_end(&second);
    permit_end(&third);
    tear_down(&fixture);
}

/* Under load a connection goes on to the next request of its own worker, and is closed for another's. */
static void a_connection_passes_to_who_is_next(void **state)
{
    (void)state;
    struct fixture fixture;
    struct permit_request first = {.is_get = true}, second = {.is_get = true};
    struct permit_request own = {.is_get = true}, foreign = {.is_get = true};
    set_up(&fixture, 2, 10);
    struct worker *one = &fixture.workers[0], *other = &fixture.workers[1];

    assert_int_equal(permit_ask(one->holder, &first), STATUS_OK);
    assert_int_equal(permit_ask(one->holder, &second), STATUS_OK);
    assert_int_equal(permit_ask(one->holder, &own), STATUS_BUSY);
    assert_int_equal(permit_ask(other->holder, &foreign), STATUS_BUSY);

    assert_true(permit_park(&first)); /* own is next */
    turn(one);
    assert_ptr_equal(one->granted[0], &own);
    assert_false(permit_unpark(one->holder)); /* promised away */

    assert_false(permit_park(&second)); /* foreign is next */
    permit_end(&second);
    turn(other);
    assert_ptr_equal(other->granted[0], &foreign);
    permit_end(&own);
    permit_end(&foreign);
    tear_down(&fixture);
}

static void a_worker_that_goes_leaves_its_permits(void **state)
{
    (void)state;
    struct fixture fixture;
    struct permit_request first = {.is_get = true}, second = {.is_get = true},
                          waiting[2] = {{.is_get = true}};
    set_up(&fixture, 2, 10);
    struct worker *one = &fixture.workers[0], *other = &fixture.workers[1];

    assert_int_equal(permit_ask(one->holder, &first), STATUS_OK);
    assert_int_equal(permit_ask(one->holder, &second), STATUS_OK);
    assert_true(permit_park(&first));
    assert_true(permit_park(&second));
    assert_int_equal(permit_ask(other->holder, &waiting[0]), STATUS_BUSY);
    assert_int_equal(permit_ask(other->holder, &waiting[1]), STATUS_BUSY);
    worker_stop(one); /* the recall is still in its mailbox */
    turn(other);
    /* One for the GET, the other for the POST. */
    assert_int_equal(other->granted_count, 2);
    permit_end(&waiting[0]);
    permit_end(&waiting[1]);
    worker_start(one, fixture.pool);
    tear_down(&fixture);
}

/* Several threads, each a loop with many requests: never more than the permits at once, and all are served.
 */
#define THREADS  4
#define JOBS     50 /* at once, in each thread */
#define REQUESTS 500
#define PERMITS  5

struct crowd {
    struct permit_pool *pool;
    atomic_int connections, posts, peak, posts_peak;
    atomic_int served;
};

struct job {
    struct permit_request permit;
    struct busy_worker *worker;
    struct event *timer;
    bool has_connection;
};

struct busy_worker {
    struct crowd *crowd;
    struct event_base *base;
    struct mailbox *mailbox;
    struct permit_holder *holder;
    struct job jobs[JOBS];
    unsigned seed;
    int started, ended;
    size_t kept;
};

static void raise_peak(atomic_int *peak, int value)
{
    int seen = atomic_load(peak);
    while (value > seen && !atomic_compare_exchange_weak(peak, &seen, value))
        ;
}

static void job_ask(struct job *job);

static void job_begin(struct job *job)
{
    struct busy_worker *worker = job->worker;
    struct crowd *crowd = worker->crowd;
    struct timeval soon = {0, rand_r(&worker->seed) % 200};
    if (worker->kept > 0)
        worker->kept--;
    else
        raise_peak(&crowd->peak, atomic_fetch_add(&crowd->connections, 1) + 1);
    if (!job->permit.is_get)
        raise_peak(&crowd->posts_peak, atomic_fetch_add(&crowd->posts, 1) + 1);
    evtimer_add(job->timer, &soon);
}

static void job_end(evutil_socket_t fd, short what, void *user)
{
    struct job *job = user;
    struct busy_worker *worker = job->worker;
    struct crowd *crowd = worker->crowd;
    (void)fd, (void)what;

    if (!job->permit.is_get)
        atomic_fetch_sub(&crowd->posts, 1);
    if (rand_r(&worker->seed) % 4 != 0 && permit_park(&job->permit)) {
        worker->kept++;
    } else {
        atomic_fetch_sub(&crowd->connections, 1);
        permit_end(&job->permit);
    }
    atomic_fetch_add(&crowd->served, 1);
    worker->ended++;
    job_ask(job);
    if (worker->ended == REQUESTS)
        event_base_loopbreak(worker->base);
}

static void job_ask(struct job *job)
{
    struct busy_worker *worker = job->worker;
    if (worker->started == REQUESTS)
        return;
    worker->started++;
    job->permit.is_get = rand_r(&worker->seed) % 8 == 0;
    if (permit_ask(worker->holder, &job->permit) == STATUS_OK)
        job_begin(job);
}

static void on_busy_granted(void *user, struct permit_request *request)
{
    (void)user;
    job_begin(CONTAINER_OF(request, struct job, permit));
}

static void on_busy_recall(void *user, size_t count)
{
    struct busy_worker *worker = user;
    size_t closing = count < worker->kept ? count : worker->kept;
    worker->kept -= closing;
    atomic_fetch_sub(&worker->crowd->connections, (int)closing);
}

static void *run_busy_worker(void *user)
{
    static const struct permit_events events = {on_busy_granted, on_busy_recall};
    struct busy_worker *worker = user;
    worker->base = event_base_new();
    worker->mailbox = mailbox_create(worker->base);
    worker->holder = permit_holder_create(worker->crowd->pool, worker->mailbox, &events, worker);
    for (size_t i = 0; i < JOBS; i++) {
        worker->jobs[i].worker = worker;
        worker->jobs[i].timer = evtimer_new(worker->base, job_end, &worker->jobs[i]);
        job_ask(&worker->jobs[i]);
    }
    struct timeval limit = {30, 0};
    event_base_loopexit(worker->base, &limit);
    event_base_loop(worker->base, EVLOOP_NO_EXIT_ON_EMPTY);

    atomic_fetch_sub(&worker->crowd->connections, (int)worker->kept);
    permit_holder_free(worker->holder);
    mailbox_free(worker->mailbox);
    for (size_t i = 0; i < JOBS; i++)
        event_free(worker->jobs[i].timer);
    event_base_free(worker->base);
    return NULL;
}

static void threads_share_the_permits(void **state)
{
    (void)state;
    struct metrics *metrics = counters_create();
    struct crowd crowd = {.pool = permit_pool_create(PERMITS, (size_t)THREADS * JOBS, metrics)};
    struct busy_worker *workers = calloc(THREADS, sizeof *workers);
    pthread_t threads[THREADS];

    for (unsigned i = 0; i < THREADS; i++) {
        workers[i].crowd = &crowd;
        workers[i].seed = i + 1;
        assert_int_equal(pthread_create(&threads[i], NULL, run_busy_worker, &workers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);

    assert_int_equal(atomic_load(&crowd.served), THREADS * REQUESTS);
    assert_int_equal(atomic_load(&crowd.peak), PERMITS);
    assert_int_equal(atomic_load(&crowd.posts_peak), PERMITS - 1);
    assert_int_equal(atomic_load(&crowd.connections), 0);
    assert_int_equal(metrics_get(metrics, COUNTER_UPSTREAM_QUEUED), 0);
    free(workers);
    permit_pool_free(crowd.pool);
    metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_permit_is_kept_for_gets),
        cmocka_unit_test(first_come_first_served_among_its_kind),
        cmocka_unit_test(queue_is_bounded),
        cmocka_unit_test(who_leaves_after_the_grant_gives_the_permit_back),
        cmocka_unit_test(kept_connections_are_recalled_for_another_worker),
        cmocka_unit_test(own_kept_connection_is_used_first),
        cmocka_unit_test(a_connection_passes_to_who_is_next),
        cmocka_unit_test(a_worker_that_goes_leaves_its_permits),
        cmocka_unit_test(threads_share_the_permits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
