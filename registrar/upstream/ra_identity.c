#include "registrar/upstream/ra_identity.h"

#include "registrar/protocol/credential_file.h"
#include "registrar/protocol/pem_file.h"
#include "registrar/upstream/token_key.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

#include <string.h>

#define PASSPHRASE_SETTING "upstream.passphrase_file"

/* A load that is under way. */
struct reading {
    const struct ra_identity_source *source;
    struct ra_identity *identity;
    struct buffer passphrase;
    struct buffer *errors, *warnings;
};

static enum status read_passphrase(struct reading *reading);
static enum status read_files(struct reading *reading);
static struct pem_file certificate_file(const struct reading *reading);
static struct pem_file key_file(const struct reading *reading);
static enum status read_certificates(struct reading *reading, struct bytes content);
static enum status read_key(struct reading *reading);
static enum status read_token_key(struct reading *reading);
static enum status read_pem_key(struct reading *reading, struct bytes content);
static bool is_pkcs12(struct bytes content);
static enum status read_pkcs12(struct reading *reading, struct bytes content);
static enum status open_pkcs12(struct reading *reading, PKCS12 *pkcs12);
static enum status check_pair(const struct reading *reading);

enum status ra_identity_load(const struct ra_identity_source *source, struct ra_identity *identity,
                             struct buffer *errors, struct buffer *warnings)
{
    struct reading reading = {.source = source, .identity = identity, .errors = errors, .warnings = warnings};
    *identity = (struct ra_identity){.certificate = NULL};
    enum status status = read_passphrase(&reading);
    enum status files = read_files(&reading);
    status = status == STATUS_OK ? files : status;
    if (status == STATUS_OK)
        status = check_pair(&reading);
    buffer_wipe(&reading.passphrase);
    ERR_clear_error();
    if (status != STATUS_OK)
        ra_identity_free(identity);
    return status;
}

void ra_identity_free(struct ra_identity *identity)
{
    X509_free(identity->certificate);
    sk_X509_pop_free(identity->intermediates, X509_free);
    EVP_PKEY_free(identity->key);
    *identity = (struct ra_identity){.certificate = NULL};
}

static enum status read_passphrase(struct reading *reading)
{
    const struct pem_file file = {PASSPHRASE_SETTING, reading->source->passphrase_file};
    buffer_init_locked(&reading->passphrase, CREDENTIAL_LINE_OCTETS_MAX);
    if (file.name[0] == '\0')
        return STATUS_OK;
    credential_file_warn_of_mode(&file, reading->warnings);
    return credential_file_read_line(&file, &reading->passphrase, reading->errors);
}

static enum status read_files(struct reading *reading)
{
    const struct pem_file file = certificate_file(reading);
    struct buffer content;
    enum status status = credential_file_read(&file, &content, reading->errors);
    if (status == STATUS_OK && is_pkcs12(buffer_view(&content))) {
        status = read_pkcs12(reading, buffer_view(&content));
        buffer_wipe(&content);
        return status;
    }
    if (status == STATUS_OK)
        status = read_certificates(reading, buffer_view(&content));
    buffer_wipe(&content);
    enum status key = read_key(reading);
    return status != STATUS_OK ? status : key;
}

static struct pem_file certificate_file(const struct reading *reading)
{
    return (struct pem_file){reading->source->certificate_setting, reading->source->certificate};
}

static struct pem_file key_file(const struct reading *reading)
{
    return (struct pem_file){reading->source->private_key_setting, reading->source->private_key};
}

/* The first is the RA's own. */
static enum status read_certificates(struct reading *reading, struct bytes content)
{
    struct ra_identity *identity = reading->identity;
    const struct pem_file file = certificate_file(reading);
    BIO *in = BIO_new_mem_buf(content.at, (int)content.len);
    struct bytes none = {NULL, 0};
    X509 *certificate;
    identity->intermediates = sk_X509_new_null();
    while (in != NULL && identity->intermediates != NULL &&
           (certificate = PEM_read_bio_X509(in, NULL, credential_give_passphrase, &none)) != NULL) {
        if (identity->certificate == NULL)
            identity->certificate = certificate;
        else if (sk_X509_push(identity->intermediates, certificate) <= 0)
            X509_free(certificate);
    }
    BIO_free(in);
    if (identity->certificate != NULL)
        return STATUS_OK;
    pem_file_say(&file, reading->errors,
                 "does not begin with a PEM certificate: put the RA's certificate first, its intermediates "
                 "after it");
    return STATUS_MALFORMED;
}

