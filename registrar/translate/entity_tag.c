#include "registrar/translate/entity_tag.h"

#include <openssl/evp.h>

#include <string.h>

enum status entity_tag_make(enum content_format format, struct bytes representation, struct coap_etag *etag)
{
    const uint8_t prefix[2] = {(uint8_t)((unsigned)format >> 8), (uint8_t)format};
    uint8_t digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool made = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(context, prefix, sizeof prefix) == 1 &&
                EVP_DigestUpdate(context, representation.at, representation.len) == 1 &&
                EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    if (!made)
        return STATUS_CRYPTO;
    memcpy(etag->octets, digest, sizeof etag->octets);
    etag->len = sizeof etag->octets;
    return STATUS_OK;
}

bool entity_tag_is_among(const struct coap_etag *etag, const struct coap_etag *etags, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (etags[i].len == etag->len && memcmp(etags[i].octets, etag->octets, etag->len) == 0)
            return true;
    return false;
}
