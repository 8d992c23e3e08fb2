#include "registrar/renewal/trust_watch.h"

#include "common/log.h"
#include "registrar/exchange/est_outcome.h"
#include "registrar/protocol/pem_file.h"
#include "registrar/renewal/atomic_file.h"
#include "registrar/renewal/root_rollover.h"
#include "registrar/upstream/server_trust.h"

#include <event2/event.h>
#include <openssl/pem.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ASK_EVERY_S        (24 * 3600)
#define ASK_AGAIN_S        3600
#define LINES_OCTETS_MAX   4096
#define CONTENT_OCTETS_MAX (1024 * 1024)
#define NAME_OCTETS_MAX    256

struct trust_watch {
    struct trust_watch_context context;
    struct est_client *client;
    struct event *timer;
};

static void ask_in(struct trust_watch *watch, long seconds);
static void on_timer(evutil_socket_t fd, short what, void *user);
static void on_done(void *user, const struct est_response *response);
static bool learn(struct trust_watch *watch, struct bytes der);
static bool keep(struct trust_watch *watch, const struct certs_only *certs, const struct server_trust *trust);
static bool write_roots(const char *file, const STACK_OF(X509) * found);
static bool copy_learnt(const char *file, BIO *out);
static void tell(const char *file, X509 *root);

struct trust_watch *trust_watch_create(const struct trust_watch_context *context, struct buffer *errors)
{
    struct trust_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL)
        return NULL;
    watch->context = *context;
    watch->timer = evtimer_new(context->services.base, on_timer, watch);
    watch->client = est_client_create(&context->settings->upstream, &context->services, errors);
    if (watch->timer == NULL || watch->client == NULL) {
        trust_watch_free(watch);
        return NULL;
    }
    ask_in(watch, 0);
    return watch;
}

void trust_watch_free(struct trust_watch *watch)
{
    if (watch == NULL)
        return;
    est_client_free(watch->client);
    if (watch->timer != NULL)
        event_free(watch->timer);
    free(watch);
}

struct est_client *trust_watch_client(const struct trust_watch *watch)
{
    return watch->client;
}

static void ask_in(struct trust_watch *watch, long seconds)
{
    struct timeval timeout = {seconds, 0};
    evtimer_add(watch->timer, &timeout);
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
    struct trust_watch *watch = user;
    (void)fd, (void)what;
    const struct est_call_settings call = {
        .operation = est_operation(EST_CRTS), .done = on_done, .user = watch};
    if (est_client_ask(watch->client, &call) != STATUS_OK)
        ask_in(watch, ASK_AGAIN_S);
}

static void on_done(void *user, const struct est_response *response)
{
    struct trust_watch *watch = user;
    const struct response_context asked = {est_operation(EST_CRTS), watch->context.settings, NULL};
    struct est_outcome outcome;
    est_outcome_init(&outcome, CONTENT_OCTETS_MAX);
    est_outcome_judge(&asked, response, time(NULL), &outcome);
    bool well = outcome.kind == OUTCOME_RESULT && learn(watch, buffer_view(&outcome.content));
    if (!well)
        log_warning("trust",
                    "upstream.learnt_trust: the EST server's CA certificates could not be looked at; tried "
                    "again in an hour");
    ask_in(watch, well ? ASK_EVERY_S : ASK_AGAIN_S);
    est_outcome_free(&outcome);
}

/* What is trusted is read anew: it may have been learnt since. */
static bool learn(struct trust_watch *watch, struct bytes der)
{
    struct buffer lines;
    struct certs_only *certs = NULL;
    buffer_init(&lines, LINES_OCTETS_MAX);
    struct server_trust *trust = server_trust_load(&watch->context.settings->upstream, &lines, &lines);
    bool well = trust != NULL && certs_only_parse(der, &certs) == STATUS_OK && keep(watch, certs, trust);
    certs_only_free(certs);
    server_trust_free(trust);
    buffer_free(&lines);
    return well;
}

static bool keep(struct trust_watch *watch, const struct certs_only *certs, const struct server_trust *trust)
{
    const char *file = watch->context.settings->upstream.learnt_trust;
    STACK_OF(X509) *found = sk_X509_new_null();
    bool well = found != NULL && root_rollover_find(server_trust_anchors(trust), certs, found);
    bool is_news = well && sk_X509_num(found) > 0;
    if (is_news)
        well = write_roots(file, found);
    if (well && !is_news)
        log_debug("trust", "the EST server shows no new root that an old one vouches for");
    if (is_news && !well)
        log_error("trust", "upstream.learnt_trust: \"%s\" cannot be written: %s", file, strerror(errno));
    for (int i = 0; is_news && well && i < sk_X509_num(found); i++)
        tell(file, sk_X509_value(found, i));
    sk_X509_pop_free(found, X509_free);
    if (is_news && well)
        watch->context.learnt(watch->context.user);
    return well;
}

/* The new ones after all that were learnt before. */
static bool write_roots(const char *file, const STACK_OF(X509) * found)
{
    const struct atomic_file to = {.path = file, .like = file, .keeps_old = true};
    BIO *content = BIO_new(BIO_s_mem());
    bool good = content != NULL && copy_learnt(file, content);
    for (int i = 0; i < sk_X509_num(found); i++)
        good = good && PEM_write_bio_X509(content, sk_X509_value(found, i)) == 1;
    char *text = NULL;
    long len = good ? BIO_get_mem_data(content, &text) : 0;
    good =
        len > 0 && atomic_file_replace(&to, (struct bytes){(const uint8_t *)text, (size_t)len}) == STATUS_OK;
    int why = errno;
    BIO_free(content);
    errno = why;
    return good;
}

static bool copy_learnt(const char *file, BIO *out)
{
    const struct pem_file named = {"upstream.learnt_trust", file};
    struct buffer lines;
    if (access(file, F_OK) != 0)
        return errno == ENOENT;
    buffer_init(&lines, LINES_OCTETS_MAX);
    STACK_OF(X509) *learnt = pem_file_certificates(&named, &lines);
    bool good = learnt != NULL;
    for (int i = 0; i < sk_X509_num(learnt); i++)
        good = good && PEM_write_bio_X509(out, sk_X509_value(learnt, i)) == 1;
    sk_X509_pop_free(learnt, X509_free);
    buffer_free(&lines);
    return good;
}

static void tell(const char *file, X509 *root)
{
    char name[NAME_OCTETS_MAX];
    X509_NAME_oneline(X509_get_subject_name(root), name, sizeof name);
    log_info("trust", "a new root of the EST CA is trusted, for which the old one vouches: \"%s\", in \"%s\"",
             name, file);
}
