#include "tls_context.h"

#include <openssl/err.h>
#include <stdbool.h>
#include <stdio.h>

static bool load(SSL_CTX *context, const struct tls_settings *settings);
static bool trust(SSL_CTX *context, const char *file);
static bool complain(const char *what, const char *file);

SSL_CTX *tls_context_create(const struct tls_settings *settings)
{
    static const unsigned char session_id_context[] = "est-server";
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context == NULL || !load(context, settings)) {
        SSL_CTX_free(context);
        return NULL;
    }
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(context, settings->max_version);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_id_context(context, session_id_context, sizeof(session_id_context) - 1);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
    return context;
}

static bool load(SSL_CTX *context, const struct tls_settings *settings)
{
    if (SSL_CTX_use_certificate_chain_file(context, settings->certificate) != 1)
        return complain("certificate", settings->certificate);
    if (SSL_CTX_use_PrivateKey_file(context, settings->private_key, SSL_FILETYPE_PEM) != 1)
        return complain("private key", settings->private_key);
    for (const char *const *file = settings->client_cas; *file != NULL; file++)
        if (!trust(context, *file))
            return complain("client CA", *file);
    return true;
}

static bool trust(SSL_CTX *context, const char *file)
{
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(file);
    if (names == NULL || SSL_CTX_load_verify_file(context, file) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return false;
    }
    for (X509_NAME *name; (name = sk_X509_NAME_shift(names)) != NULL; X509_NAME_free(name)) {
        X509 *holder = X509_new(); /* the one way in is a certificate with that subject */
        X509_set_subject_name(holder, name);
        SSL_CTX_add_client_CA(context, holder);
        X509_free(holder);
    }
    sk_X509_NAME_free(names);
    return true;
}

static bool complain(const char *what, const char *file)
{
    fprintf(stderr, "est-server: cannot use the %s in %s: %s\n", what, file,
            ERR_reason_error_string(ERR_peek_last_error()));
    return false;
}
