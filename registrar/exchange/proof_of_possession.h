/* Proof of possession: whether a CSR's challengePassword links it to the DTLS association that brought it
 * (RFC 7030 section 3.5, RFC 9148 sections 3 and 5). Pure: no socket, loop or clock. */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_PROOF_OF_POSSESSION_H
#define ESTUARY_REGISTRAR_EXCHANGE_PROOF_OF_POSSESSION_H

#include "registrar/protocol/certificate_request.h"
#include "registrar/protocol/channel_binding.h"
#include "registrar/settings.h"

struct proof_terms {
    enum pop_policy policy;
    bool may_be_absent; /* whatever the policy: the key is not the device's to prove (POP-9) */
    const struct channel_binding *binding;
};

/* NULL: the CSR may pass. Otherwise what is wrong, at most 128 octets of ASCII for the device and for the log
 * (static):
 * - it has no challengePassword, and the policy is required (POP-5);
 * - it has one, the policy is required, and the association has no extended master secret, without which
 *   tls-unique proves nothing (DTLS-15). Otherwise the value is compared all the same, and is worth no more
 *   than none, which would pass as well;
 * - its challengePassword is longer than 255 octets or not base64 (POP-6), or does not stand for the
 *   tls-unique of the association (POP-1), compared in constant time. What is not base64 passes for none
 *   under lenient-nonbase64, which is for laboratories. */
const char *proof_of_possession_fault(const struct proof_terms *terms,
                                      const struct certificate_request *request);

#endif
