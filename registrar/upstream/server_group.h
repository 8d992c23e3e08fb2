/* The EST servers: which one is asked next, how well each of them is, and what the operator hears of it.
 * Shared by all workers; thread safe; knows no clock: callers pass monotonic milliseconds. What is configured
 * never changes; what is learnt of a server is passed on from group to group, so that a reload forgets
 * nothing. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_SERVER_GROUP_H
#define ESTUARY_REGISTRAR_UPSTREAM_SERVER_GROUP_H

#include "common/bytes.h"
#include "registrar/protocol/https_origin.h"
#include "registrar/settings.h"
#include "registrar/upstream/est_response.h"

struct server_group;

/* Copies what it needs: servers, redirect_origins, selection, the times. Knows of its servers what the group
 * before does (NULL: there is none), and learns with it from then on. Gives; on failure NULL, and errors has
 * a line for each thing wrong. */
struct server_group *server_group_load(const struct upstream_settings *settings, struct server_group *before,
                                       struct buffer *errors);
struct server_group *server_group_hold(struct server_group *group); /* gives one more reference */
void server_group_release(struct server_group *group);              /* NULL is ignored */

size_t server_group_count(const struct server_group *group); /* 1 to UPSTREAM_SERVERS_MAX */

/* "https://host:port", borrowed for as long as the group is held. */
const char *server_group_url(const struct server_group *group, size_t server);

/* Names the server in every group and process; never 0 (https_origin_id). */
uint64_t server_group_id(const struct server_group *group, size_t server);
bool server_group_find(const struct server_group *group, uint64_t id, size_t *server);

/* Whether it has all servers of the other one. */
bool server_group_covers(const struct server_group *group, const struct server_group *other);

/* RA-9: whether a redirect may lead there from another origin: to a server, or to a redirect origin. */
bool server_group_may_redirect_to(const struct server_group *group, const struct https_origin *origin);

/* The next to be asked for a profile (the path before the operation), of those whose bit is not set in tried:
 * the first one that is well, or with round-robin the next. False: none is left. */
bool server_group_pick(struct server_group *group, const char *profile, uint32_t tried, size_t *server);
bool server_group_is_well(struct server_group *group, size_t server, const char *profile);

/* Why nobody is asked: what the last failure was of the server that would have been the first (RA-2: 5.02
 * where it is not trusted), EST_NOT_SENT or EST_UNTRUSTED. */
enum est_result server_group_refusal(struct server_group *group);

/* How a request or a probe ended. */
struct server_report {
    const char *operation; /* for the log */
    const char *profile;   /* that was asked for */
    enum est_result result;
    unsigned http_status;
    const char *reason; /* of a failure; NULL: none */
    const char *probed; /* of a probe that of server_probe; NULL: it is none */
};

enum server_news {
    SERVER_NO_NEWS,
    SERVER_FAILS,           /* its circuit, or that of a profile there, opened: it is not asked any more */
    SERVER_IS_WELL,         /* and closed again */
    SERVER_IS_WELL_IN_PART, /* its circuit closed, and that of the profile that the probe asked for opened */
};

/* What is learnt from the traffic. Logs changes, and failures at most once in ten seconds a server. */
enum server_news server_group_report(struct server_group *group, size_t server,
                                     const struct server_report *report, uint64_t now_ms);

/* A request for which there was no server or no connection, or a redirect that is not followed: logged as
 * seldom. */
void server_group_report_refusal(struct server_group *group, const struct server_report *report,
                                 uint64_t now_ms);

/* What is to be probed. */
struct server_probe {
    size_t server;
    const char *profile; /* borrowed from the group; "": the server as a whole */
};

/* Probes: of servers and profiles whose circuit is open, when the back-off is over, and of servers that have
 * not been heard of for probe_interval_ms where there are several. True: the caller makes that probe, and
 * says how it ended exactly once. One at a time. */
bool server_group_claim_probe(struct server_group *group, uint64_t now_ms, struct server_probe *probe);
enum server_news server_group_report_probe(struct server_group *group, size_t server,
                                           const struct server_report *report, uint64_t now_ms);

/* The caller could not find out: another one will try after the first back-off. */
void server_group_return_probe(struct server_group *group, const struct server_probe *probe, uint64_t now_ms);

/* When the next probe is due; MONOTONIC_NEVER: none, or one is under way. */
uint64_t server_group_probe_due_ms(struct server_group *group, uint64_t now_ms);

/* Whatever fails is to be probed at once: what was wrong may be mended. */
void server_group_probe_now(struct server_group *group);

/* For whoever looks on. */
struct server_view {
    const char *url; /* as server_group_url */
    bool well;
    size_t failing_profiles;     /* that are not asked for, while it is well */
    uint64_t requests, failures; /* probes are neither */
    uint64_t openings;           /* of circuits */
};
void server_group_view(struct server_group *group, size_t server, struct server_view *view);

const char *est_result_text(enum est_result result);

#endif
