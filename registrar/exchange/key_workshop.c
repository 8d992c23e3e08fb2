#include "registrar/exchange/key_workshop.h"

#include "common/container_of.h"
#include "common/mailbox.h"
#include "common/thread.h"

#include <stdbool.h>
#include <stdlib.h>
#include <utlist.h>

struct key_order {
    struct key_order *next, *prev; /* as utlist.h wants them named; while it waits for its turn */
    struct key_workshop *workshop;
    struct key_order_settings settings;
    void *key;
    pthread_t thread;
    struct letter letter;
    bool runs, joined, cancelled;
    atomic_bool abandoned;
};

struct key_workshop {
    struct mailbox *mailbox;
    struct key_order *waiting; /* the first to come stands first */
    unsigned waiting_count, threads;
    bool closed;
};

static enum status start(struct key_order *order);
static void *make(void *user);
static void on_made(struct letter *letter);
static void start_next(struct key_workshop *workshop);
static void leave_queue(struct key_workshop *workshop, struct key_order *order);
static void order_free(struct key_order *order);

struct key_workshop *key_workshop_create(struct mailbox *mailbox)
{
    struct key_workshop *workshop = calloc(1, sizeof(*workshop));
    if (workshop != NULL)
        workshop->mailbox = mailbox;
    return workshop;
}

/* The letters of orders that were cancelled may still lie in the mailbox: the last one frees it. */
void key_workshop_free(struct key_workshop *workshop)
{
    if (workshop == NULL)
        return;
    workshop->closed = true;
    if (workshop->threads == 0)
        free(workshop);
}

struct key_order *key_workshop_order(struct key_workshop *workshop, const struct key_order_settings *settings)
{
    bool waits = workshop->threads == KEY_WORKSHOP_THREADS_MAX;
    if (waits && workshop->waiting_count == KEY_WORKSHOP_WAITING_MAX)
        return NULL;
    struct key_order *order = calloc(1, sizeof(*order));
    if (order == NULL)
        return NULL;
    order->workshop = workshop;
    order->settings = *settings;
    order->letter.open = on_made;
    if (waits) {
        DL_APPEND(workshop->waiting, order);
        workshop->waiting_count++;
        return order;
    }
    if (start(order) == STATUS_OK)
        return order;
    order_free(order);
    return NULL;
}

static enum status start(struct key_order *order)
{
    enum status status = thread_start(&order->thread, make, order);
    order->runs = status == STATUS_OK;
    order->workshop->threads += order->runs;
    return status;
}

static void *make(void *user)
{
    struct key_order *order = user;
    order->key = order->settings.make(order->settings.user, &order->abandoned);
    mailbox_post(order->workshop->mailbox, &order->letter);
    return NULL;
}

static void on_made(struct letter *letter)
{
    struct key_order *order = CONTAINER_OF(letter, struct key_order, letter);
    struct key_workshop *workshop = order->workshop;
    struct key_order_settings settings = order->settings;
    void *key = order->key;
    bool cancelled = order->cancelled;
    if (!order->joined)
        pthread_join(order->thread, NULL);
    order->key = cancelled ? key : NULL;
    order_free(order);
    workshop->threads--;
    if (workshop->closed) {
        key_workshop_free(workshop);
        return;
    }
    start_next(workshop);
    if (!cancelled)
        settings.done(settings.user, key);
}

static void start_next(struct key_workshop *workshop)
{
    while (workshop->waiting != NULL && workshop->threads < KEY_WORKSHOP_THREADS_MAX) {
        struct key_order *order = workshop->waiting;
        leave_queue(workshop, order);
        if (start(order) == STATUS_OK)
            continue;
        struct key_order_settings settings = order->settings;
        order_free(order);
        settings.done(settings.user, NULL);
    }
}

static void leave_queue(struct key_workshop *workshop, struct key_order *order)
{
    DL_DELETE(workshop->waiting, order);
    workshop->waiting_count--;
}

void key_order_cancel(struct key_order *order)
{
    if (order == NULL)
        return;
    if (!order->runs) {
        leave_queue(order->workshop, order);
        order_free(order);
        return;
    }
    atomic_store(&order->abandoned, true);
    pthread_join(order->thread, NULL);
    order->joined = order->cancelled = true;
}

static void order_free(struct key_order *order)
{
    order->settings.drop(order->key);
    free(order);
}
