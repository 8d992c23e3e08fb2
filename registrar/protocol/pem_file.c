#include "registrar/protocol/pem_file.h"

#include "registrar/protocol/credential_file.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define CERTIFICATES_MAX 1000 /* of one file; a trust store of the whole web has some 150 */
#define EXPIRY_DAYS      30

static STACK_OF(X509) * read_certificates(struct bytes content);
static bool ended_well(void);
static int refuse_passphrase(char *passphrase, int size, int writing, void *user);
static void print_date(const ASN1_TIME *time, char *text, size_t size);

STACK_OF(X509) * pem_file_certificates(const struct pem_file *file, struct buffer *errors)
{
    struct buffer content;
    if (credential_file_read(file, &content, errors) != STATUS_OK)
        return NULL;
    STACK_OF(X509) *certificates = read_certificates(buffer_view(&content));
    buffer_wipe(&content);
    if (certificates == NULL) {
        pem_file_say(file, errors,
                     "holds a damaged certificate, or too many: replace it by a whole PEM file");
        return NULL;
    }
    if (sk_X509_num(certificates) > 0)
        return certificates;
    pem_file_say(file, errors, "holds no PEM certificate: name a file with at least one");
    sk_X509_free(certificates);
    return NULL;
}

EVP_PKEY *pem_file_private_key(const struct pem_file *file, struct buffer *errors)
{
    struct buffer content;
    if (credential_file_read(file, &content, errors) != STATUS_OK)
        return NULL;
    BIO *in = BIO_new_mem_buf(content.at, (int)content.len);
    EVP_PKEY *key = in != NULL ? PEM_read_bio_PrivateKey(in, NULL, refuse_passphrase, NULL) : NULL;
    BIO_free(in);
    buffer_wipe(&content);
    ERR_clear_error();
    if (key == NULL)
        pem_file_say(file, errors,
                     "holds no usable PEM private key; one with a passphrase must be decrypted first "
                     "(openssl pkey -in OLD -out NEW)");
    return key;
}

void pem_file_say(const struct pem_file *file, struct buffer *lines, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    buffer_printf(lines, "%s: \"%s\" %s\n", file->setting, file->name, text);
}

void pem_file_warn_of_validity(const struct pem_file *file, const X509 *certificate, struct buffer *warnings)
{
    time_t soon = time(NULL) + (time_t)EXPIRY_DAYS * 24 * 60 * 60;
    const ASN1_TIME *from = X509_get0_notBefore(certificate), *to = X509_get0_notAfter(certificate);
    char date[32];
    if (X509_cmp_current_time(from) > 0) {
        print_date(from, date, sizeof date);
        pem_file_say(file, warnings, "is not valid before %s: check the clock, or replace it", date);
    }
    print_date(to, date, sizeof date);
    if (X509_cmp_current_time(to) < 0)
        pem_file_say(file, warnings, "expired on %s: replace it", date);
    else if (X509_cmp_time(to, &soon) < 0)
        pem_file_say(file, warnings, "expires on %s, in less than %d days: renew it", date, EXPIRY_DAYS);
}

bool pem_certificate_names_purpose(const X509 *certificate, int nid)
{
    EXTENDED_KEY_USAGE *usage = X509_get_ext_d2i(certificate, NID_ext_key_usage, NULL, NULL);
    bool named = false;
    for (int i = 0; i < sk_ASN1_OBJECT_num(usage); i++)
        named = named || OBJ_obj2nid(sk_ASN1_OBJECT_value(usage, i)) == nid;
    EXTENDED_KEY_USAGE_free(usage);
    return named;
}

/* NULL: the file is damaged. */
static STACK_OF(X509) * read_certificates(struct bytes content)
{
    BIO *in = content.len > 0 ? BIO_new_mem_buf(content.at, (int)content.len) : BIO_new(BIO_s_mem());
    STACK_OF(X509) *certificates = sk_X509_new_null();
    X509 *certificate = NULL;
    while (in != NULL && certificates != NULL && sk_X509_num(certificates) < CERTIFICATES_MAX &&
           (certificate = PEM_read_bio_X509(in, NULL, refuse_passphrase, NULL)) != NULL) {
        (void)X509_check_purpose(certificate, -1, 0); /* reads its extensions, before threads share it */
        if (sk_X509_push(certificates, certificate) == 0)
            X509_free(certificate);
    }
    bool well = in != NULL && certificate == NULL && ended_well();
    BIO_free(in);
    ERR_clear_error();
    if (well)
        return certificates;
    sk_X509_pop_free(certificates, X509_free);
    return NULL;
}

/* The end of a file is an error of its own to OpenSSL; any other one means damage. */
static bool ended_well(void)
{
    return ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
}

/* Otherwise OpenSSL would ask at the terminal, and wait. */
static int refuse_passphrase(char *passphrase, int size, int writing, void *user)
{
    (void)passphrase, (void)size, (void)writing, (void)user;
    return -1;
}

static void print_date(const ASN1_TIME *time, char *text, size_t size)
{
    struct tm date;
    if (ASN1_TIME_to_tm(time, &date) != 1 || strftime(text, size, "%Y-%m-%d", &date) == 0)
        snprintf(text, size, "an unreadable date");
}
