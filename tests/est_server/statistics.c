#include "statistics.h"

#include "memory.h"

#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    ISSUED_LIMIT = 65536, /* certificates described; all are counted */
    LABELS_LIMIT = 16384, /* labels counted each for itself */
};

enum counter {
    ACCEPTED,
    HANDSHAKES,
    FAILED_HANDSHAKES,
    EST,
    OPEN,
    MAX_OPEN,
    OPEN_EST,
    MAX_OPEN_EST,
    COUNTERS
};

struct statistics {
    unsigned log_entries;
    FILE *log;
    json_t *requests; /* label -> operation -> outcome -> count */
    json_t *last;     /* requests */
    json_t *issued;
    json_int_t issued_count;
    json_int_t connections[COUNTERS];
};

static void go_up(json_int_t *number, json_int_t *highest);
static json_t *report_connections(const struct statistics *statistics);
static void count(struct statistics *statistics, const char *label, const char *operation,
                  const char *outcome);
static json_t *child(json_t *object, const char *key);
static void write_line(FILE *log, const char *what, const json_t *description);
static json_t *only(const json_t *descriptions, const char *label);
static bool is_printable(const char *text);

struct statistics *statistics_create(unsigned log_entries, FILE *log)
{
    struct statistics *statistics = memory_allocate(sizeof(*statistics));
    statistics->log_entries = log_entries;
    statistics->log = log;
    statistics_reset(statistics);
    return statistics;
}

void statistics_free(struct statistics *statistics)
{
    if (statistics == NULL)
        return;
    json_decref(statistics->requests);
    json_decref(statistics->last);
    json_decref(statistics->issued);
    free(statistics);
}

void statistics_reset(struct statistics *statistics)
{
    json_int_t *connections = statistics->connections;
    json_decref(statistics->requests);
    json_decref(statistics->last);
    json_decref(statistics->issued);
    statistics->requests = json_object();
    statistics->last = json_array();
    statistics->issued = json_array();
    statistics->issued_count = 0;
    connections[ACCEPTED] = connections[HANDSHAKES] = connections[FAILED_HANDSHAKES] = connections[EST] = 0;
    connections[MAX_OPEN] = connections[OPEN];
    connections[MAX_OPEN_EST] = connections[OPEN_EST];
}

void statistics_connection_opened(struct statistics *statistics)
{
    statistics->connections[ACCEPTED]++;
    go_up(&statistics->connections[OPEN], &statistics->connections[MAX_OPEN]);
}

void statistics_handshake_done(struct statistics *statistics)
{
    statistics->connections[HANDSHAKES]++;
}

void statistics_connection_used(struct statistics *statistics)
{
    statistics->connections[EST]++;
    go_up(&statistics->connections[OPEN_EST], &statistics->connections[MAX_OPEN_EST]);
}

void statistics_connection_closed(struct statistics *statistics, bool established, bool used)
{
    statistics->connections[OPEN]--;
    statistics->connections[OPEN_EST] -= used;
    statistics->connections[FAILED_HANDSHAKES] += !established;
}

static void go_up(json_int_t *number, json_int_t *highest)
{
    if (++*number > *highest)
        *highest = *number;
}

void statistics_add_request(struct statistics *statistics, json_t *request)
{
    count(statistics, json_string_value(json_object_get(request, "label")),
          json_string_value(json_object_get(request, "operation")),
          json_string_value(json_object_get(request, "outcome")));
    write_line(statistics->log, "request", request);
    json_array_append_new(statistics->last, request);
    if (json_array_size(statistics->last) > statistics->log_entries)
        json_array_remove(statistics->last, 0);
}

static void count(struct statistics *statistics, const char *label, const char *operation,
                  const char *outcome)
{
    bool is_new = json_object_get(statistics->requests, label) == NULL;
    if (is_new && json_object_size(statistics->requests) >= LABELS_LIMIT)
        label = "(others)";
    json_t *outcomes = child(child(statistics->requests, label), operation);
    json_int_t before = json_integer_value(json_object_get(outcomes, outcome));
    json_object_set_new(outcomes, outcome, json_integer(before + 1));
}

