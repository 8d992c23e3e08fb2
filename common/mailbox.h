/* Hands work from any thread to the thread of one event loop. */
#ifndef ESTUARY_COMMON_MAILBOX_H
#define ESTUARY_COMMON_MAILBOX_H

#include "common/status.h"

struct event_base;
struct mailbox;

/* A letter is embedded in the object that it concerns (container_of style); it is in one mailbox at most. */
struct letter {
    struct letter *next;
    void (*open)(struct letter *letter); /* called on the mailbox's loop; may free the letter's object */
};

/* Borrows base, which must outlive it. Gives a mailbox; NULL: no memory or no eventfd. */
struct mailbox *mailbox_create(struct event_base *base);

/* Unopened letters are opened first. */
void mailbox_free(struct mailbox *mailbox);

/* Thread safe, never fails, never blocks for longer than a list insertion. Letters are opened in order. */
void mailbox_post(struct mailbox *mailbox, struct letter *letter);

#endif
