#include "generated_key.h"

#include <string.h>

#include <openssl/asn1t.h>
#include <openssl/cms.h>
#include <openssl/err.h>

#include "coap_names.h"
#include "identity.h"

/* RFC 5958 section 2. */
#define ASYMMETRIC_KEY_PACKAGE "2.16.840.1.101.2.1.2.78.5"

enum { KEY_LIMIT = 65536 };

static EVP_PKEY *read_plain(struct view part, struct explanation *why);
static bool belongs_together(EVP_PKEY *key);
static EVP_PKEY *read_protected(struct view part, const struct key_decryption *decryption,
                                struct key_protection *protection, struct explanation *why);
static CMS_ContentInfo *read_cms(struct view part, int type, struct explanation *why);
static bool decrypt(CMS_ContentInfo *envelope, const struct key_decryption *decryption,
                    struct key_protection *protection, BIO *signed_data, struct explanation *why);
static bool set_key(CMS_ContentInfo *envelope, const struct key_decryption *decryption,
                    struct key_protection *protection, struct explanation *why);
static bool is_for_us(CMS_RecipientInfo *recipient, const struct key_decryption *decryption,
                      struct explanation *why);
static CMS_ContentInfo *read_signed(struct view content, struct explanation *why);
static bool wrap(struct view signed_data, struct octets *info);
static bool verify(CMS_ContentInfo *signed_data, struct key_protection *protection, BIO *package,
                   struct explanation *why);
static EVP_PKEY *read_package(struct view package, struct explanation *why);
static struct view content_of(BIO *memory);

void key_protection_clear(struct key_protection *protection)
{
    X509_free(protection->signer);
    sk_X509_pop_free(protection->others, X509_free);
    *protection = (struct key_protection){.recipient = NULL};
}

EVP_PKEY *generated_key_read(int content_format, struct view part, const struct key_decryption *decryption,
                             struct key_protection *protection, struct explanation *why)
{
    ERR_clear_error();
    EVP_PKEY *key = content_format == CONTENT_FORMAT_PKCS8
                        ? read_plain(part, why)
                        : read_protected(part, decryption, protection, why);
    if (key == NULL || belongs_together(key))
        return key;
    explain(why, "the public key in the PKCS#8 is not that of its private key");
    EVP_PKEY_free(key);
    return NULL;
}

static EVP_PKEY *read_plain(struct view part, struct explanation *why)
{
    const unsigned char *at = part.at;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)part.len);
    EVP_PKEY *key = NULL;
    if (info == NULL)
        explain(why, "the key is not PKCS#8");
    else if (at != part.at + part.len)
        explain(why, "%zu octets follow the PKCS#8 key", (size_t)(part.at + part.len - at));
    else if ((key = EVP_PKCS82PKEY(info)) == NULL)
        explain_openssl(why, "the PKCS#8 holds no key that can be read");
    PKCS8_PRIV_KEY_INFO_free(info);
    ERR_clear_error();
    return key;
}

static bool belongs_together(EVP_PKEY *key)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    bool good = context != NULL && EVP_PKEY_pairwise_check(context) == 1;
    EVP_PKEY_CTX_free(context);
    ERR_clear_error();
    return good;
}

static EVP_PKEY *read_protected(struct view part, const struct key_decryption *decryption,
                                struct key_protection *protection, struct explanation *why)
{
    EVP_PKEY *key = NULL;
    BIO *content = BIO_new(BIO_s_mem()), *package = BIO_new(BIO_s_mem());
    CMS_ContentInfo *envelope = read_cms(part, NID_pkcs7_enveloped, why);
    CMS_ContentInfo *signed_data = NULL;
    if (envelope != NULL && content != NULL && decrypt(envelope, decryption, protection, content, why))
        signed_data = read_signed(content_of(content), why);
    if (signed_data != NULL && package != NULL && verify(signed_data, protection, package, why))
        key = read_package(content_of(package), why);
    CMS_ContentInfo_free(signed_data);
    CMS_ContentInfo_free(envelope);
    BIO_free(content);
    BIO_free(package);
    return key;
}

