/* All that makes a connection to the EST server trustworthy for both sides: the RA's certificate, key, user
 * name and password (RA-1, RA-8), and whom we trust (RA-2). Loaded once, immutable, shared by all threads, so
 * that no connection reads a file on an event loop and a reload can put another in its place. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_RA_CREDENTIALS_H
#define ESTUARY_REGISTRAR_UPSTREAM_RA_CREDENTIALS_H

#include "common/bytes.h"
#include "registrar/settings.h"
#include "registrar/upstream/server_trust.h"

#include <openssl/ssl.h>

struct ra_credentials;

/* Reads all files that the settings name, and checks them. Gives one reference; NULL: one line in errors for
 * each thing wrong names setting, file and cure. warnings has a line for each thing that will hurt later: no
 * id-kp-cmcRA or clientAuth, expiry in less than 30 days, secrets that everybody may read. */
struct ra_credentials *ra_credentials_load(const struct upstream_settings *settings, struct buffer *errors,
                                           struct buffer *warnings);
struct ra_credentials *ra_credentials_hold(struct ra_credentials *credentials);
void ra_credentials_release(struct ra_credentials *credentials); /* the last one wipes */

/* Gives a client's context certificate, key, TLS versions and ciphers. Whom to trust is the caller's to ask
 * of ra_credentials_trust. */
bool ra_credentials_use(const struct ra_credentials *credentials, SSL_CTX *context);

/* These borrow. */
const struct server_trust *ra_credentials_trust(const struct ra_credentials *credentials);
X509 *ra_credentials_certificate(const struct ra_credentials *credentials);
EVP_PKEY *ra_credentials_key(const struct ra_credentials *credentials);

/* For HTTP authentication (RFC 7030 section 3.2.3). password NULL: there is none to be used. */
const char *ra_credentials_username(const struct ra_credentials *credentials);
const char *ra_credentials_password(const struct ra_credentials *credentials);

#endif
