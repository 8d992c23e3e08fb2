/* Memory that is always there: a test server that has none left can only say so and end. */
#ifndef EST_SERVER_MEMORY_H
#define EST_SERVER_MEMORY_H

#include <stddef.h>

/* Gives size zeroed octets, never NULL; the caller frees. */
void *memory_allocate(size_t size);
/* Gives a copy of text, never NULL; the caller frees. */
char *memory_copy(const char *text);

#endif
