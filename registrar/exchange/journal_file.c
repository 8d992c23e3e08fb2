#include "registrar/exchange/journal_file.h"

#include "registrar/exchange/journal_format.h"
#include "registrar/exchange/pending_record.h"

#include <openssl/rand.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* The keys are SHA-256 already. Without memory a place is not added. */
#define HASH_NONFATAL_OOM           1
#define HASH_FUNCTION(at, len, out) memcpy(&(out), (at), sizeof(out))
#define uthash_nonfatal_oom(place)  ((place)->is_unlisted = true)
#include <uthash.h>

#define SETTING         "state_directory"
#define FILE_OCTETS_MAX ((size_t)1 << 30) /* of a file that is read */
#define CHUNK_OCTETS    ((size_t)1 << 20) /* written at once when a file is rewritten */

/* A frame in the file; len 0: there is none. */
struct frame {
    uint64_t at;
    size_t len;
};

/* Where an enrolment stands in the file. */
struct place {
    uint8_t key[32];
    struct frame entry, delivery;
    bool is_unlisted; /* no memory to list it */
    UT_hash_handle hh;
};

/* A file that takes the place of another. */
struct rewrite {
    int fd;
    struct siphash_key key;
    struct buffer chunk; /* not yet written */
    uint64_t octets;     /* with it */
};

struct journal_file {
    char *path; /* of the folder, for what is said of it */
    int folder, fd;
    struct siphash_key key;
    uint64_t octets; /* up to here it is written and sound */
    uint64_t synced; /* up to here it is on the disk */
    uint64_t counts; /* octets of the frames that still count */
    struct place *places;
    struct buffer frames; /* room to work in */
    bool is_suspect;      /* what the system has of the file may be other than what is on the disk */
};

static void empty(struct journal_file *file);
static enum status check_folder(const char *folder, struct buffer *errors);
static bool examine(struct journal_file *file, struct buffer *errors);
static bool is_in_use(const char *folder);
static bool open_folder(struct journal_file *file, struct buffer *errors);
static bool open_file(struct journal_file *file, struct buffer *errors, struct buffer *warnings);
static bool load(struct journal_file *file, struct bytes content, struct buffer *errors,
                 struct buffer *warnings);
static bool read_frames(struct journal_file *file, struct bytes content, enum journal_verdict *verdict,
                        struct buffer *errors);
static bool cut_off(struct journal_file *file, size_t lost, struct buffer *errors, struct buffer *warnings);
static enum status read_whole(int fd, struct buffer *content);
static enum status read_at(int fd, uint64_t at, uint8_t *to, size_t len);
static enum status write_at(int fd, uint64_t at, struct bytes octets);
static enum status note(struct journal_file *file, struct frame frame, struct bytes record);
static void forget(struct journal_file *file, struct place *place);
static struct place *find(struct journal_file *file, const uint8_t key[static 32]);
static struct place *add(struct journal_file *file, const uint8_t key[static 32]);
static void list(struct journal_file *file, struct place *place);
static void replace(struct journal_file *file, struct frame *frame, struct frame by);
static enum status read_frame(struct journal_file *file, struct frame frame, struct bytes *record);
static bool next_of_batch(struct bytes *batch, struct bytes *record);
static enum status append(struct journal_file *file, struct bytes batch);
static enum status note_batch(struct journal_file *file, struct bytes batch);
static enum status rewrite(struct journal_file *file);
static enum status rewrite_begin(struct journal_file *file, struct rewrite *to);
static enum status rewrite_places(struct journal_file *file, struct rewrite *to);
static enum status rewrite_frame(struct journal_file *file, struct frame frame, struct rewrite *to);
static enum status rewrite_flush(struct rewrite *to);
static enum status rewrite_end(struct journal_file *file, struct rewrite *to);
static void move_in(struct journal_file *file, struct rewrite *to);
static void complain_of_access(const struct journal_file *file, struct buffer *errors, enum status status);
static void complain(const struct journal_file *file, struct buffer *errors, const char *name,
                     const char *what, const char *cure);

