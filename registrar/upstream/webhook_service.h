/* The operator's service that decides about devices (access.webhook): where it is, what proves that it is the
 * one, and how much may be asked of it. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_WEBHOOK_SERVICE_H
#define ESTUARY_REGISTRAR_UPSTREAM_WEBHOOK_SERVICE_H

#include "common/bytes.h"
#include "registrar/settings.h"

#include <openssl/ssl.h>

/* Immutable and reference counted: whoever asks it holds it until there is an answer. */
struct webhook_service;

/* What is asked of it at most, by each worker. */
struct webhook_terms {
    uint32_t timeout_ms, max_connections, queue;
    bool fails_open; /* whether a device passes when it does not decide */
};

/* Reads the trust anchors, and keeps nothing of settings, which name a URL. Gives the first reference. NULL:
 * errors has a line for each thing wrong. */
struct webhook_service *webhook_service_load(const struct webhook_settings *settings, struct buffer *errors,
                                             struct buffer *warnings);

/* Thread safe. */
struct webhook_service *webhook_service_hold(struct webhook_service *service);
void webhook_service_release(struct webhook_service *service); /* NULL is ignored */

const struct webhook_terms *webhook_service_terms(const struct webhook_service *service);

/* What to ask, and by which socket; NULL: by HTTPS. */
const char *webhook_service_url(const struct webhook_service *service);
const char *webhook_service_socket(const struct webhook_service *service);

/* A connection made with context is to that service, or fails. False: no memory. */
bool webhook_service_secure(const struct webhook_service *service, SSL_CTX *context);

#endif
