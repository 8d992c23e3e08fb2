#include "registrar/keygen/protection_suite.h"

#include "registrar/protocol/der.h"

#include <openssl/objects.h>

#define OID(text)                                                                                            \
    {                                                                                                        \
        (const uint8_t *)(text), sizeof(text) - 1                                                            \
    }
#define AES(arc) OID("\x60\x86\x48\x01\x65\x03\x04\x01" arc) /* RFC 3565, RFC 5084 */

/* Content encryption, known so that it is not passed over: cipher NULL is what we do not do. */
static const struct content {
    struct bytes oid;
    const EVP_CIPHER *(*cipher)(void);
} contents[] = {
    {AES("\x02"), EVP_aes_128_cbc},
    {AES("\x16"), EVP_aes_192_cbc},
    {AES("\x2a"), EVP_aes_256_cbc},
    {AES("\x06"), NULL}, /* GCM */
    {AES("\x1a"), NULL},
    {AES("\x2e"), NULL},
    {AES("\x07"), NULL}, /* CCM */
    {AES("\x1b"), NULL},
    {AES("\x2f"), NULL},
    {OID("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x03\x12"), NULL}, /* ChaCha20 and Poly1305 (RFC 8103) */
    {OID("\x2a\x86\x48\x86\xf7\x0d\x03\x02"), NULL},             /* RC2 */
    {OID("\x2a\x86\x48\x86\xf7\x0d\x03\x07"), NULL},             /* triple DES */
};

static const struct wrap {
    struct bytes oid;
    size_t octets; /* of the key-encryption key */
    int nid;
    const EVP_CIPHER *(*cipher)(void), *(*content)(void);
} wraps[] = {
    {AES("\x05"), 16, NID_id_aes128_wrap, EVP_aes_128_wrap, EVP_aes_128_cbc},
    {AES("\x19"), 24, NID_id_aes192_wrap, EVP_aes_192_wrap, EVP_aes_192_cbc},
    {AES("\x2d"), 32, NID_id_aes256_wrap, EVP_aes_256_wrap, EVP_aes_256_cbc},
};

/* RFC 5753 section 7.1.4: with cofactor, digest NULL, is what we do not do. */
static const struct agreement {
    struct bytes oid;
    const EVP_MD *(*digest)(void);
} agreements[] = {
    {OID("\x2b\x81\x05\x10\x86\x48\x3f\x00\x02"), EVP_sha1},
    {OID("\x2b\x81\x04\x01\x0b\x00"), EVP_sha224},
    {OID("\x2b\x81\x04\x01\x0b\x01"), EVP_sha256},
    {OID("\x2b\x81\x04\x01\x0b\x02"), EVP_sha384},
    {OID("\x2b\x81\x04\x01\x0b\x03"), EVP_sha512},
    {OID("\x2b\x81\x05\x10\x86\x48\x3f\x00\x03"), NULL},
    {OID("\x2b\x81\x04\x01\x0e\x00"), NULL},
    {OID("\x2b\x81\x04\x01\x0e\x01"), NULL},
    {OID("\x2b\x81\x04\x01\x0e\x02"), NULL},
    {OID("\x2b\x81\x04\x01\x0e\x03"), NULL},
};

#define HASH(arc)      "\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02" arc "\x05\x00"
#define MGF1           "\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08"
#define OAEP_WITH(arc) OID("\x30\x2f\xa0\x0f" HASH(arc) "\xa1\x1c" MGF1 HASH(arc))

