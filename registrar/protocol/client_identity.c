#include "registrar/protocol/client_identity.h"

#include <openssl/bio.h>
#include <openssl/evp.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define NAME_OCTETS_MAX 256

static const char ellipsis[] = "...";

struct client_identity {
    atomic_uint references;
    X509 *certificate; /* owned reference */
    struct client_chain chain;
    uint8_t fingerprint[CLIENT_FINGERPRINT_OCTETS];
    char name[]; /* as long as it is: there is one of these for each association */
};

static struct client_identity *create_named_after(const X509_NAME *subject);
static struct client_identity *create_named(struct bytes name);

struct client_identity *client_identity_create(X509 *certificate, const struct client_chain *chain)
{
    struct client_identity *client = create_named_after(X509_get_subject_name(certificate));
    if (client == NULL)
        return NULL;
    if (X509_digest(certificate, EVP_sha256(), client->fingerprint, NULL) != 1 ||
        X509_up_ref(certificate) != 1) {
        free(client);
        return NULL;
    }
    client->certificate = certificate;
    client->chain = *chain;
    atomic_init(&client->references, 1);
    return client;
}

static struct client_identity *create_named_after(const X509_NAME *subject)
{
    BIO *out = BIO_new(BIO_s_mem());
    if (out == NULL)
        return NULL;
    struct client_identity *client = NULL;
    if (X509_NAME_print_ex(out, subject, 0, XN_FLAG_RFC2253) >= 0) {
        const uint8_t *text = NULL;
        long len = BIO_get_mem_data(out, &text);
        client = create_named((struct bytes){text, len > 0 ? (size_t)len : 0});
    }
    BIO_free(out);
    return client;
}

/* XN_FLAG_RFC2253 escapes control characters and everything beyond ASCII, so that any octet may be the last.
 */
static struct client_identity *create_named(struct bytes name)
{
    bool cut = name.len > NAME_OCTETS_MAX;
    size_t kept = cut ? NAME_OCTETS_MAX - strlen(ellipsis) : name.len;
    size_t room = cut ? NAME_OCTETS_MAX : name.len;
    struct client_identity *client = calloc(1, sizeof *client + room + 1);
    if (client == NULL)
        return NULL;
    if (kept > 0)
        memcpy(client->name, name.at, kept);
    if (cut)
        memcpy(client->name + kept, ellipsis, strlen(ellipsis));
    return client;
}

struct client_identity *client_identity_hold(struct client_identity *client)
{
    atomic_fetch_add_explicit(&client->references, 1, memory_order_relaxed);
    return client;
}

void client_identity_release(struct client_identity *client)
{
    if (client == NULL || atomic_fetch_sub_explicit(&client->references, 1, memory_order_acq_rel) > 1)
        return;
    X509_free(client->certificate);
    free(client);
}

enum trust_store client_identity_trust(const struct client_identity *client)
{
    return client->chain.trust;
}

const struct client_chain *client_identity_chain(const struct client_identity *client)
{
    return &client->chain;
}

X509 *client_identity_certificate(const struct client_identity *client)
{
    return client->certificate;
}

struct bytes client_identity_fingerprint(const struct client_identity *client)
{
    return (struct bytes){client->fingerprint, sizeof client->fingerprint};
}

const char *client_identity_name(const struct client_identity *client)
{
    return client->name;
}

const char *trust_store_name(enum trust_store trust)
{
    return trust == TRUST_MANUFACTURER ? "manufacturer" : "domain";
}
