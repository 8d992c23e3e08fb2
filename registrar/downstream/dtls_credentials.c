#include "registrar/downstream/dtls_credentials.h"

#include "registrar/downstream/session_resumption.h"
#include "registrar/protocol/chain_check.h"
#include "registrar/protocol/credential_file.h"
#include "registrar/protocol/pem_file.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* RFC 9148 section 3 and RFC 7252 section 9.1.3.3 (DTLS-3, DTLS-4): AEAD, ECDHE and ECDSA only. The order is
 * ours. */
static const char ciphers[] = "ECDHE-ECDSA-AES128-CCM8:ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-AES128-GCM-SHA256:"
                              "ECDHE-ECDSA-AES256-CCM:ECDHE-ECDSA-AES256-GCM-SHA384";

#define CCM_8_CIPHER     0xc0ae /* TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8, RFC 7251 */
#define SECURITY_LEVEL   2      /* of OpenSSL: 112 bits, no SHA-1 */
#define CHAIN_LENGTH_MAX 3      /* certificates that we send (DTLS-13) */

typedef int security_callback(const SSL *, const SSL_CTX *, int, int, int, void *, void *);

struct dtls_credentials {
    atomic_uint references;
    SSL_CTX *context;
    struct trusted {
        X509_STORE *store;            /* NULL: switched off (DTLS-8) */
        struct chain_digest *anchors; /* of its certificates, sorted */
        size_t anchor_count;
        bool accept_expired; /* DTLS-9, RE-6 */
    } trusted[2];            /* by enum trust_store */
    security_callback *openssl_security;
};

static bool configure(struct dtls_credentials *credentials);
static bool restrict_protocol(SSL_CTX *context);
static int check_security(const SSL *ssl, const SSL_CTX *context, int operation, int bits, int nid,
                          void *other, void *credentials);
static int accept_cookie(SSL *ssl, const unsigned char *cookie, unsigned len);
static bool load_identity(struct dtls_credentials *credentials, const struct dtls_settings *settings,
                          struct buffer *errors, struct buffer *warnings);
static bool use_certificate(SSL_CTX *context, const struct pem_file *file, STACK_OF(X509) * chain,
                            struct buffer *errors);
static bool is_of_our_curves(const X509 *certificate);
static bool use_chain(SSL_CTX *context, const struct pem_file *file, STACK_OF(X509) * chain,
                      struct buffer *warnings);
static void warn_of_purposes(const struct pem_file *file, X509 *certificate, struct buffer *warnings);
static bool use_key(SSL_CTX *context, const struct pem_file *file, EVP_PKEY *key, struct buffer *errors);
static bool load_trust(const struct settings_strings *files, const char *setting, struct trusted *trusted,
                       struct buffer *errors, struct buffer *warnings);
static X509_STORE *create_store(void);
static bool add_anchors(struct trusted *trusted, const struct pem_file *file, struct buffer *errors,
                        struct buffer *warnings);
static bool remember_anchor(struct trusted *trusted, const X509 *certificate);
static int validate_client(X509_STORE_CTX *presented, void *user);
static int validate_against(const struct trusted *trusted, X509_STORE_CTX *presented,
                            struct client_chain *chain);
static int waive_expiry_of_leaf(int valid, X509_STORE_CTX *context);
static int read_chain(X509_STORE_CTX *context, struct client_chain *chain);
static void add_links_above(X509_STORE_CTX *context, struct client_chain *chain);
static int error_of(enum client_standing standing);

struct dtls_credentials *dtls_credentials_load(const struct dtls_settings *settings, struct buffer *errors,
                                               struct buffer *warnings)
{
    struct dtls_credentials *credentials = calloc(1, sizeof *credentials);
    if (credentials != NULL)
        atomic_init(&credentials->references, 1);
    if (credentials == NULL || !configure(credentials)) {
        buffer_append_string(errors, "dtls: OpenSSL refuses the cipher suites, groups or limits of DTLS 1.2: "
                                     "check its configuration file (openssl version -d)\n");
        dtls_credentials_release(credentials);
        return NULL;
    }
    credentials->trusted[TRUST_MANUFACTURER].accept_expired = settings->accept_expired_idevid;
    credentials->trusted[TRUST_DOMAIN].accept_expired = settings->accept_expired_ldevid;
    bool identity = load_identity(credentials, settings, errors, warnings);
    bool manufacturer = load_trust(&settings->manufacturer_trust, "dtls.manufacturer_trust",
                                   &credentials->trusted[TRUST_MANUFACTURER], errors, warnings);
    bool domain = load_trust(&settings->domain_trust, "dtls.domain_trust",
                             &credentials->trusted[TRUST_DOMAIN], errors, warnings);
    bool trusting = settings->manufacturer_trust.count + settings->domain_trust.count > 0;
    if (!trusting)
        buffer_append_string(errors, "dtls.manufacturer_trust, dtls.domain_trust: both are empty, so that no "
                                     "device could connect: name the CA certificates of the devices\n");
    ERR_clear_error();
    if (identity && manufacturer && domain && trusting)
        return credentials;
    dtls_credentials_release(credentials);
    return NULL;
}

