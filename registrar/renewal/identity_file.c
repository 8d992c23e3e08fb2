#include "registrar/renewal/identity_file.h"

#include "registrar/protocol/credential_file.h"
#include "registrar/renewal/atomic_file.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEPT_KEY  ".renewal-key"
#define PATH_ROOM ((int)sizeof KEPT_KEY + ATOMIC_FILE_SUFFIX_MAX)

struct identity_file {
    struct pem_file named;    /* as the configuration has it */
    char path[PATH_MAX];      /* without symbolic links: what a rename replaces */
    struct buffer passphrase; /* locked; empty: none */
    bool is_pkcs12;
};

static bool find(struct identity_file *file, struct buffer *errors);
static void kept_key_path(const struct identity_file *file, char path[PATH_MAX]);
static bool put_key(const struct identity_file *file, EVP_PKEY *key, BIO *out);
static bool put_pem(const struct identity_file *file, const struct ra_identity *identity, BIO *out);
static bool put_pkcs12(const struct identity_file *file, const struct ra_identity *identity, BIO *out);
static bool write_file(const struct identity_file *file, const char *path, bool keeps_old, BIO *content);
static enum status complain(const struct identity_file *file, struct buffer *errors);

struct identity_file *identity_file_open(const struct ra_identity_source *source, struct buffer *errors)
{
    struct identity_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return NULL;
    file->named = (struct pem_file){source->certificate_setting, source->certificate};
    buffer_init_locked(&file->passphrase, CREDENTIAL_LINE_OCTETS_MAX + 1);
    bool good = find(file, errors);
    if (good && source->passphrase_file[0] != '\0') {
        const struct pem_file passphrase = {"upstream.passphrase_file", source->passphrase_file};
        good = credential_file_read_line(&passphrase, &file->passphrase, errors) == STATUS_OK;
    }
    if (good)
        return file;
    identity_file_close(file);
    return NULL;
}

static bool find(struct identity_file *file, struct buffer *errors)
{
    struct buffer content;
    if (realpath(file->named.name, file->path) == NULL || strlen(file->path) >= PATH_MAX - PATH_ROOM) {
        pem_file_say(&file->named, errors, "cannot be found: %s", strerror(errno));
        return false;
    }
    if (credential_file_read(&file->named, &content, errors) != STATUS_OK)
        return false;
    file->is_pkcs12 = content.len > 0 && content.at[0] == 0x30;
    buffer_wipe(&content);
    return true;
}

void identity_file_close(struct identity_file *file)
{
    if (file == NULL)
        return;
    buffer_wipe(&file->passphrase);
    free(file);
}

EVP_PKEY *identity_file_kept_key(const struct identity_file *file)
{
    char path[PATH_MAX];
    struct bytes passphrase = buffer_view(&file->passphrase);
    kept_key_path(file, path);
    BIO *in = BIO_new_file(path, "re");
    EVP_PKEY *key =
        in != NULL ? PEM_read_bio_PrivateKey(in, NULL, credential_give_passphrase, &passphrase) : NULL;
    BIO_free(in);
    ERR_clear_error();
    return key;
}

static void kept_key_path(const struct identity_file *file, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%.*s" KEPT_KEY, PATH_MAX - PATH_ROOM, file->path);
}

bool identity_file_kept_request(const struct identity_file *file, struct buffer *der)
{
    char path[PATH_MAX];
    unsigned char *octets = NULL;
    long len = 0;
    kept_key_path(file, path);
    BIO *in = BIO_new_file(path, "re");
    bool found =
        in != NULL && PEM_bytes_read_bio(&octets, &len, NULL, PEM_STRING_X509_REQ, in, NULL, NULL) == 1;
    if (found)
        buffer_append(der, (struct bytes){octets, (size_t)len});
    OPENSSL_free(octets);
    BIO_free(in);
    ERR_clear_error();
    return found && der->status == STATUS_OK;
}

enum status identity_file_keep(const struct identity_file *file, EVP_PKEY *key, struct bytes request,
                               struct buffer *errors)
{
    char path[PATH_MAX];
    BIO *content = BIO_new(BIO_s_mem()); /* wiped when it is freed */
    kept_key_path(file, path);
    bool kept = content != NULL && put_key(file, key, content) &&
                PEM_write_bio(content, PEM_STRING_X509_REQ, "", request.at, (long)request.len) > 0 &&
                write_file(file, path, false, content);
    BIO_free(content);
    return kept ? STATUS_OK : complain(file, errors);
}

/* Enciphered as the present key is, or not at all as it is. */
static bool put_key(const struct identity_file *file, EVP_PKEY *key, BIO *out)
{
    const struct bytes passphrase = buffer_view(&file->passphrase);
    const EVP_CIPHER *cipher = passphrase.len > 0 ? EVP_aes_256_cbc() : NULL;
    return PEM_write_bio_PKCS8PrivateKey(out, key, cipher, (const char *)passphrase.at, (int)passphrase.len,
                                         NULL, NULL) == 1;
}

enum status identity_file_replace(const struct identity_file *file, const struct ra_identity *next,
                                  struct buffer *errors)
{
    char kept[PATH_MAX];
    BIO *content = BIO_new(BIO_s_mem());
    bool replaced = content != NULL &&
                    (file->is_pkcs12 ? put_pkcs12(file, next, content) : put_pem(file, next, content)) &&
                    write_file(file, file->path, true, content);
    BIO_free(content);
    if (!replaced)
        return complain(file, errors);
    kept_key_path(file, kept);
    unlink(kept);
    return STATUS_OK;
}

static bool put_pem(const struct identity_file *file, const struct ra_identity *identity, BIO *out)
{
    bool put = PEM_write_bio_X509(out, identity->certificate) == 1;
    for (int i = 0; i < sk_X509_num(identity->intermediates); i++)
        put = put && PEM_write_bio_X509(out, sk_X509_value(identity->intermediates, i)) == 1;
    return put && put_key(file, identity->key, out);
}

static bool put_pkcs12(const struct identity_file *file, const struct ra_identity *identity, BIO *out)
{
    struct buffer passphrase; /* with an end */
    buffer_init_locked(&passphrase, CREDENTIAL_LINE_OCTETS_MAX + 1);
    buffer_append(&passphrase, buffer_view(&file->passphrase));
    PKCS12 *pkcs12 = PKCS12_create(buffer_string(&passphrase), NULL, identity->key, identity->certificate,
                                   identity->intermediates, 0, 0, 0, 0, 0);
    buffer_wipe(&passphrase);
    bool put = pkcs12 != NULL && i2d_PKCS12_bio(out, pkcs12) == 1;
    PKCS12_free(pkcs12);
    return put;
}

static bool write_file(const struct identity_file *file, const char *path, bool keeps_old, BIO *content)
{
    const struct atomic_file to = {.path = path, .like = file->path, .keeps_old = keeps_old};
    char *text;
    long len = BIO_get_mem_data(content, &text);
    return len > 0 &&
           atomic_file_replace(&to, (struct bytes){(const uint8_t *)text, (size_t)len}) == STATUS_OK;
}

static enum status complain(const struct identity_file *file, struct buffer *errors)
{
    pem_file_say(&file->named, errors,
                 "cannot be replaced: %s; let the user of est-registrar write to its folder",
                 errno != 0 ? strerror(errno) : "out of memory");
    ERR_clear_error();
    return STATUS_SYSTEM;
}
