#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *memory)
{
    if (memory != NULL)
        return memory;
    fputs("est-server: out of memory\n", stderr);
    exit(EXIT_FAILURE);
}

void *memory_allocate(size_t size)
{
    return checked(calloc(1, size));
}

char *memory_copy(const char *text)
{
    return checked(strdup(text));
}