struct dtls_credentials *dtls_credentials_hold(struct dtls_credentials *credentials)
{
    atomic_fetch_add_explicit(&credentials->references, 1, memory_order_relaxed);
    return credentials;
}

void dtls_credentials_release(struct dtls_credentials *credentials)
{
    if (credentials == NULL ||
        atomic_fetch_sub_explicit(&credentials->references, 1, memory_order_acq_rel) > 1)
        return;
    SSL_CTX_free(credentials->context);
    for (size_t i = 0; i < sizeof credentials->trusted / sizeof credentials->trusted[0]; i++) {
        X509_STORE_free(credentials->trusted[i].store);
        free(credentials->trusted[i].anchors);
    }
    free(credentials);
}

SSL *dtls_credentials_open(struct dtls_credentials *credentials, struct dtls_client_proof *proof)
{
    SSL *ssl = SSL_new(credentials->context);
    if (ssl == NULL)
        return NULL;
    dtls_credentials_hold(credentials);
    SSL_set_app_data(ssl, proof);
    if (proof->tickets == NULL)
        SSL_set_options(ssl, SSL_OP_NO_TICKET);
    SSL_set_accept_state(ssl);
    return ssl;
}

void dtls_credentials_close(SSL *ssl)
{
    if (ssl == NULL)
        return;
    struct dtls_credentials *credentials = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    SSL_free(ssl);
    dtls_credentials_release(credentials);
}

struct client_identity *dtls_credentials_client(const SSL *ssl)
{
    const struct dtls_client_proof *proof = SSL_get_app_data(ssl);
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    if (!SSL_is_init_finished(ssl) || !proof->validated || certificate == NULL)
        return NULL;
    return client_identity_create(certificate, &proof->chain);
}

/* The CertificateRequest names no CA: with a few manufacturers the names would fill more datagrams than the
 * rest of the flight, devices have one certificate that fits, and whom we trust is nobody's business. */
static bool configure(struct dtls_credentials *credentials)
{
    SSL_CTX *context = credentials->context = SSL_CTX_new(DTLS_server_method());
    static const unsigned char session_id_context[] = "estuary";
    if (context == NULL || !restrict_protocol(context))
        return false;
    credentials->openssl_security = SSL_CTX_get_security_callback(context);
    SSL_CTX_set_security_level(context, SECURITY_LEVEL);
    SSL_CTX_set_app_data(context, credentials);
    SSL_CTX_set0_security_ex_data(context, credentials);
    SSL_CTX_set_security_callback(context, check_security);

    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(context, validate_client, credentials);
    SSL_CTX_set_cookie_verify_cb(context, accept_cookie);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    session_resumption_enable(context, credentials);
    /* The chain is what the operator's file holds: do not search for one in each handshake. */
    SSL_CTX_set_mode(context, SSL_MODE_NO_AUTO_CHAIN);
    return SSL_CTX_set_session_id_context(context, session_id_context, sizeof session_id_context - 1) == 1;
}

