/* Whether, and where, the EST server's answer sends a request on (RFC 7030 section 3.2.1, RA-9). Pure. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_REDIRECT_H
#define ESTUARY_REGISTRAR_UPSTREAM_REDIRECT_H

#include "registrar/protocol/https_origin.h"
#include "registrar/upstream/est_response.h"
#include "registrar/upstream/server_group.h"

#define REDIRECTS_MAX 5 /* of one request */

struct redirected {
    const char *url; /* that was asked */
    bool is_post;
    unsigned count; /* redirects followed already */
};

enum redirect_verdict {
    REDIRECT_NONE,   /* the answer is no redirect, or none for this method: it is the end */
    REDIRECT_FOLLOW, /* ask again, at url; a POST with its body, which the EST server has not acted upon */
    REDIRECT_REFUSED /* it is one, and must not be followed: complaint says why */
};

/* Only STATUS_OK's url and origin count. A POST goes on with 307 and 308 only, to the same origin, or to one
 * that the group allows. complaint is static text. */
enum redirect_verdict redirect_judge(const struct redirected *asked, const struct est_response *response,
                                     const struct server_group *group, struct buffer *url,
                                     const char **complaint);

#endif
