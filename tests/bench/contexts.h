/* The two ends of the handshake that is measured: DTLS 1.2, TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8, P-256, both
 * sides with certificates, full handshakes only. */
#ifndef BENCH_CONTEXTS_H
#define BENCH_CONTEXTS_H

#include <openssl/ssl.h>

#define HANDSHAKE_MTU 1024 /* octets of UDP payload; the registrar's default */

/* A device. It does not check the server's chain: that would be work of the load generator's alone, which
 * shares the machine with the server. Gives; NULL after a message on stderr. */
SSL_CTX *device_context_create(const char *certificate_file, const char *key_file);

/* A server of OpenSSL and nothing else, which demands a certificate below the CAs in trust_file. */
SSL_CTX *server_context_create(const char *certificate_file, const char *key_file, const char *trust_file);

/* An SSL for datagrams of at most HANDSHAKE_MTU octets; the caller gives it its BIOs. */
SSL *device_open(SSL_CTX *context);
SSL *server_open(SSL_CTX *context);

/* Prints "bench: what: " and OpenSSL's reason to stderr. */
void tell_openssl(const char *what);

#endif
