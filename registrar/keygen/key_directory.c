#include "registrar/keygen/key_directory.h"

#include "registrar/protocol/pem_file.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SETTING        "est.key_directory"
#define FILE_LIMIT     65536
#define KEK_OCTETS_MAX 32
#define RSA_BITS_MIN   2048
#define RSA_BITS_MAX   8192

struct device_key {
    uint8_t identifier[KEY_IDENTIFIER_MAX];
    size_t identifier_len;
    bool is_symmetric;
    EVP_PKEY *public_key;   /* or, if symmetric, */
    size_t kek_at, kek_len; /* where it lies in keks */
};

struct key_directory {
    atomic_uint references;
    struct device_key *keys; /* in the order of compare_keys */
    size_t count, room;
    struct buffer keks;
};

/* One file while it is read. */
struct key_file {
    const char *name;      /* within the folder */
    struct pem_file place; /* for what is said of it */
    struct buffer content;
    struct buffer *errors;
};

static enum status read_folder(struct key_directory *directory, const char *path, struct buffer *errors);
static enum status read_entry(struct key_directory *directory, int folder, const char *name,
                              struct pem_file *place, struct buffer *errors);
static enum status read_key_file(struct key_directory *directory, int folder, struct key_file *file);
static enum status add_key(struct key_directory *directory, const struct device_key *key);
static bool has_suffix(const char *name, const char *suffix);
static enum status read_identifier(const struct key_file *file, struct device_key *key);
static enum status read_content(int folder, struct key_file *file, mode_t forbidden);
static enum status check_mode(const struct pem_file *place, const struct stat *found, mode_t forbidden,
                              struct buffer *errors);
static enum status read_kek(struct key_directory *directory, struct key_file *file, struct device_key *key);
static enum status read_public_key(struct key_file *file, struct device_key *key);
static EVP_PKEY *key_of_certificate(const struct key_file *file, X509 *certificate);
static bool usage_allows(X509 *certificate, EVP_PKEY *key);
static bool is_supported(const EVP_PKEY *key);
static enum status check_repetition(const struct key_directory *directory, const char *path,
                                    struct buffer *errors);
static int compare_keys(const void *left, const void *right);
static const struct device_key *find(const struct key_directory *directory, struct bytes identifier,
                                     bool is_symmetric);

struct key_directory *key_directory_load(const char *path, struct buffer *errors)
{
    struct key_directory *directory = calloc(1, sizeof(*directory));
    if (directory == NULL)
        return NULL;
    atomic_init(&directory->references, 1);
    buffer_init_locked(&directory->keks, (size_t)KEY_DIRECTORY_MAX * KEK_OCTETS_MAX);
    enum status status = read_folder(directory, path, errors);
    if (status == STATUS_OK && directory->count > 0) {
        qsort(directory->keys, directory->count, sizeof(directory->keys[0]), compare_keys);
        status = check_repetition(directory, path, errors);
    }
    ERR_clear_error();
    if (status == STATUS_OK)
        return directory;
    key_directory_release(directory);
    return NULL;
}

struct key_directory *key_directory_hold(struct key_directory *directory)
{
    atomic_fetch_add_explicit(&directory->references, 1, memory_order_relaxed);
    return directory;
}

void key_directory_release(struct key_directory *directory)
{
    if (directory == NULL || atomic_fetch_sub_explicit(&directory->references, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < directory->count; i++)
        EVP_PKEY_free(directory->keys[i].public_key);
    free(directory->keys);
    buffer_wipe(&directory->keks);
    free(directory);
}

bool key_directory_symmetric(const struct key_directory *directory, struct bytes identifier,
                             struct bytes *key)
{
    const struct device_key *found = find(directory, identifier, true);
    if (found == NULL)
        return false;
    *key = bytes_slice(buffer_view(&directory->keks), found->kek_at, found->kek_len);
    return true;
}

EVP_PKEY *key_directory_asymmetric(const struct key_directory *directory, struct bytes identifier)
{
    const struct device_key *found = find(directory, identifier, false);
    return found != NULL ? found->public_key : NULL;
}

/* Goes on after a bad file, so that all of them are reported at once. */
static enum status read_folder(struct key_directory *directory, const char *path, struct buffer *errors)
{
    struct pem_file place = {SETTING, path};
    struct stat found;
    DIR *folder = opendir(path);
    if (folder == NULL || fstat(dirfd(folder), &found) != 0) {
        pem_file_say(&place, errors,
                     "cannot be read: %s; name a folder that the user of est-registrar may read",
                     strerror(errno));
        if (folder != NULL)
            closedir(folder);
        return STATUS_SYSTEM;
    }
    enum status status = check_mode(&place, &found, S_IWOTH, errors);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        enum status one = read_entry(directory, dirfd(folder), entry->d_name, &place, errors);
        if (one != STATUS_OK)
            status = one;
        if (one == STATUS_TOO_LARGE || one == STATUS_NO_MEMORY)
            break;
    }
    closedir(folder);
    return status;
}

