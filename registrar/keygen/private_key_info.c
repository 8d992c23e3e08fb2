#include "registrar/keygen/private_key_info.h"

#include "registrar/protocol/der.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>

#define KEY_LIMIT    4096 /* octets of an RSA key of 4096 bits: 2349 */
#define NUMBER_LIMIT 513
#define POINT_LIMIT  133

#define VERSION(n)        BYTES_LITERAL("\x02\x01" n)
#define DER_EC_PUBLIC_KEY "\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
#define DER_RSA_ALGORITHM "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00"
#define DER_CONTEXT_1     0xa1
#define OF_EC_ALGORITHM(text)                                                                                \
    {                                                                                                        \
        (const uint8_t *)(text), sizeof(text) - 1                                                            \
    }

static const struct {
    const char *name; /* as OpenSSL tells it */
    size_t octets;    /* of the private key: ceiling(log2(n) / 8) (RFC 5915 section 3) */
    struct bytes algorithm;
} curves[] = {
    {"prime256v1", 32,
     OF_EC_ALGORITHM("\x30\x13" DER_EC_PUBLIC_KEY "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07")},
    {"secp384r1", 48, OF_EC_ALGORITHM("\x30\x10" DER_EC_PUBLIC_KEY "\x06\x05\x2b\x81\x04\x00\x22")},
    {"secp521r1", 66, OF_EC_ALGORITHM("\x30\x10" DER_EC_PUBLIC_KEY "\x06\x05\x2b\x81\x04\x00\x23")},
};

/* RFC 8017 appendix A.1.2, in its order. */
static const char *const rsa_numbers[] = {
    OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_E,
    OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
    OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
    OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
};

static enum status append_info(struct bytes algorithm, const struct buffer *key, struct buffer *der);
static enum status encode_ec_key(EVP_PKEY *key, struct buffer *out, struct bytes *algorithm);
static enum status encode_ec_content(EVP_PKEY *key, size_t octets, struct buffer *out);
static enum status encode_rsa_key(EVP_PKEY *key, struct buffer *out);
static enum status append_integer(EVP_PKEY *key, const char *name, struct buffer *out);
static BIGNUM *read_number(EVP_PKEY *key, const char *name);
static void append_sequence(struct buffer *content, struct buffer *out);

enum status private_key_info_append(EVP_PKEY *key, struct buffer *der)
{
    struct bytes algorithm = BYTES_LITERAL(DER_RSA_ALGORITHM);
    struct buffer encoded;
    buffer_init_locked(&encoded, KEY_LIMIT);
    enum status status =
        EVP_PKEY_is_a(key, "RSA") ? encode_rsa_key(key, &encoded) : encode_ec_key(key, &encoded, &algorithm);
    if (status == STATUS_OK)
        status = append_info(algorithm, &encoded, der);
    buffer_wipe(&encoded);
    ERR_clear_error();
    return status;
}

/* PrivateKeyInfo ::= SEQUENCE { version 0, privateKeyAlgorithm, privateKey OCTET STRING } */
static enum status append_info(struct bytes algorithm, const struct buffer *key, struct buffer *der)
{
    struct buffer content;
    buffer_init_locked(&content, KEY_LIMIT + 64);
    buffer_append(&content, VERSION("\x00"));
    buffer_append(&content, algorithm);
    der_append_head(&content, DER_OCTET_STRING, key->len);
    buffer_append(&content, buffer_view(key));
    append_sequence(&content, der);
    enum status status = content.status != STATUS_OK ? content.status : der->status;
    buffer_wipe(&content);
    return status;
}

static enum status encode_ec_key(EVP_PKEY *key, struct buffer *out, struct bytes *algorithm)
{
    char name[32];
    size_t len;
    if (!EVP_PKEY_is_a(key, "EC") || EVP_PKEY_get_group_name(key, name, sizeof(name), &len) != 1)
        return STATUS_UNSUPPORTED;
    for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++) {
        if (bytes_equal(bytes_from_string(name), bytes_from_string(curves[i].name))) {
            *algorithm = curves[i].algorithm;
            return encode_ec_content(key, curves[i].octets, out);
        }
    }
    return STATUS_UNSUPPORTED;
}

