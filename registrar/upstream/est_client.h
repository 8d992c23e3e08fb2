/* Asks the EST servers over HTTPS (RFC 7030) on a worker's own event loop, with RA credentials. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_EST_CLIENT_H
#define ESTUARY_REGISTRAR_UPSTREAM_EST_CLIENT_H

#include "common/bytes.h"
#include "registrar/protocol/est_operation.h"
#include "registrar/settings.h"
#include "registrar/upstream/est_response.h"

#include <openssl/x509.h>

struct event_base;
struct mailbox;
struct metrics;
struct permit_pool;
struct ra_credentials;
struct server_group;
struct est_client;
struct est_call;

/* A request waits for a permit for at most timeout_ms; once it has one, it is answered within timeout_ms,
 * however many EST servers and redirects that takes. */
struct est_call_settings {
    const struct est_operation *operation;
    struct bytes label; /* copied; empty: default_label */
    const char *path;   /* copied; in the place of /.well-known/est/LABEL; NULL or "": none */
    struct bytes body;  /* copied; base64 already */
    X509 *client;       /* of the device that a POST is for; read before est_client_ask returns. NULL: none */
    /* May be NULL. It is the call's turn to leave; it goes on with est_call_go or est_call_withhold, at once
     * or later, on the loop. Perhaps before est_client_ask returns; once at most. The call must not be named
     * any more once done or est_client_free was called. */
    void (*turn)(void *user, struct est_call *call);
    uint64_t server; /* only this one (server_group_id), which knows the request; 0: any. One that is
                        configured no more counts as 0 */
    void (*sending)(void *user); /* right before the first octet of the request can leave, each time that it
                                     is sent to another EST server, or on; may be NULL */
    void (*done)(void *user,
                 const struct est_response *response); /* exactly once, never before est_client_ask returns */
    void *user;
};

/* What a client works with: of its worker, but for permits, servers and metrics, which are the process's.
 * Borrowed; servers is held. */
struct est_client_services {
    struct event_base *base;
    struct mailbox *mailbox; /* of base */
    struct permit_pool *permits;
    struct server_group *servers;
    struct metrics *metrics;
    struct ra_credentials *credentials; /* the client takes a reference of its own */
};

/* Borrows settings, copies services. On failure NULL, and errors names what is wrong and the cure. SIGPIPE is
 * ignored from here on, if it was not handled: TLS on a broken connection would raise it. */
struct est_client *est_client_create(const struct upstream_settings *settings,
                                     const struct est_client_services *services, struct buffer *errors);

/* Ends what still runs; its callbacks are not called any more. Not to be called from one of them. The mailbox
 * is freed later, and the permits after that. */
void est_client_free(struct est_client *client);

/* STATUS_OK: done will be called, on the loop. STATUS_NO_MEMORY, or STATUS_MALFORMED for a label that is
 * none: it will not. A POST of whose body an octet has left is never repeated by the client itself, but where
 * the EST server itself redirects it: with 307 or 308 it has not acted. */
enum status est_client_ask(struct est_client *client, const struct est_call_settings *call);

/* What turn calls for: the request leaves; or it must not, and is done with EST_WITHHELD, later on the loop.
 */
void est_call_go(struct est_call *call);
void est_call_withhold(struct est_call *call, const char *reason); /* reason is static */

/* Whatever begins from now on uses these; what is under way goes on with those it has. Takes a reference of
 * its own. On the client's loop. */
void est_client_use_credentials(struct est_client *client, struct ra_credentials *credentials);

/* From now on asks these. Requests that run stay with those that they have. On the client's loop. */
void est_client_use_servers(struct est_client *client, struct server_group *servers);

#endif
