#include "certificate_text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/objects.h>

static void write_name(char *to, size_t room, const X509_NAME *name);
static void write_serial(char *to, size_t room, const ASN1_INTEGER *serial);
static void write_time(char *to, size_t room, const ASN1_TIME *moment);
static void write_key(char *to, size_t room, EVP_PKEY *key);

void certificate_in_words(struct certificate_text *text, const X509 *certificate)
{
    memset(text, 0, sizeof(*text));
    write_name(text->subject, sizeof(text->subject), X509_get_subject_name(certificate));
    write_name(text->issuer, sizeof(text->issuer), X509_get_issuer_name(certificate));
    write_serial(text->serial, sizeof(text->serial), X509_get0_serialNumber(certificate));
    write_time(text->not_before, sizeof(text->not_before), X509_get0_notBefore(certificate));
    write_time(text->not_after, sizeof(text->not_after), X509_get0_notAfter(certificate));
    write_key(text->key, sizeof(text->key), X509_get0_pubkey(certificate));
    ERR_clear_error();
}

/* Most specific attribute first, as RFC 4514 has it; UTF-8 stays readable. */
static void write_name(char *to, size_t room, const X509_NAME *name)
{
    BIO *memory = BIO_new(BIO_s_mem());
    if (memory == NULL)
        return;
    X509_NAME_print_ex(memory, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
    int length = BIO_read(memory, to, (int)room - 1);
    to[length < 0 ? 0 : length] = '\0';
    BIO_free(memory);
}

static void write_serial(char *to, size_t room, const ASN1_INTEGER *serial)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(serial, NULL);
    char *digits = number == NULL ? NULL : BN_bn2hex(number);
    snprintf(to, room, "%s", digits == NULL ? "?" : digits);
    OPENSSL_free(digits);
    BN_free(number);
}

static void write_time(char *to, size_t room, const ASN1_TIME *moment)
{
    struct tm parts;
    if (ASN1_TIME_to_tm(moment, &parts) == 1)
        strftime(to, room, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

static void write_key(char *to, size_t room, EVP_PKEY *key)
{
    char group[32] = "";
    size_t length = 0;
    if (key == NULL)
        return;
    if (EVP_PKEY_get_group_name(key, group, sizeof(group), &length) == 1) {
        const char *nist = EC_curve_nid2nist(OBJ_sn2nid(group));
        snprintf(to, room, "%s", nist == NULL ? group : nist);
    } else {
        snprintf(to, room, "%s-%d", OBJ_nid2sn(EVP_PKEY_get_base_id(key)), EVP_PKEY_get_bits(key));
    }
}
