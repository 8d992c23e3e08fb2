#include "key_package.h"

#include <event2/buffer.h>
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

const char *key_package_write(const struct behaviour *behaviour, struct evbuffer *key,
                              struct evbuffer *certificate, struct evbuffer *body)
{
    static const char certs_only[] = "application/pkcs7-mime; smime-type=certs-only";
    struct style style = style_of(behaviour);
    unsigned keys = behaviour->key_form == KEY_MISSING ? 0 : behaviour->key_form == KEY_TWICE ? 2 : 1;
    evbuffer_add_printf(body, "%s", style.preamble);
    if (behaviour->certificate_first)
        write_part(behaviour, &style, certs_only, certificate, body);
    for (unsigned i = 0; i < keys; i++)
        write_part(behaviour, &style, "application/pkcs8", key, body);
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
