/* A folder with keys of devices, as an operator fills it, for the tests of key_directory and key_package. */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_KEYGEN_KEY_FOLDER_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_KEYGEN_KEY_FOLDER_H

#include "tests/unit/registrar/credentials.h"

#include <openssl/pem.h>

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct key_folder {
    char path[64];
};

static inline struct key_folder key_folder_create(void)
{
    struct key_folder folder = {"/tmp/estuary-keys-XXXXXX"};
    assert_non_null(mkdtemp(folder.path));
    return folder;
}

/* With all that is in it. */
static inline void key_folder_remove(struct key_folder *folder)
{
    DIR *entries = opendir(folder->path);
    assert_non_null(entries);
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            assert_int_equal(unlinkat(dirfd(entries), entry->d_name, 0), 0);
    closedir(entries);
    assert_int_equal(rmdir(folder->path), 0);
}

/* Overwrites. Gives the file, to be closed. */
static inline FILE *key_folder_open(const struct key_folder *folder, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", folder->path, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    return file;
}

static inline void key_folder_write(const struct key_folder *folder, const char *name, const char *content,
                                    mode_t mode)
{
    FILE *file = key_folder_open(folder, name);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fchmod(fileno(file), mode), 0);
    assert_int_equal(fclose(file), 0);
}

static inline void key_folder_write_public_key(const struct key_folder *folder, const char *name,
                                               EVP_PKEY *key)
{
    FILE *file = key_folder_open(folder, name);
    assert_int_equal(PEM_write_PUBKEY(file, key), 1);
    assert_int_equal(fchmod(fileno(file), 0644), 0);
    assert_int_equal(fclose(file), 0);
}

static inline void key_folder_write_certificate(const struct key_folder *folder, const char *name,
                                                const struct made_certificate *made)
{
    FILE *file = key_folder_open(folder, name);
    X509 *certificate = make_certificate(made);
    assert_int_equal(PEM_write_X509(file, certificate), 1);
    assert_int_equal(fchmod(fileno(file), 0644), 0);
    X509_free(certificate);
    assert_int_equal(fclose(file), 0);
}

#endif
