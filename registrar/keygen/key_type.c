#include "registrar/keygen/key_type.h"

#include "registrar/keygen/rsa_generation.h"
#include "registrar/protocol/certificate_request.h"
#include "registrar/protocol/der.h"

#define RSA_BITS_ORDINARY 2048

#define ID_EC_PUBLIC_KEY  BYTES_LITERAL("\x2a\x86\x48\xce\x3d\x02\x01")         /* RFC 5480 section 2.1.1 */
#define ID_RSA_ENCRYPTION BYTES_LITERAL("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01") /* RFC 3279 section 2.3.1 */

/* Curves by RFC 5480 section 2.1.1.1, and RSA by size. */
static const struct kind {
    const char *curve; /* NULL: RSA */
    struct bytes oid;
    int rsa_bits;
    const char *digest;
} kinds[] = {
    [KEY_TYPE_P256] = {"P-256", {(const uint8_t *)"\x2a\x86\x48\xce\x3d\x03\x01\x07", 8}, 0, "SHA256"},
    [KEY_TYPE_P384] = {"P-384", {(const uint8_t *)"\x2b\x81\x04\x00\x22", 5}, 0, "SHA384"},
    [KEY_TYPE_P521] = {"P-521", {(const uint8_t *)"\x2b\x81\x04\x00\x23", 5}, 0, "SHA512"},
    [KEY_TYPE_RSA_2048] = {NULL, {NULL, 0}, 2048, "SHA256"},
    [KEY_TYPE_RSA_3072] = {NULL, {NULL, 0}, 3072, "SHA256"},
    [KEY_TYPE_RSA_4096] = {NULL, {NULL, 0}, 4096, "SHA256"},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static bool type_of_attribute(struct der_element *attribute, enum key_type *type);
static bool type_of_curve(struct bytes oid, enum key_type *type);
static bool type_of_size(int bits, enum key_type *type);
static int small_number(struct bytes integer);

bool key_type_of_request(const struct certificate_request *csr, enum key_type *type)
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

bool key_type_of_csrattrs(struct bytes csrattrs, enum key_type *type)
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
static bool type_of_attribute(struct der_element *attribute, enum key_type *type)
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

static bool type_of_curve(struct bytes oid, enum key_type *type)
{
    for (size_t i = 0; i < KINDS; i++) {
        if (kinds[i].curve != NULL && bytes_equal(oid, kinds[i].oid)) {
            *type = (enum key_type)i;
            return true;
        }
    }
    return false;
}

static bool type_of_size(int bits, enum key_type *type)
{
    for (size_t i = 0; i < KINDS; i++) {
        if (kinds[i].curve == NULL && kinds[i].rsa_bits == bits) {
            *type = (enum key_type)i;
            return true;
        }
    }
    return false;
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

EVP_PKEY *key_type_generate(enum key_type type, const atomic_bool *abandoned)
{
    const struct kind *kind = &kinds[type];
    return kind->curve != NULL ? EVP_EC_gen(kind->curve) : rsa_generation_make(kind->rsa_bits, abandoned);
}

const EVP_MD *key_type_digest(enum key_type type)
{
    return EVP_get_digestbyname(kinds[type].digest);
}
