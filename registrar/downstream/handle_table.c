#include "registrar/downstream/handle_table.h"

#include <stdbool.h>
#include <stdlib.h>

/* A handle is the generation of a slot, which grows with every use, above the slot's index. Generations come
 * back to where they were after 2^32 uses of one slot: with 1,000 new associations a second all on it, in 50
 * days. */
struct slot {
    void *object;
    uint32_t generation; /* from 1 on when in use */
    uint32_t next_free;  /* index, or capacity: none */
};

struct handle_table {
    uint32_t capacity;
    uint32_t used;       /* slots from here on were never in use, and their memory was never touched */
    uint32_t first_free; /* of those before, or capacity: none */
    struct slot slots[];
};

static bool is_in_use(const struct handle_table *table, uint64_t handle);

struct handle_table *handle_table_create(size_t capacity)
{
    if (capacity >= UINT32_MAX)
        return NULL;
    struct handle_table *table = calloc(1, sizeof *table + capacity * sizeof table->slots[0]);
    if (table == NULL)
        return NULL;
    table->capacity = table->first_free = (uint32_t)capacity;
    return table;
}

void handle_table_free(struct handle_table *table)
{
    free(table);
}

uint64_t handle_table_add(struct handle_table *table, void *object)
{
    uint32_t index = table->first_free;
    if (index < table->capacity)
        table->first_free = table->slots[index].next_free;
    else if (table->used < table->capacity)
        index = table->used++;
    else
        return HANDLE_NONE;

    struct slot *slot = &table->slots[index];
    slot->object = object;
    if (++slot->generation == 0)
        slot->generation = 1;
    return (uint64_t)slot->generation << 32 | index;
}

void handle_table_release(struct handle_table *table, uint64_t handle)
{
    if (!is_in_use(table, handle))
        return;
    struct slot *slot = &table->slots[(uint32_t)handle];
    slot->object = NULL;
    slot->next_free = table->first_free;
    table->first_free = (uint32_t)handle;
}

void *handle_table_find(const struct handle_table *table, uint64_t handle)
{
    return is_in_use(table, handle) ? table->slots[(uint32_t)handle].object : NULL;
}

static bool is_in_use(const struct handle_table *table, uint64_t handle)
{
    uint32_t index = (uint32_t)handle, generation = (uint32_t)(handle >> 32);
    return index < table->used && table->slots[index].object != NULL &&
           table->slots[index].generation == generation;
}
