/* bench-load: many devices at once, as cheap as they can be made, since they share the machine with what is
 * measured. The README beside this file explains the tasks; ./run uses them. */
#include "common/coap_message.h"
#include "common/monotonic.h"
#include "contexts.h"
#include "cpu_time.h"
#include "flood.h"
#include "flow.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#define CONCURRENT_MAX 1024
#define TICK_MS        100
#define SPARE_FILES    64

static const char usage[] =
    "usage: bench-load handshakes|resumptions|enrolments|hold|flood --server ADDRESS:PORT\n"
    "                  --certificate FILE --key FILE\n"
    "                  [--count N] [--concurrent N] [--block-size OCTETS] [--ticket]\n";

enum task { TASK_HANDSHAKES, TASK_RESUMPTIONS, TASK_ENROLMENTS, TASK_HOLD, TASK_FLOOD, TASKS };

struct options {
    enum task task;
    struct endpoint server;
    const char *certificate, *key;
    unsigned count, concurrent;
    unsigned block_size;
    bool ticket;
};

struct load {
    struct flow_plan plan;
    unsigned count, concurrent;
    struct flow *flows[CONCURRENT_MAX];
    unsigned started, done, failed;
    uint64_t ticked_ms;
    int epoll;
};

static bool read_options(int count, char *arguments[], struct options *options);
static bool read_task(const char *name, enum task *task);
static bool read_option(int letter, const char *value, struct options *options);
static bool raise_file_limit(const struct options *options);
static int run(const struct options *options, SSL_CTX *context);
static int flood(const struct options *options, SSL_CTX *context);
static bool obtain_session(struct load *load);
static bool load_run(struct load *load);
static void fill(struct load *load);
static void start_flow(struct load *load, unsigned slot);
static void step(struct load *load, unsigned slot);
static void finish(struct load *load, unsigned slot);
static void step_all(struct load *load);
static void report(const struct load *load, double begin_s);
static void wait_for_end_of_input(void);

