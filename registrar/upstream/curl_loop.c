#include "registrar/upstream/curl_loop.h"

#include <event2/event.h>

#include <stdlib.h>

struct curl_loop {
    struct event_base *base; /* borrowed */
    CURLM *multi;
    struct event *timer;
    curl_loop_done *done;
    void *user;
};

static bool set_up(struct curl_loop *loop);
static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *socket);
static void on_socket(evutil_socket_t fd, short what, void *user);
static int set_timer(CURLM *multi, long timeout_ms, void *user);
static void on_timer(evutil_socket_t fd, short what, void *user);
static void act(struct curl_loop *loop, curl_socket_t fd, int what);

struct curl_loop *curl_loop_create(struct event_base *base, curl_loop_done *done, void *user)
{
    struct curl_loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL)
        return NULL;
    loop->base = base;
    loop->done = done;
    loop->user = user;
    loop->multi = curl_multi_init();
    loop->timer = evtimer_new(base, on_timer, loop);
    if (loop->multi == NULL || loop->timer == NULL || !set_up(loop)) {
        curl_loop_free(loop);
        return NULL;
    }
    return loop;
}

static bool set_up(struct curl_loop *loop)
{
    int failed = 0;
    failed |= curl_multi_setopt(loop->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
    failed |= curl_multi_setopt(loop->multi, CURLMOPT_SOCKETDATA, loop);
    failed |= curl_multi_setopt(loop->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    failed |= curl_multi_setopt(loop->multi, CURLMOPT_TIMERDATA, loop);
    failed |= curl_multi_setopt(loop->multi, CURLMOPT_MAXCONNECTS, 1L);
    return !failed;
}

void curl_loop_free(struct curl_loop *loop)
{
    if (loop == NULL)
        return;
    curl_multi_cleanup(loop->multi); /* may still call set_timer */
    if (loop->timer != NULL)
        event_free(loop->timer);
    free(loop);
}

bool curl_loop_start(struct curl_loop *loop, CURL *easy)
{
    return curl_multi_add_handle(loop->multi, easy) == CURLM_OK;
}

void curl_loop_stop(struct curl_loop *loop, CURL *easy)
{
    curl_multi_remove_handle(loop->multi, easy);
}

/* libcurl wants to know when fd becomes readable or writable, or no longer so. */
static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *socket)
{
    struct curl_loop *loop = user;
    struct event *event = socket;
    (void)easy;

    if (event != NULL)
        event_free(event);
    event = NULL;
    if (what != CURL_POLL_REMOVE) {
        short interest = EV_PERSIST;
        interest |= (what & CURL_POLL_IN) ? EV_READ : 0;
        interest |= (what & CURL_POLL_OUT) ? EV_WRITE : 0;
        event = event_new(loop->base, fd, interest, on_socket, loop);
        if (event == NULL || event_add(event, NULL) != 0)
            goto fail;
    }
    if (curl_multi_assign(loop->multi, fd, event) == CURLM_OK || what == CURL_POLL_REMOVE)
        return 0;
fail:
    if (event != NULL)
        event_free(event);
    curl_multi_assign(loop->multi, fd, NULL);
    return -1; /* the transfer fails */
}

static void on_socket(evutil_socket_t fd, short what, void *user)
{
    int action = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
    act(user, fd, action);
}

/* libcurl wants to be called again in timeout_ms; with -1 it does not. */
static int set_timer(CURLM *multi, long timeout_ms, void *user)
{
    struct curl_loop *loop = user;
    (void)multi;
    if (timeout_ms < 0)
        return event_del(loop->timer);
    struct timeval timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    return event_add(loop->timer, &timeout);
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
    (void)fd, (void)what;
    act(user, CURL_SOCKET_TIMEOUT, 0);
}

static void act(struct curl_loop *loop, curl_socket_t fd, int what)
{
    int running, left;
    curl_multi_socket_action(loop->multi, fd, what, &running);
    const CURLMsg *message = curl_multi_info_read(loop->multi, &left);
    if (message != NULL && message->msg == CURLMSG_DONE)
        loop->done(loop->user, message->data.result); /* may free the loop */
}
