/* A key that the registrar has made for a device in the EST server's place (RFC 9148 section 5; SKG-5,
 * SKG-7): in the form that the device gets, and with the CSR that asks for its certificate. */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_LOCAL_KEY_H
#define ESTUARY_REGISTRAR_EXCHANGE_LOCAL_KEY_H

#include "common/bytes.h"
#include "registrar/exchange/est_outcome.h"
#include "registrar/exchange/exchange.h"
#include "registrar/keygen/key_type.h"

struct generated_key;
struct local_key;

/* Why there is no key: static text. */
struct local_key_refusal {
    uint8_t code; /* CoAP */
    const char *diagnostic;
};

/* What can be said before a key is made: false and the refusal where the device's CSR wishes what cannot be
 * (SKG-3, SKG-7). */
bool local_key_may_be_made(const struct exchange_services *services,
                           const struct certificate_request *device_csr, struct local_key_refusal *refusal);

/* Of which type it shall be, as est.key_type says. csrattrs are those of the EST server (DER, empty: it has
 * none), NULL: not asked for yet. False: ask for them first. */
bool local_key_type(const struct est_settings *settings, const struct certificate_request *device_csr,
                    const struct bytes *csrattrs, enum key_type *type);

/* Takes made. Protects it where the device wishes so; no other copy of the private key is left. Gives the
 * first reference; NULL: refusal says why, and nothing has been asked of the EST server yet. Immutable,
 * reference counted, thread safe. */
struct local_key *local_key_create(const struct exchange_services *services,
                                   const struct certificate_request *device_csr, struct generated_key *made,
                                   struct local_key_refusal *refusal);
struct local_key *local_key_hold(struct local_key *key);
void local_key_release(struct local_key *key); /* NULL: nothing. The last one wipes */

/* What is kept with it. */
size_t local_key_octets(const struct local_key *key);

/* The CSR for the EST server, as it is sent and parsed. Both borrow. */
struct bytes local_key_csr(const struct local_key *key);
const struct certificate_request *local_key_request(const struct local_key *key);

/* Puts key and certificate in the place of outcome's content, which is the certs-only answer to that CSR. On
 * failure outcome becomes 5.02 and in doubt. */
void local_key_complete(const struct local_key *key, const struct est_operation *operation,
                        struct est_outcome *outcome);

/* Where the EST server has put off that CSR (202) and the key cannot be kept, why as
 * pending_enrolments_keep_key says: outcome becomes 5.02 and in doubt, for another key would be put off
 * again. */
void local_key_cannot_wait(enum status why, struct est_outcome *outcome);

#endif
