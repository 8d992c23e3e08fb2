#include "registrar/reload.h"

#include "common/mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#define MESSAGES_OCTETS_MAX ((size_t)64 * 1024)

struct reload {
    struct reload_context context;
    pthread_t thread;
    bool has_thread; /* to be joined */
    bool busy;       /* until it is adopted */
    bool again;      /* was asked for meanwhile */
    bool stopped;
    struct letter letter;
    struct reload_result result; /* of the thread, until its letter is opened */
};

static bool start(struct reload *reload);
static void *run(void *user);
static void load(const struct reload_context *context, struct reload_result *result);
static void on_loaded(struct letter *letter);
static void join(struct reload *reload);

struct reload *reload_create(const struct reload_context *context)
{
    struct reload *reload = calloc(1, sizeof *reload);
    if (reload == NULL)
        return NULL;
    reload->context = *context;
    reload->letter.open = on_loaded;
    return reload;
}

void reload_stop(struct reload *reload)
{
    if (reload == NULL)
        return;
    reload->stopped = true;
    join(reload);
}

void reload_free(struct reload *reload)
{
    free(reload);
}

bool reload_begin(struct reload *reload)
{
    if (reload->busy)
        reload->again = true;
    return reload->busy || start(reload);
}

bool reload_adopted(struct reload *reload)
{
    bool again = reload->again;
    reload->busy = reload->again = false;
    return !again || start(reload);
}

/* Signals are the main thread's. */
static bool start(struct reload *reload)
{
    sigset_t all, before;
    if (reload->stopped)
        return true;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errno = pthread_create(&reload->thread, NULL, run, reload);
    reload->has_thread = reload->busy = errno == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return reload->busy;
}

static void *run(void *user)
{
    struct reload *reload = user;
    struct reload_result *result = &reload->result;
    buffer_init(&result->errors, MESSAGES_OCTETS_MAX);
    buffer_init(&result->warnings, MESSAGES_OCTETS_MAX);
    buffer_init(&result->fixed, MESSAGES_OCTETS_MAX);
    load(&reload->context, result);
    mailbox_post(reload->context.mailbox, &reload->letter);
    return NULL;
}

static void load(const struct reload_context *context, struct reload_result *result)
{
    struct settings *wanted = settings_read(context->file, &result->errors, &result->warnings);
    if (wanted == NULL)
        return;
    struct settings merged;
    settings_compare(context->running, wanted, SETTINGS_FIXED, &result->fixed);
    settings_merge(context->running, wanted, &merged);
    result->snapshot = snapshot_load(&merged, &result->errors, &result->warnings);
    result->log_level = merged.log.level;
    settings_free(wanted);
}

static void on_loaded(struct letter *letter)
{
    struct reload *reload = (struct reload *)((char *)letter - offsetof(struct reload, letter));
    struct reload_result *result = &reload->result;
    join(reload);
    if (!reload->stopped)
        reload->context.done(reload->context.user, result);
    snapshot_release(result->snapshot);
    result->snapshot = NULL;
    buffer_free(&result->errors);
    buffer_free(&result->warnings);
    buffer_free(&result->fixed);
}

static void join(struct reload *reload)
{
    if (reload->has_thread)
        pthread_join(reload->thread, NULL);
    reload->has_thread = false;
}
