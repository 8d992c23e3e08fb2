/* est-registrar: the EST-coaps to HTTPS registrar (RFC 9148 section 5). */
#include "common/service.h"
#include "registrar/health.h"
#include "registrar/registrar.h"
#include "registrar/renewal/renewal_by_hand.h"
#include "registrar/running_config.h"
#include "registrar/secret_memory.h"
#include "registrar/settings.h"
#include "registrar/snapshot.h"

#include <coap3/coap.h>
#include <curl/curl.h>
#include <event2/event.h>
#include <jansson.h>
#include <openssl/crypto.h>

#include <malloc.h>
#include <signal.h>

#define LARGE_OCTETS (128 * 1024)

static const struct log_settings *log_of(const struct settings *settings);
static void append_versions(struct buffer *text);
static enum status start_libraries(struct service_call *call);
static void keep_tables_untouched(void);
static enum status check(struct service_call *call);
static void unload(void *loaded);
static void predict(struct service_call *call);
static enum status serve(struct service_call *call);
static enum status probe_health(struct service_call *call);
static enum status renew(struct service_call *call);

int _gnutls_global_init_skip(void);

static const struct service_action actions[] = {
    {"health", true, "ask whether the registrar that uses it is well, and end", probe_health},
    {"renew", true, "renew the registrar's own certificates now, and end", renew},
};

static const struct service registrar = {
    .name = "est-registrar",
    .module = "registrar",
    .purpose = "An EST-coaps to HTTPS registrar (RFC 9148 section 5).\n",
    .config_doc = "serve with this configuration (JSON)",
    .actions = actions,
    .action_count = sizeof actions / sizeof actions[0],
    .read = settings_read,
    .free = settings_free,
    .print = settings_print,
    .reference = settings_reference,
    .log = log_of,
    .versions = append_versions,
    .prepare = start_libraries,
    .check = check,
    .unload = unload,
    .predict = predict,
    .serve = serve,
};

int main(int count, char *arguments[])
{
    return service_main(&registrar, count, arguments);
}

/* GnuTLS asks it, which libcurl may bring along for LDAP and RTMP: nobody here speaks those, and to make
 * itself ready would take it 0.7 MiB. NOLINTNEXTLINE(bugprone-reserved-identifier): the name is its own */
int _gnutls_global_init_skip(void)
{
    return 1;
}

static const struct log_settings *log_of(const struct settings *settings)
{
    return &settings->log;
}

/* Names what OpenSSL cannot do as well (DTLS-14, SES-4). */
static void append_versions(struct buffer *text)
{
    buffer_printf(text, "with %s, %s, libcurl %s, libevent %s, jansson %s\n",
                  OpenSSL_version(OPENSSL_VERSION), coap_package_version(),
                  curl_version_info(CURLVERSION_NOW)->version, event_get_version(), jansson_version_str());
    buffer_append_string(text, "DTLS 1.2; no DTLS 1.3 and no connection ids, for OpenSSL offers neither\n");
}

static enum status start_libraries(struct service_call *call)
{
    const struct est_settings *est = &call->settings->est;
    keep_tables_untouched();
    signal(SIGHUP, SIG_IGN); /* until it can be handled: the configuration is being read already */
    if (!est->skg && !est->skc && call->settings->upstream.password_file[0] == '\0')
        return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? STATUS_OK : STATUS_NO_MEMORY;
    enum status status = secret_memory_start(&call->warnings);
    if (status != STATUS_OK)
        buffer_printf(&call->errors, "no safe memory for private keys and passwords: %s\n",
                      status_text(status));
    return status;
}

/* Tables that are as large as their limits come as fresh pages, which take no memory before they are used.
 * The C library would soon take them from memory that has been used, and clear it. */
static void keep_tables_untouched(void)
{
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, LARGE_OCTETS);
#endif
}

static enum status check(struct service_call *call)
{
    call->loaded = registrar_check(call->file, call->settings, &call->errors, &call->warnings);
    return call->loaded == NULL ? STATUS_UNSUPPORTED : STATUS_OK;
}

static void unload(void *loaded)
{
    snapshot_release(loaded);
}

static void predict(struct service_call *call)
{
    running_config_compare(call->file, call->settings, &call->output);
}

static enum status serve(struct service_call *call)
{
    struct snapshot *snapshot = call->loaded;
    call->loaded = NULL;
    struct registrar *running = registrar_create(call->file, call->settings, snapshot, &call->errors);
    enum status status = running == NULL ? STATUS_UNSUPPORTED : registrar_run(running);
    registrar_free(running);
    curl_global_cleanup();
    return status;
}

static enum status probe_health(struct service_call *call)
{
    return health_check(call->settings, &call->errors);
}

static enum status renew(struct service_call *call)
{
    enum status status = start_libraries(call);
    if (status == STATUS_OK)
        status = renewal_by_hand(call->settings, &call->output, &call->errors);
    curl_global_cleanup();
    return status;
}
