#include "registrar/protocol/private_key.h"

#include "registrar/protocol/der.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#define SIGNATURE_OCTETS_MAX (PRIVATE_KEY_RSA_BITS_MAX / 8)
#define WRAPPING_OCTETS_MAX  64 /* heads, version and AlgorithmIdentifier */

static enum status read_pkcs8(struct bytes der, struct bytes rest, struct buffer *pkcs8, EVP_PKEY **key);
static bool is_optional_part(uint8_t tag);
static enum status read_pkcs1(struct bytes der, struct buffer *pkcs8, EVP_PKEY **key);
static enum status read_sec1(struct bytes der, struct bytes rest, struct buffer *pkcs8, EVP_PKEY **key);
static enum status wrap(struct bytes algorithm, struct bytes inner, struct buffer *pkcs8);
static enum status load(struct bytes pkcs8, EVP_PKEY **key);
static bool can_sign(EVP_PKEY *key);
static bool signs_for(EVP_PKEY *key, EVP_PKEY *public_key);
static bool is_edwards(EVP_PKEY *key);

/* The second element tells: an AlgorithmIdentifier, the octets of a scalar, or a modulus. */
enum status private_key_read(struct bytes der, struct buffer *pkcs8, EVP_PKEY **key)
{
    struct der_element outer, version, second;
    struct bytes rest = der;
    size_t before = pkcs8->len;
    if (!der_is_strict(der) || der_read_tagged(&rest, DER_SEQUENCE, &outer) != STATUS_OK)
        return STATUS_MALFORMED;
    rest = outer.content;
    if (der_read_tagged(&rest, DER_INTEGER, &version) != STATUS_OK)
        return STATUS_MALFORMED;
    struct bytes after_version = rest;
    if (der_read(&rest, &second) != STATUS_OK)
        return STATUS_MALFORMED;
    enum status status = STATUS_MALFORMED;
    if (second.tag == DER_SEQUENCE)
        status = read_pkcs8(der, after_version, pkcs8, key);
    else if (second.tag == DER_OCTET_STRING)
        status = read_sec1(der, rest, pkcs8, key);
    else if (second.tag == DER_INTEGER)
        status = read_pkcs1(der, pkcs8, key);
    if (status != STATUS_OK) {
        OPENSSL_cleanse(pkcs8->at == NULL ? NULL : pkcs8->at + before, pkcs8->len - before);
        pkcs8->len = before;
        ERR_clear_error();
    }
    return status;
}

/* OpenSSL 3.0 does not know the public key that version 2 may have at the end; it is shown the rest as
 * version 1. */
static enum status read_pkcs8(struct bytes der, struct bytes rest, struct buffer *pkcs8, EVP_PKEY **key)
{
    struct der_element algorithm, inner, more;
    if (der_read_tagged(&rest, DER_SEQUENCE, &algorithm) != STATUS_OK ||
        der_read_tagged(&rest, DER_OCTET_STRING, &inner) != STATUS_OK)
        return STATUS_MALFORMED;
    while (rest.len > 0)
        if (der_read(&rest, &more) != STATUS_OK || !is_optional_part(more.tag))
            return STATUS_MALFORMED;
    struct buffer plain;
    buffer_init_locked(&plain, der.len + WRAPPING_OCTETS_MAX);
    enum status status = wrap(algorithm.whole, inner.content, &plain);
    if (status == STATUS_OK)
        status = load(buffer_view(&plain), key);
    buffer_wipe(&plain);
    if (status == STATUS_OK)
        buffer_append(pkcs8, der);
    if (status == STATUS_OK && pkcs8->status != STATUS_OK) {
        EVP_PKEY_free(*key);
        status = pkcs8->status;
    }
    return status;
}

/* attributes [0] and publicKey [1]; both are IMPLICIT, but not everybody knows. */
static bool is_optional_part(uint8_t tag)
{
    return tag == DER_CONTEXT_0 || tag == 0x81 || tag == 0xa1;
}

static enum status read_pkcs1(struct bytes der, struct buffer *pkcs8, EVP_PKEY **key)
{
    /* rsaEncryption with its NULL (RFC 8017 appendix A.1) */
    const struct bytes algorithm =
        BYTES_LITERAL("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00");
    size_t before = pkcs8->len;
    enum status status = wrap(algorithm, der, pkcs8);
    return status == STATUS_OK ? load(bytes_slice(buffer_view(pkcs8), before, pkcs8->len), key) : status;
}

