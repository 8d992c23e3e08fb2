#include "registrar/exchange/local_key.h"

#include "registrar/keygen/key_generation.h"
#include "registrar/translate/key_answer.h"

#include <stdatomic.h>
#include <stdlib.h>

struct local_key {
    atomic_uint references;
    struct certificate_request *request;
    enum content_format format;
    struct buffer octets; /* of the key, in that format: all that is left of it */
};

static enum status prepare(const struct exchange_services *services,
                           const struct certificate_request *device_csr, const struct generated_key *made,
                           struct local_key *key);
static enum status write_octets(const struct exchange_services *services,
                                const struct certificate_request *device_csr,
                                const struct generated_key *made, struct local_key *key);
static bool wants_protection(const struct certificate_request *device_csr);
static struct local_key_refusal refusal_of(enum status status);

bool local_key_may_be_made(const struct exchange_services *services,
                           const struct certificate_request *device_csr, struct local_key_refusal *refusal)
{
    enum key_wish wish = key_package_wish(device_csr);
    *refusal = (struct local_key_refusal){
        CM_BAD_REQUEST, "a key for decryption is named with SMIMECapabilities, and just one"};
    if (wish == KEY_WISH_UNCLEAR || wish == KEY_WISH_REFUSED)
        return false;
    if (!wants_protection(device_csr))
        return true;
    enum status status = key_package_check(services->key_directory, device_csr);
    *refusal = refusal_of(status);
    return status == STATUS_OK;
}

/* The CSR's type and that of the EST server's attributes stand in for each other, and P-256 for both. */
bool local_key_type(const struct est_settings *settings, const struct certificate_request *device_csr,
                    const struct bytes *csrattrs, enum key_type *type)
{
    *type = KEY_TYPE_P256;
    if (settings->key_type < KEY_CHOICE_CSR) {
        *type = (enum key_type)settings->key_type;
        return true;
    }
    if (settings->key_type == KEY_CHOICE_CSR && key_type_of_request(device_csr, type))
        return true;
    if (csrattrs == NULL)
        return false;
    if (!key_type_of_csrattrs(*csrattrs, type))
        key_type_of_request(device_csr, type);
    return true;
}

struct local_key *local_key_create(const struct exchange_services *services,
                                   const struct certificate_request *device_csr, struct generated_key *made,
                                   struct local_key_refusal *refusal)
{
    struct local_key *key = calloc(1, sizeof(*key));
    enum status status = key != NULL ? prepare(services, device_csr, made, key) : STATUS_NO_MEMORY;
    key_generation_free(made);
    if (status == STATUS_OK)
        return key;
    *refusal = refusal_of(status);
    local_key_release(key);
    return NULL;
}

/* The private key is checked here once against its public half, with which its certificate is found later:
 * that it has signed the CSR is seen by anybody who verifies it. */
static enum status prepare(const struct exchange_services *services,
                           const struct certificate_request *device_csr, const struct generated_key *made,
                           struct local_key *key)
{
    atomic_init(&key->references, 1);
    buffer_init_locked(&key->octets, services->settings->upstream.max_response_bytes);
    enum status status = certificate_request_parse(key_generation_csr(made), &key->request);
    if (status == STATUS_OK)
        status = certificate_request_verify(key->request);
    return status == STATUS_OK ? write_octets(services, device_csr, made, key) : status;
}

/* SKG-7: a device that wants its key protected never gets a plain one. */
static enum status write_octets(const struct exchange_services *services,
                                const struct certificate_request *device_csr,
                                const struct generated_key *made, struct local_key *key)
{
    if (!wants_protection(device_csr)) {
        key->format = CONTENT_FORMAT_PKCS8;
        return key_generation_pkcs8(made, &key->octets);
    }
    key->format = CONTENT_FORMAT_SERVER_KEY;
    return key_package_protect(services->key_directory, device_csr, made, &services->signer, &key->octets);
}

static bool wants_protection(const struct certificate_request *device_csr)
{
    enum key_wish wish = key_package_wish(device_csr);
    return wish == KEY_WISH_SYMMETRIC || wish == KEY_WISH_ASYMMETRIC;
}

static struct local_key_refusal refusal_of(enum status status)
{
    switch (status) {
    case STATUS_NOT_FOUND:
        return (struct local_key_refusal){CM_FORBIDDEN, "the registrar has no key of that identifier"};
    case STATUS_UNSUPPORTED:
        return (struct local_key_refusal){CM_BAD_REQUEST, "SMIMECapabilities has no algorithm in common"};
    case STATUS_NO_MEMORY:
        return (struct local_key_refusal){CM_SERVICE_UNAVAILABLE, ""};
    default:
        return (struct local_key_refusal){CM_INTERNAL_SERVER_ERROR, "no key could be made"};
    }
}

struct local_key *local_key_hold(struct local_key *key)
{
    atomic_fetch_add(&key->references, 1);
    return key;
}

void local_key_release(struct local_key *key)
{
    if (key == NULL || atomic_fetch_sub(&key->references, 1) > 1)
        return;
    certificate_request_free(key->request);
    buffer_wipe(&key->octets);
    free(key);
}

size_t local_key_octets(const struct local_key *key)
{
    return key->octets.len + 2 * local_key_csr(key).len; /* encoded, and parsed */
}

struct bytes local_key_csr(const struct local_key *key)
{
    return certificate_request_der(key->request);
}

const struct certificate_request *local_key_request(const struct local_key *key)
{
    return key->request;
}

void local_key_complete(const struct local_key *key, const struct est_operation *operation,
                        struct est_outcome *outcome)
{
    const struct key_answer_key answer = {.format = key->format,
                                          .octets = buffer_view(&key->octets),
                                          .public_key = certificate_request_key(key->request)};
    struct buffer core;
    buffer_init_locked(&core, outcome->content.limit);
    enum status status = key_answer_compose(operation, &answer, buffer_view(&outcome->content), &core, NULL);
    buffer_reset(&outcome->content);
    buffer_append(&outcome->content, buffer_view(&core));
    if (status != STATUS_OK || outcome->content.status != STATUS_OK) {
        est_outcome_refuse(outcome, CM_BAD_GATEWAY, "the EST server sent no certificate for this key");
        outcome->kind = OUTCOME_IN_DOUBT;
    }
    buffer_wipe(&core);
}

void local_key_cannot_wait(enum status why, struct est_outcome *outcome)
{
    est_outcome_refuse(
        outcome, CM_BAD_GATEWAY,
        why == STATUS_BUSY
            ? "the EST server lets wait, and there is no room for one more key that waits"
            : "the EST server lets wait for longer than est.key_grace_s; no key is kept for so long");
    outcome->kind = OUTCOME_IN_DOUBT;
}
