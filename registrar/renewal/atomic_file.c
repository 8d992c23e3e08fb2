#include "registrar/renewal/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_OCTETS_MAX ((size_t)1024 * 1024) /* more is none of our files */

static bool beside(const char *path, const char *suffix, char name[PATH_MAX]);
static bool write_new(const struct atomic_file *file, const char *name, struct bytes content);
static void dress(int fd, const char *like);
static bool write_all(int fd, struct bytes content);
static bool keep_old(const char *path);
static bool copy_file(const char *from, const char *to);
static void sync_folder(const char *path);

enum status atomic_file_replace(const struct atomic_file *file, struct bytes content)
{
    char name[PATH_MAX];
    if (!beside(file->path, ".new", name) || !write_new(file, name, content) ||
        (file->keeps_old && !keep_old(file->path)) || rename(name, file->path) != 0)
        return STATUS_SYSTEM;
    sync_folder(file->path);
    return STATUS_OK;
}

static bool beside(const char *path, const char *suffix, char name[PATH_MAX])
{
    int len = snprintf(name, PATH_MAX, "%s%s", path, suffix);
    if (len < PATH_MAX)
        return true;
    errno = ENAMETOOLONG;
    return false;
}

/* It is on the disk when this returns. */
static bool write_new(const struct atomic_file *file, const char *name, struct bytes content)
{
    unlink(name); /* left over */
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return false;
    if (file->like != NULL)
        dress(fd, file->like);
    bool written = write_all(fd, content) && fsync(fd) == 0;
    int why = errno;
    close(fd);
    errno = why;
    return written;
}

/* Root may give files away; everybody else's are their own anyway. */
static void dress(int fd, const char *like)
{
    struct stat found;
    if (stat(like, &found) == 0 && fchown(fd, found.st_uid, found.st_gid) == 0)
        fchmod(fd, found.st_mode & (S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP));
}

static bool write_all(int fd, struct bytes content)
{
    while (content.len > 0) {
        ssize_t written = write(fd, content.at, content.len);
        if (written <= 0)
            return false;
        content = bytes_slice(content, (size_t)written, content.len);
    }
    return true;
}

/* A second name for it, which the rename over the first leaves alone. */
static bool keep_old(const char *path)
{
    char second[PATH_MAX], old[PATH_MAX];
    if (!beside(path, ".old-new", second) || !beside(path, ".old", old))
        return false;
    unlink(second);
    if (link(path, second) != 0) {
        if (errno == ENOENT)
            return true;              /* there is none */
        if (!copy_file(path, second)) /* somebody else's file, or a file system without links */
            return false;
    }
    return rename(second, old) == 0;
}

static bool copy_file(const char *from, const char *to)
{
    const struct atomic_file copy = {.like = from};
    uint8_t part[4096];
    struct buffer content;
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    ssize_t len = -1;
    if (fd < 0)
        return false;
    buffer_init_locked(&content, COPY_OCTETS_MAX);
    while ((len = read(fd, part, sizeof part)) > 0)
        buffer_append(&content, (struct bytes){part, (size_t)len});
    explicit_bzero(part, sizeof part);
    close(fd);
    bool copied = len == 0 && content.status == STATUS_OK && write_new(&copy, to, buffer_view(&content));
    buffer_wipe(&content);
    return copied;
}

/* So that the rename is on the disk too; if that fails, the next crash may bring the old content back. */
static void sync_folder(const char *path)
{
    char copy[PATH_MAX];
    if (!beside(path, "", copy))
        return;
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}