static enum status read_entry(struct key_directory *directory, int folder, const char *name,
                              struct pem_file *place, struct buffer *errors)
{
    if (!has_suffix(name, ".key") && !has_suffix(name, ".pem"))
        return STATUS_OK;
    if (directory->count == KEY_DIRECTORY_MAX) {
        pem_file_say(place, errors, "holds more than %d keys: remove those of devices that are gone",
                     KEY_DIRECTORY_MAX);
        return STATUS_TOO_LARGE;
    }
    struct buffer full;
    buffer_init(&full, 8192);
    buffer_printf(&full, "%s/%s", place->name, name);
    struct key_file file = {.name = name, .place = {SETTING, buffer_string(&full)}, .errors = errors};
    buffer_init_locked(&file.content, FILE_LIMIT);
    enum status status = read_key_file(directory, folder, &file);
    buffer_wipe(&file.content);
    buffer_free(&full);
    return status;
}

static enum status read_key_file(struct key_directory *directory, int folder, struct key_file *file)
{
    struct device_key key = {.is_symmetric = has_suffix(file->name, ".key")};
    enum status status = read_identifier(file, &key);
    if (status == STATUS_OK)
        status = read_content(folder, file, key.is_symmetric ? S_IWGRP | S_IROTH | S_IWOTH : S_IWOTH);
    if (status == STATUS_OK)
        status = key.is_symmetric ? read_kek(directory, file, &key) : read_public_key(file, &key);
    if (status == STATUS_OK)
        status = add_key(directory, &key);
    if (status != STATUS_OK)
        EVP_PKEY_free(key.public_key);
    return status;
}

static enum status add_key(struct key_directory *directory, const struct device_key *key)
{
    if (directory->count == directory->room) {
        size_t room = directory->room > 0 ? 2 * directory->room : 16;
        struct device_key *keys = realloc(directory->keys, room * sizeof(*keys));
        if (keys == NULL)
            return STATUS_NO_MEMORY;
        directory->keys = keys;
        directory->room = room;
    }
    directory->keys[directory->count++] = *key;
    return STATUS_OK;
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t len = strlen(name), suffix_len = strlen(suffix);
    return len >= suffix_len && strcmp(name + len - suffix_len, suffix) == 0;
}

static enum status read_identifier(const struct key_file *file, struct device_key *key)
{
    char digits[2 * KEY_IDENTIFIER_MAX + 1] = "";
    size_t len = strlen(file->name) - strlen(".key");
    if (len > 0 && len < sizeof(digits)) {
        memcpy(digits, file->name, len);
        if (OPENSSL_hexstr2buf_ex(key->identifier, sizeof(key->identifier), &key->identifier_len, digits,
                                  '\0') == 1)
            return STATUS_OK;
    }
    pem_file_say(
        &file->place, file->errors,
        "is not named after an identifier: rename it to its hexadecimal digits, two for each of its 1 "
        "to %d octets, and .key or .pem",
        KEY_IDENTIFIER_MAX);
    return STATUS_MALFORMED;
}

static enum status read_content(int folder, struct key_file *file, mode_t forbidden)
{
    struct stat found;
    int descriptor = openat(folder, file->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0 || fstat(descriptor, &found) != 0 || !S_ISREG(found.st_mode)) {
        pem_file_say(&file->place, file->errors, "cannot be read: %s; mend or remove it",
                     descriptor < 0 ? strerror(errno) : "it is no regular file");
        if (descriptor >= 0)
            close(descriptor);
        return STATUS_SYSTEM;
    }
    enum status status = check_mode(&file->place, &found, forbidden, file->errors);
    uint8_t *at = buffer_extend(&file->content, FILE_LIMIT);
    ssize_t len = at != NULL ? read(descriptor, at, FILE_LIMIT) : -1;
    close(descriptor);
    if (len < 0 || len == FILE_LIMIT) {
        pem_file_say(&file->place, file->errors, "cannot be read, or is too large for one key");
        return STATUS_SYSTEM;
    }
    file->content.len = (size_t)len;
    return status;
}

static enum status check_mode(const struct pem_file *place, const struct stat *found, mode_t forbidden,
                              struct buffer *errors)
{
    mode_t excess = found->st_mode & forbidden;
    if (excess == 0)
        return STATUS_OK;
    pem_file_say(place, errors, "may be %s by others (mode %04o): chmod it to %04o",
                 excess & S_IROTH ? "read" : "written", found->st_mode & 07777U,
                 found->st_mode & 07777U & ~forbidden);
    return STATUS_FORBIDDEN;
}

static enum status read_kek(struct key_directory *directory, struct key_file *file, struct device_key *key)
{
    while (file->content.len > 0 && isspace(file->content.at[file->content.len - 1]))
        file->content.len--;
    size_t len = file->content.len / 2, written = 0;
    bool is_key_size = file->content.len % 2 == 0 && (len == 16 || len == 24 || len == 32);
    key->kek_at = directory->keks.len;
    uint8_t *at = is_key_size ? buffer_extend(&directory->keks, len) : NULL;
    if (at == NULL || OPENSSL_hexstr2buf_ex(at, len, &written, buffer_string(&file->content), '\0') != 1 ||
        written != len) {
        pem_file_say(
            &file->place, file->errors,
            "holds no key-encryption key: write 32, 48 or 64 hexadecimal digits (openssl rand -hex 16)");
        return STATUS_MALFORMED;
    }
    key->kek_len = len;
    return STATUS_OK;
}

