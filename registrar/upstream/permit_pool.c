#include "registrar/upstream/permit_pool.h"

#include "common/container_of.h"

#include "registrar/counters.h"

#include <pthread.h>
#include <stdlib.h>

struct line {
    struct permit_request *first, *last;
    size_t len;
};

/* Everything below is guarded by mutex. */
struct permit_pool {
    pthread_mutex_t mutex;
    size_t permits, queue;
    size_t out;           /* permits in use, parked or on their way back */
    size_t posts;         /* of those, in use by POSTs; below permits */
    size_t recalled;      /* of those, asked back from holders */
    struct line waits[2]; /* POSTs and GETs, by is_get */
    uint64_t tickets;
    struct permit_holder *holders;
    struct metrics *metrics;
};

struct permit_holder {
    struct permit_holder *next;
    struct permit_pool *pool;
    struct mailbox *mailbox;
    struct permit_events events;
    void *user;
    struct letter letter;
    bool posted; /* letter is in the mailbox; guarded by the pool's mutex while the pool knows the holder */
    bool gone;   /* freed by its owner while the letter was in the mailbox */
    struct line granted; /* not yet told */
    size_t parked;       /* permits of kept connections */
    size_t recalled;     /* of those that were parked, asked back */
};

static void open_letter(struct letter *letter);
static struct permit_request *next_granted(struct permit_holder *holder);
static void give_back_recalled(struct permit_holder *holder);
static void settle(struct permit_pool *pool);
static struct permit_request *next_in_line(const struct permit_pool *pool);
static bool post_may_go(const struct permit_pool *pool);
static bool take_permit(struct permit_holder *holder);
static void hold(struct permit_request *request);
static void recall_parked(struct permit_pool *pool);
static size_t wanted(const struct permit_pool *pool);
static void notify(struct permit_holder *holder);
static void line_append(struct line *line, struct permit_request *request);
static void line_remove(struct line *line, struct permit_request *request);

struct permit_pool *permit_pool_create(size_t permits, size_t queue, struct metrics *metrics)
{
    struct permit_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return NULL;
    pthread_mutex_init(&pool->mutex, NULL);
    pool->permits = permits;
    pool->queue = queue;
    pool->metrics = metrics;
    return pool;
}

