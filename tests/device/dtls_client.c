#include "dtls_client.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

/* RFC 9148 section 3 demands the first; the others are what a registrar may have beside it. */
#define DEFAULT_CIPHERS                                                                                      \
    "ECDHE-ECDSA-AES128-CCM8:ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-"   \
    "SHA384"

/* RFC 7252 section 9.1.3.3 demands the first. */
#define DEFAULT_GROUPS "P-256:X25519:P-384"

enum { CCM_8 = 0xC0AE, GROUPS_LIMIT = 256, MOST_BACK_OFF = 8 };

typedef void info_callback(const SSL *ssl, int where, int value);
typedef int security_callback(const SSL *ssl, const SSL_CTX *context, int operation, int bits, int nid,
                              void *other, void *extra);

struct dtls_client {
    struct dtls_offer offer;
    struct dtls_facts facts;
    bool offered;                /* the SSL has been set up */
    info_callback *libcoap_info; /* what libcoap wants to hear itself */
    security_callback *openssl_security;
    X509 *server;
    STACK_OF(X509) * chain;
    SSL_SESSION *session;
    bool refused_certificate;
    bool fatal_alert;
    struct explanation trouble;
};

/* The client whose SSL is about to be created. libcoap starts the handshake inside the call that creates it.
 */
static _Thread_local struct dtls_client *adopting;
static _Thread_local SSL_CTX *libcoap_context; /* the first one since there is a client: that of DTLS */
static int client_index = -1;
static CRYPTO_ONCE index_once = CRYPTO_ONCE_STATIC_INIT;

static void create_index(void);
static void on_new_context(void *parent, void *pointer, CRYPTO_EX_DATA *data, int index, long argument,
                           void *other);
static void on_new_ssl(void *parent, void *pointer, CRYPTO_EX_DATA *data, int index, long argument,
                       void *other);
static void on_info(const SSL *ssl, int where, int value);
static void make_offer(struct dtls_client *client, SSL *ssl);
static void offer_groups(SSL *ssl, const char *groups);
static void offer_identity(const struct identity *identity, SSL *ssl);
static void offer_fragment_length(SSL *ssl, unsigned octets);
static unsigned first_timeout(SSL *ssl, unsigned previous_us);
static int on_security(const SSL *ssl, const SSL_CTX *context, int operation, int bits, int nid, void *other,
                       void *extra);
static int on_verify(int good, X509_STORE_CTX *check);
static void on_alert(struct dtls_client *client, int where, int value);
static const char *group_name(int nid);
static void read_binding(struct dtls_facts *facts, SSL *ssl);
static bool has_cmc_ra(X509 *certificate);
static bool has_name(X509 *certificate, const char *name);
static void copy_text(char *to, size_t room, const char *from);

struct dtls_client *dtls_client_create(const struct dtls_offer *offer)
{
    if (CRYPTO_THREAD_run_once(&index_once, create_index) != 1 || client_index < 0)
        return NULL;
    libcoap_context = NULL;
    struct dtls_client *client = calloc(1, sizeof(*client));
    if (client != NULL)
        client->offer = *offer;
    return client;
}

static void create_index(void)
{
    client_index = SSL_get_ex_new_index(0, NULL, on_new_ssl, NULL, NULL);
    (void)SSL_CTX_get_ex_new_index(0, NULL, on_new_context, NULL, NULL);
}

void dtls_client_free(struct dtls_client *client)
{
    if (client == NULL)
        return;
    X509_free(client->server);
    sk_X509_pop_free(client->chain, X509_free);
    SSL_SESSION_free(client->session);
    free(client);
}

void dtls_client_adopt_next(struct dtls_client *client)
{
    adopting = client;
}

void dtls_client_adopt_none(void)
{
    adopting = NULL;
}

/* OpenSSL calls this for every new SSL_CTX; libcoap makes one for each session of ours. */
/* NOLINTNEXTLINE(readability-function-size): OpenSSL's signature */
static void on_new_context(void *parent, void *pointer, CRYPTO_EX_DATA *data, int index, long argument,
                           void *other)
{
    (void)pointer, (void)data, (void)index, (void)argument, (void)other;
    if (libcoap_context == NULL)
        libcoap_context = parent;
}

/* OpenSSL calls this for every new SSL, which is half built: since 3.2 it does not even know its SSL_CTX. The
 * information callback set on that is called at the start of the handshake, when the SSL is whole and its
 * ClientHello not yet made. */
/* NOLINTNEXTLINE(readability-function-size): OpenSSL's signature */
static void on_new_ssl(void *parent, void *pointer, CRYPTO_EX_DATA *data, int index, long argument,
                       void *other)
{
    (void)parent, (void)pointer, (void)argument, (void)other;
    if (adopting == NULL)
        return;
    SSL_CTX *context = libcoap_context;
    info_callback *present = SSL_CTX_get_info_callback(context);
    if (present != on_info)
        adopting->libcoap_info = present;
    SSL_CTX_set_info_callback(context, on_info);
    CRYPTO_set_ex_data(data, index, adopting);
}

