#include "registrar/translate/key_answer.h"

#include "common/base64.h"
#include "registrar/keygen/key_package.h"
#include "registrar/protocol/private_key.h"
#include "registrar/translate/certs_only.h"
#include "registrar/translate/multipart_core.h"
#include "registrar/translate/multipart_mixed.h"

#include <openssl/cms.h>
#include <openssl/err.h>

#define LIMIT ((size_t)1 << 20)

/* The two parts, found. */
struct parts {
    const struct multipart_mixed_part *key, *certificate;
    enum content_format format; /* of the key */
};

static enum status find_parts(const struct multipart_mixed *message, struct parts *parts);
static bool is_as_wished(const struct certificate_request *csr, enum content_format format);
static enum status decode_key(const struct parts *parts, struct buffer *octets, struct key_answer_key *key);
static enum status decode_protected_key(struct bytes der);
static enum status find_certificate(const struct certs_only *certs, const struct key_answer_key *key,
                                    X509 **certificate);
static enum status write_core(const struct est_operation *operation, const struct key_answer_key *key,
                              struct bytes certs_only, X509 *certificate, struct buffer *core);

enum status key_answer_decode(const struct response_context *context, struct bytes content_type,
                              struct bytes body, struct buffer *core, struct buffer *serial)
{
    struct multipart_mixed message;
    struct parts parts;
    if (multipart_mixed_parse(content_type, body, &message) != STATUS_OK ||
        find_parts(&message, &parts) != STATUS_OK)
        return STATUS_MALFORMED;
    if (!is_as_wished(context->csr, parts.format))
        return STATUS_FORBIDDEN;
    struct buffer octets, certs_only;
    struct key_answer_key key = {.private_key = NULL};
    buffer_init_locked(&octets, LIMIT);
    buffer_init(&certs_only, LIMIT);
    enum status status = decode_key(&parts, &octets, &key);
    if (status == STATUS_OK)
        status = base64_decode(parts.certificate->body, &certs_only);
    if (status == STATUS_OK)
        status = key_answer_compose(context->operation, &key, buffer_view(&certs_only), core, serial);
    EVP_PKEY_free(key.private_key);
    buffer_wipe(&octets);
    buffer_free(&certs_only);
    return status;
}

/* MP-4: one of each kind, and nothing else. */
static enum status find_parts(const struct multipart_mixed *message, struct parts *parts)
{
    *parts = (struct parts){.format = CONTENT_FORMAT_NONE};
    for (size_t i = 0; i < message->count; i++) {
        const struct multipart_mixed_part *part = &message->parts[i];
        struct bytes type = bytes_from_string(part->content_type);
        bool plain = content_format_matches_media_type(CONTENT_FORMAT_PKCS8, type);
        bool sealed = content_format_matches_media_type(CONTENT_FORMAT_SERVER_KEY, type);
        if ((plain || sealed) && parts->key == NULL) {
            parts->key = part;
            parts->format = plain ? CONTENT_FORMAT_PKCS8 : CONTENT_FORMAT_SERVER_KEY;
        } else if (content_format_matches_media_type(CONTENT_FORMAT_CERTS_ONLY, type) &&
                   parts->certificate == NULL) {
            parts->certificate = part;
        } else {
            return STATUS_MALFORMED;
        }
    }
    return parts->key != NULL && parts->certificate != NULL ? STATUS_OK : STATUS_MALFORMED;
}

/* MP-5. Of half a wish the EST server decides (SKG-3). */
static bool is_as_wished(const struct certificate_request *csr, enum content_format format)
{
    switch (csr == NULL ? KEY_WISH_PLAIN : key_package_wish(csr)) {
    case KEY_WISH_PLAIN:
        return format == CONTENT_FORMAT_PKCS8;
    case KEY_WISH_SYMMETRIC:
    case KEY_WISH_ASYMMETRIC:
    case KEY_WISH_UNCLEAR:
        return format == CONTENT_FORMAT_SERVER_KEY;
    case KEY_WISH_HALF_CAPABILITIES:
    case KEY_WISH_REFUSED:
        break;
    }
    return true;
}

