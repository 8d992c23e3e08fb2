#include "registrar/running_config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define TEXT_OCTETS_MAX ((size_t)1024 * 1024)

struct running_config {
    const char *folder;
    int fd; /* of the file, locked; -1: not yet written */
};

static char *path_of(const char *folder, const char *suffix);
static int write_new(const char *name, const struct settings *settings);
static bool write_all(int fd, struct bytes bytes);
static bool is_in_use(const char *name);
static void tell_changes(const char *file, const struct settings *running, const struct settings *wanted,
                         struct buffer *text);
static size_t append_lines(const char *file, const struct buffer *paths, const char *what,
                           struct buffer *text);

struct running_config *running_config_create(const char *folder)
{
    struct running_config *config = calloc(1, sizeof *config);
    if (config == NULL)
        return NULL;
    config->folder = folder;
    config->fd = -1;
    return config;
}

void running_config_free(struct running_config *config)
{
    if (config == NULL)
        return;
    char *name = path_of(config->folder, "");
    if (config->fd >= 0) {
        if (name != NULL)
            unlink(name);
        close(config->fd);
    }
    free(name);
    free(config);
}

enum status running_config_write(struct running_config *config, const struct settings *settings)
{
    char *name = path_of(config->folder, ""), *fresh = path_of(config->folder, ".new");
    int fd = name != NULL && fresh != NULL ? write_new(fresh, settings) : -1;
    if (fd >= 0 && rename(fresh, name) != 0) {
        int why = errno;
        unlink(fresh);
        close(fd);
        errno = why;
        fd = -1;
    }
    free(name);
    free(fresh);
    if (fd < 0)
        return STATUS_SYSTEM;
    if (config->fd >= 0)
        close(config->fd);
    config->fd = fd;
    return STATUS_OK;
}

static char *path_of(const char *folder, const char *suffix)
{
    char *path;
    return asprintf(&path, "%s/" RUNNING_CONFIG_FILE "%s", folder, suffix) < 0 ? NULL : path;
}

/* Gives the descriptor of the file, locked; -1 with errno. */
static int write_new(const char *name, const struct settings *settings)
{
    struct buffer json;
    buffer_init(&json, TEXT_OCTETS_MAX);
    settings_print(settings, &json);
    int fd = json.status != STATUS_OK ? -1 : open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0 && (flock(fd, LOCK_EX | LOCK_NB) != 0 || !write_all(fd, buffer_view(&json)))) {
        int why = errno;
        close(fd);
        errno = why;
        fd = -1;
    }
    buffer_free(&json);
    return fd;
}

static bool write_all(int fd, struct bytes bytes)
{
    while (bytes.len > 0) {
        ssize_t written = write(fd, bytes.at, bytes.len);
        if (written < 0 && errno != EINTR)
            return false;
        bytes = bytes_slice(bytes, written > 0 ? (size_t)written : 0, bytes.len);
    }
    return true;
}

void running_config_compare(const char *file, const struct settings *wanted, struct buffer *text)
{
    const char *folder = wanted->state_directory;
    if (folder[0] == '\0') {
        buffer_printf(text, "%s: without a state_directory, what a reload would do is unknown\n", file);
        return;
    }
    char *name = path_of(folder, "");
    struct buffer errors, warnings;
    if (name == NULL || !is_in_use(name)) {
        buffer_printf(text,
                      "%s: no registrar runs with its state_directory: what a reload would do is unknown\n",
                      file);
        free(name);
        return;
    }
    buffer_init(&errors, TEXT_OCTETS_MAX);
    buffer_init(&warnings, TEXT_OCTETS_MAX);
    struct settings *running = settings_read(name, &errors, &warnings);
    if (running == NULL)
        buffer_printf(text, "%s: the registrar that runs is of another version, and needs a restart\n", file);
    else
        tell_changes(file, running, wanted, text);
    settings_free(running);
    buffer_free(&errors);
    buffer_free(&warnings);
    free(name);
}

static bool is_in_use(const char *name)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool locked = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
    return locked;
}

static void tell_changes(const char *file, const struct settings *running, const struct settings *wanted,
                         struct buffer *text)
{
    static const struct {
        enum settings_kind kind;
        const char *what;
    } kinds[] = {{SETTINGS_RELOADABLE, "a reload (SIGHUP) will change it"},
                 {SETTINGS_FIXED, "needs a restart"}};
    size_t count = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct buffer paths;
        buffer_init(&paths, TEXT_OCTETS_MAX);
        settings_compare(running, wanted, kinds[i].kind, &paths);
        count += append_lines(file, &paths, kinds[i].what, text);
        buffer_free(&paths);
    }
    if (count == 0)
        buffer_printf(text, "%s: is what runs; a reload (SIGHUP) reads the files that it names anew\n", file);
}

static size_t append_lines(const char *file, const struct buffer *paths, const char *what,
                           struct buffer *text)
{
    size_t count = 0;
    struct bytes rest = buffer_view(paths), path;
    for (; bytes_take_line(&rest, &path); count++)
        buffer_printf(text, "%s: %.*s: %s\n", file, (int)path.len, (const char *)path.at, what);
    return count;
}