static void on_info(const SSL *ssl, int where, int value)
{
    struct dtls_client *client = SSL_get_ex_data(ssl, client_index);
    if (client == NULL)
        return;
    if ((where & SSL_CB_HANDSHAKE_START) != 0 && !client->offered) {
        SSL *mutable = NULL;
        memcpy(&mutable, &ssl, sizeof(mutable)); /* ours to set up: the callback's const is for onlookers */
        client->offered = true;
        make_offer(client, mutable);
    }
    if ((where & SSL_CB_ALERT) != 0)
        on_alert(client, where, value);
    if (client->libcoap_info != NULL)
        client->libcoap_info(ssl, where, value);
}

static void make_offer(struct dtls_client *client, SSL *ssl)
{
    const struct dtls_offer *offer = &client->offer;
    client->openssl_security = SSL_get_security_callback(ssl);
    SSL_set_security_callback(ssl, on_security);
    SSL_set_cipher_list(ssl, offer->ciphers == NULL ? DEFAULT_CIPHERS : offer->ciphers);
    offer_groups(ssl, offer->groups == NULL ? DEFAULT_GROUPS : offer->groups);
    if (offer->identity != NULL)
        offer_identity(offer->identity, ssl);
    if (offer->trust != NULL)
        SSL_set1_verify_cert_store(ssl, trust_store(offer->trust));
    SSL_set_verify(ssl, SSL_VERIFY_PEER, on_verify);
    if (offer->max_fragment != 0)
        offer_fragment_length(ssl, offer->max_fragment);
    if (offer->mtu != 0)
        SSL_set_mtu(ssl, (long)offer->mtu);
    if (offer->timeout_ms != 0)
        DTLS_set_timer_cb(ssl, first_timeout);
    if (offer->no_extended_master_secret)
        SSL_set_options(ssl, SSL_OP_NO_EXTENDED_MASTER_SECRET);
    if (offer->resume != NULL)
        SSL_set_session(ssl, offer->resume);
}

/* OpenSSL's macro wants a text that it could change. */
static void offer_groups(SSL *ssl, const char *groups)
{
    char list[GROUPS_LIMIT];
    copy_text(list, sizeof(list), groups);
    SSL_set1_groups_list(ssl, list);
}

static void offer_identity(const struct identity *identity, SSL *ssl)
{
    SSL_use_certificate(ssl, identity->certificate);
    SSL_use_PrivateKey(ssl, identity->key);
    SSL_set_mode(ssl, SSL_MODE_NO_AUTO_CHAIN); /* the chain of the file and nothing else */
    SSL_set1_chain(ssl, identity->chain);
}

static void offer_fragment_length(SSL *ssl, unsigned octets)
{
    uint8_t code = TLSEXT_max_fragment_length_512;
    while (code < TLSEXT_max_fragment_length_4096 && 256u << code < octets)
        code++;
    SSL_set_tlsext_max_fragment_length(ssl, code);
}

/* RFC 6347 section 4.2.4.1: doubled with each retransmission; not for ever, in a lab that is in a hurry. */
static unsigned first_timeout(SSL *ssl, unsigned previous_us)
{
    const struct dtls_client *client = SSL_get_ex_data(ssl, client_index);
    unsigned first_us = client->offer.timeout_ms * 1000;
    if (previous_us == 0)
        return first_us;
    return previous_us < first_us * MOST_BACK_OFF ? previous_us * 2 : previous_us;
}

/* Newer OpenSSL rates CCM_8 below its default security level. Lowering the level would let weak certificates
 * in as well, so this one suite is let past instead. */
/* NOLINTNEXTLINE(readability-function-size): OpenSSL's signature */
static int on_security(const SSL *ssl, const SSL_CTX *context, int operation, int bits, int nid, void *other,
                       void *extra)
{
    const struct dtls_client *client = SSL_get_ex_data(ssl, client_index);
    bool about_cipher = (operation & SSL_SECOP_OTHER_TYPE) == SSL_SECOP_OTHER_CIPHER;
    if (about_cipher && other != NULL && SSL_CIPHER_get_protocol_id(other) == CCM_8)
        return 1;
    return client->openssl_security(ssl, context, operation, bits, nid, other, extra);
}

