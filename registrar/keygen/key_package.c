#include "registrar/keygen/key_package.h"

#include "registrar/keygen/key_directory.h"
#include "registrar/keygen/key_generation.h"
#include "registrar/keygen/protection_suite.h"
#include "registrar/protocol/certificate_request.h"
#include "registrar/protocol/der.h"

#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include <string.h>

#define PACKAGE_LIMIT     4096  /* octets; an RSA key of 4096 bits takes 2375 */
#define SIGNED_DATA_LIMIT 65536 /* with the certificate of the signer */

/* RFC 8551 section 2.5.2 */
#define SMIME_CAPABILITIES     BYTES_LITERAL("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0f")
#define DECRYPT_KEY_IDENTIFIER BYTES_LITERAL("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x02\x25") /* RFC 4108 */
#define ASYMMETRIC_DECRYPT_KEY_IDENTIFIER                                                                    \
    BYTES_LITERAL("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x02\x36") /* RFC 7030 section 4.4.1.2 */
#define ID_CT_KP_A_KEY_PACKAGE "2.16.840.1.101.2.1.2.78.5"        /* RFC 5958 section 2 */

/* What a CSR says about the protection of the key. */
struct wish {
    struct bytes capabilities; /* empty: none */
    struct bytes kek_identifier, key_identifier;
    bool has_capabilities, has_kek_identifier, has_key_identifier;
    bool is_readable;
};

/* What a wish comes to. */
struct protection {
    struct protection_suite suite;
    struct bytes kek; /* empty: by the key */
    EVP_PKEY *key;
};

static struct wish read_wish(const struct certificate_request *csr);
static bool read_identifier(const struct certificate_request *csr, struct bytes type,
                            struct bytes *identifier, bool *found);
static enum key_wish kind_of_wish(const struct wish *wish);
static enum status choose_protection(const struct key_directory *directory, const struct wish *wish,
                                     struct protection *protection);
static bool open_envelope(const struct protection *protection, const struct wish *wish,
                          const X509 *any_certificate, CMS_ContentInfo **envelope);
static bool add_key(CMS_ContentInfo *envelope, const struct protection *protection, struct bytes identifier,
                    const X509 *any_certificate);
static CMS_ContentInfo *create_envelope(const struct protection_suite *suite);
static bool add_kek(CMS_ContentInfo *envelope, const struct protection_suite *suite, struct bytes kek,
                    struct bytes identifier);
static X509 *create_carrier(EVP_PKEY *key, struct bytes identifier, const X509 *any_certificate);
static bool set_algorithms(CMS_RecipientInfo *recipient, const struct protection_suite *suite);
static enum status write_package(const struct generated_key *key, struct buffer *package);
static enum status sign_package(struct bytes package, const struct key_package_signer *signer,
                                struct buffer *content_info);
static CMS_ContentInfo *create_signed_data(const struct key_package_signer *signer);
static bool put_content(CMS_ContentInfo *cms, struct bytes content);
static void wipe_content(CMS_ContentInfo *cms);
static enum status seal(CMS_ContentInfo *envelope, struct bytes signed_data_info, struct buffer *cms);
static enum status encode(const CMS_ContentInfo *cms, struct buffer *der);

enum key_wish key_package_wish(const struct certificate_request *csr)
{
    struct wish wish = read_wish(csr);
    return kind_of_wish(&wish);
}

enum status key_package_check(const struct key_directory *directory, const struct certificate_request *csr)
{
    struct wish wish = read_wish(csr);
    struct protection protection;
    return choose_protection(directory, &wish, &protection);
}

