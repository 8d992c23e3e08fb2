#include "common/regular_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

FILE *regular_file_open(const char *name, const char **why)
{
    struct stat found;
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool is_file = fd >= 0 && fstat(fd, &found) == 0 && (S_ISREG(found.st_mode) || S_ISDIR(found.st_mode));
    FILE *stream = is_file ? fdopen(fd, "r") : NULL;
    *why = fd < 0 || is_file ? strerror(errno) : "it is no regular file";
    if (stream == NULL && fd >= 0)
        close(fd);
    return stream;
}
