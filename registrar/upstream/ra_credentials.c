#include "registrar/upstream/ra_credentials.h"

#include "registrar/protocol/pem_file.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FILE_OCTETS_MAX (1024 * 1024)

static enum status check_identity(const struct upstream_settings *settings,
                                  const struct ra_credentials *credentials, struct buffer *errors);
static X509 *read_certificate(struct bytes pem);
static EVP_PKEY *read_key(struct bytes pem);
static int refuse_passphrase(char *passphrase, int size, int writing, void *user);
static enum status load_trust(const struct upstream_settings *settings, struct ra_credentials *credentials,
                              struct buffer *errors);
static size_t add_trust(struct bytes pem, struct buffer *trust);
static enum status read_file(const char *setting, const char *file, struct buffer *content,
                             struct buffer *errors);
static void warn_of_key_usage(const struct upstream_settings *settings, X509 *certificate,
                              struct buffer *warnings);

enum status ra_credentials_load(const struct upstream_settings *settings, struct ra_credentials *credentials,
                                struct buffer *errors)
{
    buffer_init(&credentials->certificate, FILE_OCTETS_MAX);
    buffer_init(&credentials->private_key, FILE_OCTETS_MAX);
    buffer_init(&credentials->trust, (size_t)FILE_OCTETS_MAX * 4);

    enum status certificate =
        read_file("upstream.certificate", settings->certificate, &credentials->certificate, errors);
    enum status key =
        read_file("upstream.private_key", settings->private_key, &credentials->private_key, errors);
    enum status trust = load_trust(settings, credentials, errors);
    enum status status = certificate != STATUS_OK ? certificate : key;
    if (status == STATUS_OK)
        status = check_identity(settings, credentials, errors);
    if (status == STATUS_OK)
        status = trust;
    ERR_clear_error();
    if (status != STATUS_OK)
        ra_credentials_free(credentials);
    return status;
}

void ra_credentials_free(struct ra_credentials *credentials)
{
    buffer_wipe(&credentials->certificate);
    buffer_wipe(&credentials->private_key);
    buffer_wipe(&credentials->trust);
}

static enum status check_identity(const struct upstream_settings *settings,
                                  const struct ra_credentials *credentials, struct buffer *errors)
{
    enum status status = STATUS_OK;
    X509 *certificate = read_certificate(buffer_view(&credentials->certificate));
    EVP_PKEY *key = read_key(buffer_view(&credentials->private_key));

    if (certificate == NULL) {
        status = STATUS_MALFORMED;
        buffer_printf(errors,
                      "upstream.certificate: \"%s\" does not begin with a PEM certificate: put the RA's "
                      "certificate first, its intermediates after it\n",
                      settings->certificate);
    }
    if (key == NULL) {
        status = STATUS_MALFORMED;
        buffer_printf(errors,
                      "upstream.private_key: \"%s\" holds no usable PEM private key; one with a passphrase "
                      "must be decrypted first (openssl pkey -in OLD -out NEW)\n",
                      settings->private_key);
    }
    if (status == STATUS_OK && X509_check_private_key(certificate, key) != 1) {
        status = STATUS_MISMATCH;
        buffer_printf(errors,
                      "upstream.private_key: \"%s\" is not the key of upstream.certificate \"%s\": name the "
                      "two files that belong together\n",
                      settings->private_key, settings->certificate);
    }
    X509_free(certificate);
    EVP_PKEY_free(key);
    return status;
}

static X509 *read_certificate(struct bytes pem)
{
    BIO *bio = BIO_new_mem_buf(pem.at, (int)pem.len);
    X509 *certificate = bio != NULL ? PEM_read_bio_X509(bio, NULL, refuse_passphrase, NULL) : NULL;
    BIO_free(bio);
    return certificate;
}

static EVP_PKEY *read_key(struct bytes pem)
{
    BIO *bio = BIO_new_mem_buf(pem.at, (int)pem.len);
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, refuse_passphrase, NULL) : NULL;
    BIO_free(bio);
    return key;
}

/* Otherwise OpenSSL would ask at the terminal, and wait. */
static int refuse_passphrase(char *passphrase, int size, int writing, void *user)
{
    (void)passphrase, (void)size, (void)writing, (void)user;
    return -1;
}

