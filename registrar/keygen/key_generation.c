#include "registrar/keygen/key_generation.h"

#include "registrar/keygen/private_key_info.h"
#include "registrar/protocol/certificate_request.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <stdlib.h>

#define CSR_LIMIT 65536

struct generated_key {
    EVP_PKEY *key;
    struct buffer csr;
};

static enum status make_csr(const struct certificate_request *device_csr, const EVP_MD *digest,
                            struct generated_key *key);
static bool fill_csr(const struct certificate_request *device_csr, X509_REQ *csr);
static bool copy_extensions(const struct certificate_request *device_csr, X509_REQ *csr);
static bool copy_attribute(struct bytes der, X509_REQ *csr);
static bool is_left_out(X509_ATTRIBUTE *attribute);
static enum status encode_csr(X509_REQ *csr, struct buffer *der);

enum status key_generation_make(const struct certificate_request *device_csr, enum key_type type,
                                const atomic_bool *abandoned, struct generated_key **key)
{
    struct generated_key *made = calloc(1, sizeof(*made));
    if (made == NULL)
        return STATUS_NO_MEMORY;
    buffer_init(&made->csr, CSR_LIMIT);
    made->key = key_type_generate(type, abandoned);
    enum status status =
        made->key != NULL ? make_csr(device_csr, key_type_digest(type), made) : STATUS_CRYPTO;
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

/* The CSR. */

static enum status make_csr(const struct certificate_request *device_csr, const EVP_MD *digest,
                            struct generated_key *key)
{
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
