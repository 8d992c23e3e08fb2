/* What /.well-known/core says about the registrar (RFC 9148 section 4.1, RFC 6690,
 * JPD-3 to JPD-5). Pure. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_DISCOVERY_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_DISCOVERY_H

#include "common/bytes.h"
#include "common/coap_message.h"
#include "registrar/settings.h"

/* The ways to EST that stand beside the coaps links of the unsecured port. */
struct discovery_ways {
    const char *jpy;                        /* "[addr]:port" of the JPY port; "": there is none */
    const struct settings_strings *schemes; /* of the links to it */
    uint16_t coaps_port;                    /* at the address that was asked; 0: not to be told */
};

/* Whether the request addresses /.well-known/core. */
bool discovery_is_addressed(const struct coap_message *request);

/* Appends the links that all of the request's queries select, perhaps none (DISC-1, DISC-2). authority is ""
 * for relative links (the query came over coaps on the same port) or "[addr]:port" for absolute coaps:// ones
 * (DISC-3). */
enum status discovery_links(const struct est_settings *settings, const struct coap_message *request,
                            const char *authority, struct buffer *payload);

/* Appends those that the queries select: the JPY port for join proxies (JPD-3), and, only when asked for by
 * name, our own coaps port for devices that look for a join proxy (JPD-5). */
enum status discovery_way_links(const struct discovery_ways *ways, const struct coap_message *request,
                                struct buffer *payload);

#endif