struct journal_file *journal_file_open(const char *folder, struct buffer *errors, struct buffer *warnings)
{
    struct journal_file *file = calloc(1, sizeof(*file));
    if (file == NULL)
        return NULL;
    file->folder = file->fd = -1;
    file->path = strdup(folder);
    buffer_init(&file->frames, SIZE_MAX);
    if (file->path != NULL && open_folder(file, errors) && open_file(file, errors, warnings))
        return file;
    journal_file_free(file);
    return NULL;
}

void journal_file_free(struct journal_file *file)
{
    if (file == NULL)
        return;
    empty(file);
    free(file);
}

static void empty(struct journal_file *file)
{
    struct place *place, *next;
    HASH_ITER(hh, file->places, place, next)
    {
        forget(file, place);
    }
    if (file->fd >= 0)
        close(file->fd);
    if (file->folder >= 0)
        close(file->folder); /* and unlocks it */
    buffer_free(&file->frames);
    free(file->path);
}

enum status journal_file_check(const char *folder, struct buffer *errors)
{
    struct journal_file file = {.folder = -1, .fd = -1};
    struct buffer said;
    enum status status = check_folder(folder, errors);
    if (status != STATUS_OK)
        return status;
    file.path = strdup(folder);
    if (file.path == NULL)
        return STATUS_NO_MEMORY;
    buffer_init(&said, SIZE_MAX);
    buffer_init(&file.frames, SIZE_MAX);
    if (!examine(&file, &said) && !is_in_use(folder)) {
        buffer_append(errors, buffer_view(&said));
        status = STATUS_MALFORMED;
    }
    buffer_free(&said);
    empty(&file);
    return status;
}

static enum status check_folder(const char *folder, struct buffer *errors)
{
    struct stat found;
    const char *what = NULL;
    if (stat(folder, &found) != 0 || (S_ISDIR(found.st_mode) && access(folder, R_OK | W_OK | X_OK) != 0))
        what = strerror(errno);
    else if (!S_ISDIR(found.st_mode))
        what = "it is no directory";
    if (what == NULL)
        return STATUS_OK;
    buffer_printf(errors,
                  SETTING ": \"%s\" cannot be used: %s; make it, for the user that the registrar runs as\n",
                  folder, what);
    return STATUS_NOT_FOUND;
}