static int on_verify(int good, X509_STORE_CTX *check)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(check, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct dtls_client *client = SSL_get_ex_data(ssl, client_index);
    if (good == 1)
        return 1;
    if (client->offer.trust == NULL) /* nothing to judge by; the facts say "not verified" */
        return 1;
    char subject[128] = "?";
    X509 *certificate = X509_STORE_CTX_get_current_cert(check);
    if (certificate != NULL)
        X509_NAME_oneline(X509_get_subject_name(certificate), subject, sizeof(subject));
    client->refused_certificate = true;
    explain(&client->trouble, "the server's certificate chain is not trusted: %s (%s, depth %d)",
            X509_verify_cert_error_string(X509_STORE_CTX_get_error(check)), subject,
            X509_STORE_CTX_get_error_depth(check));
    return 0;
}

static void on_alert(struct dtls_client *client, int where, int value)
{
    bool received = (where & SSL_CB_READ) != 0;
    int number = value & 0xff;
    if (number == SSL_AD_CLOSE_NOTIFY || value >> 8 != SSL3_AL_FATAL)
        return;
    client->fatal_alert = true;
    if (client->trouble.text[0] == '\0') /* an alert that we send has a reason that was noted before */
        explain(&client->trouble, "DTLS alert %s: %s (%d)", received ? "received" : "sent",
                SSL_alert_desc_string_long(value), number);
}

void dtls_client_connected(struct dtls_client *client, SSL *ssl)
{
    struct dtls_facts *facts = &client->facts;
    copy_text(facts->version, sizeof(facts->version), SSL_get_version(ssl));
    copy_text(facts->cipher, sizeof(facts->cipher), SSL_get_cipher_name(ssl));
    copy_text(facts->group, sizeof(facts->group), group_name((int)SSL_get_negotiated_group(ssl)));
    facts->resumed = SSL_session_reused(ssl) == 1;
    facts->extended_master_secret = SSL_get_extms_support(ssl) == 1;
    read_binding(facts, ssl);
    X509_free(client->server);
    client->server = SSL_get1_peer_certificate(ssl);
    sk_X509_pop_free(client->chain, X509_free);
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    client->chain = chain == NULL ? NULL : X509_chain_up_ref(chain);
    SSL_SESSION_free(client->session);
    client->session = SSL_get1_session(ssl);
    facts->server_verified = client->offer.trust != NULL && SSL_get_verify_result(ssl) == X509_V_OK;
    facts->server_has_cmc_ra = client->server != NULL && has_cmc_ra(client->server);
    facts->server_has_name = client->server != NULL && has_name(client->server, client->offer.server_name);
}

static const char *group_name(int nid)
{
    const char *nist = EC_curve_nid2nist(nid);
    return nist == NULL ? OBJ_nid2sn(nid) : nist;
}

/* RFC 5929 section 3.1: the first Finished of the latest handshake. The client's is first in a full
 * handshake, the server's in an abbreviated one. */
static void read_binding(struct dtls_facts *facts, SSL *ssl)
{
    size_t length = facts->resumed ? SSL_get_peer_finished(ssl, facts->binding, sizeof(facts->binding))
                                   : SSL_get_finished(ssl, facts->binding, sizeof(facts->binding));
    facts->binding_length = length < sizeof(facts->binding) ? length : sizeof(facts->binding);
}

static bool has_cmc_ra(X509 *certificate)
{
    EXTENDED_KEY_USAGE *usages = X509_get_ext_d2i(certificate, NID_ext_key_usage, NULL, NULL);
    bool found = false;
    for (int i = 0; i < sk_ASN1_OBJECT_num(usages); i++)
        found = found || OBJ_obj2nid(sk_ASN1_OBJECT_value(usages, i)) == NID_cmcRA;
    EXTENDED_KEY_USAGE_free(usages);
    return found;
}

static bool has_name(X509 *certificate, const char *name)
{
    if (name == NULL)
        return false;
    return X509_check_ip_asc(certificate, name, 0) == 1 ||
           X509_check_host(certificate, name, 0, 0, NULL) == 1;
}

static void copy_text(char *to, size_t room, const char *from)
{
    size_t length = from == NULL ? 0 : strlen(from);
    if (length >= room)
        length = room - 1;
    memcpy(to, from == NULL ? "" : from, length);
    to[length] = '\0';
}

const struct dtls_facts *dtls_client_facts(const struct dtls_client *client)
{
    return &client->facts;
}

X509 *dtls_client_server_certificate(const struct dtls_client *client)
{
    return client->server;
}

STACK_OF(X509) * dtls_client_server_chain(const struct dtls_client *client)
{
    return client->chain;
}

SSL_SESSION *dtls_client_session(const struct dtls_client *client)
{
    if (client->session == NULL || SSL_SESSION_is_resumable(client->session) != 1)
        return NULL;
    SSL_SESSION_up_ref(client->session);
    return client->session;
}

const char *dtls_client_trouble(const struct dtls_client *client)
{
    return client->trouble.text[0] == '\0' ? NULL : client->trouble.text;
}

bool dtls_client_was_refused(const struct dtls_client *client)
{
    return client->refused_certificate || client->fatal_alert;
}
