/* One file that holds a certificate and its private key together (PEM or PKCS#12), so that a rename replaces
 * both at once: whenever the power fails, they match. */
#ifndef ESTUARY_REGISTRAR_RENEWAL_IDENTITY_FILE_H
#define ESTUARY_REGISTRAR_RENEWAL_IDENTITY_FILE_H

#include "common/bytes.h"
#include "registrar/upstream/ra_identity.h"

struct identity_file;

/* source names one file as certificate and private key. Reads the pass-phrase, by which new keys are
 * enciphered as well. Gives; NULL: a line in errors. */
struct identity_file *identity_file_open(const struct ra_identity_source *source, struct buffer *errors);
void identity_file_close(struct identity_file *file); /* wipes; NULL is none */

/* The key that was kept while its certificate was asked for; NULL: none that can be read. Gives. */
EVP_PKEY *identity_file_kept_key(const struct identity_file *file);

/* The DER of the CSR that was kept with it, appended. False: there is none. */
bool identity_file_kept_request(const struct identity_file *file, struct buffer *der);

/* Keeps both, in FILE.renewal-key, across restarts: the certificate may take days to be approved, and the EST
 * server knows the request by its key, or by every octet of it (RFC 7030 section 4.2.3). */
enum status identity_file_keep(const struct identity_file *file, EVP_PKEY *key, struct bytes request,
                               struct buffer *errors);

/* Writes next in the place of what the file holds, which stays as FILE.old; with its owner and its mode, but
 * never for others to read; and drops the kept key. On failure the file is as it was. */
enum status identity_file_replace(const struct identity_file *file, const struct ra_identity *next,
                                  struct buffer *errors);

#endif
