/* Whom we take for the EST server (RFC 7030 sections 3.3.1 and 3.6, RA-2): explicit trust anchors, which name
 * the CAs of EST, and implicit ones, which name any, kept apart. Immutable, and safe in every thread. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_SERVER_TRUST_H
#define ESTUARY_REGISTRAR_UPSTREAM_SERVER_TRUST_H

#include "common/bytes.h"
#include "registrar/settings.h"

#include <openssl/x509.h>

#define SERVER_TRUST_LEVEL 2 /* OpenSSL's security level towards the EST server: 112 bits */

struct server_trust;

/* Reads upstream.trust, upstream.learnt_trust (which need not exist yet) and upstream.implicit_trust.
 * warnings says which anchor is about to expire. Gives; NULL: errors names setting, file and cure. */
struct server_trust *server_trust_load(const struct upstream_settings *settings, struct buffer *errors,
                                       struct buffer *warnings);
void server_trust_free(struct server_trust *trust);

/* Whether who presented this chain may be talked to as host, a DNS name or IP address without brackets. With
 * an explicit anchor its certificate names host or has id-kp-cmcRA; with an implicit one it names host. Only
 * the subjectAltName counts. If not, why says so, and presented has the error; both for the log. */
bool server_trust_judge(const struct server_trust *trust, X509_STORE_CTX *presented, const char *host,
                        const char **why);

/* Whether it has all anchors, explicit and implicit, of the other one. */
bool server_trust_covers(const struct server_trust *trust, const struct server_trust *other);

/* The explicit anchors; borrows. */
const STACK_OF(X509) * server_trust_anchors(const struct server_trust *trust);

#endif
