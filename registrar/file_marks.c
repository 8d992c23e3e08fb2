#include "registrar/file_marks.h"

#include <string.h>
#include <sys/stat.h>

static void take(struct file_marks *marks, const char *name);

void file_marks_take(const struct settings *settings, struct file_marks *marks)
{
    memset(marks, 0, sizeof *marks);
    for (size_t i = 0; i < settings->dtls.crls.count; i++)
        take(marks, settings->dtls.crls.items[i]);
    if (settings->access.file[0] != '\0')
        take(marks, settings->access.file);
}

static void take(struct file_marks *marks, const char *name)
{
    struct file_mark *mark = &marks->marks[marks->count++];
    struct stat found;
    if (stat(name, &found) != 0)
        return;
    mark->device = found.st_dev;
    mark->inode = found.st_ino;
    mark->size = (uint64_t)found.st_size;
    mark->modified_ns = (int64_t)found.st_mtim.tv_sec * 1000000000 + found.st_mtim.tv_nsec;
}

bool file_marks_equal(const struct file_marks *one, const struct file_marks *other)
{
    return memcmp(one, other, sizeof *one) == 0;
}
