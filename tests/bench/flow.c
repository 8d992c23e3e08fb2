#include "flow.h"

#include "contexts.h"
#include "enrolment.h"

#include <openssl/bio.h>
#include <openssl/err.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORD_MAX      2048
#define REPEAT_MS       2000  /* a request without an answer, RFC 7252 section 4.8: ACK_TIMEOUT */
#define GIVE_UP_MS      30000 /* on the whole */
#define CLOSE_WITHIN_MS 1000  /* the server's close_notify may be lost: RFC 5246 section 7.2.1 */

enum phase { SHAKING_HANDS, ENROLLING, CLOSING };

struct flow {
    const struct flow_plan *plan;
    SSL *ssl;
    int fd;
    enum phase phase;
    struct enrolment *enrolment;
    uint64_t begin_ms;  /* of the flow */
    uint64_t active_ms; /* when the last thing was sent */
};

static int connect_socket(const struct endpoint *server);
static bool open_ssl(struct flow *flow);
static bool offer_session(struct flow *flow);
static bool keep_session(struct flow *flow);
static enum flow_state shake_hands(struct flow *flow, uint64_t now_ms);
static enum flow_state begin_task(struct flow *flow, uint64_t now_ms);
static enum flow_state enrol(struct flow *flow, uint64_t now_ms);
static void send_record(void *user, struct bytes datagram);
static enum flow_state say_goodbye(struct flow *flow, uint64_t now_ms);
static enum flow_state await_goodbye(struct flow *flow, uint64_t now_ms);
static enum flow_state fail(const char *what);

struct flow *flow_start(const struct flow_plan *plan, uint64_t now_ms)
{
    struct flow *flow = calloc(1, sizeof *flow);
    if (flow == NULL)
        return NULL;
    flow->plan = plan;
    flow->begin_ms = flow->active_ms = now_ms;
    flow->fd = connect_socket(plan->server);
    if (flow->fd < 0 || !open_ssl(flow) || shake_hands(flow, now_ms) == FLOW_FAILED) {
        flow_free(flow);
        return NULL;
    }
    return flow;
}

static int connect_socket(const struct endpoint *server)
{
    int fd = socket(server->address.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, &server->address.any, server->len) == 0)
        return fd;
    fprintf(stderr, "bench: socket: %s\n", strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool open_ssl(struct flow *flow)
{
    struct endpoint server = *flow->plan->server; /* OpenSSL casts const away */
    BIO *bio = BIO_new_dgram(flow->fd, BIO_NOCLOSE);
    flow->ssl = device_open(flow->plan->context);
    if (bio == NULL || flow->ssl == NULL) {
        BIO_free(bio);
        return false;
    }
    BIO_ctrl_set_connected(bio, &server.address.any);
    SSL_set_bio(flow->ssl, bio, bio);
    return offer_session(flow);
}

static bool offer_session(struct flow *flow)
{
    const struct flow_plan *plan = flow->plan;
    if (plan->wants_ticket || plan->resume != NULL)
        SSL_clear_options(flow->ssl, SSL_OP_NO_TICKET);
    return plan->resume == NULL || SSL_set_session(flow->ssl, plan->resume) == 1;
}

int flow_socket(const struct flow *flow)
{
    return flow->fd;
}

void flow_free(struct flow *flow)
{
    if (flow != NULL)
        close(flow_abandon(flow));
}

int flow_abandon(struct flow *flow)
{
    int fd = flow->fd;
    enrolment_free(flow->enrolment);
    SSL_free(flow->ssl);
    free(flow);
    return fd;
}

enum flow_state flow_step(struct flow *flow, uint64_t now_ms)
{
    if (now_ms - flow->begin_ms > GIVE_UP_MS)
        return fail("no answer for 30 s");
    ERR_clear_error();
    switch (flow->phase) {
    case SHAKING_HANDS:
        return shake_hands(flow, now_ms);
    case ENROLLING:
        return enrol(flow, now_ms);
    default:
        return await_goodbye(flow, now_ms);
    }
}

static enum flow_state shake_hands(struct flow *flow, uint64_t now_ms)
{
    if (DTLSv1_handle_timeout(flow->ssl) < 0)
        return fail("handshake: no answer");
    int result = SSL_do_handshake(flow->ssl);
    if (result == 1)
        return begin_task(flow, now_ms);
    return SSL_get_error(flow->ssl, result) == SSL_ERROR_WANT_READ ? FLOW_UNDER_WAY : fail("handshake");
}

static enum flow_state begin_task(struct flow *flow, uint64_t now_ms)
{
    const struct enrolment_events events = {.send = send_record, .user = flow};

    if (!keep_session(flow))
        return fail("the session was not resumed");
    if (flow->plan->task == FLOW_HOLD)
        return FLOW_DONE;
    if (flow->plan->task == FLOW_HANDSHAKE)
        return say_goodbye(flow, now_ms);
    flow->phase = ENROLLING;
    flow->active_ms = now_ms;
    flow->enrolment =
        enrolment_start(X509_get_subject_name(SSL_get_certificate(flow->ssl)), flow->plan->szx, &events);
    return flow->enrolment != NULL ? FLOW_UNDER_WAY : fail("CSR");
}

static bool keep_session(struct flow *flow)
{
    if (flow->plan->resume != NULL && SSL_session_reused(flow->ssl) != 1)
        return false;
    if (flow->plan->session != NULL)
        *flow->plan->session = SSL_get1_session(flow->ssl);
    return true;
}

/* A record that is lost here is lost on the network. */
static void send_record(void *user, struct bytes datagram)
{
    struct flow *flow = user;
    (void)SSL_write(flow->ssl, datagram.at, (int)datagram.len);
}

static enum flow_state enrol(struct flow *flow, uint64_t now_ms)
{
    enum enrolment_verdict verdict = ENROLMENT_WAIT;
    uint8_t record[RECORD_MAX];
    int length = -1;

    while (verdict == ENROLMENT_WAIT && (length = SSL_read(flow->ssl, record, sizeof record)) > 0) {
        flow->active_ms = now_ms;
        verdict = enrolment_receive(flow->enrolment, (struct bytes){record, (size_t)length});
    }
    if (verdict == ENROLMENT_FAILED)
        return FLOW_FAILED;
    if (verdict == ENROLMENT_DONE)
        return say_goodbye(flow, now_ms);
    if (SSL_get_error(flow->ssl, length) != SSL_ERROR_WANT_READ)
        return fail("enrolment: the association ended");
    if (now_ms - flow->active_ms >= REPEAT_MS) {
        flow->active_ms = now_ms;
        enrolment_repeat(flow->enrolment);
    }
    return FLOW_UNDER_WAY;
}

static enum flow_state say_goodbye(struct flow *flow, uint64_t now_ms)
{
    flow->phase = CLOSING;
    flow->active_ms = now_ms;
    return SSL_shutdown(flow->ssl) < 0 ? fail("close") : FLOW_UNDER_WAY;
}

/* When the server's close_notify is here, the server has done all that it has to do for this flow. That
 * OpenSSL finds something else, such as a repeated Finished, is no failure any more. */
static enum flow_state await_goodbye(struct flow *flow, uint64_t now_ms)
{
    bool over = SSL_shutdown(flow->ssl) == 1 || now_ms - flow->active_ms > CLOSE_WITHIN_MS;
    return over ? FLOW_DONE : FLOW_UNDER_WAY;
}

static enum flow_state fail(const char *what)
{
    if (ERR_peek_error() != 0)
        tell_openssl(what);
    else
        fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    return FLOW_FAILED;
}
