#include "registrar/renewal/renewal.h"

#include "common/log.h"
#include "common/monotonic.h"
#include "registrar/counters.h"
#include "registrar/exchange/est_outcome.h"
#include "registrar/exchange/key_workshop.h"
#include "registrar/protocol/certificate_request.h"
#include "registrar/renewal/identity_file.h"
#include "registrar/renewal/successor.h"
#include "registrar/translate/certs_only.h"
#include "registrar/translate/request_body.h"

#include <event2/event.h>
#include <openssl/x509v3.h>

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_EVERY_S       3600 /* clocks are set, and files replaced */
#define DELAY_LEAST_S      60
#define DELAY_MOST_S       (24 * 3600)
#define LOUD_PART          9 /* below that part of its life the log says error */
#define CSR_OCTETS_MAX     (16 * 1024)
#define ERRORS_OCTETS_MAX  4096
#define CONTENT_OCTETS_MAX (1024 * 1024)
#define END_OCTETS_MAX     64
#define IDENTITIES         2
#define SOURCE_NAMES       4

/* One certificate and its key. */
struct identity_renewal {
    struct renewal *renewal;
    struct ra_identity_source (*find_source)(const struct settings *settings);
    struct ra_identity_source source;
    char *names[SOURCE_NAMES]; /* that source has: copies, for a reload may come while it is asked for */
    int purpose;               /* X509_PURPOSE_SSL_CLIENT or _SERVER: what the TLS stack must take it for */
    struct event *timer;
    unsigned failures;  /* in a row */
    uint64_t try_at_ms; /* not before; monotonic: the clock may be set right meanwhile, by years */
    uint64_t server;    /* the EST server that has taken the request on (202); 0: none has */

    /* while it is asked for */
    struct identity_file *file;
    struct ra_identity present;
    struct successor_times times;
    struct key_order *order; /* the new key is being made */
    EVP_PKEY *key;
    struct certificate_request *csr;
};

struct renewal {
    struct renewal_context context;
    struct est_client *client;
    struct key_workshop *workshop;
    struct identity_renewal identities[IDENTITIES];
    size_t count, ended; /* ended: of those by hand */
    bool well;
};

static bool add(struct renewal *renewal, const struct identity_renewal *wanted);
static bool take_source(struct identity_renewal *identity);
static void free_names(char *names[SOURCE_NAMES]);
static bool stays_usable(const struct identity_renewal *identity, X509 *next);
static struct ra_identity_source upstream_source(const struct settings *settings);
static struct ra_identity_source dtls_source(const struct settings *settings);
static void on_timer(evutil_socket_t fd, short what, void *user);
static int64_t wait_s(const struct identity_renewal *identity);
static enum status open_present(struct identity_renewal *identity, struct buffer *errors);
static void ask(struct identity_renewal *identity, struct buffer *errors);
static bool has_kept_key(struct identity_renewal *identity);
static void *make_key(void *user, const atomic_bool *abandoned);
static void drop_key(void *key);
static void on_key_made(void *user, void *key);
static enum status send_request(struct identity_renewal *identity, struct buffer *errors);
static enum status prepare_request(struct identity_renewal *identity, struct buffer *der,
                                   struct buffer *errors);
static void on_done(void *user, const struct est_response *response);
static void install(struct identity_renewal *identity, struct bytes certs_only);
static void wait_for_approval(struct identity_renewal *identity, uint64_t server, uint32_t seconds);
static bool is_late(const struct identity_renewal *identity);
static int64_t left_s(const struct identity_renewal *identity);
static void describe_end(const struct identity_renewal *identity, char text[END_OCTETS_MAX]);
static void fail(struct identity_renewal *identity, const char *why);
static void try_again(struct identity_renewal *identity, uint32_t seconds);
static void end(struct identity_renewal *identity, bool well);
static void forget(struct identity_renewal *identity);
static void look_again(struct identity_renewal *identity, int64_t seconds);
static void check_folder(const char *setting, const char *file, struct buffer *warnings);

