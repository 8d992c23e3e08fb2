#include "registrar/downstream/session_resumption.h"

#include "registrar/downstream/dtls_credentials.h"
#include "registrar/downstream/session_tickets.h"

#include <openssl/core_names.h>
#include <openssl/rand.h>

#include <string.h>
#include <time.h>

static int read_hello(SSL *ssl, int *alert, void *user);
static int choose_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                      EVP_MAC_CTX *mac, int sealing);
static bool begin_ticket(const struct dtls_client_proof *proof, unsigned char *name, unsigned char *iv,
                         struct session_ticket_key *key);
static bool use_key(const struct session_ticket_key *key, EVP_MAC_CTX *mac);
static int attach_chain(SSL *ssl, void *user);
static SSL_TICKET_RETURN judge_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                      size_t name_len, SSL_TICKET_STATUS status, void *user);
static bool take_chain(const struct dtls_credentials *credentials, SSL_SESSION *session,
                       struct dtls_client_proof *proof);
static bool is_in_good_standing(const struct dtls_credentials *credentials,
                                const struct dtls_client_proof *proof, const struct client_chain *chain);

void session_resumption_enable(SSL_CTX *context, const struct dtls_credentials *credentials)
{
    union { /* OpenSSL casts const away; judge_ticket puts it back */
        const struct dtls_credentials *borrowed;
        void *argument;
    } user = {credentials};
    SSL_CTX_set_timeout(context, SESSION_LIFETIME_S);
    SSL_CTX_set_client_hello_cb(context, read_hello, NULL);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(context, choose_key);
    SSL_CTX_set_session_ticket_cb(context, attach_chain, judge_ticket, user.argument);
}

/* Without the extended master secret a session could be another's as well: no ticket is given then, and none
 * is taken (RFC 7627 sections 5.3 and 5.4). OpenSSL grants it to whoever offers it. */
static int read_hello(SSL *ssl, int *alert, void *user)
{
    (void)alert, (void)user;
    const unsigned char *octets;
    size_t len;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_extended_master_secret, &octets, &len) != 1)
        SSL_set_options(ssl, SSL_OP_NO_TICKET);
    return SSL_CLIENT_HELLO_SUCCESS;
}

/* RFC 5077 section 4: AES in CBC mode, then HMAC-SHA256 over all of it. Returns 0 for no ticket, or not one
 * of ours. NOLINTNEXTLINE(readability-function-size): OpenSSL's signature */
static int choose_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                      EVP_MAC_CTX *mac, int sealing)
{
    const struct dtls_client_proof *proof = SSL_get_app_data(ssl);
    struct session_ticket_key key;
    bool found = sealing == 1 ? begin_ticket(proof, name, iv, &key)
                              : session_ticket_key_named(proof->tickets, proof->now_ms, name, &key);
    if (!found)
        return 0;
    bool used = use_key(&key, mac) &&
                EVP_CipherInit_ex2(cipher, EVP_aes_256_cbc(), key.cipher, iv, sealing, NULL) == 1;
    OPENSSL_cleanse(&key, sizeof key);
    return used ? 1 : 0;
}

static bool begin_ticket(const struct dtls_client_proof *proof, unsigned char *name, unsigned char *iv,
                         struct session_ticket_key *key)
{
    if (!proof->validated || RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1 ||
        !session_ticket_key_now(proof->tickets, proof->now_ms, key))
        return false;
    memcpy(name, key->name, sizeof key->name);
    return true;
}

static bool use_key(const struct session_ticket_key *key, EVP_MAC_CTX *mac)
{
    uint8_t octets[SESSION_TICKET_KEY_OCTETS];
    char digest[] = "SHA256";
    memcpy(octets, key->mac, sizeof octets);
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, octets, sizeof octets),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    bool used = EVP_MAC_CTX_set_params(mac, parameters) == 1;
    OPENSSL_cleanse(octets, sizeof octets);
    return used;
}

/* What the certificate in the ticket cannot say. */
static int attach_chain(SSL *ssl, void *user)
{
    (void)user;
    const struct dtls_client_proof *proof = SSL_get_app_data(ssl);
    struct buffer octets;
    buffer_init(&octets, CLIENT_CHAIN_OCTETS_MAX);
    client_chain_encode(&proof->chain, &octets);
    if (octets.status == STATUS_OK)
        (void)SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), octets.at, octets.len);
    buffer_free(&octets);
    return 1;
}

/* IGNORE_RENEW: a full handshake, and a ticket at its end.
 * NOLINTNEXTLINE(readability-function-size): OpenSSL's signature */
static SSL_TICKET_RETURN judge_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                      size_t name_len, SSL_TICKET_STATUS status, void *user)
{
    (void)name, (void)name_len;
    switch (status) {
    case SSL_TICKET_SUCCESS:
        return take_chain(user, session, SSL_get_app_data(ssl)) ? SSL_TICKET_RETURN_USE
                                                                : SSL_TICKET_RETURN_IGNORE_RENEW;
    case SSL_TICKET_EMPTY:
    case SSL_TICKET_NO_DECRYPT:
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    default:
        return SSL_TICKET_RETURN_IGNORE;
    }
}

static bool take_chain(const struct dtls_credentials *credentials, SSL_SESSION *session,
                       struct dtls_client_proof *proof)
{
    struct client_chain chain;
    void *octets = NULL;
    size_t len = 0;
    if (SSL_SESSION_get0_peer(session) == NULL ||
        SSL_SESSION_get0_ticket_appdata(session, &octets, &len) != 1 ||
        client_chain_decode((struct bytes){octets, len}, &chain) != STATUS_OK ||
        !is_in_good_standing(credentials, proof, &chain))
        return false;
    proof->validated = true;
    proof->chain = chain;
    return true;
}

/* Whoever is let in with less than that shows its certificate each time. */
static bool is_in_good_standing(const struct dtls_credentials *credentials,
                                const struct dtls_client_proof *proof, const struct client_chain *chain)
{
    enum client_standing standing =
        dtls_credentials_standing(credentials, proof->revocations, chain, (int64_t)time(NULL));
    return standing == STANDING_GOOD || standing == STANDING_UNCHECKED;
}
