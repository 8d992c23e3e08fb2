/* The bodies of successes, with the damage that a label asks for. */
#ifndef EST_SERVER_SUCCESS_H
#define EST_SERVER_SUCCESS_H

#include "transaction.h"

/* These complete the response and give DONE, or refuse. */
int success_certificates(struct transaction *transaction, X509 *const certificates[], size_t count);
int success_csr_attributes(struct transaction *transaction, struct octets der);
int success_key_and_certificate(struct transaction *transaction, EVP_PKEY *key);

/* The certificates that answer an enrolment, by what the label wants: at most two, borrowed. Gives how many.
 */
size_t success_issued_certificates(const struct transaction *transaction, X509 *certificates[2]);

#endif
