/* New roots of the EST CA (RFC 7030 section 4.1.3): which of those that /cacerts shows may be trusted from
 * now on, because a root that is trusted already vouches for them (RFC 4210 section 4.4). Pure but for the
 * clock. */
#ifndef ESTUARY_REGISTRAR_RENEWAL_ROOT_ROLLOVER_H
#define ESTUARY_REGISTRAR_RENEWAL_ROOT_ROLLOVER_H

#include "registrar/translate/certs_only.h"

/* Pushes references to the new roots onto found: those for which there is also NewWithOld, a certificate of
 * the same name and key, signed by one of the anchors, which has that name as well. With no anchors at all,
 * the root that ends last, for then only the TLS connection vouches for it (RFC 7030 section 4.1.1). False:
 * no memory. */
bool root_rollover_find(const STACK_OF(X509) * anchors, const struct certs_only *certs,
                        STACK_OF(X509) * found);

#endif