/* The object under that key, which is created if need be; borrows. */
static json_t *child(json_t *object, const char *key)
{
    if (json_object_get(object, key) == NULL)
        json_object_set_new(object, key, json_object());
    return json_object_get(object, key);
}

/* time what key=value ...; what is null is left out. */
static void write_line(FILE *log, const char *what, const json_t *description)
{
    json_t *object = (json_t *)(uintptr_t)description; /* jansson's iterators know no const */
    const char *key;
    json_t *value;
    char when[32];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &utc));
    fprintf(log, "%s.%03ldZ %s", when, now.tv_nsec / 1000000, what);
    for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
        key = json_object_iter_key(at);
        value = json_object_iter_value(at);
        if (json_is_null(value))
            continue;
        fprintf(log, " %s=", key);
        json_dumpf(value, log, JSON_ENCODE_ANY | JSON_COMPACT);
    }
    fputc('\n', log);
}

void statistics_add_issued(struct statistics *statistics, json_t *certificate)
{
    statistics->issued_count++;
    write_line(statistics->log, "issued", certificate);
    if (json_array_size(statistics->issued) < ISSUED_LIMIT)
        json_array_append_new(statistics->issued, certificate);
    else
        json_decref(certificate);
}

unsigned statistics_uses(const struct statistics *statistics, const char *label)
{
    const char *operation, *outcome;
    json_t *outcomes, *number;
    json_int_t uses = 0;
    json_object_foreach(json_object_get(statistics->requests, label), operation, outcomes)
        json_object_foreach(outcomes, outcome, number) uses += json_integer_value(number);
    return (unsigned)uses;
}

json_t *statistics_report(const struct statistics *statistics, const char *label)
{
    json_t *requests = label == NULL ? json_deep_copy(statistics->requests) : json_object();
    json_t *issued = only(statistics->issued, label);
    if (label != NULL && json_object_get(statistics->requests, label) != NULL)
        json_object_set(requests, label, json_object_get(statistics->requests, label));
    json_t *report = json_object();
    json_object_set_new(report, "connections", report_connections(statistics));
    json_object_set_new(report, "requests", requests);
    json_object_set_new(
        report, "issued_count",
        json_integer(label == NULL ? statistics->issued_count : (json_int_t)json_array_size(issued)));
    json_object_set_new(report, "issued", issued);
    json_object_set_new(report, "log", only(statistics->last, label));
    return report;
}

static json_t *report_connections(const struct statistics *statistics)
{
    static const char *const names[] = {
        [ACCEPTED] = "accepted",
        [HANDSHAKES] = "handshakes",
        [FAILED_HANDSHAKES] = "failed_handshakes",
        [EST] = "est",
        [OPEN] = "open",
        [MAX_OPEN] = "max_open",
        [OPEN_EST] = "open_est",
        [MAX_OPEN_EST] = "max_open_est",
    };
    json_t *report = json_object();
    for (size_t i = 0; i < COUNTERS; i++)
        json_object_set_new(report, names[i], json_integer(statistics->connections[i]));
    return report;
}

/* Gives the descriptions whose "label" is label, or all. */
static json_t *only(const json_t *descriptions, const char *label)
{
    json_t *result = json_array();
    size_t i;
    json_t *description;
    json_array_foreach(descriptions, i, description)
    {
        const char *its = json_string_value(json_object_get(description, "label"));
        if (label == NULL || strcmp(its, label) == 0)
            json_array_append(result, description);
    }
    return result;
}

json_t *statistics_text(const char *text)
{
    if (text == NULL)
        return json_null();
    json_t *string = json_string(text);
    if (is_printable(text) && string != NULL)
        return string;
    json_decref(string);
    struct evbuffer *printable = evbuffer_new();
    for (; *text != '\0'; text++) {
        char one[] = {*text, '\0'};
        evbuffer_add_printf(printable, is_printable(one) ? "%c" : "\\x%02x", (unsigned char)*text);
    }
    string = json_stringn((const char *)evbuffer_pullup(printable, -1), evbuffer_get_length(printable));
    evbuffer_free(printable);
    return string != NULL ? string : json_string("");
}

static bool is_printable(const char *text)
{
    while (*text >= ' ' && *text <= '~')
        text++;
    return *text == '\0';
}
