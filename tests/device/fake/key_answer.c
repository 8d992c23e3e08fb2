#include "key_answer.h"

#include <string.h>

#include <openssl/cms.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

enum { PLAIN = 284, PROTECTED = 280, ANSWER_LIMIT = 65536 };

static const ASN1_OCTET_STRING *identifier(X509_REQ *csr, const char *type);
static BIO *encode_plain(const struct key_order *order);
static BIO *encode_protected(const struct key_order *order);
static BIO *encode_signed(const struct key_order *order);
static BIO *encode_package(BIO *pkcs8);
static void alter(BIO *memory, size_t from_end);
static bool add_recipient(CMS_ContentInfo *envelope, const struct key_order *order);
static X509 *recipient_called(X509 *client, const ASN1_OCTET_STRING *name);
static size_t write_parts(const struct key_order *order, unsigned format, BIO *key, uint8_t *octets);
static size_t write_part(uint8_t *octets, unsigned format, const uint8_t *content, size_t length);

size_t key_answer_encode(const struct key_order *order, uint8_t **octets)
{
    bool wanted = identifier(order->csr, "1.2.840.113549.1.9.16.2.37") != NULL ||
                  identifier(order->csr, "1.2.840.113549.1.9.16.2.54") != NULL;
    bool is_plain = order->fault == KEY_PLAIN || (!wanted && order->fault != KEY_ENCRYPTED);
    BIO *key = is_plain ? encode_plain(order) : encode_protected(order);
    size_t length = 0;
    *octets = OPENSSL_malloc(ANSWER_LIMIT);
    if (key != NULL && *octets != NULL)
        length = write_parts(order, is_plain ? PLAIN : PROTECTED, key, *octets);
    BIO_free(key);
    return length;
}

/* NULL: the CSR has no such attribute. */
static const ASN1_OCTET_STRING *identifier(X509_REQ *csr, const char *type)
{
    ASN1_OBJECT *object = OBJ_txt2obj(type, 1);
    int at = X509_REQ_get_attr_by_OBJ(csr, object, -1);
    ASN1_OBJECT_free(object);
    if (at < 0)
        return NULL;
    return X509_ATTRIBUTE_get0_data(X509_REQ_get_attr(csr, at), 0, V_ASN1_OCTET_STRING, NULL);
}

static BIO *encode_plain(const struct key_order *order)
{
    BIO *encoded = BIO_new(BIO_s_mem());
    if (order->fault == KEY_SEC1)
        i2d_PrivateKey_bio(encoded, order->key);
    else
        i2d_PKCS8PrivateKeyInfo_bio(encoded, order->key);
    if (order->fault == KEY_MISMATCH)
        alter(encoded, 85); /* within the private key, which stands before the public one */
    return encoded;
}

static void alter(BIO *memory, size_t from_end)
{
    char *at = NULL;
    size_t length = (size_t)BIO_get_mem_data(memory, &at);
    at[length - from_end] ^= 1;
}

static BIO *encode_protected(const struct key_order *order)
{
    BIO *encoded = BIO_new(BIO_s_mem());
    BIO *content = order->fault == KEY_UNSIGNED ? encode_plain(order) : encode_signed(order);
    CMS_ContentInfo *envelope = CMS_encrypt(NULL, NULL, EVP_aes_128_cbc(), CMS_PARTIAL | CMS_BINARY);
    int type =
        order->fault == KEY_WRAPPED || order->fault == KEY_UNSIGNED ? NID_pkcs7_data : NID_pkcs7_signed;
    CMS_set1_eContentType(envelope, OBJ_nid2obj(type));
    if (add_recipient(envelope, order) && CMS_final(envelope, content, NULL, CMS_BINARY) == 1)
        i2d_CMS_bio(encoded, envelope);
    CMS_ContentInfo_free(envelope);
    BIO_free(content);
    return encoded;
}

/* SignedData, or for KEY_WRAPPED the ContentInfo around it: with a certificate in it all lengths take two
 * octets, so that SEQUENCE, OBJECT IDENTIFIER and [0] are 19 octets. */
