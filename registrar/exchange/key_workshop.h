/* Makes keys beside an event loop, which RSA would hold up for seconds (SKG-5, RA-7). One for each loop that
 * needs keys. */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_KEY_WORKSHOP_H
#define ESTUARY_REGISTRAR_EXCHANGE_KEY_WORKSHOP_H

#include <stdatomic.h>

struct mailbox;
struct key_workshop;
struct key_order;

#define KEY_WORKSHOP_THREADS_MAX 2  /* at a time; further orders wait for their turn */
#define KEY_WORKSHOP_WAITING_MAX 64 /* orders, which RSA of 4096 bits may keep busy for minutes */

/* How it is made, and whom to tell; all with user. */
struct key_order_settings {
    /* By another thread: what it reads must stay as it is until the order is over. Nobody wants the key any
     * more once abandoned is set. Gives the key; NULL: none could be made. */
    void *(*make)(void *user, const atomic_bool *abandoned);
    void (*drop)(void *key); /* frees one that nobody wants any more; NULL is none */
    /* Once, on the mailbox's loop and never before key_workshop_order returns. Gives the key. The order is
     * over. */
    void (*done)(void *user, void *key);
    void *user;
};

/* Borrows the mailbox. Gives; NULL: no memory. */
struct key_workshop *key_workshop_create(struct mailbox *mailbox);

/* To be called when there are no orders any more, and before mailbox_free. */
void key_workshop_free(struct key_workshop *workshop);

/* Gives an order, which ends by done or by key_order_cancel; NULL: too many wait, no memory or no thread. */
struct key_order *key_workshop_order(struct key_workshop *workshop,
                                     const struct key_order_settings *settings);

/* Done is not called any more. A key that is being made is abandoned, and waited for until it is. */
void key_order_cancel(struct key_order *order);

#endif
