#include "enrolment.h"

#include <stdlib.h>
#include <string.h>

#include "certificate_request.h"

enum { BINDING_LIMIT = 64 };

struct enrolment {
    struct enrolment_plan plan;
    EVP_PKEY *key;
    struct octets csr;
    uint8_t binding[BINDING_LIMIT]; /* the association that csr is linked to */
    size_t binding_length;
};

static EVP_PKEY *choose_key(const struct enrolment_plan *plan, struct explanation *why);
static bool is_linked_elsewhere(const struct enrolment *enrolment, struct view binding);
static bool make_csr(struct enrolment *enrolment, struct view binding, struct explanation *why);

struct enrolment *enrolment_create(const struct enrolment_plan *plan, struct explanation *why)
{
    struct enrolment *enrolment = calloc(1, sizeof(*enrolment));
    if (enrolment == NULL)
        return NULL;
    enrolment->plan = *plan;
    enrolment->key = choose_key(plan, why);
    if (enrolment->key == NULL) {
        enrolment_free(enrolment);
        return NULL;
    }
    return enrolment;
}

static EVP_PKEY *choose_key(const struct enrolment_plan *plan, struct explanation *why)
{
    if (plan->ready_made.len > 0)
        return certificate_request_key(plan->ready_made, why);
    if (plan->key != NULL) {
        EVP_PKEY_up_ref(plan->key);
        return plan->key;
    }
    EVP_PKEY *key = fresh_key(plan->curve);
    if (key == NULL)
        explain_openssl(why, "no key could be made");
    return key;
}

void enrolment_free(struct enrolment *enrolment)
{
    if (enrolment == NULL)
        return;
    EVP_PKEY_free(enrolment->key);
    octets_clear(&enrolment->csr);
    free(enrolment);
}

bool enrolment_prepare(struct enrolment *enrolment, struct view binding, struct explanation *why)
{
    if (enrolment->plan.ready_made.len > 0)
        return true;
    if (enrolment->csr.len > 0 && (enrolment->plan.identical || !is_linked_elsewhere(enrolment, binding)))
        return true;
    return make_csr(enrolment, binding, why);
}

/* A new handshake makes a new channel binding: the CSR must be made again, with the same key (RFC 7030
 * section 3.5). */
static bool is_linked_elsewhere(const struct enrolment *enrolment, struct view binding)
{
    if (enrolment->plan.pop == POP_NONE)
        return false;
    return binding.len != enrolment->binding_length ||
           memcmp(binding.at, enrolment->binding, binding.len) != 0;
}

static bool make_csr(struct enrolment *enrolment, struct view binding, struct explanation *why)
{
    uint8_t linked[BINDING_LIMIT];
    const struct enrolment_plan *plan = &enrolment->plan;
    struct certificate_request request = {
        .subject = plan->subject, .asks = plan->asks, .attributes = plan->attributes, .key = enrolment->key};
    if (plan->pop != POP_NONE) {
        if (binding.len == 0 || binding.len > sizeof(linked))
            return explain(why, "this session has no channel binding to link the CSR to");
        memcpy(enrolment->binding, binding.at, binding.len);
        memcpy(linked, binding.at, binding.len);
        enrolment->binding_length = binding.len;
        linked[0] ^= plan->pop == POP_WRONG ? 1 : 0;
        request.channel_binding = (struct view){linked, binding.len};
    }
    return certificate_request_encode(&request, &enrolment->csr, why);
}

struct view enrolment_csr(const struct enrolment *enrolment)
{
    if (enrolment->plan.ready_made.len > 0)
        return enrolment->plan.ready_made;
    return octets_view(&enrolment->csr);
}

EVP_PKEY *enrolment_key(const struct enrolment *enrolment)
{
    return enrolment->key;
}

bool enrolment_has_private_key(const struct enrolment *enrolment)
{
    return enrolment->plan.ready_made.len == 0;
}