static BIO *encode_signed(const struct key_order *order)
{
    char *at = NULL;
    BIO *pkcs8 = encode_plain(order), *package = encode_package(pkcs8), *encoded = BIO_new(BIO_s_mem());
    ASN1_OBJECT *type = OBJ_txt2obj("2.16.840.1.101.2.1.2.78.5", 1);
    CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, CMS_PARTIAL | CMS_BINARY);
    CMS_set1_eContentType(cms, type);
    CMS_add1_signer(cms, order->signer->certificate, order->signer->key, NULL, CMS_BINARY);
    CMS_final(cms, package, NULL, CMS_BINARY);
    if (order->fault == KEY_ALTERED)
        (*CMS_get0_content(cms))->data[40] ^= 1;
    i2d_CMS_bio(encoded, cms);
    size_t length = (size_t)BIO_get_mem_data(encoded, &at);
    size_t heads = order->fault == KEY_WRAPPED ? 0 : 19;
    BIO *bare = BIO_new(BIO_s_mem());
    BIO_write(bare, at + heads, (int)(length - heads));
    ASN1_OBJECT_free(type);
    CMS_ContentInfo_free(cms);
    BIO_free(pkcs8);
    BIO_free(package);
    BIO_free(encoded);
    return bare;
}

/* A P-256 key: its PKCS#8 has 138 octets. */
static BIO *encode_package(BIO *pkcs8)
{
    char *at = NULL;
    long length = BIO_get_mem_data(pkcs8, &at);
    const uint8_t head[] = {0x30, 0x81, (uint8_t)length};
    BIO *package = BIO_new(BIO_s_mem());
    BIO_write(package, head, sizeof(head));
    BIO_write(package, at, (int)length);
    return package;
}

static bool add_recipient(CMS_ContentInfo *envelope, const struct key_order *order)
{
    const ASN1_OCTET_STRING *kek = identifier(order->csr, "1.2.840.113549.1.9.16.2.37");
    const ASN1_OCTET_STRING *ski = identifier(order->csr, "1.2.840.113549.1.9.16.2.54");
    if (kek != NULL || ski == NULL) {
        const uint8_t *name = kek == NULL ? (const uint8_t *)"x" : ASN1_STRING_get0_data(kek);
        size_t length = kek == NULL ? 1 : (size_t)ASN1_STRING_length(kek);
        return CMS_add0_recipient_key(envelope, NID_id_aes128_wrap, OPENSSL_memdup(FAKE_KEK, 16), 16,
                                      OPENSSL_memdup(name, length), length, NULL, NULL, NULL) != NULL;
    }
    X509 *recipient = recipient_called(order->client, ski);
    bool added = CMS_add1_recipient_cert(envelope, recipient, CMS_USE_KEYID) != NULL;
    X509_free(recipient);
    return added;
}

/* The client's certificate with another subjectKeyIdentifier, for OpenSSL to take that from. */
static X509 *recipient_called(X509 *client, const ASN1_OCTET_STRING *name)
{
    ASN1_OCTET_STRING *copy = ASN1_OCTET_STRING_dup(name);
    X509 *recipient = X509_dup(client);
    while (X509_get_ext_count(recipient) > 0)
        X509_EXTENSION_free(X509_delete_ext(recipient, 0));
    X509_add1_ext_i2d(recipient, NID_subject_key_identifier, copy, 0, X509V3_ADD_DEFAULT);
    ASN1_OCTET_STRING_free(copy);
    return recipient;
}

static size_t write_parts(const struct key_order *order, unsigned format, BIO *key, uint8_t *octets)
{
    char *at = NULL;
    size_t key_length = (size_t)BIO_get_mem_data(key, &at);
    if (key_length == 0 || key_length + order->certificate_length + 32 > ANSWER_LIMIT)
        return 0;
    size_t length = 0;
    octets[length++] = order->fault == KEY_ALONE ? 0x82 : 0x84;
    if (order->fault == KEY_LAST)
        length += write_part(octets + length, order->certificate_format, order->certificate,
                             order->certificate_length);
    length += write_part(octets + length, format, (const uint8_t *)at, key_length);
    if (order->fault != KEY_LAST && order->fault != KEY_ALONE)
        length += write_part(octets + length, order->certificate_format, order->certificate,
                             order->certificate_length);
    return length;
}

/* An unsigned integer and a byte string, with lengths of two octets (RFC 8949 section 3). */
static size_t write_part(uint8_t *octets, unsigned format, const uint8_t *content, size_t length)
{
    const uint8_t head[] = {0x19, (uint8_t)(format >> 8), (uint8_t)format,
                            0x59, (uint8_t)(length >> 8), (uint8_t)length};
    memcpy(octets, head, sizeof(head));
    memcpy(octets + sizeof(head), content, length);
    return sizeof(head) + length;
}