struct renewal *renewal_create(const struct renewal_context *context, struct buffer *errors)
{
    const struct settings *settings = context->settings;
    const struct identity_renewal upstream = {.find_source = upstream_source,
                                              .purpose = X509_PURPOSE_SSL_CLIENT};
    const struct identity_renewal dtls = {.find_source = dtls_source, .purpose = X509_PURPOSE_SSL_SERVER};
    struct renewal *renewal = calloc(1, sizeof *renewal);
    if (renewal == NULL)
        return NULL;
    renewal->context = *context;
    renewal->well = true;
    renewal->client = est_client_create(&settings->upstream, &context->services, errors);
    renewal->workshop = key_workshop_create(context->services.mailbox);
    if (renewal->client != NULL && renewal->workshop != NULL &&
        (!(settings->upstream.renew || context->by_hand) || add(renewal, &upstream)) &&
        (!settings->dtls.renew || add(renewal, &dtls)))
        return renewal;
    renewal_free(renewal);
    return NULL;
}

static bool add(struct renewal *renewal, const struct identity_renewal *wanted)
{
    struct identity_renewal *identity = &renewal->identities[renewal->count++];
    *identity = *wanted;
    identity->renewal = renewal;
    identity->timer = evtimer_new(renewal->context.services.base, on_timer, identity);
    if (identity->timer == NULL || !take_source(identity))
        return false;
    look_again(identity, 0);
    return true;
}

/* Where it lies now. What was learnt of another file counts no more. */
static bool take_source(struct identity_renewal *identity)
{
    struct ra_identity_source now = identity->find_source(identity->renewal->context.settings);
    const char **const names[SOURCE_NAMES] = {&now.certificate, &now.private_key, &now.passphrase_file,
                                              &now.pkcs11_module};
    char *copies[SOURCE_NAMES];
    bool copied = true;
    for (size_t i = 0; i < SOURCE_NAMES; i++) {
        copies[i] = strdup(*names[i]);
        *names[i] = copies[i];
        copied = copied && copies[i] != NULL;
    }
    if (!copied) {
        free_names(copies);
        return false;
    }
    if (identity->names[0] != NULL && strcmp(identity->names[0], copies[0]) != 0) {
        identity->failures = 0;
        identity->try_at_ms = 0;
        identity->server = 0;
    }
    free_names(identity->names);
    memcpy(identity->names, copies, sizeof copies);
    identity->source = now;
    return true;
}

static void free_names(char *names[SOURCE_NAMES])
{
    for (size_t i = 0; i < SOURCE_NAMES; i++)
        free(names[i]);
}

static struct ra_identity_source upstream_source(const struct settings *settings)
{
    return (struct ra_identity_source){
        .certificate = settings->upstream.certificate,
        .certificate_setting = "upstream.certificate",
        .private_key = settings->upstream.private_key,
        .private_key_setting = "upstream.private_key",
        .passphrase_file = settings->upstream.passphrase_file,
        .pkcs11_module = settings->upstream.pkcs11_module,
    };
}

static struct ra_identity_source dtls_source(const struct settings *settings)
{
    return (struct ra_identity_source){
        .certificate = settings->dtls.certificate,
        .certificate_setting = "dtls.certificate",
        .private_key = settings->dtls.private_key,
        .private_key_setting = "dtls.private_key",
        .passphrase_file = "",
        .pkcs11_module = "",
    };
}

void renewal_free(struct renewal *renewal)
{
    if (renewal == NULL)
        return;
    est_client_free(renewal->client); /* from here on nothing is answered */
    for (size_t i = 0; i < renewal->count; i++) {
        if (renewal->identities[i].timer != NULL)
            event_free(renewal->identities[i].timer);
        forget(&renewal->identities[i]);
        free_names(renewal->identities[i].names);
    }
    key_workshop_free(renewal->workshop);
    free(renewal);
}

struct est_client *renewal_client(const struct renewal *renewal)
{
    return renewal->client;
}

void renewal_look(const struct renewal *renewal)
{
    for (size_t i = 0; i < renewal->count; i++)
        if (renewal->identities[i].file == NULL)
            event_active(renewal->identities[i].timer, EV_TIMEOUT, 0);
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
    struct identity_renewal *identity = user;
    struct buffer errors;
    (void)fd, (void)what;
    buffer_init(&errors, ERRORS_OCTETS_MAX);
    if (!take_source(identity) || open_present(identity, &errors) != STATUS_OK) {
        fail(identity, errors.len > 0 ? buffer_string(&errors) : "out of memory");
    } else if (identity->renewal->context.by_hand || wait_s(identity) == 0) {
        ask(identity, &errors);
    } else {
        look_again(identity, wait_s(identity));
        forget(identity);
    }
    buffer_free(&errors);
}

