/* What both sides do alike where a peer's certificate chain may be vouched for by one of two stores (RFC 7030
 * section 3.6: explicit and implicit trust). */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_CHAIN_CHECK_H
#define ESTUARY_REGISTRAR_PROTOCOL_CHAIN_CHECK_H

#include <openssl/x509.h>

#include <stdbool.h>

/* Gives a context that is to check what the peer has presented against store; NULL: no memory. */
X509_STORE_CTX *chain_check_create(X509_STORE *store, X509_STORE_CTX *presented);

/* Returns X509_V_OK or what is wrong; never X509_V_OK for a chain that OpenSSL has refused. */
int chain_check(X509_STORE_CTX *context);

/* That one store has no anchor for a chain is no reason where the other store has a better complaint. */
bool chain_error_says_nothing(int error);

#endif