enum status key_package_protect(const struct key_directory *directory, const struct certificate_request *csr,
                                const struct generated_key *key, const struct key_package_signer *signer,
                                struct buffer *cms)
{
    struct wish wish = read_wish(csr);
    struct protection protection;
    struct buffer package, signed_data;
    CMS_ContentInfo *envelope = NULL;
    buffer_init_locked(&package, PACKAGE_LIMIT);
    buffer_init_locked(&signed_data, SIGNED_DATA_LIMIT);
    enum status status = choose_protection(directory, &wish, &protection);
    if (status == STATUS_OK && !open_envelope(&protection, &wish, signer->certificate, &envelope))
        status = STATUS_CRYPTO;
    if (status == STATUS_OK)
        status = write_package(key, &package);
    if (status == STATUS_OK)
        status = sign_package(buffer_view(&package), signer, &signed_data);
    if (status == STATUS_OK)
        status = seal(envelope, buffer_view(&signed_data), cms);
    CMS_ContentInfo_free(envelope);
    buffer_wipe(&package);
    buffer_wipe(&signed_data);
    ERR_clear_error();
    return status;
}

/* The wish (SKG-3). */

static struct wish read_wish(const struct certificate_request *csr)
{
    struct wish wish = {.is_readable = true};
    enum status status = certificate_request_attribute(csr, SMIME_CAPABILITIES, &wish.capabilities);
    wish.has_capabilities = status != STATUS_NOT_FOUND;
    if (wish.has_capabilities)
        wish.is_readable = status == STATUS_OK && protection_suite_is_capabilities(wish.capabilities);
    if (!read_identifier(csr, DECRYPT_KEY_IDENTIFIER, &wish.kek_identifier, &wish.has_kek_identifier) ||
        !read_identifier(csr, ASYMMETRIC_DECRYPT_KEY_IDENTIFIER, &wish.key_identifier,
                         &wish.has_key_identifier))
        wish.is_readable = false;
    return wish;
}

/* Both are an OCTET STRING (RFC 4108 section 2.2.5, RFC 8951 section 8). False: it is there, but unreadable.
 */
static bool read_identifier(const struct certificate_request *csr, struct bytes type,
                            struct bytes *identifier, bool *found)
{
    struct bytes value;
    struct der_element octets;
    enum status status = certificate_request_attribute(csr, type, &value);
    *found = status != STATUS_NOT_FOUND;
    if (!*found)
        return true;
    if (status != STATUS_OK || der_read_tagged(&value, DER_OCTET_STRING, &octets) != STATUS_OK)
        return false;
    *identifier = octets.content;
    return true;
}

static enum key_wish kind_of_wish(const struct wish *wish)
{
    bool has_identifier = wish->has_kek_identifier || wish->has_key_identifier;
    if (wish->has_capabilities && has_identifier) {
        if (!wish->is_readable || (wish->has_kek_identifier && wish->has_key_identifier))
            return KEY_WISH_UNCLEAR;
        return wish->has_kek_identifier ? KEY_WISH_SYMMETRIC : KEY_WISH_ASYMMETRIC;
    }
    if (!wish->is_readable || has_identifier)
        return KEY_WISH_REFUSED;
    return wish->has_capabilities ? KEY_WISH_HALF_CAPABILITIES : KEY_WISH_PLAIN;
}

/* The envelope, with its recipient (RFC 7030 section 4.4.2). */

static enum status choose_protection(const struct key_directory *directory, const struct wish *wish,
                                     struct protection *protection)
{
    *protection = (struct protection){.key = NULL};
    switch (kind_of_wish(wish)) {
    case KEY_WISH_SYMMETRIC:
        if (directory == NULL || !key_directory_symmetric(directory, wish->kek_identifier, &protection->kek))
            return STATUS_NOT_FOUND;
        return protection_suite_for_symmetric(wish->capabilities, protection->kek.len, &protection->suite);
    case KEY_WISH_ASYMMETRIC:
        if (directory != NULL)
            protection->key = key_directory_asymmetric(directory, wish->key_identifier);
        if (protection->key == NULL)
            return STATUS_NOT_FOUND;
        return protection_suite_for_asymmetric(wish->capabilities, protection->key, &protection->suite);
    default:
        return STATUS_MALFORMED;
    }
}

