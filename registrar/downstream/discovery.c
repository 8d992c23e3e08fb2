#include "registrar/downstream/discovery.h"

#include "common/join_names.h"
#include "common/link_format.h"
#include "registrar/protocol/est_operation.h"

#include <stdio.h>
#include <string.h>

#define TARGET_MAX                                                                                           \
    256                /* octets: "coaps://", an endpoint, the root (settings hold it below 65) and a name   \
                        */
#define FORMATS_MAX 32 /* octets of the blank-separated numbers */

static void append_link(const struct est_settings *settings, const struct est_operation *operation,
                        const struct coap_message *request, const char *authority, struct buffer *payload);
static void write_target(const struct est_settings *settings, const struct est_operation *operation,
                         const char *authority, struct buffer *target);
static void write_formats(const struct est_operation *operation, struct buffer *formats);
static bool is_selected(const struct link *link, const struct coap_message *request);
static void append_jpy_link(const struct discovery_ways *ways, const char *scheme,
                            const struct coap_message *request, struct buffer *payload);
static const struct join_registrar_name *find_jpy_name(const char *scheme);
static void append_own_port(const struct discovery_ways *ways, const struct coap_message *request,
                            struct buffer *payload);
static bool is_asked_for(const char *attribute, const struct coap_message *request);
static void append_parameter(const struct link_parameter *parameter, const struct coap_message *request,
                             struct buffer *payload);

bool discovery_is_addressed(const struct coap_message *request)
{
    return request->uri_path_count == 2 && bytes_equal(request->uri_path[0], BYTES_LITERAL(".well-known")) &&
           bytes_equal(request->uri_path[1], BYTES_LITERAL("core"));
}

enum status discovery_links(const struct est_settings *settings, const struct coap_message *request,
                            const char *authority, struct buffer *payload)
{
    for (enum est_operation_id id = 0; id < EST_OPERATION_COUNT; id++)
        if (est_operation_is_enabled(settings, id))
            append_link(settings, est_operation(id), request, authority, payload);
    return payload->status;
}

static void append_link(const struct est_settings *settings, const struct est_operation *operation,
                        const struct coap_message *request, const char *authority, struct buffer *payload)
{
    struct buffer target, formats;
    buffer_init(&target, TARGET_MAX);
    buffer_init(&formats, FORMATS_MAX);
    write_target(settings, operation, authority, &target);
    write_formats(operation, &formats);
    struct link link = {
        .target = buffer_string(&target),
        .resource_type = operation->resource_type,
        .content_type = buffer_string(&formats),
    };
    if (target.status != STATUS_OK || formats.status != STATUS_OK)
        payload->status = target.status != STATUS_OK ? target.status : formats.status;
    else if (is_selected(&link, request))
        link_format_append(payload, &link);
    buffer_free(&target);
    buffer_free(&formats);
}

/* A relative link would resolve to coap:// where the query came without DTLS (DISC-3). */
static void write_target(const struct est_settings *settings, const struct est_operation *operation,
                         const char *authority, struct buffer *target)
{
    if (authority[0] != '\0')
        buffer_printf(target, "coaps://%s", authority);
    buffer_printf(target, "%s/%s", settings->root, operation->name);
}

static void write_formats(const struct est_operation *operation, struct buffer *formats)
{
    for (size_t i = 0; i < operation->response_count; i++)
        buffer_printf(formats, "%s%d", i > 0 ? " " : "", (int)operation->response[i]);
}

static bool is_selected(const struct link *link, const struct coap_message *request)
{
    for (size_t i = 0; i < request->uri_query_count; i++)
        if (!link_format_matches(link, request->uri_query[i]))
            return false;
    return true;
}

enum status discovery_way_links(const struct discovery_ways *ways, const struct coap_message *request,
                                struct buffer *payload)
{
    for (size_t i = 0; ways->jpy[0] != '\0' && i < ways->schemes->count; i++)
        append_jpy_link(ways, ways->schemes->items[i], request, payload);
    if (ways->coaps_port != 0)
        append_own_port(ways, request, payload);
    return payload->status;
}

static void append_jpy_link(const struct discovery_ways *ways, const char *scheme,
                            const struct coap_message *request, struct buffer *payload)
{
    char target[TARGET_MAX];
    const struct join_registrar_name *name = find_jpy_name(scheme);
    if (name == NULL)
        return;
    snprintf(target, sizeof target, "%s://%s", name->scheme, ways->jpy);
    append_parameter(&(struct link_parameter){target, "rt", name->type}, request, payload);
}

static const struct join_registrar_name *find_jpy_name(const char *scheme)
{
    for (size_t i = 0; i < join_names_registrar_count(); i++)
        if (join_names_registrar(i)->jpy && strcmp(join_names_registrar(i)->scheme, scheme) == 0)
            return join_names_registrar(i);
    return NULL;
}

/* The link has the name that the first entry of the table tells, no target, and means the one who answers. */
static void append_own_port(const struct discovery_ways *ways, const struct coap_message *request,
                            struct buffer *payload)
{
    char port[6];
    const char *attribute = join_names_proxy(0)->attribute;
    snprintf(port, sizeof port, "%u", ways->coaps_port);
    if (is_asked_for(attribute, request))
        append_parameter(&(struct link_parameter){"", attribute, port}, request, payload);
}

static bool is_asked_for(const char *attribute, const struct coap_message *request)
{
    const struct bytes name = bytes_from_string(attribute);
    for (size_t i = 0; i < request->uri_query_count; i++) {
        struct bytes query = request->uri_query[i];
        if (query.len > name.len && query.at[name.len] == '=' &&
            bytes_equal(bytes_slice(query, 0, name.len), name))
            return true;
    }
    return false;
}

static void append_parameter(const struct link_parameter *parameter, const struct coap_message *request,
                             struct buffer *payload)
{
    for (size_t i = 0; i < request->uri_query_count; i++)
        if (!link_parameter_matches(parameter, request->uri_query[i]))
            return;
    buffer_printf(payload, "%s<%s>;%s=%s", payload->len > 0 ? "," : "", parameter->target, parameter->name,
                  parameter->value);
}