static enum status read_key(struct reading *reading)
{
    const struct pem_file file = key_file(reading);
    struct buffer content;
    if (token_key_is_uri(file.name))
        return read_token_key(reading);
    credential_file_warn_of_mode(&file, reading->warnings);
    enum status status = credential_file_read(&file, &content, reading->errors);
    if (status == STATUS_OK)
        status = read_pem_key(reading, buffer_view(&content));
    buffer_wipe(&content);
    return status;
}

static enum status read_token_key(struct reading *reading)
{
    const struct token_key_source source = {
        .setting = reading->source->private_key_setting,
        .uri = reading->source->private_key,
        .module = reading->source->pkcs11_module,
        .pin = buffer_view(&reading->passphrase),
    };
    reading->identity->key = token_key_load(&source, reading->errors);
    return reading->identity->key != NULL ? STATUS_OK : STATUS_NOT_FOUND;
}

static enum status read_pem_key(struct reading *reading, struct bytes content)
{
    const struct pem_file file = key_file(reading);
    struct bytes passphrase = buffer_view(&reading->passphrase);
    BIO *in = BIO_new_mem_buf(content.at, (int)content.len);
    if (in != NULL)
        reading->identity->key = PEM_read_bio_PrivateKey(in, NULL, credential_give_passphrase, &passphrase);
    BIO_free(in);
    if (reading->identity->key != NULL)
        return STATUS_OK;
    pem_file_say(
        &file, reading->errors,
        passphrase.len > 0
            ? "holds no PEM private key that the pass-phrase in " PASSPHRASE_SETTING " opens: check both"
            : "holds no usable PEM private key; write the pass-phrase of an encrypted one into a file, and "
              "name that as " PASSPHRASE_SETTING);
    return STATUS_MALFORMED;
}

/* PEM begins with text; what OpenSSL takes for PKCS#12 is told from other DER later. */
static bool is_pkcs12(struct bytes content)
{
    return content.len > 0 && content.at[0] == 0x30;
}

static enum status read_pkcs12(struct reading *reading, struct bytes content)
{
    const struct pem_file file = certificate_file(reading);
    const unsigned char *at = content.at;
    if (strcmp(reading->source->private_key, file.name) != 0) {
        pem_file_say(&file, reading->errors,
                     "is a PKCS#12 file, which has the key too: name it as %s as well",
                     reading->source->private_key_setting);
        return STATUS_MALFORMED;
    }
    credential_file_warn_of_mode(&file, reading->warnings);
    PKCS12 *pkcs12 = d2i_PKCS12(NULL, &at, (long)content.len);
    enum status status = STATUS_MALFORMED;
    if (pkcs12 == NULL)
        pem_file_say(&file, reading->errors, "is neither PEM nor PKCS#12: convert it to one of them");
    else
        status = open_pkcs12(reading, pkcs12);
    PKCS12_free(pkcs12);
    return status;
}

static enum status open_pkcs12(struct reading *reading, PKCS12 *pkcs12)
{
    struct ra_identity *identity = reading->identity;
    const struct pem_file file = certificate_file(reading);
    if (PKCS12_parse(pkcs12, buffer_string(&reading->passphrase), &identity->key, &identity->certificate,
                     &identity->intermediates) != 1) {
        pem_file_say(&file, reading->errors,
                     reading->passphrase.len > 0
                         ? "is not opened by the pass-phrase in " PASSPHRASE_SETTING
                           ", or is enciphered as OpenSSL 3 does not (openssl pkcs12 -legacy reads it)"
                         : "needs a pass-phrase: write it into a file, and name that as " PASSPHRASE_SETTING);
        return STATUS_MALFORMED;
    }
    if (identity->key != NULL && identity->certificate != NULL)
        return STATUS_OK;
    pem_file_say(&file, reading->errors, "lacks the private key or its certificate: put both into it");
    return STATUS_MALFORMED;
}

static enum status check_pair(const struct reading *reading)
{
    const struct ra_identity *identity = reading->identity;
    const struct pem_file file = key_file(reading);
    if (X509_check_private_key(identity->certificate, identity->key) == 1)
        return STATUS_OK;
    pem_file_say(&file, reading->errors,
                 "is not the key of %s \"%s\": name the two files that belong together",
                 reading->source->certificate_setting, reading->source->certificate);
    return STATUS_MISMATCH;
}
