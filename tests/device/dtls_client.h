/* The device's side of a DTLS handshake: what it offers, whom it trusts, what came of it. libcoap carries the
 * records; this module sets up and questions the OpenSSL objects beneath it. */
#ifndef DEVICE_DTLS_CLIENT_H
#define DEVICE_DTLS_CLIENT_H

#include <openssl/ssl.h>

#include "identity.h"
#include "trust.h"

struct dtls_offer {
    const struct identity *identity; /* borrowed; NULL for no client certificate */
    struct trust *trust;             /* borrowed; NULL accepts any server certificate and says so */
    const char *ciphers;     /* OpenSSL's names; NULL for the suites of RFC 9148 section 3, CCM_8 first */
    const char *groups;      /* "P-256:X25519"; NULL for P-256 first */
    const char *server_name; /* borrowed; the host as the user wrote it, looked for in the certificate */
    SSL_SESSION *resume;     /* borrowed; offered for resumption, NULL for none */
    unsigned max_fragment;   /* 512, 1024, 2048, 4096; 0: do not offer max_fragment_length (RFC 6066) */
    unsigned mtu;            /* of a handshake datagram; 0: libcoap's */
    unsigned timeout_ms;     /* first retransmission of a flight; 0: OpenSSL's second */
    bool no_extended_master_secret;
};

/* What a finished handshake was; plain values. */
struct dtls_facts {
    char version[16];
    char cipher[48];
    char group[24];
    bool resumed;
    bool extended_master_secret;
    bool server_has_cmc_ra; /* id-kp-cmcRA (RFC 6402), which RFC 9148 section 9.2 lets a client look for */
    bool server_has_name;   /* the host is among the certificate's names (RFC 7030 section 3.6) */
    bool server_verified;   /* against dtls_offer.trust */
    uint8_t binding[64];    /* tls-unique (RFC 5929 section 3.1) */
    size_t binding_length;
};

struct dtls_client;

struct dtls_client *dtls_client_create(const struct dtls_offer *offer);
void dtls_client_free(struct dtls_client *client);

/* Between these two calls the SSL that libcoap creates on this thread belongs to client: there is no other
 * moment before its ClientHello at which an application could reach it. */
void dtls_client_adopt_next(struct dtls_client *client);
void dtls_client_adopt_none(void);

/* Reads the facts of an established association. */
void dtls_client_connected(struct dtls_client *client, SSL *ssl);
const struct dtls_facts *dtls_client_facts(const struct dtls_client *client);

/* Borrow what the server sent; NULL before dtls_client_connected. */
X509 *dtls_client_server_certificate(const struct dtls_client *client);
STACK_OF(X509) * dtls_client_server_chain(const struct dtls_client *client);

/* Gives the session for a later resumption, NULL when there is none. */
SSL_SESSION *dtls_client_session(const struct dtls_client *client);

/* The reason of a failed handshake, as far as this end knows it: why the server's certificate was refused, or
 * which alert ended it. NULL when nothing was seen. */
const char *dtls_client_trouble(const struct dtls_client *client);

/* An alert or a refused certificate ended it, so that trying again would end the same way. */
bool dtls_client_was_refused(const struct dtls_client *client);

#endif