int main(int count, char *arguments[])
{
    struct options options = {.count = 1, .concurrent = 16, .block_size = 128};

    if (!read_options(count, arguments, &options)) {
        fputs(usage, stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    SSL_CTX *context = device_context_create(options.certificate, options.key);
    if (context == NULL || !raise_file_limit(&options))
        return 1;
    int code = options.task == TASK_FLOOD ? flood(&options, context) : run(&options, context);
    SSL_CTX_free(context);
    return code;
}

static bool read_options(int count, char *arguments[], struct options *options)
{
    static const struct option known[] = {
        {"server", required_argument, NULL, 's'},     {"certificate", required_argument, NULL, 'c'},
        {"key", required_argument, NULL, 'k'},        {"count", required_argument, NULL, 'n'},
        {"concurrent", required_argument, NULL, 'p'}, {"block-size", required_argument, NULL, 'b'},
        {"ticket", no_argument, NULL, 't'},           {NULL, 0, NULL, 0}};
    int letter;

    if (count < 2 || !read_task(arguments[1], &options->task))
        return false;
    while ((letter = getopt_long(count - 1, arguments + 1, "", known, NULL)) != -1)
        if (!read_option(letter, optarg, options))
            return false;
    return optind == count - 1 && options->server.len > 0 && options->certificate != NULL &&
           options->key != NULL;
}

static bool read_task(const char *name, enum task *task)
{
    static const char *const names[TASKS] = {[TASK_HANDSHAKES] = "handshakes",
                                             [TASK_RESUMPTIONS] = "resumptions",
                                             [TASK_ENROLMENTS] = "enrolments",
                                             [TASK_HOLD] = "hold",
                                             [TASK_FLOOD] = "flood"};
    for (unsigned i = 0; i < TASKS; i++) {
        *task = (enum task)i;
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

static bool read_option(int letter, const char *value, struct options *options)
{
    unsigned number = (unsigned)strtoul(value != NULL ? value : "", NULL, 10);

    switch (letter) {
    case 's':
        return endpoint_parse(value, &options->server) == STATUS_OK;
    case 'c':
        options->certificate = value;
        return true;
    case 'k':
        options->key = value;
        return true;
    case 'n':
        options->count = number;
        return number > 0;
    case 'p':
        options->concurrent = number;
        return number > 0 && number <= CONCURRENT_MAX;
    case 'b':
        options->block_size = number;
        return number >= 16 && number <= 1024 && (number & (number - 1)) == 0;
    case 't':
        options->ticket = true;
        return true;
    default:
        return false;
    }
}

/* Each association has a port, and so a socket, of its own. */
static bool raise_file_limit(const struct options *options)
{
    const rlim_t files = options->task == TASK_HOLD ? options->count : options->concurrent;
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= files + SPARE_FILES)
        return true;
    limit.rlim_cur = files + SPARE_FILES;
    if (limit.rlim_max < limit.rlim_cur)
        limit.rlim_max = limit.rlim_cur;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
        return true;
    fprintf(stderr, "bench: %lu open files are not allowed (%s): raise ulimit -n\n", (unsigned long)files,
            strerror(errno));
    return false;
}

static int flood(const struct options *options, SSL_CTX *context)
{
    double begin_s = wall_s();
    struct flood_result result;

    bool made = flood_run(&options->server, context, options->count, &result);
    printf("{\"sent\": %u, \"answered\": %u, \"other\": %u, \"seconds\": %.6f, \"cpu_s\": %.6f}\n",
           result.sent, result.answered, result.other, wall_s() - begin_s, process_cpu_s());
    return made ? 0 : 1;
}

static int run(const struct options *options, SSL_CTX *context)
{
    static const enum flow_task flow_tasks[] = {[TASK_HANDSHAKES] = FLOW_HANDSHAKE,
                                                [TASK_RESUMPTIONS] = FLOW_HANDSHAKE,
                                                [TASK_ENROLMENTS] = FLOW_ENROL,
                                                [TASK_HOLD] = FLOW_HOLD};
    struct load load = {
        .plan = {.task = flow_tasks[options->task],
                 .context = context,
                 .server = &options->server,
                 .wants_ticket = options->ticket},
        .count = options->count,
        .concurrent = options->concurrent,
        .epoll = epoll_create1(EPOLL_CLOEXEC),
    };
    while (coap_block_octets(load.plan.szx) < options->block_size)
        load.plan.szx++;

    double begin_s = wall_s();
    bool good =
        load.epoll >= 0 && (options->task != TASK_RESUMPTIONS || obtain_session(&load)) && load_run(&load);
    SSL_SESSION_free(load.plan.resume);
    report(&load, begin_s);
    if (options->task == TASK_HOLD)
        wait_for_end_of_input();
    return good ? 0 : 1;
}

/* By a full handshake more, which is not counted. */
static bool obtain_session(struct load *load)
{
    struct load first = *load;
    SSL_SESSION *session = NULL;
    first.count = first.concurrent = 1;
    first.plan.wants_ticket = true;
    first.plan.session = &session;
    bool good = load_run(&first) && SSL_SESSION_has_ticket(session);
    load->plan.resume = session;
    return good;
}

static bool load_run(struct load *load)
{
    struct epoll_event events[CONCURRENT_MAX];

    while (load->done + load->failed < load->count) {
        fill(load);
        int ready = epoll_wait(load->epoll, events, CONCURRENT_MAX, TICK_MS);
        for (int i = 0; i < ready; i++)
            step(load, events[i].data.u32);
        if (monotonic_ms() - load->ticked_ms >= TICK_MS)
            step_all(load);
    }
    return load->failed == 0;
}

static void fill(struct load *load)
{
    for (unsigned slot = 0; slot < load->concurrent && load->started < load->count; slot++)
        if (load->flows[slot] == NULL)
            start_flow(load, slot);
}

static void start_flow(struct load *load, unsigned slot)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = slot};
    struct flow *flow = flow_start(&load->plan, monotonic_ms());

    load->started++;
    if (flow == NULL || epoll_ctl(load->epoll, EPOLL_CTL_ADD, flow_socket(flow), &event) != 0) {
        flow_free(flow);
        load->failed++;
        return;
    }
    load->flows[slot] = flow;
}

/* The slot may have a new flow since its event was reported; to step it too early does no harm. */
static void step(struct load *load, unsigned slot)
{
    if (load->flows[slot] == NULL)
        return;
    switch (flow_step(load->flows[slot], monotonic_ms())) {
    case FLOW_UNDER_WAY:
        return;
    case FLOW_DONE:
        load->done++;
        break;
    case FLOW_FAILED:
        load->failed++;
        break;
    }
    finish(load, slot);
}

/* A held port stays bound until this process ends, lest another association of this machine gets it. */
static void finish(struct load *load, unsigned slot)
{
    struct flow *flow = load->flows[slot];

    load->flows[slot] = NULL;
    epoll_ctl(load->epoll, EPOLL_CTL_DEL, flow_socket(flow), NULL);
    if (load->plan.task == FLOW_HOLD)
        (void)flow_abandon(flow);
    else
        flow_free(flow);
}

/* Timers. */
static void step_all(struct load *load)
{
    load->ticked_ms = monotonic_ms();
    for (unsigned slot = 0; slot < load->concurrent; slot++)
        step(load, slot);
}

static void report(const struct load *load, double begin_s)
{
    printf("{\"done\": %u, \"failed\": %u, \"seconds\": %.6f, \"cpu_s\": %.6f}\n", load->done, load->failed,
           wall_s() - begin_s, process_cpu_s());
    fflush(stdout);
}

static void wait_for_end_of_input(void)
{
    char octets[64];
    while (read(STDIN_FILENO, octets, sizeof octets) > 0)
        continue;
}
