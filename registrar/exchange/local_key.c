#include "registrar/exchange/local_key.h"

#include "registrar/keygen/key_generation.h"
#include "registrar/translate/key_answer.h"

#include <stdlib.h>

struct local_key {
    struct generated_key *made;
    struct certificate_request *request;
    enum content_format format;
    struct buffer octets; /* of the key, in that format */
};

static enum status prepare(const struct exchange_services *services,
                           const struct certificate_request *device_csr, struct local_key *key);
static bool wants_protection(const struct certificate_request *device_csr);
static struct local_key_refusal refusal_of(enum status status);

bool local_key_may_be_made(const struct certificate_request *device_csr, struct local_key_refusal *refusal)
{
    *refusal = (struct local_key_refusal){
        CM_BAD_REQUEST, "a key for decryption is named with SMIMECapabilities, and just one"};
    enum key_wish wish = key_package_wish(device_csr);
    return wish != KEY_WISH_UNCLEAR && wish != KEY_WISH_REFUSED;
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
    if (key == NULL) {
        key_generation_free(made);
        *refusal = refusal_of(STATUS_NO_MEMORY);
        return NULL;
    }
    key->made = made;
    buffer_init_locked(&key->octets, services->settings->upstream.max_response_bytes);
    enum status status = prepare(services, device_csr, key);
    if (status == STATUS_OK)
        return key;
    *refusal = refusal_of(status);
    local_key_free(key);
    return NULL;
}

/* SKG-7: a device that wants its key protected never gets a plain one. */
static enum status prepare(const struct exchange_services *services,
                           const struct certificate_request *device_csr, struct local_key *key)
{
    enum status status;
    if (wants_protection(device_csr)) {
        key->format = CONTENT_FORMAT_SERVER_KEY;
        status = key_package_protect(services->key_directory, device_csr, key->made, &services->signer,
                                     &key->octets);
    } else {
        key->format = CONTENT_FORMAT_PKCS8;
        status = key_generation_pkcs8(key->made, &key->octets);
    }
    return status == STATUS_OK ? certificate_request_parse(key_generation_csr(key->made), &key->request)
                               : status;
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

void local_key_free(struct local_key *key)
{
    if (key == NULL)
        return;
    key_generation_free(key->made);
    certificate_request_free(key->request);
    buffer_wipe(&key->octets);
    free(key);
}

struct bytes local_key_csr(const struct local_key *key)
{
    return key_generation_csr(key->made);
}

const struct certificate_request *local_key_request(const struct local_key *key)
{
    return key->request;
}

void local_key_complete(const struct local_key *key, const struct est_operation *operation,
                        struct est_outcome *outcome)
{
    const struct key_answer_key answer = {
        .format = key->format, .octets = buffer_view(&key->octets), .key = key_generation_key(key->made)};
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

void local_key_cannot_wait(struct est_outcome *outcome)
{
    est_outcome_refuse(outcome, CM_BAD_GATEWAY,
                       "the EST server approves by hand; no key is kept for so long");
    outcome->kind = OUTCOME_IN_DOUBT;
}
