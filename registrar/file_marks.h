/* What files looked like at a moment, to notice that somebody has changed or replaced one since. */
#ifndef ESTUARY_REGISTRAR_FILE_MARKS_H
#define ESTUARY_REGISTRAR_FILE_MARKS_H

#include "registrar/settings.h"

#include <stdbool.h>

#define FILE_MARKS_MAX (SETTINGS_STRINGS_MAX + 1)

/* A plain value. Names are borrowed by file_marks_take, and nothing is kept of them but their number. */
struct file_marks {
    size_t count;
    struct file_mark {
        uint64_t device, inode, size; /* all 0: cannot be looked at */
        int64_t modified_ns;
    } marks[FILE_MARKS_MAX];
};

/* Of the files that are watched: those of dtls.crls, and access.file. */
void file_marks_take(const struct settings *settings, struct file_marks *marks);

bool file_marks_equal(const struct file_marks *one, const struct file_marks *other);

#endif
