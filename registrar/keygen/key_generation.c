#include "registrar/keygen/key_generation.h"

#include "registrar/keygen/private_key_info.h"
#include "registrar/protocol/certificate_request.h"
#include "registrar/protocol/der.h"

#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include <stdlib.h>

#define CSR_LIMIT         65536
#define RSA_BITS_ORDINARY 2048

#define ID_EC_PUBLIC_KEY  BYTES_LITERAL("\x2a\x86\x48\xce\x3d\x02\x01")         /* RFC 5480 section 2.1.1 */
#define ID_RSA_ENCRYPTION BYTES_LITERAL("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01") /* RFC 3279 section 2.3.1 */

struct generated_key {
    EVP_PKEY *key;
    struct buffer csr;
};

/* RFC 5480 section 2.1.1.1, and the digest as strong as the curve. */
static const struct curve {
    const char *name;
    struct bytes oid;
    const char *digest;
} curves[] = {
    {"P-256", {(const uint8_t *)"\x2a\x86\x48\xce\x3d\x03\x01\x07", 8}, "SHA256"},
    {"P-384", {(const uint8_t *)"\x2b\x81\x04\x00\x22", 5}, "SHA384"},
    {"P-521", {(const uint8_t *)"\x2b\x81\x04\x00\x23", 5}, "SHA512"},
};

/* A type of key that we make. */
struct key_type {
    const struct curve *curve; /* NULL: RSA */
    unsigned rsa_bits;
};

static bool type_of_request(const struct certificate_request *csr, struct key_type *type);
static bool type_of_attributes(struct bytes csrattrs, struct key_type *type);
static bool type_of_attribute(struct der_element *attribute, struct key_type *type);
static bool type_of_curve(struct bytes oid, struct key_type *type);
static bool type_of_size(int bits, struct key_type *type);
static int small_number(struct bytes integer);
static enum status make_csr(const struct certificate_request *device_csr, const struct key_type *type,
                            struct generated_key *key);
static bool fill_csr(const struct certificate_request *device_csr, X509_REQ *csr);
static bool copy_extensions(const struct certificate_request *device_csr, X509_REQ *csr);
static bool copy_attribute(struct bytes der, X509_REQ *csr);
static bool is_left_out(X509_ATTRIBUTE *attribute);
static enum status encode_csr(X509_REQ *csr, struct buffer *der);

enum status key_generation_make(const struct certificate_request *device_csr, struct bytes csrattrs,
                                struct generated_key **key)
{
    struct key_type type = {.curve = &curves[0]};
    if (!type_of_request(device_csr, &type))
        type_of_attributes(csrattrs, &type);
    struct generated_key *made = calloc(1, sizeof(*made));
    if (made == NULL)
        return STATUS_NO_MEMORY;
    buffer_init(&made->csr, CSR_LIMIT);
    made->key = type.curve != NULL ? EVP_EC_gen(type.curve->name) : EVP_RSA_gen(type.rsa_bits);
    enum status status = made->key != NULL ? make_csr(device_csr, &type, made) : STATUS_CRYPTO;
    ERR_clear_error();
    if (status != STATUS_OK) {
        key_generation_free(made);
        return status;
    }
    *key = made;
    return STATUS_OK;
}

void key_generation_free(struct generated_key *key)
{
    if (key == NULL)
        return;
    EVP_PKEY_free(key->key);
    buffer_free(&key->csr);
    free(key);
}

struct bytes key_generation_csr(const struct generated_key *key)
{
    return buffer_view(&key->csr);
}

EVP_PKEY *key_generation_key(const struct generated_key *key)
{
    return key->key;
}

enum status key_generation_pkcs8(const struct generated_key *key, struct buffer *pkcs8)
{
    return private_key_info_append(key->key, pkcs8);
}

/* Which type: false where nothing is asked for that we make; type is then as it was. */

static bool type_of_request(const struct certificate_request *csr, struct key_type *type)
{
    struct bytes algorithm = certificate_request_key_algorithm(csr);
    struct der_element name, curve;
    if (der_read_tagged(&algorithm, DER_OBJECT_IDENTIFIER, &name) != STATUS_OK)
        return false;
    if (bytes_equal(name.content, ID_EC_PUBLIC_KEY))
        return der_read_tagged(&algorithm, DER_OBJECT_IDENTIFIER, &curve) == STATUS_OK &&
               type_of_curve(curve.content, type);
    if (!bytes_equal(name.content, ID_RSA_ENCRYPTION))
        return false;
    EVP_PKEY *key = certificate_request_key(csr);
    return type_of_size(key != NULL ? EVP_PKEY_get_bits(key) : RSA_BITS_ORDINARY, type);
}

/* CsrAttrs ::= SEQUENCE OF AttrOrOID (RFC 8951 section 3.4); the first that names a type decides. */
static bool type_of_attributes(struct bytes csrattrs, struct key_type *type)
{
    struct der_element list, wanted;
    if (der_read_tagged(&csrattrs, DER_SEQUENCE, &list) != STATUS_OK)
        return false;
    while (der_read(&list.content, &wanted) == STATUS_OK) {
        if (wanted.tag == DER_OBJECT_IDENTIFIER && type_of_curve(wanted.content, type))
            return true; /* a curve without id-ecPublicKey, as RFC 7030 section 4.5.2 has it */
        if (wanted.tag == DER_SEQUENCE && type_of_attribute(&wanted, type))
            return true;
    }
    return false;
}