static int64_t wait_s(const struct identity_renewal *identity)
{
    uint64_t now_ms = monotonic_ms();
    int64_t due_s = identity->times.due - time(NULL), try_s = 0;
    if (identity->try_at_ms > now_ms)
        try_s = (int64_t)((identity->try_at_ms - now_ms + 999) / 1000);
    return due_s > try_s ? due_s : try_s;
}

/* What lies on the disk counts: an operator may have replaced it. */
static enum status open_present(struct identity_renewal *identity, struct buffer *errors)
{
    struct buffer warnings;
    if (strcmp(identity->source.certificate, identity->source.private_key) != 0) {
        buffer_printf(errors, "%s and %s are not one file\n", identity->source.certificate_setting,
                      identity->source.private_key_setting);
        return STATUS_UNSUPPORTED;
    }
    buffer_init(&warnings, ERRORS_OCTETS_MAX);
    enum status status = ra_identity_load(&identity->source, &identity->present, errors, &warnings);
    buffer_free(&warnings);
    if (status == STATUS_OK)
        status = successor_times(identity->present.certificate, &identity->times);
    if (status != STATUS_OK)
        return status;
    identity->file = identity_file_open(&identity->source, errors);
    return identity->file != NULL ? STATUS_OK : STATUS_SYSTEM;
}

static void ask(struct identity_renewal *identity, struct buffer *errors)
{
    const struct key_order_settings order = {
        .make = make_key, .drop = drop_key, .done = on_key_made, .user = identity};
    if (has_kept_key(identity)) {
        if (send_request(identity, errors) != STATUS_OK)
            fail(identity, buffer_string(errors));
        return;
    }
    identity->order = key_workshop_order(identity->renewal->workshop, &order);
    if (identity->order == NULL)
        fail(identity, "no thread could be started for a new key");
}

/* The key of a request that waits for its approval stays. */
static bool has_kept_key(struct identity_renewal *identity)
{
    EVP_PKEY *key = identity_file_kept_key(identity->file);
    if (key != NULL && successor_key_suits(key, identity->present.key)) {
        identity->key = key;
        return true;
    }
    EVP_PKEY_free(key);
    return false;
}

static void *make_key(void *user, const atomic_bool *abandoned)
{
    const struct identity_renewal *identity = user;
    return successor_make_key(identity->present.key, abandoned);
}

static void drop_key(void *key)
{
    EVP_PKEY_free(key);
}

static void on_key_made(void *user, void *key)
{
    struct identity_renewal *identity = user;
    struct buffer errors;
    buffer_init(&errors, ERRORS_OCTETS_MAX);
    identity->order = NULL;
    identity->key = key;
    if (key == NULL)
        buffer_append_string(&errors, "no key of the same kind can be made\n");
    if (key == NULL || send_request(identity, &errors) != STATUS_OK)
        fail(identity, buffer_string(&errors));
    buffer_free(&errors);
}

static enum status send_request(struct identity_renewal *identity, struct buffer *errors)
{
    const struct upstream_settings *settings = &identity->renewal->context.settings->upstream;
    struct buffer der, body;
    buffer_init(&der, CSR_OCTETS_MAX);
    buffer_init(&body, CSR_OCTETS_MAX * 2);
    enum status status = prepare_request(identity, &der, errors);
    if (status == STATUS_OK)
        status = certificate_request_parse(buffer_view(&der), &identity->csr);
    if (status == STATUS_OK)
        status = request_body_encode(settings, buffer_view(&der), &body);
    if (status == STATUS_OK)
        status = est_client_ask(identity->renewal->client,
                                &(struct est_call_settings){.operation = est_operation(EST_SREN),
                                                            .body = buffer_view(&body),
                                                            .server = identity->server,
                                                            .done = on_done,
                                                            .user = identity});
    if (status != STATUS_OK && errors->len == 0)
        buffer_printf(errors, "the request could not be made: %s\n", status_text(status));
    buffer_free(&der);
    buffer_free(&body);
    return status;
}

/* The one that waits for its approval, if it asks for what is wanted now; or a new one, on the disk before it
 * is sent. */