static bool restrict_protocol(SSL_CTX *context)
{
    char groups[] = "P-256:P-384:X25519",
         signatures[] = "ECDSA+SHA256:ECDSA+SHA384"; /* OpenSSL casts const away */
    SSL_CTX_set_options(context, SSL_OP_NO_QUERY_MTU | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE);
    return SSL_CTX_set_min_proto_version(context, DTLS1_2_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(context, DTLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(context, ciphers) == 1 && SSL_CTX_set_ciphersuites(context, "") == 1 &&
           SSL_CTX_set1_groups_list(context, groups) == 1 &&
           SSL_CTX_set1_sigalgs_list(context, signatures) == 1;
}

/* OpenSSL 3.2 and later count CCM_8 by its tag, 64 bits, which no useful level allows, but RFC 9148 section 3
 * makes it mandatory. Only this suite is exempt: level 0 as a whole would accept device certificates signed
 * with SHA-1. NOLINTNEXTLINE(readability-function-size): OpenSSL's signature */
static int check_security(const SSL *ssl, const SSL_CTX *context, int operation, int bits, int nid,
                          void *other, void *user)
{
    const struct dtls_credentials *credentials = user;
    bool about_cipher = operation == SSL_SECOP_CIPHER_SUPPORTED || operation == SSL_SECOP_CIPHER_SHARED ||
                        operation == SSL_SECOP_CIPHER_CHECK;
    if (about_cipher && SSL_CIPHER_get_protocol_id(other) == CCM_8_CIPHER)
        return 1;
    return credentials->openssl_security(ssl, context, operation, bits, nid, other, user);
}

/* dtls_cookie_judge has done it, before there was an SSL. */
static int accept_cookie(SSL *ssl, const unsigned char *cookie, unsigned len)
{
    (void)ssl, (void)cookie, (void)len;
    return 1;
}

static bool load_identity(struct dtls_credentials *credentials, const struct dtls_settings *settings,
                          struct buffer *errors, struct buffer *warnings)
{
    const struct pem_file certificate_file = {"dtls.certificate", settings->certificate};
    const struct pem_file key_file = {"dtls.private_key", settings->private_key};
    STACK_OF(X509) *chain = pem_file_certificates(&certificate_file, errors);
    credential_file_warn_of_mode(&key_file, warnings);
    EVP_PKEY *key = pem_file_private_key(&key_file, errors);
    SSL_CTX *context = credentials->context;
    bool loaded = chain != NULL && use_certificate(context, &certificate_file, chain, errors) &&
                  use_chain(context, &certificate_file, chain, warnings);
    if (loaded)
        warn_of_purposes(&certificate_file, sk_X509_value(chain, 0), warnings);
    loaded = loaded && key != NULL && use_key(context, &key_file, key, errors);
    EVP_PKEY_free(key);
    sk_X509_pop_free(chain, X509_free);
    return loaded;
}

static bool use_certificate(SSL_CTX *context, const struct pem_file *file, STACK_OF(X509) * chain,
                            struct buffer *errors)
{
    X509 *certificate = sk_X509_value(chain, 0);
    if (!is_of_our_curves(certificate)) {
        pem_file_say(file, errors,
                     "does not begin with a certificate for an EC key on P-256 or P-384, which every cipher "
                     "suite of RFC 9148 needs: have one issued, and put it first");
        return false;
    }
    if (SSL_CTX_use_certificate(context, certificate) != 1) {
        const char *reason = ERR_reason_error_string(ERR_peek_error());
        pem_file_say(file, errors,
                     "cannot be used: %s; have a certificate issued that is signed with SHA-256",
                     reason != NULL ? reason : "no reason given");
        return false;
    }
    return true;
}

static bool is_of_our_curves(const X509 *certificate)
{
    char curve[32] = "";
    const EVP_PKEY *key = X509_get0_pubkey(certificate);
    if (key == NULL || EVP_PKEY_get_group_name(key, curve, sizeof curve, NULL) != 1)
        return false;
    return strcmp(curve, "prime256v1") == 0 || strcmp(curve, "secp384r1") == 0;
}

/* What stands behind the certificate, less roots: a client that trusts a root has it (RFC 5246
 * section 7.4.2). */
static bool use_chain(SSL_CTX *context, const struct pem_file *file, STACK_OF(X509) * chain,
                      struct buffer *warnings)
{
    int sent = 1;
    for (int i = 0; i < sk_X509_num(chain); i++) {
        X509 *certificate = sk_X509_value(chain, i);
        pem_file_warn_of_validity(file, certificate, warnings);
        if (i == 0)
            continue;
        if (X509_check_issued(certificate, sk_X509_value(chain, i - 1)) != X509_V_OK)
            pem_file_say(file, warnings,
                         "is out of order: certificate %d did not issue the one before it, so that devices "
                         "may not find a chain: sort them, each followed by its issuer",
                         i + 1);
        if (X509_self_signed(certificate, 0) == 1) {
            pem_file_say(file, warnings, "holds a root as certificate %d, which is not sent: leave it out",
                         i + 1);
            continue;
        }
        if (SSL_CTX_add1_chain_cert(context, certificate) != 1)
            return false;
        sent++;
    }
    if (sent > CHAIN_LENGTH_MAX)
        pem_file_say(file, warnings,
                     "makes a chain of %d certificates, more than the %d that constrained devices should be "
                     "burdened with (RFC 7925 section 4.4.4): use a CA closer to a root",
                     sent, CHAIN_LENGTH_MAX);
    return true;
}

/* RFC 9148 section 9.2 and RFC 7030 section 3.6.1 (DTLS-11). */
static void warn_of_purposes(const struct pem_file *file, X509 *certificate, struct buffer *warnings)
{
    if (!pem_certificate_names_purpose(certificate, NID_cmcRA))
        pem_file_say(file, warnings,
                     "lacks the extended key usage id-kp-cmcRA (1.3.6.1.5.5.7.3.28): devices that check "
                     "whether they talk to a registration authority will refuse it; have one issued with it");
    bool limited = (X509_get_extension_flags(certificate) & EXFLAG_XKUSAGE) != 0;
    if (limited && !pem_certificate_names_purpose(certificate, NID_server_auth))
        pem_file_say(file, warnings,
                     "lacks the extended key usage serverAuth: DTLS clients will refuse it; have one issued "
                     "with it");
}

static bool use_key(SSL_CTX *context, const struct pem_file *file, EVP_PKEY *key, struct buffer *errors)
{
    if (X509_check_private_key(SSL_CTX_get0_certificate(context), key) == 1 &&
        SSL_CTX_use_PrivateKey(context, key) == 1)
        return true;
    pem_file_say(file, errors, "is not the key of dtls.certificate: name the two files that belong together");
    return false;
}

static bool load_trust(const struct settings_strings *files, const char *setting, struct trusted *trusted,
                       struct buffer *errors, struct buffer *warnings)
{
    if (files->count == 0)
        return true;
    trusted->store = create_store();
    bool loaded = trusted->store != NULL;
    for (size_t i = 0; i < files->count && trusted->store != NULL; i++) {
        char path[64];
        snprintf(path, sizeof path, "%s[%zu]", setting, i);
        const struct pem_file file = {path, files->items[i]};
        loaded = add_anchors(trusted, &file, errors, warnings) && loaded;
    }
    chain_digest_sort(trusted->anchors, trusted->anchor_count);
    return loaded;
}

/* Any certificate of the files is an anchor, roots or not (RFC 5280 section 6.1.1). The purpose is that of a
 * TLS client; IEEE 802.1AR device certificates mostly have no extended key usage, and pass. */
static X509_STORE *create_store(void)
{
    X509_STORE *store = X509_STORE_new();
    if (store == NULL)
        return NULL;
    X509_VERIFY_PARAM *parameters = X509_STORE_get0_param(store);
    X509_VERIFY_PARAM_set_depth(parameters, DTLS_CHAIN_DEPTH_MAX);
    X509_VERIFY_PARAM_set_auth_level(parameters, SECURITY_LEVEL);
    X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN);
    X509_VERIFY_PARAM_set_purpose(parameters, X509_PURPOSE_SSL_CLIENT);
    return store;
}

static bool add_anchors(struct trusted *trusted, const struct pem_file *file, struct buffer *errors,
                        struct buffer *warnings)
{
    STACK_OF(X509) *certificates = pem_file_certificates(file, errors);
    bool added = certificates != NULL, are_of_cas = true;
    for (int i = 0; i < sk_X509_num(certificates); i++) {
        X509 *certificate = sk_X509_value(certificates, i);
        pem_file_warn_of_validity(file, certificate, warnings);
        are_of_cas = X509_check_ca(certificate) != 0 && are_of_cas;
        added = X509_STORE_add_cert(trusted->store, certificate) == 1 &&
                remember_anchor(trusted, certificate) && added;
    }
    if (!are_of_cas)
        pem_file_say(file, warnings,
                     "holds a certificate that is none of a CA, and vouches for nobody but its own device: "
                     "name the CA's");
    sk_X509_pop_free(certificates, X509_free);
    return added;
}

static bool remember_anchor(struct trusted *trusted, const X509 *certificate)
{
    struct chain_digest *more = reallocarray(trusted->anchors, trusted->anchor_count + 1, sizeof *more);
    if (more == NULL)
        return false;
    trusted->anchors = more;
    return chain_digest_anchor(certificate, &more[trusted->anchor_count++]) == STATUS_OK;
}

/* RFC 7030 section 3.6: the implicit trust anchors (manufacturer) first, then the explicit ones (domain). */
static int validate_client(X509_STORE_CTX *presented, void *user)
{
    const struct dtls_credentials *credentials = user;
    SSL *ssl = X509_STORE_CTX_get_ex_data(presented, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct dtls_client_proof *proof = SSL_get_app_data(ssl);
    static const enum trust_store order[] = {TRUST_MANUFACTURER, TRUST_DOMAIN};
    int error = X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
    proof->validated = false; /* whatever a ticket said that OpenSSL found wanting after all */
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        const struct trusted *trusted = &credentials->trusted[order[i]];
        struct client_chain chain = {.trust = order[i]};
        int found = trusted->store != NULL ? validate_against(trusted, presented, &chain) : error;
        if (found == X509_V_OK)
            found = error_of(dtls_credentials_standing(credentials, proof->revocations, &chain, time(NULL)));
        if (found == X509_V_OK) {
            proof->validated = true;
            proof->chain = chain;
            X509_STORE_CTX_set_error(presented, X509_V_OK);
            return 1;
        }
        if (chain_error_says_nothing(error))
            error = found;
    }
    X509_STORE_CTX_set_error(presented, error);
    return 0;
}

/* Returns X509_V_OK or what is wrong. */
static int validate_against(const struct trusted *trusted, X509_STORE_CTX *presented,
                            struct client_chain *chain)
{
    X509_STORE_CTX *context = chain_check_create(trusted->store, presented);
    if (context == NULL)
        return X509_V_ERR_OUT_OF_MEM;
    if (trusted->accept_expired)
        X509_STORE_CTX_set_verify_cb(context, waive_expiry_of_leaf);
    int error = chain_check(context);
    if (error == X509_V_OK)
        error = read_chain(context, chain);
    X509_STORE_CTX_free(context);
    return error;
}

/* DTLS-9, RE-6: and nothing else. Everybody above it in the chain has a depth. */
static int waive_expiry_of_leaf(int valid, X509_STORE_CTX *context)
{
    if (valid != 1 && X509_STORE_CTX_get_error(context) == X509_V_ERR_CERT_HAS_EXPIRED &&
        X509_STORE_CTX_get_error_depth(context) == 0) {
        X509_STORE_CTX_set_error(context, X509_V_OK);
        return 1;
    }
    return valid;
}

static int read_chain(X509_STORE_CTX *context, struct client_chain *chain)
{
    switch (client_chain_read(X509_STORE_CTX_get0_chain(context), chain)) {
    case STATUS_OK:
        add_links_above(context, chain);
        chain->accepted_expired = client_chain_has_expired(chain, false, time(NULL));
        return X509_V_OK;
    case STATUS_TOO_LARGE:
        return X509_V_ERR_CERT_CHAIN_TOO_LONG;
    default:
        return X509_V_ERR_UNSPECIFIED;
    }
}

/* OpenSSL stops at the first certificate that is trusted. Where that is a CA, which stands in a trust file
 * because it signs revocation lists, and its root beside it, the root may revoke it. */
static void add_links_above(X509_STORE_CTX *context, struct client_chain *chain)
{
    const STACK_OF(X509) *verified = X509_STORE_CTX_get0_chain(context);
    X509 *last = sk_X509_value(verified, sk_X509_num(verified) - 1), *issuer, *held = NULL;
    bool is_linked = sk_X509_num(verified) == 1;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && X509_self_signed(last, 0) != 1 &&
           X509_STORE_CTX_get1_issuer(&issuer, context, last) == 1) {
        if (!is_linked)
            status = client_chain_extend(chain, last, issuer);
        is_linked = false;
        X509_free(held);
        last = held = issuer;
    }
    X509_free(held);
}