/* Key transport, with its parameters (RFC 4055 sections 4 and 5). */
static const struct transport {
    struct bytes oid, parameters;
    const EVP_MD *(*digest)(void);
} transports[] = {
    {OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"), OID(""), NULL},
    {OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"), OID("\x05\x00"), NULL},
    {OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07"), OID(""), EVP_sha1},
    {OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07"), OID("\x30\x00"), EVP_sha1},
    {OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07"), OAEP_WITH("\x01"), EVP_sha256},
    {OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07"), OAEP_WITH("\x02"), EVP_sha384},
    {OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07"), OAEP_WITH("\x03"), EVP_sha512},
};

struct capability {
    struct bytes oid, parameters; /* parameters: whole, or empty */
};

static bool next_capability(struct bytes *rest, struct capability *capability);
static struct bytes open_list(struct bytes capabilities);
static enum status choose_content(struct bytes rest, const EVP_CIPHER *fallback, const EVP_CIPHER **content);
static const struct wrap *find_wrap(struct bytes oid);
static const struct wrap *choose_wrap(struct bytes rest, size_t octets);
static enum status choose_agreement(struct bytes list, struct protection_suite *suite);
static const struct agreement *find_agreement(struct bytes oid);
static const struct wrap *wrap_of_agreement(struct bytes list, struct bytes parameters);
static enum status choose_transport(struct bytes list, EVP_PKEY *key, struct protection_suite *suite);
static const struct transport *find_transport(const struct capability *capability);
static enum status set_wrap(struct bytes list, const struct wrap *wrap, struct protection_suite *suite);

bool protection_suite_is_capabilities(struct bytes value)
{
    struct der_element list;
    struct capability capability;
    if (der_read_tagged(&value, DER_SEQUENCE, &list) != STATUS_OK || value.len != 0)
        return false;
    while (next_capability(&list.content, &capability))
        continue;
    return list.content.len == 0;
}

enum status protection_suite_for_symmetric(struct bytes capabilities, size_t kek_octets,
                                           struct protection_suite *suite)
{
    struct bytes list = open_list(capabilities);
    *suite = (struct protection_suite){.content = NULL};
    return set_wrap(list, choose_wrap(list, kek_octets), suite);
}

enum status protection_suite_for_asymmetric(struct bytes capabilities, EVP_PKEY *key,
                                            struct protection_suite *suite)
{
    struct bytes list = open_list(capabilities);
    *suite = (struct protection_suite){.content = NULL};
    return EVP_PKEY_is_a(key, "RSA") ? choose_transport(list, key, suite) : choose_agreement(list, suite);
}

/* False at the end, or at what is no capability. */
static bool next_capability(struct bytes *rest, struct capability *capability)
{
    struct bytes after = *rest;
    struct der_element whole, name, parameters;
    if (der_read_tagged(&after, DER_SEQUENCE, &whole) != STATUS_OK ||
        der_read_tagged(&whole.content, DER_OBJECT_IDENTIFIER, &name) != STATUS_OK)
        return false;
    *capability = (struct capability){.oid = name.content, .parameters = whole.content};
    if (whole.content.len > 0 &&
        (der_read(&whole.content, &parameters) != STATUS_OK || whole.content.len != 0))
        return false;
    *rest = after;
    return true;
}

static struct bytes open_list(struct bytes capabilities)
{
    struct der_element list;
    if (der_read_tagged(&capabilities, DER_SEQUENCE, &list) != STATUS_OK)
        return (struct bytes){NULL, 0};
    return list.content;
}

static enum status choose_content(struct bytes rest, const EVP_CIPHER *fallback, const EVP_CIPHER **content)
{
    struct capability capability;
    *content = fallback;
    while (next_capability(&rest, &capability)) {
        for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
            if (!bytes_equal(capability.oid, contents[i].oid))
                continue;
            *content = contents[i].cipher != NULL ? contents[i].cipher() : NULL;
            if (*content != NULL)
                return STATUS_OK;
        }
    }
    return *content != NULL ? STATUS_OK : STATUS_UNSUPPORTED;
}

static const struct wrap *find_wrap(struct bytes oid)
{
    for (size_t i = 0; i < sizeof(wraps) / sizeof(wraps[0]); i++)
        if (bytes_equal(oid, wraps[i].oid))
            return &wraps[i];
    return NULL;
}

/* The first that is named; octets 0: of any size. */
static const struct wrap *choose_wrap(struct bytes rest, size_t octets)
{
    struct capability capability;
    while (next_capability(&rest, &capability)) {
        const struct wrap *wrap = find_wrap(capability.oid);
        if (wrap != NULL && (octets == 0 || octets == wrap->octets))
            return wrap;
    }
    return NULL;
}

static enum status choose_agreement(struct bytes list, struct protection_suite *suite)
{
    struct bytes rest = list;
    struct capability capability;
    bool is_named = false;
    while (next_capability(&rest, &capability)) {
        const struct agreement *agreement = find_agreement(capability.oid);
        if (agreement == NULL)
            continue;
        is_named = true;
        const struct wrap *wrap = wrap_of_agreement(list, capability.parameters);
        if (agreement->digest == NULL || wrap == NULL)
            continue;
        suite->digest = agreement->digest();
        return set_wrap(list, wrap, suite);
    }
    if (is_named)
        return STATUS_UNSUPPORTED;
    suite->digest = EVP_sha256();
    return set_wrap(list, choose_wrap(list, 0), suite);
}

static const struct agreement *find_agreement(struct bytes oid)
{
    for (size_t i = 0; i < sizeof(agreements) / sizeof(agreements[0]); i++)
        if (bytes_equal(oid, agreements[i].oid))
            return &agreements[i];
    return NULL;
}

/* The parameters are the key wrap's AlgorithmIdentifier (RFC 5753 section 7); if there are none, it is one
 * that is named on its own. */
static const struct wrap *wrap_of_agreement(struct bytes list, struct bytes parameters)
{
    struct der_element algorithm, name;
    if (parameters.len == 0)
        return choose_wrap(list, 0);
    if (der_read_tagged(&parameters, DER_SEQUENCE, &algorithm) != STATUS_OK ||
        der_read_tagged(&algorithm.content, DER_OBJECT_IDENTIFIER, &name) != STATUS_OK)
        return NULL;
    return find_wrap(name.content);
}

/* The content's key as strong as the RSA key (RFC 7030 section 4.4.2): 3072 bits are worth 128. */
static enum status choose_transport(struct bytes list, EVP_PKEY *key, struct protection_suite *suite)
{
    struct bytes rest = list;
    struct capability capability;
    while (next_capability(&rest, &capability)) {
        const struct transport *transport = find_transport(&capability);
        if (transport == NULL)
            continue;
        suite->digest = transport->digest != NULL ? transport->digest() : NULL;
        const EVP_CIPHER *fallback =
            EVP_PKEY_get_security_bits(key) > 128 ? EVP_aes_256_cbc() : EVP_aes_128_cbc();
        return choose_content(list, fallback, &suite->content);
    }
    return STATUS_UNSUPPORTED;
}

static const struct transport *find_transport(const struct capability *capability)
{
    for (size_t i = 0; i < sizeof(transports) / sizeof(transports[0]); i++)
        if (bytes_equal(capability->oid, transports[i].oid) &&
            bytes_equal(capability->parameters, transports[i].parameters))
            return &transports[i];
    return NULL;
}

static enum status set_wrap(struct bytes list, const struct wrap *wrap, struct protection_suite *suite)
{
    if (wrap == NULL)
        return STATUS_UNSUPPORTED;
    suite->wrap = wrap->cipher();
    suite->wrap_nid = wrap->nid;
    return choose_content(list, wrap->content(), &suite->content);
}
