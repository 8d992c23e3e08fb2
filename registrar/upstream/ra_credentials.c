#include "registrar/upstream/ra_credentials.h"

#include "registrar/protocol/credential_file.h"
#include "registrar/protocol/pem_file.h"
#include "registrar/upstream/ra_identity.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct ra_credentials {
    atomic_uint references;
    struct ra_identity identity;
    struct server_trust *trust;
    int tls_min_version; /* TLS1_2_VERSION, … */
    char *ciphers;       /* of TLS 1.2; "": OpenSSL's choice */
    char *ciphersuites;  /* of TLS 1.3; likewise */
    char *username;
    struct buffer password; /* locked; empty: no HTTP authentication */
    char *password_text;    /* in that buffer; NULL: none */
};

static bool load(struct ra_credentials *credentials, const struct upstream_settings *settings,
                 struct buffer *errors, struct buffer *warnings);
static bool load_password(struct ra_credentials *credentials, const struct upstream_settings *settings,
                          struct buffer *errors, struct buffer *warnings);
static bool try_context(const struct ra_credentials *credentials, bool loaded, struct buffer *errors);
static const char *find_wrong_suites(const struct ra_credentials *credentials, SSL_CTX *context);
static const char *or_empty(const char *text);
static void warn_of_purposes(const struct pem_file *file, X509 *certificate, struct buffer *warnings);

struct ra_credentials *ra_credentials_load(const struct upstream_settings *settings, struct buffer *errors,
                                           struct buffer *warnings)
{
    struct ra_credentials *credentials = calloc(1, sizeof *credentials);
    if (credentials == NULL)
        return NULL;
    atomic_init(&credentials->references, 1);
    bool loaded = load(credentials, settings, errors, warnings);
    if (try_context(credentials, loaded, errors) && loaded) {
        ERR_clear_error();
        return credentials;
    }
    ERR_clear_error();
    ra_credentials_release(credentials);
    return NULL;
}

static bool load(struct ra_credentials *credentials, const struct upstream_settings *settings,
                 struct buffer *errors, struct buffer *warnings)
{
    const struct ra_identity_source source = {
        .certificate = settings->certificate,
        .certificate_setting = "upstream.certificate",
        .private_key = settings->private_key,
        .private_key_setting = "upstream.private_key",
        .passphrase_file = or_empty(settings->passphrase_file),
        .pkcs11_module = or_empty(settings->pkcs11_module),
    };
    const struct pem_file file = {source.certificate_setting, source.certificate};
    enum status identity = ra_identity_load(&source, &credentials->identity, errors, warnings);
    if (identity == STATUS_OK) {
        warn_of_purposes(&file, credentials->identity.certificate, warnings);
        pem_file_warn_of_validity(&file, credentials->identity.certificate, warnings);
    }
    credentials->trust = server_trust_load(settings, errors, warnings);
    credentials->tls_min_version =
        settings->tls_min_version == UPSTREAM_TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;
    credentials->ciphers = strdup(or_empty(settings->tls_ciphers));
    credentials->ciphersuites = strdup(or_empty(settings->tls_ciphersuites));
    bool password = load_password(credentials, settings, errors, warnings);
    return identity == STATUS_OK && credentials->trust != NULL && password && credentials->ciphers != NULL &&
           credentials->ciphersuites != NULL;
}

static bool load_password(struct ra_credentials *credentials, const struct upstream_settings *settings,
                          struct buffer *errors, struct buffer *warnings)
{
    const struct pem_file file = {"upstream.password_file", or_empty(settings->password_file)};
    credentials->username = strdup(or_empty(settings->username));
    buffer_init_locked(&credentials->password, CREDENTIAL_LINE_OCTETS_MAX);
    if (file.name[0] == '\0')
        return credentials->username != NULL;
    credential_file_warn_of_mode(&file, warnings);
    if (credential_file_read_line(&file, &credentials->password, errors) != STATUS_OK)
        return false;
    buffer_append_byte(&credentials->password, '\0');
    credentials->password_text = (char *)credentials->password.at;
    return credentials->username != NULL && credentials->password.status == STATUS_OK;
}

/* Better found out now than with the first connection, and under the key of what is wrong; also beside what
 * else is wrong. */
