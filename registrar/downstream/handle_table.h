/* Gives out numbers for objects: a number outlives its object, and never comes to mean another one. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_HANDLE_TABLE_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_HANDLE_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct handle_table;

#define HANDLE_NONE 0 /* never given out */

/* For at most capacity objects at a time, at most 2^32 - 1. Gives; NULL: no memory. */
struct handle_table *handle_table_create(size_t capacity);
void handle_table_free(struct handle_table *table);

/* Borrows object until the handle is released. HANDLE_NONE: the table is full. */
uint64_t handle_table_add(struct handle_table *table, void *object);
void handle_table_release(struct handle_table *table, uint64_t handle);

/* NULL: released, or made up. Borrows. */
void *handle_table_find(const struct handle_table *table, uint64_t handle);

#endif
