#include "registrar/downstream/discovery.h"

#include "common/link_format.h"
#include "registrar/protocol/est_operation.h"

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