/* What was never completely written is no fault: it is repaired when the file is opened. */
static bool examine(struct journal_file *file, struct buffer *errors)
{
    struct buffer content;
    enum journal_verdict verdict;
    file->folder = open(file->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    file->fd = openat(file->folder, JOURNAL_FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file->fd < 0 && errno == ENOENT)
        return true;
    buffer_init(&content, FILE_OCTETS_MAX);
    enum status status = file->fd < 0 ? STATUS_SYSTEM : read_whole(file->fd, &content);
    if (status != STATUS_OK)
        complain_of_access(file, errors, status);
    bool good = status == STATUS_OK && read_frames(file, buffer_view(&content), &verdict, errors);
    buffer_free(&content);
    return good;
}

/* A registrar that runs writes while we read. */
static bool is_in_use(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_locked = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (fd >= 0)
        close(fd);
    return is_locked;
}

static bool open_folder(struct journal_file *file, struct buffer *errors)
{
    if (check_folder(file->path, errors) != STATUS_OK)
        return false;
    file->folder = open(file->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file->folder < 0) {
        complain(file, errors, "", strerror(errno), "make it, for the user that the registrar runs as");
        return false;
    }
    if (flock(file->folder, LOCK_EX | LOCK_NB) == 0)
        return true;
    if (errno == EWOULDBLOCK)
        complain(file, errors, "", "another registrar uses it", "give each registrar a folder of its own");
    else
        complain(file, errors, "", strerror(errno), "it must be on a file system with locks");
    return false;
}

static bool open_file(struct journal_file *file, struct buffer *errors, struct buffer *warnings)
{
    struct buffer content;
    buffer_init(&content, FILE_OCTETS_MAX);
    file->fd = openat(file->folder, JOURNAL_FILE_NAME, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    enum status status = STATUS_OK;
    bool is_new = file->fd < 0 && errno == ENOENT;
    if (is_new)
        status = rewrite(file);
    else
        status = file->fd < 0 ? STATUS_SYSTEM : read_whole(file->fd, &content);
    if (status != STATUS_OK)
        complain_of_access(file, errors, status);
    bool good = status == STATUS_OK && (is_new || load(file, buffer_view(&content), errors, warnings));
    buffer_free(&content);
    if (!good ||
        journal_file_sync(file) == STATUS_OK) /* what a killed process wrote may not be on the disk yet */
        return good;
    complain(file, errors, JOURNAL_FILE_NAME, strerror(errno), "look after the disk");
    return false;
}

static bool load(struct journal_file *file, struct bytes content, struct buffer *errors,
                 struct buffer *warnings)
{
    enum journal_verdict verdict;
    return read_frames(file, content, &verdict, errors) &&
           (verdict == JOURNAL_END || cut_off(file, content.len - file->octets, errors, warnings));
}

/* The promise hangs on what the file says: one that is damaged is not read in parts. The verdict is whether
 * its end is whole. */
static bool read_frames(struct journal_file *file, struct bytes content, enum journal_verdict *verdict,
                        struct buffer *errors)
{
    static const char cure[] =
        "move it away and start again: what it knew is forgotten then, and devices that "
        "repeat a request may get a second certificate";
    struct journal_reader reader;
    struct bytes record;
    char what[80];
    enum status status = journal_reader_begin(&reader, content);
    if (status != STATUS_OK) {
        complain(file, errors, JOURNAL_FILE_NAME,
                 status == STATUS_UNSUPPORTED ? "it is of another version" : "its header is damaged", cure);
        return false;
    }
    file->key = reader.key;
    for (size_t at = reader.at; (*verdict = journal_reader_next(&reader, &record)) == JOURNAL_RECORD;
         at = reader.at) {
        status = note(file, (struct frame){at, reader.at - at}, record);
        if (status != STATUS_OK) {
            snprintf(what, sizeof(what), "at octet %zu: %s", at, status_text(status));
            complain(file, errors, JOURNAL_FILE_NAME, what, cure);
            return false;
        }
    }
    file->octets = reader.at;
    if (*verdict == JOURNAL_DAMAGED) {
        snprintf(what, sizeof(what), "it is damaged at octet %zu, with more behind it", reader.at);
        complain(file, errors, JOURNAL_FILE_NAME, what, cure);
        return false;
    }
    return true;
}

/* Nothing that anybody was told of is lost: a request leaves, and an answer counts as safe, after its record
 * only. */
static bool cut_off(struct journal_file *file, size_t lost, struct buffer *errors, struct buffer *warnings)
{
    if (ftruncate(file->fd, (off_t)file->octets) != 0 || fsync(file->fd) != 0) {
        complain(file, errors, JOURNAL_FILE_NAME, strerror(errno), "its end must be repaired");
        return false;
    }
    buffer_printf(
        warnings,
        SETTING ": %s/%s: its last %zu octets were never completely written (a crash or power failure), and "
                "are dropped\n",
        file->path, JOURNAL_FILE_NAME, lost);
    return true;
}

static enum status read_whole(int fd, struct buffer *content)
{
    struct stat found;
    if (fstat(fd, &found) != 0)
        return STATUS_SYSTEM;
    if (found.st_size < 0 || (uint64_t)found.st_size > FILE_OCTETS_MAX)
        return STATUS_TOO_LARGE;
    if (found.st_size == 0)
        return STATUS_OK;
    uint8_t *room = buffer_extend(content, (size_t)found.st_size);
    return room == NULL ? content->status : read_at(fd, 0, room, content->len);
}

static enum status read_at(int fd, uint64_t at, uint8_t *to, size_t len)
{
    while (len > 0) {
        ssize_t got = pread(fd, to, len, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            errno = got == 0 ? EIO : errno;
            return STATUS_SYSTEM;
        }
        to += got;
        at += (uint64_t)got;
        len -= (size_t)got;
    }
    return STATUS_OK;
}

static enum status write_at(int fd, uint64_t at, struct bytes octets)
{
    while (octets.len > 0) {
        ssize_t put = pwrite(fd, octets.at, octets.len, (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0) {
            errno = put == 0 ? ENOSPC : errno;
            return STATUS_SYSTEM;
        }
        at += (uint64_t)put;
        octets = bytes_slice(octets, (size_t)put, octets.len);
    }
    return STATUS_OK;
}

/* What counts. */

static enum status note(struct journal_file *file, struct frame frame, struct bytes octets)
{
    struct pending_record record;
    enum status status = pending_record_decode(octets, 0, &record);
    if (status != STATUS_OK)
        return status;
    struct place *place = find(file, record.key.octets);
    switch (record.kind) {
    case PENDING_RECORD_ENTRY:
        if (place == NULL)
            place = add(file, record.key.octets);
        if (place == NULL)
            return STATUS_NO_MEMORY;
        replace(file, &place->entry, frame);
        replace(file, &place->delivery, (struct frame){0, 0});
        break;
    case PENDING_RECORD_DELIVERED:
        if (place != NULL)
            replace(file, &place->delivery, frame);
        break;
    case PENDING_RECORD_FORGOTTEN:
        if (place != NULL)
            forget(file, place);
        break;
    }
    return STATUS_OK;
}

static void replace(struct journal_file *file, struct frame *frame, struct frame by)
{
    file->counts = file->counts - frame->len + by.len;
    *frame = by;
}

static struct place *find(struct journal_file *file, const uint8_t key[static 32])
{
    struct place *place;
    HASH_FIND(hh, file->places, key, sizeof(place->key), place);
    return place;
}

static struct place *add(struct journal_file *file, const uint8_t key[static 32])
{
    struct place *place = calloc(1, sizeof(*place));
    if (place == NULL)
        return NULL;
    memcpy(place->key, key, sizeof(place->key));
    list(file, place);
    if (!place->is_unlisted)
        return place;
    free(place);
    return NULL;
}

/* A macro of uthash, and not ours to shorten: NOLINTNEXTLINE(readability-function-size) */
static void list(struct journal_file *file, struct place *place)
{
    HASH_ADD(hh, file->places, key, sizeof(place->key), place);
}

static void forget(struct journal_file *file, struct place *place)
{
    file->counts -= place->entry.len + place->delivery.len;
    /* The analyzer loses sight of what the macro unlinks:
     * NOLINTNEXTLINE(clang-analyzer-core.NullDereference,clang-analyzer-unix.Malloc) */
    HASH_DEL(file->places, place);
    free(place);
}

enum status journal_file_read(struct journal_file *file, void (*take)(void *user, struct bytes record),
                              void *user)
{
    struct place *place, *next;
    HASH_ITER(hh, file->places, place, next)
    {
        const struct frame frames[] = {place->entry, place->delivery};
        for (size_t i = 0; i < 2 && frames[i].len > 0; i++) {
            struct bytes record;
            enum status status = read_frame(file, frames[i], &record);
            if (status != STATUS_OK)
                return status;
            take(user, record);
        }
    }
    return STATUS_OK;
}

/* Borrows until the next one. */
static enum status read_frame(struct journal_file *file, struct frame frame, struct bytes *record)
{
    buffer_reset(&file->frames);
    uint8_t *room = buffer_extend(&file->frames, frame.len);
    if (room == NULL)
        return STATUS_NO_MEMORY;
    enum status status = read_at(file->fd, frame.at, room, frame.len);
    return status != STATUS_OK
               ? status
               : journal_format_read(&file->key, frame.at, buffer_view(&file->frames), record);
}

/* Batches: each record behind its length, as this machine has it. */

void journal_batch_add(struct buffer *batch, struct bytes record)
{
    uint32_t len = (uint32_t)record.len;
    uint8_t *room = buffer_extend(batch, sizeof(len) + record.len);
    if (room == NULL)
        return;
    memcpy(room, &len, sizeof(len));
    memcpy(room + sizeof(len), record.at, record.len);
}

static bool next_of_batch(struct bytes *batch, struct bytes *record)
{
    uint32_t len;
    if (batch->len < sizeof(len))
        return false;
    memcpy(&len, batch->at, sizeof(len));
    *record = bytes_slice(*batch, sizeof(len), len);
    *batch = bytes_slice(*batch, sizeof(len) + len, batch->len);
    return true;
}

enum status journal_file_write(struct journal_file *file, struct bytes batch)
{
    enum status status = file->is_suspect ? rewrite(file) : STATUS_OK;
    if (status == STATUS_OK)
        status = append(file, batch);
    return status == STATUS_OK ? note_batch(file, batch) : status;
}

static enum status append(struct journal_file *file, struct bytes batch)
{
    struct bytes record;
    buffer_reset(&file->frames);
    while (next_of_batch(&batch, &record)) {
        const struct journal_place place = {file->octets + file->frames.len, file->synced};
        journal_format_frame(&file->key, &place, record, &file->frames);
    }
    if (file->frames.status != STATUS_OK)
        return file->frames.status;
    enum status status = write_at(file->fd, file->octets, buffer_view(&file->frames));
    if (status == STATUS_OK)
        return status;
    int reason = errno;
    file->is_suspect = ftruncate(file->fd, (off_t)file->octets) != 0;
    errno = reason;
    return status;
}

static enum status note_batch(struct journal_file *file, struct bytes batch)
{
    struct bytes record;
    enum status status = STATUS_OK;
    while (next_of_batch(&batch, &record)) {
        const struct frame frame = {file->octets, JOURNAL_FRAME_OCTETS + record.len};
        enum status noted = note(file, frame, record);
        status = status == STATUS_OK ? noted : status;
        file->octets += frame.len;
    }
    return status;
}

enum status journal_file_sync(struct journal_file *file)
{
    if (file->is_suspect)
        return rewrite(file);
    if (journal_file_is_synced(file))
        return STATUS_OK;
    if (fdatasync(file->fd) != 0) {
        file->is_suspect =
            true; /* the system may take the pages for written now: trying again proves nothing */
        return STATUS_SYSTEM;
    }
    file->synced = file->octets;
    return STATUS_OK;
}

bool journal_file_is_synced(const struct journal_file *file)
{
    return file->synced == file->octets && !file->is_suspect;
}

/* Rewriting. */

enum status journal_file_tidy(struct journal_file *file)
{
    bool is_due = file->octets > JOURNAL_REWRITE_MIN && file->octets / 2 > file->counts;
    if (file->frames.room > CHUNK_OCTETS)
        buffer_free(&file->frames);
    return is_due ? rewrite(file) : STATUS_OK;
}

static enum status rewrite(struct journal_file *file)
{
    struct rewrite to;
    enum status status = rewrite_begin(file, &to);
    if (status == STATUS_OK)
        status = rewrite_places(file, &to);
    if (status == STATUS_OK)
        status = rewrite_end(file, &to);
    buffer_free(&to.chunk);
    if (status == STATUS_OK || to.fd < 0)
        return status;
    int reason = errno;
    close(to.fd);
    unlinkat(file->folder, JOURNAL_FILE_NAME_NEW, 0);
    errno = reason;
    return status;
}

static enum status rewrite_begin(struct journal_file *file, struct rewrite *to)
{
    *to = (struct rewrite){.fd = -1, .octets = JOURNAL_HEADER_OCTETS};
    buffer_init(&to->chunk, CHUNK_OCTETS + JOURNAL_FRAME_OCTETS + JOURNAL_RECORD_MAX);
    if (RAND_bytes(to->key.octets, sizeof(to->key.octets)) != 1)
        return STATUS_CRYPTO;
    journal_format_begin(&to->key, &to->chunk);
    to->fd = openat(file->folder, JOURNAL_FILE_NAME_NEW, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                    S_IRUSR | S_IWUSR);
    return to->fd < 0 ? STATUS_SYSTEM : to->chunk.status;
}

static enum status rewrite_places(struct journal_file *file, struct rewrite *to)
{
    struct place *place, *next;
    HASH_ITER(hh, file->places, place, next)
    {
        enum status status = rewrite_frame(file, place->entry, to);
        if (status == STATUS_OK && place->delivery.len > 0)
            status = rewrite_frame(file, place->delivery, to);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* All that stands before it will be on the disk before anybody sees the file. */
static enum status rewrite_frame(struct journal_file *file, struct frame frame, struct rewrite *to)
{
    struct bytes record;
    enum status status = read_frame(file, frame, &record);
    if (status != STATUS_OK)
        return status;
    const struct journal_place place = {to->octets, to->octets};
    journal_format_frame(&to->key, &place, record, &to->chunk);
    to->octets += frame.len;
    return to->chunk.len < CHUNK_OCTETS ? to->chunk.status : rewrite_flush(to);
}

static enum status rewrite_flush(struct rewrite *to)
{
    if (to->chunk.status != STATUS_OK)
        return to->chunk.status;
    enum status status = write_at(to->fd, to->octets - to->chunk.len, buffer_view(&to->chunk));
    buffer_reset(&to->chunk);
    return status;
}

/* Once it has its name it is the journal, come what may. */
static enum status rewrite_end(struct journal_file *file, struct rewrite *to)
{
    enum status status = rewrite_flush(to);
    if (status != STATUS_OK)
        return status;
    if (fsync(to->fd) != 0 ||
        renameat(file->folder, JOURNAL_FILE_NAME_NEW, file->folder, JOURNAL_FILE_NAME) != 0)
        return STATUS_SYSTEM;
    move_in(file, to);
    file->is_suspect = fsync(file->folder) != 0;
    return file->is_suspect ? STATUS_SYSTEM : STATUS_OK;
}

/* Every place moves: the frames stand in the order in which rewrite_places went. */
static void move_in(struct journal_file *file, struct rewrite *to)
{
    uint64_t at = JOURNAL_HEADER_OCTETS;
    struct place *place, *next;
    HASH_ITER(hh, file->places, place, next)
    {
        place->entry.at = at;
        at += place->entry.len;
        place->delivery.at = at;
        at += place->delivery.len;
    }
    if (file->fd >= 0)
        close(file->fd);
    file->fd = to->fd;
    file->key = to->key;
    file->octets = file->synced = to->octets;
    to->fd = -1;
}

uint64_t journal_file_octets(const struct journal_file *file)
{
    return file->octets;
}

static void complain_of_access(const struct journal_file *file, struct buffer *errors, enum status status)
{
    complain(file, errors, JOURNAL_FILE_NAME, status == STATUS_SYSTEM ? strerror(errno) : status_text(status),
             "it must be readable and writable for the user that the registrar runs as");
}

static void complain(const struct journal_file *file, struct buffer *errors, const char *name,
                     const char *what, const char *cure)
{
    buffer_printf(errors, SETTING ": \"%s%s%s\" cannot be used: %s; %s\n", file->path,
                  name[0] != '\0' ? "/" : "", name, what, cure);
}
