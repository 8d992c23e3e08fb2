#include "operation.h"

#include "enrolment.h"
#include "reply.h"
#include "success.h"

#include <event2/buffer.h>
#include <string.h>

static transaction_step misbehave, check_method, give_ca_certificates, give_csr_attributes;

/* RFC 7030 sections 4.1, 4.5, 4.2.1, 4.2.2 and 4.4. */
static transaction_step *const cacerts[] = {misbehave, check_method, give_ca_certificates, NULL};

static transaction_step *const csrattrs[] = {misbehave, check_method, give_csr_attributes, NULL};

static transaction_step *const simpleenroll[] = {
    misbehave,
    check_method,
    enrolment_authenticate,
    enrolment_check_content_type,
    enrolment_read_request,
    enrolment_check_signature,
    enrolment_check_linking,
    enrolment_await_approval,
    enrolment_issue,
    enrolment_give_certificate,
    NULL,
};

static transaction_step *const simplereenroll[] = {
    misbehave,
    check_method,
    enrolment_authenticate,
    enrolment_check_content_type,
    enrolment_read_request,
    enrolment_check_signature,
    enrolment_check_linking,
    enrolment_check_subject,
    enrolment_await_approval,
    enrolment_issue,
    enrolment_give_certificate,
    NULL,
};

static transaction_step *const serverkeygen[] = {
    misbehave,
    check_method,
    enrolment_authenticate,
    enrolment_check_content_type,
    enrolment_read_request, /* its signature means nothing here: section 4.4.1 */
    enrolment_check_linking,
    enrolment_await_approval,
    enrolment_generate_key,
    enrolment_issue,
    enrolment_give_key_and_certificate,
    NULL,
};

static const struct operation operations[] = {
    {"cacerts", "GET", cacerts},
    {"csrattrs", "GET", csrattrs},
    {"simpleenroll", "POST", simpleenroll},
    {"simplereenroll", "POST", simplereenroll},
    {"serverkeygen", "POST", serverkeygen},
};

const struct operation *operation_named(const char *name)
{
    for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++)
        if (strcmp(operations[i].name, name) == 0)
            return &operations[i];
    return NULL;
}

/* What a label wants instead of processing. */
static int misbehave(struct transaction *transaction)
{
    const struct behaviour *behaviour = &transaction->behaviour;
    if (behaviour->close_first) {
        transaction->delivery.ending = SILENT;
        return DONE;
    }
    if (behaviour->redirect != REDIRECT_NOT)
        return reply_redirect(transaction);
    return (int)behaviour->status; /* 0 is NEXT */
}

static int check_method(struct transaction *transaction)
{
    if (strcmp(http_request_method(transaction->request), transaction->operation->method) == 0)
        return NEXT;
    http_response_add(transaction->response, "Allow", "%s", transaction->operation->method);
    return transaction_refuse(transaction, transaction->behaviour.libest ? 400 : 405,
                              "the operation has another method");
}

static int give_ca_certificates(struct transaction *transaction)
{
    const struct est_service *service = transaction->service;
    if (service->cacerts_count > 0)
        return success_certificates(transaction, service->cacerts, service->cacerts_count);
    X509 *certificates[] = {
        certificate_authority_certificate(transaction->service->authority),
        certificate_authority_certificate(transaction->service->next_authority),
    };
    return success_certificates(transaction, certificates, transaction->behaviour.multi_ca ? 2 : 1);
}

static int give_csr_attributes(struct transaction *transaction)
{
    const struct behaviour *behaviour = &transaction->behaviour;
    struct octets der = transaction->service->csrattrs;
    if (behaviour->csrattrs_set)
        der = (struct octets){behaviour->csrattrs, behaviour->csrattrs_len};
    if (der.len == 0 || behaviour->csrattrs_none) {
        transaction->response->status = 204;
        return DONE;
    }
    return success_csr_attributes(transaction, der);
}
