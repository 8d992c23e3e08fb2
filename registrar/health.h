/* Whether a running registrar answers its devices: the check of a container (--health). */
#ifndef ESTUARY_REGISTRAR_HEALTH_H
#define ESTUARY_REGISTRAR_HEALTH_H

#include "common/bytes.h"
#include "registrar/settings.h"

/* Sends a DTLS ClientHello to every address of listen.coaps (the loopback address where it is a wildcard) and
 * waits up to two seconds for the HelloVerifyRequest; with several workers from several ports, so that each
 * is likely asked. It needs no key and costs the registrar one stateless answer. STATUS_OK, or STATUS_CLOSED
 * with a line in report that names who did not answer. */
enum status health_check(const struct settings *settings, struct buffer *report);

#endif