/* The curve stands in the parameters of the key, and there by its name (RFC 5915 section 3). */
static enum status read_sec1(struct bytes der, struct bytes rest, struct buffer *pkcs8, EVP_PKEY **key)
{
    const struct bytes id_ec_public_key = BYTES_LITERAL("\x06\x07\x2a\x86\x48\xce\x3d\x02\x01");
    struct der_element parameters, curve;
    if (der_read_tagged(&rest, DER_CONTEXT_0, &parameters) != STATUS_OK ||
        der_read_tagged(&parameters.content, DER_OBJECT_IDENTIFIER, &curve) != STATUS_OK)
        return STATUS_MALFORMED;
    struct buffer algorithm;
    buffer_init(&algorithm, WRAPPING_OCTETS_MAX);
    der_append_head(&algorithm, DER_SEQUENCE, id_ec_public_key.len + curve.whole.len);
    buffer_append(&algorithm, id_ec_public_key);
    buffer_append(&algorithm, curve.whole);
    size_t before = pkcs8->len;
    enum status status =
        algorithm.status == STATUS_OK ? wrap(buffer_view(&algorithm), der, pkcs8) : STATUS_MALFORMED;
    if (status == STATUS_OK)
        status = load(bytes_slice(buffer_view(pkcs8), before, pkcs8->len), key);
    buffer_free(&algorithm);
    return status;
}

/* PrivateKeyInfo: version 0, privateKeyAlgorithm, privateKey (RFC 5208 section 5). */
static enum status wrap(struct bytes algorithm, struct bytes inner, struct buffer *pkcs8)
{
    const struct bytes version = BYTES_LITERAL("\x02\x01\x00");
    struct buffer head;
    buffer_init(&head, WRAPPING_OCTETS_MAX);
    der_append_head(&head, DER_OCTET_STRING, inner.len);
    der_append_head(pkcs8, DER_SEQUENCE, version.len + algorithm.len + head.len + inner.len);
    buffer_append(pkcs8, version);
    buffer_append(pkcs8, algorithm);
    buffer_append(pkcs8, buffer_view(&head));
    buffer_append(pkcs8, inner);
    buffer_free(&head);
    return pkcs8->status;
}

static enum status load(struct bytes pkcs8, EVP_PKEY **key)
{
    const unsigned char *at = pkcs8.at;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)pkcs8.len);
    EVP_PKEY *loaded = info == NULL ? NULL : EVP_PKCS82PKEY(info);
    PKCS8_PRIV_KEY_INFO_free(info);
    if (loaded == NULL)
        return info == NULL ? STATUS_MALFORMED : STATUS_UNSUPPORTED;
    if (EVP_PKEY_get_base_id(loaded) == EVP_PKEY_RSA &&
        EVP_PKEY_get_bits(loaded) > PRIVATE_KEY_RSA_BITS_MAX) {
        EVP_PKEY_free(loaded);
        return STATUS_UNSUPPORTED;
    }
    *key = loaded;
    return STATUS_OK;
}

enum status private_key_check_certificate(EVP_PKEY *key, X509 *certificate)
{
    EVP_PKEY *public_key = X509_get0_pubkey(certificate);
    bool matches = public_key != NULL && EVP_PKEY_eq(key, public_key) == 1 &&
                   (!can_sign(key) || signs_for(key, public_key));
    ERR_clear_error();
    return matches ? STATUS_OK : STATUS_MISMATCH;
}

/* Keys for key agreement cannot. */
static bool can_sign(EVP_PKEY *key)
{
    return EVP_PKEY_can_sign(key) == 1;
}

static bool signs_for(EVP_PKEY *key, EVP_PKEY *public_key)
{
    static const uint8_t text[] = "does this key belong to this certificate?";
    const EVP_MD *digest = is_edwards(key) ? NULL : EVP_sha256();
    uint8_t signature[SIGNATURE_OCTETS_MAX];
    size_t len = sizeof(signature);
    EVP_MD_CTX *signing = EVP_MD_CTX_new(), *verifying = EVP_MD_CTX_new();
    bool good = signing != NULL && verifying != NULL &&
                EVP_DigestSignInit(signing, NULL, digest, NULL, key) == 1 &&
                EVP_DigestSign(signing, signature, &len, text, sizeof(text)) == 1 &&
                EVP_DigestVerifyInit(verifying, NULL, digest, NULL, public_key) == 1 &&
                EVP_DigestVerify(verifying, signature, len, text, sizeof(text)) == 1;
    EVP_MD_CTX_free(signing);
    EVP_MD_CTX_free(verifying);
    return good;
}

/* They hash by themselves (RFC 8032). */
static bool is_edwards(EVP_PKEY *key)
{
    int id = EVP_PKEY_get_base_id(key);
    return id == EVP_PKEY_ED25519 || id == EVP_PKEY_ED448;
}
