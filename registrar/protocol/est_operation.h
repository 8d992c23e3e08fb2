/* The EST functions: one table that routing, discovery, checks, upstream URLs and tests walk (RFC 9148
 * sections 4.1 and 4.3). */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_EST_OPERATION_H
#define ESTUARY_REGISTRAR_PROTOCOL_EST_OPERATION_H

#include "common/bytes.h"
#include "common/coap_message.h"
#include "registrar/protocol/content_format.h"

enum est_operation_id { EST_CRTS, EST_SEN, EST_SREN, EST_ATT, EST_SKG, EST_SKC, EST_OPERATION_COUNT };

#define EST_FORMATS_MAX      3
#define EST_LABEL_OCTETS_MAX 128 /* libest takes no longer one */

struct est_operation {
    enum est_operation_id id;
    const char *name;                              /* the short name, RFC 9148 Table 1 */
    const char *long_name;                         /* RFC 7030; also the upstream path segment */
    uint8_t method;                                /* CM_GET or CM_POST */
    const char *resource_type;                     /* "ace.est.crts" */
    enum content_format response[EST_FORMATS_MAX]; /* what Accept may name; the first is the default */
    size_t response_count;
};

/* In the order of the enum. */
const struct est_operation *est_operation(enum est_operation_id id);

/* What the formats of a request deserve, before its body is looked at: 0, or CM_NOT_ACCEPTABLE for an Accept
 * that the operation cannot serve (CF-1), or CM_UNSUPPORTED_CONTENT_FORMAT for a POST that is not said to be
 * PKCS#10 (CF-2). A Content-Format on a GET is ignored (CF-3). */
uint8_t est_operation_check_formats(const struct est_operation *operation, struct coap_uint_option accept,
                                    struct coap_uint_option content_format);

struct est_settings;

/* A request's Uri-Path, taken apart. */
struct est_route {
    const struct est_operation *operation;
    struct bytes label; /* empty: none; borrowed from the allow-list */
};

/* Finds what the segments address: root or .well-known/est, perhaps a label of the allow-list, an operation
 * that is switched on (RFC 9148 section 4.1, RFC 7030 section 3.2.2; URI-1 to URI-6). STATUS_NOT_FOUND
 * otherwise. */
enum status est_route_find(const struct est_settings *settings, const struct bytes *segments, size_t count,
                           struct est_route *route);

/* Whether a label may be configured: one segment of 1 to 128 octets, not "." or "..", without "/", "\", "%"
 * and control octets, and not the name of an operation, short or long (URI-4, RFC 7030 section 3.2.2). */
bool est_label_is_valid(struct bytes label);

/* The path at the EST server that settings give the label, to which the operation is added; "": the usual
 * one. Borrows. */
const char *est_label_upstream_path(const struct est_settings *settings, struct bytes label);

/* Whether its answer carries a private key: /skg and /skc (RFC 9148 section 4.8). */
bool est_operation_makes_key(const struct est_operation *operation);

/* Whether settings switch the operation on. */
bool est_operation_is_enabled(const struct est_settings *settings, enum est_operation_id id);

#endif