static bool open_envelope(const struct protection *protection, const struct wish *wish,
                          const X509 *any_certificate, CMS_ContentInfo **envelope)
{
    *envelope = create_envelope(&protection->suite);
    if (*envelope == NULL)
        return false;
    return protection->key == NULL
               ? add_kek(*envelope, &protection->suite, protection->kek, wish->kek_identifier)
               : add_key(*envelope, protection, wish->key_identifier, any_certificate);
}

static bool add_key(CMS_ContentInfo *envelope, const struct protection *protection, struct bytes identifier,
                    const X509 *any_certificate)
{
    X509 *carrier = create_carrier(protection->key, identifier, any_certificate);
    CMS_RecipientInfo *recipient = NULL; /* of the envelope */
    if (carrier != NULL)
        recipient = CMS_add1_recipient_cert(envelope, carrier, CMS_USE_KEYID | CMS_KEY_PARAM);
    bool ready = recipient != NULL && set_algorithms(recipient, &protection->suite);
    X509_free(carrier);
    return ready;
}

/* The content is to be the SignedData itself (RFC 5652 section 6.1), not a ContentInfo around it. */
static CMS_ContentInfo *create_envelope(const struct protection_suite *suite)
{
    CMS_ContentInfo *envelope = CMS_encrypt(NULL, NULL, suite->content, CMS_PARTIAL | CMS_BINARY);
    if (envelope != NULL && CMS_set1_eContentType(envelope, OBJ_nid2obj(NID_pkcs7_signed)) != 1) {
        CMS_ContentInfo_free(envelope);
        return NULL;
    }
    return envelope;
}

/* kekri; OpenSSL takes copies of key and identifier, and wipes that of the key. */
static bool add_kek(CMS_ContentInfo *envelope, const struct protection_suite *suite, struct bytes kek,
                    struct bytes identifier)
{
    unsigned char *key = OPENSSL_memdup(kek.at, kek.len);
    unsigned char *name = OPENSSL_memdup(identifier.at, identifier.len);
    if (key != NULL && name != NULL &&
        CMS_add0_recipient_key(envelope, suite->wrap_nid, key, kek.len, name, identifier.len, NULL, NULL,
                               NULL) != NULL)
        return true;
    OPENSSL_clear_free(key, kek.len);
    OPENSSL_free(name);
    return false;
}

/* OpenSSL takes a recipient's key, and the subjectKeyIdentifier that it is to be called by, out of a
 * certificate only: this is one that nobody will see, made from any other. */
static X509 *create_carrier(EVP_PKEY *key, struct bytes identifier, const X509 *any_certificate)
{
    X509 *carrier = X509_dup(any_certificate);
    ASN1_OCTET_STRING *octets = ASN1_OCTET_STRING_new();
    bool made = carrier != NULL && octets != NULL && X509_set_pubkey(carrier, key) == 1;
    while (made && X509_get_ext_count(carrier) > 0)
        X509_EXTENSION_free(X509_delete_ext(carrier, 0));
    made = made && ASN1_OCTET_STRING_set(octets, identifier.at, (int)identifier.len) == 1 &&
           X509_add1_ext_i2d(carrier, NID_subject_key_identifier, octets, 0, X509V3_ADD_DEFAULT) == 1;
    ASN1_OCTET_STRING_free(octets);
    if (made)
        return carrier;
    X509_free(carrier);
    return NULL;
}

/* ktri or kari; stdDH is what OpenSSL does unless told otherwise. */
static bool set_algorithms(CMS_RecipientInfo *recipient, const struct protection_suite *suite)
{
    EVP_PKEY_CTX *context = CMS_RecipientInfo_get0_pkey_ctx(recipient);
    if (CMS_RecipientInfo_type(recipient) == CMS_RECIPINFO_AGREE)
        return EVP_PKEY_CTX_set_ecdh_kdf_md(context, suite->digest) == 1 &&
               EVP_EncryptInit_ex(CMS_RecipientInfo_kari_get0_ctx(recipient), suite->wrap, NULL, NULL,
                                  NULL) == 1;
    if (suite->digest == NULL)
        return true;
    return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_oaep_md(context, suite->digest) == 1 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(context, suite->digest) == 1;
}

