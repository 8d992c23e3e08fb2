#include "enrolment.h"

#include "base64_text.h"
#include "key_package.h"
#include "record.h"
#include "reply.h"
#include "success.h"
#include "tls_client.h"

#include <event2/buffer.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_authenticated(const struct transaction *transaction, bool by_http);
static bool is_libest_readable(const struct transaction *transaction, struct octets body);

int enrolment_authenticate(struct transaction *transaction)
{
    const struct est_service *service = transaction->service;
    unsigned wanted = transaction->behaviour.http_auth;
    enum http_scheme scheme = reply_http_scheme(transaction);
    bool by_http = http_credentials_are_in(service->credentials, scheme, transaction->request);
    if (wanted == HTTP_AUTH_OFF)
        return NEXT;
    if (is_authenticated(transaction, by_http) && (by_http || wanted == HTTP_AUTH_AS_SET))
        return NEXT;
    return transaction_refuse(transaction, 401, "the client is not authenticated");
}

static bool is_authenticated(const struct transaction *transaction, bool by_http)
{
    bool by_certificate = transaction->client != NULL;
    switch (transaction->service->authentication) {
    case BY_CERTIFICATE:
        return by_certificate;
    case BY_HTTP:
        return by_http;
    case BY_BOTH:
        return by_certificate && by_http;
    case BY_EITHER:
        return by_certificate || by_http;
    }
    return false;
}

int enrolment_check_content_type(struct transaction *transaction)
{
    static const char pkcs10[] = "application/pkcs10";
    const char *type = http_request_field(transaction->request, "Content-Type");
    if (transaction->behaviour.libest) {
        if (type != NULL && strncmp(type, pkcs10, strlen(pkcs10)) == 0)
            return NEXT;
        return transaction_refuse(transaction, 400, "HTTP request does not contain a proper content type");
    }
    if (type != NULL && strncasecmp(type, pkcs10, strlen(pkcs10)) == 0 &&
        strchr("; \t", type[strlen(pkcs10)]) != NULL)
        return NEXT;
    return transaction_refuse(transaction, 415, "the Content-Type is not application/pkcs10");
}

int enrolment_read_request(struct transaction *transaction)
{
    enum { LIBEST_BODY_LIMIT = 8192 };
    struct octets body = http_request_body(transaction->request);
    if (transaction->behaviour.libest && body.len > LIBEST_BODY_LIMIT)
        return transaction_refuse(transaction, 413, "Request body too large");
    if (transaction->behaviour.libest && !is_libest_readable(transaction, body))
        return transaction_refuse(transaction, 400, "The request can't be read");
    struct evbuffer *der = evbuffer_new();
    const char *wrong = NULL;
    if (!base64_text_read(body, der))
        wrong = "the body is not base64";
    else if (!certification_request_read(octets_of(der), &transaction->csr))
        wrong = "the body is not one PKCS#10 request";
    evbuffer_free(der);
    return wrong != NULL ? transaction_refuse(transaction, 400, wrong) : NEXT;
}

/* libest wants a Content-Length, and its decoder wants lines. */
static bool is_libest_readable(const struct transaction *transaction, struct octets body)
{
    enum { LIBEST_LINE_LIMIT = 1000 };
    if (http_request_is_chunked(transaction->request) || body.len == 0)
        return false;
    size_t line = 0;
    for (size_t i = 0; i < body.len && line <= LIBEST_LINE_LIMIT; i++)
        line = body.at[i] == '\n' ? 0 : line + 1;
    return line <= LIBEST_LINE_LIMIT && memchr(body.at, '\n', body.len) != NULL;
}

int enrolment_check_signature(struct transaction *transaction)
{
    if (certification_request_is_signed(&transaction->csr))
        return NEXT;
    return transaction_refuse(transaction, 400, "the signature of the PKCS#10 request is wrong");
}

int enrolment_check_linking(struct transaction *transaction)
{
    char *password = certification_request_challenge_password(&transaction->csr);
    bool right = password == NULL || transaction->client_is_ra ||
                 tls_client_is_linked(connection_ssl(transaction->connection), password);
    OPENSSL_free(password);
    if (right)
        return NEXT;
    return transaction_refuse(transaction, 401, "challengePassword is not the tls-unique of this connection");
}

int enrolment_check_subject(struct transaction *transaction)
{
    if (transaction->client_is_ra || transaction->client == NULL)
        return NEXT;
    if (X509_NAME_cmp(X509_get_subject_name(transaction->client),
                      X509_REQ_get_subject_name(transaction->csr.request)) == 0)
        return NEXT;
    return transaction_refuse(transaction, 403, "the subject is not that of the client's certificate");
}

int enrolment_await_approval(struct transaction *transaction)
{
    const struct behaviour *behaviour = &transaction->behaviour;
    struct approval_rule rule = {.attempts = behaviour->approve_attempts, .wait_ms = behaviour->approve_ms};
    if (!behaviour->manual)
        return NEXT;
    if (approvals_ask(transaction->service->approvals, transaction->label, &transaction->csr.key_fingerprint,
                      &rule))
        return NEXT;
    return reply_later(transaction);
}

int enrolment_generate_key(struct transaction *transaction)
{
    transaction->generated = key_package_generate(&transaction->behaviour);
    return transaction->generated != NULL ? NEXT
                                          : transaction_refuse(transaction, 500, "no key could be made");
}

int enrolment_issue(struct transaction *transaction)
{
    EVP_PKEY *other = transaction->behaviour.wrong_key ? EVP_EC_gen("P-256") : NULL;
    EVP_PKEY *key = other != NULL ? other : transaction->generated;
    X509_REQ *request = X509_REQ_dup(transaction->csr.request);
    X509_PUBKEY *encoded = NULL;
    if (transaction->behaviour.other_subject)
        X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request), "OU", MBSTRING_ASC,
                                   (const unsigned char *)"Elsewhere", -1, -1, 0);
    if (key != NULL)
        X509_PUBKEY_set(&encoded, key);
    transaction->issued =
        certificate_authority_issue(transaction->service->authority, request,
                                    encoded != NULL ? encoded : X509_REQ_get_X509_PUBKEY(request));
    X509_PUBKEY_free(encoded);
    X509_REQ_free(request);
    EVP_PKEY_free(other);
    if (transaction->issued == NULL)
        return transaction_refuse(transaction, 500, "the certificate could not be made");
    statistics_add_issued(transaction->service->statistics, record_of_issued(transaction));
    return NEXT;
}

int enrolment_give_certificate(struct transaction *transaction)
{
    X509 *certificates[2];
    size_t count = success_issued_certificates(transaction, certificates);
    return success_certificates(transaction, certificates, count);
}

int enrolment_give_key_and_certificate(struct transaction *transaction)
{
    bool other = transaction->behaviour.key_form == KEY_OTHER;
    EVP_PKEY *key = other ? EVP_EC_gen("P-256") : transaction->generated;
    int verdict = success_key_and_certificate(transaction, key);
    if (other)
        EVP_PKEY_free(key);
    return verdict;
}
