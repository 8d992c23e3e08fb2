/* est-join-proxy: the constrained join proxy (draft-ietf-anima-constrained-join-proxy). */
#include "common/service.h"
#include "joinproxy/join_proxy.h"
#include "joinproxy/settings.h"

#include <cbor.h>
#include <coap3/coap.h>
#include <event2/event.h>
#include <jansson.h>
#include <openssl/crypto.h>

#define MESSAGES_OCTETS_MAX 4096

static const struct log_settings *log_of(const struct settings *settings);
static void append_versions(struct buffer *text);
static enum status check(struct service_call *call);
static enum status serve(struct service_call *call);

static const struct service join_proxy = {
    .name = "est-join-proxy",
    .module = "join_proxy",
    .purpose = "A constrained join proxy: takes devices that are not yet on the network to\n"
               "their registrar (draft-ietf-anima-constrained-join-proxy).\n",
    .config_doc = "relay with this configuration (JSON)",
    .read = settings_read,
    .free = settings_free,
    .print = settings_print,
    .reference = settings_reference,
    .log = log_of,
    .versions = append_versions,
    .check = check,
    .serve = serve,
};

int main(int count, char *arguments[])
{
    return service_main(&join_proxy, count, arguments);
}

static const struct log_settings *log_of(const struct settings *settings)
{
    return &settings->log;
}

static void append_versions(struct buffer *text)
{
    buffer_printf(text, "with %s, %s, libcbor %d.%d.%d, libevent %s, jansson %s\n",
                  OpenSSL_version(OPENSSL_VERSION), coap_package_version(), CBOR_MAJOR_VERSION,
                  CBOR_MINOR_VERSION, CBOR_PATCH_VERSION, event_get_version(), jansson_version_str());
}

static enum status check(struct service_call *call)
{
    struct buffer errors, warnings;
    buffer_init(&errors, MESSAGES_OCTETS_MAX);
    buffer_init(&warnings, MESSAGES_OCTETS_MAX);
    enum status status = join_proxy_check(call->settings, &errors, &warnings);
    buffer_append_lines(&call->errors, call->file, buffer_string(&errors));
    buffer_append_lines(&call->warnings, call->file, buffer_string(&warnings));
    buffer_free(&errors);
    buffer_free(&warnings);
    return status;
}

static enum status serve(struct service_call *call)
{
    struct join_proxy *running = join_proxy_create(call->settings, &call->errors);
    enum status status = running == NULL ? STATUS_UNSUPPORTED : join_proxy_run(running);
    join_proxy_free(running);
    return status;
}
