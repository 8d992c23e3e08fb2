/* est-server: builds the service from the command line and runs it until it is told to end. */
#include "control.h"
#include "est_service.h"
#include "https_server.h"
#include "memory.h"
#include "options.h"
#include "tls_context.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { SIGNALS = 2 };

/* Everything that runs. */
struct program {
    struct event_base *base;
    struct event *signals[SIGNALS];
    SSL_CTX *tls;
    FILE *log;
    struct evbuffer *csrattrs;
    struct est_service service;
    struct https_server *server;
    struct https_server *control; /* NULL without --control-port */
};

static bool start(struct program *program, const struct options *options);
static bool prepare_service(struct program *program, const struct options *options);
static bool read_cacerts(const char *file, struct est_service *service);
static bool read_file(const char *file, struct evbuffer *content);
static bool listen_everywhere(struct program *program, const struct options *options);
static bool tell_ready(const struct program *program, const struct options *options);
static void end(struct program *program);
static void on_signal(evutil_socket_t number, short what, void *context);
static struct http_response *on_request(void *context, struct connection *connection,
                                        const struct http_request *request, struct delivery *delivery);
static struct http_response *on_control(void *context, struct connection *connection,
                                        const struct http_request *request, struct delivery *delivery);
static void on_opened(void *context);
static void on_established(void *context, const struct connection *connection);
static void on_closed(void *context, const struct connection *connection);
static void ignore_opened(void *context);
static void ignore(void *context, const struct connection *connection);

int main(int argc, char *argv[])
{
    struct options options;
    struct program program = {0};
    enum options_verdict verdict = options_read(&options, argc, argv);
    int status = verdict == OPTIONS_WRONG ? 2 : EXIT_SUCCESS;
    if (verdict == OPTIONS_RUN) {
        if (start(&program, &options))
            event_base_dispatch(program.base);
        else
            status = EXIT_FAILURE;
        end(&program);
    }
    options_clear(&options);
    return status;
}

static bool start(struct program *program, const struct options *options)
{
    static const int numbers[SIGNALS] = {SIGTERM, SIGINT};
    struct rlimit files;
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    program->base = event_base_new();
    for (size_t i = 0; i < SIGNALS; i++) {
        program->signals[i] = evsignal_new(program->base, numbers[i], on_signal, program->base);
        event_add(program->signals[i], NULL);
    }
    const struct tls_settings tls = {
        .certificate = options->certificate,
        .private_key = options->key,
        .client_cas = options->client_cas,
        .max_version = (int)options->tls_max,
    };
    program->tls = tls_context_create(&tls);
    return program->tls != NULL && prepare_service(program, options) && listen_everywhere(program, options) &&
           tell_ready(program, options);
}

static bool prepare_service(struct program *program, const struct options *options)
{
    struct est_service *service = &program->service;
    struct evbuffer *password = evbuffer_new();
    long validity_s = (long)options->validity_days * 24 * 60 * 60;
    program->log = options->log != NULL ? fopen(options->log, "a") : stderr;
    if (program->log != NULL)
        setvbuf(program->log, NULL, _IOLBF, BUFSIZ); /* one write a line */
    program->csrattrs = evbuffer_new();
    service->authority = certificate_authority_create(options->ca, options->ca_key, validity_s);
    service->next_authority = certificate_authority_create_root("EST CA of the next generation", validity_s);
    service->labels = options->labels;
    service->authentication = options->authentication;
    service->http_scheme = options->http_scheme;
    service->libest = options->libest;
    service->approvals = approvals_create();
    bool good = program->log != NULL && service->authority != NULL && service->next_authority != NULL;
    if (program->log == NULL)
        perror(options->log);
    if (options->password_file != NULL)
        good &= read_file(options->password_file, password);
    if (options->csrattrs != NULL)
        good &= read_file(options->csrattrs, program->csrattrs);
    if (options->cacerts != NULL)
        good &= read_cacerts(options->cacerts, service);
    char *line = evbuffer_readln(password, NULL, EVBUFFER_EOL_ANY);
    if (line == NULL) {
        evbuffer_add(password, "", 1);
        line = memory_copy((const char *)evbuffer_pullup(password, -1));
    }
    service->credentials = http_credentials_create(options->user, line);
    service->csrattrs = octets_of(program->csrattrs);
    if (good)
        service->statistics = statistics_create(options->log_entries, program->log);
    free(line);
    evbuffer_free(password);
    return good;
}