static enum status decode_key(const struct parts *parts, struct buffer *octets, struct key_answer_key *key)
{
    struct buffer der;
    buffer_init_locked(&der, LIMIT);
    enum status status = base64_decode(parts->key->body, &der);
    if (status == STATUS_OK && parts->format == CONTENT_FORMAT_PKCS8) {
        status = private_key_read(buffer_view(&der), octets, &key->private_key);
    } else if (status == STATUS_OK) {
        status = decode_protected_key(buffer_view(&der));
        buffer_append(octets, buffer_view(&der)); /* MP-7 */
    }
    if (status == STATUS_OK)
        status = octets->status;
    buffer_wipe(&der);
    key->format = parts->format;
    key->octets = buffer_view(octets);
    return status;
}

/* SKG-8: a ContentInfo with EnvelopedData. What it wraps is between the device and the EST server; BER is no
 * fault. */
static enum status decode_protected_key(struct bytes der)
{
    const unsigned char *at = der.at;
    CMS_ContentInfo *message = der.len == 0 ? NULL : d2i_CMS_ContentInfo(NULL, &at, (long)der.len);
    bool good = message != NULL && at == der.at + der.len &&
                OBJ_obj2nid(CMS_get0_type(message)) == NID_pkcs7_enveloped;
    CMS_ContentInfo_free(message);
    ERR_clear_error();
    return good ? STATUS_OK : STATUS_MALFORMED;
}

enum status key_answer_compose(const struct est_operation *operation, const struct key_answer_key *key,
                               struct bytes certs_only, struct buffer *core, struct buffer *serial)
{
    struct certs_only *certs = NULL;
    X509 *certificate = NULL;
    size_t before = core->len;
    enum status status = certs_only_parse(certs_only, &certs);
    if (status == STATUS_OK)
        status = find_certificate(certs, key, &certificate);
    if (status == STATUS_OK)
        status = write_core(operation, key, certs_only, certificate, core);
    if (status == STATUS_OK && serial != NULL)
        certs_only_append_serial(certificate, serial);
    certs_only_free(certs);
    if (status != STATUS_OK && core->at != NULL) {
        OPENSSL_cleanse(core->at + before, core->len - before);
        core->len = before;
    }
    return status;
}

/* MP-6, CF-5. */
static enum status find_certificate(const struct certs_only *certs, const struct key_answer_key *key,
                                    X509 **certificate)
{
    if (key->public_key != NULL)
        return certs_only_find(certs, key->public_key, certificate);
    if (key->private_key == NULL)
        return certs_only_choose_device(certs, certificate);
    enum status status = certs_only_find(certs, key->private_key, certificate);
    return status == STATUS_OK ? private_key_check_certificate(key->private_key, *certificate) : status;
}

static enum status write_core(const struct est_operation *operation, const struct key_answer_key *key,
                              struct bytes certs_only, X509 *certificate, struct buffer *core)
{
    uint8_t *der = NULL;
    bool single = operation->id == EST_SKC;
    int len = single ? i2d_X509(certificate, &der) : 0;
    if (len < 0)
        return STATUS_CRYPTO;
    const struct multipart_core message = {
        .parts = {{(uint16_t)key->format, false, key->octets},
                  {single ? CONTENT_FORMAT_ONE_CERT : CONTENT_FORMAT_CERTS_ONLY, false,
                   single ? (struct bytes){der, (size_t)len} : certs_only}},
        .count = 2,
    };
    enum status status = multipart_core_write(&message, core);
    OPENSSL_free(der);
    return status;
}

void key_answer_serial(struct bytes core, struct buffer *serial)
{
    struct multipart_core message;
    if (multipart_core_read(core, &message) != STATUS_OK || message.count != 2)
        return;
    struct bytes der = message.parts[1].content;
    const unsigned char *at = der.at;
    struct certs_only *certs = NULL;
    X509 *single = NULL, *certificate = NULL;
    if (message.parts[1].content_format == CONTENT_FORMAT_ONE_CERT)
        certificate = single = d2i_X509(NULL, &at, (long)der.len);
    else if (certs_only_parse(der, &certs) == STATUS_OK)
        certs_only_choose_device(certs, &certificate);
    if (certificate != NULL)
        certs_only_append_serial(certificate, serial);
    X509_free(single);
    certs_only_free(certs);
}
