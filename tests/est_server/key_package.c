#include "key_package.h"

#include <event2/buffer.h>
#include <openssl/cms.h>
#include <openssl/encoder.h>
#include <openssl/x509.h>

/* How a server writes multipart/mixed. */
struct style {
    const char *content_type;
    const char *boundary;
    const char *preamble, *epilogue;
    const char *line_end;
};

static struct style style_of(const struct behaviour *behaviour);
static void write_part(const struct behaviour *behaviour, const struct style *style, const char *type,
                       struct evbuffer *content, struct evbuffer *body);

EVP_PKEY *key_package_generate(const struct behaviour *behaviour)
{
    return behaviour->key_form == KEY_PKCS1 ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
}

void key_package_write_key(const struct behaviour *behaviour, EVP_PKEY *key, struct evbuffer *der)
{
    bool traditional =
        behaviour->libest || behaviour->key_form == KEY_SEC1 || behaviour->key_form == KEY_PKCS1;
    unsigned char *octets = NULL;
    size_t len = 0;
    OSSL_ENCODER_CTX *encoder = OSSL_ENCODER_CTX_new_for_pkey(
        key, EVP_PKEY_KEYPAIR, "DER", traditional ? "type-specific" : "PrivateKeyInfo", NULL);
    if (OSSL_ENCODER_to_data(encoder, &octets, &len) == 1)
        evbuffer_add(der, octets, len);
    OPENSSL_clear_free(octets, len);
    OSSL_ENCODER_CTX_free(encoder);
}

/* Without the ContentInfo around it (RFC 5652 section 6.1): behind its object identifier and [0]. */
static void write_signed_data(CMS_ContentInfo *signature, BIO *out)
{
    unsigned char *octets = NULL;
    const unsigned char *at;
    long len = i2d_CMS_ContentInfo(signature, &octets), skipped;
    int tag, class;
    at = octets;
    ASN1_get_object(&at, &skipped, &tag, &class, len);
    ASN1_get_object(&at, &skipped, &tag, &class, len);
    at += skipped;
    ASN1_get_object(&at, &skipped, &tag, &class, len);
    BIO_write(out, at, (int)skipped);
    OPENSSL_clear_free(octets, (size_t)len);
}

void key_package_write_protected_key(X509 *certificate, EVP_PKEY *key, struct evbuffer *der)
{
    static const unsigned char kek[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static const unsigned flags = CMS_BINARY | CMS_PARTIAL;
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    X509 *signer = X509_dup(certificate); /* encoded and decoded: only then its public key can be used */
    BIO *plain = BIO_new(BIO_s_mem()), *wrapped = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    unsigned char *kek_copy = OPENSSL_memdup(kek, sizeof kek),
                  *id = (unsigned char *)OPENSSL_strdup("kek"); /* CMS takes both */
    CMS_ContentInfo *sealed = CMS_encrypt(NULL, NULL, EVP_aes_128_cbc(), flags), *signature = NULL;
    ASN1_OBJECT *type = OBJ_txt2obj("2.16.840.1.101.2.1.2.78.5", 1); /* RFC 5958 section 2 */
    /* AsymmetricKeyPackage ::= SEQUENCE OF OneAsymmetricKey; that of a P-256 key has 138 octets or less. */
    int info_len = i2d_PKCS8_PRIV_KEY_INFO(info, NULL);
    BIO_write(plain, (const unsigned char[]){0x30, 0x81, (unsigned char)info_len}, 3);
    i2d_PKCS8_PRIV_KEY_INFO_bio(plain, info);
    signature = CMS_sign(NULL, NULL, NULL, NULL, flags);
    CMS_add1_signer(signature, signer, key, EVP_sha256(), flags);
    CMS_set1_eContentType(signature, type);
    CMS_final(signature, plain, NULL, flags);
    write_signed_data(signature, wrapped);
    CMS_add0_recipient_key(sealed, NID_undef, kek_copy, sizeof kek, id, 3, NULL, NULL, NULL);
    CMS_set1_eContentType(sealed, OBJ_nid2obj(NID_pkcs7_signed));
    CMS_final(sealed, wrapped, NULL, flags);
    i2d_CMS_bio(out, sealed);
    char *octets;
    long len = BIO_get_mem_data(out, &octets);
    evbuffer_add(der, octets, (size_t)len);
    ASN1_OBJECT_free(type);
    X509_free(signer);
    CMS_ContentInfo_free(sealed);
    CMS_ContentInfo_free(signature);
    PKCS8_PRIV_KEY_INFO_free(info);
    BIO_free(plain);
    BIO_free(wrapped);
    BIO_free(out);
}

const char *key_package_write(const struct behaviour *behaviour, struct evbuffer *key,
                              struct evbuffer *certificate, struct evbuffer *body)
{
    static const char certs_only[] = "application/pkcs7-mime; smime-type=certs-only";
    struct style style = style_of(behaviour);
    const char *key_type = behaviour->key_form == KEY_CMS
                               ? "application/pkcs7-mime; smime-type=server-generated-key"
                               : "application/pkcs8";
    unsigned keys = behaviour->key_form == KEY_MISSING ? 0 : behaviour->key_form == KEY_TWICE ? 2 : 1;
    evbuffer_add_printf(body, "%s", style.preamble);
    if (behaviour->certificate_first)
        write_part(behaviour, &style, certs_only, certificate, body);
    for (unsigned i = 0; i < keys; i++)
        write_part(behaviour, &style, key_type, key, body);
    if (!behaviour->certificate_first)
        write_part(behaviour, &style, certs_only, certificate, body);
    evbuffer_add_printf(body, "--%s--%s%s", style.boundary, style.line_end, style.epilogue);
    return style.content_type;
}

static struct style style_of(const struct behaviour *behaviour)
{
    struct style style = {
        .content_type = "multipart/mixed; boundary=estServerBoundary",
        .boundary = "estServerBoundary",
        .preamble = "",
        .epilogue = "",
        .line_end = behaviour->multipart_lf ? "\n" : "\r\n",
    };
    if (behaviour->libest) {
        style.content_type = "multipart/mixed; boundary=est-server-boundary";
        style.boundary = "est-server-boundary";
    }
    if (behaviour->quoted_boundary) {
        style.content_type = "multipart/mixed ; charset=x; BOUNDARY=\"a quoted one\"";
        style.boundary = "a quoted one";
    }
    if (behaviour->preamble) {
        style.preamble =
            behaviour->multipart_lf ? "This is the preamble.\n\n" : "This is the preamble.\r\n\r\n";
        style.epilogue = "This is the epilogue.\r\n";
    }
    return style;
}

/* The content's own lines end as its base64 was written: libest mixes LF inside with CR LF outside. */
static void write_part(const struct behaviour *behaviour, const struct style *style, const char *type,
                       struct evbuffer *content, struct evbuffer *body)
{
    const char *end = style->line_end;
    const char *coding = behaviour->transfer_encoding[0] != '\0' ? behaviour->transfer_encoding : "base64";
    evbuffer_add_printf(body, "--%s%sContent-Type: %s%s", style->boundary, end, type, end);
    if (!behaviour->no_transfer_encoding)
        evbuffer_add_printf(body, "Content-Transfer-Encoding: %s%s", coding, end);
    evbuffer_add_printf(body, "%s", end);
    evbuffer_add_buffer_reference(body, content);
    evbuffer_add_printf(body, "%s", end);
}
