#include "common/leisure.h"

#include <event2/event.h>

#include <stdlib.h>

/* An answer on its way. */
struct waiting_answer {
    struct waiting_answer **place; /* where the leisure has it */
    int fd;
    struct udp_datagram datagram; /* payload is a view of octets */
    struct buffer octets;
    struct event *due;
};

struct leisure {
    struct event_base *base;
    uint32_t within_ms;
    struct waiting_answer *answers[LEISURE_ANSWERS_MAX];
};

static struct waiting_answer **find_place(struct leisure *leisure);
static struct timeval random_wait(uint32_t within_ms);
static void on_due(evutil_socket_t fd, short what, void *user);
static void answer_free(struct waiting_answer *answer);

struct leisure *leisure_create(struct event_base *base, uint32_t within_ms)
{
    struct leisure *leisure = calloc(1, sizeof *leisure);
    if (leisure == NULL)
        return NULL;
    leisure->base = base;
    leisure->within_ms = within_ms;
    return leisure;
}

void leisure_free(struct leisure *leisure)
{
    if (leisure == NULL)
        return;
    for (size_t i = 0; i < LEISURE_ANSWERS_MAX; i++)
        if (leisure->answers[i] != NULL)
            answer_free(leisure->answers[i]);
    free(leisure);
}

enum status leisure_send(struct leisure *leisure, int fd, const struct udp_datagram *datagram,
                         struct buffer *octets)
{
    struct waiting_answer **place = find_place(leisure);
    struct waiting_answer *answer = place == NULL ? NULL : calloc(1, sizeof *answer);
    if (answer == NULL)
        return STATUS_NO_MEMORY;
    const struct timeval wait = random_wait(leisure->within_ms);
    *place = answer;
    answer->place = place;
    answer->fd = fd;
    answer->due = evtimer_new(leisure->base, on_due, answer);
    if (answer->due == NULL || evtimer_add(answer->due, &wait) != 0) {
        answer_free(answer);
        return STATUS_NO_MEMORY;
    }
    answer->datagram = *datagram;
    answer->datagram.payload = buffer_view(octets);
    answer->octets = *octets;
    buffer_init(octets, octets->limit);
    return STATUS_OK;
}

/* NULL: all are taken. */
static struct waiting_answer **find_place(struct leisure *leisure)
{
    for (size_t i = 0; i < LEISURE_ANSWERS_MAX; i++)
        if (leisure->answers[i] == NULL)
            return &leisure->answers[i];
    return NULL;
}

static struct timeval random_wait(uint32_t within_ms)
{
    uint32_t number;
    evutil_secure_rng_get_bytes(&number, sizeof number);
    uint32_t wait_ms = (uint32_t)(number % ((uint64_t)within_ms + 1));
    return (struct timeval){wait_ms / 1000, wait_ms % 1000 * 1000};
}

static void on_due(evutil_socket_t fd, short what, void *user)
{
    (void)fd, (void)what;
    struct waiting_answer *answer = user;
    udp_socket_send(answer->fd, &answer->datagram);
    answer_free(answer);
}

static void answer_free(struct waiting_answer *answer)
{
    *answer->place = NULL;
    if (answer->due != NULL)
        event_free(answer->due);
    buffer_free(&answer->octets);
    free(answer);
}