static bool try_context(const struct ra_credentials *credentials, bool loaded, struct buffer *errors)
{
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    const char *wrong = context != NULL ? find_wrong_suites(credentials, context) : NULL;
    const char *cure = "name cipher suites that \"openssl ciphers\" lists, or none";
    if (wrong == NULL && loaded && (context == NULL || !ra_credentials_use(credentials, context))) {
        wrong = "upstream.certificate";
        cure = "its key must have 112 bits of security at least (RSA 2048, P-256)";
    }
    if (wrong != NULL) {
        const char *reason = ERR_reason_error_string(ERR_peek_error());
        buffer_printf(errors, "%s: cannot be used: %s; %s\n", wrong,
                      reason != NULL ? reason : "no reason given", cure);
    }
    SSL_CTX_free(context);
    return wrong == NULL;
}

/* NULL: those of both versions can be used. */
static const char *find_wrong_suites(const struct ra_credentials *credentials, SSL_CTX *context)
{
    if (credentials->ciphers == NULL || credentials->ciphersuites == NULL)
        return NULL; /* no memory, which load has seen */
    if (credentials->ciphers[0] != '\0' && SSL_CTX_set_cipher_list(context, credentials->ciphers) != 1)
        return "upstream.tls_ciphers";
    if (credentials->ciphersuites[0] != '\0' &&
        SSL_CTX_set_ciphersuites(context, credentials->ciphersuites) != 1)
        return "upstream.tls_ciphersuites";
    return NULL;
}

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

/* RFC 7030 section 3.6.1 and RFC 6402 section 2.10; libest demands clientAuth as well. */
static void warn_of_purposes(const struct pem_file *file, X509 *certificate, struct buffer *warnings)
{
    if (!pem_certificate_names_purpose(certificate, NID_cmcRA))
        pem_file_say(
            file, warnings,
            "lacks the extended key usage id-kp-cmcRA (1.3.6.1.5.5.7.3.28): the EST server will not "
            "treat the registrar as an RA and will refuse requests that carry a proof of possession; "
            "have the EST CA issue one with it");
    bool limited = (X509_get_extension_flags(certificate) & EXFLAG_XKUSAGE) != 0;
    if (limited && !pem_certificate_names_purpose(certificate, NID_client_auth))
        pem_file_say(file, warnings,
                     "lacks the extended key usage clientAuth: TLS handshakes with the EST server will fail; "
                     "have the EST CA issue one with it");
}

struct ra_credentials *ra_credentials_hold(struct ra_credentials *credentials)
{
    atomic_fetch_add_explicit(&credentials->references, 1, memory_order_relaxed);
    return credentials;
}

void ra_credentials_release(struct ra_credentials *credentials)
{
    if (credentials == NULL ||
        atomic_fetch_sub_explicit(&credentials->references, 1, memory_order_acq_rel) > 1)
        return;
    ra_identity_free(&credentials->identity);
    server_trust_free(credentials->trust);
    buffer_wipe(&credentials->password);
    free(credentials->ciphers);
    free(credentials->ciphersuites);
    free(credentials->username);
    free(credentials);
}

/* The level is said here, so that nothing that the DTLS side or the system's openssl.cnf needs lowers it; and
 * no suite without encryption or without a certificate, whatever the list says (RFC 7030 section 3.2.3). */
bool ra_credentials_use(const struct ra_credentials *credentials, SSL_CTX *context)
{
    const struct ra_identity *identity = &credentials->identity;
    if (SSL_CTX_set_min_proto_version(context, credentials->tls_min_version) != 1 ||
        find_wrong_suites(credentials, context) != NULL)
        return false;
    SSL_CTX_set_security_level(context, SERVER_TRUST_LEVEL);
    return SSL_CTX_use_certificate(context, identity->certificate) == 1 &&
           (identity->intermediates == NULL || SSL_CTX_set1_chain(context, identity->intermediates) == 1) &&
           SSL_CTX_use_PrivateKey(context, identity->key) == 1;
}

const struct server_trust *ra_credentials_trust(const struct ra_credentials *credentials)
{
    return credentials->trust;
}

X509 *ra_credentials_certificate(const struct ra_credentials *credentials)
{
    return credentials->identity.certificate;
}

EVP_PKEY *ra_credentials_key(const struct ra_credentials *credentials)
{
    return credentials->identity.key;
}

const char *ra_credentials_username(const struct ra_credentials *credentials)
{
    return credentials->username;
}

const char *ra_credentials_password(const struct ra_credentials *credentials)
{
    return credentials->password_text;
}
