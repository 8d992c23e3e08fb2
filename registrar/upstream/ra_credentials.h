/* The RA's certificate, key and the trust anchors towards the EST server (RA-1, RA-2): read once and kept as
 * PEM, so that no connection reads a file on the event loop. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_RA_CREDENTIALS_H
#define ESTUARY_REGISTRAR_UPSTREAM_RA_CREDENTIALS_H

#include "common/bytes.h"
#include "registrar/settings.h"

struct ra_credentials {
    struct buffer certificate; /* the leaf, then intermediates */
    struct buffer private_key;
    struct buffer trust; /* every certificate of every trust file */
};

/* Reads and checks: the key fits the certificate and has no passphrase, every trust file holds a certificate.
 * On failure one line in errors for each thing wrong names setting, file and cure, and there is nothing to
 * free. */
enum status ra_credentials_load(const struct upstream_settings *settings, struct ra_credentials *credentials,
                                struct buffer *errors);
void ra_credentials_free(struct ra_credentials *credentials); /* wipes */

/* Appends a line for each thing that will hurt later: no id-kp-cmcRA or clientAuth, expiry in less than 30
 * days, of trust anchors too. */
void ra_credentials_warn(const struct upstream_settings *settings, const struct ra_credentials *credentials,
                         struct buffer *warnings);

#endif
