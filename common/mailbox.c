#include "common/mailbox.h"

#include <event2/event.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
    pthread_mutex_t lock;
    struct letter *first, **end; /* guarded by lock; end points to where the next letter goes */
    int doorbell;                /* eventfd: rung when the list stops being empty */
    struct event *event;
};

static void on_doorbell(evutil_socket_t fd, short what, void *user);
static void open_letters(struct letter *letter);
static struct letter *take_letters(struct mailbox *mailbox);

struct mailbox *mailbox_create(struct event_base *base)
{
    struct mailbox *mailbox = calloc(1, sizeof *mailbox);
    if (mailbox == NULL)
        return NULL;
    pthread_mutex_init(&mailbox->lock, NULL);
    mailbox->end = &mailbox->first;
    mailbox->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (mailbox->doorbell >= 0)
        mailbox->event = event_new(base, mailbox->doorbell, EV_READ | EV_PERSIST, on_doorbell, mailbox);
    if (mailbox->event == NULL || event_add(mailbox->event, NULL) != 0) {
        mailbox_free(mailbox);
        return NULL;
    }
    return mailbox;
}

void mailbox_free(struct mailbox *mailbox)
{
    if (mailbox == NULL)
        return;
    for (struct letter *left = take_letters(mailbox); left != NULL; left = take_letters(mailbox))
        open_letters(left);
    if (mailbox->event != NULL)
        event_free(mailbox->event);
    if (mailbox->doorbell >= 0)
        close(mailbox->doorbell);
    pthread_mutex_destroy(&mailbox->lock);
    free(mailbox);
}

void mailbox_post(struct mailbox *mailbox, struct letter *letter)
{
    letter->next = NULL;
    pthread_mutex_lock(&mailbox->lock);
    bool was_empty = mailbox->first == NULL;
    *mailbox->end = letter;
    mailbox->end = &letter->next;
    /* Rung under the lock: once it is released, the loop may open the last letter and free the mailbox. */
    if (was_empty)
        eventfd_write(mailbox->doorbell, 1);
    pthread_mutex_unlock(&mailbox->lock);
}

static void on_doorbell(evutil_socket_t fd, short what, void *user)
{
    (void)what;
    eventfd_t rings;
    struct mailbox *mailbox = user;
    /* First silence the doorbell, then empty the box: a letter that arrives between the two rings again. */
    eventfd_read(fd, &rings);
    open_letters(take_letters(mailbox));
}

/* Does not touch the mailbox: opening a letter may post another one. */
static void open_letters(struct letter *letter)
{
    while (letter != NULL) {
        struct letter *next = letter->next;
        letter->open(letter);
        letter = next;
    }
}

static struct letter *take_letters(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->lock);
    struct letter *first = mailbox->first;
    mailbox->first = NULL;
    mailbox->end = &mailbox->first;
    pthread_mutex_unlock(&mailbox->lock);
    return first;
}
