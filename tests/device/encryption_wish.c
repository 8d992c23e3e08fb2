#include "encryption_wish.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/asn1t.h>
#include <openssl/err.h>
#include <openssl/objects.h>

enum { WISH_LIMIT = 1024, IDENTIFIER_LIMIT = 128 };

static const char every_capability[] =
    "id-aes128-wrap,id-aes192-wrap,id-aes256-wrap,rsaEncryption,AES-128-CBC,AES-192-CBC,AES-256-CBC";

/* RFC 4108 section 2.2.5 and RFC 7030 section 4.4.1.2. */
static const struct {
    const char *prefix, *type;
} identifiers[] = {{"kek:", "1.2.840.113549.1.9.16.2.37"}, {"ski:", "1.2.840.113549.1.9.16.2.54"}};

static bool add_identifier(struct encryption_wish *wish, const char *word, struct explanation *why);
static bool add_capabilities(struct encryption_wish *wish, const char *names, struct explanation *why);
static bool append_capability(ASN1_SEQUENCE_ANY *list, const char *name);
static bool add_attribute(struct encryption_wish *wish, const char *type, int form, struct view value);

bool encryption_wish_read(const char *wanted, const char *capabilities, struct encryption_wish *wish,
                          struct explanation *why)
{
    char words[WISH_LIMIT] = "";
    char *rest = words, *word;
    int identifiers_wanted = 0;
    *wish = (struct encryption_wish){.expects = KEY_FORM_PLAIN};
    if (wanted != NULL && strlen(wanted) >= sizeof(words))
        return explain(why, "--want-encrypted: too long");
    strcpy(words, wanted == NULL ? "" : wanted);
    bool good = true;
    while (good && wanted != NULL && (word = strsep(&rest, ",")) != NULL) {
        good = add_identifier(wish, word, why);
        identifiers_wanted++;
    }
    if (capabilities == NULL)
        capabilities = wanted == NULL ? "none" : every_capability;
    bool capable = strcmp(capabilities, "none") != 0;
    good = good && (!capable || add_capabilities(wish, capabilities, why));
    if (capable && identifiers_wanted > 0)
        wish->expects = KEY_FORM_ENCRYPTED;
    return good;
}

void encryption_wish_clear(struct encryption_wish *wish)
{
    sk_X509_ATTRIBUTE_pop_free(wish->attributes, X509_ATTRIBUTE_free);
    octets_clear(&wish->key_identifier);
    *wish = (struct encryption_wish){.attributes = NULL};
}

static bool add_identifier(struct encryption_wish *wish, const char *word, struct explanation *why)
{
    for (size_t i = 0; i < sizeof(identifiers) / sizeof(identifiers[0]); i++) {
        size_t length = strlen(identifiers[i].prefix);
        if (strncmp(word, identifiers[i].prefix, length) != 0)
            continue;
        struct octets value = {0};
        bool good = octets_from_hex(&value, word + length, IDENTIFIER_LIMIT, why) &&
                    (add_attribute(wish, identifiers[i].type, V_ASN1_OCTET_STRING, octets_view(&value)) ||
                     explain_openssl(why, word));
        if (good && strcmp(identifiers[i].prefix, "ski:") == 0) {
            octets_clear(&wish->key_identifier);
            wish->key_identifier = value;
        } else {
            octets_clear(&value);
        }
        return good;
    }
    return explain(why, "%s: expected kek:HEX or ski:HEX", word);
}

/* SMIMECapabilities ::= SEQUENCE OF SEQUENCE { capabilityID OBJECT IDENTIFIER, parameters ANY OPTIONAL } */
static bool add_capabilities(struct encryption_wish *wish, const char *names, struct explanation *why)
{
    char words[WISH_LIMIT];
    char *rest = words, *word;
    unsigned char *der = NULL;
    if (strlen(names) >= sizeof(words))
        return explain(why, "--smime-capabilities: too long");
    strcpy(words, names);
    ASN1_SEQUENCE_ANY *list = sk_ASN1_TYPE_new_null();
    bool good = list != NULL;
    while (good && (word = strsep(&rest, ",")) != NULL) {
        good = append_capability(list, word);
        if (!good)
            explain(why, "%s: no algorithm's name or object identifier", word);
    }
    int length = good ? i2d_ASN1_SEQUENCE_ANY(list, &der) : 0;
    if (good && (length <= 0 || !add_attribute(wish, "1.2.840.113549.1.9.15", V_ASN1_SEQUENCE,
                                               (struct view){der, (size_t)length})))
        good = explain_openssl(why, "SMIMECapabilities");
    OPENSSL_free(der);
    sk_ASN1_TYPE_pop_free(list, ASN1_TYPE_free);
    return good;
}

static bool append_capability(ASN1_SEQUENCE_ANY *list, const char *name)
{
    X509_ALGOR *algorithm = X509_ALGOR_new();
    ASN1_OBJECT *object = OBJ_txt2obj(name, 0);
    ASN1_TYPE *element = NULL;
    if (algorithm != NULL && object != NULL &&
        X509_ALGOR_set0(algorithm, OBJ_dup(object), V_ASN1_UNDEF, NULL) == 1)
        element = ASN1_TYPE_pack_sequence(ASN1_ITEM_rptr(X509_ALGOR), algorithm, NULL);
    bool good = element != NULL && sk_ASN1_TYPE_push(list, element) > 0;
    if (!good)
        ASN1_TYPE_free(element);
    ASN1_OBJECT_free(object);
    X509_ALGOR_free(algorithm);
    ERR_clear_error();
    return good;
}

static bool add_attribute(struct encryption_wish *wish, const char *type, int form, struct view value)
{
    X509_ATTRIBUTE *attribute = X509_ATTRIBUTE_create_by_txt(NULL, type, form, value.at, (int)value.len);
    if (wish->attributes == NULL)
        wish->attributes = sk_X509_ATTRIBUTE_new_null();
    if (attribute != NULL && wish->attributes != NULL &&
        sk_X509_ATTRIBUTE_push(wish->attributes, attribute) > 0)
        return true;
    X509_ATTRIBUTE_free(attribute);
    return false;
}

bool octets_from_hex(struct octets *octets, const char *digits, size_t limit, struct explanation *why)
{
    long length = 0;
    unsigned char *read = OPENSSL_hexstr2buf(digits, &length);
    ERR_clear_error();
    bool good =
        read != NULL && length > 0 && octets_append(octets, (struct view){read, (size_t)length}, limit);
    OPENSSL_clear_free(read, (size_t)length);
    return good || explain(why, "expected hexadecimal digits, two for each of 1 to %zu octets", limit);
}