static enum status prepare_request(struct identity_renewal *identity, struct buffer *der,
                                   struct buffer *errors)
{
    struct buffer kept;
    buffer_init(&kept, CSR_OCTETS_MAX);
    enum status status = successor_request(identity->present.certificate, identity->key, der);
    bool repeats = status == STATUS_OK && identity_file_kept_request(identity->file, &kept) &&
                   successor_request_repeats(buffer_view(&kept), buffer_view(der));
    if (repeats) {
        buffer_reset(der);
        buffer_append(der, buffer_view(&kept));
        status = der->status;
    } else if (status == STATUS_OK) {
        status = identity_file_keep(identity->file, identity->key, buffer_view(der), errors);
    }
    buffer_free(&kept);
    return status;
}

static void on_done(void *user, const struct est_response *response)
{
    struct identity_renewal *identity = user;
    const struct response_context asked = {est_operation(EST_SREN), identity->renewal->context.settings,
                                           identity->csr};
    struct est_outcome outcome;
    char why[128];
    est_outcome_init(&outcome, CONTENT_OCTETS_MAX);
    est_outcome_judge(&asked, response, time(NULL), &outcome);
    snprintf(why, sizeof why, "the EST server answers with HTTP status %u", response->http_status);
    if (outcome.kind == OUTCOME_RESULT)
        install(identity, buffer_view(&outcome.content));
    else if (outcome.kind == OUTCOME_WAIT && response->http_status == 202)
        wait_for_approval(identity, response->server, outcome.max_age_s);
    else
        fail(identity, response->result != EST_ANSWERED ? response->reason
                       : response->http_status == 200   ? "the EST server's answer is of no use"
                                                        : why);
    est_outcome_free(&outcome);
}

static void install(struct identity_renewal *identity, struct bytes certs_only)
{
    struct renewal *renewal = identity->renewal;
    struct ra_identity next;
    const char *why;
    struct buffer errors, serial;
    if (successor_accept(&identity->present, identity->key, certs_only, &next, &why) != STATUS_OK) {
        fail(identity, why);
        return;
    }
    if (!stays_usable(identity, next.certificate)) {
        ra_identity_free(&next);
        fail(identity, "the new certificate may not be used for TLS as the present one is");
        return;
    }
    buffer_init(&errors, ERRORS_OCTETS_MAX);
    buffer_init(&serial, 128);
    certs_only_append_serial(next.certificate, &serial);
    if (identity_file_replace(identity->file, &next, &errors) != STATUS_OK) {
        fail(identity, buffer_string(&errors));
    } else {
        metrics_add(renewal->context.services.metrics, COUNTER_RENEWALS, 1);
        log_info("renewal", "%s: \"%s\" is renewed: serial number %s; the old one is \"%s.old\"",
                 identity->source.certificate_setting, identity->source.certificate, buffer_string(&serial),
                 identity->source.certificate);
        if (renewal->context.renewed != NULL)
            renewal->context.renewed(renewal->context.user);
        end(identity, true);
    }
    ra_identity_free(&next);
    buffer_free(&serial);
    buffer_free(&errors);
}

/* One without extended key usages may be used for everything, and its successor for less. */
static bool stays_usable(const struct identity_renewal *identity, X509 *next)
{
    return X509_check_purpose(identity->present.certificate, identity->purpose, 0) != 1 ||
           X509_check_purpose(next, identity->purpose, 0) == 1;
}

/* RFC 7030 section 4.2.3: the same request again, by the key that is kept; and in time, whatever it says. */
static void wait_for_approval(struct identity_renewal *identity, uint64_t server, uint32_t seconds)
{
    uint32_t most_s = renewal_delay_s(UINT_MAX, left_s(identity));
    char end_text[END_OCTETS_MAX];
    seconds = seconds < most_s ? seconds : most_s;
    describe_end(identity, end_text);
    identity->server = server;
    log_write(is_late(identity) ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, "renewal",
              "%s: the EST server has not decided yet; it is asked again in %" PRIu32 " s%s",
              identity->source.certificate_setting, seconds, end_text);
    if (identity->renewal->context.by_hand)
        end(identity, false);
    else
        try_again(identity, seconds);
}

static bool is_late(const struct identity_renewal *identity)
{
    int64_t life_s = (identity->times.end - identity->times.due) * 3;
    return left_s(identity) < life_s / LOUD_PART;
}