void permit_pool_free(struct permit_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

struct permit_holder *permit_holder_create(struct permit_pool *pool, struct mailbox *mailbox,
                                           const struct permit_events *events, void *user)
{
    struct permit_holder *holder = calloc(1, sizeof *holder);
    if (holder == NULL)
        return NULL;
    holder->pool = pool;
    holder->mailbox = mailbox;
    holder->events = *events;
    holder->user = user;
    holder->letter.open = open_letter;

    pthread_mutex_lock(&pool->mutex);
    holder->next = pool->holders;
    pool->holders = holder;
    pthread_mutex_unlock(&pool->mutex);
    return holder;
}

void permit_holder_free(struct permit_holder *holder)
{
    if (holder == NULL)
        return;
    struct permit_pool *pool = holder->pool;
    pthread_mutex_lock(&pool->mutex);
    struct permit_holder **link = &pool->holders;
    while (*link != holder)
        link = &(*link)->next;
    *link = holder->next;
    pool->out -= holder->parked + holder->recalled;
    pool->recalled -= holder->recalled;
    settle(pool);
    bool posted = holder->posted;
    pthread_mutex_unlock(&pool->mutex);

    holder->gone = true;
    if (!posted)
        free(holder);
}

enum status permit_ask(struct permit_holder *holder, struct permit_request *request)
{
    struct permit_pool *pool = holder->pool;
    struct line *line = &pool->waits[request->is_get];
    enum status status = STATUS_BUSY;

    request->holder = holder;
    pthread_mutex_lock(&pool->mutex);
    if (line->len == 0 && (request->is_get || post_may_go(pool)) && take_permit(holder)) {
        hold(request);
        request->state = PERMIT_HELD;
        status = STATUS_OK;
    } else if (pool->waits[0].len + pool->waits[1].len >= pool->queue) {
        status = STATUS_TOO_LARGE;
    } else {
        request->state = PERMIT_WAITING;
        request->ticket = pool->tickets++;
        line_append(line, request);
        metrics_add(pool->metrics, COUNTER_UPSTREAM_QUEUED, 1);
        recall_parked(pool);
    }
    pthread_mutex_unlock(&pool->mutex);
    return status;
}

void permit_end(struct permit_request *request)
{
    if (request->holder == NULL)
        return;
    struct permit_pool *pool = request->holder->pool;
    pthread_mutex_lock(&pool->mutex);
    if (request->state == PERMIT_WAITING) {
        line_remove(&pool->waits[request->is_get], request);
        metrics_subtract(pool->metrics, COUNTER_UPSTREAM_QUEUED, 1);
    } else if (request->state != PERMIT_NONE) {
        if (request->state == PERMIT_GRANTED)
            line_remove(&request->holder->granted, request);
        pool->out--;
        if (!request->is_get)
            pool->posts--;
        settle(pool);
    }
    request->state = PERMIT_NONE;
    pthread_mutex_unlock(&pool->mutex);
}

bool permit_park(struct permit_request *request)
{
    struct permit_pool *pool = request->holder->pool;
    size_t posts = request->is_get ? 0 : 1;

    pthread_mutex_lock(&pool->mutex);
    pool->posts -= posts;
    const struct permit_request *next = next_in_line(pool);
    bool stays = next == NULL || next->holder == request->holder;
    if (stays) {
        request->state = PERMIT_NONE;
        request->holder->parked++;
        settle(pool); /* who is next inherits permit and connection */
    } else {
        pool->posts += posts;
    }
    pthread_mutex_unlock(&pool->mutex);
    return stays;
}

bool permit_unpark(struct permit_holder *holder)
{
    pthread_mutex_lock(&holder->pool->mutex);
    bool parked = holder->parked > 0;
    if (parked)
        holder->parked--;
    pthread_mutex_unlock(&holder->pool->mutex);
    return parked;
}

void permit_release(struct permit_holder *holder)
{
    pthread_mutex_lock(&holder->pool->mutex);
    holder->pool->out--;
    settle(holder->pool);
    pthread_mutex_unlock(&holder->pool->mutex);
}

static void open_letter(struct letter *letter)
{
    struct permit_holder *holder = CONTAINER_OF(letter, struct permit_holder, letter);
    if (holder->gone) {
        free(holder);
        return;
    }
    pthread_mutex_lock(&holder->pool->mutex);
    holder->posted = false;
    pthread_mutex_unlock(&holder->pool->mutex);

    struct permit_request *request;
    while ((request = next_granted(holder)) != NULL)
        holder->events.granted(holder->user, request);
    give_back_recalled(holder);
}

static struct permit_request *next_granted(struct permit_holder *holder)
{
    pthread_mutex_lock(&holder->pool->mutex);
    struct permit_request *request = holder->granted.first;
    if (request != NULL) {
        line_remove(&holder->granted, request);
        request->state = PERMIT_HELD;
    }
    pthread_mutex_unlock(&holder->pool->mutex);
    return request;
}

static void give_back_recalled(struct permit_holder *holder)
{
    struct permit_pool *pool = holder->pool;
    pthread_mutex_lock(&pool->mutex);
    size_t count = holder->recalled;
    pthread_mutex_unlock(&pool->mutex);
    if (count == 0)
        return;

    /* Closed first, given back afterwards: never is there one connection too many. */
    holder->events.recall(holder->user, count);
    pthread_mutex_lock(&pool->mutex);
    holder->recalled -= count;
    pool->recalled -= count;
    pool->out -= count;
    settle(pool);
    pthread_mutex_unlock(&pool->mutex);
}

/* Serves those who wait, as far as there are permits. */
static void settle(struct permit_pool *pool)
{
    struct permit_request *request;
    while ((request = next_in_line(pool)) != NULL && take_permit(request->holder)) {
        line_remove(&pool->waits[request->is_get], request);
        metrics_subtract(pool->metrics, COUNTER_UPSTREAM_QUEUED, 1);
        hold(request);
        line_append(&request->holder->granted, request);
        notify(request->holder);
    }
    recall_parked(pool);
}

/* The one who has waited longest, of those that may have a permit. */
static struct permit_request *next_in_line(const struct permit_pool *pool)
{
    struct permit_request *get = pool->waits[true].first;
    struct permit_request *post = post_may_go(pool) ? pool->waits[false].first : NULL;
    if (get == NULL || post == NULL)
        return get != NULL ? get : post;
    return get->ticket < post->ticket ? get : post;
}

static bool post_may_go(const struct permit_pool *pool)
{
    return pool->posts + 1 < pool->permits;
}

/* A parked permit of the holder's own comes first: its connection can be used again. */
static bool take_permit(struct permit_holder *holder)
{
    if (holder->parked > 0)
        holder->parked--;
    else if (holder->pool->out < holder->pool->permits)
        holder->pool->out++;
    else
        return false;
    return true;
}

static void hold(struct permit_request *request)
{
    request->state = PERMIT_GRANTED;
    if (!request->is_get)
        request->holder->pool->posts++;
}

/* Asks back as many parked permits as there are requests that could use them. */
static void recall_parked(struct permit_pool *pool)
{
    size_t wants = wanted(pool);
    for (struct permit_holder *holder = pool->holders; holder != NULL; holder = holder->next) {
        while (pool->recalled < wants && holder->parked > 0) {
            holder->parked--;
            holder->recalled++;
            pool->recalled++;
            notify(holder);
        }
    }
}

static size_t wanted(const struct permit_pool *pool)
{
    size_t posts = pool->waits[false].len, room = pool->permits - 1 - pool->posts;
    return pool->waits[true].len + (posts < room ? posts : room);
}

static void notify(struct permit_holder *holder)
{
    if (holder->posted)
        return;
    holder->posted = true;
    mailbox_post(holder->mailbox, &holder->letter);
}

static void line_append(struct line *line, struct permit_request *request)
{
    request->next = NULL;
    if (line->last == NULL)
        line->first = request;
    else
        line->last->next = request;
    line->last = request;
    line->len++;
}

static void line_remove(struct line *line, struct permit_request *request)
{
    struct permit_request *before = NULL;
    for (struct permit_request *at = line->first; at != request; at = at->next)
        before = at;
    if (before == NULL)
        line->first = request->next;
    else
        before->next = request->next;
    if (line->last == request)
        line->last = before;
    line->len--;
}
