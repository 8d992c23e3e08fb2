/* What a device gets from /skg and /skc: a private key and its certificate in multipart-core (RFC 9148
 * sections 4.3 and 4.8; MP-1, MP-4 to MP-7). */
#ifndef ESTUARY_REGISTRAR_TRANSLATE_KEY_ANSWER_H
#define ESTUARY_REGISTRAR_TRANSLATE_KEY_ANSWER_H

#include "common/bytes.h"
#include "registrar/translate/response_body.h"

#include <openssl/evp.h>

/* A key on its way to a device. */
struct key_answer_key {
    enum content_format format; /* PKCS8, or SERVER_KEY: protected by CMS */
    struct bytes octets;
    /* What the certificate must be for: the private key where it comes from elsewhere, and must be seen to
     * sign; the public one of a key that was. Neither with SERVER_KEY where nobody here knows the key. */
    EVP_PKEY *private_key, *public_key;
};

/* Translates an EST server's multipart/mixed: appends multipart-core with exactly one key (284 or 280) and
 * one certificate (281, or 287 for /skc), and the certificate's serial number, in hexadecimal, to serial
 * unless that is NULL. Without a CSR the device had no wish. STATUS_MALFORMED: not that; STATUS_FORBIDDEN:
 * not protected as the CSR asks; STATUS_MISMATCH: no certificate for this key; STATUS_UNSUPPORTED: a key that
 * we cannot check. Nothing is then appended, and no copy of the key is left. core should be locked, as all is
 * that lies between. */
enum status key_answer_decode(const struct response_context *context, struct bytes content_type,
                              struct bytes body, struct buffer *core, struct buffer *serial);

/* The same out of a key and a certs-only message. */
enum status key_answer_compose(const struct est_operation *operation, const struct key_answer_key *key,
                               struct bytes certs_only, struct buffer *core, struct buffer *serial);

/* Appends the serial number of the certificate in an answer, in hexadecimal (SEC-2), where that is clear
 * without the key. */
void key_answer_serial(struct bytes core, struct buffer *serial);

#endif
