/* From a member to the struct that it is embedded in, as letters and list nodes are. */
#ifndef ESTUARY_COMMON_CONTAINER_OF_H
#define ESTUARY_COMMON_CONTAINER_OF_H

#include <stddef.h>

#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
