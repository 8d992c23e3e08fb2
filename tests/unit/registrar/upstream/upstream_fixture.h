/* What every test towards a scripted EST server needs: a PKI in a folder, settings, an event loop. */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_UPSTREAM_UPSTREAM_FIXTURE_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_UPSTREAM_UPSTREAM_FIXTURE_H

#include "registrar/settings.h"
#include "registrar/upstream/est_response.h"
#include "registrar/upstream/ra_credentials.h"
#include "scripted_server.h"
#include "test_pki.h"

struct event_base;

struct upstream_fixture {
    char dir[64];
    struct identity ca, other_ca; /* trust names dir/ca.pem */
    struct identity server;       /* localhost */
    struct identity ra;           /* settings name dir/ra.pem and dir/ra.key */
    struct event_base *base;
    char url[64], trust[128], certificate[128], private_key[128];
    struct upstream_settings settings; /* generous timeouts, 4 connections, reuse */
};

/* For cmocka: *state is the fixture. */
int upstream_fixture_set_up(void **state);
int upstream_fixture_tear_down(void **state);

/* A server with the fixture's identity; the settings name it as https://localhost:PORT. */
struct scripted_server *upstream_fixture_serve(struct upstream_fixture *fixture,
                                               enum server_verdict (*answer)(const struct server_request *));

/* Gives what the settings name, and fails the test when it cannot be loaded. */
struct ra_credentials *upstream_fixture_credentials(const struct upstream_settings *settings);

/* The settings name https://HOST:PORT. */
void upstream_fixture_point_at(struct upstream_fixture *fixture, const char *host, uint16_t port);

/* A copy of what a request came to. */
struct outcome {
    struct event_base *base;
    bool answered;
    unsigned sending; /* how often it was announced, and before the answer */
    enum est_result result;
    unsigned http_status;
    uint64_t server;
    char content_type[128], retry_after[64], date[64], cache_control[64], age[64], reason[512];
    struct buffer body;
};

void outcome_init(struct outcome *outcome, struct event_base *base);
void outcome_free(struct outcome *outcome);

/* Callbacks with the outcome as user; the answer ends the loop. */
void outcome_sending(void *user);
void outcome_answered(void *user, const struct est_response *response);

/* Turns the loop until the outcome is there; fails the test after 30 s. */
void outcome_await(struct outcome *outcome);

/* Turns the loop for a while. */
void turn_for(struct event_base *base, unsigned ms);

#endif