static CMS_ContentInfo *read_cms(struct view part, int type, struct explanation *why)
{
    const unsigned char *at = part.at;
    CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &at, (long)part.len);
    if (cms == NULL)
        explain_openssl(why, "the protected key is no CMS message");
    else if (at != part.at + part.len)
        explain(why, "%zu octets follow the CMS message", (size_t)(part.at + part.len - at));
    else if (OBJ_obj2nid(CMS_get0_type(cms)) != type)
        explain(why, "the CMS message is %s, not %s", OBJ_nid2ln(OBJ_obj2nid(CMS_get0_type(cms))),
                OBJ_nid2ln(type));
    else
        return cms;
    CMS_ContentInfo_free(cms);
    return NULL;
}

static bool decrypt(CMS_ContentInfo *envelope, const struct key_decryption *decryption,
                    struct key_protection *protection, BIO *signed_data, struct explanation *why)
{
    if (sk_CMS_RecipientInfo_num(CMS_get0_RecipientInfos(envelope)) != 1)
        return explain(why, "the EnvelopedData has not one recipient");
    if (!set_key(envelope, decryption, protection, why))
        return false;
    if (CMS_decrypt(envelope, NULL, NULL, NULL, signed_data, CMS_BINARY) == 1)
        return true;
    return explain_openssl(why, "the protected key cannot be decrypted");
}

static bool set_key(CMS_ContentInfo *envelope, const struct key_decryption *decryption,
                    struct key_protection *protection, struct explanation *why)
{
    CMS_RecipientInfo *recipient = sk_CMS_RecipientInfo_value(CMS_get0_RecipientInfos(envelope), 0);
    const struct identity *identity = decryption->identity;
    switch (CMS_RecipientInfo_type(recipient)) {
    case CMS_RECIPINFO_KEK:
        protection->recipient = "kekri";
        if (decryption->kek.len == 0)
            return explain(why, "the key is encrypted with a symmetric key: give --decrypt-key");
        if (CMS_RecipientInfo_kekri_id_cmp(recipient, decryption->kek_identifier.at,
                                           decryption->kek_identifier.len) != 0)
            return explain(why, "the key is encrypted with a symmetric key of another identifier");
        return CMS_decrypt_set1_key(envelope, (unsigned char *)(uintptr_t)decryption->kek.at,
                                    decryption->kek.len, decryption->kek_identifier.at,
                                    decryption->kek_identifier.len) == 1 ||
               explain_openssl(why, "the protected key cannot be decrypted");
    case CMS_RECIPINFO_TRANS:
    case CMS_RECIPINFO_AGREE:
        protection->recipient = CMS_RecipientInfo_type(recipient) == CMS_RECIPINFO_TRANS ? "ktri" : "kari";
        if (identity == NULL)
            return explain(why, "the key is encrypted with a public key: give --decrypt-cert");
        return is_for_us(recipient, decryption, why) &&
               (CMS_decrypt_set1_pkey(envelope, identity->key, NULL) == 1 ||
                explain_openssl(why, "the protected key cannot be decrypted"));
    default:
        return explain(why, "the key is encrypted in a way that RFC 7030 does not have");
    }
}

/* By the identifier of the CSR, or by issuer and serial number of our certificate (RFC 7030 section 4.4.2).
 */
static bool is_for_us(CMS_RecipientInfo *recipient, const struct key_decryption *decryption,
                      struct explanation *why)
{
    ASN1_OCTET_STRING *name = NULL;
    X509_NAME *issuer = NULL;
    ASN1_INTEGER *serial = NULL;
    const X509 *certificate = decryption->identity->certificate;
    if (CMS_RecipientInfo_type(recipient) == CMS_RECIPINFO_TRANS) {
        CMS_RecipientInfo_ktri_get0_signer_id(recipient, &name, &issuer, &serial);
    } else {
        STACK_OF(CMS_RecipientEncryptedKey) *keys = CMS_RecipientInfo_kari_get0_reks(recipient);
        if (sk_CMS_RecipientEncryptedKey_num(keys) != 1)
            return explain(why, "the key is encrypted to several recipients");
        CMS_RecipientEncryptedKey_get0_id(sk_CMS_RecipientEncryptedKey_value(keys, 0), &name, NULL, NULL,
                                          &issuer, &serial);
    }
    bool named = name != NULL && (decryption->key_identifier.len == 0 ||
                                  ((size_t)ASN1_STRING_length(name) == decryption->key_identifier.len &&
                                   memcmp(ASN1_STRING_get0_data(name), decryption->key_identifier.at,
                                          decryption->key_identifier.len) == 0));
    bool numbered = issuer != NULL && serial != NULL &&
                    X509_NAME_cmp(issuer, X509_get_issuer_name(certificate)) == 0 &&
                    ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(certificate)) == 0;
    return named || numbered || explain(why, "the key is encrypted to another recipient than the CSR names");
}