static bool read_cacerts(const char *file, struct est_service *service)
{
    BIO *in = BIO_new_file(file, "r");
    X509 *certificate;
    while (in != NULL && service->cacerts_count < CACERTS_MAX &&
           (certificate = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL)
        service->cacerts[service->cacerts_count++] = certificate;
    BIO_free(in);
    ERR_clear_error();
    if (service->cacerts_count == 0)
        fprintf(stderr, "est-server: no certificate in %s\n", file);
    return service->cacerts_count > 0;
}

static bool read_file(const char *file, struct evbuffer *content)
{
    char part[4096];
    FILE *in = fopen(file, "r");
    if (in == NULL) {
        fprintf(stderr, "est-server: %s: %s\n", file, strerror(errno));
        return false;
    }
    for (size_t len; (len = fread(part, 1, sizeof(part), in)) > 0;)
        evbuffer_add(content, part, len);
    bool good = ferror(in) == 0;
    fclose(in);
    return good;
}

static bool listen_everywhere(struct program *program, const struct options *options)
{
    enum { HANDSHAKE_TIMEOUT_MS = 10000 };
    struct https_server_settings settings = {
        .address = options->address,
        .port = (uint16_t)options->port,
        .max_handled = options->max_connections,
        .connections =
            {
                .context = &program->service,
                .answer = on_request,
                .opened = on_opened,
                .established = on_established,
                .closed = on_closed,
                .handshake_timeout_ms = options->libest ? 0 : HANDSHAKE_TIMEOUT_MS,
                .idle_timeout_ms = options->idle_timeout_ms,
                .ignores_expect = options->libest,
                .holds_idle = options->libest,
            },
    };
    program->server = https_server_create(program->base, program->tls, &settings);
    if (program->server == NULL)
        return false;
    program->service.port = https_server_port(program->server);
    if (!options->has_control_port)
        return true;
    settings.port = (uint16_t)options->control_port;
    settings.max_handled = 100;
    settings.connections.answer = on_control;
    settings.connections.opened = ignore_opened;
    settings.connections.established = settings.connections.closed = ignore;
    settings.connections.handshake_timeout_ms = HANDSHAKE_TIMEOUT_MS;
    settings.connections.holds_idle = false;
    program->control = https_server_create(program->base, program->tls, &settings);
    return program->control != NULL;
}

static bool tell_ready(const struct program *program, const struct options *options)
{
    if (options->port_file != NULL) {
        FILE *out = fopen(options->port_file, "w");
        if (out == NULL) {
            perror(options->port_file);
            return false;
        }
        fprintf(out, "%u\n", https_server_port(program->server));
        fclose(out);
    }
    printf("listening %s\n", https_server_url(program->server));
    if (program->control != NULL)
        printf("control %s\n", https_server_url(program->control));
    fflush(stdout);
    return true;
}

static void end(struct program *program)
{
    https_server_free(program->server);
    https_server_free(program->control);
    statistics_free(program->service.statistics);
    approvals_free(program->service.approvals);
    http_credentials_free(program->service.credentials);
    for (size_t i = 0; i < program->service.cacerts_count; i++)
        X509_free(program->service.cacerts[i]);
    certificate_authority_free(program->service.next_authority);
    certificate_authority_free(program->service.authority);
    if (program->csrattrs != NULL)
        evbuffer_free(program->csrattrs);
    if (program->log != NULL && program->log != stderr)
        fclose(program->log);
    SSL_CTX_free(program->tls);
    for (size_t i = 0; i < SIGNALS; i++)
        event_free(program->signals[i]);
    event_base_free(program->base);
    libevent_global_shutdown();
}

static void on_signal(evutil_socket_t number, short what, void *context)
{
    (void)number;
    (void)what;
    event_base_loopbreak(context);
}

static struct http_response *on_request(void *context, struct connection *connection,
                                        const struct http_request *request, struct delivery *delivery)
{
    struct est_service *service = context;
    struct http_response *response = control_answer(service, request);
    return response != NULL ? response : est_service_answer(service, connection, request, delivery);
}

static struct http_response *on_control(void *context, struct connection *connection,
                                        const struct http_request *request, struct delivery *delivery)
{
    (void)connection;
    (void)delivery;
    struct http_response *response = control_answer(context, request);
    return response != NULL ? response : http_response_create(404);
}

static void on_opened(void *context)
{
    struct est_service *service = context;
    statistics_connection_opened(service->statistics);
}

static void on_established(void *context, const struct connection *connection)
{
    (void)connection;
    struct est_service *service = context;
    statistics_handshake_done(service->statistics);
}

static void on_closed(void *context, const struct connection *connection)
{
    struct est_service *service = context;
    statistics_connection_closed(service->statistics, connection_is_established(connection),
                                 connection_is_used(connection));
}

static void ignore_opened(void *context)
{
    (void)context;
}

static void ignore(void *context, const struct connection *connection)
{
    (void)context;
    (void)connection;
}