/* ECPrivateKey ::= SEQUENCE { version 1, privateKey OCTET STRING, publicKey [1] BIT STRING }; the curve
 * stands in the algorithm. */
static enum status encode_ec_content(EVP_PKEY *key, size_t octets, struct buffer *out)
{
    uint8_t point[POINT_LIMIT];
    size_t point_len;
    if (EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &point_len) != 1)
        return STATUS_CRYPTO;
    BIGNUM *number = read_number(key, OSSL_PKEY_PARAM_PRIV_KEY);
    struct buffer content, bits;
    buffer_init_locked(&content, KEY_LIMIT);
    buffer_init(&bits, POINT_LIMIT + 8);
    buffer_append(&content, VERSION("\x01"));
    der_append_head(&content, DER_OCTET_STRING, octets);
    uint8_t *at = buffer_extend(&content, octets);
    bool written = number != NULL && at != NULL && BN_bn2binpad(number, at, (int)octets) > 0;
    der_append_head(&bits, DER_BIT_STRING, point_len + 1);
    buffer_append_byte(&bits, 0);
    buffer_append(&bits, (struct bytes){point, point_len});
    der_append_head(&content, DER_CONTEXT_1, bits.len);
    buffer_append(&content, buffer_view(&bits));
    append_sequence(&content, out);
    BN_clear_free(number);
    buffer_wipe(&content);
    buffer_free(&bits);
    return written ? out->status : STATUS_CRYPTO;
}

/* RSAPrivateKey ::= SEQUENCE { version 0, and the numbers } */
static enum status encode_rsa_key(EVP_PKEY *key, struct buffer *out)
{
    struct buffer content;
    buffer_init_locked(&content, KEY_LIMIT);
    buffer_append(&content, VERSION("\x00"));
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < sizeof(rsa_numbers) / sizeof(rsa_numbers[0]); i++)
        status = append_integer(key, rsa_numbers[i], &content);
    if (status == STATUS_OK)
        append_sequence(&content, out);
    buffer_wipe(&content);
    return status != STATUS_OK ? status : out->status;
}

/* Positive: an octet of zeros leads where the first bit is set. */
static enum status append_integer(EVP_PKEY *key, const char *name, struct buffer *out)
{
    BIGNUM *number = read_number(key, name);
    if (number == NULL)
        return STATUS_CRYPTO;
    int len = BN_num_bits(number) / 8 + 1;
    der_append_head(out, DER_INTEGER, (size_t)len);
    uint8_t *at = buffer_extend(out, (size_t)len);
    if (at != NULL)
        BN_bn2binpad(number, at, len);
    BN_clear_free(number);
    return out->status;
}

/* Not EVP_PKEY_get_bn_param, which leaves the number on the stack. Gives. */
static BIGNUM *read_number(EVP_PKEY *key, const char *name)
{
    uint8_t native[NUMBER_LIMIT];
    BIGNUM *number = BN_secure_new();
    OSSL_PARAM wanted[] = {OSSL_PARAM_construct_BN(name, native, sizeof(native)), OSSL_PARAM_construct_end()};
    if (number == NULL || EVP_PKEY_get_params(key, wanted) != 1 || !OSSL_PARAM_modified(wanted) ||
        OSSL_PARAM_get_BN(wanted, &number) != 1) {
        BN_clear_free(number);
        number = NULL;
    }
    OPENSSL_cleanse(native, sizeof(native));
    return number;
}

/* Appends content, with a head of a SEQUENCE, to out; a failure of content is one of out. */
static void append_sequence(struct buffer *content, struct buffer *out)
{
    if (content->status != STATUS_OK && out->status == STATUS_OK)
        out->status = content->status;
    der_append_head(out, DER_SEQUENCE, content->len);
    buffer_append(out, buffer_view(content));
}