/* The content is SignedData (RFC 5652 section 6.1); some wrap it once more, in a ContentInfo. */
static CMS_ContentInfo *read_signed(struct view content, struct explanation *why)
{
    struct octets info = {0};
    CMS_ContentInfo *signed_data = read_cms(content, NID_pkcs7_signed, why);
    if (signed_data != NULL)
        return signed_data;
    ERR_clear_error();
    if (wrap(content, &info))
        signed_data = read_cms(octets_view(&info), NID_pkcs7_signed, why);
    else
        explain(why, "the EnvelopedData holds no SignedData");
    octets_clear(&info);
    return signed_data;
}

/* ContentInfo ::= SEQUENCE { id-signedData, [0] EXPLICIT SignedData }, with lengths of four octets. */
static bool wrap(struct view signed_data, struct octets *info)
{
    static const uint8_t type[] = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02};
    size_t lengths[] = {sizeof(type) + 5 + signed_data.len, signed_data.len};
    uint8_t heads[] = {0x30, 0x83, 0, 0, 0, 0xa0, 0x83, 0, 0, 0};
    if (signed_data.len == 0 || signed_data.len > KEY_LIMIT)
        return false;
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < 3; j++)
            heads[5 * i + 2 + j] = (uint8_t)(lengths[i] >> (16 - 8 * j));
    return octets_append(info, (struct view){heads, 5}, 2 * KEY_LIMIT) &&
           octets_append(info, (struct view){type, sizeof(type)}, 2 * KEY_LIMIT) &&
           octets_append(info, (struct view){heads + 5, 5}, 2 * KEY_LIMIT) &&
           octets_append(info, signed_data, 2 * KEY_LIMIT);
}

/* The signature only: whom to trust is judged with the certificates. */
static bool verify(CMS_ContentInfo *signed_data, struct key_protection *protection, BIO *package,
                   struct explanation *why)
{
    char type[80] = "";
    OBJ_obj2txt(type, sizeof(type), CMS_get0_eContentType(signed_data), 1);
    if (strcmp(type, ASYMMETRIC_KEY_PACKAGE) != 0)
        return explain(why, "what is signed is %s, not an AsymmetricKeyPackage", type);
    if (CMS_verify(signed_data, NULL, NULL, NULL, package, CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY) != 1)
        return explain_openssl(why, "the signature over the key does not verify");
    STACK_OF(X509) *signers = CMS_get0_signers(signed_data);
    if (sk_X509_num(signers) != 1) {
        sk_X509_free(signers);
        return explain(why, "the key has not one signer");
    }
    protection->signer = sk_X509_value(signers, 0);
    X509_up_ref(protection->signer);
    sk_X509_free(signers);
    protection->others = CMS_get1_certs(signed_data);
    return true;
}

/* AsymmetricKeyPackage ::= SEQUENCE SIZE (1..MAX) OF OneAsymmetricKey */
static EVP_PKEY *read_package(struct view package, struct explanation *why)
{
    const unsigned char *at = package.at;
    EVP_PKEY *key = NULL;
    ASN1_SEQUENCE_ANY *keys = d2i_ASN1_SEQUENCE_ANY(NULL, &at, (long)package.len);
    if (keys == NULL || at != package.at + package.len)
        explain(why, "what is signed is no AsymmetricKeyPackage");
    else if (sk_ASN1_TYPE_num(keys) != 1 || sk_ASN1_TYPE_value(keys, 0)->type != V_ASN1_SEQUENCE)
        explain(why, "the AsymmetricKeyPackage has %d keys; exactly one must be", sk_ASN1_TYPE_num(keys));
    else
        key = read_plain((struct view){sk_ASN1_TYPE_value(keys, 0)->value.sequence->data,
                                       (size_t)sk_ASN1_TYPE_value(keys, 0)->value.sequence->length},
                         why);
    sk_ASN1_TYPE_pop_free(keys, ASN1_TYPE_free);
    ERR_clear_error();
    return key;
}

static struct view content_of(BIO *memory)
{
    char *at = NULL;
    long length = BIO_get_mem_data(memory, &at);
    return (struct view){(const uint8_t *)at, length > 0 ? (size_t)length : 0};
}
