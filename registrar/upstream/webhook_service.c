#include "registrar/upstream/webhook_service.h"

#include "registrar/protocol/pem_file.h"

#include <curl/curl.h>
#include <openssl/x509v3.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTING "access.webhook.trust"

struct webhook_service {
    atomic_uint references;
    struct webhook_terms terms;
    char *url;
    const char *socket; /* within url; NULL: HTTPS */
    char *host;         /* of the URL, without the brackets of an IPv6 address; NULL: a socket */
    STACK_OF(X509) * trust;
};

static bool keep_address(struct webhook_service *service, const char *url);
static char *host_of(const char *url);
static bool load_trust(struct webhook_service *service, const struct webhook_settings *settings,
                       struct buffer *errors, struct buffer *warnings);
static bool load_anchors(struct webhook_service *service, const struct pem_file *file, struct buffer *errors,
                         struct buffer *warnings);

struct webhook_service *webhook_service_load(const struct webhook_settings *settings, struct buffer *errors,
                                             struct buffer *warnings)
{
    struct webhook_service *service = calloc(1, sizeof *service);
    if (service != NULL) {
        atomic_init(&service->references, 1);
        service->terms = (struct webhook_terms){
            .timeout_ms = settings->timeout_ms,
            .max_connections = settings->max_connections,
            .queue = settings->queue,
            .fails_open = settings->fail == WEBHOOK_FAIL_OPEN,
        };
        service->trust = sk_X509_new_null();
    }
    if (service == NULL || service->trust == NULL || !keep_address(service, settings->url)) {
        buffer_append_string(errors, "out of memory\n");
        webhook_service_release(service);
        return NULL;
    }
    if (load_trust(service, settings, errors, warnings))
        return service;
    webhook_service_release(service);
    return NULL;
}

static bool keep_address(struct webhook_service *service, const char *url)
{
    static const char prefix[] = "unix:";
    const size_t len = sizeof prefix - 1;
    service->url = strdup(url);
    if (service->url == NULL)
        return false;
    if (strncmp(url, prefix, len) == 0) {
        service->socket = service->url + len;
        return true;
    }
    service->host = host_of(url);
    return service->host != NULL;
}

static char *host_of(const char *url)
{
    CURLU *parsed = curl_url();
    char *host = NULL, *copy = NULL;
    if (parsed != NULL && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK)
        copy = host[0] == '[' ? strndup(host + 1, strcspn(host + 1, "]")) : strdup(host);
    curl_free(host);
    curl_url_cleanup(parsed);
    return copy;
}

/* All of it, so that everything wrong is told at once. */
static bool load_trust(struct webhook_service *service, const struct webhook_settings *settings,
                       struct buffer *errors, struct buffer *warnings)
{
    bool loaded = true;
    for (size_t i = 0; i < settings->trust.count; i++) {
        char setting[48];
        snprintf(setting, sizeof setting, SETTING "[%zu]", i);
        const struct pem_file file = {setting, settings->trust.items[i]};
        loaded = load_anchors(service, &file, errors, warnings) && loaded;
    }
    return loaded;
}

static bool load_anchors(struct webhook_service *service, const struct pem_file *file, struct buffer *errors,
                         struct buffer *warnings)
{
    STACK_OF(X509) *certificates = pem_file_certificates(file, errors);
    bool kept = certificates != NULL;
    for (int i = 0; i < sk_X509_num(certificates) && kept; i++) {
        X509 *certificate = sk_X509_value(certificates, i);
        pem_file_warn_of_validity(file, certificate, warnings);
        kept = X509_up_ref(certificate) == 1;
        if (kept && sk_X509_push(service->trust, certificate) <= 0) {
            X509_free(certificate);
            kept = false;
        }
        if (!kept)
            buffer_append_string(errors, "out of memory\n");
    }
    sk_X509_pop_free(certificates, X509_free);
    return kept;
}

struct webhook_service *webhook_service_hold(struct webhook_service *service)
{
    atomic_fetch_add_explicit(&service->references, 1, memory_order_relaxed);
    return service;
}

void webhook_service_release(struct webhook_service *service)
{
    if (service == NULL || atomic_fetch_sub_explicit(&service->references, 1, memory_order_acq_rel) > 1)
        return;
    sk_X509_pop_free(service->trust, X509_free);
    free(service->host);
    free(service->url);
    free(service);
}

const struct webhook_terms *webhook_service_terms(const struct webhook_service *service)
{
    return &service->terms;
}

const char *webhook_service_url(const struct webhook_service *service)
{
    return service->socket != NULL ? "http://localhost/" : service->url;
}

const char *webhook_service_socket(const struct webhook_service *service)
{
    return service->socket;
}

/* Trusts the configured anchors, and looks for the host in subjectAltNames alone: libcurl would take a common
 * name too, which RE-8 lets devices choose, and their CA may be the webhook's as well (RFC 9525 section 2).
 */
bool webhook_service_secure(const struct webhook_service *service, SSL_CTX *context)
{
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    X509_VERIFY_PARAM *wanted = SSL_CTX_get0_param(context);
    for (int i = 0; i < sk_X509_num(service->trust); i++)
        if (X509_STORE_add_cert(store, sk_X509_value(service->trust, i)) != 1)
            return false;
    X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
                                                X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_ip_asc(wanted, service->host) == 1 ||
           X509_VERIFY_PARAM_set1_host(wanted, service->host, 0) == 1;
}
