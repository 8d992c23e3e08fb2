#include "registrar/protocol/est_operation.h"

#include "registrar/settings.h"

/* RFC 9148 section 4.1 (paths, Tables 1 and 2) and section 4.3 (Content-Formats). */
static const struct est_operation operations[EST_OPERATION_COUNT] = {
    [EST_CRTS] = {EST_CRTS,
                  "crts",
                  "cacerts",
                  CM_GET,
                  "ace.est.crts",
                  {CONTENT_FORMAT_CERTS_ONLY, CONTENT_FORMAT_ONE_CERT, CONTENT_FORMAT_MULTIPART_CORE},
                  3}, /* the last one is CF-7 */
    [EST_SEN] = {EST_SEN,
                 "sen",
                 "simpleenroll",
                 CM_POST,
                 "ace.est.sen",
                 {CONTENT_FORMAT_CERTS_ONLY, CONTENT_FORMAT_ONE_CERT},
                 2},
    [EST_SREN] = {EST_SREN,
                  "sren",
                  "simplereenroll",
                  CM_POST,
                  "ace.est.sren",
                  {CONTENT_FORMAT_CERTS_ONLY, CONTENT_FORMAT_ONE_CERT},
                  2},
    [EST_ATT] = {EST_ATT, "att", "csrattrs", CM_GET, "ace.est.att", {CONTENT_FORMAT_CSRATTRS}, 1},
    [EST_SKG] = {EST_SKG, "skg", "serverkeygen", CM_POST, "ace.est.skg", {CONTENT_FORMAT_MULTIPART_CORE}, 1},
    [EST_SKC] = {EST_SKC, "skc", "serverkeygen", CM_POST, "ace.est.skc", {CONTENT_FORMAT_MULTIPART_CORE}, 1},
};

/* Operations that we do not offer, but whose names no label may take either (RFC 7030 section 3.2.2). */
static const char *const foreign_names[] = {"fullcmc"};

static const char well_known_root[] = "/.well-known/est";

static bool skip_root(const char *root, const struct bytes **segments, size_t *count);
static enum status find_below_root(const struct est_settings *settings, const struct bytes *segments,
                                   size_t count, struct est_route *route);
static const struct est_operation *find_operation(struct bytes name, bool long_names);
static bool find_label(const struct est_settings *settings, struct bytes segment, struct bytes *label);

const struct est_operation *est_operation(enum est_operation_id id)
{
    return &operations[id];
}

uint8_t est_operation_check_formats(const struct est_operation *operation, struct coap_uint_option accept,
                                    struct coap_uint_option content_format)
{
    bool acceptable = !accept.present;
    for (size_t i = 0; i < operation->response_count; i++)
        acceptable |= accept.value == (uint32_t)operation->response[i];
    if (!acceptable)
        return CM_NOT_ACCEPTABLE;
    if (operation->method == CM_POST &&
        (!content_format.present || content_format.value != CONTENT_FORMAT_PKCS10))
        return CM_UNSUPPORTED_CONTENT_FORMAT;
    return 0;
}

bool est_operation_is_enabled(const struct est_settings *settings, enum est_operation_id id)
{
    switch (id) {
    case EST_ATT:
        return settings->att;
    case EST_SKG:
        return settings->skg;
    case EST_SKC:
        return settings->skc;
    default:
        return true;
    }
}

bool est_operation_makes_key(const struct est_operation *operation)
{
    return operation->id == EST_SKG || operation->id == EST_SKC;
}

enum status est_route_find(const struct est_settings *settings, const struct bytes *segments, size_t count,
                           struct est_route *route)
{
    const char *const roots[] = {well_known_root, settings->root};
    for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++) {
        const struct bytes *rest = segments;
        size_t rest_count = count;
        if (roots[i] != NULL && skip_root(roots[i], &rest, &rest_count) &&
            find_below_root(settings, rest, rest_count, route) == STATUS_OK)
            return STATUS_OK;
    }
    return STATUS_NOT_FOUND;
}

/* Compares octet for octet, segment for segment: Uri-Path options are never joined, decoded or normalised. */
static bool skip_root(const char *root, const struct bytes **segments, size_t *count)
{
    struct bytes rest = bytes_from_string(root);
    while (rest.len > 0) {
        size_t start = rest.at[0] == '/' ? 1 : 0, end = start;
        while (end < rest.len && rest.at[end] != '/')
            end++;
        struct bytes wanted = bytes_slice(rest, start, end - start);
        rest = bytes_slice(rest, end, rest.len);
        if (wanted.len == 0)
            continue; /* a slash at the end, or two in a row */
        if (*count == 0 || !bytes_equal((*segments)[0], wanted))
            return false;
        (*segments)++;
        (*count)--;
    }
    return true;
}

/* What follows the root: an operation, or a label and an operation (RFC 7030 section 3.2.2). */
static enum status find_below_root(const struct est_settings *settings, const struct bytes *segments,
                                   size_t count, struct est_route *route)
{
    if (count != 1 && count != 2)
        return STATUS_NOT_FOUND;
    const struct est_operation *operation = find_operation(segments[count - 1], settings->long_names);
    if (operation == NULL || !est_operation_is_enabled(settings, operation->id))
        return STATUS_NOT_FOUND;
    struct bytes label = {NULL, 0};
    if (count == 2 && !find_label(settings, segments[0], &label))
        return STATUS_NOT_FOUND;
    *route = (struct est_route){operation, label};
    return STATUS_OK;
}

static const struct est_operation *find_operation(struct bytes name, bool long_names)
{
    for (size_t i = 0; i < EST_OPERATION_COUNT; i++) {
        if (bytes_equal(name, bytes_from_string(operations[i].name)))
            return &operations[i];
        if (long_names && bytes_equal(name, bytes_from_string(operations[i].long_name)))
            return &operations[i];
    }
    return NULL;
}

static bool find_label(const struct est_settings *settings, struct bytes segment, struct bytes *label)
{
    const struct label_settings *labels = settings->labels.items;
    for (size_t i = 0; i < settings->labels.count; i++) {
        *label = bytes_from_string(labels[i].name);
        if (bytes_equal(segment, *label))
            return est_label_is_valid(*label);
    }
    return false;
}

const char *est_label_upstream_path(const struct est_settings *settings, struct bytes label)
{
    const struct label_settings *labels = settings->labels.items;
    for (size_t i = 0; i < settings->labels.count; i++)
        if (bytes_equal(label, bytes_from_string(labels[i].name)))
            return labels[i].upstream_path;
    return "";
}

bool est_label_is_valid(struct bytes label)
{
    if (label.len == 0 || label.len > EST_LABEL_OCTETS_MAX)
        return false;
    if (bytes_equal(label, BYTES_LITERAL(".")) || bytes_equal(label, BYTES_LITERAL("..")))
        return false;
    for (size_t i = 0; i < label.len; i++) {
        uint8_t octet = label.at[i];
        /* "%" and "\" would mean something else to a server that decodes twice or knows other slashes. */
        if (octet < 0x20 || octet == 0x7f || octet == '/' || octet == '%' || octet == '\\')
            return false;
    }
    for (size_t i = 0; i < sizeof(foreign_names) / sizeof(foreign_names[0]); i++)
        if (bytes_equal(label, bytes_from_string(foreign_names[i])))
            return false;
    return find_operation(label, true) == NULL;
}
