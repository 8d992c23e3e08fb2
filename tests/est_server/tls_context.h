/* The TLS side of the server: its certificate, and the CAs whose client certificates it accepts. */
#ifndef EST_SERVER_TLS_CONTEXT_H
#define EST_SERVER_TLS_CONTEXT_H

#include <openssl/ssl.h>

struct tls_settings {
    const char *certificate; /* PEM files */
    const char *private_key;
    const char *const *client_cas; /* NULL-terminated */
    int max_version;               /* TLS1_2_VERSION, or 0 for what OpenSSL can do */
};

/* Gives a server context of TLS 1.2 or later that asks for a client certificate without requiring one (RFC
   7030 section 3.3.2); NULL after a message to stderr. */
SSL_CTX *tls_context_create(const struct tls_settings *settings);

#endif
