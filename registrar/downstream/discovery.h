/* What /.well-known/core says about the registrar (RFC 9148 section 4.1, RFC 6690). Pure. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_DISCOVERY_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_DISCOVERY_H

#include "common/bytes.h"
#include "common/coap_message.h"
#include "registrar/settings.h"

/* Whether the request addresses /.well-known/core. */
bool discovery_is_addressed(const struct coap_message *request);

/* Appends the links that all of the request's queries select, perhaps none (DISC-1, DISC-2). authority is ""
 * for relative links (the query came over coaps on the same port) or "[addr]:port" for absolute coaps:// ones
 * (DISC-3). */
enum status discovery_links(const struct est_settings *settings, const struct coap_message *request,
                            const char *authority, struct buffer *payload);

#endif