/* A certificate is tried first, then a bare public key. A passphrase is never asked for. */
static enum status read_public_key(struct key_file *file, struct device_key *key)
{
    char no_passphrase[] = "";
    BIO *in = BIO_new_mem_buf(file->content.at, (int)file->content.len);
    X509 *certificate = in != NULL ? PEM_read_bio_X509(in, NULL, NULL, no_passphrase) : NULL;
    if (certificate != NULL) {
        key->public_key = key_of_certificate(file, certificate);
        X509_free(certificate);
        BIO_free(in);
        return key->public_key != NULL ? STATUS_OK : STATUS_UNSUPPORTED;
    }
    if (in != NULL && BIO_reset(in) == 1)
        key->public_key = PEM_read_bio_PUBKEY(in, NULL, NULL, no_passphrase);
    BIO_free(in);
    if (key->public_key != NULL && is_supported(key->public_key))
        return STATUS_OK;
    pem_file_say(
        &file->place, file->errors,
        "holds neither a certificate nor a public key, in PEM, RSA from %d bits on or on P-256, P-384 or "
        "P-521: write one (openssl pkey -pubout)",
        RSA_BITS_MIN);
    return STATUS_UNSUPPORTED;
}

/* RFC 7030 section 4.4.1.2: its use must allow keyTransport or keyAgreement, or be unrestricted. Gives a
 * reference. */
static EVP_PKEY *key_of_certificate(const struct key_file *file, X509 *certificate)
{
    EVP_PKEY *key = X509_get0_pubkey(certificate);
    if (key == NULL || !is_supported(key)) {
        pem_file_say(&file->place, file->errors,
                     "has a key that is neither RSA from %d bits on nor on P-256, P-384 or P-521: replace it",
                     RSA_BITS_MIN);
        return NULL;
    }
    if (!usage_allows(certificate, key)) {
        pem_file_say(&file->place, file->errors,
                     "is not for encryption: its keyUsage must name %s, or it must have none",
                     EVP_PKEY_is_a(key, "RSA") ? "keyEncipherment" : "keyAgreement");
        return NULL;
    }
    return EVP_PKEY_up_ref(key) == 1 ? key : NULL;
}

/* Without keyUsage OpenSSL tells all bits. */
static bool usage_allows(X509 *certificate, EVP_PKEY *key)
{
    uint32_t needed = EVP_PKEY_is_a(key, "RSA") ? KU_KEY_ENCIPHERMENT : KU_KEY_AGREEMENT;
    return (X509_get_key_usage(certificate) & needed) != 0;
}

static bool is_supported(const EVP_PKEY *key)
{
    static const char *const curves[] = {"prime256v1", "secp384r1", "secp521r1"};
    char name[32];
    if (EVP_PKEY_is_a(key, "RSA"))
        return EVP_PKEY_get_bits(key) >= RSA_BITS_MIN && EVP_PKEY_get_bits(key) <= RSA_BITS_MAX;
    if (!EVP_PKEY_is_a(key, "EC") || EVP_PKEY_get_group_name(key, name, sizeof(name), NULL) != 1)
        return false;
    for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++)
        if (strcmp(name, curves[i]) == 0)
            return true;
    return false;
}

/* Once in upper and once in lower case, say. */
static enum status check_repetition(const struct key_directory *directory, const char *path,
                                    struct buffer *errors)
{
    for (size_t i = 1; i < directory->count; i++) {
        if (compare_keys(&directory->keys[i - 1], &directory->keys[i]) == 0) {
            pem_file_say(&(struct pem_file){SETTING, path}, errors,
                         "holds two files for the identifier 0x%02x... of %zu octets: remove one",
                         directory->keys[i].identifier[0], directory->keys[i].identifier_len);
            return STATUS_MALFORMED;
        }
    }
    return STATUS_OK;
}

static int compare_keys(const void *left, const void *right)
{
    const struct device_key *a = left, *b = right;
    if (a->is_symmetric != b->is_symmetric)
        return a->is_symmetric ? -1 : 1;
    if (a->identifier_len != b->identifier_len)
        return a->identifier_len < b->identifier_len ? -1 : 1;
    return memcmp(a->identifier, b->identifier, a->identifier_len);
}

static const struct device_key *find(const struct key_directory *directory, struct bytes identifier,
                                     bool is_symmetric)
{
    if (identifier.len == 0 || identifier.len > KEY_IDENTIFIER_MAX || directory->count == 0)
        return NULL;
    struct device_key wanted = {.identifier_len = identifier.len, .is_symmetric = is_symmetric};
    memcpy(wanted.identifier, identifier.at, identifier.len);
    return bsearch(&wanted, directory->keys, directory->count, sizeof(wanted), compare_keys);
}