/* By it OpenSSL chooses the alert. */
static int error_of(enum client_standing standing)
{
    switch (standing) {
    case STANDING_REVOKED:
        return X509_V_ERR_CERT_REVOKED;
    case STANDING_UNKNOWN:
        return X509_V_ERR_UNABLE_TO_GET_CRL;
    case STANDING_EXPIRED:
        return X509_V_ERR_CERT_HAS_EXPIRED;
    case STANDING_UNTRUSTED:
        return X509_V_ERR_CERT_UNTRUSTED;
    default:
        return X509_V_OK;
    }
}

enum client_standing dtls_credentials_standing(const struct dtls_credentials *credentials,
                                               const struct revocation_lists *revocations,
                                               const struct client_chain *chain, int64_t now_unix)
{
    const struct standing_rules rules = {
        .accept_expired = {credentials->trusted[0].accept_expired, credentials->trusted[1].accept_expired},
        .anchors = {{credentials->trusted[0].anchors, credentials->trusted[0].anchor_count},
                    {credentials->trusted[1].anchors, credentials->trusted[1].anchor_count}},
        .revocations = revocations,
    };
    return client_standing_judge(&rules, chain, now_unix);
}

X509 *dtls_credentials_certificate(const struct dtls_credentials *credentials)
{
    return SSL_CTX_get0_certificate(credentials->context);
}

EVP_PKEY *dtls_credentials_key(const struct dtls_credentials *credentials)
{
    return SSL_CTX_get0_privatekey(credentials->context);
}
