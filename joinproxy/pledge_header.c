#include "joinproxy/pledge_header.h"

#include <openssl/evp.h>

#include <stdlib.h>
#include <string.h>

#define TAG_OCTETS     16
#define ORIGIN_OCTETS  (PLEDGE_HEADER_OCTETS - TAG_OCTETS)
#define IDENTIFIER_MAX 8 /* octets of an interface identifier */

/* octet 0 kind, 1 link, 2-3 port, 4-5 check of our address, 6-13 interface identifier or IPv4 address and
 * zeros */
enum kind { KIND_LINK_LOCAL = 6, KIND_IPV4 = 4 };

#define AT_LINK       1
#define AT_PORT       2
#define AT_CHECK      4
#define AT_IDENTIFIER 6

struct pledge_header_cipher {
    EVP_CIPHER *siv;
    EVP_CIPHER_CTX *context;
    uint8_t *binding;
    int binding_len;
};

static const uint8_t link_local_prefix[8] = {0xfe, 0x80};
static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

static enum status pack(const struct pledge_origin *origin, uint8_t octets[static ORIGIN_OCTETS]);
static enum status unpack(const uint8_t octets[static ORIGIN_OCTETS], struct pledge_origin *origin);
static void pack_u16(uint8_t *octets, uint16_t number);
static uint16_t unpack_u16(const uint8_t *octets);

struct pledge_header_cipher *pledge_header_cipher_create(struct bytes binding)
{
    struct pledge_header_cipher *cipher = calloc(1, sizeof *cipher);
    if (cipher == NULL || binding.len == 0 || binding.len > INT32_MAX)
        goto failed;
    cipher->siv = EVP_CIPHER_fetch(NULL, "AES-128-SIV", NULL);
    cipher->context = EVP_CIPHER_CTX_new();
    cipher->binding = malloc(binding.len);
    if (cipher->siv == NULL || cipher->context == NULL || cipher->binding == NULL)
        goto failed;
    memcpy(cipher->binding, binding.at, binding.len);
    cipher->binding_len = (int)binding.len;
    return cipher;
failed:
    pledge_header_cipher_free(cipher);
    return NULL;
}

void pledge_header_cipher_free(struct pledge_header_cipher *cipher)
{
    if (cipher == NULL)
        return;
    EVP_CIPHER_CTX_free(cipher->context);
    EVP_CIPHER_free(cipher->siv);
    free(cipher->binding);
    free(cipher);
}

enum status pledge_header_seal(struct pledge_header_cipher *cipher, const struct pledge_header_key *key,
                               const struct pledge_origin *origin,
                               uint8_t header[static PLEDGE_HEADER_OCTETS])
{
    uint8_t plain[ORIGIN_OCTETS];
    EVP_CIPHER_CTX *context = cipher->context;
    int len;
    enum status status = pack(origin, plain);
    if (status != STATUS_OK)
        return status;
    bool sealed = EVP_CIPHER_CTX_reset(context) == 1 &&
                  EVP_EncryptInit_ex2(context, cipher->siv, key->octets, NULL, NULL) == 1 &&
                  EVP_EncryptUpdate(context, NULL, &len, cipher->binding, cipher->binding_len) == 1 &&
                  EVP_EncryptUpdate(context, header + TAG_OCTETS, &len, plain, ORIGIN_OCTETS) == 1 &&
                  EVP_EncryptFinal_ex(context, header + TAG_OCTETS + len, &len) == 1 &&
                  EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_OCTETS, header) == 1;
    return sealed ? STATUS_OK : STATUS_CRYPTO;
}