/* id-ecPublicKey with curves, or rsaEncryption with sizes (RFC 9908 section 5). */
static bool type_of_attribute(struct der_element *attribute, struct key_type *type)
{
    struct der_element name, values, value;
    if (der_read_tagged(&attribute->content, DER_OBJECT_IDENTIFIER, &name) != STATUS_OK ||
        der_read_tagged(&attribute->content, DER_SET, &values) != STATUS_OK)
        return false;
    bool is_ec = bytes_equal(name.content, ID_EC_PUBLIC_KEY);
    bool is_rsa = bytes_equal(name.content, ID_RSA_ENCRYPTION);
    while (der_read(&values.content, &value) == STATUS_OK) {
        if (is_ec && value.tag == DER_OBJECT_IDENTIFIER && type_of_curve(value.content, type))
            return true;
        if (is_rsa && value.tag == DER_INTEGER && type_of_size(small_number(value.content), type))
            return true;
    }
    return false;
}

static bool type_of_curve(struct bytes oid, struct key_type *type)
{
    for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++) {
        if (bytes_equal(oid, curves[i].oid)) {
            *type = (struct key_type){.curve = &curves[i]};
            return true;
        }
    }
    return false;
}

static bool type_of_size(int bits, struct key_type *type)
{
    if (bits != 2048 && bits != 3072 && bits != 4096)
        return false;
    *type = (struct key_type){.rsa_bits = (unsigned)bits};
    return true;
}

/* The value of an INTEGER's content octets; 0 if it is negative or large. */
static int small_number(struct bytes integer)
{
    if (integer.len == 0 || integer.len > 3 || integer.at[0] >= 0x80)
        return 0;
    int number = 0;
    for (size_t i = 0; i < integer.len; i++)
        number = number << 8 | integer.at[i];
    return number;
}

/* The CSR. */

static enum status make_csr(const struct certificate_request *device_csr, const struct key_type *type,
                            struct generated_key *key)
{
    const EVP_MD *digest = EVP_get_digestbyname(type->curve != NULL ? type->curve->digest : "SHA256");
    X509_REQ *csr = X509_REQ_new();
    enum status status = STATUS_CRYPTO;
    if (csr != NULL && X509_REQ_set_version(csr, X509_REQ_VERSION_1) == 1 &&
        X509_REQ_set_pubkey(csr, key->key) == 1 && fill_csr(device_csr, csr) &&
        X509_REQ_sign(csr, key->key, digest) > 0)
        status = encode_csr(csr, &key->csr);
    X509_REQ_free(csr);
    return status;
}

static bool fill_csr(const struct certificate_request *device_csr, X509_REQ *csr)
{
    const struct bytes *attributes;
    size_t count = certificate_request_attributes(device_csr, &attributes);
    if (X509_REQ_set_subject_name(csr, certificate_request_subject(device_csr)) != 1 ||
        !copy_extensions(device_csr, csr))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!copy_attribute(attributes[i], csr))
            return false;
    return true;
}

static bool copy_extensions(const struct certificate_request *device_csr, X509_REQ *csr)
{
    const STACK_OF(X509_EXTENSION) *all = certificate_request_extensions(device_csr);
    STACK_OF(X509_EXTENSION) *kept = sk_X509_EXTENSION_new_null(); /* borrows its elements */
    bool copied = kept != NULL;
    for (int i = 0; copied && i < sk_X509_EXTENSION_num(all); i++) {
        X509_EXTENSION *extension = sk_X509_EXTENSION_value(all, i);
        if (OBJ_obj2nid(X509_EXTENSION_get_object(extension)) != NID_subject_key_identifier)
            copied = sk_X509_EXTENSION_push(kept, extension) > 0;
    }
    if (copied && sk_X509_EXTENSION_num(kept) > 0)
        copied = X509_REQ_add_extensions(csr, kept) == 1;
    sk_X509_EXTENSION_free(kept);
    return copied;
}

static bool copy_attribute(struct bytes der, X509_REQ *csr)
{
    const unsigned char *at = der.at;
    X509_ATTRIBUTE *attribute = d2i_X509_ATTRIBUTE(NULL, &at, (long)der.len);
    bool copied = attribute != NULL && (is_left_out(attribute) || X509_REQ_add1_attr(csr, attribute) == 1);
    X509_ATTRIBUTE_free(attribute);
    return copied;
}

/* SKG-5; extensions have been copied by then. */
static bool is_left_out(X509_ATTRIBUTE *attribute)
{
    static const char *const types[] = {
        "1.2.840.113549.1.9.7",       /* challengePassword: of the device's association, not of ours */
        "1.2.840.113549.1.9.15",      /* SMIMECapabilities */
        "1.2.840.113549.1.9.16.2.37", /* DecryptKeyIdentifier */
        "1.2.840.113549.1.9.16.2.54", /* AsymmetricDecryptKeyIdentifier */
        "1.2.840.113549.1.9.14",      /* extensionRequest */
        "1.3.6.1.4.1.311.2.1.14",     /* its older name */
    };
    char type[80];
    const ASN1_OBJECT *object = X509_ATTRIBUTE_get0_object(attribute);
    if (OBJ_obj2txt(type, sizeof(type), object, 1) <= 0)
        return true;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (bytes_equal(bytes_from_string(type), bytes_from_string(types[i])))
            return true;
    return false;
}

static enum status encode_csr(X509_REQ *csr, struct buffer *der)
{
    int len = i2d_X509_REQ(csr, NULL);
    if (len <= 0)
        return STATUS_CRYPTO;
    uint8_t *at = buffer_extend(der, (size_t)len);
    if (at != NULL)
        i2d_X509_REQ(csr, &at);
    return der->status;
}
