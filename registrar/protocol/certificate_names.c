#include "registrar/protocol/certificate_names.h"

#include "registrar/protocol/der.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>

#include <ctype.h>

#define OID_TEXT_MAX 128

/* 1.3.6.1.5.5.7.8.4, content octets (RFC 4108 section 5). */
#define HARDWARE_MODULE_NAME BYTES_LITERAL("\x2b\x06\x01\x05\x05\x07\x08\x04")

static bool write_visible(const char *kind, const ASN1_STRING *value, bool lower, struct buffer *text);
static bool write_address(const ASN1_OCTET_STRING *address, struct buffer *text);
static bool write_hardware(const OTHERNAME *name, struct buffer *text);
static struct bytes octets_of(const ASN1_STRING *string);

void certificate_names_write_dn(const X509_NAME *name, struct buffer *text)
{
    BIO *out = BIO_new(BIO_s_mem());
    if (out == NULL || X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253) < 0) {
        text->status = text->status == STATUS_OK ? STATUS_NO_MEMORY : text->status;
    } else {
        const uint8_t *at = NULL;
        long len = BIO_get_mem_data(out, &at);
        buffer_append(text, (struct bytes){at, len > 0 ? (size_t)len : 0});
    }
    BIO_free(out);
}

bool certificate_names_write_value(const ASN1_STRING *value, struct buffer *text)
{
    unsigned char *utf8 = NULL;
    int len = ASN1_STRING_to_UTF8(&utf8, value);
    if (len >= 0)
        buffer_append(text, (struct bytes){utf8, (size_t)len});
    OPENSSL_free(utf8);
    ERR_clear_error();
    return len >= 0;
}

bool certificate_names_write_alternative(const GENERAL_NAME *name, struct buffer *text)
{
    switch (name->type) {
    case GEN_DNS:
        return write_visible("dns:", name->d.dNSName, true, text);
    case GEN_URI:
        return write_visible("uri:", name->d.uniformResourceIdentifier, false, text);
    case GEN_EMAIL:
        return write_visible("email:", name->d.rfc822Name, false, text);
    case GEN_IPADD:
        return write_address(name->d.iPAddress, text);
    case GEN_OTHERNAME:
        return write_hardware(name->d.otherName, text);
    default:
        return false;
    }
}

void certificate_names_write_hex(struct bytes octets, struct buffer *text)
{
    for (size_t i = 0; i < octets.len; i++)
        buffer_printf(text, "%02x", octets.at[i]);
}

static bool write_visible(const char *kind, const ASN1_STRING *value, bool lower, struct buffer *text)
{
    struct bytes octets = octets_of(value);
    for (size_t i = 0; i < octets.len; i++)
        if (octets.at[i] <= 0x20 || octets.at[i] >= 0x7f)
            return false;
    if (octets.len == 0)
        return false;
    buffer_append_string(text, kind);
    for (size_t i = 0; i < octets.len; i++)
        buffer_append_byte(text, (uint8_t)(lower ? tolower(octets.at[i]) : octets.at[i]));
    return true;
}

static bool write_address(const ASN1_OCTET_STRING *address, struct buffer *text)
{
    char shown[INET6_ADDRSTRLEN];
    struct bytes octets = octets_of(address);
    int family = octets.len == 4 ? AF_INET : AF_INET6;
    if ((octets.len != 4 && octets.len != 16) || inet_ntop(family, octets.at, shown, sizeof(shown)) == NULL)
        return false;
    buffer_printf(text, "ip:%s", shown);
    return true;
}

/* HardwareModuleName ::= SEQUENCE { hwType OBJECT IDENTIFIER, hwSerialNum OCTET STRING } */
static bool write_hardware(const OTHERNAME *name, struct buffer *text)
{
    struct bytes kind = {OBJ_get0_data(name->type_id), OBJ_length(name->type_id)};
    if (!bytes_equal(kind, HARDWARE_MODULE_NAME) || name->value->type != V_ASN1_SEQUENCE)
        return false;
    struct bytes rest = octets_of(name->value->value.sequence);
    struct der_element module, type, serial;
    if (der_read_tagged(&rest, DER_SEQUENCE, &module) != STATUS_OK || rest.len > 0 ||
        der_read_tagged(&module.content, DER_OBJECT_IDENTIFIER, &type) != STATUS_OK ||
        der_read_tagged(&module.content, DER_OCTET_STRING, &serial) != STATUS_OK || module.content.len > 0)
        return false;

    char dotted[OID_TEXT_MAX];
    const unsigned char *at = type.whole.at;
    ASN1_OBJECT *object = d2i_ASN1_OBJECT(NULL, &at, (long)type.whole.len);
    int len = object != NULL ? OBJ_obj2txt(dotted, sizeof(dotted), object, 1) : 0;
    ASN1_OBJECT_free(object);
    ERR_clear_error();
    if (len <= 0 || (size_t)len >= sizeof(dotted))
        return false;
    buffer_printf(text, "hardware:%s:", dotted);
    certificate_names_write_hex(serial.content, text);
    return true;
}

static struct bytes octets_of(const ASN1_STRING *string)
{
    return (struct bytes){ASN1_STRING_get0_data(string), (size_t)ASN1_STRING_length(string)};
}
