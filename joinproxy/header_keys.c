#include "joinproxy/header_keys.h"

#include "common/log.h"

#include <openssl/crypto.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODULE        "header_keys"
#define FILE_MAGIC    "EJPK"
#define FILE_NAME_MAX 4096

/* The file, as it is. */
struct stored_keys {
    char magic[4];
    uint8_t count;     /* 1 or 2 */
    uint8_t made_s[8]; /* of the current key, seconds since 1970, most significant octet first */
    uint8_t current[PLEDGE_HEADER_KEY_OCTETS], previous[PLEDGE_HEADER_KEY_OCTETS];
};

struct header_keys {
    const char *file;
    uint32_t lifetime_s;
    uint64_t made_s;
    uint64_t behind_s; /* since when the clock says less than made_s; 0: it does not */
    bool is_loaded, has_previous;
    struct pledge_header_key current, previous;
};

static uint64_t lifetime_begins(struct header_keys *keys, uint64_t now_s);
static void renew_loaded(struct header_keys *keys, uint64_t now_s);
static bool replace(struct header_keys *keys, uint64_t now_s, bool keep);
static void check_folder(const char *file, struct buffer *warnings);
static bool load(struct header_keys *keys, struct buffer *errors);
static enum status read_file(const char *file, struct stored_keys *stored);
static bool take_stored(struct header_keys *keys, const struct stored_keys *stored);
static enum status save(const struct header_keys *keys);
static enum status write_file(const char *file, const struct stored_keys *stored);
static bool write_whole(int fd, const struct stored_keys *stored);
static bool make(struct header_keys *keys, uint64_t now_s);

struct header_keys *header_keys_create(const char *file, uint32_t lifetime_s, uint64_t now_s,
                                       struct buffer *errors)
{
    struct header_keys *keys = calloc(1, sizeof *keys);
    if (keys == NULL) {
        buffer_printf(errors, "stateless.key_file: %s\n", status_text(STATUS_NO_MEMORY));
        return NULL;
    }
    keys->file = file;
    keys->lifetime_s = lifetime_s;
    if (*file != '\0' && !load(keys, errors))
        goto failed;
    if (keys->is_loaded) {
        renew_loaded(keys, now_s);
        return keys;
    }
    if (!make(keys, now_s)) {
        buffer_append_string(errors, "stateless: the system gives no random numbers\n");
        goto failed;
    }
    if (save(keys) == STATUS_OK)
        return keys;
    buffer_printf(errors,
                  "stateless.key_file: \"%s\" cannot be written: %s; use a file in a folder of ours\n", file,
                  strerror(errno));
failed:
    header_keys_free(keys);
    return NULL;
}

enum status header_keys_check(const char *file, struct buffer *errors, struct buffer *warnings)
{
    struct header_keys keys = {.file = file};
    bool usable = *file == '\0' || load(&keys, errors);
    if (usable && *file != '\0')
        check_folder(file, warnings);
    OPENSSL_cleanse(&keys, sizeof keys);
    return usable ? STATUS_OK : STATUS_UNSUPPORTED;
}

void header_keys_free(struct header_keys *keys)
{
    if (keys == NULL)
        return;
    OPENSSL_cleanse(keys, sizeof *keys);
    free(keys);
}

bool header_keys_renew(struct header_keys *keys, uint64_t now_s)
{
    if (now_s < lifetime_begins(keys, now_s) + keys->lifetime_s)
        return false;
    return replace(keys, now_s, true);
}

/* A key whose second lifetime is over as well is not even the one before. Not so while we run: it was in use
 * until now, whatever the clock said. */
static void renew_loaded(struct header_keys *keys, uint64_t now_s)
{
    if (keys->made_s <= now_s && now_s - keys->made_s >= 2 * (uint64_t)keys->lifetime_s)
        replace(keys, now_s, false);
    else
        header_keys_renew(keys, now_s);
}

static bool replace(struct header_keys *keys, uint64_t now_s, bool keep)
{
    struct pledge_header_key before = keys->current;
    bool made = make(keys, now_s);
    if (made) {
        OPENSSL_cleanse(&keys->previous, sizeof keys->previous);
        if (keep)
            keys->previous = before;
        keys->has_previous = keep;
        if (save(keys) != STATUS_OK)
            log_warning(MODULE, "%s cannot be written: %s; a restart breaks associations", keys->file,
                        strerror(errno));
    }
    OPENSSL_cleanse(&before, sizeof before);
    return made;
}

const struct pledge_header_key *header_keys_current(const struct header_keys *keys)
{
    return &keys->current;
}

const struct pledge_header_key *header_keys_previous(const struct header_keys *keys)
{
    return keys->has_previous ? &keys->previous : NULL;
}

/* While the clock is not set yet, or no longer is, from when that was seen; once it is, the key has its true
 * age. So a router without a clock of its own loses no key by a restart, and none lives for ever. */