/* Below 0: it has ended. */
static int64_t left_s(const struct identity_renewal *identity)
{
    return identity->present.certificate != NULL ? identity->times.end - time(NULL) : 0;
}

static void describe_end(const struct identity_renewal *identity, char text[END_OCTETS_MAX])
{
    int64_t left = left_s(identity);
    text[0] = '\0';
    if (identity->present.certificate != NULL && left > 0)
        snprintf(text, END_OCTETS_MAX, "; it ends in %" PRId64 " hours", left / 3600);
    else if (identity->present.certificate != NULL)
        snprintf(text, END_OCTETS_MAX, "; it has ended");
}

static void fail(struct identity_renewal *identity, const char *why)
{
    struct renewal *renewal = identity->renewal;
    char end_text[END_OCTETS_MAX];
    identity->server = 0; /* better from another EST server than not in time */
    describe_end(identity, end_text);
    metrics_add(renewal->context.services.metrics, COUNTER_RENEWALS_FAILED, 1);
    log_write(is_late(identity) ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "renewal",
              "%s: \"%s\" could not be renewed: %.*s%s", identity->source.certificate_setting,
              identity->source.certificate, (int)strcspn(why, "\n"), why, end_text);
    if (renewal->context.by_hand)
        end(identity, false);
    else
        try_again(identity, renewal_delay_s(++identity->failures, left_s(identity)));
}

static void try_again(struct identity_renewal *identity, uint32_t seconds)
{
    identity->try_at_ms = monotonic_ms() + seconds * UINT64_C(1000);
    look_again(identity, seconds);
    forget(identity);
}

uint32_t renewal_delay_s(unsigned failures, int64_t left_s)
{
    int64_t delay_s =
        failures > 12 ? DELAY_MOST_S : (int64_t)DELAY_LEAST_S << (failures > 0 ? failures - 1 : 0);
    if (delay_s > DELAY_MOST_S)
        delay_s = DELAY_MOST_S;
    if (delay_s > left_s / 8)
        delay_s = left_s / 8;
    return delay_s > DELAY_LEAST_S ? (uint32_t)delay_s : DELAY_LEAST_S;
}

/* Of a try. */
static void end(struct identity_renewal *identity, bool well)
{
    struct renewal *renewal = identity->renewal;
    forget(identity);
    renewal->well = renewal->well && well;
    if (renewal->context.by_hand) {
        if (++renewal->ended == renewal->count)
            renewal->context.ended(renewal->context.user, renewal->well);
        return;
    }
    identity->failures = 0;
    identity->server = 0;
    look_again(identity, LOOK_EVERY_S);
}

static void forget(struct identity_renewal *identity)
{
    key_order_cancel(identity->order);
    identity->order = NULL;
    identity_file_close(identity->file);
    identity->file = NULL;
    ra_identity_free(&identity->present);
    EVP_PKEY_free(identity->key);
    identity->key = NULL;
    certificate_request_free(identity->csr);
    identity->csr = NULL;
}

/* At the latest: it looks more often. */
static void look_again(struct identity_renewal *identity, int64_t seconds)
{
    struct timeval timeout = {seconds < LOOK_EVERY_S ? seconds : LOOK_EVERY_S, 0};
    evtimer_add(identity->timer, &timeout);
}

void renewal_check(const struct settings *settings, struct buffer *warnings)
{
    const struct upstream_settings *upstream = &settings->upstream;
    if (upstream->renew)
        check_folder("upstream.renew", upstream_source(settings).certificate, warnings);
    if (settings->dtls.renew)
        check_folder("dtls.renew", dtls_source(settings).certificate, warnings);
    if (upstream->learnt_trust[0] != '\0')
        check_folder("upstream.learnt_trust", upstream->learnt_trust, warnings);
}

/* The file need not be there yet. */
static void check_folder(const char *setting, const char *file, struct buffer *warnings)
{
    char folder[PATH_MAX];
    if (realpath(file, folder) == NULL)
        snprintf(folder, sizeof folder, "%s", file);
    if (access(dirname(folder), W_OK) != 0)
        buffer_printf(
            warnings,
            "%s: \"%s\" could not be replaced: its folder cannot be written to: %s; let the user of "
            "est-registrar write there\n",
            setting, file, strerror(errno));
}
