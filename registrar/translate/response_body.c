#include "registrar/translate/response_body.h"

#include "common/base64.h"
#include "common/coap_message.h"
#include "registrar/protocol/der.h"
#include "registrar/translate/certs_only.h"
#include "registrar/translate/csr_attributes.h"
#include "registrar/translate/key_answer.h"
#include "registrar/translate/multipart_core.h"

static struct bytes strip_counted_nul(struct bytes body);
static enum status check_csrattrs(struct bytes der);
static enum status check_certs_only(struct bytes der, const struct certificate_request *csr,
                                    struct buffer *serial);
static enum status parse_certs_only(struct bytes der, const struct certificate_request *csr,
                                    struct certs_only **certs);
static enum status choose_certificate(const struct response_context *context, const struct certs_only *certs,
                                      X509 **certificate);
static enum status append_certificate(X509 *certificate, struct buffer *representation);
static enum status append_hierarchy(struct bytes der, struct buffer *representation);
static enum status add_certificate(X509 *certificate, struct multipart_core *message);

enum status response_body_decode(const struct response_context *context, struct bytes content_type,
                                 struct bytes body, struct buffer *der, struct buffer *serial)
{
    enum content_format format = context->operation->response[0];
    if (format == CONTENT_FORMAT_MULTIPART_CORE)
        return key_answer_decode(context, content_type, body, der, serial);
    if (!content_format_matches_media_type(format, content_type))
        return STATUS_MALFORMED;
    if (format == CONTENT_FORMAT_CSRATTRS && context->settings->upstream.profile == UPSTREAM_LIBEST)
        body = strip_counted_nul(body);
    size_t before = der->len;
    enum status status = base64_decode(body, der);
    if (status != STATUS_OK)
        return status;
    struct bytes decoded = bytes_slice(buffer_view(der), before, der->len);
    status = format == CONTENT_FORMAT_CSRATTRS ? check_csrattrs(decoded)
                                               : check_certs_only(decoded, context->csr, serial);
    if (status != STATUS_OK)
        der->len = before;
    return status;
}

/* libest counts the NUL behind its default csrattrs as part of the body. */
static struct bytes strip_counted_nul(struct bytes body)
{
    bool has_nul = body.len > 0 && body.at[body.len - 1] == '\0';
    return bytes_slice(body, 0, body.len - (has_nul ? 1 : 0));
}

/* One SEQUENCE; what is in it is between the device and the EST server (PAY-9). */
static enum status check_csrattrs(struct bytes der)
{
    struct der_element sequence;
    enum status status = der_read_tagged(&der, DER_SEQUENCE, &sequence);
    return status == STATUS_OK && der.len > 0 ? STATUS_MALFORMED : status;
}

static enum status check_certs_only(struct bytes der, const struct certificate_request *csr,
                                    struct buffer *serial)
{
    struct certs_only *certs = NULL;
    X509 *issued;
    enum status status = parse_certs_only(der, csr, &certs);
    if (status == STATUS_OK && csr != NULL)
        status = certs_only_find_for(certs, csr, &issued);
    if (status == STATUS_OK && csr != NULL && serial != NULL)
        certs_only_append_serial(issued, serial);
    certs_only_free(certs);
    return status;
}

static enum status parse_certs_only(struct bytes der, const struct certificate_request *csr,
                                    struct certs_only **certs)
{
    return csr != NULL ? certs_only_parse_for(csr, der, certs) : certs_only_parse(der, certs);
}

enum status response_body_present(const struct response_context *context, enum content_format format,
                                  struct bytes der, struct buffer *representation)
{
    if (format == CONTENT_FORMAT_CSRATTRS && context->settings->est.pop == POP_REQUIRED)
        return csr_attributes_announce_pop(der, representation);
    if (format == context->operation->response[0]) {
        buffer_append(representation, der); /* CF-4 */
        return representation->status;
    }
    if (format == CONTENT_FORMAT_MULTIPART_CORE)
        return append_hierarchy(der, representation);
    if (format != CONTENT_FORMAT_ONE_CERT)
        return STATUS_UNSUPPORTED;
    struct certs_only *certs = NULL;
    X509 *certificate = NULL;
    enum status status = parse_certs_only(der, context->csr, &certs);
    if (status == STATUS_OK)
        status = choose_certificate(context, certs, &certificate);
    if (status == STATUS_OK)
        status = append_certificate(certificate, representation);
    certs_only_free(certs);
    return status;
}

/* CF-7: [287, issuing CA, 287, the one above it, …] */
static enum status append_hierarchy(struct bytes der, struct buffer *representation)
{
    struct certs_only *certs = NULL;
    X509 *ordered[CERTS_ONLY_CAS_MAX];
    struct multipart_core message = {.count = 0};
    size_t count = 0;
    enum status status = certs_only_parse(der, &certs);
    if (status == STATUS_OK)
        status = certs_only_order_cas(certs, ordered, &count);
    for (size_t i = 0; status == STATUS_OK && i < count; i++)
        status = add_certificate(ordered[i], &message);
    if (status == STATUS_OK)
        status = multipart_core_write(&message, representation);
    for (size_t i = 0; i < message.count; i++)
        OPENSSL_free((void *)(uintptr_t)message.parts[i].content.at);
    certs_only_free(certs);
    return status;
}

static enum status add_certificate(X509 *certificate, struct multipart_core *message)
{
    uint8_t *der = NULL;
    int len = i2d_X509(certificate, &der);
    if (len <= 0)
        return STATUS_CRYPTO;
    message->parts[message->count++] =
        (struct multipart_core_part){CONTENT_FORMAT_ONE_CERT, false, {der, (size_t)len}};
    return STATUS_OK;
}

/* CF-5 for enrolments, CF-6 for /crts. */
static enum status choose_certificate(const struct response_context *context, const struct certs_only *certs,
                                      X509 **certificate)
{
    if (context->csr != NULL)
        return certs_only_find_for(certs, context->csr, certificate);
    return certs_only_choose_ca(certs, context->settings->est.crts_287, certificate);
}

static enum status append_certificate(X509 *certificate, struct buffer *representation)
{
    int len = i2d_X509(certificate, NULL);
    if (len <= 0)
        return STATUS_CRYPTO;
    uint8_t *at = buffer_extend(representation, (size_t)len);
    if (at != NULL)
        i2d_X509(certificate, &at);
    return representation->status;
}

uint8_t response_body_none(const struct est_operation *operation, const struct est_settings *settings,
                           struct buffer *representation)
{
    if (operation->id == EST_ATT && settings->pop == POP_REQUIRED &&
        csr_attributes_announce_pop((struct bytes){NULL, 0}, representation) == STATUS_OK)
        return CM_CONTENT;
    if (operation->id != EST_ATT || settings->att_empty == ATT_EMPTY_NOT_FOUND)
        return CM_NOT_FOUND;
    if (settings->att_empty == ATT_EMPTY_SEQUENCE)
        der_append_head(representation, DER_SEQUENCE, 0);
    return CM_CONTENT;
}

void response_body_serial(struct bytes der, const struct certificate_request *csr, struct buffer *serial)
{
    (void)check_certs_only(der, csr, serial);
}