static enum status load_trust(const struct upstream_settings *settings, struct ra_credentials *credentials,
                              struct buffer *errors)
{
    enum status status = STATUS_OK;
    if (settings->trust.count == 0) {
        buffer_append_string(errors, "upstream.trust: names no file: name the PEM file of the CA that issued "
                                     "the EST server's certificate\n");
        return STATUS_NOT_FOUND;
    }
    for (size_t i = 0; i < settings->trust.count; i++) {
        const char *file = settings->trust.items[i];
        char setting[48];
        struct buffer content;
        snprintf(setting, sizeof setting, "upstream.trust[%zu]", i);
        buffer_init(&content, FILE_OCTETS_MAX);
        enum status read = read_file(setting, file, &content, errors);
        if (read == STATUS_OK && add_trust(buffer_view(&content), &credentials->trust) == 0) {
            read = STATUS_MALFORMED;
            buffer_printf(errors, "%s: \"%s\" holds no PEM certificate: name a file with at least one\n",
                          setting, file);
        }
        buffer_free(&content);
        status = read != STATUS_OK ? read : status;
    }
    return status != STATUS_OK ? status : credentials->trust.status;
}

/* Copies the certificates, and only those. Returns how many there are. */
static size_t add_trust(struct bytes pem, struct buffer *trust)
{
    size_t count = 0;
    BIO *in = BIO_new_mem_buf(pem.at, (int)pem.len), *out = BIO_new(BIO_s_mem());
    X509 *certificate;
    while (in != NULL && out != NULL &&
           (certificate = PEM_read_bio_X509(in, NULL, refuse_passphrase, NULL)) != NULL) {
        count += PEM_write_bio_X509(out, certificate) == 1;
        X509_free(certificate);
    }
    char *text = NULL;
    long len = out != NULL ? BIO_get_mem_data(out, &text) : 0;
    if (len > 0)
        buffer_append(trust, (struct bytes){(const uint8_t *)text, (size_t)len});
    BIO_free(in);
    BIO_free(out);
    return count;
}

static enum status read_file(const char *setting, const char *file, struct buffer *content,
                             struct buffer *errors)
{
    FILE *stream = fopen(file, "re");
    uint8_t chunk[4096];
    size_t len;
    if (stream == NULL) {
        buffer_printf(errors,
                      "%s: \"%s\" cannot be read: %s; name a file that the user of est-registrar may read\n",
                      setting, file, strerror(errno));
        return STATUS_SYSTEM;
    }
    setvbuf(stream, NULL, _IONBF, 0); /* no copy of a key in a buffer of stdio */
    while (content->status == STATUS_OK && (len = fread(chunk, 1, sizeof chunk, stream)) > 0)
        buffer_append(content, (struct bytes){chunk, len});
    bool failed = ferror(stream) != 0;
    int why = errno;
    fclose(stream);
    OPENSSL_cleanse(chunk, sizeof chunk);
    if (!failed && content->status == STATUS_OK)
        return STATUS_OK;
    buffer_printf(errors, "%s: \"%s\" cannot be read: %s\n", setting, file,
                  failed ? strerror(why) : "it is larger than 1 MiB");
    return failed ? STATUS_SYSTEM : content->status;
}

void ra_credentials_warn(const struct upstream_settings *settings, const struct ra_credentials *credentials,
                         struct buffer *warnings)
{
    X509 *certificate = read_certificate(buffer_view(&credentials->certificate));
    if (certificate != NULL) {
        warn_of_key_usage(settings, certificate, warnings);
        pem_file_warn_of_validity(&(struct pem_file){"upstream.certificate", settings->certificate},
                                  certificate, warnings);
    }
    X509_free(certificate);

    struct bytes trust = buffer_view(&credentials->trust);
    BIO *bio = BIO_new_mem_buf(trust.at, (int)trust.len);
    while (bio != NULL && (certificate = PEM_read_bio_X509(bio, NULL, refuse_passphrase, NULL)) != NULL) {
        char subject[256];
        X509_NAME_oneline(X509_get_subject_name(certificate), subject, sizeof subject);
        pem_file_warn_of_validity(&(struct pem_file){"upstream.trust", subject}, certificate, warnings);
        X509_free(certificate);
    }
    BIO_free(bio);
    ERR_clear_error();
}

/* RFC 7030 section 3.6.1 and RFC 6402 section 2.10; libest demands clientAuth as well. */
static void warn_of_key_usage(const struct upstream_settings *settings, X509 *certificate,
                              struct buffer *warnings)
{
    const struct pem_file file = {"upstream.certificate", settings->certificate};
    if (!pem_certificate_names_purpose(certificate, NID_cmcRA))
        pem_file_say(
            &file, warnings,
            "lacks the extended key usage id-kp-cmcRA (1.3.6.1.5.5.7.3.28): the EST server will not "
            "treat the registrar as an RA and will refuse requests that carry a proof of possession; "
            "have the EST CA issue one with it");
    bool limited = (X509_get_extension_flags(certificate) & EXFLAG_XKUSAGE) != 0;
    if (limited && !pem_certificate_names_purpose(certificate, NID_client_auth))
        pem_file_say(&file, warnings,
                     "lacks the extended key usage clientAuth: TLS handshakes with the EST server will fail; "
                     "have the EST CA issue one with it");
}