static uint64_t lifetime_begins(struct header_keys *keys, uint64_t now_s)
{
    if (keys->made_s <= now_s) {
        keys->behind_s = 0;
        return keys->made_s;
    }
    if (keys->behind_s == 0 || keys->behind_s > now_s)
        keys->behind_s = now_s;
    return keys->behind_s;
}

/* A new key is written beside the old one, so that the file alone is not enough. */
static void check_folder(const char *file, struct buffer *warnings)
{
    char folder[FILE_NAME_MAX];
    if (snprintf(folder, sizeof folder, "%s", file) >= (int)sizeof folder)
        return;
    folder[strrchr(folder, '/') - folder + 1] = '\0';
    if (access(folder, W_OK | X_OK) != 0)
        buffer_printf(warnings,
                      "stateless.key_file: \"%s\" cannot be written now: %s; make the folder ours\n", file,
                      strerror(errno));
}

/* True without keys: there is no file yet. */
static bool load(struct header_keys *keys, struct buffer *errors)
{
    struct stored_keys stored;
    enum status status = read_file(keys->file, &stored);
    if (status == STATUS_NOT_FOUND)
        return true;
    if (status == STATUS_OK && !take_stored(keys, &stored))
        status = STATUS_MALFORMED;
    OPENSSL_cleanse(&stored, sizeof stored);
    if (status == STATUS_SYSTEM)
        buffer_printf(errors, "stateless.key_file: \"%s\" cannot be read: %s; make it ours, or remove it\n",
                      keys->file, strerror(errno));
    else if (status == STATUS_FORBIDDEN)
        buffer_printf(errors, "stateless.key_file: \"%s\" is open to others; use chmod 600\n", keys->file);
    else if (status != STATUS_OK)
        buffer_printf(errors, "stateless.key_file: \"%s\" is not a file of header keys; remove it\n",
                      keys->file);
    return status == STATUS_OK;
}

static enum status read_file(const char *file, struct stored_keys *stored)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? STATUS_NOT_FOUND : STATUS_SYSTEM;
    struct stat state;
    enum status status = STATUS_OK;
    if (fstat(fd, &state) != 0)
        status = STATUS_SYSTEM;
    else if ((state.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        status = STATUS_FORBIDDEN;
    else if (state.st_size != sizeof *stored || read(fd, stored, sizeof *stored) != sizeof *stored)
        status = STATUS_MALFORMED;
    close(fd);
    return status;
}

static bool take_stored(struct header_keys *keys, const struct stored_keys *stored)
{
    if (memcmp(stored->magic, FILE_MAGIC, sizeof stored->magic) != 0 || stored->count < 1 ||
        stored->count > 2)
        return false;
    for (size_t i = 0; i < sizeof stored->made_s; i++)
        keys->made_s = keys->made_s << 8 | stored->made_s[i];
    keys->has_previous = stored->count == 2;
    memcpy(keys->current.octets, stored->current, sizeof stored->current);
    memcpy(keys->previous.octets, stored->previous, sizeof stored->previous);
    keys->is_loaded = true;
    return true;
}

/* STATUS_SYSTEM with errno. */
static enum status save(const struct header_keys *keys)
{
    struct stored_keys stored = {.count = keys->has_previous ? 2 : 1};
    if (*keys->file == '\0')
        return STATUS_OK;
    memcpy(stored.magic, FILE_MAGIC, sizeof stored.magic);
    for (size_t i = 0; i < sizeof stored.made_s; i++)
        stored.made_s[i] = (uint8_t)(keys->made_s >> (8 * (sizeof stored.made_s - 1 - i)));
    memcpy(stored.current, keys->current.octets, sizeof stored.current);
    if (keys->has_previous)
        memcpy(stored.previous, keys->previous.octets, sizeof stored.previous);
    enum status status = write_file(keys->file, &stored);
    int saved = errno;
    OPENSSL_cleanse(&stored, sizeof stored);
    errno = saved;
    return status;
}

/* Beside it first, so that a crash leaves the old file or the new one. */
static enum status write_file(const char *file, const struct stored_keys *stored)
{
    char beside[FILE_NAME_MAX];
    if (snprintf(beside, sizeof beside, "%s.new", file) >= (int)sizeof beside) {
        errno = ENAMETOOLONG;
        return STATUS_SYSTEM;
    }
    unlink(beside);
    int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
    if (fd < 0)
        return STATUS_SYSTEM;
    bool written = write_whole(fd, stored);
    int saved = errno;
    close(fd);
    errno = saved;
    return written && rename(beside, file) == 0 ? STATUS_OK : STATUS_SYSTEM;
}

static bool write_whole(int fd, const struct stored_keys *stored)
{
    ssize_t written = write(fd, stored, sizeof *stored);
    if (written >= 0 && written != sizeof *stored)
        errno = ENOSPC;
    return written == sizeof *stored && fsync(fd) == 0;
}

static bool make(struct header_keys *keys, uint64_t now_s)
{
    struct pledge_header_key key;
    if (getrandom(&key, sizeof key, 0) != sizeof key)
        return false;
    keys->current = key;
    keys->made_s = now_s;
    OPENSSL_cleanse(&key, sizeof key);
    return true;
}
