#include "registrar/reload.h"

#include "common/container_of.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "common/service.h"
#include "common/thread.h"
#include "registrar/file_marks.h"
#include "registrar/secret_memory.h"

#include <event2/event.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGES_OCTETS_MAX ((size_t)64 * 1024)

/* What is asked for. */
struct order {
    bool configuration; /* to be read anew, and all parts with it */
    unsigned parts;     /* these */
};

/* What the thread works with; the main thread leaves it alone meanwhile. */
struct job {
    struct order order;
    struct settings *wanted; /* what the file says now; NULL: it was not read, or is wrong */
    struct settings merged;  /* with wanted */
    struct snapshot *snapshot;
    struct file_marks marks; /* before anything was read */
    struct buffer errors, warnings;
    struct buffer fixed; /* paths of keys that have changed, but only for the next start: lines */
};

struct reload {
    struct reload_context context;
    struct snapshot *snapshot;
    struct settings *wanted; /* what the file said last; NULL: at the start */
    struct settings merged;  /* what is in use: the reloadable keys of wanted, and others of the start */
    struct file_marks loaded, found; /* of the watched files: when they were last loaded, or looked at */
    struct event *watch, *retry;
    unsigned missed; /* parts that were asked for, and could not be loaded yet */

    struct order next;
    bool busy; /* until it is adopted */
    bool stopped;
    bool has_thread; /* to be joined */
    pthread_t thread;
    struct letter letter;
    struct job job;
};

static bool build_watch(struct reload *reload);
static void on_retry(evutil_socket_t fd, short what, void *user);
static void on_watch(evutil_socket_t fd, short what, void *user);
static void ask(struct reload *reload, struct order order);
static void start(struct reload *reload);
static bool start_thread(struct reload *reload);
static void *run(void *user);
static void load(const struct reload *reload, struct job *job);
static bool read_configuration(const struct reload *reload, struct job *job);
static void on_loaded(struct letter *letter);
static void use(struct reload *reload, struct job *job);
static void tell_of_fixed(const struct reload *reload, const struct buffer *paths);
static void tell_of_unwiped(const struct reload *reload, const struct job *job);
static void refuse(struct reload *reload);
static void miss(struct reload *reload);
static void join(struct reload *reload);

struct reload *reload_create(const struct reload_context *context)
{
    struct reload *reload = calloc(1, sizeof *reload);
    if (reload == NULL)
        return NULL;
    reload->context = *context;
    reload->snapshot = snapshot_hold(context->snapshot);
    reload->merged = *context->settings;
    reload->letter.open = on_loaded;
    if (build_watch(reload))
        return reload;
    reload_free(reload);
    return NULL;
}

/* What changes while the registrar starts is loaded once more. */
static bool build_watch(struct reload *reload)
{
    const uint32_t interval_ms = reload->context.settings->watch_interval_ms;
    const struct timeval interval = {interval_ms / 1000, interval_ms % 1000 * 1000};
    reload->found = reload->loaded = reload->snapshot->marks;
    reload->watch = event_new(reload->context.base, -1, EV_PERSIST, on_watch, reload);
    reload->retry = evtimer_new(reload->context.base, on_retry, reload);
    return reload->watch != NULL && reload->retry != NULL &&
           (interval_ms == 0 || event_add(reload->watch, &interval) == 0);
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
    if (reload == NULL)
        return;
    if (reload->watch != NULL)
        event_free(reload->watch);
    if (reload->retry != NULL)
        event_free(reload->retry);
    snapshot_release(reload->snapshot);
    settings_free(reload->wanted);
    free(reload);
}

const struct settings *reload_settings(const struct reload *reload)
{
    return &reload->merged;
}

const struct snapshot *reload_snapshot(const struct reload *reload)
{
    return reload->snapshot;
}

void reload_begin(struct reload *reload)
{
    ask(reload, (struct order){.configuration = true});
}

void reload_begin_parts(struct reload *reload, unsigned parts)
{
    ask(reload, (struct order){.parts = parts});
}

static void on_retry(evutil_socket_t fd, short what, void *user)
{
    struct reload *reload = user;
    (void)fd, (void)what;
    ask(reload, (struct order){.parts = reload->missed});
}

/* A file that looks the same twice in a row is taken for written. */
static void on_watch(evutil_socket_t fd, short what, void *user)
{
    struct reload *reload = user;
    struct file_marks now;
    (void)fd, (void)what;
    if (reload->busy)
        return;
    file_marks_take(&reload->merged, &now);
    bool settled = file_marks_equal(&now, &reload->found);
    reload->found = now;
    if (!settled || file_marks_equal(&now, &reload->loaded))
        return;
    log_info("reload", "a file of dtls.crls or access.file has changed");
    reload_begin_parts(reload, SNAPSHOT_WATCHED);
}

static void ask(struct reload *reload, struct order order)
{
    reload->next.configuration |= order.configuration;
    reload->next.parts |= order.parts;
    if (!reload->busy)
        start(reload);
}

