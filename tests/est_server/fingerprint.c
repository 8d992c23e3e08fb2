#include "fingerprint.h"

#include <openssl/evp.h>
#include <stdio.h>

static struct fingerprint in_hex(const unsigned char *digest);

struct fingerprint fingerprint_of(struct octets octets)
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    EVP_Digest(octets.at, octets.len, digest, NULL, EVP_sha256(), NULL);
    return in_hex(digest);
}

struct fingerprint fingerprint_of_certificate(const X509 *certificate)
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    X509_digest(certificate, EVP_sha256(), digest, NULL);
    return in_hex(digest);
}

struct fingerprint fingerprint_of_key(const X509_PUBKEY *key)
{
    unsigned char *der = NULL;
    int len = i2d_X509_PUBKEY(key, &der);
    struct fingerprint result = fingerprint_of((struct octets){der, len > 0 ? (size_t)len : 0});
    OPENSSL_free(der);
    return result;
}

static struct fingerprint in_hex(const unsigned char *digest)
{
    struct fingerprint result;
    for (size_t i = 0; i < 32; i++)
        snprintf(result.hex + 2 * i, 3, "%02x", digest[i]);
    return result;
}
