/* What /sren demands beyond what every CSR has to keep to: who renews a certificate shows it, and asks for
 * the same names (RFC 7030 section 4.2.2). Only the registrar can see that, because the EST server sees the
 * RA. Pure: no socket, loop or clock. */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_RENEWAL_POLICY_H
#define ESTUARY_REGISTRAR_EXCHANGE_RENEWAL_POLICY_H

#include "common/bytes.h"
#include "registrar/protocol/certificate_request.h"
#include "registrar/protocol/client_identity.h"

/* STATUS_OK, or STATUS_FORBIDDEN with the reason in diagnostic (at most 128 octets): the client certificate
 * is not one of the domain (RE-3), or its subject or its subjectAltName is not, octet for octet, that of the
 * CSR (RE-1). Both may be without a subjectAltName. The key may be the same or a new one (RE-4). */
enum status renewal_policy_check(const struct client_identity *client,
                                 const struct certificate_request *request, struct buffer *diagnostic);

#endif
