#include "contexts.h"

#include <openssl/err.h>

#include <stdio.h>

static SSL_CTX *create(const SSL_METHOD *method, const char *certificate_file, const char *key_file);
static SSL *open_ssl(SSL_CTX *context);

SSL_CTX *device_context_create(const char *certificate_file, const char *key_file)
{
    SSL_CTX *context = create(DTLS_client_method(), certificate_file, key_file);
    if (context != NULL)
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    return context;
}

SSL_CTX *server_context_create(const char *certificate_file, const char *key_file, const char *trust_file)
{
    SSL_CTX *context = create(DTLS_server_method(), certificate_file, key_file);
    if (context == NULL)
        return NULL;
    if (SSL_CTX_load_verify_locations(context, trust_file, NULL) != 1) {
        tell_openssl(trust_file);
        SSL_CTX_free(context);
        return NULL;
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return context;
}

/* Security level 0: OpenSSL 3.2 and later refuse CCM_8 at their default. */
static SSL_CTX *create(const SSL_METHOD *method, const char *certificate_file, const char *key_file)
{
    char groups[] = "P-256", signatures[] = "ECDSA+SHA256"; /* OpenSSL casts const away */
    SSL_CTX *context = SSL_CTX_new(method);
    if (context == NULL)
        return NULL;
    SSL_CTX_set_security_level(context, 0);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(context, SSL_OP_NO_QUERY_MTU | SSL_OP_NO_TICKET);
    if (SSL_CTX_set_min_proto_version(context, DTLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(context, "ECDHE-ECDSA-AES128-CCM8") != 1 ||
        SSL_CTX_set1_groups_list(context, groups) != 1 ||
        SSL_CTX_set1_sigalgs_list(context, signatures) != 1 ||
        SSL_CTX_use_certificate_chain_file(context, certificate_file) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, key_file, SSL_FILETYPE_PEM) != 1) {
        tell_openssl(certificate_file);
        SSL_CTX_free(context);
        return NULL;
    }
    return context;
}

SSL *device_open(SSL_CTX *context)
{
    SSL *ssl = open_ssl(context);
    if (ssl != NULL)
        SSL_set_connect_state(ssl);
    return ssl;
}

SSL *server_open(SSL_CTX *context)
{
    SSL *ssl = open_ssl(context);
    if (ssl != NULL)
        SSL_set_accept_state(ssl);
    return ssl;
}

static SSL *open_ssl(SSL_CTX *context)
{
    SSL *ssl = SSL_new(context);
    if (ssl != NULL)
        SSL_set_mtu(ssl, HANDSHAKE_MTU);
    return ssl;
}

void tell_openssl(const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    fprintf(stderr, "bench: %s: %s\n", what, reason != NULL ? reason : "OpenSSL gives no reason");
    ERR_clear_error();
}