enum status pledge_header_open(struct pledge_header_cipher *cipher, const struct pledge_header_key *key,
                               struct bytes header, struct pledge_origin *origin)
{
    uint8_t plain[ORIGIN_OCTETS], tag[TAG_OCTETS];
    EVP_CIPHER_CTX *context = cipher->context;
    int len;
    if (header.len != PLEDGE_HEADER_OCTETS)
        return STATUS_UNTRUSTED;
    memcpy(tag, header.at, sizeof tag);
    bool opened = EVP_CIPHER_CTX_reset(context) == 1 &&
                  EVP_DecryptInit_ex2(context, cipher->siv, key->octets, NULL, NULL) == 1 &&
                  EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_OCTETS, tag) == 1 &&
                  EVP_DecryptUpdate(context, NULL, &len, cipher->binding, cipher->binding_len) == 1 &&
                  EVP_DecryptUpdate(context, plain, &len, header.at + TAG_OCTETS, ORIGIN_OCTETS) == 1 &&
                  EVP_DecryptFinal_ex(context, plain + len, &len) == 1;
    return opened ? unpack(plain, origin) : STATUS_UNTRUSTED;
}

static enum status pack(const struct pledge_origin *origin, uint8_t octets[static ORIGIN_OCTETS])
{
    uint8_t identifier[IDENTIFIER_MAX] = {0}, kind;
    const struct endpoint *pledge = &origin->pledge;
    if (pledge->address.any.sa_family != AF_INET6) {
        kind = KIND_IPV4;
        memcpy(identifier, &pledge->address.v4.sin_addr, sizeof pledge->address.v4.sin_addr);
    } else if (memcmp(&pledge->address.v6.sin6_addr, link_local_prefix, sizeof link_local_prefix) == 0) {
        kind = KIND_LINK_LOCAL;
        memcpy(identifier, pledge->address.v6.sin6_addr.s6_addr + sizeof link_local_prefix, IDENTIFIER_MAX);
    } else if (memcmp(&pledge->address.v6.sin6_addr, mapped_prefix, sizeof mapped_prefix) == 0) {
        kind = KIND_IPV4;
        memcpy(identifier, pledge->address.v6.sin6_addr.s6_addr + sizeof mapped_prefix, 4);
    } else {
        return STATUS_UNSUPPORTED;
    }
    octets[0] = kind;
    octets[AT_LINK] = origin->link;
    pack_u16(octets + AT_PORT, endpoint_port(pledge));
    pack_u16(octets + AT_CHECK, origin->local_check);
    memcpy(octets + AT_IDENTIFIER, identifier, sizeof identifier);
    return STATUS_OK;
}

/* Always an IPv6 address, mapped or not: pledges' sockets are of that family. */
static enum status unpack(const uint8_t octets[static ORIGIN_OCTETS], struct pledge_origin *origin)
{
    struct sockaddr_in6 pledge = {.sin6_family = AF_INET6, .sin6_port = htons(unpack_u16(octets + AT_PORT))};
    if (octets[0] == KIND_LINK_LOCAL) {
        memcpy(pledge.sin6_addr.s6_addr, link_local_prefix, sizeof link_local_prefix);
        memcpy(pledge.sin6_addr.s6_addr + sizeof link_local_prefix, octets + AT_IDENTIFIER, IDENTIFIER_MAX);
    } else if (octets[0] == KIND_IPV4) {
        memcpy(pledge.sin6_addr.s6_addr, mapped_prefix, sizeof mapped_prefix);
        memcpy(pledge.sin6_addr.s6_addr + sizeof mapped_prefix, octets + AT_IDENTIFIER, 4);
    } else {
        return STATUS_MALFORMED;
    }
    if (pledge.sin6_port == 0)
        return STATUS_MALFORMED;
    *origin = (struct pledge_origin){.link = octets[AT_LINK], .local_check = unpack_u16(octets + AT_CHECK)};
    origin->pledge.len = sizeof pledge;
    origin->pledge.address.v6 = pledge;
    return STATUS_OK;
}

static void pack_u16(uint8_t *octets, uint16_t number)
{
    octets[0] = (uint8_t)(number >> 8);
    octets[1] = (uint8_t)number;
}

static uint16_t unpack_u16(const uint8_t *octets)
{
    return (uint16_t)(octets[0] << 8 | octets[1]);
}
