#include "registrar/protocol/public_key.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/x509.h>

/* All of a SubjectPublicKeyInfo for id-ecPublicKey and prime256v1 (RFC 5480 section 2) but the point, which
 * is not compressed. */
#define P256_HEAD                                                                                            \
    BYTES_LITERAL("\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"                                     \
                  "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04")
#define P256_POINT_OCTETS 65 /* the last one of the head is its first */

static EVP_PKEY *read_p256(struct bytes point);
static EVP_PKEY *read_any(struct bytes info);

EVP_PKEY *public_key_read(struct bytes info)
{
    const size_t fixed = P256_HEAD.len - 1;
    bool is_p256 =
        info.len == fixed + P256_POINT_OCTETS && bytes_equal(bytes_slice(info, 0, P256_HEAD.len), P256_HEAD);
    EVP_PKEY *key = is_p256 ? read_p256(bytes_slice(info, fixed, info.len)) : read_any(info);
    ERR_clear_error();
    return key;
}

/* OpenSSL checks that the point is on the curve. */
static EVP_PKEY *read_p256(struct bytes point)
{
    char curve[] = "P-256";
    uint8_t octets[P256_POINT_OCTETS];
    memcpy(octets, point.at, sizeof octets);
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, curve, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, octets, sizeof octets),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (context == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(context);
    return key;
}

static EVP_PKEY *read_any(struct bytes info)
{
    const unsigned char *at = info.at;
    EVP_PKEY *key = info.len == 0 ? NULL : d2i_PUBKEY(NULL, &at, (long)info.len);
    if (key != NULL && at != info.at + info.len) {
        EVP_PKEY_free(key);
        return NULL;
    }
    return key;
}