static void start(struct reload *reload)
{
    struct job *job = &reload->job;
    if (reload->stopped || !(reload->next.configuration || reload->next.parts != 0))
        return;
    *job = (struct job){.order = reload->next};
    reload->next = (struct order){false, 0};
    buffer_init(&job->errors, MESSAGES_OCTETS_MAX);
    buffer_init(&job->warnings, MESSAGES_OCTETS_MAX);
    buffer_init(&job->fixed, MESSAGES_OCTETS_MAX);
    if (start_thread(reload))
        return;
    log_error("reload", "reload failed: no thread could be started: %s; nothing has changed",
              strerror(errno));
    miss(reload);
}

static bool start_thread(struct reload *reload)
{
    reload->has_thread = reload->busy = thread_start(&reload->thread, run, reload) == STATUS_OK;
    return reload->busy;
}

static void *run(void *user)
{
    struct reload *reload = user;
    load(reload, &reload->job);
    mailbox_post(reload->context.mailbox, &reload->letter);
    return NULL;
}

static void load(const struct reload *reload, struct job *job)
{
    const struct snapshot_source source = {
        .file = reload->context.file,
        .settings = &job->merged,
        .errors = &job->errors,
        .warnings = &job->warnings,
    };
    job->merged = reload->merged;
    if (job->order.configuration && !read_configuration(reload, job))
        return;
    file_marks_take(&job->merged, &job->marks);
    job->snapshot =
        snapshot_load(&source, job->order.configuration ? SNAPSHOT_ALL : job->order.parts, reload->snapshot);
}

static bool read_configuration(const struct reload *reload, struct job *job)
{
    const struct reload_context *context = &reload->context;
    job->wanted = settings_read(context->file, &job->errors, &job->warnings);
    if (job->wanted == NULL)
        return false;
    settings_compare(context->settings, job->wanted, SETTINGS_FIXED, &job->fixed);
    settings_merge(context->settings, job->wanted, &job->merged);
    return true;
}

static void on_loaded(struct letter *letter)
{
    struct reload *reload = CONTAINER_OF(letter, struct reload, letter);
    struct job *job = &reload->job;
    bool loaded = job->snapshot != NULL;
    join(reload);
    if (!reload->stopped) {
        service_log_lines(LOG_LEVEL_WARNING, "reload", &job->warnings);
        service_log_lines(LOG_LEVEL_ERROR, "reload", &job->errors);
        if (loaded)
            use(reload, job);
    }
    snapshot_release(job->snapshot);
    settings_free(job->wanted);
    buffer_free(&job->errors);
    buffer_free(&job->warnings);
    buffer_free(&job->fixed);
    if (!loaded)
        refuse(reload);
}

/* Swaps what is in use for what was loaded. */
static void use(struct reload *reload, struct job *job)
{
    struct snapshot *before = reload->snapshot;
    tell_of_fixed(reload, &job->fixed);
    tell_of_unwiped(reload, job);
    reload->snapshot = job->snapshot;
    job->snapshot = before;
    reload->merged = job->merged;
    reload->loaded = reload->snapshot->marks;
    reload->missed = job->order.configuration ? 0 : reload->missed & ~job->order.parts;
    if (job->order.configuration) {
        struct settings *old = reload->wanted;
        reload->wanted = job->wanted;
        job->wanted = old;
        log_configure(reload->merged.log.level, reload->merged.log.format, stderr);
    }
    reload->context.offer(reload->context.user, before, reload->snapshot);
}

/* Whether libraries wipe what they free is settled at the start, for it costs. */
static void tell_of_unwiped(const struct reload *reload, const struct job *job)
{
    if (job->merged.upstream.password_file[0] != '\0' && !secret_memory_is_started())
        log_warning(
            "reload",
            "%s: upstream.password_file was not there at the start: libraries do not wipe their copies "
            "of the password until a restart",
            reload->context.file);
}

static void tell_of_fixed(const struct reload *reload, const struct buffer *paths)
{
    struct bytes rest = buffer_view(paths), path;
    while (bytes_take_line(&rest, &path))
        log_warning("reload", "%s: %.*s has changed, which needs a restart; its old value stays in use",
                    reload->context.file, (int)path.len, (const char *)path.at);
}

/* What was watched and could not be loaded is tried again when it changes again. */
static void refuse(struct reload *reload)
{
    const struct order *order = &reload->job.order;
    if (!order->configuration && order->parts == SNAPSHOT_WATCHED)
        reload->loaded = reload->job.marks;
    miss(reload);
    if (!reload->stopped)
        log_error("reload", "reload refused: nothing has changed; mend what is named above");
    reload->busy = false;
    start(reload);
}

/* Nobody is there to ask again for what the registrar has renewed or learnt by itself. */
static void miss(struct reload *reload)
{
    const uint32_t retry_ms = reload->context.retry_ms;
    const struct timeval again = {retry_ms / 1000, retry_ms % 1000 * 1000};
    reload->missed |= reload->job.order.parts & ~(unsigned)SNAPSHOT_WATCHED;
    if (reload->missed != 0 && !reload->stopped)
        evtimer_add(reload->retry, &again);
}

void reload_adopted(struct reload *reload)
{
    if (reload->job.order.configuration)
        log_info("reload", "reloaded: %s is in use", reload->context.file);
    else
        log_info("reload", "reloaded: what has changed is in use");
    reload->busy = false;
    start(reload);
}

static void join(struct reload *reload)
{
    if (reload->has_thread)
        pthread_join(reload->thread, NULL);
    reload->has_thread = false;
}
