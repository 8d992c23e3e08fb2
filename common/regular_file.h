/* Opens files for reading that must not keep anybody waiting. */
#ifndef ESTUARY_COMMON_REGULAR_FILE_H
#define ESTUARY_COMMON_REGULAR_FILE_H

#include <stdio.h>

/* No FIFO or device: a reload would wait for its writer, and the end of the program for the reload. A folder
 * is opened, and read as an error of its own. Gives; NULL, and why says so for people (static, or
 * strerror's). */
FILE *regular_file_open(const char *name, const char **why);

#endif