/* The content (RFC 5958 sections 2 and 4). */

/* AsymmetricKeyPackage ::= SEQUENCE OF OneAsymmetricKey, of which there is one. */
static enum status write_package(const struct generated_key *key, struct buffer *package)
{
    struct buffer pkcs8;
    buffer_init_locked(&pkcs8, PACKAGE_LIMIT);
    enum status status = key_generation_pkcs8(key, &pkcs8);
    der_append_head(package, DER_SEQUENCE, pkcs8.len);
    buffer_append(package, buffer_view(&pkcs8));
    buffer_wipe(&pkcs8);
    return status != STATUS_OK ? status : package->status;
}

static enum status sign_package(struct bytes package, const struct key_package_signer *signer,
                                struct buffer *content_info)
{
    CMS_ContentInfo *cms = create_signed_data(signer);
    enum status status = STATUS_CRYPTO;
    if (cms != NULL && put_content(cms, package))
        status = encode(cms, content_info);
    wipe_content(cms);
    CMS_ContentInfo_free(cms);
    return status;
}

static CMS_ContentInfo *create_signed_data(const struct key_package_signer *signer)
{
    ASN1_OBJECT *type = OBJ_txt2obj(ID_CT_KP_A_KEY_PACKAGE, 1);
    CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, CMS_PARTIAL | CMS_BINARY);
    if (cms == NULL || type == NULL || CMS_set1_eContentType(cms, type) != 1 ||
        CMS_add1_signer(cms, signer->certificate, signer->key, NULL, CMS_BINARY | CMS_NOSMIMECAP) == NULL) {
        CMS_ContentInfo_free(cms);
        cms = NULL;
    }
    ASN1_OBJECT_free(type);
    return cms;
}

/* Not CMS_final, whose buffers keep a copy. */
static bool put_content(CMS_ContentInfo *cms, struct bytes content)
{
    BIO *chain = CMS_dataInit(cms, NULL);
    bool put = chain != NULL && BIO_write(chain, content.at, (int)content.len) == (int)content.len &&
               BIO_flush(chain) == 1 && CMS_dataFinal(cms, chain) == 1;
    BIO_free_all(chain);
    return put;
}

static void wipe_content(CMS_ContentInfo *cms)
{
    ASN1_OCTET_STRING **content = cms != NULL ? CMS_get0_content(cms) : NULL;
    if (content != NULL && *content != NULL && (*content)->data != NULL)
        OPENSSL_cleanse((*content)->data, (size_t)(*content)->length);
}

/* ContentInfo ::= SEQUENCE { contentType, content [0] }: the content alone goes into the envelope. */
static enum status seal(CMS_ContentInfo *envelope, struct bytes signed_data_info, struct buffer *cms)
{
    struct der_element info, type, content;
    if (der_read_tagged(&signed_data_info, DER_SEQUENCE, &info) != STATUS_OK ||
        der_read_tagged(&info.content, DER_OBJECT_IDENTIFIER, &type) != STATUS_OK ||
        der_read_tagged(&info.content, DER_CONTEXT_0, &content) != STATUS_OK)
        return STATUS_CRYPTO;
    return put_content(envelope, content.content) ? encode(envelope, cms) : STATUS_CRYPTO;
}

static enum status encode(const CMS_ContentInfo *cms, struct buffer *der)
{
    int len = i2d_CMS_ContentInfo(cms, NULL);
    if (len <= 0)
        return STATUS_CRYPTO;
    uint8_t *at = buffer_extend(der, (size_t)len);
    if (at == NULL)
        return der->status;
    return i2d_CMS_ContentInfo(cms, &at) == len ? STATUS_OK : STATUS_CRYPTO;
}
