/* A key that the server generates, and the multipart/mixed body that carries it with its certificate (RFC
 * 7030 section 4.4.2). */
#ifndef EST_SERVER_KEY_PACKAGE_H
#define EST_SERVER_KEY_PACKAGE_H

#include "behaviour.h"

#include <openssl/evp.h>

struct evbuffer;

/* Gives a P-256 key, or an RSA key where the behaviour wants PKCS#1. */
EVP_PKEY *key_package_generate(const struct behaviour *behaviour);

/* Appends the private key's DER: PKCS#8, or what the behaviour puts in its place. */
void key_package_write_key(const struct behaviour *behaviour, EVP_PKEY *key, struct evbuffer *der);

/* Appends EnvelopedData(SignedData(PrivateKeyInfo)) (RFC 7030 section 4.4.2) for the well-known
 * key-encryption key of "key-cms". For want of another signer the new certificate has signed it. */
void key_package_write_protected_key(X509 *certificate, EVP_PKEY *key, struct evbuffer *der);

/* Appends the multipart/mixed body of the two parts, which are base64 already, to body. Gives its
 * Content-Type, a constant. */
const char *key_package_write(const struct behaviour *behaviour, struct evbuffer *key,
                              struct evbuffer *certificate, struct evbuffer *body);

#endif
