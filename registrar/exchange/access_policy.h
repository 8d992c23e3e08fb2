/* What a client may ask for (RFC 7030 section 3.7): the checks that only an RA can make. Pure: no socket,
 * loop or clock. */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_ACCESS_POLICY_H
#define ESTUARY_REGISTRAR_EXCHANGE_ACCESS_POLICY_H

#include "common/bytes.h"
#include "registrar/exchange/access_rules.h"
#include "registrar/protocol/certificate_request.h"
#include "registrar/protocol/client_identity.h"
#include "registrar/protocol/est_operation.h"

/* Decides about a CSR. STATUS_OK, or STATUS_FORBIDDEN with the reason in diagnostic (at most 128 octets of
 * ASCII, fit for the device and for the log): it asks for CA or RA powers (RE-7), or it does not name the
 * device that sends it (RE-8):
 * - same-serial: where the client certificate has exactly one serialNumber in its subject, the CSR's subject
 *   has exactly that one, and no commonName, emailAddress or userId but those of the client certificate, by
 *   which others would know another device. Otherwise as same-subject.
 * - serial-only: as same-serial, but the CSR chooses these names.
 * - same-subject: the subjects are equal, attribute by attribute. An empty one names nobody: then the CSR
 *   has a subjectAltName.
 * - with all of these, every subjectAltName of the CSR is one of the client certificate's, or allowed by the
 *   rule that decided.
 * - with all of these, no ChangeSubjectName asks for yet another name (RE-2).
 * - any: whatever it likes to call itself. */
enum status access_policy_check(const struct access_decision *decision, const struct client_identity *client,
                                const struct certificate_request *request, struct buffer *diagnostic);

#endif
