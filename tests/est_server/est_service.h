/* RFC 7030 under /.well-known/est: finds the operation and the label of a request, has it performed, and
 * records what happened. */
#ifndef EST_SERVER_EST_SERVICE_H
#define EST_SERVER_EST_SERVICE_H

#include "approvals.h"
#include "certificate_authority.h"
#include "http_credentials.h"
#include "statistics.h"

#include "connection.h"

enum { CACERTS_MAX = 8 };

enum authentication { BY_CERTIFICATE, BY_HTTP, BY_BOTH, BY_EITHER };

/* What the service works with; it borrows all of it. */
struct est_service {
    struct certificate_authority *authority;
    struct certificate_authority *next_authority; /* a second one for cacerts, as in a rollover */
    X509 *cacerts[CACERTS_MAX];                   /* what cacerts answers in their place, if there are any */
    size_t cacerts_count;
    const char *const *labels; /* ordinary ones that are legal, NULL-terminated */
    enum authentication authentication;
    enum http_scheme http_scheme;
    struct http_credentials *credentials;
    struct octets csrattrs; /* DER; none: 204 */
    struct approvals *approvals;
    struct statistics *statistics;
    bool released; /* what "hold" holds back */
    bool libest;   /* every label has libest's quirks */
    uint16_t port;
};

/* Gives the response to an EST request and fills in how it is to be delivered. */
struct http_response *est_service_answer(struct est_service *service, struct connection *connection,
                                         const struct http_request *request, struct delivery *delivery);

#endif
