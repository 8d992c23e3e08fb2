/* The keys of devices that a key made for them is encrypted to, by the identifiers that their CSRs name (RFC
 * 7030 sections 4.4.1.1 and 4.4.1.2). */
#ifndef ESTUARY_REGISTRAR_KEYGEN_KEY_DIRECTORY_H
#define ESTUARY_REGISTRAR_KEYGEN_KEY_DIRECTORY_H

#include "common/bytes.h"

#include <openssl/evp.h>

#define KEY_IDENTIFIER_MAX 64   /* octets */
#define KEY_DIRECTORY_MAX  4096 /* keys */

/* A folder (est.key_directory) with one file for each key; HEX is the identifier, in either case:
 *   HEX.key   a key-encryption key, as 32, 48 or 64 hexadecimal digits (AES-128, -192 or -256);
 *   HEX.pem   a certificate or a public key in PEM, RSA of at least 2048 bits or on P-256, P-384 or P-521;
 *             HEX is its subjectKeyIdentifier, or whatever else the device calls it.
 * Files of other names are passed over. Key-encryption keys are kept in locked memory.
 * Immutable, reference counted, thread safe. */
struct key_directory;

/* Reads all of it, and gives the first reference. On failure NULL, and errors says which file, what is wrong
 * and the cure. Refused are also: a .key file that others may read or that group or others may write, a .pem
 * file or folder that others may write; a certificate whose keyUsage allows neither key transport nor key
 * agreement, as the key's type has it; two files for one identifier; more keys than KEY_DIRECTORY_MAX. */
struct key_directory *key_directory_load(const char *path, struct buffer *errors);
struct key_directory *key_directory_hold(struct key_directory *directory);
void key_directory_release(struct key_directory *directory);

/* The key-encryption key of that identifier, 16, 24 or 32 octets; false: there is none. Borrows. */
bool key_directory_symmetric(const struct key_directory *directory, struct bytes identifier,
                             struct bytes *key);

/* The public key of that identifier, or NULL. Borrows. */
EVP_PKEY *key_directory_asymmetric(const struct key_directory *directory, struct bytes identifier);

#endif
